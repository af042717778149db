//! The admin listener: who may ask, what is told, what can be done and what it does to the traffic.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{echoing, ok};
use crate::harness::client::get;
use crate::harness::socket::Socket;
use crate::harness::{Client, Operator, Origin, PATIENCE, Setup, Tollgate};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Every caller 5 an hour on each of two routes; users by a field of a trusted proxy.
const LIMITED: &str = "[identity]\nsources = [\"header\"]\nheader = { name = \"X-User\" }\n\
    [limits.few]\nkey = \"caller\"\nrate = \"5/hour\"\n\
    [[routes]]\nname = \"first\"\nmatch = \"/first/*\"\nlimits = \"few\"\n\
    [[routes]]\nname = \"rest\"\nmatch = \"/*\"\nlimits = \"few\"\n";

fn limited(origin: &Origin) -> Tollgate {
    Setup::before(origin.address()).admin("").table(LIMITED).start()
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A client whose answers have fields of limits.
fn client(tollgate: &Tollgate) -> Client {
    tollgate.client().allow(&[
        "ratelimit",
        "ratelimit-policy",
        "retry-after",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
    ])
}

fn as_user(client: &mut Client, user: &str, path: &str) -> u16 {
    client.request("GET", path, &format!("X-User: {user}\r\n")).status()
}

/// Uses up the limit of a user on a route.
fn use_up(client: &mut Client, user: &str, path: &str) {
    eventually("a refusal", || as_user(client, user, path) == 429);
}

fn is_ready(operator: &Operator) -> bool {
    operator.get("/readyz").status == 200
}

#[test]
fn with_a_token_all_but_health_and_the_page_need_it() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).admin(&format!("token = \"{TOKEN}\"\n")).start();
    let stranger = tollgate.operator();
    for path in ["/status", "/metrics", "/events", "/openapi.json", "/nothing", "/limits/a/reset"] {
        stranger.get(path).assert_failed(401, "unauthorized");
        stranger.with_token("0123456789abcdef0123456789abcdeX").get(path).assert_failed(401, "unauthorized");
    }
    let told = stranger.post("/block", r#"{"user":"ann","seconds":9}"#);
    told.assert_failed(401, "unauthorized");
    assert_eq!(told.headers.get("www-authenticate").as_deref(), Some("Bearer"));
    for path in ["/healthz", "/"] {
        eventually(path, || stranger.get(path).status == 200);
    }
    eventually("ready", || is_ready(&stranger));
    let operator = stranger.with_token(TOKEN);
    assert_eq!(operator.get("/status").status, 200);
    assert_eq!(operator.get("/nothing").status, 404);
    let told = tollgate.wait_for_event("somebody asked the admin listener without the right token");
    assert!(told["refused"].as_u64().unwrap() >= 1, "{told}");
    let log = tollgate.process.said();
    assert!(!log.contains("0123456789abcdef"), "a token, or what was sent as one, is in the log");
    let configuration = operator.status()["configuration"].as_str().unwrap().to_owned();
    assert!(configuration.contains("[admin]") && !configuration.contains(TOKEN), "{configuration}");
}

#[test]
fn without_a_token_a_name_that_resolves_here_is_no_way_in() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).admin("").start();
    let operator = tollgate.operator();
    let port = operator.address().rsplit(':').next().unwrap().to_owned();
    let as_host = |host: &str| operator.send_to_host("GET", "/status", &format!("Host: {host}\r\n"), "");
    for host in ["evil.example", &format!("evil.example:{port}"), "10.0.0.7", "localhost.evil.example"] {
        as_host(host).assert_failed(403, "host_forbidden");
    }
    for host in ["localhost", &format!("localhost:{port}"), "127.0.0.1", "[::1]"] {
        assert_eq!(as_host(host).status, 200, "{host}");
    }
    let health = || operator.send_to_host("GET", "/healthz", "Host: balancer.example\r\n", "");
    eventually("load balancers ask by any name", || health().status == 200);
}

