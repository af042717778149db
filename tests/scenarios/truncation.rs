//! An answer the app did not finish never looks complete to the client, whatever the framing.

use std::sync::Mutex;
use std::sync::mpsc;

use crate::harness::client::get;
use crate::harness::{Ending, Framing, Origin, PATIENCE, Tollgate};

#[test]
fn a_cut_answer_of_known_length_is_cut_for_the_client() {
    let origin = Origin::answering_once("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    let tollgate = Tollgate::before(origin.address());
    for version in ["1.1", "1.0"] {
        let mut client = tollgate.client();
        client.send(format!("GET /{version} HTTP/{version}\r\nHost: a\r\n\r\n"));
        if let Some(response) = client.assert_cut() {
            assert_eq!(response.status(), 200);
            assert!(b"half".starts_with(&response.body.bytes));
        }
        let record = tollgate.record_of(&format!("/{version}"));
        assert_eq!((&record["status"], &record["outcome"]), (&200.into(), &"upstream_reset".into()));
        assert_eq!(record["fault"], "upstream");
    }
}

#[test]
fn a_cut_chunked_answer_is_cut_for_the_client() {
    for cut in ["4\r\nhalf\r\n", "4\r\nhalf", "9\r\nhalf", "4\r\nhalf\r\n0\r\n", "4\r\nhalf\r\n0"] {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let origin = Origin::answering_once(format!("{head}{cut}"));
        let tollgate = Tollgate::before(origin.address());
        let mut client = tollgate.client();
        client.send(get("/"));
        client.assert_cut();
        assert_eq!(tollgate.record_of("/")["outcome"], "upstream_reset", "{cut:?}");
    }
}

#[test]
fn a_cut_chunked_answer_never_looks_complete_to_a_client_of_http_1_0() {
    let origin = Origin::answering_once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    if let Some(response) = client.assert_cut() {
        assert_eq!(response.body.cut, Some(Ending::Reset), "only a reset tells it from a whole answer");
    }
}

#[test]
fn an_answer_ended_by_a_reset_never_looks_complete() {
    let origin = Origin::start(|mut peer| {
        peer.expect_request();
        peer.send("HTTP/1.1 200 OK\r\n\r\nhalf");
        // The reset discards what was not read yet: let the first bytes through before it.
        peer.wire().socket().set_timeout(Some(std::time::Duration::from_millis(200)));
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| peer.wire().some()));
        peer.reset();
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send(get("/"));
    client.assert_cut();
}

#[test]
fn what_came_before_the_cut_reaches_the_client() {
    let (seen, next) = mpsc::channel::<()>();
    let next = Mutex::new(next);
    let origin = Origin::start(move |mut peer| {
        let request = peer.expect_request();
        let framing = match request.target.as_str() {
            "/length" => "Content-Length: 10\r\n\r\nhalf",
            "/chunks" => "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            _ => "\r\nhalf",
        };
        peer.send(format!("HTTP/1.1 200 OK\r\n{framing}"));
        next.lock().unwrap().recv_timeout(PATIENCE).expect("the first part did not arrive");
        peer.reset();
    });
    let tollgate = Tollgate::before(origin.address());
    for target in ["/length", "/chunks", "/close"] {
        for version in ["1.1", "1.0"] {
            let mut client = tollgate.client();
            client.send(format!("GET {target} HTTP/{version}\r\nHost: a\r\n\r\n"));
            let head = client.head();
            let body = client.wire().until(b"half").expect("the first part");
            assert!(body.ends_with(b"half"));
            seen.send(()).unwrap();
            let (rest, ending) = client.wire().rest();
            let rest = String::from_utf8_lossy(&rest).into_owned();
            match head.framing("GET") {
                Framing::Length(_) => assert_eq!(rest, ""),
                Framing::Chunked => assert!(!rest.contains("0\r\n"), "{target} {version}: {rest:?}"),
                _ => assert_eq!(ending, Ending::Reset, "{target} {version}"),
            }
        }
    }
}
