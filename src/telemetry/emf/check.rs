//! Whether CloudWatch would take a line: the schema and the limits of the specification, and those of its API.
//!
//! Stricter than the schema where CloudWatch drops in silence what the schema lets pass: a metric without a value, a
//! dimension that is no text, a timestamp in seconds.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Units as CloudWatch spells them.
pub const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

/// Bytes of an event; 26 more are counted for each.
const MAX_EVENT: usize = (1 << 20) - 26;
const MAX_METRICS: usize = 100;
const MAX_VALUES: usize = 100;
const MAX_DIMENSIONS: usize = 30;
const MAX_NAMESPACE: usize = 256;
const MAX_DIMENSION_NAME: usize = 250;
const MAX_DIMENSION_VALUE: usize = 1024;
const MAX_METRIC_NAME: usize = 255;
/// Milliseconds since 1970 of the years 2001 to 2286; seconds are below.
const TIMESTAMPS: std::ops::Range<u64> = 1_000_000_000_000..10_000_000_000_000;

/// Every reason why CloudWatch would make no metric of a line, or not the one that was meant.
pub fn check(line: &[u8]) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    if line.len() > MAX_EVENT {
        problems.push(format!("the line has {} bytes, more than {MAX_EVENT}", line.len()));
    }
    if line.contains(&b'\n') || line.contains(&b'\r') {
        problems.push("the line is more than one line".to_owned());
    }
    if !line.starts_with(b"{") || !line.ends_with(b"}") {
        problems.push("something stands before or behind the object".to_owned());
    }
    match serde_json::from_slice::<Value>(line) {
        Ok(Value::Object(root)) => check_root(&root, &mut problems),
        Ok(_) => problems.push("the line is no object".to_owned()),
        Err(error) => problems.push(format!("the line is no JSON: {error}")),
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn check_root(root: &Map<String, Value>, problems: &mut Vec<String>) {
    let Some(Value::Object(aws)) = root.get("_aws") else {
        problems.push("`_aws` is not there, so nothing asks for metrics".to_owned());
        return;
    };
    match aws.get("Timestamp").map(|timestamp| (timestamp, timestamp.as_u64())) {
        Some((_, Some(millis))) if TIMESTAMPS.contains(&millis) => {}
        Some((found, _)) => {
            problems.push(format!("`Timestamp` must be whole milliseconds since 1970, found `{found}`"));
        }
        None => problems.push("`Timestamp` is not there".to_owned()),
    }
    for key in ["LogGroupName", "LogStreamName"] {
        if aws.get(key).is_some_and(|name| name.as_str().is_none_or(str::is_empty)) {
            problems.push(format!("`{key}` must be a text"));
        }
    }
    match aws.get("CloudWatchMetrics") {
        Some(Value::Array(directives)) if !directives.is_empty() => {
            for directive in directives {
                check_directive(directive, root, problems);
            }
        }
        _ => problems.push("`CloudWatchMetrics` must be a list of directives".to_owned()),
    }
}

fn check_directive(directive: &Value, root: &Map<String, Value>, problems: &mut Vec<String>) {
    match directive["Namespace"].as_str() {
        Some(name) if is_namespace(name) => {}
        _ => problems.push(format!("`Namespace` cannot be `{}`", directive["Namespace"])),
    }
    match directive["Dimensions"].as_array() {
        Some(sets) if !sets.is_empty() => sets.iter().for_each(|set| check_set(set, root, problems)),
        _ => problems.push("`Dimensions` must hold at least one set".to_owned()),
    }
    match directive["Metrics"].as_array() {
        Some(metrics) if metrics.len() <= MAX_METRICS && !metrics.is_empty() => {
            let mut seen = BTreeSet::new();
            for metric in metrics {
                if let Some(name) = check_metric(metric, root, problems)
                    && !seen.insert(name)
                {
                    problems.push(format!("the metric `{name}` is defined twice"));
                }
            }
        }
        Some(metrics) => problems.push(format!("{} metrics, there may be 1 to {MAX_METRICS}", metrics.len())),
        None => problems.push("`Metrics` must be a list".to_owned()),
    }
}

fn is_namespace(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-#:/".contains(&byte);
    (1..=MAX_NAMESPACE).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with("AWS/")
}

fn check_set(set: &Value, root: &Map<String, Value>, problems: &mut Vec<String>) {
    let Some(names) = set.as_array().filter(|names| names.len() <= MAX_DIMENSIONS) else {
        problems.push(format!("a set of dimensions must be a list of at most {MAX_DIMENSIONS} names"));
        return;
    };
    for name in names {
        let Some(name) =
            name.as_str().filter(|name| is_text(name, MAX_DIMENSION_NAME) && !name.starts_with(':'))
        else {
            problems.push(format!("a dimension cannot be named `{name}`"));
            continue;
        };
        match root.get(name) {
            None => problems.push(format!("the dimension `{name}` has no value")),
            Some(Value::String(value)) if is_text(value, MAX_DIMENSION_VALUE) => {}
            Some(value) => problems.push(format!("the dimension `{name}` cannot be `{value}`")),
        }
    }
}

/// Printable ASCII, not blank.
fn is_text(text: &str, most: usize) -> bool {
    text.len() <= most && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && !text.trim().is_empty()
}

fn check_metric<'a>(
    metric: &'a Value,
    root: &Map<String, Value>,
    problems: &mut Vec<String>,
) -> Option<&'a str> {
    let name = metric["Name"].as_str().filter(|name| is_text(name, MAX_METRIC_NAME));
    let Some(name) = name else {
        problems.push(format!("a metric cannot be named `{}`", metric["Name"]));
        return None;
    };
    if metric.get("Unit").is_some_and(|unit| !unit.as_str().is_some_and(|unit| UNITS.contains(&unit))) {
        problems.push(format!("the metric `{name}` has the unknown unit `{}`", metric["Unit"]));
    }
    if metric.get("StorageResolution").is_some_and(|seconds| !matches!(seconds.as_u64(), Some(1 | 60))) {
        problems.push(format!("the metric `{name}` must have a resolution of 1 or 60"));
    }
    match root.get(name) {
        None => problems.push(format!("the metric `{name}` has no value")),
        Some(Value::Array(values)) => {
            if values.is_empty() || values.len() > MAX_VALUES {
                problems.push(format!(
                    "the metric `{name}` has {} values, there may be 1 to {MAX_VALUES}",
                    values.len()
                ));
            }
            if !values.iter().all(is_number) {
                problems.push(format!("the metric `{name}` has a value that is no number"));
            }
        }
        Some(value) if is_number(value) => {}
        Some(value) => problems.push(format!("the metric `{name}` cannot be `{value}`")),
    }
    Some(name)
}

