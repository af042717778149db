//! Time limits of both sides. All of them are short here; no test measures how long anything took.

use std::sync::mpsc;

use super::echoing;
use crate::harness::client::get;
use crate::harness::{Ending, Origin, PATIENCE, Setup};

/// Takes connections and requests, never answers, and reports when tollgate gave up.
fn silent() -> (Origin, mpsc::Receiver<Ending>) {
    let (given_up, gave_up) = mpsc::channel();
    let origin = Origin::start(move |mut peer| {
        if peer.request().is_some() {
            let _ = given_up.send(peer.wait_for_end());
        }
    });
    (origin, gave_up)
}

#[test]
fn a_head_that_does_not_end_is_408() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).listen("header_timeout = \"200ms\"").start();
    for start in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "] {
        let mut client = tollgate.client();
        client.send(start);
        let response = client.response();
        response.assert_local(408, "request_timeout");
        assert!(response.head.closes());
        client.end();
    }
    assert_eq!(origin.received().len(), 0);
    let record = tollgate.wait_for_record(|record| record["status"] == 408);
    assert_eq!((&record["outcome"], &record["fault"]), (&"request_timeout".into(), &"downstream".into()));
}

#[test]
fn a_head_that_trickles_is_408_all_the_same() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).listen("header_timeout = \"300ms\"").start();
    let mut client = tollgate.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ");
    while client.try_send("x").is_ok() {
        if client.wire().socket().peeked() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    client.response().assert_local(408, "request_timeout");
}

#[test]
fn the_second_head_has_its_own_time() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).listen("header_timeout = \"200ms\"").start();
    let mut client = tollgate.client();
    assert_eq!(client.get("/first").status(), 200);
    client.send("GET / HTTP/1.1\r\n");
    client.response().assert_local(408, "request_timeout");
}

#[test]
fn an_idle_connection_is_closed_without_an_answer() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).listen("keepalive_timeout = \"200ms\"").start();
    let mut fresh = tollgate.client();
    let mut used = tollgate.client();
    assert_eq!(used.get("/").status(), 200);
    assert_eq!(used.end(), Ending::Closed);
    assert_eq!(fresh.end(), Ending::Closed);
    assert_eq!(tollgate.final_records().len(), 1);
}

#[test]
fn a_body_that_stops_is_408() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).listen("body_timeout = \"200ms\"").start();
    for (path, fields, part) in [
        ("/length", "Content-Length: 10", "half"),
        ("/chunks", "Transfer-Encoding: chunked", "4\r\nhalf\r\n"),
        ("/nothing", "Content-Length: 10", ""),
    ] {
        let mut client = tollgate.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{part}"));
        let response = client.response();
        response.assert_local(408, "request_timeout");
        assert!(response.head.closes());
        assert_eq!(tollgate.record_of(path)["fault"], "downstream");
    }
    let whole = origin.received().into_iter().filter(|request| request.body.cut.is_none());
    assert_eq!(whole.count(), 0);
}

#[test]
fn an_app_that_does_not_answer_is_504_and_its_connection_is_not_used_again() {
    let (origin, gave_up) = silent();
    let tollgate = Setup::before(origin.address()).upstream("response_timeout = \"200ms\"").start();
    let mut client = tollgate.client();
    let response = client.get("/slow");
    response.assert_local(504, "upstream_timeout");
    assert!(!response.head.closes());
    gave_up.recv_timeout(PATIENCE).expect("the connection was kept");
    let record = tollgate.record_of("/slow");
    assert_eq!((&record["outcome"], &record["fault"]), (&"upstream_timeout".into(), &"upstream".into()));
    assert_eq!(origin.received().len(), 1, "a request that timed out was repeated");
    client.get("/slow").assert_local(504, "upstream_timeout");
}

#[test]
fn an_app_that_begins_its_head_and_stops_is_504() {
    let origin = Origin::start(|mut peer| {
        peer.expect_request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Le");
        peer.wait_for_end();
    });
    let tollgate = Setup::before(origin.address()).upstream("response_timeout = \"200ms\"").start();
    tollgate.client().get("/").assert_local(504, "upstream_timeout");
}

#[test]
fn an_upstream_that_does_not_take_the_connection_is_an_error_of_the_upstream() {
    // A Unix socket whose queue is full: connecting neither succeeds nor fails for good.
    let scratch = crate::harness::scratch::Scratch::new();
    let path = scratch.file("full.sock");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let _queued: Vec<_> = (0..1).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
    let address = crate::harness::origin::unix_address(&path);
    let tollgate = Setup::before(&address).upstream("connect_timeout = \"200ms\"").start();
    let response = tollgate.client().get("/");
    assert!(matches!(response.status(), 502 | 504), "{response:#?}");
    assert_eq!(tollgate.record_of("/")["fault"], "upstream");
}

#[test]
fn a_route_bounds_the_whole_exchange() {
    let (origin, gave_up) = silent();
    let tollgate = Setup::before(origin.address())
        .table("[[routes]]\nname = \"quick\"\nmatch = \"/*\"\ntimeout = \"200ms\"")
        .start();
    tollgate.client().get("/slow").assert_local(504, "upstream_timeout");
    gave_up.recv_timeout(PATIENCE).expect("the connection was kept");
}

