//! How an alert is told: one sentence for people, Slack's payload, and JSON for any webhook.
//!
//! Invariant: whatever names and hosts hold, a sentence is one line, and Slack sees nothing in it but text.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::time::Duration;

use crate::config::model::admin::{AlertMeasure, AlertRule, Side};
use crate::config::units::duration_text;

use super::rule::{Alert, Ending, Kind};
use super::window::Reading;

/// The most characters of a text block that Slack takes.
const SLACK_MAX: usize = 3_000;
/// Digits of a measured number that people are shown.
const DIGITS: i32 = 4;
/// And no more than so many behind the point.
const MAX_AFTER_POINT: usize = 9;

/// Who tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Teller {
    /// Of the app.
    pub service: String,
    /// Of the machine.
    pub host: String,
}

/// The body of a webhook.
#[derive(Serialize)]
struct Told<'a> {
    rule: &'a str,
    state: &'static str,
    /// `null` if there was too little to measure.
    value: Option<f64>,
    threshold: f64,
    over_seconds: f64,
    route: Option<&'a str>,
    service: &'a str,
    host: &'a str,
    since_ms: u64,
    message: &'a str,
    id: &'a str,
}

/// One sentence, without control characters.
pub fn sentence(alert: &Alert, teller: &Teller) -> String {
    let mut text = format!("`{}` {}", alert.rule.name, verdict(alert.kind));
    // Writing to a string cannot fail.
    if let Some(route) = &alert.rule.route {
        let _ = write!(text, " on route `{route}`");
    }
    let _ = write!(text, ": {}", measured(&alert.rule, &alert.reading));
    if let Some(threshold) = threshold(&alert.rule) {
        let _ = write!(text, " (alert {threshold})");
    }
    let lasted = Duration::from_nanos(alert.at.tick.nanos_since(alert.since.tick));
    let _ = match alert.kind {
        Kind::Fired { .. } => write!(text, "; since {}", time(alert.since.unix_ms)),
        Kind::StillFiring => write!(text, "; since {}, for {}", time(alert.since.unix_ms), about(lasted)),
        Kind::Resolved(_) => write!(text, "; after {}", about(lasted)),
    };
    if let Kind::Fired { times: times @ 1.. } = alert.kind {
        let _ = write!(text, "; it was so {times} times since it was last told");
    }
    let _ = write!(text, "; {} on {}", teller.service, teller.host);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What all messages about one firing have in common and others have not: 32 hexadecimal digits.
pub fn id(alert: &Alert, teller: &Teller) -> String {
    let mut hasher = Sha256::new();
    for part in [&teller.service, &teller.host, &alert.rule.name] {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(alert.since.unix_ms.to_le_bytes());
    hasher.finalize().iter().take(16).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The payload of Slack's incoming webhook.
pub fn slack(alert: &Alert, sentence: &str) -> String {
    let mark = match alert.kind {
        Kind::Resolved(_) => ":white_check_mark: ",
        Kind::Fired { .. } | Kind::StillFiring => ":rotating_light: ",
    };
    let text = escaped(sentence, SLACK_MAX - mark.len());
    let block = format!("{mark}{text}");
    serde_json::json!({
        "text": text,
        "blocks": [{ "type": "section", "text": { "type": "mrkdwn", "text": block } }],
    })
    .to_string()
}

/// The payload of a webhook.
pub fn webhook(alert: &Alert, teller: &Teller, sentence: &str, id: &str) -> String {
    let told = Told {
        rule: &alert.rule.name,
        state: state(alert.kind),
        value: match alert.reading {
            Reading::Value { value, .. } => Some(value),
            Reading::TooFew { .. } | Reading::Unknown => None,
        },
        threshold: alert.rule.when.threshold,
        over_seconds: alert.rule.over.as_secs_f64(),
        route: alert.rule.route.as_deref(),
        service: &teller.service,
        host: &teller.host,
        since_ms: alert.since.unix_ms,
        message: sentence,
        id,
    };
    // Numbers and texts: there is nothing that JSON has no form for.
    serde_json::to_string(&told).unwrap_or_default()
}

/// As webhooks name it.
fn state(kind: Kind) -> &'static str {
    match kind {
        Kind::Fired { .. } | Kind::StillFiring => "firing",
        Kind::Resolved(_) => "resolved",
    }
}

fn verdict(kind: Kind) -> &'static str {
    match kind {
        Kind::Fired { .. } => "is firing",
        Kind::StillFiring => "is still firing",
        Kind::Resolved(Ending::Over) => "is resolved",
        Kind::Resolved(Ending::Withdrawn) => "is resolved, as the rule was changed or removed",
    }
}

fn measured(rule: &AlertRule, reading: &Reading) -> String {
    let over = duration_text(rule.over);
    let (value, of) = match reading {
        Reading::Value { value, of } => (*value, of.as_deref().unwrap_or("?")),
        Reading::TooFew { .. } if rule.when.measure == AlertMeasure::QuotaUsed => {
            return "no limit has a quota any more".to_owned();
        }
        Reading::TooFew { requests } => {
            return format!("{requests} requests in the last {over} are too few to tell");
        }
        Reading::Unknown => return "nothing is known yet".to_owned(),
    };
    let told = in_units(rule.when.measure, value);
    match rule.when.measure {
        AlertMeasure::ErrorRate => format!("{told} of requests were answered with 5xx in the last {over}"),
        AlertMeasure::ThrottledRate => {
            format!("{told} of requests were refused by limits in the last {over}")
        }
        AlertMeasure::P50 => format!("50% of requests took at most {told} in the last {over}"),
        AlertMeasure::P95 => format!("95% of requests took at most {told} in the last {over}"),
        AlertMeasure::P99 => format!("99% of requests took at most {told} in the last {over}"),
        AlertMeasure::RequestRate => format!("{told} requests a second in the last {over}"),
        AlertMeasure::UpstreamDown if value > 0.5 => "the app is down".to_owned(),
        AlertMeasure::UpstreamDown => "the app is up".to_owned(),
        AlertMeasure::SinkDrops => format!("{told} lines were dropped in the last {over}"),
        AlertMeasure::QuotaUsed => format!("one caller has used {told} of its quota of limit `{of}`"),
    }
}

fn threshold(rule: &AlertRule) -> Option<String> {
    let side = match rule.when.side {
        Side::Above => "above",
        Side::Below => "below",
    };
    (rule.when.measure != AlertMeasure::UpstreamDown)
        .then(|| format!("{side} {}", in_units(rule.when.measure, rule.when.threshold)))
}

fn in_units(measure: AlertMeasure, value: f64) -> String {
    match measure {
        AlertMeasure::ErrorRate | AlertMeasure::ThrottledRate | AlertMeasure::QuotaUsed => {
            format!("{}%", number(value * 100.0))
        }
        AlertMeasure::P50 | AlertMeasure::P95 | AlertMeasure::P99 if value < 1.0 => {
            format!("{}ms", number(value * 1_000.0))
        }
        AlertMeasure::P50 | AlertMeasure::P95 | AlertMeasure::P99 => format!("{}s", number(value)),
        AlertMeasure::RequestRate | AlertMeasure::UpstreamDown | AlertMeasure::SinkDrops => number(value),
    }
}

/// A number to [`DIGITS`] digits, without zeros at its end.
fn number(value: f64) -> String {
    let before_point = if value == 0.0 { 1 } else { value.abs().log10().floor() as i32 + 1 };
    let after_point = usize::try_from(DIGITS - before_point).unwrap_or(0).min(MAX_AFTER_POINT);
    let text = format!("{value:.after_point$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A duration in its two largest units: `2h 5m`.
fn about(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (h, m, s) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (h, m, s) {
        (0, 0, s) => format!("{s}s"),
        (0, m, 0) => format!("{m}m"),
        (0, m, s) => format!("{m}m {s}s"),
        (h, 0, _) => format!("{h}h"),
        (h, m, _) => format!("{h}h {m}m"),
    }
}

fn time(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1_000).unwrap_or(0);
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// As Slack wants text, cut where it would be longer than `most` characters, never within an escape.
fn escaped(text: &str, most: usize) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut length = 0;
    for character in text.chars() {
        let mut own = [0; 4];
        let piece = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            other => &*other.encode_utf8(&mut own),
        };
        // One is left for the sign that something is missing.
        length += piece.chars().count();
        if length >= most {
            escaped.push('…');
            break;
        }
        escaped.push_str(piece);
    }
    escaped
}

#[cfg(test)]
mod tests;
