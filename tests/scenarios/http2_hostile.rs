//! Clients over HTTP/2 that send what no client should: it costs them their connection, and nobody else anything.

use std::time::{Duration, Instant};

use super::{echoing, ok};
use crate::harness::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, Http2, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, fields, frame, get_block, request,
};
use crate::harness::{Origin, PATIENCE, Setup, Tollgate};

const ENHANCE_YOUR_CALM: u32 = 0xb;
const REFUSED_STREAM: u32 = 0x7;
const PROTOCOL_ERROR: u32 = 0x1;
/// More than the process has at rest, less than a handful of unbounded buffers.
const MEMORY_LIMIT_KIB: u64 = 64 * 1024;

fn h2c(origin: &Origin) -> Setup {
    Setup::before(origin.address()).listen("h2c = true")
}

fn assert_serves(tollgate: &Tollgate) {
    assert_eq!(Http2::connect(tollgate.address()).get("/served").text(), "/served");
}

fn wait_for_descriptors(tollgate: &Tollgate, most: usize) {
    let deadline = Instant::now() + PATIENCE;
    while tollgate.process.open_files() > most {
        assert!(Instant::now() < deadline, "{} descriptors stay open", tollgate.process.open_files());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn error_of(frame: &crate::harness::http2::Frame) -> u32 {
    u32::from_be_bytes(frame.payload[..4].try_into().unwrap())
}

/// A client that sends these bytes until it is cut off. It never reads before that, as an attacker would not.
fn flood(tollgate: &Tollgate, beginning: &[u8], bytes: &[u8]) -> Option<u32> {
    let mut frames = Frames::connect(tollgate.address());
    frames.send(beginning);
    let many = bytes.repeat(1 + 4096 / bytes.len());
    let mut sent = 0;
    while sent < 64 << 20 && frames.try_send(&many) {
        sent += many.len();
    }
    assert!(sent < 64 << 20, "64 MiB of them were taken");
    frames.goodbye()
}

#[test]
fn floods_of_frames_that_only_cost_end_their_connection() {
    let origin = echoing();
    let tollgate = h2c(&origin).admin("").start();
    assert_serves(&tollgate);
    let files = tollgate.process.open_files();
    let begun = frame(
        HEADERS,
        END_HEADERS,
        1,
        &fields(&[(":method", "POST"), (":scheme", "http"), (":path", "/begun"), (":authority", "a")]),
    );
    let open_head = frame(HEADERS, 0, 1, &get_block("/open"));
    let floods: [(&str, &[u8], Vec<u8>); 7] = [
        ("PING", &[], frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", &[], frame(SETTINGS, 0, 0, &[])),
        ("empty DATA", &begun, frame(DATA, 0, 1, &[])),
        ("CONTINUATION", &open_head, frame(CONTINUATION, 0, 1, &[])),
        ("WINDOW_UPDATE", &begun, frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("PRIORITY", &[], frame(2, 0, 1, &[0, 0, 0, 0, 1])),
        ("unknown", &[], frame(0xfe, 0, 0, &[0; 3])),
    ];
    for (name, beginning, bytes) in floods {
        let goodbye = flood(&tollgate, beginning, &bytes);
        // Bytes that were not read make the last word a reset, in which GOAWAY may be lost.
        assert!(
            goodbye.is_none_or(|code| [ENHANCE_YOUR_CALM, PROTOCOL_ERROR].contains(&code)),
            "{name}: {goodbye:?}"
        );
        assert_serves(&tollgate);
    }
    let peak = tollgate.peak_memory_kib();
    assert!(peak < MEMORY_LIMIT_KIB, "{peak} KiB");
    wait_for_descriptors(&tollgate, files + 2);
    let floods = tollgate.operator().status()["traffic"]["http2_floods"].as_u64().unwrap();
    assert!(floods >= 4, "{floods}");
}

#[test]
fn who_takes_requests_back_as_fast_as_it_sends_them_is_cut_off() {
    let origin = echoing();
    let tollgate = h2c(&origin).start();
    assert_serves(&tollgate);
    let mut frames = Frames::connect(tollgate.address());
    let block = get_block("/rapid");
    let mut stream = 1;
    while stream < 200_000 {
        let rapid = [
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &block),
            frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        ];
        if !frames.try_send(&rapid.concat()) {
            break;
        }
        stream += 2;
    }
    assert!(stream < 200_000, "a hundred thousand requests were taken and taken back");
    assert_serves(&tollgate);
    assert!(tollgate.peak_memory_kib() < MEMORY_LIMIT_KIB);
    let records = tollgate.final_records();
    let rapid = records.iter().filter(|record| record["path"] == "/rapid").count();
    assert!(rapid <= 2_000, "{rapid} of them were served");
}

#[test]
fn more_streams_than_may_be_are_refused_without_being_served() {
    let origin = Origin::start(|mut peer| {
        while let Some(request) = peer.request() {
            if request.target == "/held" {
                peer.wait_for_end();
                return;
            }
            peer.send(ok(&request.target));
        }
    });
    let tollgate = h2c(&origin).listen("http2 = { max_streams = 3 }\nmax_connections = 12").start();
    let mut frames = Frames::connect(tollgate.address());
    for stream in [1, 3, 5] {
        frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &get_block("/held")));
    }
    origin.wait_for_requests(3);
    frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 7, &get_block("/beyond")));
    let reset = frames.next_of(RST_STREAM).unwrap();
    assert_eq!((reset.stream, error_of(&reset)), (7, REFUSED_STREAM));
    // Each stream takes a place among all connections: 2 connections and 10 streams, and then no more.
    let others: Vec<Frames> = (0..2)
        .map(|_| {
            let mut other = Frames::connect(tollgate.address());
            for stream in [1, 3, 5] {
                other.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &get_block("/held")));
            }
            other
        })
        .collect();
    origin.wait_for_requests(9);
    let mut last = others.into_iter().next_back().unwrap();
    last.send(&frame(RST_STREAM, 0, 5, &[0, 0, 0, 8]));
    drop(frames);
    assert_serves(&tollgate);
}

