//! HTTP/2 with prior knowledge: to the app and in the records, a request is what it is over HTTP/1.

use std::process::Command;
use std::sync::{Arc, Barrier, mpsc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};

use super::{echoing, ok};
use crate::harness::http2::{
    Answer, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, Http2, fields, frame, get_block, request,
};
use crate::harness::websocket::{self, AGREED, CLOSE, TEXT};
use crate::harness::{Framing, Origin, Setup, Tollgate};

fn h2c(origin: &Origin) -> Setup {
    Setup::before(origin.address()).listen("h2c = true")
}

fn connect(tollgate: &Tollgate) -> Http2 {
    Http2::connect(tollgate.address())
}

/// An app that sends every body back.
fn mirror() -> Origin {
    Origin::start(|mut peer| {
        while let Some(request) = peer.request() {
            let body = request.body.bytes;
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())).send(body);
        }
    })
}

#[test]
fn a_request_over_http2_reaches_the_app_as_one_over_http1() {
    let answer = "HTTP/1.1 201 Created\r\nConnection: keep-alive\r\nKeep-Alive: timeout=2\r\nX-App: yes\r\n\
                  Content-Length: 4\r\n\r\ndone";
    let origin = Origin::answering(answer);
    let tollgate = h2c(&origin).start();
    let request = Request::builder()
        .method("POST")
        .uri("http://app.test:8080/made?a=%20b")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .header("x-request-id", "told-by-the-proxy")
        .header("content-length", "5")
        .body(())
        .unwrap();
    let answer = connect(&tollgate).request(request, b"hello").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (201, "done"));
    assert_eq!((answer.field("x-app"), answer.field("content-length")), (Some("yes"), Some("4")));
    assert_eq!(answer.field("x-request-id"), Some("told-by-the-proxy"));
    assert!(answer.field("date").is_some());
    let received = origin.only_request();
    assert_eq!((received.method.as_str(), received.target.as_str()), ("POST", "/made?a=%20b"));
    assert_eq!(received.headers.get("host").as_deref(), Some("app.test:8080"));
    assert_eq!(received.headers.get("cookie").as_deref(), Some("a=1; b=2"));
    assert_eq!(received.headers.get("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(received.headers.get("content-length").as_deref(), Some("5"));
    assert_eq!(received.body.bytes, b"hello");
    let record = tollgate.record_of("/made");
    assert_eq!((&record["status"], &record["outcome"]), (&201.into(), &"complete".into()));
    assert!(
        record["bytes_in"].as_u64().unwrap() > 5 && record["bytes_out"].as_u64().unwrap() > 4,
        "{record}"
    );
}

#[test]
fn http1_is_spoken_on_the_same_address() {
    let origin = echoing();
    let tollgate = h2c(&origin).start();
    assert_eq!(tollgate.client().get("/one").text(), "/one");
    // As far as the preface goes, then not.
    let mut client = tollgate.client();
    client.send("P");
    client.send("RI /two HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().head.status, 200);
    assert_eq!(connect(&tollgate).get("/three").text(), "/three");
}

#[test]
fn without_h2c_the_preface_is_a_request_of_a_wrong_version() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.response().assert_local(400, "bad_request");
}

#[test]
fn bodies_pass_whole_both_ways() {
    let origin = mirror();
    let tollgate = h2c(&origin).start();
    let http2 = connect(&tollgate);
    for size in [0, 1, 65_535, 65_536, 1_000_000, 5_000_000] {
        let body: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
        let answer = http2.request(request("POST", "/mirror"), &body).unwrap();
        assert!(answer.body == body, "{size}");
    }
    // What is not announced is chunked, or read first and then of a known length.
    let framings: Vec<Framing> = origin.received().iter().map(|request| request.framing()).collect();
    assert_eq!(framings[1], Framing::Length(1));
    assert_eq!(framings[5], Framing::Chunked);
}

#[test]
fn trailers_pass_both_ways() {
    let origin = Origin::start(|mut peer| {
        let request = peer.expect_request();
        assert_eq!(request.body.trailers.get("x-sum").as_deref(), Some("5"));
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Total\r\n\r\n2\r\nok\r\n0\r\nX-Total: 2\r\n\r\n");
    });
    let tollgate = h2c(&origin).start();
    let http2 = connect(&tollgate);
    let answer = http2.within(async {
        let mut send = http2.ready_now();
        let asked = Request::builder().method("POST").uri("http://app.test/t").header("te", "trailers");
        let (response, mut stream) = send.send_request(asked.body(()).unwrap(), false).unwrap();
        stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
        stream
            .send_trailers(HeaderMap::from_iter([(
                http::HeaderName::from_static("x-sum"),
                HeaderValue::from_static("5"),
            )]))
            .unwrap();
        let (head, mut body) = response.await.unwrap().into_parts();
        while let Some(data) = body.data().await {
            assert_eq!(data.unwrap(), "ok");
        }
        (head.status, body.trailers().await.unwrap())
    });
    assert_eq!(answer.0, 200);
    assert_eq!(answer.1.unwrap()["x-total"], "2");
}

#[test]
fn streams_of_one_connection_are_in_the_app_at_the_same_time() {
    const MANY: usize = 40;
    let all_here = Arc::new(Barrier::new(MANY));
    let origin = Origin::start(move |mut peer| {
        if let Some(request) = peer.request() {
            all_here.wait();
            peer.send(ok(&request.target));
        }
    });
    let tollgate = h2c(&origin).start();
    let http2 = connect(&tollgate);
    let begun: Vec<_> = (0..MANY).map(|n| http2.begin(request("GET", &format!("/{n}")), b"")).collect();
    for (n, answer) in begun.into_iter().enumerate() {
        assert_eq!(http2.within(answer).unwrap().unwrap().text(), format!("/{n}"));
    }
    assert_eq!(tollgate.wait_for_records(MANY).len(), MANY);
}

#[test]
fn the_answer_to_head_has_no_body_and_its_length() {
    let origin = Origin::start(|mut peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n");
        }
    });
    let tollgate = h2c(&origin).start();
    let answer = connect(&tollgate).request(request("HEAD", "/h"), b"").unwrap();
    assert_eq!((answer.status, answer.field("content-length"), answer.body.len()), (200, Some("12"), 0));
    assert_eq!(tollgate.record_of("/h")["outcome"], "complete");
}

