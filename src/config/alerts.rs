//! `[alerts]`: what operators are told unasked. `condition` is the grammar of `when`.
//!
//! Invariant: a rule can hold and can cease to hold; it looks at a route that is there.

mod condition;

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use toml::de::DeTable;

use crate::message::routes::RouteTable;

pub(crate) use condition::Written as WrittenCondition;

use super::model::admin::{AlertMeasure, AlertRule, Alerts, Condition, Secret};
use super::reader::Reader;
use super::report::{Place, Severity, shown};
use super::routes::is_name;
use super::suggest::nearest;
use super::table::Table;
use super::units;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const MAX_URL: usize = 2048;

/// Reads the table.
pub(crate) fn read<'d>(reader: &mut Reader<'d>, root: &'d DeTable<'d>, routes: &RouteTable) -> Alerts {
    reader.hide_unless_table(root, "alerts");
    let mut table = reader.table(root, "alerts");
    for key in ["slack", "webhook"] {
        table.hide_unless_table(key);
    }
    let example = "{ webhook = \"${SLACK_WEBHOOK_URL}\" }";
    let slack = url(table.table("slack", "alerts.slack", example), "webhook", &["https://"]);
    let example = "{ url = \"${ALERT_WEBHOOK_URL}\" }";
    let webhook = url(table.table("webhook", "alerts.webhook", example), "url", &["https://", "http://"]);
    let entries = table.list("rules", "alerts.rules", "a rule");
    let first = entries.first().map(|(_, place)| place.clone());
    let mut rules = Vec::new();
    let mut names = HashMap::new();
    for (index, (entry, place)) in entries.into_iter().enumerate() {
        let rule = Table::new(table.reader, format!("alerts.rules.{index}"), "alerts.rules", Some(entry));
        rules.extend(rule_of(rule, &place, routes, &mut names));
    }
    let is_told = |table: &Table<'_, '_>, path: &str| {
        table.reader.span(path).is_some_and(|span| table.reader.has_error_in(&span))
    };
    let has_receiver = slack.is_some() || webhook.is_some();
    let is_wrong = is_told(&table, "alerts.slack.webhook") || is_told(&table, "alerts.webhook.url");
    if let Some(place) = first.filter(|_| !has_receiver && !is_wrong) {
        let message = "alerts are told to nobody, they are only events".to_owned();
        let help =
            "say where they go: `webhook` of `[alerts.slack]`, or `url` of `[alerts.webhook]`".to_owned();
        table.reader.find(Severity::Warning, Place::Bytes(place), message, help, None);
    }
    table.finish();
    Alerts { slack, webhook, rules }
}

/// The one key of a table, a URL that whoever knows it can post to.
fn url(mut table: Table<'_, '_>, key: &'static str, schemes: &[&str]) -> Option<Secret> {
    let help = format!("write `{key} = \"${{ALERT_URL}}\"`, with the URL in the variable");
    let secret = table.secret(key, &help);
    if table.is_there() && !table.has(key) {
        let place = table.place().map_or(Place::File, Place::Bytes);
        table.reader.error(place, format!("`{key}` of this table is missing"), help);
    }
    let url = secret.and_then(|secret| match fault(&secret.text, schemes) {
        None => Some(Secret::new(&secret.text)),
        Some(fault) => {
            table.reader.error(
                secret.place,
                format!("`{key}` {fault}"),
                "it is not shown here, since it is a secret",
            );
            None
        }
    });
    table.finish();
    url
}

/// Why a text is no URL to post to.
fn fault(text: &str, schemes: &[&str]) -> Option<String> {
    if text.len() > MAX_URL {
        return Some(format!("must be at most {MAX_URL} bytes, found {}", text.len()));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some("holds a space or another character that no URL has".to_owned());
    }
    if !schemes.iter().any(|scheme| text.starts_with(scheme)) {
        let wanted: Vec<String> = schemes.iter().map(|scheme| format!("`{scheme}`")).collect();
        return Some(format!("must begin with {}", wanted.join(" or ")));
    }
    let uri: Option<http::Uri> = text.parse().ok();
    match uri.as_ref().and_then(|uri| uri.host()).is_none_or(str::is_empty) {
        true => Some("has no valid host".to_owned()),
        false => None,
    }
}

