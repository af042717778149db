//! An answer the app did not finish never looks complete to the client, whatever the framing.

use crate::harness::{Ending, Origin, Tollgate};

#[test]
fn a_cut_answer_of_known_length_is_cut_for_the_client() {
    let origin = Origin::answering_once("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    let tollgate = Tollgate::before(origin.address());
    for version in ["1.1", "1.0"] {
        let mut client = tollgate.client();
        client.send(format!("GET /{version} HTTP/{version}\r\nHost: a\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.body.bytes, b"half");
        assert!(response.body.cut.is_some());
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
        let response = tollgate.client().get("/");
        assert!(response.body.cut.is_some(), "{cut:?} looks complete: {response:#?}");
        assert_eq!(tollgate.record_of("/")["outcome"], "upstream_reset", "{cut:?}");
    }
}

#[test]
fn a_cut_chunked_answer_never_looks_complete_to_a_client_of_http_1_0() {
    let origin = Origin::answering_once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!(response.body.cut, Some(Ending::Reset), "only a reset tells it from a whole answer");
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
    let response = tollgate.client().get("/");
    assert!(response.body.cut.is_some(), "{response:#?}");
}
