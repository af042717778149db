//! Every mouth tells the same: records, EMF lines, `/metrics` and `/status` after many exchanges of every kind.

use std::collections::BTreeMap;

use serde_json::Value;
use tollgate::telemetry::emf::check::check;

use crate::harness::scratch::Scratch;
use crate::harness::{Client, Origin, Setup};

const CLIENTS: usize = 4;
const EACH: usize = 2_500;

const TABLES: &str = "
[limits.few]
key = \"global\"
rate = \"50/hour\"

[[routes]]
name = \"limited\"
match = \"/limited\"
limits = \"few\"

[[routes]]
name = \"posts\"
match = \"POST /posts\"
max_body = \"10B\"

[[routes]]
name = \"gets\"
match = \"GET /gets/*\"
";

/// Requests that end in every class of status, on connections that are kept.
fn ask(client: &mut Client, number: usize) {
    match number % 5 {
        0 => drop(client.request("GET", "/limited", "")),
        1 => drop(client.get(&format!("/gets/{number}"))),
        2 => drop(client.request("HEAD", "/gets/fail", "")),
        3 => drop(client.request("POST", "/posts", "Content-Length: 0\r\n")),
        _ => drop(client.get(&format!("/nowhere/{number}"))),
    }
}

/// The sum of the samples of a metric that have all of these labels.
fn sum_of(metrics: &str, name: &str, labels: &[&str]) -> u64 {
    let samples = metrics.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    let wanted = samples.filter(|line| labels.iter().all(|label| line.contains(label)));
    wanted.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn sums_of_all_mouths_agree_after_ten_thousand_exchanges() {
    let origin = Origin::start(|mut peer| {
        while let Some(request) = peer.request() {
            match request.target.as_str() {
                "/gets/fail" => peer.send("HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\n"),
                _ => peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            };
        }
    });
    let scratch = Scratch::new();
    let emf = format!("[emf]\nsink = \"file:{}\"\n", scratch.file("emf.log").display());
    let tollgate = Setup::before(origin.address()).table(TABLES).table(&emf).admin("").workers(2).start();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let address = tollgate.address();
            scope.spawn(move || {
                let fields = ["ratelimit", "ratelimit-policy", "retry-after", "x-ratelimit-limit"];
                let fields = [&fields[..], &["x-ratelimit-remaining", "x-ratelimit-reset"]].concat();
                let mut connection = Client::connect(address).allow(&fields);
                for number in 0..EACH {
                    ask(&mut connection, client * EACH + number);
                }
            });
        }
    });
    let records = tollgate.wait_for_records(CLIENTS * EACH);
    let operator = tollgate.operator();
    let (metrics, status) = (operator.get("/metrics").text, operator.status());
    let mut by_class: BTreeMap<u64, u64> = BTreeMap::new();
    for record in &records {
        *by_class.entry(record["status"].as_u64().unwrap() / 100).or_default() += 1;
    }
    let throttled = records.iter().filter(|record| record["limit"] == "few").count() as u64;
    let of_class = |class: u64| by_class.get(&class).copied().unwrap_or(0);
    assert_eq!(records.len(), CLIENTS * EACH);
    assert_eq!(throttled, (CLIENTS * EACH / 5 - 50) as u64);

    for class in 1..=5 {
        let label = format!("status=\"{class}xx\"");
        assert_eq!(sum_of(&metrics, "http_requests_total", &[&label]), of_class(class), "{label}");
    }
    assert_eq!(sum_of(&metrics, "http_request_duration_seconds_count", &[]), records.len() as u64);
    assert_eq!(sum_of(&metrics, "tollgate_limit_refusals_total", &["few"]), throttled);
    assert_eq!(sum_of(&metrics, "tollgate_exchanges_total", &[]), records.len() as u64);
    let bytes_out: u64 = records.iter().map(|record| record["bytes_out"].as_u64().unwrap()).sum();
    assert_eq!(sum_of(&metrics, "tollgate_response_bytes_total", &[]), bytes_out);

    let asked = records.iter().filter(|record| record["upstream"].is_string()).count() as u64;
    assert!(0 < asked && asked < records.len() as u64, "{asked}");
    assert_eq!(sum_of(&metrics, "tollgate_upstream_requests_total", &["upstream=\"main\""]), asked);
    let app = &status["apps"][0];
    assert_eq!((&app["name"], &app["requests"]), (&"main".into(), &asked.into()));
    assert_eq!(app["errors"], of_class(5));
    assert!(!metrics.contains("canary"), "there is none: {metrics}");

    let traffic = &status["traffic"];
    let told = ["requests", "errors", "client_errors", "throttled", "bytes_out", "in_flight"];
    let told = told.map(|name| traffic[name].as_u64().unwrap());
    assert_eq!(told, [records.len() as u64, of_class(5), of_class(4), throttled, bytes_out, 0]);

    assert_eq!(tollgate.final_records().len(), CLIENTS * EACH);
    let text = std::fs::read_to_string(scratch.file("emf.log")).unwrap();
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for line in text.lines() {
        assert_eq!(check(line.as_bytes()), Ok(()), "{line}");
        let line: Value = serde_json::from_str(line).unwrap();
        for name in ["RequestCount", "ErrorCount", "ClientErrorCount", "ThrottledCount"] {
            *sums.entry(name).or_default() += line[name].as_u64().unwrap();
        }
    }
    let sums = ["RequestCount", "ErrorCount", "ClientErrorCount", "ThrottledCount"].map(|name| sums[name]);
    assert_eq!(sums, [records.len() as u64, of_class(5), of_class(4), throttled]);
}
