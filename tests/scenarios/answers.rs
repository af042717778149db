//! The app's answers, judged as strictly as requests: refused or visibly cut, never a connection
//! out of step.

use std::sync::Mutex;
use std::sync::mpsc;

use super::{echo_target, ok};
use crate::harness::client::get;
use crate::harness::{Origin, PATIENCE, Peer, Tollgate};

/// The first connection answers with `bytes` and stays open; later ones behave.
fn misbehaves_once(bytes: Vec<u8>) -> Origin {
    Origin::start(move |mut peer: Peer| {
        if peer.number > 1 {
            return echo_target(peer);
        }
        peer.expect_request();
        peer.send(&bytes);
        assert!(peer.request().is_none(), "a second request on a connection out of step");
    })
}

/// A malformed head: the client gets 502, and the connection is never used again.
#[test]
fn a_malformed_head_is_a_bad_upstream_response() {
    let heads: &[&[u8]] = &[
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 -20 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: no name\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX Y: space\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Space : before\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Fold: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Cr: a\rb\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ];
    for head in heads {
        let shown = String::from_utf8_lossy(head);
        let origin = misbehaves_once(head.to_vec());
        let tollgate = Tollgate::before(origin.address());
        let mut client = tollgate.client();
        let response = client.request("POST", "/bad", "Content-Length: 0\r\n");
        assert_eq!(response.status(), 502, "{shown:?} was answered with {response:#?}");
        response.assert_local(502, "bad_upstream_response");
        assert_eq!(tollgate.client().get("/good").text(), "/good", "after {shown:?}");
        let record = tollgate.record_of("/bad");
        assert_eq!(record["fault"], "upstream", "{shown:?}");
        assert_eq!(record["outcome"], "bad_upstream_response", "{shown:?}");
    }
}

#[test]
fn a_malformed_chunk_cuts_the_answer() {
    let bodies: &[&[u8]] = &[
        b"zz\r\nok\r\n0\r\n\r\n",
        b"-2\r\nok\r\n0\r\n\r\n",
        b"0x2\r\nok\r\n0\r\n\r\n",
        b"2\r\nokok\r\n0\r\n\r\n",
        b"2\r\nok0\r\n\r\n",
        b"fffffffffffffffff\r\nok\r\n0\r\n\r\n",
        b"2 2\r\nok\r\n0\r\n\r\n",
        b"\r\n2\r\nok\r\n0\r\n\r\n",
        b"2\nok\r\n0\r\n\r\n",
        b"2\r\nok\n0\r\n\r\n",
        b"2\r\nok\r\n0\r\nno colon\r\n\r\n",
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(body);
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
        let origin = misbehaves_once([&head[..], body].concat());
        let tollgate = Tollgate::before(origin.address());
        let mut client = tollgate.client();
        client.send(get("/bad"));
        let response = client.maybe_response();
        assert!(
            response.as_ref().is_none_or(|got| got.status() == 502 || got.body.cut.is_some()),
            "{shown:?} looks complete: {response:#?}"
        );
        assert_eq!(tollgate.client().get("/good").text(), "/good", "after {shown:?}");
    }
}

#[test]
fn bytes_after_an_answer_belong_to_no_other_request() {
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!",
        "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad",
        "HTTP/1.1 304 Not Modified\r\n\r\nbody all the same",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad",
    ];
    for answer in answers {
        let origin = misbehaves_once(answer.into());
        let tollgate = Tollgate::before(origin.address());
        let mut client = tollgate.client();
        client.send(get("/first"));
        let response = client.maybe_response();
        assert!(
            response.as_ref().is_none_or(|got| matches!(got.status(), 200 | 204 | 304 | 502)),
            "{answer:?}: {response:#?}"
        );
        for _ in 0..3 {
            assert_eq!(tollgate.client().get("/next").text(), "/next", "after {answer:?}");
        }
    }
}

