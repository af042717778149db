//! The loader as a whole.

use std::time::Duration;

use proptest::prelude::*;

use crate::message::handling::{BreakerRule, Handling, OnDisconnect, Priority, Spill};

use super::model::shield::{Buffers, Canary, HealthCheck, InFlightCap, Queue, SpillDir};
use super::*;

fn load_text(text: &str) -> Result<Loaded, Report> {
    load(text, "tollgate.toml", &variables, &Overrides::default())
}

#[test]
fn an_app_alone_is_a_configuration() {
    let overrides = Overrides { upstream: Some("127.0.0.1:8000".to_owned()), ..Overrides::default() };
    let loaded = load("", "tollgate.toml", &|_| None, &overrides).unwrap();
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.model.routes.routes().len(), 1);
    assert_eq!(loaded.origins.get("listen.max_uri"), Origin::Default);
    let option = "--upstream";
    assert_eq!(loaded.origins.get("upstream.address"), Origin::CommandLine { option });
}

#[test]
fn every_problem_is_told_in_file_order() {
    let text = "[listen]\nmax_body = 3\nnope = 1\n[log]\nlevel = \"loud\"\n";
    let report = load_text(text).unwrap_err();
    let shown = report.render(false);
    let places: Vec<_> = ["max_body", "nope", "loud", "upstream"].map(|word| shown.find(word)).into();
    assert!(places.is_sorted() && places[0].is_some(), "{shown}");
    assert_eq!(report.errors(), 4);
}

