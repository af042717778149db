//! `Expect: 100-continue`: a client that waits with its body is told to go on only when the body is wanted.

use super::echoing;
use crate::harness::{Setup, Tollgate};

#[test]
fn a_client_that_waits_with_its_body_is_told_to_continue() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send("POST /wait HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.wire().head().unwrap(), b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body");
    assert_eq!(client.response().text(), "/wait");
    assert_eq!(origin.only_request().body.bytes, b"body");
}

#[test]
fn a_client_whose_body_is_not_wanted_is_not_told_to_continue() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address())
        .listen("max_body = \"1KiB\"")
        .table("[[routes]]\nname = \"api\"\nmatch = \"/api/*\"")
        .start();
    for (target, length, status, code) in
        [("/api/a", 5000, 413, "payload_too_large"), ("/other", 10, 404, "not_found")]
    {
        let mut client = tollgate.client();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        ));
        client.response().assert_local(status, code);
    }
    assert_eq!(origin.received().len(), 0);
}

#[test]
fn an_expectation_other_than_100_continue_fails() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n");
    client.response().assert_local(417, "expectation_failed");
    assert_eq!(origin.received().len(), 0);
}

#[test]
fn a_client_of_http_1_0_is_never_told_to_continue() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send("POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(client.response().text(), "/");
}