#[test]
fn a_body_after_head_belongs_to_no_other_request() {
    let origin = misbehaves_once(ok("body all the same").into());
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    assert!(matches!(client.request("HEAD", "/first", "").status(), 200 | 502));
    assert_eq!(tollgate.client().get("/next").text(), "/next");
}

/// On a fresh connection nobody can tell an answer written too early from a quick one; two are one too many.
#[test]
fn an_answer_written_before_the_request_answers_no_second_one() {
    let (sent, notice) = std::sync::mpsc::channel();
    let origin = Origin::start(move |mut peer| {
        if peer.number > 1 {
            return echo_target(peer);
        }
        peer.send(ok("unasked"));
        peer.expect_request();
        peer.send(ok("asked"));
        sent.send(()).unwrap();
        assert!(peer.request().is_none(), "a second request on a connection out of step");
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.get("/first");
    notice.recv().unwrap();
    for _ in 0..3 {
        assert_eq!(client.get("/next").text(), "/next");
    }
}

#[test]
fn bytes_on_a_pooled_connection_end_it() {
    let (pooled, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let (written, notice) = mpsc::channel();
    let origin = Origin::start(move |mut peer| {
        if peer.number > 1 {
            return echo_target(peer);
        }
        peer.expect_request();
        peer.send(ok("first"));
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        peer.send(ok("unasked"));
        written.send(()).unwrap();
        peer.wait_for_end();
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    assert_eq!(client.get("/first").text(), "first");
    tollgate.record_of("/first");
    pooled.send(()).unwrap();
    notice.recv_timeout(PATIENCE).unwrap();
    for _ in 0..3 {
        assert_eq!(client.get("/next").text(), "/next");
    }
}

#[test]
fn a_head_without_end_is_refused() {
    let origin = Origin::start(|mut peer| {
        peer.expect_request();
        peer.send("HTTP/1.1 200 OK\r\n");
        let line = format!("X-Pad: {}\r\n", "x".repeat(1000));
        for _ in 0..10_000 {
            if peer.try_send(line.as_bytes()).is_err() {
                return;
            }
        }
        panic!("ten megabytes of head were taken");
    });
    let tollgate = Tollgate::before(origin.address());
    tollgate.client().get("/").assert_local(502, "bad_upstream_response");
}

#[test]
fn informational_answers_without_end_are_refused() {
    let origin = Origin::start(|mut peer| {
        peer.expect_request();
        while peer.try_send(b"HTTP/1.1 100 Continue\r\n\r\n").is_ok() {}
    });
    let tollgate =
        crate::harness::Setup::before(origin.address()).upstream("response_timeout = \"1s\"").start();
    let response = tollgate.client().get("/");
    assert!(matches!(response.status(), 502 | 504), "{response:#?}");
}

#[test]
fn an_app_that_closes_without_an_answer_is_unavailable() {
    let origin = Origin::start(|mut peer| {
        peer.request();
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send(crate::harness::client::post("/", b"abc"));
    client.response().assert_local(502, "upstream_unavailable");
}

#[test]
fn an_app_that_resets_without_an_answer_is_unavailable() {
    let origin = Origin::start(|mut peer| {
        peer.request();
        peer.reset();
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send(crate::harness::client::post("/", b"abc"));
    client.response().assert_local(502, "upstream_unavailable");
    assert_eq!(tollgate.record_of("/")["fault"], "upstream");
}

#[test]
fn a_valid_answer_of_unusual_form_passes() {
    for (answer, status, body) in [
        ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        ("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        ("HTTP/1.1 299 Whatever It Is\r\nContent-Length: 2\r\n\r\nok", 299, "ok"),
        ("HTTP/1.1 599 Odd\r\nContent-Length: 2\r\n\r\nok", 599, "ok"),
        ("HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nok", 200, "ok"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n02\r\nok\r\n00\r\n\r\n", 200, "ok"),
        ("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno", 500, "no"),
    ] {
        let origin = Origin::answering_once(answer);
        let tollgate = Tollgate::before(origin.address());
        let response = tollgate.client().get("/");
        assert_eq!((response.status(), response.text().as_str()), (status, body), "{answer:?}");
    }
}
