//! WebSocket: a tunnel after the app's 101, and never before it.

use std::sync::Mutex;
use std::sync::mpsc;

use super::{echoing, ok};
use crate::harness::websocket::{self, AGREED, CLOSE, HANDSHAKE, TEXT};
use crate::harness::{Client, Origin, PATIENCE, Peer, Setup, Tollgate};

const ACCEPT: &[&str] = &["sec-websocket-accept"];

/// Agrees to the first request and sends every message back.
fn echo_messages(mut peer: Peer) {
    if peer.request().is_none() {
        return;
    }
    peer.send(AGREED);
    while let Ok(frame) = websocket::read(peer.wire()) {
        assert!(frame.masked, "a client's frame reached the app unmasked");
        peer.send(websocket::unmasked(frame.opcode, &frame.payload));
        if frame.opcode == CLOSE {
            return;
        }
    }
}

fn upgraded(tollgate: &Tollgate) -> Client {
    let mut client = tollgate.client().allow(ACCEPT);
    client.send(HANDSHAKE);
    assert_eq!(client.head().status, 101);
    client
}

#[test]
fn messages_pass_both_ways_after_the_app_has_agreed() {
    let origin = Origin::start(echo_messages);
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client().allow(ACCEPT);
    client.send(HANDSHAKE);
    let head = client.head();
    assert_eq!(head.status, 101);
    assert_eq!(head.headers.get("upgrade").as_deref(), Some("websocket"));
    assert_eq!(head.headers.get("sec-websocket-accept").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for payload in [b"hello".to_vec(), Vec::new(), vec![b'x'; 100_000]] {
        client.send(websocket::masked(TEXT, &payload));
        let frame = websocket::read(client.wire()).unwrap();
        assert_eq!((frame.opcode, frame.masked), (TEXT, false));
        assert!(frame.payload == payload);
    }
    client.send(websocket::masked(CLOSE, &1000_u16.to_be_bytes()));
    assert_eq!(websocket::read(client.wire()).unwrap().close_code(), 1000);
    client.end();
    let request = origin.only_request();
    assert_eq!(request.headers.get("upgrade").as_deref(), Some("websocket"));
    assert_eq!(request.headers.get("connection").unwrap().to_ascii_lowercase(), "upgrade");
    assert_eq!(request.headers.get("sec-websocket-version").as_deref(), Some("13"));
    let record = tollgate.record_of("/ws");
    assert_eq!((&record["status"], &record["outcome"]), (&101.into(), &"complete".into()));
    assert!(record["bytes_in"].as_u64().unwrap() > 100_000);
    assert!(record["bytes_out"].as_u64().unwrap() > 100_000);
}

#[test]
fn the_tunnel_works_over_a_unix_socket() {
    let origin = Origin::start_unix(echo_messages);
    let tollgate = Tollgate::before(origin.address());
    let mut client = upgraded(&tollgate);
    client.send(websocket::masked(TEXT, b"hello"));
    assert_eq!(websocket::read(client.wire()).unwrap().payload, b"hello");
}

#[test]
fn bytes_sent_early_wait_for_the_agreement_and_then_arrive() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |mut peer| {
        peer.expect_request();
        wait.lock().unwrap().recv().unwrap();
        assert!(peer.wire().unread().is_empty(), "client bytes came with the handshake");
        peer.send(AGREED);
        let frame = websocket::read(peer.wire()).unwrap();
        peer.send(websocket::unmasked(TEXT, &frame.payload));
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client().allow(ACCEPT);
    client.send([HANDSHAKE.as_bytes(), &websocket::masked(TEXT, b"early")].concat());
    origin.wait_for_requests(1);
    go.send(()).unwrap();
    assert_eq!(client.head().status, 101);
    assert_eq!(websocket::read(client.wire()).unwrap().payload, b"early");
}

#[test]
fn bytes_the_app_sends_right_behind_its_agreement_arrive() {
    let origin = Origin::start(|mut peer| {
        peer.expect_request();
        peer.send([AGREED.as_bytes(), &websocket::unmasked(TEXT, b"welcome")].concat());
        peer.wait_for_end();
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = upgraded(&tollgate);
    assert_eq!(websocket::read(client.wire()).unwrap().payload, b"welcome");
}

#[test]
fn nothing_sent_early_reaches_an_app_that_does_not_agree() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";
    for answer in [
        ok("no"),
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_owned(),
        "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno".to_owned(),
    ] {
        let (ended, end) = mpsc::channel();
        let answered = answer.clone();
        let origin = Origin::start(move |mut peer| {
            peer.expect_request();
            peer.send(&answered);
            let (rest, _) = peer.wire().rest();
            ended.send(rest).unwrap();
        });
        let tollgate = Setup::before(origin.address())
            .upstream("idle_timeout = \"200ms\"\nresponse_timeout = \"300ms\"")
            .start();
        let mut client = tollgate.client();
        client.send([HANDSHAKE, smuggled].concat());
        let response = client.response();
        assert_eq!(response.text(), "no");
        let rest = end.recv_timeout(PATIENCE).expect("the connection was not ended");
        let on_tunnel = String::from_utf8_lossy(&rest).into_owned();
        // As a second request it may come, through every check; as raw bytes it may not.
        assert!(
            on_tunnel.is_empty() || on_tunnel.to_ascii_lowercase().contains("x-request-id: "),
            "raw client bytes reached the app: {on_tunnel:?}"
        );
    }
}

#[test]
fn a_handshake_the_app_does_not_agree_to_leaves_the_connection_usable_or_closed() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send(HANDSHAKE);
    let response = client.response();
    assert_eq!(response.text(), "/ws");
    if !response.head.closes() {
        assert_eq!(client.get("/next").text(), "/next");
    }
}

#[test]
fn any_other_upgrade_is_dropped() {
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        "Connection: upgrade\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket/13\r\n",
        "Upgrade: websocket\r\n",
    ] {
        let origin = echoing();
        let tollgate = Tollgate::before(origin.address());
        let mut client = tollgate.client();
        assert_eq!(client.request("GET", "/", fields).text(), "/", "{fields:?}");
        let request = origin.only_request();
        for name in ["upgrade", "connection", "http2-settings"] {
            assert!(!request.headers.has(name), "{fields:?} reached the app as {request:#?}");
        }
        assert_eq!(client.get("/again").text(), "/again");
    }
}

