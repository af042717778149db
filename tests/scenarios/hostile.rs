//! Clients that are slow, or send floods: each gets the documented answer and one record, and nobody else suffers.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::{echoing, ok};
use crate::harness::client::get;
use crate::harness::socket::Socket;
use crate::harness::{Client, Ending, Origin, PATIENCE, Setup, Tollgate};

/// Between two bytes of somebody slow.
const A_MOMENT: Duration = Duration::from_millis(20);
/// More than the process has at rest, less than a handful of unbounded buffers.
const MEMORY_LIMIT_KIB: u64 = 64 * 1024;

/// An app whose answer to `/endless` has no end, and which names the path of every other.
fn endless() -> Origin {
    Origin::start(|mut peer| {
        while let Some(request) = peer.request() {
            if request.target.starts_with("/endless") {
                peer.send("HTTP/1.1 200 OK\r\n\r\n");
                while peer.try_send(&[b'x'; 65_536]).is_ok() {}
                return;
            }
            peer.send(ok(&request.target));
        }
    })
}

fn assert_serves(tollgate: &Tollgate) {
    assert_eq!(tollgate.client().get("/served").text(), "/served");
}

/// Waits until no more than so many descriptors are open.
fn wait_for_descriptors(tollgate: &Tollgate, most: usize) {
    let deadline = Instant::now() + PATIENCE;
    while tollgate.process.open_files() > most {
        assert!(Instant::now() < deadline, "{} descriptors stay open", tollgate.process.open_files());
        std::thread::sleep(A_MOMENT);
    }
}

fn records_of(tollgate: &Tollgate, path: &str) -> usize {
    tollgate.records().iter().filter(|record| record["path"] == path).count()
}

/// Sends one byte after another until an answer is there.
fn drip(client: &mut Client, bytes: &[u8]) {
    while client.try_send(bytes).is_ok() && !client.wire().socket().peeked() {
        std::thread::sleep(A_MOMENT);
    }
}

#[test]
fn two_hundred_slow_heads_are_408_and_leave_nothing_behind() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).listen("header_timeout = \"500ms\"").start();
    assert_serves(&tollgate);
    let files = tollgate.process.open_files();
    let mut slow: Vec<Client> = (0..200).map(|_| tollgate.client()).collect();
    for client in &mut slow {
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\nX-Slow: ");
    }
    assert_serves(&tollgate);
    for client in &mut slow {
        let response = client.response();
        response.assert_local(408, "request_timeout");
        assert!(response.head.closes());
    }
    drop(slow);
    wait_for_descriptors(&tollgate, files + 2);
    assert_serves(&tollgate);
    let records = tollgate.final_records();
    let refused = records.iter().filter(|record| record["status"] == 408);
    assert!(refused.clone().all(|record| record["outcome"] == "request_timeout"));
    assert_eq!((refused.count(), records.len()), (200, 203));
}

#[test]
fn a_body_below_the_least_rate_is_408_though_it_never_pauses() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).listen("min_body_rate = \"1MiB/s\"").start();
    let mut client = tollgate.client();
    client.send("POST /drip HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    drip(&mut client, b"x");
    let response = client.response();
    response.assert_local(408, "request_timeout");
    assert!(response.head.closes());
    let record = tollgate.record_of("/drip");
    assert_eq!((&record["outcome"], &record["fault"]), (&"request_timeout".into(), &"downstream".into()));
    assert_eq!(record["cause"], "request body too slow");
    assert_serves(&tollgate);
    assert_eq!(records_of(&tollgate, "/drip"), 1);
}

/// The app takes a body for longer than the grace and far below the least rate, of a client that has sent it all.
#[test]
fn a_slow_app_is_not_held_against_its_client() {
    const BODY: usize = 12 << 20;
    let origin = Origin::start(|mut peer| {
        let head = peer.head().unwrap();
        peer.note(&head);
        for _ in 0..BODY >> 16 {
            peer.wire().exactly(1 << 16).unwrap();
            std::thread::sleep(Duration::from_millis(40));
        }
        peer.send(ok("all"));
    });
    let listen = "min_body_rate = \"100MiB/s\"\nmax_body = \"20MiB\"";
    let tollgate = Setup::before(origin.address()).listen(listen).start();
    let mut client = tollgate.client();
    client.send(format!("POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n"));
    client.send(vec![b'x'; BODY]);
    assert_eq!(client.response().text(), "all");
}

