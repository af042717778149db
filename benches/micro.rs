//! The pieces of the request path by themselves, each on what a request of the demo app brings.
//!
//! They show which piece a regression of `benches/proxies` comes from; their sum is not the cost of a
//! request, most of which are system calls.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::BytesMut;
use divan::Bencher;
use divan::counter::BytesCount;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};

use tollgate::clock::Tick;
use tollgate::config::{self, Overrides};
use tollgate::limit::buckets::Buckets;
use tollgate::limit::carry::carry_over;
use tollgate::limit::decide::{decide, meets};
use tollgate::limit::key::{Payer, Seed};
use tollgate::limit::rules::Limits;
use tollgate::limit::state::Now;
use tollgate::message::forwarded::{Forwarded, Scheme};
use tollgate::message::handling::{Handling, Priority};
use tollgate::message::head::{HeadLimits, HeadScan};
use tollgate::message::hop_by_hop::ConnectionOptions;
use tollgate::message::path::normalize;
use tollgate::message::request_id::RequestId;
use tollgate::message::routes::{Pattern, Route, RouteTable};
use tollgate::telemetry::access_line::AccessLine;
use tollgate::telemetry::record::{Outcome, Record};
use tollgate::upstream::gate::{Admission, Gate};
use tollgate::upstream::request_head::{Framing, RequestHead};

fn main() {
    divan::main();
}

const LIMITS: HeadLimits =
    HeadLimits { max_uri: 4000, max_headers: 90, max_header_line: 8000, max_header_bytes: 65_536 };
const UNIX_NANOS: u64 = 1_767_225_600_123_456_789;
const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const FIELDS: [(&str, &str); 12] = [
    ("Host", "api.example.com"),
    ("User-Agent", USER_AGENT),
    ("Accept", "application/json"),
    ("Accept-Language", "en-US,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Referer", "https://app.example.com/documents"),
    ("Origin", "https://app.example.com"),
    ("Authorization", "Bearer 0123456789abcdef0123456789abcdef"),
    ("Cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"),
    ("Content-Type", "application/json"),
    ("Content-Length", "512"),
    ("Connection", "keep-alive"),
];

fn head_bytes() -> Vec<u8> {
    let mut head = String::from("POST /api/v1/documents/17/comments?limit=20 HTTP/1.1\r\n");
    for (name, value) in FIELDS {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn header_map() -> HeaderMap {
    FIELDS
        .into_iter()
        .map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a field name");
            (name, HeaderValue::from_static(value))
        })
        .collect()
}

/// A request of a known caller with its limits, and buckets that never refuse it.
struct Known {
    limits: Limits,
    buckets: Buckets,
    headers: HeaderMap,
}

impl Known {
    fn new(rate: &str, names: &str) -> Known {
        let text = format!(
            "[upstream]\naddress = \"app:80\"\n[limits.keys]\nkey = \"api_key\"\nrate = \"{rate}\"\n\
             [limits.address]\nkey = \"ip\"\nper = \"service\"\nrate = \"{rate}\"\n[limits.callers]\nrate = \"{rate}\"\n\
             [[routes]]\nname = \"all\"\nmatch = \"/*\"\nlimits = [{names}]\n"
        );
        let loaded = config::load(&text, "bench", &|_| None, &Overrides::default()).expect("a configuration");
        let mut limits = loaded.model.limits;
        carry_over(&Limits::default(), &mut limits);
        Known { limits, buckets: Buckets::new(Seed([1, 2]), 2_000_000), headers: HeaderMap::new() }
    }

    fn pay(&self, key: u32, now: Now) {
        let key = key.to_le_bytes();
        let payer = Payer {
            user: None,
            api_key: Some(&key),
            address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            headers: &self.headers,
            route: "all",
        };
        let met = meets(&self.limits.by_route[0], &self.limits.limiting, &payer, None, &self.buckets);
        black_box(decide(&met, &self.buckets, now));
    }
}

const MOMENT: Now = Now { tick: Tick(1 << 60), unix_nanos: UNIX_NANOS };

/// A known key pays one limit, hashing included.
#[divan::bench(threads = [1, 4])]
fn limit_hot_key(bencher: Bencher<'_, '_>) {
    let known = Known::new("1000000000/second", "\"keys\"");
    known.pay(1, MOMENT);
    bencher.bench(|| known.pay(black_box(1), MOMENT));
}

