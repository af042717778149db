//! Bodies in motion: bounded memory, events at once, trailers, `Expect`, answers that come early
//! and answers that are cut.

use std::sync::Mutex;
use std::sync::mpsc;

use super::{echoing, ok};
use crate::harness::client::get;
use crate::harness::{Ending, Framing, Origin, PATIENCE, Setup, Tollgate};

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
    let tollgate = Tollgate::before(origin.address());
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
    assert!(body.trailers.0.iter().all(|(name, _)| name == "x-sum"), "{:?}", body.trailers);
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
    let tollgate = Setup::before(origin.address()).listen("max_body = \"1GiB\"").start();
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

#[test]
fn a_client_that_leaves_ends_the_exchange_with_the_app() {
    let (ended, end) = mpsc::channel();
    let origin = Origin::start(move |mut peer| {
        peer.expect_request();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
        ended.send(peer.wait_for_end()).unwrap();
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send(get("/left"));
    client.head();
    client.wire().chunk().unwrap();
    drop(client);
    end.recv_timeout(PATIENCE).expect("the app was not told");
    let record = tollgate.record_of("/left");
    assert_eq!((&record["outcome"], &record["fault"]), (&"downstream_left".into(), &"downstream".into()));
}