#[test]
fn a_client_that_takes_nothing_is_reset_after_the_send_timeout() {
    let origin = endless();
    let tollgate = Setup::before(origin.address())
        .upstream("buffer_response = \"16KiB\"")
        .listen("send_timeout = \"300ms\"")
        .start();
    assert_serves(&tollgate);
    let files = tollgate.process.open_files();
    let mut deaf: Vec<Client> = (0..100).map(|_| tollgate.client()).collect();
    for client in &mut deaf {
        client.send(get("/endless"));
    }
    let is_cut = |record: &serde_json::Value| record["path"] == "/endless";
    tollgate.wait_for_records(1 + deaf.len());
    let cut: Vec<_> = tollgate.records().into_iter().filter(is_cut).collect();
    assert_eq!(cut.len(), deaf.len());
    for record in &cut {
        assert_eq!((&record["outcome"], &record["status"]), (&"request_timeout".into(), &200.into()));
        assert_eq!(
            (&record["fault"], &record["cause"]),
            (&"downstream".into(), &"client took nothing of the answer for send_timeout".into())
        );
    }
    for client in &mut deaf {
        assert_eq!(client.wire().rest().1, Ending::Reset);
    }
    wait_for_descriptors(&tollgate, files + 2);
    assert_serves(&tollgate);
    assert!(tollgate.peak_memory_kib() < MEMORY_LIMIT_KIB, "{} KiB", tollgate.peak_memory_kib());
}

#[test]
fn a_client_that_takes_less_than_the_least_rate_is_reset_though_it_never_stops() {
    let origin = endless();
    let tollgate = Setup::before(origin.address()).listen("min_send_rate = \"1GiB/s\"").start();
    let mut client = tollgate.client();
    client.wire().socket().narrow();
    client.send(get("/endless"));
    while client.wire().read_more().is_ok() {
        std::thread::sleep(A_MOMENT);
    }
    assert_eq!(client.wire().rest().1, Ending::Reset);
    let record = tollgate.record_of("/endless");
    assert_eq!((&record["outcome"], &record["fault"]), (&"request_timeout".into(), &"downstream".into()));
    assert_eq!(record["cause"], "client took the answer slower than min_send_rate");
    assert_serves(&tollgate);
    assert_eq!(records_of(&tollgate, "/endless"), 1);
}

/// The answer takes many times the send timeout, and each step of it less.
#[test]
fn a_client_that_reads_slowly_and_steadily_gets_its_whole_answer() {
    const ANSWER: usize = 4 << 20;
    let origin = Origin::start(|mut peer| {
        peer.expect_request();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {ANSWER}\r\n\r\n"));
        peer.send(vec![b'x'; ANSWER]);
        peer.wait_for_end();
    });
    let tollgate = Setup::before(origin.address()).listen("send_timeout = \"1s\"").start();
    let mut client = tollgate.client();
    client.wire().socket().narrow();
    client.send(get("/steady"));
    assert_eq!(client.head().status, 200);
    let mut left = ANSWER - client.wire().unread().len();
    let mut socket = client.wire().socket().duplicate();
    let mut room = vec![0; 32 * 1024];
    while left > 0 {
        let read = socket.read(&mut room).expect("the answer goes on");
        assert!(read > 0, "the answer ended {left} bytes early");
        left -= read;
        std::thread::sleep(A_MOMENT);
    }
    assert_eq!(tollgate.record_of("/steady")["outcome"], "complete");
}

/// Whether a new connection from this address is served; else it was reset.
fn is_served(tollgate: &Tollgate, source: [u8; 4]) -> Option<Client> {
    // A reset may come before connecting returns, or before the request is sent.
    let socket = Socket::connect_from(source, tollgate.address()).ok()?;
    let mut client = Client::over(socket);
    client.try_send(get("/in")).ok()?;
    match client.wire().head() {
        Ok(_) => {
            assert_eq!(client.wire().exactly(3), Ok(b"/in".to_vec()));
            Some(client)
        }
        Err(ending) => {
            assert_eq!(ending, Ending::Reset);
            None
        }
    }
}