/// Keys of a million pay one limit.
#[divan::bench(threads = [1, 4])]
fn limit_million_keys(bencher: Bencher<'_, '_>) {
    let known = Known::new("1000000/day", "\"keys\"");
    (0..1_000_000).for_each(|key| known.pay(key, MOMENT));
    let next = AtomicU32::new(0);
    bencher.bench(|| known.pay(next.fetch_add(7_919, Ordering::Relaxed) % 1_000_000, MOMENT));
}

/// Three limits, all paid.
#[divan::bench]
fn limit_three(bencher: Bencher<'_, '_>) {
    let known = Known::new("1000000000/second", "\"keys\", \"address\", \"callers\"");
    known.pay(1, MOMENT);
    bencher.bench_local(|| known.pay(black_box(1), MOMENT));
}

/// One limit that refuses.
#[divan::bench]
fn limit_refuses(bencher: Bencher<'_, '_>) {
    let known = Known::new("1/day", "\"keys\"");
    known.pay(1, MOMENT);
    bencher.bench_local(|| known.pay(black_box(1), MOMENT));
}

/// Judging a request head that arrived in one piece.
#[divan::bench]
fn head_inspection(bencher: Bencher<'_, '_>) {
    let head = head_bytes();
    bencher
        .counter(BytesCount::new(head.len()))
        .bench_local(|| HeadScan::new().advance(black_box(&head), &LIMITS));
}

/// Judging a request head that arrives in pieces of 64 bytes: no line is read twice.
#[divan::bench]
fn head_inspection_in_pieces(bencher: Bencher<'_, '_>) {
    let head = head_bytes();
    bencher.counter(BytesCount::new(head.len())).bench_local(|| {
        let mut scan = HeadScan::new();
        let mut arrived = 0;
        while arrived < head.len() {
            arrived = (arrived + 64).min(head.len());
            black_box(scan.advance(black_box(&head[..arrived]), &LIMITS)).expect("a good head");
        }
    });
}

/// Writing the head for the app, with what hop-by-hop and forwarded fields need before.
#[divan::bench]
fn request_head_encoding(bencher: Bencher<'_, '_>) {
    let headers = header_map();
    let uri = Uri::from_static("/api/v1/documents/17/comments?limit=20");
    let id_header = HeaderName::from_static("x-request-id");
    let id = RequestId::uuid7(UNIX_NANOS, 0x18C4_DC0C_0C07_398F, &mut BytesMut::new());
    let mut out = BytesMut::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        let options = ConnectionOptions::read(&headers);
        let forwarded = Forwarded::read(Scheme::Http, b"api.example.com", &headers, true);
        let head = RequestHead {
            method: &Method::POST,
            uri: &uri,
            headers: &headers,
            options: &options,
            peer_is_trusted: true,
            id_header: &id_header,
            id: &id,
            client: Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7))),
            forwarded,
            framing: Framing::AsReceived,
            upgrade: false,
        };
        head.encode(&mut out);
        black_box(&out);
    });
}

/// Making a request id.
#[divan::bench]
fn request_id(bencher: Bencher<'_, '_>) {
    let mut room = BytesMut::new();
    bencher
        .bench_local(|| RequestId::uuid7(black_box(UNIX_NANOS), black_box(0x18C4_DC0C_0C07_398F), &mut room));
}

/// Finding a route among as many as are given, by a path that needs no decoding.
#[divan::bench(args = [1, 20, 200])]
fn route_lookup(bencher: Bencher<'_, '_>, routes: usize) {
    let table = route_table(routes);
    let path = format!("/api/v1/resource{}/17/comments", routes / 2);
    bencher.bench_local(|| {
        let path = normalize(black_box(&path)).expect("a good path");
        table.find(&Method::POST, &path).is_some()
    });
}

fn route_table(count: usize) -> RouteTable {
    let route = |name: String| {
        Arc::new(Route { name: name.into(), timeout: None, max_body: 1 << 20, handling: Handling::default() })
    };
    let routes = (0..count).map(|number| route(format!("resource{number}"))).collect();
    let patterns = (0..count)
        .map(|number| {
            let text = format!("POST /api/v1/resource{number}/{{id}}/comments");
            (Pattern::parse(&text).expect("a good pattern"), number)
        })
        .collect();
    RouteTable::build(routes, patterns).expect("no duplicates")
}