#[test]
fn a_page_of_another_origin_changes_nothing() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let operator = tollgate.operator();
    let body = r#"{"user":"ann","seconds":60}"#;
    let send = |fields: &str| operator.send("POST", "/block", fields, body);
    for of in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let fields = format!("Content-Type: application/json\r\nOrigin: {of}\r\n");
        send(&fields).assert_failed(403, "origin_forbidden");
    }
    for kind in ["", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"] {
        send(kind).assert_failed(415, "unsupported_media_type");
    }
    assert_eq!(operator.status()["blocks"], json!([]));
    let own = format!("Content-Type: application/json\r\nOrigin: http://{}\r\n", operator.address());
    assert_eq!(send(&own).status, 200);
    assert_eq!(operator.status()["blocks"][0]["caller"], "ann");
}

#[test]
fn what_cannot_be_understood_is_told_with_a_stable_code() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let operator = tollgate.operator();
    operator.get("/nothing").assert_failed(404, "not_found");
    let told = operator.post("/status", "{}");
    told.assert_failed(405, "method_not_allowed");
    assert_eq!(told.headers.get("allow").as_deref(), Some("GET, HEAD"));
    operator.post("/limits/unknown/reset", "{}").assert_failed(404, "no_such_limit");
    operator.delete("/block", r#"{"user":"ann"}"#).assert_failed(404, "nothing_to_end");
    operator.post("/block", "not json").assert_failed(400, "bad_request");
    operator.post("/block", r#"{"user":"ann","seconds":0}"#).assert_failed(400, "bad_request");
    let large = format!("{{\"user\":\"{}\"}}", "a".repeat(70_000));
    operator.post("/limits/few/reset", &large).assert_failed(413, "payload_too_large");
    let head = operator.send("HEAD", "/status", "", "");
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}

#[test]
fn a_unix_socket_is_its_owners_alone() {
    let origin = echoing();
    let setup = Setup::before(origin.address());
    let path = setup.file("admin.sock");
    let address = format!("unix:{}", path.display());
    let mut tollgate = setup.table(&format!("[admin]\naddress = \"{address}\"\n")).start();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let operator = tollgate.operator();
    assert_eq!(operator.address(), address);
    assert_eq!(operator.status()["state"], "serving");
    assert_eq!(tollgate.stop(), 0);
    assert!(!path.exists(), "the name is taken back");
}

#[test]
fn an_address_that_cannot_be_bound_is_told_and_nothing_starts() {
    let origin = echoing();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let setup = Setup::before(origin.address()).table(&format!("[admin]\naddress = \"{address}\"\n"));
    let mut tollgate = setup.spawn();
    assert_eq!(tollgate.process.wait(), 1);
    tollgate.process.wait_for_output();
    let said = tollgate.process.said();
    assert!(
        said.contains(&format!("cannot listen on `{address}` for `[admin]`: address already in use")),
        "{said}"
    );
    assert!(said.contains("`[admin] address`"), "{said}");
}

#[test]
fn status_tells_what_was_sent() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let operator = tollgate.operator();
    let mut client = client(&tollgate);
    for _ in 0..3 {
        assert_eq!(as_user(&mut client, "ann", "/first/a"), 200);
    }
    assert_eq!(client.get("/b").status(), 200);
    use_up(&mut client, "bob", "/c");
    tollgate.wait_for_records(10);
    let status = operator.status();
    let traffic = &status["traffic"];
    assert_eq!(
        (&traffic["requests"], &traffic["throttled"], &traffic["errors"]),
        (&json!(10), &json!(1), &json!(0))
    );
    assert_eq!((&traffic["client_errors"], &traffic["in_flight"]), (&json!(1), &json!(0)));
    assert_eq!(traffic["connections"], 1);
    let routes = status["routes"].as_array().unwrap();
    let of = |name: &str| routes.iter().find(|route| route["name"] == name).unwrap();
    assert_eq!((&of("rest")["requests"], &of("first")["requests"]), (&json!(7), &json!(3)));
    assert_eq!(routes[0]["name"], "rest", "the busiest first");
    assert!(of("rest")["latency"]["p50_ms"].as_f64().unwrap() > 0.0);
    assert!(of("first")["upstream_latency"]["p99_ms"].as_f64().unwrap() > 0.0);
    let limit = &status["limits"][0];
    assert_eq!(
        (&limit["name"], &limit["mode"], &limit["per"]),
        (&json!("few"), &json!("enforce"), &json!("route"))
    );
    assert_eq!(
        (&limit["key"], &limit["refused"], &limit["keys"]),
        (&json!(["caller"]), &json!(1), &json!(3))
    );
    let fullest = &limit["fullest"];
    assert_eq!((&fullest[0]["key"], &fullest[0]["route"]), (&json!("bob"), &json!("rest")));
    assert_eq!((&fullest[0]["remaining"], &fullest[0]["most"]), (&json!(0), &json!(5)));
    assert_eq!((&fullest[1]["key"], &fullest[1]["remaining"]), (&json!("ann"), &json!(2)));
    assert_eq!((&fullest[2]["key"], &fullest[2]["remaining"]), (&json!("127.0.0.1"), &json!(4)));
    let talker = &status["talkers"]["requests"][0];
    assert_eq!(talker, &json!({"caller": "bob", "kind": "user", "count": 6}));
    let refusal = &status["refusals"][0];
    assert_eq!(
        (&refusal["caller"], &refusal["limit"], &refusal["route"]),
        (&json!("bob"), &json!("few"), &json!("rest"))
    );
    let record = tollgate.wait_for_record(|record| record["status"] == 429);
    assert_eq!(refusal["request_id"], record["request_id"]);
    assert_eq!(status["upstream"]["connects"], 1);
    assert_eq!(status["sinks"], json!([{"name": "records", "dropped": 0}]));
    assert!(status["process"]["resident_bytes"].as_u64().unwrap() > 1 << 20);
    assert_eq!(status["workers"], 1);
}

