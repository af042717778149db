//! Fields that belong to one connection do not cross tollgate, and nobody can nominate away
//! what tollgate sets or needs.

use super::echoing;
use crate::harness::{Origin, Setup, Tollgate};

#[test]
fn hop_by_hop_fields_of_a_request_stop_here() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let fields = "Connection: keep-alive, X-One\r\nConnection: X-Two\r\nKeep-Alive: timeout=9\r\n\
        Proxy-Connection: keep-alive\r\nTE: gzip\r\nProxy-Authorization: Basic eA==\r\n\
        X-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\n";
    tollgate.client().request("GET", "/", fields);
    let headers = origin.only_request().headers;
    for name in ["connection", "keep-alive", "proxy-connection", "te", "upgrade", "x-one", "x-two"] {
        assert!(!headers.has(name), "{name} reached the app: {headers:#?}");
    }
    assert_eq!(headers.get("x-three").as_deref(), Some("3"));
}

#[test]
fn a_field_named_before_the_line_that_names_it_stops_too() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    tollgate.client().request("GET", "/", "X-One: 1\r\nX-ONE: 2\r\nConnection: close, x-one\r\n");
    assert!(!origin.only_request().headers.has("x-one"));
}

#[test]
fn no_nomination_removes_what_tollgate_sets_or_needs() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).listen("trusted_proxies = [\"127.0.0.1\"]").start();
    let fields = "Connection: Host, Content-Length, X-Request-Id, X-Forwarded-For, X-Forwarded-Proto\r\n\
        Connection: X-Forwarded-Host, X-Forwarded-Port, Via, Content-Type, Authorization, Cookie\r\n\
        X-Forwarded-For: 198.51.100.7\r\nContent-Type: text/plain\r\nAuthorization: Bearer a\r\n\
        Cookie: a=b\r\nContent-Length: 2\r\n";
    let mut client = tollgate.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\n{fields}\r\nok"));
    let response = client.response();
    assert_eq!(response.status(), 200);
    let request = origin.only_request();
    assert_eq!(request.body.bytes, b"ok");
    for name in ["host", "content-length", "via"] {
        assert!(request.headers.has(name), "{name} was removed: {request:#?}");
    }
    for name in ["for", "proto", "host", "port"] {
        assert!(request.headers.has(&format!("x-forwarded-{name}")), "{name}: {request:#?}");
    }
    assert_eq!(request.headers.get("x-forwarded-for").as_deref(), Some("198.51.100.7"));
    assert_eq!(request.headers.get("x-request-id"), response.header("x-request-id"));
}

#[test]
fn hop_by_hop_fields_of_an_answer_stop_here() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nX-One: 1\r\nConnection: keep-alive, X-One\r\nConnection: X-Two\r\n\
         Keep-Alive: timeout=2\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: h2c\r\n\
         X-Two: 2\r\nX-Three: 3\r\nContent-Length: 2\r\n\r\nok",
    );
    let tollgate = Tollgate::before(origin.address());
    let response = tollgate.client().allow(&["x-three"]).get("/");
    assert_eq!(response.header("x-three").as_deref(), Some("3"));
    assert_eq!(response.text(), "ok");
}

#[test]
fn an_answer_can_nominate_away_neither_its_length_nor_the_request_id() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nConnection: Content-Length, X-Request-Id, Content-Type, Date\r\n\
         Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok",
    );
    let tollgate = Tollgate::before(origin.address());
    let response = tollgate.client().get("/");
    assert_eq!(response.text(), "ok");
    assert!(response.header("content-length").is_some());
}

#[test]
fn fields_end_to_end_pass_unchanged_and_in_order() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nServer: app/1\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nCache-Control: no-store\r\nX-Odd: \u{80}\u{ff}~\r\n\
         Content-Length: 2\r\n\r\nok"
            .chars()
            .map(|character| character as u8)
            .collect::<Vec<u8>>(),
    );
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client().allow(&["set-cookie", "x-odd"]);
    let response =
        client.request("GET", "/", "Cookie: a=1\r\nCookie: b=2\r\nAccept: */*\r\nX-Odd: \t x  y \r\n");
    assert_eq!(response.head.headers.all("set-cookie"), ["a=1; Path=/", "b=2"]);
    assert_eq!(response.header("server").as_deref(), Some("app/1"));
    assert_eq!(response.header("date").as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    let odd = response.head.headers.0.iter().find(|(name, _)| name == "x-odd");
    assert_eq!(odd.map(|(_, value)| &value[..]), Some(&b"\x80\xff~"[..]));
    let headers = origin.only_request().headers;
    assert_eq!(headers.all("cookie"), ["a=1", "b=2"]);
    assert_eq!(headers.get("x-odd").as_deref(), Some("x  y"));
    assert_eq!(headers.get("accept").as_deref(), Some("*/*"));
}
