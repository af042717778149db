//! Programs of others read the admin listener: Prometheus, promtool, schemathesis.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::echoing;
use crate::harness::process::{Process, command};
use crate::harness::scratch::Scratch;
use crate::harness::{Operator, PATIENCE, Setup, Tollgate};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const LIMITED: &str = "[limits.few]\nkey = \"ip\"\nrate = \"5/hour\"\n\
    [[routes]]\nname = \"all\"\nmatch = \"/*\"\nlimits = \"few\"\n";

fn with_token(upstream: &str) -> Tollgate {
    Setup::before(upstream).admin(&format!("token = \"{TOKEN}\"\n")).table(LIMITED).start()
}

/// Ten requests, half of them refused.
fn some_traffic(tollgate: &Tollgate) {
    let fields = ["ratelimit", "ratelimit-policy", "retry-after"];
    let more = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    let mut client = tollgate.client().allow(&fields).allow(&more);
    (0..10).for_each(|_| drop(client.get("/a")));
    tollgate.wait_for_records(10);
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let origin = echoing();
    let tollgate = with_token(origin.address());
    some_traffic(&tollgate);
    let told = tollgate.operator().with_token(TOKEN).get("/metrics");
    assert_eq!(told.headers.get("content-type").as_deref(), Some("text/plain; version=0.0.4; charset=utf-8"));
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().expect("promtool; `make programs` installs it");
    promtool.stdin.take().unwrap().write_all(told.text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}\n{}", told.text);
}

/// A running Prometheus that scrapes one place each second.
struct Prometheus {
    _process: Process,
    api: Operator,
    _scratch: Scratch,
}

impl Prometheus {
    fn scraping(address: &str) -> Prometheus {
        let scratch = Scratch::new();
        let config = scratch.file("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: tollgate\n    \
             authorization: {{credentials: {TOKEN}}}\n    static_configs: [{{targets: [\"{address}\"]}}]\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = command(Path::new("prometheus"));
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", scratch.file("data").display()));
        command.args(["--web.listen-address=127.0.0.1:0", "--log.format=json"]);
        let process = Process::start("prometheus", command);
        let listening = process.stderr.wait(|lines| {
            let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut bound = events.filter(|event| event["msg"] == "Listening on");
            bound.next().map(|event| event["address"].as_str().unwrap().to_owned())
        });
        let listening = listening.unwrap_or_else(|| panic!("no Prometheus:\n{}", process.said()));
        Prometheus { _process: process, api: Operator::at(&listening), _scratch: scratch }
    }

    /// The value of an expression; `None` if there is none yet.
    fn value(&self, expression: &str) -> Option<f64> {
        let escaped: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let told = self.api.get(&format!("/api/v1/query?query={escaped}"));
        if told.status != 200 {
            return None;
        }
        told.json()["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

#[test]
fn prometheus_scrapes_what_was_sent() {
    let origin = echoing();
    let tollgate = with_token(origin.address());
    some_traffic(&tollgate);
    let prometheus = Prometheus::scraping(tollgate.operator().address());
    for (expression, wanted) in [
        ("up", 1.0),
        (r#"http_requests_total{method="GET",route="all",status="2xx"}"#, 5.0),
        (r#"http_requests_total{method="GET",route="all",status="4xx"}"#, 5.0),
        (r#"http_request_duration_seconds_count{route="all"}"#, 10.0),
    ] {
        let deadline = Instant::now() + PATIENCE;
        while prometheus.value(expression) != Some(wanted) {
            let found = prometheus.value(expression);
            assert!(Instant::now() < deadline, "{expression} is {found:?}, not {wanted}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn schemathesis_finds_no_answer_that_the_description_does_not_say() {
    let origin = echoing();
    let tollgate = with_token(origin.address());
    let operator = tollgate.operator().with_token(TOKEN);
    let deadline = Instant::now() + PATIENCE;
    // A 503 is no fault of the listener's, and counted as one.
    while operator.get("/readyz").status != 200 {
        assert!(Instant::now() < deadline, "never ready");
        std::thread::sleep(Duration::from_millis(10));
    }
    let scratch = Scratch::new();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/schemathesis");
    assert!(program.exists(), "{} is missing: run `make test`", program.display());
    let mut schemathesis = Command::new(program);
    schemathesis.arg("run").arg(format!("http://{}/openapi.json", operator.address()));
    schemathesis.args(["-H", &format!("Authorization: Bearer {TOKEN}")]);
    // A stream has no end to wait for.
    schemathesis.args(["--exclude-path", "/events", "--phases", "coverage,fuzzing", "--max-examples", "30"]);
    schemathesis.args(["--seed", "1", "--no-color"]);
    let output = schemathesis.current_dir(scratch.path()).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Tested: 1"), "{said}");
}