/// Every key away from its default, with text that needs escapes.
const EVERYTHING: &str = r#"
[listen]
address = ["[::]:80", "unix:/run/a\"$$b.sock"]
trusted_proxies = "10.0.0.0/8"
max_connections = 1
header_timeout = "1ms"
body_timeout = "2s"
keepalive_timeout = "3h"
send_timeout = "4s"
min_body_rate = "off"
min_send_rate = "1KiB/s"
max_connections_per_ip = 5
max_uri = "1KiB"
max_headers = 2
max_header_line = "5B"
max_header_bytes = "6KiB"
max_body = "7TiB"
drain_delay = "7s"
drain_timeout = "8m"
h2c = true
http2 = { max_streams = 7, window = "1MiB" }
proxy_protocol = true
[listen.tls]
address = ["[::]:443", "127.0.0.1:8443"]
certificate = "/etc/\"$$a.pem"
private_key = "/etc/a.key"
certificates = [{ certificate = "/etc/b.pem", private_key = "/etc/b.key" }]
http2 = false
client_ca = "/etc/clients.pem"
client_auth = "request"
min_version = "1.3"
handshake_timeout = "9s"
[upstream]
address = "https://[::1]:8000"
connect_timeout = "9s"
response_timeout = "10s"
idle_timeout = "11ms"
retry = { attempts = 0 }
max_in_flight = "auto"
auto_limit = { floor = 3, ceiling = 99 }
queue = { size = 7, timeout = "12s", fair = false, tiers = { pro = "high", "a.b" = "low" } }
buffer_request = "1KiB"
buffer_response = "2KiB"
buffer_total = "3MiB"
spill_dir = "/var/tmp/\"$$a"
spill_max = "8TiB"
spill = ["requests", "responses"]
[upstream.health]
path = "/health?a=%20"
interval = "13s"
timeout = "3s"
healthy_after = 2
unhealthy_after = 4
expect = ["200-299", 304]
[upstream.tls]
ca = "/etc/ca.pem"
server_name = "app.internal"
certificate = "/etc/c.pem"
private_key = "/etc/c.key"
[upstream.canary]
address = "unix:/run/canary.sock"
weight = 0.75
max_in_flight = 6
[request_id]
header = "X-Trace"
inbound = "never"
format = "uuid4"
[identity]
sources = ["header", "api_key", "certificate"]
api_key = { header = "X-Key", query = "key", keys_file = "/etc/keys", unknown = "reject" }
header = { name = "X-User" }
certificate = { name = "san_email" }
[log]
format = "text"
level = "debug"
access = "/var/log/a.log"
query = true
headers = ["Accept", "x-tenant"]
[errors]
format = "problem"
[limits.all]
key = ["api_key", "header:X-Tenant"]
per = "service"
rate = "100/15 minutes"
burst = 40
algorithm = "token_bucket"
quota = "1000/month"
zone = "America/New_York"
in_flight = 10
cost = { response_header = "X-LLM-Tokens", reserve = 7, strip = false }
ipv6_prefix = 56
mode = "shadow"
tiers.pro = { rate = "20/minute", burst = 50, quota = "10/hour", in_flight = 11 }
[limiting]
mode = "off"
headers = "legacy"
reset = "epoch"
jitter = "12%"
reload_guard = "0%"
exempt.ips = ["10.0.0.0/8", "::1"]
exempt.users = "a\"$$b"
exempt.keys = "9F86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
exempt.paths = ["GET /health", "/a/{b}"]
[store]
snapshot = "/var/lib/a.snapshot"
interval = "14s"
max_keys = 2000
[[routes]]
name = "a"
match = ["GET,POST /a/{b}/*", "/c"]
timeout = "12s"
max_body = "13B"
priority = "high"
stream = true
spill = []
on_disconnect = "finish"
breaker = { errors = "60%", over = "11s", at_least = 21, open_for = "6s" }
limits = ["all", "auth", "public"]
cost = 3
[[routes]]
name = "b"
match = "/*"
[emf]
sink = "tcp://[::1]:25888"
namespace = "Shop/a"
service = "api \"$$1\""
environment = "staging"
per = "30s"
dimensions = [["Environment", "Route"], ["Service"]]
validate = true
log_group = "/shop/emf"
log_stream = "one"
[metrics]
prometheus = false
push = "cloudwatch"
push_every = "2m"
buckets = ["1ms", "1500ms", "1h"]
max_routes = 3
max_models = 4
[metrics.from_response]
cache_hit = { header = "X-Cache", equals = "HIT \"$$" }
analysis_latency = { server_timing = "analysis" }
server_timing = ["db", "a.b"]
llm = { tokens = "X-LLM-Tokens", model = "X-LLM-Model", operation = "X-LLM-Operation" }
strip = false
[cloudwatch]
region = "us-gov-east-1"
dashboard = "shop"
metric_price = 1
log_price = 0.0000005
metric_budget = 9
alarms.actions = ["arn:aws:sns:eu-west-1:123456789012:a", "arn:aws:sns:eu-west-1:123456789012:b"]
alarms.error_rate = "6%"
alarms.min_requests = 21
alarms.p99 = "1500ms"
alarms.cache_hit_rate = "51%"
alarms.throttled_rate = "22%"
alarms.no_traffic = "90m"
[admin]
address = ["0.0.0.0:9180", "unix:/run/admin.sock"]
token = "${TOKEN}"
live_path = "/live"
ready_path = "/ready/"
[alerts]
slack.webhook = "${SLACK:-}"
webhook = { url = "${HOOK}" }
[[alerts.rules]]
name = "errors"
when = "error_rate > 5.5%"
route = "a"
over = "10s"
for = "1m"
cooldown = "2h"
min_requests = 7
[[alerts.rules]]
name = "slow"
when = "p99 < 1001ms"
"#;

fn variables(name: &str) -> Option<String> {
    let value = match name {
        "TOKEN" => "0123456789abcdef",
        "SLACK" => "https://example.com/slack",
        "HOOK" => "http://example.com/hook",
        _ => return None,
    };
    Some(value.to_owned())
}