#[test]
fn tollgates_own_answers_are_as_over_http1() {
    let origin = echoing();
    let limits = "[limits.one]\nkey = \"global\"\nrate = \"1/hour\"\n\
                  [[routes]]\nname = \"limited\"\nmatch = \"/limited\"\nlimits = [\"one\"]\n\
                  [[routes]]\nname = \"small\"\nmatch = \"/small\"\nmax_body = \"1KiB\"\n";
    let tollgate = h2c(&origin).table(limits).start();
    let http2 = connect(&tollgate);
    http2.get("/nowhere").assert_local(404, "not_found");
    assert_eq!(http2.get("/limited").status, 200);
    let refused = http2.get("/limited");
    refused.assert_local(429, "rate_limited");
    assert!(refused.field("retry-after").is_some());
    // Answered while the rest of the body is still to come.
    let body = vec![b'x'; 300_000];
    http2.request(request("POST", "/small"), &body).unwrap().assert_local(413, "payload_too_large");
    let long = format!("/{}", "a".repeat(5_000));
    http2.get(&long).assert_local(414, "uri_too_long");
    let large =
        Request::builder().uri("http://app.test/x").header("x-large", "a".repeat(9_000)).body(()).unwrap();
    http2.request(large, b"").unwrap().assert_local(431, "headers_too_large");
    let other_host =
        Request::builder().uri("http://app.test/x").header("host", "other.test").body(()).unwrap();
    http2.request(other_host, b"").unwrap().assert_local(400, "bad_request");
    let blank = Request::builder().uri("http://app.test/x").header("x-blank", " a").body(()).unwrap();
    http2.request(blank, b"").unwrap().assert_local(400, "bad_request");
    let connect = Request::builder().method("CONNECT").uri("app.test:443").body(()).unwrap();
    http2.request(connect, b"").unwrap().assert_local(405, "method_not_allowed");
    let codes = ["not_found", "rate_limited", "payload_too_large", "uri_too_long", "headers_too_large"];
    for code in codes {
        tollgate.wait_for_record(|record| record["outcome"] == code);
    }
}