#[test]
fn no_place_for_a_stream_is_a_refusal_that_may_be_repeated() {
    let origin = Origin::start(|mut peer| {
        peer.request();
        peer.wait_for_end();
    });
    let tollgate = h2c(&origin).listen("max_connections = 3").start();
    let mut frames = Frames::connect(tollgate.address());
    for stream in [1, 3] {
        frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &get_block("/held")));
    }
    origin.wait_for_requests(2);
    frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 5, &get_block("/beyond")));
    let reset = frames.next_of(RST_STREAM).unwrap();
    assert_eq!((reset.stream, error_of(&reset)), (5, REFUSED_STREAM));
    assert_eq!(origin.received().len(), 2);
}

#[test]
fn malformed_requests_are_reset_and_never_reach_the_app() {
    let origin = echoing();
    let tollgate = h2c(&origin).start();
    let base = [(":method", "GET"), (":scheme", "http"), (":path", "/bad"), (":authority", "a")];
    let with = |extra: &[(&'static str, &'static str)]| fields(&[&base[..], extra].concat());
    let malformed: [(&str, Vec<u8>); 8] = [
        ("a field of the connection", with(&[("connection", "close")])),
        ("a coding of the connection", with(&[("transfer-encoding", "chunked")])),
        ("te", with(&[("te", "gzip")])),
        ("upper case", with(&[("X-Upper", "a")])),
        ("a line end", with(&[("x-split", "a\r\nx: b")])),
        ("a pseudo field behind others", with(&[(":path", "/other")])),
        ("no path", fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a")])),
        ("an unknown pseudo field", with(&[(":what", "a")])),
    ];
    for (name, block) in malformed {
        let mut frames = Frames::connect(tollgate.address());
        frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
        let end = std::iter::from_fn(|| frames.next())
            .find(|frame| [RST_STREAM, GOAWAY].contains(&frame.kind))
            .unwrap_or_else(|| panic!("{name}: neither reset nor ended"));
        let code = if end.kind == RST_STREAM {
            error_of(&end)
        } else {
            u32::from_be_bytes(end.payload[4..8].try_into().unwrap())
        };
        assert_eq!(code, PROTOCOL_ERROR, "{name}");
    }
    assert!(origin.received().is_empty(), "{:?}", origin.received());
    assert_serves(&tollgate);
}

#[test]
fn a_body_of_another_length_than_announced_never_reaches_the_app_as_a_whole() {
    let origin = echoing();
    let tollgate = h2c(&origin).start();
    for (announced, body) in [("5", &b"four"[..]), ("3", b"four")] {
        let mut frames = Frames::connect(tollgate.address());
        let block = fields(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/length"),
            (":authority", "a"),
            ("content-length", announced),
        ]);
        frames.send(&frame(HEADERS, END_HEADERS, 1, &block));
        frames.send(&frame(DATA, END_STREAM, 1, body));
        let reset = frames.next_of(RST_STREAM).unwrap();
        assert_eq!((reset.stream, error_of(&reset)), (1, PROTOCOL_ERROR), "{announced}");
    }
    assert!(origin.received().is_empty(), "{:?}", origin.received());
    assert_serves(&tollgate);
}

