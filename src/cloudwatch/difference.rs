//! What must be done to turn what exists into what is wanted, compared by meaning and told in lines.
//!
//! Invariant: values are compared as JSON values, so order of keys, spaces and `5` beside `5.0` make no difference.

use serde_json::Value;

use super::alarm::Alarm;
use super::dashboard::Dashboard;

/// Lines that are told of one change.
const MAX_LINES: usize = 20;
/// Characters of a value that are told.
const MAX_SHOWN: usize = 80;

/// What a configuration asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The dashboard.
    pub dashboard: Dashboard,
    /// The alarms.
    pub alarms: Vec<Alarm>,
    /// What people should know.
    pub notes: Vec<String>,
}

/// What is there, of what is ours.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Existing {
    /// The body of the dashboard of this name.
    pub dashboard: Option<Value>,
    /// Alarms with our prefix and our mark, and those whose names are wanted.
    pub alarms: Vec<Alarm>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Make or replace the dashboard.
    PutDashboard {
        /// What differs; empty if there is none yet.
        lines: Vec<String>,
    },
    /// Make or replace an alarm.
    PutAlarm {
        /// The alarm.
        alarm: Box<Alarm>,
        /// What differs; empty if there is none yet.
        lines: Vec<String>,
    },
    /// Remove an alarm that is ours and not wanted.
    DeleteAlarm {
        /// Its name.
        name: String,
    },
}

/// What must be done; empty if all is as it should be.
pub fn changes(wanted: &Wanted, existing: &Existing) -> Vec<Change> {
    let mut changes = Vec::new();
    match &existing.dashboard {
        None => changes.push(Change::PutDashboard { lines: Vec::new() }),
        Some(body) => {
            let lines = differences(body, &wanted.dashboard.body);
            changes.extend((!lines.is_empty()).then_some(Change::PutDashboard { lines }));
        }
    }
    for alarm in &wanted.alarms {
        let found = existing.alarms.iter().find(|found| found.alarm_name == alarm.alarm_name);
        let lines = found.map_or_else(Vec::new, |found| differences(&as_json(found), &as_json(alarm)));
        if found.is_none() || !lines.is_empty() {
            changes.push(Change::PutAlarm { alarm: Box::new(alarm.clone()), lines });
        }
    }
    for found in &existing.alarms {
        if !wanted.alarms.iter().any(|alarm| alarm.alarm_name == found.alarm_name) {
            changes.push(Change::DeleteAlarm { name: found.alarm_name.clone() });
        }
    }
    changes
}

/// As text; `pruning` tells whether unwanted alarms are deleted.
pub fn text(wanted: &Wanted, changes: &[Change], pruning: bool) -> String {
    let mut text = String::new();
    for change in changes {
        let (sign, name, lines) = match change {
            Change::PutDashboard { lines } => (lines, format!("dashboard {}", wanted.dashboard.name), lines),
            Change::PutAlarm { alarm, lines } => (lines, format!("alarm {}", alarm.alarm_name), lines),
            Change::DeleteAlarm { name } => {
                let what = if pruning { "" } else { " (no longer wanted; `apply --prune` deletes it)" };
                text.push_str(&format!("- alarm {name}{what}\n"));
                continue;
            }
        };
        text.push_str(&format!("{} {name}\n", if sign.is_empty() { "+" } else { "~" }));
        for line in lines.iter().take(MAX_LINES) {
            text.push_str(&format!("    {line}\n"));
        }
        if lines.len() > MAX_LINES {
            text.push_str(&format!("    and {} more\n", lines.len() - MAX_LINES));
        }
    }
    text
}

fn as_json(alarm: &Alarm) -> Value {
    // An alarm is plain data without maps of its own: it cannot fail to be JSON.
    serde_json::to_value(alarm).unwrap_or_default()
}

/// Each place at which two values differ.
fn differences(before: &Value, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    walk("", Some(before), Some(after), &mut lines);
    lines
}

fn walk(path: &str, before: Option<&Value>, after: Option<&Value>, lines: &mut Vec<String>) {
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            for key in before.keys().chain(after.keys().filter(|key| !before.contains_key(*key))) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(&path, before.get(key), after.get(key), lines);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for at in 0..before.len().max(after.len()) {
                walk(&format!("{path}[{at}]"), before.get(at), after.get(at), lines);
            }
        }
        (Some(before), Some(after)) if same(before, after) => {}
        (before, after) => lines.push(format!("{path}: {} -> {}", shown(before), shown(after))),
    }
}

fn same(before: &Value, after: &Value) -> bool {
    match (before.as_f64(), after.as_f64()) {
        (Some(before), Some(after)) => before == after,
        _ => before == after,
    }
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cloudwatch::alarms::alarms;
    use crate::cloudwatch::dashboard::dashboard;
    use crate::cloudwatch::emitted::Emitted;
    use crate::cloudwatch::tests::{emf, model};

    fn wanted() -> Wanted {
        let mut model = model();
        model.emf = Some(emf());
        let emitted = Emitted::of(&model).unwrap();
        let (alarms, notes) = alarms(&emitted, &model.cloudwatch.alarms);
        Wanted { dashboard: dashboard(&emitted, &model.cloudwatch.alarms, None, "eu-west-1"), alarms, notes }
    }

    fn existing() -> Existing {
        let wanted = wanted();
        Existing { dashboard: Some(wanted.dashboard.body), alarms: wanted.alarms }
    }

    #[test]
    fn what_is_as_it_should_be_needs_nothing() {
        assert_eq!(changes(&wanted(), &existing()), []);
        assert_eq!(changes(&wanted(), &Existing::default()).len(), 1 + wanted().alarms.len());
    }

    #[test]
    fn numbers_are_compared_by_value_and_keys_in_any_order() {
        assert!(differences(&json!({"a": 5, "b": [1]}), &json!({"b": [1.0], "a": 5.0})).is_empty());
        let told = differences(&json!({"a": {"b": [1, 2]}}), &json!({"a": {"b": [1]}, "c": true}));
        assert_eq!(told, ["a.b[1]: 2 -> nothing", "c: nothing -> true"]);
    }

    #[test]
    fn each_change_is_told_with_what_differs() {
        let mut existing = existing();
        existing.alarms[0].threshold = 17.0;
        let mut other = existing.alarms[1].clone();
        other.alarm_name = "tollgate-api-of-yesterday".to_owned();
        existing.alarms.push(other);
        let name = existing.alarms[0].alarm_name.clone();
        let wanted = wanted();
        let changes = changes(&wanted, &existing);
        let told = text(&wanted, &changes, false);
        let expected = format!(
            "~ alarm {name}\n    Threshold: 17.0 -> 0.0\n- alarm tollgate-api-of-yesterday (no longer wanted; `apply \
             --prune` deletes it)\n"
        );
        assert_eq!(told, expected);
    }
}