#[test]
fn an_address_with_too_many_connections_gets_no_more_and_others_do() {
    const ONE: [u8; 4] = [127, 0, 0, 2];
    let origin = echoing();
    let tollgate =
        Setup::before(origin.address()).listen("max_connections_per_ip = 3").admin("").workers(2).start();
    let mut held: Vec<Client> = (0..3).map(|_| is_served(&tollgate, ONE).expect("served")).collect();
    let files = tollgate.process.open_files();
    for _ in 0..300 {
        assert!(is_served(&tollgate, ONE).is_none());
    }
    assert!(is_served(&tollgate, [127, 0, 0, 3]).is_some(), "another address");
    // The trusted proxy brings many clients.
    let through_proxy: Vec<Client> = (0..9).map(|_| tollgate.client()).collect();
    drop(through_proxy);
    assert_serves(&tollgate);
    wait_for_descriptors(&tollgate, files + 4);
    let metrics = tollgate.operator().get("/metrics").text;
    assert!(metrics.contains("\ntollgate_connections_refused_total 300\n"), "{metrics}");
    assert_eq!(tollgate.operator().status()["traffic"]["refused_connections"], 300);
    let event =
        tollgate.wait_for_event("an address has `max_connections_per_ip` connections, more are reset");
    assert_eq!((&event["peer"], &event["refused"]), (&"127.0.0.2".into(), &1.into()));
    for client in &mut held {
        assert_eq!(client.get("/held").text(), "/held");
    }
    drop(held);
    let deadline = Instant::now() + PATIENCE;
    while is_served(&tollgate, ONE).is_none() {
        assert!(Instant::now() < deadline, "a place that became free is not given away");
    }
}

#[test]
fn a_reload_brings_another_number_of_connections_an_address_may_have() {
    const ONE: [u8; 4] = [127, 0, 0, 2];
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let held: Vec<Client> = (0..4).map(|_| is_served(&tollgate, ONE).expect("served")).collect();
    let text = tollgate.config_text();
    tollgate.reload(&text.replace("[listen]", "[listen]\nmax_connections_per_ip = 4"));
    assert!(is_served(&tollgate, ONE).is_none(), "those from before count");
    tollgate.reload(&text.replace("[listen]", "[listen]\nmax_connections_per_ip = 5"));
    assert!(is_served(&tollgate, ONE).is_some());
    drop(held);
}

#[test]
fn thousands_of_pipelined_requests_are_answered_in_order_in_bounded_memory() {
    const REQUESTS: usize = 5_000;
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let mut client = tollgate.client();
    let mut sender = client.wire().socket().duplicate();
    let sending = std::thread::spawn(move || {
        let requests: String = (0..REQUESTS).map(|number| get(&format!("/{number}"))).collect();
        sender.write_all(requests.as_bytes()).unwrap();
    });
    for number in 0..REQUESTS {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
    sending.join().unwrap();
    assert!(tollgate.peak_memory_kib() < MEMORY_LIMIT_KIB, "{} KiB", tollgate.peak_memory_kib());
    assert_serves(&tollgate);
    assert_eq!(tollgate.final_records().len(), REQUESTS + 1);
}

#[test]
fn an_endless_chunked_body_is_413_once_it_is_larger_than_it_may_be() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).listen("max_body = \"256KiB\"").start();
    let mut client = tollgate.client();
    client.send("POST /endless HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = [b"4000\r\n", &[b'x'; 0x4000][..], b"\r\n"].concat();
    while client.try_send(&chunk).is_ok() && !client.wire().socket().peeked() {}
    let response = client.response();
    response.assert_local(413, "payload_too_large");
    assert!(response.head.closes());
    let record = tollgate.record_of("/endless");
    assert_eq!((&record["outcome"], &record["fault"]), (&"payload_too_large".into(), &"downstream".into()));
    assert_serves(&tollgate);
    assert_eq!(records_of(&tollgate, "/endless"), 1);
    assert!(
        origin.received().iter().all(|request| request.body.cut.is_some() || request.target == "/served")
    );
}