#[test]
fn heads_beyond_all_limits_are_refused_by_status_or_end_the_connection() {
    let origin = echoing();
    let tollgate = h2c(&origin).start();
    let mut frames = Frames::connect(tollgate.address());
    let large = "v".repeat(16_000);
    let mut block = get_block("/large");
    for at in 0..20 {
        block.extend(fields(&[(["x-a", "x-b"][at % 2], &large)]));
    }
    let pieces: Vec<&[u8]> = block.chunks(16_000).collect();
    frames.send(&frame(HEADERS, END_STREAM, 1, pieces[0]));
    for (at, piece) in pieces[1..].iter().enumerate() {
        let flags = if at == pieces.len() - 2 { END_HEADERS } else { 0 };
        if !frames.try_send(&frame(CONTINUATION, flags, 1, piece)) {
            break;
        }
    }
    let answered = std::iter::from_fn(|| frames.next())
        .find(|frame| [HEADERS, RST_STREAM, GOAWAY].contains(&frame.kind));
    // An answer of 431 has no body; whichever it is, the app has not seen it.
    assert!(answered.is_some());
    assert!(origin.received().is_empty());
    assert_serves(&tollgate);
    assert!(tollgate.peak_memory_kib() < MEMORY_LIMIT_KIB);
}

#[test]
fn a_head_that_is_never_finished_ends_its_connection() {
    let origin = echoing();
    let tollgate = h2c(&origin).listen("header_timeout = \"200ms\"").start();
    let unfinished = [
        frame(HEADERS, END_STREAM, 1, &get_block("/unfinished")),
        frame(HEADERS, END_HEADERS, 1, &get_block("/unfinished"))[..20].to_vec(),
        frame(PING, 0, 0, &[0; 8])[..3].to_vec(),
    ];
    for bytes in unfinished {
        let mut frames = Frames::connect(tollgate.address());
        frames.send(&bytes);
        frames.goodbye();
    }
    // Not even the preface.
    let mut client = tollgate.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM");
    client.end();
    assert!(origin.received().is_empty());
    assert_serves(&tollgate);
}

#[test]
fn a_client_that_gives_no_window_is_cut_after_the_send_timeout() {
    let origin = Origin::start(|mut peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n").send(vec![b'x'; 200_000]);
        }
    });
    let tollgate = h2c(&origin).listen("send_timeout = \"300ms\"").start();
    let mut frames = Frames::connect(tollgate.address());
    frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get_block("/stalled")));
    let reset = frames.next_of(RST_STREAM).unwrap();
    assert_eq!(reset.stream, 1);
    let record = tollgate.record_of("/stalled");
    assert_eq!((&record["outcome"], &record["fault"]), (&"request_timeout".into(), &"downstream".into()));
    assert_eq!(record["cause"], "client took nothing of the answer for send_timeout");
    // The connection is as good as before.
    frames.send(&frame(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]));
    frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &get_block("/again")));
    assert_eq!(frames.next_of(HEADERS).unwrap().stream, 3);
}

#[test]
fn a_body_that_stops_is_408_as_over_http1() {
    let origin = echoing();
    let tollgate = h2c(&origin).listen("body_timeout = \"200ms\"").start();
    let http2 = Http2::connect(tollgate.address());
    let answer = http2.within(async {
        let (response, mut stream) =
            http2.ready_now().send_request(request("POST", "/stops"), false).unwrap();
        stream.send_data("begun".into(), false).unwrap();
        let answer = response.await.unwrap();
        drop(stream);
        answer
    });
    assert_eq!(answer.status(), 408);
    assert_eq!(tollgate.record_of("/stops")["outcome"], "request_timeout");
}