#[test]
fn a_reset_makes_a_caller_as_good_as_new_on_every_route_and_nobody_else() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let operator = tollgate.operator();
    let mut client = client(&tollgate);
    for user in ["ann", "bob"] {
        use_up(&mut client, user, "/first/a");
        use_up(&mut client, user, "/b");
    }
    let told = operator.post("/limits/few/reset", r#"{"user":"ann"}"#);
    assert_eq!((told.status, told.json()), (200, json!({"limit": "few", "dropped": 2})));
    for path in ["/first/a", "/b"] {
        assert_eq!(as_user(&mut client, "ann", path), 200);
        assert_eq!(as_user(&mut client, "bob", path), 429);
    }
    let event = tollgate.wait_for_event("limit reset");
    assert_eq!(
        (&event["limit"], &event["caller"], &event["dropped"]),
        (&json!("few"), &json!("ann"), &json!(2))
    );
    assert!(event["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{event}");
    let told = operator.post("/limits/few/reset", "{}");
    assert_eq!(told.json()["dropped"], 4);
    assert_eq!(as_user(&mut client, "bob", "/b"), 200);
}

#[test]
fn a_limit_that_counts_by_something_else_cannot_be_reset_for_that_caller() {
    let origin = echoing();
    let table = "[limits.each]\nkey = \"ip\"\nrate = \"5/hour\"\n[[routes]]\nname = \"all\"\nmatch = \"/*\"\nlimits = \"each\"\n";
    let tollgate = Setup::before(origin.address()).admin("").table(table).start();
    let operator = tollgate.operator();
    let mut client = client(&tollgate);
    client.get("/");
    operator.post("/limits/each/reset", r#"{"user":"ann"}"#).assert_failed(409, "not_counted_by");
    let told = operator.post("/limits/each/reset", r#"{"address":"127.0.0.1"}"#);
    assert_eq!(told.json()["dropped"], 1);
}

#[test]
fn a_lifted_limit_is_not_counted_until_the_lift_ends() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let operator = tollgate.operator();
    let mut client = client(&tollgate);
    use_up(&mut client, "ann", "/");
    use_up(&mut client, "bob", "/");
    let told = operator.post("/limits/few/lift", r#"{"user":"ann","seconds":3600}"#);
    assert_eq!((told.status, &told.json()["limit"]), (200, &json!("few")));
    for _ in 0..10 {
        assert_eq!(as_user(&mut client, "ann", "/"), 200);
    }
    assert_eq!(as_user(&mut client, "bob", "/"), 429, "only ann");
    let lift = operator.status()["lifts"][0].clone();
    assert_eq!(
        (&lift["limit"], &lift["caller"], &lift["kind"]),
        (&json!("few"), &json!("ann"), &json!("user"))
    );
    assert_eq!(lift["until_ms"], told.json()["until_ms"]);
    assert_eq!(operator.delete("/limits/few/lift", r#"{"user":"ann"}"#).status, 200);
    assert_eq!(as_user(&mut client, "ann", "/"), 429);
    operator.post("/limits/few/lift", r#"{"seconds":1}"#);
    assert_eq!(as_user(&mut client, "bob", "/"), 200, "for everybody");
    eventually("the end of the lift", || as_user(&mut client, "bob", "/") == 429);
    assert_eq!(operator.status()["lifts"], json!([]));
    for message in ["limit lifted", "lift ended"] {
        tollgate.wait_for_event(message);
    }
}

#[test]
fn the_log_tells_a_user_from_an_address_and_from_everybody() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let operator = tollgate.operator();
    assert_eq!(operator.post("/limits/few/lift", r#"{"user":"everybody","seconds":60}"#).status, 200);
    assert_eq!(operator.post("/block", r#"{"user":"127.0.0.1","seconds":60}"#).status, 200);
    assert_eq!(operator.post("/limits/few/reset", "{}").status, 200);
    for (message, whose, caller) in [
        ("limit lifted", "user", "everybody"),
        ("caller blocked", "user", "127.0.0.1"),
        ("limit reset", "everybody", "everybody"),
    ] {
        let event = tollgate.wait_for_event(message);
        assert_eq!((&event["whose"], &event["caller"]), (&json!(whose), &json!(caller)), "{message}");
    }
}

#[test]
fn a_blocked_caller_is_refused_until_the_block_ends() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let operator = tollgate.operator();
    let mut client = client(&tollgate);
    assert_eq!(operator.post("/block", r#"{"user":"ann","seconds":3600}"#).status, 200);
    let response = client.request("GET", "/blocked", "X-User: ann\r\n");
    response.assert_local(403, "forbidden");
    assert_eq!(as_user(&mut client, "bob", "/"), 200);
    let record = tollgate.record_of("/blocked");
    assert_eq!((&record["outcome"], &record["fault"]), (&json!("forbidden"), &json!("downstream")));
    assert_eq!(record["user"], "ann");
    let events = tollgate.reload(&tollgate.config_text().replace("5/hour", "6/hour"));
    assert!(events.iter().any(|event| event["message"] == "reloaded"), "{events:?}");
    assert_eq!(as_user(&mut client, "ann", "/"), 403, "a reload forgets no block");
    assert_eq!(operator.delete("/block", r#"{"user":"ann"}"#).status, 200);
    assert_eq!(as_user(&mut client, "ann", "/"), 200);
    operator.post("/block", r#"{"address":"127.0.0.1","seconds":1}"#);
    assert_eq!(as_user(&mut client, "bob", "/"), 403);
    eventually("the end of the block", || as_user(&mut client, "bob", "/") != 403);
    assert_eq!(origin.received().iter().filter(|request| request.target == "/blocked").count(), 0);
}

#[test]
fn a_reload_is_answered_with_what_it_did_or_with_every_problem() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let operator = tollgate.operator();
    let good = tollgate.config_text();
    tollgate.rewrite(&good.replace("5/hour", "6/hour"));
    let told = operator.post("/reload", "{}");
    assert_eq!(told.status, 200, "{told:#?}");
    let changes = told.json()["changes"].clone();
    assert_eq!(changes, json!([{"key": "limits.few.rate", "from": "\"5/hour\"", "to": "\"6/hour\""}]));
    tollgate.rewrite(&(good.replace("5/hour", "none") + "\n[nonsense]\n"));
    let told = operator.post("/reload", "{}");
    told.assert_failed(422, "reload_refused");
    assert_eq!(told.json()["problems"].as_array().unwrap().len(), 2, "{told:#?}");
    let status = operator.status();
    let reloads = &status["reloads"];
    assert_eq!((&reloads["done"], &reloads["failed"]), (&json!(1), &json!(1)));
    assert_eq!(reloads["problems"].as_array().unwrap().len(), 2);
    assert!(status["configuration"].as_str().unwrap().contains("6/hour"));
    tollgate.wait_for_event("reload asked for");
}

#[test]
fn a_file_that_is_gone_is_told_as_the_problem() {
    let origin = echoing();
    let tollgate = limited(&origin);
    std::fs::remove_file(tollgate.config()).unwrap();
    let told = tollgate.operator().post("/reload", "{}");
    told.assert_failed(422, "reload_refused");
    assert!(told.json()["problems"][0].as_str().unwrap().contains("there is no such file"));
}

#[test]
fn explain_tells_with_live_levels_and_debits_nothing() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let operator = tollgate.operator();
    let mut client = client(&tollgate);
    for _ in 0..3 {
        as_user(&mut client, "ann", "/first/a");
    }
    let ask = |body: &str| {
        let told = operator.post("/explain", body);
        assert_eq!(told.status, 200, "{told:#?}");
        told.json()
    };
    let ann = r#"{"method":"GET","path":"/first/b","user":"ann"}"#;
    for _ in 0..5 {
        let told = ask(ann);
        assert_eq!((&told["route"], &told["answer"]["code"]), (&json!("first"), &json!("app")));
        let meter = &told["limits"][0]["meters"][0];
        assert_eq!(
            (&meter["remaining"], &meter["most"], &meter["would_refuse"]),
            (&json!(2), &json!(5), &json!(false))
        );
    }
    use_up(&mut client, "ann", "/first/a");
    let told = ask(ann);
    assert_eq!(told["answer"]["status"], 429);
    assert_eq!((&told["answer"]["code"], &told["answer"]["limit"]), (&json!("rate_limited"), &json!("few")));
    let refused = client.request("GET", "/first/a", "X-User: ann\r\n");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(wait.abs_diff(told["answer"]["retry_after_seconds"].as_u64().unwrap()) <= PATIENCE.as_secs());
    operator.post("/limits/few/lift", r#"{"user":"ann","seconds":60}"#);
    let told = ask(ann);
    assert_eq!((&told["answer"]["code"], &told["limits"][0]["lifted"]), (&json!("app"), &json!(true)));
    operator.post("/block", r#"{"user":"ann","seconds":60}"#);
    assert_eq!(ask(ann)["answer"]["code"], "forbidden");
    let by_field = r#"{"method":"POST","path":"/x","headers":{"X-User":"bob"},"address":"192.0.2.1"}"#;
    let told = ask(by_field);
    assert_eq!(
        (&told["user"], &told["route"], &told["address"]),
        (&json!("bob"), &json!("rest"), &json!("192.0.2.1"))
    );
    operator.post("/explain", r#"{"method":"GET","path":"no"}"#).assert_failed(400, "bad_request");
}

#[test]
fn readiness_follows_the_app_and_health_does_not() {
    let place = Setup::before("127.0.0.1:1");
    let path = place.file("app.sock");
    let address = format!("unix:{}", path.display());
    let paths = "live_path = \"/live\"\nready_path = \"/ready\"\n";
    let tollgate = Setup::before(&address).admin(paths).start();
    let operator = tollgate.operator();
    let mut balancer = tollgate.client();
    eventually("down", || operator.get("/readyz").json()["status"] == "upstream_down");
    let told = operator.get("/readyz");
    assert_eq!(told.status, 503);
    assert_eq!(told.json()["services"]["upstream"]["status"], "down");
    eventually("the process lives all the same", || operator.get("/healthz").status == 200);
    eventually("503 on the traffic's address", || balancer.get("/ready").status() == 503);
    assert_eq!(balancer.get("/live").status(), 200);
    assert_eq!(operator.status()["upstream"]["up"], false);
    let app = std::os::unix::net::UnixListener::bind(&path).unwrap();
    eventually("up", || is_ready(&operator));
    let told = operator.get("/readyz").json();
    assert_eq!((&told["status"], &told["services"]["upstream"]["status"]), (&json!("ok"), &json!("up")));
    assert!(told["services"]["upstream"]["latency_ms"].as_f64().unwrap() > 0.0, "{told}");
    assert!(
        told["version"].is_string()
            && told["uptime_seconds"].is_u64()
            && told["metrics"]["requests"].is_u64()
    );
    eventually("200 on the traffic's address", || balancer.get("/ready").status() == 200);
    drop(app);
    std::fs::remove_file(&path).unwrap();
    eventually("down again", || !is_ready(&operator));
}

#[test]
fn readiness_is_refused_while_draining_and_the_last_answers_are_given() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::start(move |mut peer| {
        while peer.request().is_some() {
            if wait.lock().unwrap().recv_timeout(PATIENCE).is_err() {
                return;
            }
            peer.send(ok("done"));
        }
    });
    let mut tollgate = Setup::before(origin.address()).admin("").start();
    let operator = tollgate.operator();
    eventually("ready", || is_ready(&operator));
    let mut client = tollgate.client();
    client.send(get("/running"));
    origin.wait_for_requests(1);
    tollgate.terminate();
    tollgate.wait_for_event("draining");
    let told = operator.get("/readyz");
    assert_eq!((told.status, &told.json()["status"]), (503, &json!("draining")));
    assert_eq!(operator.get("/healthz").status, 200);
    let status = operator.status();
    assert_eq!((&status["state"], &status["traffic"]["in_flight"]), (&json!("draining"), &json!(1)));
    operator.post("/reload", "{}").assert_failed(409, "draining");
    let metrics = operator.get("/metrics").text;
    assert!(
        metrics.contains("\ntollgate_connections_total 1\n"),
        "closing listeners is no connection: {metrics}"
    );
    go.send(()).unwrap();
    assert_eq!(client.response().text(), "done");
    assert_eq!(tollgate.process.wait(), 0);
}

#[test]
fn health_on_the_traffics_address_is_neither_limited_nor_counted_but_recorded() {
    let origin = echoing();
    let paths = "live_path = \"/live\"\nready_path = \"/ready\"\n";
    let tollgate = Setup::before(origin.address()).admin(paths).table(LIMITED).start();
    let operator = tollgate.operator();
    let mut client = client(&tollgate);
    operator.post("/block", r#"{"address":"127.0.0.1","seconds":600}"#);
    for _ in 0..20 {
        let response = client.get("/live");
        assert_eq!((response.status(), response.text().as_str()), (200, "{\"status\":\"ok\"}\n"));
    }
    eventually("ready", || client.get("/ready").status() == 200);
    assert_eq!(client.request("HEAD", "/live", "").status(), 200);
    let record = tollgate.record_of("/ready");
    assert_eq!((&record["outcome"], &record["route"]), (&json!("complete"), &Value::Null));
    assert_eq!(client.request("POST", "/live", "").status(), 403, "only GET and HEAD are about health");
    tollgate.wait_for_record(|record| record["method"] == "POST");
    assert_eq!(operator.status()["traffic"]["requests"], 1, "the POST");
    assert_eq!(origin.received().len(), 0);
}

/// The next event's data.
fn next_event(wire: &mut crate::harness::wire::Wire, text: &mut String) -> Value {
    loop {
        if let Some(end) = text.find("\n\n") {
            let event: String = text.drain(..end + 2).collect();
            let data = event.lines().find_map(|line| line.strip_prefix("data: "));
            assert!(event.contains("event: status\n"), "{event}");
            return serde_json::from_str(data.unwrap()).unwrap();
        }
        let (data, _) = wire.chunk().expect("another event");
        assert!(!data.is_empty(), "the stream ended");
        text.push_str(&String::from_utf8(data).unwrap());
    }
}

#[test]
fn events_tell_the_state_each_second_until_the_end() {
    let origin = echoing();
    let mut tollgate = limited(&origin);
    let operator = tollgate.operator();
    let mut streams: Vec<_> =
        (0..8).map(|_| operator.open("GET", "/events", "Host: localhost\r\n", "")).collect();
    for wire in &mut streams {
        let head = String::from_utf8(wire.head().unwrap()).unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    }
    let mut ninth = operator.open("GET", "/events", "Host: localhost\r\n", "");
    let head = String::from_utf8(ninth.head().unwrap()).unwrap();
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert!(String::from_utf8(ninth.until(b"}").unwrap()).unwrap().contains("too_many_streams"));
    let (wire, mut text) = (&mut streams[0], String::new());
    let first = next_event(wire, &mut text);
    assert_eq!(first["traffic"]["requests"], 0);
    assert_eq!(first["configuration"], Value::Null);
    client(&tollgate).get("/");
    tollgate.wait_for_records(1);
    let deadline = Instant::now() + PATIENCE;
    while next_event(wire, &mut text)["traffic"]["requests"] != 1 {
        assert!(Instant::now() < deadline, "no event tells of the request");
    }
    drop(streams.pop());
    eventually("a place for another stream", || {
        let mut wire = operator.open("GET", "/events", "Host: localhost\r\n", "");
        String::from_utf8(wire.head().unwrap()).unwrap().starts_with("HTTP/1.1 200")
    });
    assert_eq!(tollgate.stop(), 0, "streams hold up no end");
    let wire = &mut streams[0];
    eventually("the end of the stream", || wire.chunk().map_or(true, |(data, _)| data.is_empty()));
}

#[test]
fn a_stream_ends_when_the_token_it_was_opened_with_is_replaced() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).admin(&format!("token = \"{TOKEN}\"\n")).start();
    let operator = tollgate.operator().with_token(TOKEN);
    let mut wire = operator.open("GET", "/events", "Host: localhost\r\n", "");
    assert!(wire.head().unwrap().starts_with(b"HTTP/1.1 200"));
    let other = "a-new-token-of-some-length";
    tollgate.reload(&tollgate.config_text().replace(TOKEN, other));
    operator.get("/status").assert_failed(401, "unauthorized");
    let deadline = Instant::now() + PATIENCE;
    while wire.chunk().is_ok_and(|(data, _)| !data.is_empty()) {
        assert!(Instant::now() < deadline, "the stream goes on");
    }
    let mut wire = operator.with_token(other).open("GET", "/events", "Host: localhost\r\n", "");
    assert!(wire.head().unwrap().starts_with(b"HTTP/1.1 200"));
}

#[test]
fn streams_that_nobody_reads_make_room_for_others() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let operator = tollgate.operator();
    let address: std::net::SocketAddr = operator.address().parse().unwrap();
    let unread: Vec<_> = (0..8)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            // Less than two events, so that the kernel reads no more for us.
            socket.set_recv_buffer_size(1).unwrap();
            socket.connect(&address.into()).unwrap();
            socket.send(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            socket
        })
        .collect();
    let status = || {
        let mut wire = operator.open("GET", "/events", "Host: localhost\r\n", "");
        String::from_utf8(wire.head().unwrap()).unwrap()[9..12].to_owned()
    };
    eventually("eight streams", || status() == "503");
    let deadline = Instant::now() + 3 * PATIENCE;
    while status() == "503" {
        assert!(Instant::now() < deadline, "streams that nobody reads are kept");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(unread);
}

#[test]
fn a_flood_of_admin_connections_disturbs_no_traffic() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let operator = tollgate.operator();
    let flood: Vec<Socket> = (0..200)
        .map(|_| {
            let mut socket = Socket::connect(operator.address()).unwrap();
            socket.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\n").unwrap();
            socket
        })
        .collect();
    let mut client = client(&tollgate);
    for number in 0..100 {
        assert_eq!(as_user(&mut client, &format!("user-{number}"), "/"), 200);
    }
    drop(flood);
    eventually("a place for an operator", || {
        let mut socket = Socket::connect(operator.address()).unwrap();
        socket.set_timeout(Some(Duration::from_secs(2)));
        let asked =
            socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut text = String::new();
        asked.is_ok() && socket.read_to_string(&mut text).is_ok() && text.starts_with("HTTP/1.1 200")
    });
}

#[test]
fn silent_connections_make_room_for_operators_after_a_while() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let operator = tollgate.operator();
    let silent: Vec<Socket> = (0..64).map(|_| Socket::connect(operator.address()).unwrap()).collect();
    // It waits for a place, and is answered then.
    eventually("an answer", || operator.get("/healthz").status == 200);
    drop(silent);
}

#[test]
fn a_connection_whose_peer_does_not_read_is_dropped() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let operator = tollgate.operator();
    let open_files = || operator.status()["process"]["open_files"].as_u64().unwrap();
    let before = open_files();
    let mut stalled = Socket::connect(operator.address()).unwrap();
    stalled.narrow();
    let many = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1_000);
    stalled.write_all(many.as_bytes()).unwrap();
    eventually("the connection", || open_files() > before);
    eventually("its end", || open_files() <= before);
    drop(stalled);
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let origin = echoing();
    let tollgate = limited(&origin);
    let operator = tollgate.operator();
    let mut socket = Socket::connect(operator.address()).unwrap();
    let head = format!("GET /status HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "a".repeat(40_000));
    // The listener may have closed it before all of it is written.
    let _ = socket.write_all(head.as_bytes());
    let mut text = Vec::new();
    let _ = socket.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
    assert_eq!(operator.get("/status").status, 200);
}

#[test]
fn metrics_can_be_turned_off() {
    let origin = echoing();
    let tollgate = Setup::before(origin.address()).admin("").table("[metrics]\nprometheus = false\n").start();
    tollgate.operator().get("/metrics").assert_failed(404, "metrics_off");
}
