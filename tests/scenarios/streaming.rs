//! Bodies in motion: bounded memory, events at once, back-pressure, early answers, and clients that leave.

use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use super::ok;
use crate::harness::client::get;
use crate::harness::{Framing, Origin, PATIENCE, Setup, Tollgate};

const GIBIBYTE: u64 = 1 << 30;
const MEMORY_LIMIT_KIB: u64 = 64 * 1024;

/// A piece whose bytes tell where they belong, for a stream that repeats it.
fn piece() -> Vec<u8> {
    (0..1 << 20).map(|at: u32| (at % 251) as u8).collect()
}

#[test]
fn a_gibibyte_down_needs_little_memory() {
    let origin = Origin::start(|mut peer| {
        peer.expect_request();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIBIBYTE}\r\n\r\n"));
        let piece = piece();
        for _ in 0..GIBIBYTE >> 20 {
            peer.send(&piece);
        }
        peer.wait_for_end();
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send(get("/big"));
    assert_eq!(client.head().framing("GET"), Framing::Length(GIBIBYTE));
    let expected = piece();
    let mut received = 0_u64;
    while received < GIBIBYTE {
        let some = client.wire().some().expect("the body goes on");
        let mut rest = &some[..];
        while !rest.is_empty() {
            let at = (received % (1 << 20)) as usize;
            let length = rest.len().min(expected.len() - at);
            assert!(rest[..length] == expected[at..at + length], "other bytes at {received}");
            received += length as u64;
            rest = &rest[length..];
        }
    }
    assert!(tollgate.peak_memory_kib() < MEMORY_LIMIT_KIB, "{} KiB", tollgate.peak_memory_kib());
    let record = tollgate.record_of("/big");
    assert_eq!(record["outcome"], "complete");
    assert!(record["bytes_out"].as_u64().unwrap() > GIBIBYTE);
}

#[test]
fn a_gibibyte_up_needs_little_memory() {
    let origin = Origin::start(|mut peer| {
        let mut request = peer.head().expect("a head");
        assert_eq!(request.framing(), Framing::Length(GIBIBYTE));
        let mut received = 0;
        while received < GIBIBYTE {
            received += peer.wire().some().expect("the body goes on").len() as u64;
        }
        assert_eq!(received, GIBIBYTE);
        request.body.bytes = received.to_string().into_bytes();
        peer.note(&request);
        peer.send(ok("got it"));
    });
    let tollgate = Setup::before(origin.address()).listen("max_body = \"2GiB\"").start();
    let mut client = tollgate.client();
    client.send(format!("POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: {GIBIBYTE}\r\n\r\n"));
    let piece = piece();
    for _ in 0..GIBIBYTE >> 20 {
        client.send(&piece);
    }
    assert_eq!(client.response().text(), "got it");
    assert!(tollgate.peak_memory_kib() < MEMORY_LIMIT_KIB, "{} KiB", tollgate.peak_memory_kib());
    assert!(tollgate.record_of("/big")["bytes_in"].as_u64().unwrap() > GIBIBYTE);
}

/// What is taken off the app is bounded by `buffer_response` and what kernels hold; exactly, in `buffering.rs`.
#[test]
fn a_client_that_does_not_read_stops_the_app_from_writing() {
    let (stopped, stop) = mpsc::channel();
    let origin = Origin::start(move |mut peer| {
        peer.expect_request();
        peer.wire().socket().set_timeout(Some(std::time::Duration::from_millis(500)));
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        let piece = vec![b'x'; 1 << 16];
        let written = (0..10_000).take_while(|_| peer.try_send(&piece).is_ok()).count();
        stopped.send(written << 16).unwrap();
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send(get("/big"));
    let written = stop.recv_timeout(PATIENCE).expect("the app was never stopped");
    assert!(written < 64 << 20, "{written} bytes were taken from the app");
    assert!(tollgate.peak_memory_kib() < MEMORY_LIMIT_KIB);
    drop(client);
}

#[test]
fn an_app_that_does_not_read_stops_the_client_from_writing() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |mut peer| {
        peer.head().expect("a head");
        let _ = wait.lock().unwrap().recv();
    });
    let tollgate = Setup::before(origin.address()).listen("max_body = \"2GiB\"").start();
    let mut client = tollgate.client();
    client.send("POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
    client.wire().socket().set_timeout(Some(std::time::Duration::from_millis(500)));
    let piece = vec![b'x'; 1 << 16];
    let written = (0..10_000).take_while(|_| client.try_send(&piece).is_ok()).count() << 16;
    assert!(written < 64 << 20, "{written} bytes were taken from the client");
    assert!(tollgate.peak_memory_kib() < MEMORY_LIMIT_KIB);
    go.send(()).unwrap();
}

#[test]
fn an_event_reaches_the_client_before_the_next_is_written() {
    for framing in ["Transfer-Encoding: chunked\r\n", ""] {
        let (seen, next) = mpsc::channel::<()>();
        let next = Mutex::new(next);
        let origin = Origin::start(move |mut peer| {
            peer.expect_request();
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n"));
            for number in 0..5 {
                if framing.is_empty() {
                    peer.send(format!("data: {number}\n\n"));
                } else {
                    peer.send(format!("9\r\ndata: {number}\n\n\r\n"));
                }
                next.lock().unwrap().recv_timeout(PATIENCE).expect("the event did not arrive");
            }
            if !framing.is_empty() {
                peer.send("0\r\n\r\n");
            }
        });
        let tollgate = Tollgate::before(origin.address());
        let mut client = tollgate.client();
        client.send(get("/events"));
        let head = client.head();
        for number in 0..5 {
            let (event, _) = client.wire().chunk().unwrap();
            assert_eq!(String::from_utf8_lossy(&event), format!("data: {number}\n\n"));
            seen.send(()).unwrap();
        }
        assert_eq!(client.body(&head, "GET").cut, None);
    }
}

#[test]
fn the_head_reaches_the_client_before_the_body_is_written() {
    let (seen, next) = mpsc::channel::<()>();
    let next = Mutex::new(next);
    let origin = Origin::start(move |mut peer| {
        peer.expect_request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
        next.lock().unwrap().recv_timeout(PATIENCE).expect("the head did not arrive");
        peer.send("ok");
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send(get("/"));
    let head = client.head();
    seen.send(()).unwrap();
    assert_eq!(client.body(&head, "GET").bytes, b"ok");
}

#[test]
fn a_request_body_reaches_the_app_piece_by_piece() {
    let (seen, next) = mpsc::channel::<()>();
    let origin = Origin::start(move |mut peer| {
        peer.head().expect("a head");
        for number in 0..5 {
            let (piece, _) = peer.wire().chunk().unwrap();
            assert_eq!(piece, [b'0' + number]);
            seen.send(()).unwrap();
        }
        peer.wire().chunk().unwrap();
        peer.send(ok("done"));
    });
    let tollgate = Setup::before(origin.address()).streaming().start();
    let mut client = tollgate.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for number in 0..5 {
        client.send(format!("1\r\n{number}\r\n"));
        next.recv_timeout(PATIENCE).expect("the piece did not arrive");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.response().text(), "done");
}

#[test]
fn informational_answers_of_the_app_do_not_end_the_exchange() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client().allow(&["link"]);
    client.send(get("/"));
    let mut head = client.head();
    while head.status < 200 {
        head = client.head();
    }
    assert_eq!((head.status, client.body(&head, "GET").bytes), (200, b"ok".to_vec()));
    assert_eq!(tollgate.record_of("/")["status"], 200);
}

#[test]
fn an_answer_that_comes_before_the_request_is_whole_reaches_the_client() {
    let origin = Origin::start(|mut peer| {
        peer.head().expect("a head");
        peer.send("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
        peer.wait_for_end();
    });
    let tollgate = Setup::before(origin.address()).listen("max_body = \"1GiB\"").streaming().start();
    let mut client = tollgate.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nfirst bytes");
    let response = client.response();
    assert_eq!((response.status(), response.text().as_str()), (403, "no"));
    // The rest of the body may be sent or not; a second request can never be read from it.
    let mut smuggled = vec![b'x'; 1 << 20];
    smuggled.extend_from_slice(get("/smuggled").as_bytes());
    let _ = client.try_send(smuggled);
    assert!(origin.received().iter().all(|request| request.target != "/smuggled"));
}

#[test]
fn a_client_that_leaves_ends_the_exchange_with_the_app() {
    let (ended, end) = mpsc::channel();
    let origin = Origin::start(move |mut peer| {
        peer.expect_request();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
        ended.send(peer.wait_for_end()).unwrap();
    });
    let tollgate = Setup::before(origin.address()).streaming().start();
    let mut client = tollgate.client();
    client.send(get("/left"));
    client.head();
    client.wire().chunk().unwrap();
    drop(client);
    end.recv_timeout(PATIENCE).expect("the app was not told");
    let record = tollgate.record_of("/left");
    assert_eq!((&record["outcome"], &record["fault"]), (&"downstream_left".into(), &"downstream".into()));
}

/// The app is done before the request is whole, and tollgate has more of its answer than the kernel takes.
#[test]
fn an_early_answer_is_whole_for_a_client_that_is_still_sending() {
    let (ended, end) = mpsc::channel();
    let ended = Mutex::new(ended);
    let origin = Origin::start(move |mut peer| {
        let request = peer.head().unwrap();
        let size: usize = request.target[1..].parse().unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        peer.send([head.as_bytes(), &vec![b'x'; size]].concat());
        peer.wait_for_end();
        ended.lock().unwrap().send(()).unwrap();
    });
    let setup = Setup::before(origin.address()).streaming();
    let socket = setup.file("http.sock");
    let tollgate = setup.address(format!("\"unix:{}\"", socket.display())).start();
    for size in (1..=24).map(|step| step << 15) {
        let mut client = tollgate.client();
        client.send(format!("POST /{size} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nfirst"));
        let head = client.head();
        // Reads only while tollgate can take no more, so that in the end it has what the kernel has not.
        while end.recv_timeout(Duration::from_millis(5)).is_err() {
            // Under load the whole answer may come before the origin has told that it is rid of it.
            if client.wire().read_more().is_err() {
                break;
            }
        }
        for _ in 0..40 {
            client.send([b'x'; 1024]);
            std::thread::yield_now();
        }
        let body = client.body(&head, "POST");
        assert_eq!((body.bytes.len(), body.cut), (size, None));
        assert_eq!(tollgate.record_of(&format!("/{size}"))["outcome"], "complete");
    }
}

#[test]
fn a_client_that_sends_requests_ahead_is_stopped_before_they_fill_the_memory() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |mut peer| {
        peer.expect_request();
        let _ = wait.lock().unwrap().recv();
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send(get("/held"));
    origin.wait_for_requests(1);
    client.wire().socket().set_timeout(Some(std::time::Duration::from_millis(500)));
    let ahead = get("/ahead").repeat(2000);
    let written = (0..4000).take_while(|_| client.try_send(&ahead).is_ok()).count() * ahead.len();
    assert!(written < 64 << 20, "{written} bytes were taken from the client");
    assert!(tollgate.peak_memory_kib() < MEMORY_LIMIT_KIB);
    go.send(()).unwrap();
}
