//! `tollgate cloudwatch doctor`: a way on which all is well, and one fault at a time.

use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};

use super::tollgate;
use crate::harness::Moto;
use crate::harness::aws::{endpoint, refusing, unix_seconds};
use crate::harness::scratch::Scratch;

/// A line as tollgate writes it.
fn line() -> String {
    json!({
        "_aws": {"Timestamp": (unix_seconds() - 5) * 1_000, "CloudWatchMetrics": [{
            "Namespace": "Shop", "Dimensions": [["Service"], ["Service", "Route"]],
            "Metrics": [{"Name": "RequestCount", "Unit": "Count"}],
        }]},
        "Service": "api", "Environment": "production", "Route": "rest", "RequestCount": 3,
    })
    .to_string()
}

/// A host on which lines go by a file and an agent to moto.
struct Ward {
    scratch: Scratch,
    sink: String,
    namespace: &'static str,
}

impl Ward {
    fn new() -> Ward {
        let scratch = Scratch::new();
        let file = scratch.file("emf.log");
        fs::write(&file, format!("{}\n", line())).unwrap();
        let ward = Ward { sink: format!("file:{}", file.display()), scratch, namespace: "Shop" };
        ward.agent(&json!({"logs": {"logs_collected": {"files": {"collect_list": [
            {"file_path": file, "log_group_name": "shop/emf", "log_stream_name": "{hostname}"},
        ]}}}}));
        ward
    }

    fn agent(&self, config: &Value) {
        fs::write(self.scratch.file("agent.json"), config.to_string()).unwrap();
    }

    fn file(&self, lines: &str) {
        fs::write(self.scratch.file("emf.log"), lines).unwrap();
    }

    /// The steps by name: state and what was found, help behind it.
    fn examine(&self, endpoint: &str) -> Examined {
        let config = self.scratch.file("tollgate.toml");
        let text = format!(
            "[upstream]\naddress = \"127.0.0.1:8000\"\n[emf]\nsink = \"{}\"\nservice = \"api\"\nnamespace = \"{}\"\n",
            self.sink, self.namespace
        );
        fs::write(&config, text).unwrap();
        let agent = self.scratch.file("agent.json");
        let arguments = ["doctor", "--json", "--config", config.to_str().unwrap(), "--agent-config"];
        let arguments = [&arguments[..], &[agent.to_str().unwrap()]].concat();
        let (code, steps, said) = tollgate(endpoint, &arguments);
        let steps = serde_json::from_str(&steps).unwrap_or_else(|_| panic!("{steps}{said}"));
        Examined { code, steps }
    }
}

struct Examined {
    code: i32,
    steps: Value,
}

impl Examined {
    fn step(&self, name: &str) -> &Value {
        let steps = self.steps.as_array().unwrap();
        steps
            .iter()
            .find(|step| step["step"] == name)
            .unwrap_or_else(|| panic!("no `{name}`: {:#}", self.steps))
    }

    /// The step is in this state, what was found holds this text, and there is help if it is not well.
    #[track_caller]
    fn assert(&self, name: &str, state: &str, found: &str) {
        let step = self.step(name);
        assert_eq!(step["state"], state, "{:#}", self.steps);
        assert!(step["found"].as_str().unwrap().contains(found), "{step:#}");
        if state == "failed" || state == "not_allowed" {
            assert!(!step["help"].as_str().unwrap().is_empty(), "{step:#}");
            assert_eq!(self.code, 1);
        }
    }
}

/// A moto in which everything of [`Ward`] has arrived.
fn healthy() -> Moto {
    let moto = Moto::start();
    moto.put_event("shop/emf", &line());
    let service = ("Service", "api");
    moto.put_metric("Shop", "RequestCount", &[service], 3.0);
    moto.put_metric("Shop", "RequestCount", &[service, ("Route", "rest")], 3.0);
    moto
}

#[test]
fn a_way_on_which_all_is_well_is_told_so() {
    let moto = healthy();
    let examined = Ward::new().examine(moto.address());
    assert_eq!(examined.code, 0, "{:#}", examined.steps);
    for step in examined.steps.as_array().unwrap() {
        assert_eq!(step["state"], "ok", "{step:#}");
    }
    assert_eq!(examined.steps.as_array().unwrap().len(), 12);
    examined.assert("data", "ok", "3 requests in the last 15 minutes");
}