#[test]
fn a_client_that_takes_its_request_back_leaves_the_others_alone() {
    let (told, asked) = mpsc::channel();
    let origin = Origin::start(move |mut peer| {
        while let Some(request) = peer.request() {
            if request.target == "/slow" {
                let _ = told.send(());
                peer.wait_for_end();
                return;
            }
            peer.send(ok(&request.target));
        }
    });
    let on_disconnect = "[[routes]]\nname = \"all\"\nmatch = \"/*\"\non_disconnect = \"abort\"\n";
    let tollgate = h2c(&origin).table(on_disconnect).start();
    let http2 = connect(&tollgate);
    let slow = http2.within(async {
        let mut send = http2.ready_now();
        let (response, stream) = send.send_request(request("GET", "/slow"), true).unwrap();
        // Sent by the connection's task.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        while asked.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        (response, stream)
    });
    assert_eq!(http2.get("/before").text(), "/before");
    let (response, mut stream) = slow;
    stream.send_reset(h2::Reason::CANCEL);
    drop(response);
    assert_eq!(http2.get("/after").text(), "/after");
    let record = tollgate.record_of("/slow");
    assert_eq!((&record["status"], &record["outcome"]), (&499.into(), &"downstream_left".into()));
}

#[test]
fn an_answer_that_is_cut_is_a_reset_and_never_looks_whole() {
    let origin = Origin::start(|mut peer| {
        if peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun");
        }
    });
    let tollgate = h2c(&origin).start();
    let http2 = connect(&tollgate);
    let cut = http2.request(request("GET", "/cut"), b"");
    assert!(cut.is_err_and(|error| error.reason() == Some(h2::Reason::INTERNAL_ERROR)));
    assert_eq!(tollgate.record_of("/cut")["outcome"], "upstream_reset");
}

fn handshake(http2: &Http2, path: &str) -> (http::Response<h2::RecvStream>, h2::SendStream<Bytes>) {
    assert!(http2.knows_tunnels());
    http2.within(async {
        let mut send = http2.ready_now();
        let mut asked = Request::builder()
            .method("CONNECT")
            .uri(format!("http://app.test{path}"))
            .header("sec-websocket-version", "13")
            .header("origin", "http://app.test")
            .body(())
            .unwrap();
        asked.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let (response, stream) = send.send_request(asked, false).unwrap();
        (response.await.unwrap(), stream)
    })
}

#[test]
fn a_websocket_passes_over_a_stream() {
    let origin = Origin::start(|mut peer| {
        let asked = peer.expect_request();
        assert_eq!(
            (asked.method.as_str(), asked.headers.get("upgrade").as_deref()),
            ("GET", Some("websocket"))
        );
        assert_eq!(asked.headers.get("sec-websocket-key").unwrap().len(), 24);
        assert_eq!(asked.headers.get("sec-websocket-version").as_deref(), Some("13"));
        peer.send(AGREED);
        while let Ok(frame) = websocket::read(peer.wire()) {
            peer.send(websocket::unmasked(frame.opcode, &frame.payload));
            if frame.opcode == CLOSE {
                return;
            }
        }
    });
    let tollgate = h2c(&origin).start();
    let http2 = connect(&tollgate);
    let (response, mut stream) = handshake(&http2, "/ws");
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    let mut incoming = response.into_body();
    http2.within(async {
        stream.send_data(websocket::masked(TEXT, b"hello").into(), false).unwrap();
        let mut echoed = Vec::new();
        while echoed.len() < 7 {
            echoed.extend_from_slice(&incoming.data().await.unwrap().unwrap());
        }
        assert_eq!(echoed, websocket::unmasked(TEXT, b"hello"));
        stream.send_data(websocket::masked(CLOSE, &1000_u16.to_be_bytes()).into(), true).unwrap();
        let mut rest = Vec::new();
        while let Some(data) = incoming.data().await {
            rest.extend_from_slice(&data.unwrap());
        }
        assert_eq!(rest, websocket::unmasked(CLOSE, &1000_u16.to_be_bytes()));
    });
    // Other streams go on beside it and after it.
    let record = tollgate.record_of("/ws");
    assert_eq!((&record["status"], &record["outcome"]), (&101.into(), &"complete".into()));
}

