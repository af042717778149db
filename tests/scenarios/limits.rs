//! Sizes: our own limits, answered clearly, before Gunicorn's.

use super::echoing;
use crate::harness::client::{get, post};
use crate::harness::{Ending, Origin, Setup, Tollgate};

fn limited(origin: &Origin) -> Tollgate {
    Setup::before(origin.address())
        .listen("max_uri = \"100B\"\nmax_headers = 5\nmax_header_line = \"200B\"")
        .listen("max_header_bytes = \"600B\"\nmax_body = \"1KiB\"")
        .start()
}

#[test]
fn a_target_up_to_the_limit_passes_and_beyond_is_414() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let fits = format!("/{}", "a".repeat(99));
    assert_eq!(tollgate.client().get(&fits).text(), fits);
    let mut client = tollgate.client();
    let response = client.get(&format!("{fits}a"));
    response.assert_local(414, "uri_too_long");
    assert!(response.head.closes());
    client.end();
    assert_eq!(origin.only_request().target, fits);
}

#[test]
fn a_target_without_end_is_414_before_it_ends() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let mut client = tollgate.client();
    client.send(format!("GET /{}", "a".repeat(300)));
    client.response().assert_local(414, "uri_too_long");
}

#[test]
fn fields_up_to_the_limit_pass_and_one_more_is_431() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let fields = |count| (1..count).map(|number| format!("X-{number}: a\r\n")).collect::<String>();
    assert_eq!(tollgate.client().request("GET", "/", &fields(5)).status(), 200);
    let mut client = tollgate.client();
    let response = client.request("GET", "/", &fields(6));
    response.assert_local(431, "headers_too_large");
    assert!(response.head.closes());
    client.end();
}

#[test]
fn a_field_line_up_to_the_limit_passes_and_a_longer_one_is_431() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let line = |length: usize| format!("X-A: {}\r\n", "a".repeat(length - 5));
    assert_eq!(tollgate.client().request("GET", "/", &line(200)).status(), 200);
    tollgate.client().request("GET", "/", &line(201)).assert_local(431, "headers_too_large");
    let mut client = tollgate.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {}", "a".repeat(250)));
    client.response().assert_local(431, "headers_too_large");
}

#[test]
fn a_head_beyond_the_limit_is_431() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let fields: String = (0..4).map(|number| format!("X-{number}: {}\r\n", "a".repeat(150))).collect();
    tollgate.client().request("GET", "/", &fields).assert_local(431, "headers_too_large");
    assert_eq!(origin.received().len(), 0);
}

#[test]
fn the_defaults_are_below_gunicorns() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let long = format!("/{}", "a".repeat(4000));
    tollgate.client().get(&long).assert_local(414, "uri_too_long");
    let many: String = (0..90).map(|number| format!("X-{number}: a\r\n")).collect();
    tollgate.client().request("GET", "/", &many).assert_local(431, "headers_too_large");
    let fat = format!("Cookie: {}\r\n", "a".repeat(8000));
    tollgate.client().request("GET", "/", &fat).assert_local(431, "headers_too_large");
    let many: String = (0..89).map(|number| format!("X-{number}: a\r\n")).collect();
    assert_eq!(tollgate.client().request("GET", "/", &many).status(), 200);
}

#[test]
fn refusals_of_a_head_are_recorded() {
    let origin = echoing();
    let tollgate = limited(&origin);
    tollgate.client().get(&format!("/{}", "a".repeat(100)));
    let record = tollgate.wait_for_record(|record| record["status"] == 414);
    assert_eq!((&record["outcome"], &record["fault"]), (&"uri_too_long".into(), &"downstream".into()));
    assert!(record["request_id"].as_str().is_some_and(|id| !id.is_empty()));
}

#[test]
fn a_body_up_to_the_limit_passes_and_a_longer_one_is_413() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let mut client = tollgate.client();
    client.send(post("/", &[b'x'; 1024]));
    assert_eq!(client.response().status(), 200);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n");
    let response = client.response();
    response.assert_local(413, "payload_too_large");
    assert!(response.head.closes());
    assert_eq!(origin.only_request().body.bytes.len(), 1024);
}

#[test]
fn a_chunked_body_is_413_when_it_passes_the_limit() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let mut client = tollgate.client();
    client.send("POST /big HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("100\r\n{}\r\n", "x".repeat(256));
    for _ in 0..5 {
        client.send(&chunk);
    }
    client.response().assert_local(413, "payload_too_large");
    let whole = origin.received().into_iter().filter(|request| request.body.cut.is_none());
    assert_eq!(whole.count(), 0, "the app got a whole request");
    assert_eq!(tollgate.record_of("/big")["fault"], "downstream");
}

#[test]
fn a_client_that_sends_on_still_gets_the_whole_refusal() {
    let origin = echoing();
    let tollgate = limited(&origin);
    for _ in 0..20 {
        let mut client = tollgate.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n");
        let piece = vec![b'x'; 1 << 16];
        for _ in 0..60 {
            if client.try_send(&piece).is_err() {
                break;
            }
        }
        client.response().assert_local(413, "payload_too_large");
    }
}

#[test]
fn lingering_ends() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let mut client = tollgate.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n");
    client.response().assert_local(413, "payload_too_large");
    // Silent and still open: tollgate must not wait for ever.
    assert!(matches!(client.end(), Ending::Closed | Ending::Reset));
}

#[test]
fn nothing_behind_a_refused_body_is_taken_for_a_request() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let mut client = tollgate.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n");
    let _ = client.try_send(get("/smuggled").repeat(50));
    client.response().assert_local(413, "payload_too_large");
    client.end();
    assert_eq!(origin.received().len(), 0);
}

#[test]
fn a_refusal_with_more_of_the_request_behind_it_ends_without_a_reset() {
    let origin = echoing();
    let tollgate = limited(&origin);
    for (head, status) in [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: a\r\nA: b\r\n folded\r\n\r\n", 400),
    ] {
        let mut client = tollgate.client();
        client.send([head.as_bytes(), &[b'x'; 65_536]].concat());
        assert_eq!(client.response().status(), status);
        client.finish_sending();
        assert_eq!(client.end(), Ending::Closed, "{status}");
    }
}
