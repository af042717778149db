//! What deploy/ holds for others to run: Prometheus reads its rules, each of them fires when it shall, and nothing asks
//! for a metric that is not there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::process::run;
use crate::harness::scratch::Scratch;

const RULES: &str = "prometheus-rules.yml";
const RULES_TEST: &str = "prometheus-rules.test.yml";
const DASHBOARD: &str = "grafana-dashboard.json";

fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(deployed(name)).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&text(DASHBOARD)).unwrap()
}

/// Of the Debian package `prometheus`, which `make programs` installs.
fn promtool(command: &str, file: &Path) {
    let arguments = [command, "rules", file.to_str().unwrap()];
    let (code, out, err) = run(Path::new("promtool"), &arguments);
    assert_eq!(code, 0, "promtool {command} rules:\n{out}{err}");
    assert!(out.contains("SUCCESS"), "{out}{err}");
}

/// The names of metrics in a text, without what histograms add to them.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let is_metric = |word: &&str| {
        ["http_requests_", "http_request_", "tollgate_", "llm_", "process_"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
    };
    let bare = |word: &str| {
        let ends = ["_bucket", "_count", "_sum"];
        ends.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned()
    };
    words.filter(is_metric).map(bare).collect()
}

/// The metrics that docs/telemetry.md explains.
fn explained() -> BTreeSet<String> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/telemetry.md");
    let document = fs::read_to_string(document).unwrap();
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let names: BTreeSet<String> = rows.flat_map(|(name, _)| metrics(name)).collect();
    assert!(names.len() > 30, "{names:?}");
    names
}

/// Every expression of the dashboard with the title of its panel.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap();
    let of_panel = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
    };
    panels.iter().flat_map(of_panel).collect()
}

#[test]
fn every_file_is_explained() {
    let explained = text("README.md");
    let mut pending = vec![deployed("")];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(deployed("")).unwrap().to_str().unwrap();
            match path.is_dir() {
                true => pending.push(path),
                false => assert!(
                    name == "README.md" || explained.contains(&format!("]({name})")),
                    "{name} is not in deploy/README.md"
                ),
            }
        }
    }
}

#[test]
fn prometheus_takes_the_rules_and_they_fire_when_they_shall() {
    promtool("check", &deployed(RULES));
    promtool("test", &deployed(RULES_TEST));
}

#[test]
fn every_rule_is_seen_to_fire() {
    let rules = text(RULES);
    let names: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 8, "{names:?}");
    let tests = text(RULES_TEST);
    let fired: BTreeSet<&str> = tests
        .split("- alertname: ")
        .skip(1)
        .filter(|test| test.contains("exp_labels"))
        .filter_map(|test| test.lines().next())
        .collect();
    assert_eq!(names, fired);
}

#[test]
fn rules_and_dashboard_ask_for_metrics_that_are_explained() {
    let explained = explained();
    let asked = expressions(&dashboard()).into_iter().map(|(_, expression)| expression);
    let variables = dashboard()["templating"]["list"].to_string();
    for source in asked.chain([text(RULES), text(RULES_TEST), variables]) {
        let unknown: Vec<_> = metrics(&source).difference(&explained).cloned().collect();
        assert!(unknown.is_empty(), "{unknown:?} in {source}");
    }
}

/// As recording rules, after the variables that Grafana fills in have values.
#[test]
fn prometheus_understands_every_expression_of_the_dashboard() {
    let expressions = expressions(&dashboard());
    assert!(expressions.len() > 25, "{}", expressions.len());
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (at, (_, expression)) in expressions.iter().enumerate() {
        let filled =
            expression.replace("$__rate_interval", "1m").replace("$job", "a").replace("$instance", "b");
        let filled = filled.replace("$route", "c");
        assert!(!filled.contains('$'), "{expression}");
        writeln!(rules, "  - record: panel:{at}\n    expr: {}", serde_json::to_string(&filled).unwrap())
            .unwrap();
    }
    let scratch = Scratch::new();
    let file = scratch.file("dashboard.yml");
    fs::write(&file, rules).unwrap();
    promtool("check", &file);
}

#[test]
fn panels_have_their_own_places_and_say_what_they_show() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(!title.is_empty() && ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title} is wider than the page");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{title} lies over another panel");
            }
        }
        if panel["type"] != "row" {
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        }
    }
}