#[test]
fn a_websocket_that_the_app_does_not_want_is_answered() {
    let origin = Origin::start(|mut peer| {
        while let Some(request) = peer.request() {
            let refused = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
            peer.send(if request.target == "/refused" { refused.to_owned() } else { ok("a page") });
        }
    });
    let tollgate = h2c(&origin).start();
    let http2 = connect(&tollgate);
    assert_eq!(handshake(&http2, "/refused").0.status(), 403);
    // A 200 would tell the client that its tunnel is there.
    assert_eq!(handshake(&http2, "/page").0.status(), 502);
    assert_eq!(tollgate.record_of("/page")["outcome"], "bad_upstream_response");
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let origin = mirror();
    let tollgate = h2c(&origin).start();
    let mut frames = Frames::connect(tollgate.address());
    let block = fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/asked"),
        (":authority", "a"),
        ("expect", "100-continue"),
    ]);
    frames.send(&frame(HEADERS, END_HEADERS, 1, &block));
    // Compressed, but so short that it can only be the status: 100, without an end of the stream.
    let asked = frames.next_of(HEADERS).unwrap();
    assert_eq!(asked.flags & END_STREAM, 0);
    assert!(asked.payload.len() <= 6, "{asked:?}");
    assert!(origin.received().is_empty());
    frames.send(&frame(DATA, END_STREAM, 1, b"hello"));
    assert_eq!(frames.next_of(DATA).unwrap().payload, b"hello");
}

#[test]
fn an_idle_connection_is_ended_after_its_time() {
    let origin = echoing();
    let tollgate = h2c(&origin).listen("keepalive_timeout = \"100ms\"").start();
    let http2 = connect(&tollgate);
    assert_eq!(http2.get("/x").text(), "/x");
    let ended = http2.within(async {
        loop {
            match http2.ready_now().ready().await {
                Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                Err(_) => return true,
            }
        }
    });
    assert!(ended);
    assert_eq!(tollgate.client().get("/y").text(), "/y");
}

#[test]
fn a_drain_finishes_open_streams_and_takes_no_more() {
    let (told, asked) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::start(move |mut peer| {
        while let Some(request) = peer.request() {
            told.send(()).unwrap();
            wait.lock().unwrap().recv().unwrap();
            peer.send(ok(&request.target));
        }
    });
    let mut tollgate = h2c(&origin).start();
    let http2 = connect(&tollgate);
    let answer = http2.begin(request("GET", "/last"), b"");
    http2.within(async {
        while asked.try_recv().is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    });
    tollgate.terminate();
    tollgate.wait_until_refusing();
    go.send(()).unwrap();
    assert_eq!(http2.within(answer).unwrap().unwrap().text(), "/last");
    assert_eq!(tollgate.process.wait(), 0);
}

/// A client with a large window that reads little by little: most of what it is sent waits in tollgate.
#[test]
fn a_drain_waits_until_slow_clients_have_their_answers_and_records_them_then() {
    const SIZE: usize = 60_000;
    const STREAMS: u32 = 40;
    let origin =
        Origin::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n{}", "x".repeat(SIZE)));
    let mut tollgate = h2c(&origin).start();
    let mut frames = Frames::connect_with_window(tollgate.address(), 1 << 30);
    for at in 0..STREAMS {
        frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * at + 1, &get_block("/slow")));
    }
    origin.wait_for_requests(STREAMS as usize);
    tollgate.terminate();
    tollgate.wait_until_refusing();
    // Longer than the last word of a connection without streams is waited for.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let early = tollgate.records().iter().filter(|record| record["outcome"] == "complete").count();
    assert!(early < STREAMS as usize, "all are said to be complete, and nothing was read");
    let (mut ended, mut received) = (0, 0);
    while let Some(frame) = frames.next() {
        if frame.kind == DATA {
            received += frame.payload.len();
            ended += u32::from(frame.flags & END_STREAM != 0);
        }
    }
    assert_eq!((ended, received), (STREAMS, STREAMS as usize * SIZE));
    assert_eq!(tollgate.process.wait(), 0);
    let records = tollgate.wait_for_records(STREAMS as usize);
    assert!(records.iter().all(|record| record["outcome"] == "complete"));
}

