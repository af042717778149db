//! Where a body ends: answers without one, answers without a length, and what comes behind a body.

use super::{echoing, ok};
use crate::harness::{Origin, Tollgate};

#[test]
fn trailers_of_an_answer_reach_a_client_that_takes_them_and_no_other() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    let taken = client.request("GET", "/", "TE: trailers\r\nConnection: TE\r\n");
    assert_eq!(taken.text(), "ok");
    assert_eq!(taken.body.trailers.get("x-sum").as_deref(), Some("7"));
    let dropped = client.get("/");
    assert_eq!(dropped.text(), "ok");
    assert!(dropped.body.trailers.0.is_empty());
}

#[test]
fn trailers_of_a_request_reach_the_app_but_never_those_that_frame_or_identify() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Sum, Content-Length, X-Forwarded-For, Authorization\r\n\r\n\
         2\r\nok\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\nX-Forwarded-For: 1.2.3.4\r\n\
         Authorization: none\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    assert_eq!(client.response().status(), 200);
    let body = origin.only_request().body;
    assert_eq!(body.bytes, b"ok");
    assert_eq!(body.trailers.get("x-sum").as_deref(), Some("7"));
    assert_eq!(body.trailers.0.len(), 1, "{:?}", body.trailers);
}

#[test]
fn an_answer_to_head_keeps_its_length_and_has_no_body() {
    let origin = Origin::start(|mut peer| {
        while let Some(request) = peer.request() {
            match request.method.as_str() {
                "HEAD" if request.target == "/chunked" => {
                    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                }
                "HEAD" => peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
                _ => peer.send(ok("after")),
            };
        }
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    let response = client.request("HEAD", "/", "");
    assert_eq!(response.header("content-length").as_deref(), Some("1234"));
    assert_eq!(client.get("/").text(), "after");
    assert_eq!(client.request("HEAD", "/chunked", "").status(), 200);
    assert_eq!(client.get("/").text(), "after");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn statuses_without_a_body_have_none() {
    let origin = Origin::start(|mut peer| {
        while let Some(request) = peer.request() {
            peer.send(match request.target.as_str() {
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nETag: \"a\"\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            });
        }
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    let response = client.get("/204");
    assert_eq!((response.status(), response.header("content-length")), (204, None));
    assert!(!response.head.headers.has("transfer-encoding"));
    let response = client.get("/304");
    assert_eq!((response.status(), response.header("etag").as_deref()), (304, Some("\"a\"")));
    let response = client.get("/200");
    assert_eq!(response.header("content-length").as_deref(), Some("0"));
}

#[test]
fn an_answer_without_a_length_ends_where_the_app_closes() {
    let origin = Origin::answering_once("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    for _ in 0..2 {
        assert_eq!(client.get("/").text(), "until the end");
    }
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "until the end");
}

#[test]
fn trailers_of_an_answer_that_frame_or_identify_stop_here() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Sum, WWW-Authenticate, X-Forwarded-For, Connection\r\n\r\n\
         2\r\nok\r\n0\r\nX-Sum: 7\r\nWWW-Authenticate: Basic\r\nX-Forwarded-For: 1.2.3.4\r\nConnection: close\r\n\r\n",
    );
    let tollgate = Tollgate::before(origin.address());
    let response = tollgate.client().request("GET", "/", "TE: trailers\r\nConnection: TE\r\n");
    assert_eq!(response.text(), "ok");
    assert_eq!(response.body.trailers.get("x-sum").as_deref(), Some("7"));
    assert_eq!(response.body.trailers.0.len(), 1, "{:?}", response.body.trailers);
}