#[test]
fn a_mebibyte_in_chunks_of_a_byte_arrives_as_it_is_in_bounded_memory() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let body: Vec<u8> = (0..1 << 20).map(|at: u32| b'a' + (at % 23) as u8).collect();
    let mut client = tollgate.client();
    client.send("POST /crumbs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunks: Vec<u8> = body.iter().flat_map(|byte| [b'1', b'\r', b'\n', *byte, b'\r', b'\n']).collect();
    client.send(&chunks).send("0\r\n\r\n");
    assert_eq!(client.response().text(), "/crumbs");
    assert!(origin.only_request().body.bytes == body, "the body is another");
    assert!(tollgate.peak_memory_kib() < MEMORY_LIMIT_KIB, "{} KiB", tollgate.peak_memory_kib());
}

#[test]
fn floods_of_chunk_extensions_and_of_fields_are_refused() {
    let origin = echoing();
    let tollgate = Tollgate::before(origin.address());
    let head = "POST /extended HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let one = format!("{head}1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(100_000));
    let many = format!("{head}{}0\r\n\r\n", "1;flood=flood\r\nx\r\n".repeat(100_000));
    let fields: String = (0..10_000).map(|number| format!("X-{number}: {number}\r\n")).collect();
    let field = format!("X-Long: {}\r\n", "a".repeat(1 << 20));
    let floods = [
        (one, 400, "bad_request"),
        (many, 400, "bad_request"),
        (format!("GET /fields HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), 431, "headers_too_large"),
        (format!("GET /field HTTP/1.1\r\nHost: a\r\n{field}\r\n"), 431, "headers_too_large"),
    ];
    for (flood, status, code) in &floods {
        let mut client = tollgate.client();
        // What comes behind the refusal may meet a closed connection.
        let _ = client.try_send(flood);
        let response = client.response();
        response.assert_local(*status, code);
        assert!(response.head.closes());
    }
    assert_serves(&tollgate);
    assert!(tollgate.peak_memory_kib() < MEMORY_LIMIT_KIB, "{} KiB", tollgate.peak_memory_kib());
    assert_eq!(tollgate.final_records().len(), floods.len() + 1);
}

#[test]
fn hundreds_of_each_leave_no_descriptor_and_one_record_each() {
    const EACH: usize = 60;
    let origin = endless();
    let listen = "header_timeout = \"300ms\"\nbody_timeout = \"300ms\"\nsend_timeout = \"300ms\"\n\
                  max_body = \"64KiB\"";
    let tollgate = Setup::before(origin.address()).listen(listen).workers(2).start();
    assert_serves(&tollgate);
    let files = tollgate.process.open_files();
    let post = "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let large = [post.as_bytes(), b"20000\r\n", &[b'x'; 0x20000]].concat();
    let kinds: [(Vec<u8>, u16); 5] = [
        (b"GET /head HTTP/1.1\r\n".to_vec(), 408),
        (format!("{post}4\r\nha").into_bytes(), 408),
        (format!("{post}4;{}\r\n", "a".repeat(20_000)).into_bytes(), 400),
        (large, 413),
        (get("/endless").into_bytes(), 200),
    ];
    let mut clients: Vec<Client> = Vec::new();
    for (bytes, _) in &kinds {
        for _ in 0..EACH {
            let mut client = tollgate.client();
            let _ = client.try_send(bytes);
            clients.push(client);
        }
    }
    tollgate.wait_for_records(1 + kinds.len() * EACH);
    drop(clients);
    wait_for_descriptors(&tollgate, files + 4);
    assert_serves(&tollgate);
    let records = tollgate.final_records();
    let with = |status: u16| records.iter().filter(|record| record["status"] == status).count();
    assert_eq!([with(408), with(400), with(413), with(200)], [2 * EACH, EACH, EACH, EACH + 2]);
    assert_eq!(records.len(), kinds.len() * EACH + 2);
}