fn is_number(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number.abs() <= 2f64.powi(360))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"_aws":{"Timestamp":1763700000000,"CloudWatchMetrics":[{"Namespace":"Tollgate","Dimensions":[["Service"],[]],"Metrics":[{"Name":"A","Unit":"Count"},{"Name":"B","Unit":"Milliseconds","StorageResolution":60}]}]},"Service":"api","A":3,"B":[1,2.5]}"#;

    #[track_caller]
    fn assert_wrong(from: &str, to: &str, told: &str) {
        assert!(GOOD.contains(from), "{from}");
        let problems = check(GOOD.replace(from, to).as_bytes()).unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains(told)), "{told}: {problems:?}");
    }

    #[test]
    fn a_good_line_is_good() {
        assert_eq!(check(GOOD.as_bytes()), Ok(()));
        assert_eq!(check(format!("{GOOD}\n").as_bytes()), Ok(()));
    }

    #[test]
    fn every_known_way_to_lose_metrics_is_told() {
        assert_wrong(r#"{"_aws""#, r#"INFO {"_aws""#, "before or behind");
        assert_wrong(r#""B":[1,2.5]}"#, "\"B\":1}\n{}", "more than one line");
        assert_wrong("1763700000000", "1763700000", "milliseconds");
        assert_wrong("1763700000000", "1763700000000.5", "milliseconds");
        assert_wrong("1763700000000", "\"2026-01-01T00:00:00Z\"", "milliseconds");
        assert_wrong(r#""A":3,"#, "", "`A` has no value");
        assert_wrong(r#""A":3"#, r#""A":"3""#, "`A` cannot be");
        assert_wrong(r#""A":3"#, r#""A":null"#, "`A` cannot be");
        assert_wrong(r#""A":3"#, r#""A":{"n":3}"#, "`A` cannot be");
        assert_wrong("[1,2.5]", &format!("[{}]", vec!["1"; 101].join(",")), "101 values");
        assert_wrong("[1,2.5]", "[1,\"2\"]", "no number");
        assert_wrong(r#""Service":"api""#, r#""Service":"""#, "`Service` cannot be");
        assert_wrong(r#""Service":"api""#, r#""Service":7"#, "`Service` cannot be");
        assert_wrong(r#""Service":"api""#, r#""Service":"café""#, "`Service` cannot be");
        assert_wrong(r#""Service":"api","#, "", "`Service` has no value");
        assert_wrong(r#"[["Service"],[]]"#, "[]", "at least one set");
        assert_wrong("Tollgate", "AWS/Lambda", "Namespace");
        assert_wrong("Tollgate", "Toll gate", "Namespace");
        assert_wrong("Milliseconds", "ms", "unit");
        assert_wrong("\"StorageResolution\":60", "\"StorageResolution\":10", "resolution");
        assert_wrong(r#""Name":"B""#, r#""Name":"A""#, "twice");
        assert_wrong("_aws", "aws", "nothing asks for metrics");
    }

    #[test]
    fn more_than_100_metrics_are_too_many() {
        let metrics: Vec<String> = (0..101).map(|at| format!("{{\"Name\":\"m{at}\"}}")).collect();
        let values: Vec<String> = (0..101).map(|at| format!("\"m{at}\":1")).collect();
        let line = format!(
            "{{\"_aws\":{{\"Timestamp\":1763700000000,\"CloudWatchMetrics\":[{{\"Namespace\":\"T\",\"Dimensions\":[[]],\"Metrics\":[{}]}}]}},{}}}",
            metrics.join(","),
            values.join(",")
        );
        assert!(check(line.as_bytes()).unwrap_err()[0].contains("101 metrics"));
    }
}