fn rule_of(
    mut table: Table<'_, '_>,
    header: &Range<usize>,
    routes: &RouteTable,
    names: &mut HashMap<String, Range<usize>>,
) -> Option<AlertRule> {
    let name = name(&mut table, header, names);
    let when = when(&mut table, header);
    let route = route(&mut table, routes, when);
    let over = table.duration_within("over", 5 * MINUTE, 10 * SECOND..=HOUR);
    let hold = hold(&mut table);
    let cooldown = table.duration_within("cooldown", 30 * MINUTE, MINUTE..=24 * HOUR);
    let min_requests = table.count("min_requests", 20, 1..=1_000_000_000);
    table.finish();
    Some(AlertRule { name: name?, when: when?, route, over, hold, cooldown, min_requests })
}

fn name(
    table: &mut Table<'_, '_>,
    header: &Range<usize>,
    names: &mut HashMap<String, Range<usize>>,
) -> Option<String> {
    let Some(text) = table.string("name", "a name") else {
        if !table.has("name") {
            let help = "write `name = \"errors\"`; messages carry it";
            table.reader.error(Place::Bytes(header.clone()), "`name` of this rule is missing", help);
        }
        return None;
    };
    if !is_name(&text.text) {
        let message = format!("`{}` is not the name of a rule", shown(&text.text));
        table.reader.error(text.place, message, "use 1 to 64 of letters, digits, `_`, `.` and `-`");
        return None;
    }
    if let Some(first) = names.get(&text.text) {
        let note = Some(("it stands first here".to_owned(), first.clone()));
        let message = format!("rule name `{}` is there twice", text.text);
        let help = "give each rule its own name".to_owned();
        table.reader.find(Severity::Error, text.place, message, help, note);
        return None;
    }
    if let Place::Bytes(span) = text.place {
        names.insert(text.text.clone(), span);
    }
    Some(text.text)
}

fn when(table: &mut Table<'_, '_>, header: &Range<usize>) -> Option<Condition> {
    let Some(text) = table.string("when", "a condition") else {
        if !table.has("when") {
            let help = "write for example `when = \"error_rate > 5%\"`";
            table.reader.error(Place::Bytes(header.clone()), "`when` of this rule is missing", help);
        }
        return None;
    };
    condition::parse(&text.text)
        .map_err(|error| table.reader.error(text.part(&error.at), error.message, error.help))
        .ok()
}

/// The route that is looked at, which must be there, and measured by route.
fn route(table: &mut Table<'_, '_>, routes: &RouteTable, when: Option<Condition>) -> Option<String> {
    let text = table.string("route", "the name of a route")?;
    let measure = when.map(|when| when.measure);
    if let Some(measure @ (AlertMeasure::UpstreamDown | AlertMeasure::SinkDrops | AlertMeasure::QuotaUsed)) =
        measure
    {
        let message = format!("`{}` is not measured by route", condition::name_of(measure));
        table.reader.error(text.place, message, "remove `route`");
        return None;
    }
    let mut names = routes.routes().iter().map(|route| &*route.name);
    if names.clone().any(|name| name == text.text) {
        return Some(text.text);
    }
    let message = format!("there is no route `{}`", shown(&text.text));
    let help = match nearest(&text.text, names.clone()) {
        Some(meant) => format!("did you mean `{meant}`"),
        None => {
            format!("routes are named in `[[routes]]`, for example `{}`", names.next().unwrap_or_default())
        }
    };
    table.reader.error(text.place, message, help);
    None
}

/// `for`, the one duration that may be zero: at once.
fn hold(table: &mut Table<'_, '_>) -> Duration {
    let Some(text) = table.string("for", "a duration with a unit") else {
        return Duration::ZERO;
    };
    if matches!(text.text.as_str(), "0s" | "0ms" | "0m" | "0h") {
        return Duration::ZERO;
    }
    match units::parse_duration(&text.text) {
        Ok(duration) => {
            table.check_within("for", duration, Duration::ZERO..=HOUR, text.place).unwrap_or_default()
        }
        Err(error) => {
            let message = format!("`for` {}, found `{}`", error.fault, shown(&text.text));
            table.reader.error(text.place, message, format!("{}; `\"0s\"` tells at once", error.help));
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests;