#[test]
fn a_101_for_another_protocol_is_refused() {
    let origin = Origin::answering_once(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    );
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send(HANDSHAKE);
    client.response().assert_local(502, "bad_upstream_response");
}

#[test]
fn connect_and_trace_are_refused() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    for request in [
        "CONNECT app.test:443 HTTP/1.1\r\nHost: app.test:443\r\n\r\n",
        "CONNECT / HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: app.test\r\n\r\n",
    ] {
        let mut client = tollgate.client();
        client.send(request);
        client.response().assert_local(405, "method_not_allowed");
    }
    assert_eq!(origin.received().len(), 0);
}

#[test]
fn the_end_of_one_side_reaches_the_other() {
    let (ended, end) = mpsc::channel();
    let origin = Origin::start(move |mut peer| {
        let request = peer.expect_request();
        peer.send(AGREED);
        if request.target == "/ws" {
            peer.wait_for_end();
            ended.send(()).unwrap();
        }
    });
    let tollgate = Tollgate::before(origin.address());
    drop(upgraded(&tollgate));
    end.recv_timeout(PATIENCE).expect("the app was not told that the client left");
    let mut client = tollgate.client().allow(ACCEPT);
    client.send(HANDSHAKE.replace("/ws", "/closing"));
    assert_eq!(client.head().status, 101);
    client.end();
    tollgate.record_of("/ws");
    tollgate.record_of("/closing");
}

#[test]
fn a_drain_closes_tunnels_with_going_away() {
    let (seen, close) = mpsc::channel();
    let origin = Origin::start(move |mut peer| {
        peer.expect_request();
        peer.send(AGREED);
        let frame = websocket::read(peer.wire()).unwrap();
        peer.send(websocket::unmasked(TEXT, &frame.payload));
        let frame = websocket::read(peer.wire());
        peer.send(websocket::unmasked(CLOSE, &1001_u16.to_be_bytes()));
        seen.send(frame).unwrap();
    });
    let mut tollgate = Tollgate::before(origin.address());
    let mut client = upgraded(&tollgate);
    client.send(websocket::masked(TEXT, b"hello"));
    assert_eq!(websocket::read(client.wire()).unwrap().payload, b"hello");
    tollgate.terminate();
    let frame = websocket::read(client.wire()).expect("a Close before the end");
    assert!(!frame.masked);
    assert_eq!(frame.close_code(), 1001);
    client.send(websocket::masked(CLOSE, &1001_u16.to_be_bytes()));
    let frame = close.recv_timeout(PATIENCE).unwrap().expect("the app gets a Close, too");
    assert!(frame.masked, "toward the app tollgate is the client");
    assert_eq!(frame.close_code(), 1001);
    assert_eq!(tollgate.process.wait(), 0);
}

#[test]
fn only_get_of_http_1_1_asks_for_a_tunnel() {
    for handshake in [HANDSHAKE.replace("GET ", "DELETE "), HANDSHAKE.replace("HTTP/1.1", "HTTP/1.0")] {
        let origin = echoing();
        let tollgate = Tollgate::before(origin.address());
        let mut client = tollgate.client();
        client.send(&handshake);
        assert_eq!(client.response().text(), "/ws");
        let request = origin.only_request();
        assert!(!request.headers.has("upgrade"), "{handshake:?} reached the app as {request:#?}");
    }
}
