//! Payloads that proxies and servers have been fooled by, kept so that tollgate never is: the ideas of
//! the HTTP Garden's corpus, of published advisories, and of what tollgate itself once got wrong.
//!
//! The law for each: the app gets exactly the requests tollgate answered from it, each with one reading, or
//! the connection ends. A payload may be refused; it may never be seen as two different things.

use crate::harness::{Origin, Peer, Setup, Tollgate};

/// Answers each request with its method and target; panics if anything cannot be read in one way.
fn strict_app(mut peer: Peer) {
    while let Some(request) = peer.request() {
        let body = format!("{} {}", request.method, request.target);
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    }
}

/// Sends a payload and returns the targets the app saw as whole requests.
fn targets_seen(payload: &[u8]) -> Vec<String> {
    let origin = Origin::start(strict_app);
    let tollgate = Setup::before(origin.address())
        .listen("header_timeout = \"300ms\"\nbody_timeout = \"300ms\"\nkeepalive_timeout = \"300ms\"")
        .start();
    let mut client = tollgate.client();
    let _ = client.try_send(payload);
    client.wire().rest();
    assert_eq!(
        tollgate.client().get("/alive").text(),
        "GET /alive",
        "{:?}",
        String::from_utf8_lossy(payload)
    );
    let whole = origin.received().into_iter().filter(|request| request.body.cut.is_none());
    whole.map(|request| request.target).filter(|target| target != "/alive").collect()
}

#[test]
fn no_payload_smuggles_a_request() {
    // In each, a lenient reader would find a request for `/smuggled`.
    let payloads: &[&[u8]] = &[
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 47\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\nX-Pad: bb\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2c\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\nX-Pad: b\r\n\r\n\r\n0\r\n\r\n",
        b"POST /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\nContent-Length: 37\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 40\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 40\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: -0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0x0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 36\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        // Chunk framing that readers cut differently.
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;\nxx\r\n2a\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n0\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0_0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        // An upgrade or a tunnel that is none (client bytes sent before the app agreed).
        b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 36\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        // A first line that ends early or late.
        b"GET /a HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a HTTP/1.1 \r\nHost: a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for payload in payloads {
        let seen = targets_seen(payload);
        assert!(
            seen.iter().all(|target| target != "/smuggled"),
            "{:?} smuggled: {seen:?}",
            String::from_utf8_lossy(payload)
        );
    }
}

#[test]
fn a_body_that_looks_like_a_request_is_a_body() {
    let inner = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for payload in [
        format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{inner}", inner.len()),
        format!(
            "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n",
            inner.len()
        ),
        format!("GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{inner}", inner.len()),
        format!("DELETE /a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{inner}", inner.len()),
    ] {
        assert_eq!(targets_seen(payload.as_bytes()), ["/a"], "{payload:?}");
    }
}

/// hyper's `pipeline_flush` lost an answer already produced when the connection then ended.
#[test]
fn an_answer_already_made_is_not_lost_by_a_bad_request_behind_it() {
    let origin = Origin::start(strict_app);
    let tollgate = Tollgate::before(origin.address());
    for _ in 0..50 {
        let mut client = tollgate.client();
        client.send("GET /good HTTP/1.1\r\nHost: a\r\n\r\nGET /bad HTTP/1.1\r\n\r\n");
        assert_eq!(client.response().text(), "GET /good");
        client.response().assert_local(400, "bad_request");
    }
}

/// RUSTSEC-2025-0037: an upstream connection was reused with the last request's body still in it.
#[test]
fn an_upstream_connection_is_not_reused_with_an_unread_request_body() {
    let origin = Origin::start(|mut peer| {
        while let Some(request) = peer.head() {
            if request.method == "POST" {
                // Answers without reading the body, and would go on reading from it.
                peer.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
                continue;
            }
            assert_ne!(request.target, "/smuggled", "a body was read as a request");
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let tollgate = Setup::before(origin.address()).streaming().start();
    for _ in 0..10 {
        let mut client = tollgate.client();
        client.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 36\r\n\r\n");
        assert_eq!(client.response().status(), 401);
        let _ = client.try_send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(tollgate.client().get("/next").text(), "ok");
    }
}

/// hyper 1.10.0 spun when the peer half-closed while a body was open.
#[test]
fn a_client_that_half_closes_in_its_body_does_not_keep_a_worker_busy() {
    let origin = Origin::start(strict_app);
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send("POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    client.finish_sending();
    client.wire().rest();
    tollgate.record_of("/half");
    assert_eq!(tollgate.client().get("/alive").text(), "GET /alive");
}

/// A client may end its direction behind a whole request; load balancers do.
#[test]
fn a_client_that_half_closes_behind_its_request_harms_nobody() {
    let origin = Origin::start(strict_app);
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send("GET /last HTTP/1.1\r\nHost: a\r\n\r\n");
    client.finish_sending();
    let (answer, _) = client.wire().rest();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.is_empty() || answer.ends_with("GET /last"), "{answer:?}");
    assert_eq!(tollgate.record_of("/last")["request_id"].as_str().map(str::is_empty), Some(false));
}
