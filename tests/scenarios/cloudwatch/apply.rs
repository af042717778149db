//! `tollgate cloudwatch plan` and `apply`.

use serde_json::{Value, json};

use super::tollgate;
use crate::harness::Moto;
use crate::harness::aws::refusing;
use crate::harness::scratch::Scratch;

const CONFIG: &str = r#"
    [upstream]
    address = "127.0.0.1:8000"
    [emf]
    sink = "logs:tollgate/api"
    service = "api"
    namespace = "Shop"
    [cloudwatch.alarms]
    actions = "arn:aws:sns:eu-west-1:123456789012:on-call"
"#;
const NO_TRAFFIC: &str = "    no_traffic = \"10m\"\n";

fn config(scratch: &Scratch, more: &str) -> String {
    let path = scratch.file("tollgate.toml");
    std::fs::write(&path, format!("{CONFIG}{more}")).unwrap();
    path.to_str().unwrap().to_owned()
}

fn names(moto: &Moto) -> Vec<String> {
    let found = moto.cloudwatch("DescribeAlarms", &json!({}));
    let name = |alarm: &Value| alarm["AlarmName"].as_str().unwrap().to_owned();
    let mut names: Vec<String> = found["MetricAlarms"].as_array().unwrap().iter().map(name).collect();
    names.sort();
    names
}

#[test]
fn what_is_applied_is_there_and_a_second_time_changes_nothing() {
    let (moto, scratch) = (Moto::start(), Scratch::new());
    let file = config(&scratch, NO_TRAFFIC);
    let (code, planned, said) = tollgate(moto.address(), &["plan", "--config", &file]);
    assert_eq!(code, 0, "{said}");
    assert!(
        planned.contains("+ dashboard tollgate-api\n+ alarm tollgate-api-emf-parsing-errors\n"),
        "{planned}"
    );
    assert_eq!(names(&moto).len(), 0, "a plan changes nothing");

    let (code, told, said) = tollgate(moto.address(), &["apply", "--config", &file, "--yes"]);
    assert_eq!((code, told.as_str()), (0, format!("{planned}7 changed\n").as_str()), "{said}");
    let wanted =
        ["emf-parsing-errors", "emf-validation-errors", "error-rate", "no-traffic", "p99", "throttled-rate"];
    assert_eq!(names(&moto), wanted.map(|name| format!("tollgate-api-{name}")));
    let found = moto.cloudwatch("GetDashboard", &json!({"DashboardName": "tollgate-api"}));
    let body: Value = serde_json::from_str(found["DashboardBody"].as_str().unwrap()).unwrap();
    let (_, bodies, _) = tollgate(moto.address(), &["plan", "--config", &file, "--format", "json"]);
    let bodies: Value = serde_json::from_str(&bodies).unwrap();
    assert_eq!(body, bodies["dashboard"]["DashboardBody"]);

    for command in [&["apply", "--config", &file, "--yes"][..], &["plan", "--config", &file]] {
        let (code, told, said) = tollgate(moto.address(), command);
        assert_eq!((code, told.as_str()), (0, "nothing to change\n"), "{said}");
    }
}

#[test]
fn a_change_is_told_and_only_it_is_made() {
    let (moto, scratch) = (Moto::start(), Scratch::new());
    tollgate(moto.address(), &["apply", "--config", &config(&scratch, ""), "--yes"]);
    let file = config(&scratch, "    p99 = \"7s\"\n");
    let (code, told, said) = tollgate(moto.address(), &["apply", "--config", &file, "--yes"]);
    assert_eq!(code, 0, "{said}");
    assert!(told.contains("~ alarm tollgate-api-p99\n    Threshold: 5000.0 -> 7000.0\n"), "{told}");
    // The line of the threshold in the graph.
    assert!(told.contains("~ dashboard tollgate-api\n"), "{told}");
    assert!(told.ends_with("2 changed\n"), "{told}");
}

#[test]
fn only_alarms_of_ours_that_are_not_wanted_are_pruned() {
    let (moto, scratch) = (Moto::start(), Scratch::new());
    tollgate(moto.address(), &["apply", "--config", &config(&scratch, NO_TRAFFIC), "--yes"]);
    let foreign = json!({
        "AlarmName": "tollgate-api-of-somebody-else", "MetricName": "m", "Namespace": "n", "Statistic": "Sum",
        "Period": 60, "EvaluationPeriods": 1, "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold",
    });
    moto.cloudwatch("PutMetricAlarm", &foreign);
    let file = config(&scratch, "");
    let (_, told, _) = tollgate(moto.address(), &["apply", "--config", &file, "--yes"]);
    let unwanted = "- alarm tollgate-api-no-traffic (no longer wanted; `apply --prune` deletes it)\n";
    assert_eq!(told, format!("{unwanted}nothing to change\n"));
    assert!(names(&moto).contains(&"tollgate-api-no-traffic".to_owned()));
    let (code, told, _) = tollgate(moto.address(), &["apply", "--config", &file, "--yes", "--prune"]);
    assert_eq!((code, told.as_str()), (0, "- alarm tollgate-api-no-traffic\n1 changed\n"));
    let left = names(&moto);
    assert!(!left.contains(&"tollgate-api-no-traffic".to_owned()), "{left:?}");
    assert!(left.contains(&"tollgate-api-of-somebody-else".to_owned()), "{left:?}");
}

#[test]
fn without_a_terminal_nothing_is_applied_unless_yes_is_said() {
    let scratch = Scratch::new();
    // Nobody listens there: it must not even be asked.
    let (code, told, said) = tollgate("127.0.0.1:9", &["apply", "--config", &config(&scratch, "")]);
    assert_eq!((code, told.as_str()), (2, ""));
    assert!(said.contains("give `--yes`"), "{said}");
}

#[test]
fn offline_the_plan_asks_nobody() {
    let scratch = Scratch::new();
    let (code, told, _) = tollgate("127.0.0.1:9", &["plan", "--offline", "--config", &config(&scratch, "")]);
    assert_eq!(code, 0);
    assert_eq!(told.lines().count(), 6, "{told}");
}

#[test]
fn a_missing_right_names_the_iam_action() {
    let (endpoint, scratch) = (refusing(), Scratch::new());
    for command in ["plan", "apply"] {
        let more = if command == "apply" { &["--yes"][..] } else { &[] };
        let file = config(&scratch, "");
        let arguments = [&[command, "--config", &file], more].concat();
        let (code, _, said) = tollgate(endpoint.address(), &arguments);
        assert_eq!(code, 1);
        assert!(said.contains("allow `cloudwatch:GetDashboard`"), "{said}");
    }
}

#[test]
fn a_configuration_that_sends_nothing_is_told() {
    let scratch = Scratch::new();
    let path = scratch.file("quiet.toml");
    std::fs::write(&path, "upstream.address = \"127.0.0.1:8000\"\n").unwrap();
    let (code, _, said) = tollgate("127.0.0.1:9", &["plan", "--offline", "--config", path.to_str().unwrap()]);
    assert_eq!(code, 78);
    assert!(said.contains("sends no metrics to CloudWatch"), "{said}");
}