#[test]
fn each_of_ten_planted_faults_is_found() {
    let moto = healthy();

    // 1. A logger puts something before the line.
    let ward = Ward::new();
    ward.file(&format!("2026-01-01T00:00:00Z INFO {}\n", line()));
    ward.examine(moto.address()).assert("file", "failed", "something stands before or behind the object");

    // 2. The agent has no section for EMF.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ward = Ward::new();
    ward.sink = format!("tcp://{}", listener.local_addr().unwrap());
    ward.examine(moto.address()).assert("agent", "failed", "no section `logs.metrics_collected.emf`");

    // 3. The timestamp is in seconds.
    let ward = Ward::new();
    let mut wrong: Value = serde_json::from_str(&line()).unwrap();
    wrong["_aws"]["Timestamp"] = json!(unix_seconds());
    ward.file(&format!("{wrong}\n"));
    ward.examine(moto.address()).assert("file", "failed", "`Timestamp` must be whole milliseconds");

    // 4. A metric's value is a text.
    let ward = Ward::new();
    let mut wrong: Value = serde_json::from_str(&line()).unwrap();
    wrong["RequestCount"] = json!("3");
    ward.file(&format!("{wrong}\n"));
    ward.examine(moto.address()).assert("file", "failed", "`RequestCount`");

    // 5. CloudWatch refuses what arrives, for a hundred metrics too many or whatever it was.
    moto.put_metric("AWS/Logs", "EMFValidationErrors", &[("LogGroupName", "shop/refused")], 2.0);
    moto.put_event("shop/refused", &line());
    let ward = Ward::new();
    let collected = json!([{"file_path": ward.scratch.file("emf.log"), "log_group_name": "shop/refused"}]);
    ward.agent(&json!({"logs": {"logs_collected": {"files": {"collect_list": collected}}}}));
    ward.examine(moto.address()).assert("extraction", "failed", "EMFValidationErrors is 2");

    // 6. A dimension has no value.
    let ward = Ward::new();
    let mut wrong: Value = serde_json::from_str(&line()).unwrap();
    wrong["Route"] = json!("");
    ward.file(&format!("{wrong}\n"));
    ward.examine(moto.address()).assert("file", "failed", "the dimension `Route` cannot be");

    // 7. The namespace is another, or the sets of dimensions are.
    let mut ward = Ward::new();
    ward.namespace = "Store";
    ward.examine(moto.address()).assert("metric", "failed", "is in the namespace `Shop`, not in `Store`");
    moto.put_metric("Kiosk", "RequestCount", &[("Service", "api")], 1.0);
    ward.namespace = "Kiosk";
    ward.examine(moto.address()).assert(
        "dimensions",
        "failed",
        "no series has [Route, Service]; there are [Service]",
    );

    // 8. The log group is of the class of which no metrics are made; moto knows no classes.
    let class = endpoint("", |operation| match operation {
        "DescribeLogGroups" => {
            Ok(json!({"logGroups": [{"logGroupName": "shop/emf", "logGroupClass": "INFREQUENT_ACCESS"}]}))
        }
        _ => Ok(json!({})),
    });
    Ward::new().examine(class.address()).assert("log group", "failed", "is of the class INFREQUENT_ACCESS");

    // 9. Rights are missing; nobody listens where lines are sent; the group is not there.
    let denied = Ward::new().examine(refusing().address());
    denied.assert("log group", "not_allowed", "IAM action `logs:DescribeLogGroups`");
    denied.assert("event", "not_allowed", "IAM action `logs:FilterLogEvents`");
    denied.assert("extraction", "not_allowed", "IAM action `cloudwatch:GetMetricData`");
    denied.assert("metric", "not_allowed", "IAM action `cloudwatch:ListMetrics`");
    let mut ward = Ward::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    ward.sink = format!("tcp://{free}");
    let examined = ward.examine(moto.address());
    examined.assert("sink", "failed", "nobody listens at");
    examined.assert("log group", "failed", "there is no log group `emf/logs/default`");

    // 10. Everything is new: nothing has arrived yet.
    let ward = Ward::new();
    let empty = endpoint("", |operation| match operation {
        "DescribeLogGroups" => {
            Ok(json!({"logGroups": [{"logGroupName": "shop/emf", "logGroupClass": "STANDARD"}]}))
        }
        _ => Ok(json!({"events": []})),
    });
    let examined = ward.examine(empty.address());
    examined.assert("event", "failed", "no EMF line of the namespace `Shop` arrived");
    examined.assert("metric", "failed", "is not listed in `Shop`");
    assert!(examined.step("metric")["help"].as_str().unwrap().contains("15 minutes"));
}

#[test]
fn a_clock_that_is_off_is_found_by_the_answer_s_date() {
    let three_hours_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3 * 3_600);
    let endpoint = endpoint(&httpdate::fmt_http_date(three_hours_ago), |_| Err("AccessDeniedException"));
    let examined = Ward::new().examine(endpoint.address());
    examined.assert("clock", "failed", "s ahead of AWS's");
}

#[test]
fn an_event_that_was_altered_on_its_way_is_found() {
    let moto = Moto::start();
    moto.put_event("shop/emf", &format!("app[7]: {}", line()));
    Ward::new().examine(moto.address()).assert("event", "failed", "something stands before or behind");
}

#[test]
fn the_text_has_a_line_for_each_step_and_help_below() {
    let scratch = Scratch::new();
    let config = scratch.file("t.toml");
    fs::write(&config, "[upstream]\naddress = \"127.0.0.1:1\"\n[emf]\nsink = \"logs:g\"\n").unwrap();
    let (code, told, _) = tollgate(refusing().address(), &["doctor", "--config", config.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(
        told.contains("\nlog group    not allowed  not allowed, IAM action `logs:DescribeLogGroups`"),
        "{told}"
    );
    assert!(told.contains("\n                          -> allow `logs:DescribeLogGroups`"), "{told}");
    assert_eq!(told.lines().filter(|line| !line.trim_start().starts_with("->")).count(), 11, "{told}");
}

#[test]
fn a_time_to_look_back_that_makes_no_sense_is_wrong_use() {
    for since in ["soon", "5s", "30d"] {
        let arguments = ["doctor", "--config", "config/minimal.toml", "--since", since];
        let (code, _, said) = tollgate("127.0.0.1:9", &arguments);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("`--since`"), "{said}");
    }
}