/// Limits whose numbers must not leak from one table of the printed file into another.
const LIMITS: &str = r#"
[upstream]
address = "app:8000"
[limits.default]
rate = "120/minute"
tiers.free = { rate = "6/second; 20/minute" }
tiers."a.b" = { quota = "5/day" }
[limits."x.y"]
key = "global"
rate = "10/second; 100/hour; 5000/month"
algorithm = "sliding_window"
[limits.low]
rate = "120/minute"
burst = 30
cost = 2
tiers.more = { rate = "200/minute", burst = 200 }
[limits.auth]
in_flight = 2
[limiting]
headers = []
[store]
interval = "20s"
[[routes]]
name = "a"
match = "/a"
limits = ["low", "default", "x.y", "auth"]
cost = 5
[[routes]]
name = "b"
match = "/*"
limits = "staff"
cost = 1
"#;

/// What of the shield goes without saying.
const SHIELD: &str = r#"
[listen]
max_body = "5KiB"
[upstream]
address = "app:8000"
max_in_flight = 8
queue.timeout = "1s"
spill_dir = "./spill"
spill = "responses"
health.path = "/"
health.expect = 204
canary.address = "app:8001"
[[routes]]
name = "a"
match = "/a"
breaker = {}
[[routes]]
name = "b"
match = "/b"
stream = true
[[routes]]
name = "c"
match = "/*"
spill = "requests"
"#;

#[test]
fn a_printed_configuration_loads_to_the_same_model() {
    let default = "[upstream]\naddress = \"app:8000\"\n[limits.default]\nrate = \"5/day\"";
    for text in [EVERYTHING, LIMITS, SHIELD, default, "[upstream]\naddress = \"app:8000\""] {
        let loaded = load_text(text).unwrap();
        let printed = print(&loaded);
        let again = load_text(&printed).unwrap_or_else(|report| panic!("{}", report.render(false)));
        assert_eq!(format!("{:?}", again.model), format!("{:?}", loaded.model), "{printed}");
    }
}

/// Tables that are printed under headers of their own within others.
const NESTED: [&str; 10] = [
    "listen.http2",
    "listen.tls",
    "upstream.tls",
    "upstream.health",
    "upstream.canary",
    "metrics.from_response",
    "cloudwatch.alarms",
    "alerts.slack",
    "alerts.webhook",
    "alerts.rules",
];

#[test]
fn every_key_is_printed_with_its_origin() {
    let loaded = load_text(EVERYTHING).unwrap();
    let printed = print(&loaded);
    for path in keys() {
        let (table, key) = match path.strip_prefix("limits.*.") {
            Some(key) => ("limits.all", key),
            None => {
                let nested =
                    NESTED.iter().find_map(|table| path.strip_prefix(*table).map(|key| (*table, key)));
                nested.map_or_else(|| path.split_once('.').unwrap(), |(table, key)| (table, &key[1..]))
            }
        };
        let header = match table {
            "routes" | "alerts.rules" => format!("[[{table}]]"),
            _ => format!("[{table}]"),
        };
        let key = &key.replace("queue.tiers.*", "queue.tiers.pro");
        let section = printed.split_once(&format!("{header}\n")).unwrap().1;
        // A table is on one line: its keys dotted, or within braces.
        let (outer, inner) = key.rsplit_once('.').unwrap_or(("", key));
        let outer = outer.trim_end_matches(".*");
        let is_there = |line: &&str| {
            let braced = line.starts_with(outer) && line.contains(&format!("{inner} = "));
            line.starts_with(&format!("{key} = ")) || (!outer.is_empty() && line.contains('{') && braced)
        };
        let line = section.lines().find(is_there);
        assert!(line.is_some_and(|line| line.contains("# line ")), "{path}: {line:?}");
    }
}

