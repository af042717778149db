//! A million keys: bytes each, writing them to a file and reading them back, and what requests notice of it.
//!
//! Prints figures, asserts nothing; `make bench-limits`.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a report; no worker runs"
)]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;
use tollgate::clock::Clock;
use tollgate::config::{self, Overrides};
use tollgate::limit::buckets::Buckets;
use tollgate::limit::carry::carry_over;
use tollgate::limit::decide::{decide, meets};
use tollgate::limit::key::{Payer, Seed};
use tollgate::limit::rules::Limits;
use tollgate::limit::state::Now;
use tollgate::store::file::{self, Found};

const KEYS: u32 = 1_000_000;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let limits = limits();
    let clock = Clock::start();
    let now = now(&clock);
    let before = resident_bytes();
    let buckets = Buckets::new(Seed([1, 2]), 2 * KEYS as usize);
    let begun = Instant::now();
    for user in 0..KEYS {
        pay(&buckets, &limits, user, now);
    }
    let each = begun.elapsed() / KEYS;
    // The allocator gives back what growing left behind a moment later, when it is asked for something.
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(10));
        drop(std::hint::black_box(vec![0u8; 4 << 20]));
    }
    let a_key = |bytes: f64| bytes / f64::from(KEYS);
    let table = a_key(buckets.table.memory_bytes() as f64);
    let resident = a_key((resident_bytes() - before) as f64);
    println!(
        "{KEYS} keys: {table:.1} bytes of the table a key, {resident:.1} bytes resident, {each:?} a new key"
    );

    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("limits.snapshot");
    let quiet = latencies(&buckets, &limits, &clock, &AtomicBool::new(false), Duration::from_secs(2));
    let done = AtomicBool::new(false);
    let (buckets, limits, done) = (&buckets, &limits, &done);
    let (written, during) = std::thread::scope(|scope| {
        let clock = clock.sibling();
        let reader = scope.spawn(move || latencies(buckets, limits, &clock, done, Duration::from_secs(60)));
        let begun = Instant::now();
        let written = file::write(&path, buckets, limits, now).unwrap();
        let took = begun.elapsed();
        done.store(true, Ordering::Relaxed);
        (format!("written in {took:?}, {} bytes", written.bytes), reader.join().unwrap())
    });
    println!("snapshot: {written}");
    println!("a decision at a known key, p50 and p99: before {quiet:?}, while it is written {during:?}");
    let begun = Instant::now();
    let Found::Snapshot(snapshot) = file::read(&path).unwrap() else { panic!("it cannot be read") };
    let restored = snapshot.restore(2 * KEYS as usize, now);
    println!("restored {} keys in {:?}", restored.len(), begun.elapsed());
    fs::remove_file(&path).unwrap();
}

fn limits() -> Limits {
    let text = "[upstream]\naddress = \"app:80\"\n[limits.default]\nrate = \"100/hour\"\n";
    let mut limits = config::load(text, "bench", &|_| None, &Overrides::default()).unwrap().model.limits;
    carry_over(&Limits::default(), &mut limits);
    limits
}

fn now(clock: &Clock) -> Now {
    let tick = clock.now();
    Now { tick, unix_nanos: clock.unix_nanos(tick) }
}

fn pay(buckets: &Buckets, limits: &Limits, user: u32, now: Now) {
    let headers = HeaderMap::new();
    let user = user.to_le_bytes();
    let payer = Payer { user: Some(&user), api_key: None, address: None, headers: &headers, route: "all" };
    let met = meets(&limits.by_route[0], &limits.limiting, &payer, None, buckets);
    std::hint::black_box(decide(&met, buckets, now));
}

/// Median and 99th percentile.
fn latencies(
    buckets: &Buckets,
    limits: &Limits,
    clock: &Clock,
    done: &AtomicBool,
    most: Duration,
) -> (Duration, Duration) {
    let begun = Instant::now();
    let mut samples = Vec::new();
    let now = now(clock);
    let mut user = 0u32;
    while !done.load(Ordering::Relaxed) && begun.elapsed() < most && samples.len() < 5_000_000 {
        user = (user.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)) % KEYS;
        let before = Instant::now();
        pay(buckets, limits, user, now);
        samples.push(before.elapsed());
    }
    samples.sort_unstable();
    (samples[samples.len() / 2], samples[samples.len() * 99 / 100])
}

fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