#[test]
fn a_route_bounds_an_answer_that_trickles_and_cuts_it() {
    let origin = Origin::start(|mut peer| {
        peer.expect_request();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while peer.try_send(b"1\r\nx\r\n").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    });
    let tollgate = Setup::before(origin.address())
        .table("[[routes]]\nname = \"quick\"\nmatch = \"/*\"\ntimeout = \"300ms\"")
        .start();
    let mut client = tollgate.client();
    client.send(get("/"));
    let head = client.head();
    assert!(client.body(&head, "GET").cut.is_some(), "a cut answer looks complete");
    assert_eq!(tollgate.record_of("/")["outcome"], "upstream_timeout");
}

#[test]
fn an_answer_that_streams_outlives_the_timeout_of_its_head() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::start(move |mut peer| {
        peer.expect_request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok");
        wait.lock().unwrap().recv().unwrap();
        peer.send("ok");
    });
    let tollgate = Setup::before(origin.address()).upstream("response_timeout = \"100ms\"").start();
    let mut client = tollgate.client();
    client.send(get("/"));
    let head = client.head();
    // Longer than the timeout of the head, which therefore must not cover the body.
    std::thread::sleep(std::time::Duration::from_millis(400));
    go.send(()).unwrap();
    assert_eq!(client.body(&head, "GET").bytes, b"okok");
}

#[test]
fn a_client_that_does_not_read_is_cut_off_by_the_timeout_of_its_route() {
    let origin = Origin::start(|mut peer| {
        peer.expect_request();
        peer.send("HTTP/1.1 200 OK\r\n\r\n");
        while peer.try_send(&[b'x'; 65_536]).is_ok() {}
    });
    let tollgate = Setup::before(origin.address())
        .table("[[routes]]\nname = \"all\"\nmatch = \"/*\"\ntimeout = \"300ms\"")
        .start();
    let mut client = tollgate.client();
    client.send(get("/endless"));
    let record = tollgate.record_of("/endless");
    assert_eq!((&record["outcome"], &record["status"]), (&"request_timeout".into(), &200.into()));
    assert_eq!(client.head().status, 200);
}

/// One that another client's 504 proves to be longer than the app may take.
#[test]
fn a_pause_of_the_client_is_not_held_against_the_app() {
    let origin = Origin::start(|mut peer| {
        let head = peer.head().unwrap();
        peer.note(&head);
        if head.target == "/silent" {
            peer.wait_for_end();
            return;
        }
        let body = peer.wire().body(head.framing());
        assert_eq!(body.bytes, b"half");
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let tollgate =
        Setup::before(origin.address()).upstream("response_timeout = \"200ms\"").streaming().start();
    let mut client = tollgate.client();
    client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nha");
    origin.wait_for_requests(1);
    tollgate.client().get("/silent").assert_local(504, "upstream_timeout");
    client.send("lf");
    assert_eq!(client.response().text(), "ok");
}

/// Other clients' 408s prove that the body took longer in all than one pause of it may take.
#[test]
fn a_body_may_take_long_as_long_as_no_pause_does() {
    let origin = echoing();
    let tollgate =
        Setup::before(origin.address()).listen("body_timeout = \"1s\"\nheader_timeout = \"300ms\"").start();
    let mut client = tollgate.client();
    client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    for _ in 0..5 {
        tollgate.client().send("G").response().assert_local(408, "request_timeout");
        client.send("x");
    }
    assert_eq!(client.response().text(), "/slow");
    assert_eq!(origin.only_request().body.bytes, b"xxxxx");
}

#[test]
fn an_answer_cut_by_the_timeout_of_its_route_never_looks_complete_to_a_client_of_http_1_0() {
    let origin = Origin::start(|mut peer| {
        peer.expect_request();
        peer.send("HTTP/1.1 200 OK\r\n\r\n");
        while peer.try_send(&[b'x'; 65_536]).is_ok() {}
    });
    let tollgate = Setup::before(origin.address())
        .table("[[routes]]\nname = \"all\"\nmatch = \"/*\"\ntimeout = \"300ms\"")
        .start();
    let mut client = tollgate.client();
    client.send("GET /endless HTTP/1.0\r\nHost: a\r\n\r\n");
    let record = tollgate.record_of("/endless");
    assert_eq!(record["cause"], "route timeout");
    assert_eq!(client.wire().rest().1, Ending::Reset);
}

/// The second answer waits in the kernel's buffers for longer than the first could have taken.
#[test]
fn the_timeout_of_a_route_ends_with_its_exchange() {
    const LARGE: usize = 32 << 20;
    let origin = Origin::start(|mut peer| {
        while let Some(request) = peer.request() {
            match request.target.as_str() {
                "/large" => {
                    peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
                    peer.send(vec![b'x'; LARGE]);
                }
                "/quick" => drop(peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")),
                _ => drop(peer.wait_for_end()),
            };
        }
    });
    let tollgate = Setup::before(origin.address())
        .table("[[routes]]\nname = \"quick\"\nmatch = \"/quick\"\ntimeout = \"300ms\"")
        .table("[[routes]]\nname = \"silent\"\nmatch = \"/silent\"\ntimeout = \"400ms\"")
        .table("[[routes]]\nname = \"rest\"\nmatch = \"/*\"")
        .start();
    let mut client = tollgate.client();
    assert_eq!(client.get("/quick").status(), 200);
    client.send(get("/large"));
    let head = client.head();
    tollgate.client().get("/silent").assert_local(504, "upstream_timeout");
    let body = client.body(&head, "GET");
    assert_eq!((body.cut, body.bytes.len()), (None, LARGE));
}