#[test]
fn the_model_has_what_is_written_of_the_shield() {
    let model = load_text(EVERYTHING).unwrap().model;
    assert_eq!(model.listen.send_timeout, Duration::from_secs(4));
    assert_eq!((model.listen.min_body_rate, model.listen.min_send_rate), (None, Some(1024)));
    assert_eq!(model.listen.max_connections_per_ip, Some(5));
    let upstream = &model.upstream;
    assert_eq!(upstream.max_in_flight, Some(InFlightCap::Auto { floor: 3, ceiling: 99 }));
    let tiers = [("a.b".into(), Priority::Low), ("pro".into(), Priority::High)];
    let queue = Queue { size: 7, timeout: Duration::from_secs(12), fair: false, tiers: tiers.into() };
    assert_eq!(upstream.queue, queue);
    let both = Spill { requests: true, responses: true };
    let spill = SpillDir { path: "/var/tmp/\"$a".into(), max: 8 << 40 };
    let buffers =
        Buffers { request: 1024, response: 2048, total: 3 << 20, spill: Some(spill), spill_by_default: both };
    assert_eq!(upstream.buffers, buffers);
    let health = HealthCheck {
        path: Some("/health?a=%20".to_owned()),
        interval: Duration::from_secs(13),
        timeout: Duration::from_secs(3),
        healthy_after: 2,
        unhealthy_after: 4,
        expect: vec![(200, 299), (304, 304)],
    };
    assert_eq!(upstream.health, health);
    let canary = Canary {
        address: UpstreamAddress::Unix("/run/canary.sock".into()),
        weight_of_10_000: 75,
        max_in_flight: Some(InFlightCap::Fixed(6)),
    };
    assert_eq!(upstream.canary, Some(canary));
    let breaker = BreakerRule {
        errors_percent: 60,
        over: Duration::from_secs(11),
        at_least: 21,
        open_for: Duration::from_secs(6),
    };
    let handling = Handling {
        priority: Some(Priority::High),
        stream: true,
        spill: Spill::default(),
        on_disconnect: Some(OnDisconnect::Finish),
        breaker: Some(breaker),
    };
    assert_eq!(model.routes.routes()[0].handling, handling);
    assert_eq!(model.routes.routes()[1].handling, Handling { spill: both, ..Handling::default() });
}

#[test]
fn what_the_shield_is_not_told_follows_from_what_it_is() {
    let model = load_text(SHIELD).unwrap().model;
    let upstream = &model.upstream;
    assert_eq!(upstream.buffers.request, 5 << 10, "no request is larger");
    assert_eq!(upstream.max_in_flight, Some(InFlightCap::Fixed(8)));
    let canary = upstream.canary.as_ref().unwrap();
    assert_eq!((canary.weight_of_10_000, canary.max_in_flight), (500, Some(InFlightCap::Fixed(8))));
    assert_eq!(upstream.health.expect, [(204, 204)]);
    let breaker = BreakerRule {
        errors_percent: 50,
        over: Duration::from_secs(10),
        at_least: 20,
        open_for: Duration::from_secs(5),
    };
    let spills = model.routes.routes().iter().map(|route| {
        let spill = route.handling.spill;
        (spill.requests, spill.responses)
    });
    assert_eq!(spills.collect::<Vec<_>>(), [(false, true), (false, false), (true, false)]);
    assert_eq!(model.routes.routes()[0].handling.breaker, Some(breaker));
    let plain = load_text("[upstream]\naddress = \"app:8000\"").unwrap().model;
    assert_eq!((plain.upstream.max_in_flight, plain.upstream.queue.size), (None, 256));
    assert_eq!(plain.routes.routes()[0].handling, Handling::default());
}

#[test]
fn the_cap_of_a_canary_is_its_own_if_it_has_one() {
    let caps = |text: &str| {
        let text = format!("[upstream]\naddress = \"app:80\"\ncanary.address = \"app:81\"\n{text}");
        let upstream = load_text(&text).unwrap().model.upstream;
        (upstream.max_in_flight, upstream.canary.unwrap().max_in_flight)
    };
    let auto = |floor, ceiling| Some(InFlightCap::Auto { floor, ceiling });
    assert_eq!(caps("max_in_flight = 8\ncanary.max_in_flight = 0"), (Some(InFlightCap::Fixed(8)), None));
    assert_eq!(caps("max_in_flight = \"auto\""), (auto(2, 256), auto(2, 256)));
    assert_eq!(caps("canary.max_in_flight = \"auto\"\nauto_limit.floor = 4"), (None, auto(4, 256)));
}

