//! Upstream connections: kept, reused, noticed dead, and what may be sent twice.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use super::{echo_target, echoing, ok};
use crate::harness::client::{get, post};
use crate::harness::origin::{refused_address, unix_address};
use crate::harness::scratch::Scratch;
use crate::harness::{Origin, Setup, Tollgate};

#[test]
fn one_upstream_connection_serves_requests_of_several_clients_in_turn() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    for number in 0..10 {
        assert_eq!(tollgate.client().get(&format!("/{number}")).status(), 200);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_pooled_connection_is_reused_after_every_kind_of_body() {
    let origin = Origin::start(|mut peer| {
        while let Some(request) = peer.request() {
            peer.send(match request.target.as_str() {
                "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                "/empty" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/same" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            });
        }
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    for target in ["/length", "/chunked", "/empty", "/same", "/length"] {
        client.get(target);
    }
    client.send(post("/length", b"abc"));
    assert_eq!(client.response().text(), "ok");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn the_connection_returned_last_is_used_first() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |mut peer| {
        while let Some(request) = peer.request() {
            if request.target == "/held" {
                wait.lock().unwrap().recv().unwrap();
            }
            peer.send(ok(&peer.number.to_string()));
        }
    });
    let tollgate = Tollgate::before(origin.address());
    let (mut held, mut quick) = (tollgate.client(), tollgate.client());
    held.send(get("/held"));
    origin.wait_for_requests(1);
    assert_eq!(quick.get("/quick").text(), "2");
    go.send(()).unwrap();
    assert_eq!(held.response().text(), "1");
    tollgate.wait_for_records(2);
    assert_eq!(quick.get("/next").text(), "1");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_pooled_connection_is_closed_before_the_app_would() {
    let (ended, end) = mpsc::channel();
    let origin = Origin::start(move |mut peer| {
        peer.expect_request();
        peer.send(ok("first"));
        ended.send(peer.wait_for_end()).unwrap();
    });
    let tollgate = Setup::before(origin.address()).upstream("idle_timeout = \"100ms\"").start();
    assert_eq!(tollgate.client().get("/").text(), "first");
    end.recv_timeout(crate::harness::PATIENCE).expect("the pooled connection was not closed");
}

#[test]
fn a_connection_the_app_closed_while_pooled_costs_no_request_of_any_method() {
    let (closed, notice) = mpsc::channel();
    // Over a Unix socket, whose end is known at once; over TCP a busy kernel may tell of it later.
    let origin = Origin::start_unix(move |mut peer| {
        let request = peer.expect_request();
        peer.send(ok(&request.method));
        drop(peer);
        closed.send(()).unwrap();
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    for method in ["GET", "POST", "DELETE", "POST", "PATCH"] {
        assert_eq!(client.request(method, "/", "Content-Length: 0\r\n").text(), method);
        notice.recv().unwrap();
    }
    assert_eq!(origin.connections(), 5);
    assert_eq!(origin.received().len(), 5);
}

#[test]
fn a_connection_the_app_reset_while_pooled_costs_no_request() {
    let (closed, notice) = mpsc::channel();
    let origin = Origin::start(move |mut peer| {
        peer.expect_request();
        peer.send(ok("ok"));
        peer.reset();
        closed.send(()).unwrap();
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.get("/");
    notice.recv().unwrap();
    client.send(post("/", b"abc"));
    assert_eq!(client.response().text(), "ok");
    assert_eq!(origin.received()[1].body.bytes, b"abc");
}

/// Answers `/first`, then reads a request and goes away; later connections answer everything.
fn dies_on_the_second_request() -> Origin {
    Origin::start(|mut peer| {
        if peer.number > 1 {
            return echo_target(peer);
        }
        peer.expect_request();
        peer.send(ok("first"));
        peer.expect_request();
    })
}

#[test]
fn an_idempotent_request_without_a_body_is_sent_once_more() {
    for method in ["GET", "DELETE", "PUT", "OPTIONS"] {
        let origin = dies_on_the_second_request();
        let tollgate = Tollgate::before(origin.address());
        let mut client = tollgate.client();
        client.get("/first");
        assert_eq!(client.request(method, "/second", "").text(), "/second", "{method}");
        let targets: Vec<_> = origin.received().into_iter().map(|request| request.target).collect();
        assert_eq!(targets, ["/first", "/second", "/second"], "{method}");
        let record = tollgate.record_of("/second");
        assert_eq!((&record["status"], record["fault"].as_str()), (&200.into(), None));
    }
}

#[test]
fn nothing_else_is_ever_repeated() {
    for (method, fields, body) in [
        ("POST", "Content-Length: 0\r\n", ""),
        ("POST", "Content-Length: 3\r\n", "abc"),
        ("PATCH", "Content-Length: 0\r\n", ""),
        ("PUT", "Content-Length: 3\r\n", "abc"),
        ("DELETE", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
    ] {
        let origin = dies_on_the_second_request();
        let tollgate = Tollgate::before(origin.address());
        let mut client = tollgate.client();
        client.get("/first");
        client.send(format!("{method} /second HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}"));
        client.response().assert_local(502, "upstream_unavailable");
        assert_eq!(origin.received().len(), 2, "{method} was repeated");
        assert_eq!(tollgate.record_of("/second")["fault"], "upstream");
    }
}

#[test]
fn a_request_is_not_repeated_once_an_answer_has_begun() {
    let origin = Origin::start(|mut peer| {
        peer.expect_request();
        if peer.number == 1 {
            peer.send(ok("first"));
            peer.expect_request();
            peer.send("HTTP/1.1 2");
        }
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.get("/first");
    let response = client.get("/second");
    assert_eq!(response.status(), 502);
    assert_eq!(origin.received().len(), 2);
}

#[test]
fn the_second_failure_of_a_repeated_request_is_told() {
    let origin = Origin::start(|mut peer| {
        peer.expect_request();
        if peer.number == 1 {
            peer.send(ok("first"));
            peer.expect_request();
        }
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.get("/first");
    client.get("/second").assert_local(502, "upstream_unavailable");
    assert!(origin.received().len() <= 3, "sent more than once again");
}

#[test]
fn retries_can_be_turned_off() {
    let origin = dies_on_the_second_request();
    let tollgate = Setup::before(origin.address()).upstream("retry = { attempts = 0 }").start();
    let mut client = tollgate.client();
    client.get("/first");
    client.get("/second").assert_local(502, "upstream_unavailable");
    assert_eq!(origin.received().len(), 2);
}

#[test]
fn an_app_that_refuses_the_connection_is_unavailable_and_the_client_keeps_its_own() {
    let tollgate = Tollgate::before(&refused_address());
    let mut client = tollgate.client();
    for target in ["/one", "/two"] {
        let response = client.get(target);
        response.assert_local(503, "upstream_unavailable");
        assert!(!response.head.closes());
        let record = tollgate.record_of(target);
        assert_eq!(record["fault"], "upstream");
        assert_eq!(record["outcome"], "upstream_unavailable");
        assert_eq!(record["status"], 503);
    }
}

#[test]
fn an_app_that_comes_back_is_found_and_used() {
    let scratch = Scratch::new();
    let path = scratch.file("app.sock");
    let tollgate = Tollgate::before(&unix_address(&path));
    let mut client = tollgate.client();
    client.get("/").assert_local(503, "upstream_unavailable");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // A connection that ends without a request was a probe.
            if stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                stream.write_all(ok("back").as_bytes()).unwrap();
            }
        }
    });
    tollgate.wait_for_event("the app is up again");
    assert_eq!(client.get("/").text(), "back");
}

#[test]
fn a_connection_the_app_announces_to_close_is_not_used_again() {
    let origin = Origin::start(|mut peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!(response.text(), "ok");
        assert!(!response.head.closes(), "the app's `Connection: close` is not the client's");
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn an_upstream_connection_whose_answer_was_not_read_to_its_end_is_not_used_again() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let origin = Origin::start(move |mut peer| {
        if peer.number > 1 {
            return echo_target(peer);
        }
        peer.expect_request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nsome");
        wait.lock().unwrap().recv().unwrap();
        peer.send(vec![b'x'; 999_996]);
        assert!(peer.request().is_none(), "a request on a connection out of step");
    });
    let tollgate = Tollgate::before(origin.address());
    let mut leaver = tollgate.client();
    leaver.send(get("/left"));
    leaver.wire().until(b"some").unwrap();
    leaver.reset();
    assert_eq!(tollgate.record_of("/left")["outcome"], "downstream_left");
    assert_eq!(tollgate.client().get("/next").text(), "/next");
    go.send(()).unwrap();
}

/// The sweep of idle connections comes seldom; another client's 408 proves that the connection was idle for too long.
#[test]
fn a_connection_idle_for_too_long_is_not_used_again_even_before_it_is_swept() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address())
        .listen("header_timeout = \"250ms\"")
        .upstream("idle_timeout = \"100ms\"")
        .start();
    assert_eq!(tollgate.client().get("/first").text(), "/first");
    tollgate.client().send("G").response().assert_local(408, "request_timeout");
    assert_eq!(tollgate.client().get("/second").text(), "/second");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn an_app_that_dies_inside_its_head_has_given_a_bad_response() {
    let origin = Origin::answering_once("HTTP/1.1 200 OK\r\nContent-Le");
    let tollgate = Tollgate::before(origin.address());
    tollgate.client().get("/cut").assert_local(502, "bad_upstream_response");
    let record = tollgate.record_of("/cut");
    assert!(record["cause"].as_str().unwrap().contains("inside the answer"), "{record}");
}

/// What is written next would be read as the rest of the first request.
#[test]
fn a_connection_with_an_unfinished_request_carries_no_other() {
    let origin = Origin::start_unix(|mut peer| {
        if peer.number > 1 {
            return echo_target(peer);
        }
        peer.head().unwrap();
        peer.send(ok("early"));
        peer.wait_for_end();
    });
    let tollgate = Setup::before(origin.address()).streaming().start();
    let mut client = tollgate.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nfirst");
    assert_eq!(client.response().text(), "early");
    assert_eq!(tollgate.client().get("/next").text(), "/next");
    assert_eq!(origin.connections(), 2);
}