#[test]
fn bodies_that_nobody_takes_yet_are_bounded_by_their_windows() {
    const STREAMS: u32 = 100;
    let origin = Origin::start(|mut peer| {
        // The head is read, and nothing behind it.
        let head = peer.head().unwrap();
        peer.note(&head);
        peer.wire().socket().set_timeout(None);
        std::thread::sleep(PATIENCE);
    });
    let all = "[[routes]]\nname = \"all\"\nmatch = \"/*\"\nstream = true\nmax_body = \"1GiB\"\n";
    let tollgate = h2c(&origin).table(all).start();
    let http2 = Http2::connect(tollgate.address());
    let body = vec![b'x'; 4 << 20];
    let _uploads: Vec<_> = (0..STREAMS).map(|_| http2.begin(request("POST", "/held"), &body)).collect();
    http2.within(async {
        while origin.received().len() < STREAMS as usize {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // What the windows allow is on its way once nothing more is taken: the kernel's buffers fill up too.
        tokio::time::sleep(Duration::from_millis(200)).await;
    });
    let peak = tollgate.peak_memory_kib();
    // 64 KiB a window, and what is read and written at a time.
    assert!(peak < 32 * 1024 + u64::from(STREAMS) * 256, "{peak} KiB");
}

#[test]
fn a_tunnel_that_announces_a_body_does_not_smuggle_a_request() {
    let origin = Origin::start(|mut peer| {
        while let Some(request) = peer.request() {
            let body = String::from_utf8_lossy(&request.body.bytes).into_owned();
            peer.send(format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let tollgate = h2c(&origin).start();
    let mut frames = Frames::connect(tollgate.address());
    let handshake = fields(&[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/ws"),
        (":authority", "a"),
        ("sec-websocket-version", "13"),
        ("content-length", "229"),
    ]);
    frames.send(&frame(HEADERS, END_HEADERS, 1, &handshake));
    let refused =
        std::iter::from_fn(|| frames.next()).find(|frame| [HEADERS, RST_STREAM].contains(&frame.kind));
    assert!(refused.is_some());
    // What came next on the connection to the app would have been the body that was announced.
    let smuggled = b"GET /admin HTTP/1.1\r\nhost: evil\r\n\r\n";
    let answer = Http2::connect(tollgate.address()).request(request("POST", "/post"), smuggled).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (403, &smuggled[..]));
    assert_eq!(origin.only_request().target, "/post");
    assert_eq!(tollgate.record_of("/ws")["outcome"], "bad_request");
}

#[test]
fn an_unfinished_frame_ends_no_stream_that_is_under_way() {
    let origin = Origin::start(|mut peer| {
        if let Some(request) = peer.request() {
            std::thread::sleep(Duration::from_secs(1));
            peer.send(ok(&request.target));
        }
    });
    let tollgate = h2c(&origin).listen("header_timeout = \"200ms\"").start();
    let mut frames = Frames::connect(tollgate.address());
    frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get_block("/slow")));
    origin.wait_for_requests(1);
    frames.send(&frame(PING, 0, 0, &[0; 8])[..5]);
    // It is told that there will be no more, and gets its answer.
    assert_eq!(frames.next_of(GOAWAY).unwrap().stream, 0);
    assert_eq!(frames.next_of(DATA).unwrap().payload, b"/slow");
    assert_eq!(tollgate.record_of("/slow")["outcome"], "complete");
}

#[test]
fn nothing_but_a_request_keeps_a_connection() {
    let origin = echoing();
    let tollgate = h2c(&origin).listen("keepalive_timeout = \"300ms\"").start();
    let mut frames = Frames::connect(tollgate.address());
    let ping = frame(PING, 0, 0, &[0; 8]);
    let deadline = Instant::now() + PATIENCE;
    // Each is begun before the one before it could be the last word.
    while frames.try_send(&ping[..9]) && frames.try_send(&ping[9..]) {
        assert!(Instant::now() < deadline, "it is kept for its pings");
        std::thread::sleep(Duration::from_millis(20));
    }
}