#[test]
fn secrets_are_not_printed() {
    let literal = "[upstream]\naddress = \"app:8000\"\n[admin]\ntoken = \"hunter2-hunter2-hunter2\"\n\
                   [alerts.slack]\nwebhook = \"https://example.com/hunter2\"\n\
                   [alerts.webhook]\nurl = \"${UNSET:-https://example.com/hunter2}\"\n";
    let loaded = load_text(literal).unwrap();
    let printed = print(&loaded);
    for line in ["# token is set,", "# alerts.slack.webhook is set,", "# alerts.webhook.url is set,"] {
        assert!(printed.contains(line), "{printed}");
    }
    let told = format!("{printed}{loaded:?}");
    assert!(!told.contains("hunter2"), "{told}");
    assert!(load_text(&printed).is_ok());
    let everything = print(&load_text(EVERYTHING).unwrap());
    assert!(everything.contains("token = \"${TOKEN}\" "), "{everything}");
    assert!(!everything.contains("0123456789abcdef") && !everything.contains("example.com"));
}

#[test]
fn thousands_of_problems_are_counted_but_not_shown() {
    let keys: String = (0..2000).map(|number| format!("key_{number} = 1\n")).collect();
    let report = load_text(&format!("upstream.address = \"app:80\"\n{keys}")).unwrap_err();
    let shown = report.render(false);
    assert_eq!(report.errors(), 2000);
    assert_eq!(shown.matches("error: ").count(), MAX_SHOWN);
    assert!(shown.contains("tollgate: 1900 more not shown\ntollgate: 2000 problems in"));
}

#[test]
fn depth_does_not_reach_the_stack() {
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let text = format!("a = {}1{}", open.repeat(100_000), close.repeat(100_000));
        assert!(load_text(&text).is_err());
    }
    assert!(load_text(&format!("a{} = 1", ".a".repeat(100_000))).is_err());
    assert!(load_text(&format!("[a{}]", ".a".repeat(100_000))).is_err());
}

#[test]
fn the_variables_of_a_value_are_its_origin() {
    let text = "upstream.address = \"${HOST}:${PORT:-80}\"\nlisten.max_connections = \"${N}\"";
    let env = |name: &str| match name {
        "HOST" => Some("app".to_owned()),
        "N" => Some("7".to_owned()),
        _ => None,
    };
    let loaded = load(text, "f", &env, &Overrides::default()).unwrap();
    assert_eq!(loaded.model.listen.max_connections, 7);
    let printed = print(&loaded);
    let line = printed.lines().find(|line| line.starts_with("address = \"app:80\""));
    assert!(line.is_some_and(|line| line.ends_with("# line 1, from ${HOST} ${PORT}")), "{printed}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\PC|[\r\n\t])*") {
        let _ = load_text(&text).map_err(|report| report.render(true));
    }

    #[test]
    fn no_file_of_known_words_makes_it_panic(words in prop::collection::vec(prop::sample::select(vec![
        "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "\n", "\r\n", "\"", "'", "\"\"\"", "#", "${", "}", "$",
        "listen", "address", "limits", "rate", "tiers", "cost", "key", "\"5/minute\"", "routes", "match", "name", "upstream", "retry", "attempts", "log", "headers",
        "emf", "dimensions", "sink", "metrics", "from_response", "llm", "cloudwatch", "admin", "token", "alerts", "rules",
        "max_in_flight", "\"auto\"", "queue", "tiers", "health", "canary", "weight", "spill", "breaker", "expect", "\"240B/s\"",
        "slack", "webhook", "url", "when", "\"p99 > 2s\"", "\"\"\"",
        "\"/*\"", "\"127.0.0.1:1\"", "10s", "\"10s\"", "1", "-1", "1.5", "true", "1979-05-27", "é",
    ]), 0..40)) {
        let _ = load_text(&words.concat()).map_err(|report| report.render(false));
    }
}
