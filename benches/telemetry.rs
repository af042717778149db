//! What measuring costs by itself: counting an exchange, a line, a scrape; and how fast the process starts.
//!
//! Run by `make bench-telemetry`. Figures are medians of many runs on whatever else the machine does.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tollgate::clock::Tick;
use tollgate::config::model::emf::{Dimension, Emf, EmfPer, EmfSink};
use tollgate::config::model::metrics::{FromResponse, Metrics};
use tollgate::telemetry::emf::template::Template;
use tollgate::telemetry::measurements::Measurements;
use tollgate::telemetry::prometheus::{Format, encode};
use tollgate::telemetry::record::Outcome;
use tollgate::telemetry::series::{Ended, Told};
use tollgate::telemetry::talkers::{Caller, Took};

const ROUTES: usize = 50;
const WORKERS: usize = 4;
const EXCHANGES: u32 = 2_000_000;
const SCRAPES: usize = 200;
const STARTS: usize = 21;

fn main() {
    // `cargo test` runs benchmarks without meaning to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    count();
    lines();
    scrape();
    start();
}

fn say(what: &str, figure: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{what:48} {figure}");
}

fn ended(told: &Told, duration_nanos: u64) -> Ended<'_> {
    Ended {
        method: &http::Method::GET,
        status: 200,
        outcome: Outcome::Complete,
        throttled: false,
        shadow_throttled: false,
        bytes_in: 300,
        bytes_out: 700,
        duration_nanos,
        response_head_nanos: Some(duration_nanos / 2),
        queue_nanos: None,
        told,
    }
}

fn count() {
    let measurements = Measurements::new(&Metrics::default());
    let worker = measurements.worker();
    let route = worker.route("query");
    let told = Told::default();
    let begun = Instant::now();
    for number in 0..EXCHANGES {
        worker.in_flight.add(1);
        route.count(&ended(&told, 1_000_000 + u64::from(number)), &[]);
        if let Ok(mut noted) = worker.noted.try_lock() {
            let hash = u64::from(number % 1_000).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let caller = Caller { hash, user: Some(b"somebody"), address: None };
            noted.note(caller, Took { bytes: 1_000, cost: 1, refused: false }, Tick(0));
        }
        worker.in_flight.subtract(1);
    }
    say("counting an exchange, 1,000 callers", &each(begun, EXCHANGES));
}

fn each(begun: Instant, times: u32) -> String {
    format!("{:.0} ns", begun.elapsed().as_nanos() as f64 / f64::from(times))
}

fn lines() {
    let emf = Emf {
        sink: EmfSink::Stdout,
        namespace: "Tollgate".to_owned(),
        service: "api".to_owned(),
        environment: "production".to_owned(),
        per: EmfPer::Request,
        dimensions: vec![vec![Dimension::Service], vec![Dimension::Service, Dimension::Route]],
        validate: false,
        extraction: true,
        log_group: None,
        log_stream: None,
    };
    let template = Template::new(&emf, &FromResponse::default(), true);
    let (dimensions, told) = (template.dimensions("query"), Told::default());
    let fields = [b'x'; 450];
    let mut out = Vec::with_capacity(1 << 20);
    let begun = Instant::now();
    for number in 0..EXCHANGES {
        if out.len() > 60_000 {
            out.clear();
        }
        let ended = ended(&told, 1_000_000 + u64::from(number));
        let properties = |out: &mut Vec<u8>| out.extend_from_slice(&fields);
        template.exchange(1_763_700_000_000_000_000, &dimensions, &ended, properties, &mut out);
    }
    say("writing the EMF line of an exchange", &each(begun, EXCHANGES));
}

fn scrape() {
    let measurements = Measurements::new(&Metrics::default());
    let told = Told::default();
    for worker in std::iter::repeat_with(|| measurements.worker()).take(WORKERS).collect::<Vec<_>>() {
        for number in 0..ROUTES {
            let route = worker.route(&format!("route-{number}"));
            for power in 0..400u64 {
                route.count(&ended(&told, 1_000 * (1 + power * power)), &[]);
            }
        }
    }
    let mut times: Vec<Duration> = (0..SCRAPES)
        .map(|_| {
            let begun = Instant::now();
            let page = encode(&measurements.totals(), measurements.bounds(), Format::Text);
            assert!(page.len() > 10_000);
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    let size = encode(&measurements.totals(), measurements.bounds(), Format::Text).len();
    let median = times[SCRAPES / 2].as_secs_f64() * 1_000.0;
    say("a scrape, 50 routes, 4 workers", &format!("{median:.2} ms, {} KiB", size / 1024));
}

/// From the start of the process to the event `ready`, when it serves.
fn start() {
    let program = env!("CARGO_BIN_EXE_tollgate");
    let size = std::fs::metadata(program).map(|metadata| metadata.len()).unwrap_or_default();
    say("the program, with its line tables", &format!("{:.1} MiB", size as f64 / f64::from(1 << 20)));
    let mut times: Vec<Duration> = (0..STARTS).filter_map(|_| start_once(program)).collect();
    times.sort_unstable();
    let median = times.get(times.len() / 2).map(|time| time.as_secs_f64() * 1_000.0);
    say("start to ready", &median.map_or("failed".to_owned(), |millis| format!("{millis:.1} ms")));
}

fn start_once(program: &str) -> Option<Duration> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).ok()?;
    let begun = Instant::now();
    let mut process = Command::new(program)
        .args(["run", "--upstream", "127.0.0.1:9", "--listen", &free.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let lines = BufReader::new(process.stderr.take()?).lines();
    let ready = lines.map_while(Result::ok).any(|line| line.contains("\"ready\""));
    let taken = begun.elapsed();
    let _ = process.kill();
    let _ = process.wait();
    ready.then_some(taken)
}