#[test]
fn a_connection_that_says_nothing_holds_up_no_drain() {
    let origin = echoing();
    let mut tollgate = h2c(&origin).start();
    assert_eq!(connect(&tollgate).get("/x").text(), "/x");
    let silent = tollgate.client();
    let begun = Frames::connect(tollgate.address());
    assert_eq!(tollgate.stop(), 0);
    drop((silent, begun));
    tollgate.wait_for_event("drained");
}

#[test]
fn answers_without_a_body_are_given_no_length() {
    let origin = Origin::start(|mut peer| {
        while let Some(request) = peer.request() {
            peer.send(match request.target.as_str() {
                "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/empty" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            });
        }
    });
    let tollgate = h2c(&origin).start();
    let http2 = connect(&tollgate);
    for (method, path, length) in
        [("GET", "/304", None), ("GET", "/204", None), ("GET", "/empty", Some("0")), ("HEAD", "/head", None)]
    {
        let answer = http2.request(request(method, path), b"").unwrap();
        assert_eq!(answer.field("content-length"), length, "{path}");
    }
}

#[test]
fn curl_and_h2load_are_served() {
    let origin = mirror();
    let tollgate = h2c(&origin).workers(2).start();
    let url = |path: &str| format!("http://{}{path}", tollgate.address());
    let curl = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--http2-prior-knowledge", "--data", "hello"])
        .args(["--write-out", " %{http_version} %{http_code}", &url("/curl")])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&curl.stdout),
        "hello 2 200",
        "{}",
        String::from_utf8_lossy(&curl.stderr)
    );
    let load = Command::new("h2load")
        .args(["--requests=5000", "--clients=5", "--max-concurrent-streams=50", &url("/load")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&load.stdout);
    assert!(said.contains("5000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
    let records = tollgate.wait_for_records(5001);
    assert!(records.iter().all(|record| record["outcome"] == "complete"));
}

#[test]
fn an_answer_is_taken_off_the_app_before_a_slow_client_wants_it() {
    const SIZE: usize = 600_000;
    let (told, done) = mpsc::channel();
    let origin = Origin::start(move |mut peer| {
        if peer.request().is_some() {
            let body = vec![b'x'; SIZE];
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n")).send(body);
            let _ = told.send(());
            peer.wait_for_end();
        }
    });
    let tollgate = h2c(&origin).start();
    let mut small = h2::client::Builder::new();
    small.initial_window_size(1_000);
    let http2 = Http2::connect_with(tollgate.address(), &small);
    let answer = http2.within(async {
        let (response, _) = http2.ready_now().send_request(request("GET", "/large"), true).unwrap();
        let response = response.await.unwrap();
        while done.try_recv().is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        let mut incoming = response.into_body();
        let mut received = 0;
        while let Some(data) = incoming.data().await {
            let len = data.unwrap().len();
            received += len;
            incoming.flow_control().release_capacity(len).unwrap();
        }
        received
    });
    assert_eq!(answer, SIZE);
    assert_eq!(tollgate.record_of("/large")["outcome"], "complete");
}

#[test]
fn what_is_local_is_whole_over_a_window_of_one_byte() {
    let origin = echoing();
    let tollgate = h2c(&origin).table("[[routes]]\nname = \"a\"\nmatch = \"/a\"\n").start();
    let mut small = h2::client::Builder::new();
    small.initial_window_size(1);
    let answer: Answer = Http2::connect_with(tollgate.address(), &small).get("/nowhere");
    answer.assert_local(404, "not_found");
}