/// One access line of an ordinary exchange.
#[divan::bench]
fn record_encoding(bencher: Bencher<'_, '_>) {
    let id = RequestId::uuid7(UNIX_NANOS, 0x18C4_DC0C_0C07_398F, &mut BytesMut::new());
    let user_agent = HeaderValue::from_static(USER_AGENT);
    let record = record(&id, b"/api/v1/documents/17/comments", &user_agent);
    encode_lines(bencher, &record);
}

/// One access line of a path in which every byte must be escaped.
#[divan::bench]
fn record_encoding_of_hostile_bytes(bencher: Bencher<'_, '_>) {
    let id = RequestId::uuid7(UNIX_NANOS, 0x18C4_DC0C_0C07_398F, &mut BytesMut::new());
    let user_agent = HeaderValue::from_static(USER_AGENT);
    let path = [0x1f; 1024];
    let record = record(&id, &path, &user_agent);
    encode_lines(bencher, &record);
}

fn encode_lines(bencher: Bencher<'_, '_>, record: &Record<'_>) {
    let mut encoder = AccessLine::default();
    let mut out = Vec::with_capacity(16 * 1024);
    bencher.bench_local(|| {
        out.clear();
        encoder.encode(black_box(record), &mut out);
        black_box(&out);
    });
}

fn record<'a>(id: &'a RequestId, path: &'a [u8], user_agent: &'a HeaderValue) -> Record<'a> {
    Record {
        unix_nanos: UNIX_NANOS,
        request_id: id.as_str(),
        client_addr: Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7))),
        user: None,
        tier: None,
        limit: None,
        shadow_limit: None,
        method: b"POST",
        path,
        query: None,
        route: Some("comments"),
        status: 200,
        outcome: Outcome::Complete,
        tls: None,
        bytes_in: 1_024,
        bytes_out: 4_096,
        duration_nanos: 12_345_678,
        connect_nanos: None,
        response_head_nanos: Some(11_234_567),
        queue_nanos: None,
        upstream: Some("127.0.0.1:8000"),
        canary: false,
        user_agent: Some(user_agent),
        traceparent: None,
        amzn_trace_id: None,
        headers: &[],
        cause: None,
    }
}

/// A slot that two threads want, handed from one thread to the next in line on another and back: what each hand costs, the
/// wake of the other thread's runtime and its way back into the line included.
#[divan::bench]
fn slot_to_the_next_in_line_on_another_thread(bencher: Bencher) {
    const HANDS: u32 = 2_000;
    bencher.counter(divan::counter::ItemsCount::new(HANDS)).bench(|| {
        let gate = Gate::new(16, true);
        gate.set_cap(Some(1));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for caller in 0..2 {
                let (gate, is_over) = (&gate, &is_over);
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                    runtime.block_on(async {
                        for _ in 0..HANDS / 2 {
                            let slot = match gate.enter(|| caller, Priority::Normal) {
                                Admission::In(slot) => slot,
                                Admission::Waiting(waiting) => waiting.await.expect("a slot"),
                                Admission::Refused(refusal) => panic!("{refusal:?}"),
                            };
                            // Given back only when somebody is there to have it.
                            while gate.waiting() == 0 && !is_over.load(Ordering::Relaxed) {
                                std::hint::spin_loop();
                            }
                            drop(black_box(slot));
                        }
                        is_over.store(true, Ordering::Relaxed);
                    });
                });
            }
        });
    });
}

/// The same within a thread: what the gate itself does for a hand, without the kernel's part in waking a thread.
#[divan::bench]
fn slot_to_the_next_in_line(bencher: Bencher) {
    let gate = Gate::new(16, true);
    gate.set_cap(Some(1));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let Admission::In(first) = gate.enter(|| 0, Priority::Normal) else { panic!("a free slot") };
    let mut held = Some(first);
    let mut caller = 0;
    bencher.bench_local(|| {
        caller ^= 1;
        let Admission::Waiting(mut next) = gate.enter(|| caller, Priority::Normal) else { panic!("a line") };
        let _ = std::pin::Pin::new(&mut next).poll(&mut cx);
        held = None;
        let std::task::Poll::Ready(Ok(slot)) = std::pin::Pin::new(&mut next).poll(&mut cx) else {
            panic!("a slot");
        };
        held = Some(slot);
    });
    drop(held);
}

#[divan::bench]
fn slot_that_is_free(bencher: Bencher) {
    let gate = Gate::new(16, true);
    gate.set_cap(Some(8));
    bencher.bench_local(|| drop(black_box(gate.enter(|| 0, Priority::Normal))));
}
