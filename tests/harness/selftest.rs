//! The harness against itself: what it claims to notice, it notices.

use super::websocket::{self, TEXT};
use super::wire::Wire;
use super::{Binding, Client, Ending, Gunicorn, Origin, WorkerClass};

fn answer(fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nX-Request-Id: 1\r\n{fields}\r\n")
}

#[test]
fn a_client_reads_every_framing_and_sees_a_cut_body() {
    let origin = Origin::start(|mut peer| {
        let request = peer.expect_request();
        match request.target.as_str() {
            "/length" => peer.send(answer("Content-Length: 2\r\n") + "ok"),
            "/chunks" => {
                let chunks = "1\r\no\r\n1;x=y\r\nk\r\n0\r\nX-Sum: 1\r\n\r\n";
                peer.send(answer("Transfer-Encoding: chunked\r\n") + chunks)
            }
            "/close" => peer.send(answer("") + "ok"),
            "/cut" => peer.send(answer("Content-Length: 3\r\n") + "ok"),
            _ => peer.send(answer("Transfer-Encoding: chunked\r\n") + "2\r\nok\r\n"),
        };
    });
    for target in ["/length", "/chunks", "/close"] {
        assert_eq!(Client::connect(origin.address()).get(target).text(), "ok");
    }
    for target in ["/cut", "/half"] {
        let response = Client::connect(origin.address()).get(target);
        assert_eq!((&response.body.bytes[..], response.body.cut), (&b"ok"[..], Some(Ending::Closed)));
    }
    assert_eq!(origin.connections(), 5);
}

#[test]
fn a_reset_is_told_from_a_close() {
    let origin = Origin::start(|mut peer| {
        if peer.expect_request().target == "/reset" {
            peer.reset();
        }
    });
    let mut client = Client::connect(origin.address());
    client.send(super::client::get("/reset"));
    assert_eq!(client.end(), Ending::Reset);
    let mut client = Client::connect(origin.address());
    client.send(super::client::get("/close"));
    assert_eq!(client.end(), Ending::Closed);
}

#[test]
#[should_panic(expected = "the field `keep-alive` was set neither by HTTP nor by the test's app")]
fn a_field_nobody_declared_fails_the_test() {
    let origin = Origin::answering(answer("Keep-Alive: timeout=2\r\nContent-Length: 0\r\n"));
    Client::connect(origin.address()).get("/");
}

#[test]
#[should_panic(expected = "no request id")]
fn an_answer_without_a_request_id_fails_the_test() {
    let origin = Origin::ok();
    Client::connect(origin.address()).get("/");
}

#[test]
#[should_panic(expected = "the origin's script failed: connection 1: a request")]
fn a_script_that_fails_fails_the_test() {
    let origin = Origin::start_unix(|mut peer| {
        peer.expect_request();
    });
    drop(Client::connect(origin.address()));
    let failed = origin.wait_for_failure();
    assert!(failed);
}

#[test]
fn frames_of_every_length_come_back_as_sent() {
    for length in [0, 1, 125, 126, 65_535, 65_536] {
        let payload = vec![7; length];
        let expected = payload.clone();
        let origin = Origin::start(move |mut peer| {
            let frame = websocket::read(peer.wire()).unwrap();
            assert!(frame.masked);
            peer.send(websocket::unmasked(frame.opcode, &frame.payload));
        });
        let mut wire = Wire::new(super::socket::Socket::connect(origin.address()).unwrap());
        wire.send(&websocket::masked(TEXT, &payload));
        let frame = websocket::read(&mut wire).unwrap();
        assert_eq!((frame.opcode, frame.masked, frame.payload), (TEXT, false, expected));
    }
}

#[test]
fn gunicorn_starts_with_every_worker_class_on_both_kinds_of_socket() {
    for class in [WorkerClass::Sync, WorkerClass::Gthread, WorkerClass::Gevent] {
        for binding in [Binding::Tcp, Binding::Unix] {
            let app = Gunicorn::start(class, binding);
            assert!(app.said().contains("Listening at"));
        }
    }
}
