//! The request id: made or believed, forwarded, returned, recorded.

use super::echoing;
use crate::harness::{Origin, Setup, Tollgate};

fn is_uuid(id: &str, version: char) -> bool {
    let parts: Vec<&str> = id.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && id.chars().all(|character| matches!(character, '0'..='9' | 'a'..='f' | '-'))
        && parts[2].starts_with(version)
        && parts[3].starts_with(['8', '9', 'a', 'b'])
}

#[test]
fn an_id_is_made_forwarded_returned_and_recorded() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let response = tollgate.client().get("/");
    let id = response.header("x-request-id").unwrap();
    assert!(is_uuid(&id, '7'), "{id}");
    assert_eq!(origin.only_request().headers.get("x-request-id").as_deref(), Some(id.as_str()));
    assert_eq!(tollgate.record_of("/")["request_id"], id);
}

#[test]
fn ids_differ_and_sort_by_time() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    let ids: Vec<String> = (0..100).map(|_| client.get("/").header("x-request-id").unwrap()).collect();
    let mut sorted = ids.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), ids.len(), "an id twice");
    // Within one millisecond the order is free.
    let times = |ids: &[String]| ids.iter().map(|id| id[..13].to_owned()).collect::<Vec<_>>();
    assert_eq!(times(&sorted), times(&ids));
}

#[test]
fn random_ids_on_request() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).table("[request_id]\nformat = \"uuid4\"").start();
    let id = tollgate.client().get("/").header("x-request-id").unwrap();
    assert!(is_uuid(&id, '4'), "{id}");
}

#[test]
fn an_inbound_id_is_believed_only_from_whom_the_configuration_says() {
    let origin = echoing();
    for (inbound, trusted, believed) in [
        ("always", "[]", true),
        ("trusted", "[]", false),
        ("trusted", "[\"127.0.0.1\"]", true),
        ("never", "[\"127.0.0.1\"]", false),
    ] {
        let tollgate = Setup::before(origin.address())
            .listen(&format!("trusted_proxies = {trusted}"))
            .table(&format!("[request_id]\ninbound = \"{inbound}\""))
            .start();
        let response = tollgate.client().request("GET", "/", "X-Request-Id: abc-123\r\n");
        let id = response.header("x-request-id").unwrap();
        assert_eq!(id == "abc-123", believed, "{inbound}, trusting {trusted}: {id}");
        let forwarded = origin.received().pop().unwrap().headers.get("x-request-id");
        assert_eq!(forwarded.as_deref(), Some(id.as_str()), "one id, and the same");
        assert_eq!(tollgate.record_of("/")["request_id"], id);
    }
}

#[test]
fn an_inbound_id_of_another_form_is_replaced() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).table("[request_id]\ninbound = \"always\"").start();
    let mut client = tollgate.client();
    let longest = "x".repeat(128);
    for good in ["a", "AZaz09._:+/=@-", "Root=1-67891233-abcdef012345678912345678", &longest] {
        let fields = format!("X-Request-Id: {good}\r\n");
        let id = client.request("GET", "/", &fields).header("x-request-id");
        assert_eq!(id.as_deref(), Some(good));
    }
    let too_long = "x".repeat(129);
    for bad in ["", "a b", "a\"b", "a\\b", "a,b", "a;b", "<a>", "\u{e9}", "a%0a", &too_long] {
        let fields = format!("X-Request-Id: {bad}\r\n");
        let id = client.request("GET", "/", &fields).header("x-request-id").unwrap();
        assert!(is_uuid(&id, '7'), "{bad:?} became {id:?}");
    }
    let fields = "X-Request-Id: one\r\nX-Request-Id: two\r\n";
    let id = client.request("GET", "/", fields).header("x-request-id").unwrap();
    let forwarded = origin.received().pop().unwrap().headers.get("x-request-id");
    assert_eq!(forwarded, Some(id), "several ids became one");
}

#[test]
fn the_field_can_be_named() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address())
        .table("[request_id]\nheader = \"X-Correlation-Id\"\ninbound = \"always\"")
        .start();
    let mut client = tollgate.client().id_field("X-Correlation-Id");
    let response = client.request("GET", "/", "X-Correlation-Id: abc\r\n");
    assert_eq!(response.header("x-correlation-id").as_deref(), Some("abc"));
    let headers = origin.only_request().headers;
    assert_eq!(headers.get("x-correlation-id").as_deref(), Some("abc"));
}

#[test]
fn the_app_cannot_replace_the_id() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nX-Request-Id: forged\r\nX-Request-Id: again\r\nContent-Length: 2\r\n\r\nok",
    );
    let tollgate = Tollgate::before(origin.address());
    let id = tollgate.client().get("/").header("x-request-id").unwrap();
    assert!(is_uuid(&id, '7'), "{id}");
}

#[test]
fn trace_fields_pass_untouched_and_are_recorded() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let amazon = "Self=1-67891234-12456789abcdef012345678;Root=1-67891233-abcdef012345678912345678";
    let fields = format!("traceparent: {parent}\r\ntracestate: a=b,c=d\r\nX-Amzn-Trace-Id: {amazon}\r\n");
    tollgate.client().request("GET", "/", &fields);
    let headers = origin.only_request().headers;
    assert_eq!(headers.get("traceparent").as_deref(), Some(parent));
    assert_eq!(headers.get("tracestate").as_deref(), Some("a=b,c=d"));
    assert_eq!(headers.get("x-amzn-trace-id").as_deref(), Some(amazon));
    let record = tollgate.record_of("/");
    assert_eq!(record["traceparent"], parent);
    assert_eq!(record["amzn_trace_id"], amazon);
}
