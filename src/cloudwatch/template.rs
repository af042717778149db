//! Dashboard and alarms as a CloudFormation template, the same for the same configuration.

use serde_json::{Map, Value, json};

use super::alarm::Alarm;
use super::dashboard::Dashboard;

/// Stands for the region inside of a dashboard's body, where CloudFormation is to fill it in.
pub const REGION: &str = "${AWS::Region}";

/// The template; the dashboard's region must be [`REGION`] or a real one.
pub fn template(dashboard: &Dashboard, alarms: &[Alarm]) -> Value {
    let mut resources = Map::new();
    let body = json!({ "Fn::Sub": substitutable(&dashboard.body.to_string()) });
    resources.insert(
        "Dashboard".to_owned(),
        json!({
            "Type": "AWS::CloudWatch::Dashboard",
            "Properties": { "DashboardName": dashboard.name, "DashboardBody": body },
        }),
    );
    for alarm in alarms {
        let id = unique(logical_id(&alarm.alarm_name), &resources);
        // An alarm is plain data without maps of its own: it cannot fail to be JSON.
        let properties = serde_json::to_value(alarm).unwrap_or_default();
        resources.insert(id, json!({ "Type": "AWS::CloudWatch::Alarm", "Properties": properties }));
    }
    json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Dashboard and alarms, made by `tollgate cloudwatch plan --format cloudformation`",
        "Resources": resources,
    })
}

/// A body in which nothing but the region is filled in.
fn substitutable(body: &str) -> String {
    body.replace("${", "${!").replace("${!AWS::Region}", REGION)
}

/// Letters and digits of a name, each word with a capital: `tollgate-api-p99` is `TollgateApiP99`.
fn logical_id(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let capital = |word: &str| {
        let (first, rest) = word.split_at_checked(1).unwrap_or_default();
        first.to_ascii_uppercase() + rest
    };
    words.map(capital).collect::<String>().chars().take(240).collect()
}

fn unique(id: String, taken: &Map<String, Value>) -> String {
    let numbered = (2..).map(|number| format!("{id}N{number}"));
    std::iter::once(id.clone()).chain(numbered).find(|id| !taken.contains_key(id)).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_region_is_filled_in() {
        let body = r#"{"region":"${AWS::Region}","label":"${LABEL}"}"#;
        assert_eq!(substitutable(body), r#"{"region":"${AWS::Region}","label":"${!LABEL}"}"#);
    }

    #[test]
    fn names_that_differ_in_signs_alone_have_ids_of_their_own() {
        let mut taken = Map::new();
        for (name, id) in [("tollgate-a-b", "TollgateAB"), ("tollgate-a.b", "TollgateABN2"), ("a_b", "AB")] {
            let found = unique(logical_id(name), &taken);
            assert_eq!(found, id);
            taken.insert(found, Value::Null);
        }
    }
}
