//! `[cloudwatch]`: prices, and what `tollgate cloudwatch` sets up.

use std::time::Duration;

use super::model::metrics::{Alarms, CloudWatch};
use super::report::shown;
use super::table::Table;
use super::units;

const MAX_DASHBOARD: usize = 255;
const MAX_ACTIONS: usize = 5;
const MAX_ARN: usize = 1024;
/// US dollars; a price above is a slip of the keyboard.
const MAX_PRICE: f64 = 1000.0;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Reads the table.
pub(crate) fn read(mut table: Table<'_, '_>) -> CloudWatch {
    let default = CloudWatch::default();
    let cloudwatch = CloudWatch {
        region: region(&mut table),
        dashboard: dashboard(&mut table),
        metric_price: table.decimal("metric_price", default.metric_price, MAX_PRICE),
        log_price: table.decimal("log_price", default.log_price, MAX_PRICE),
        metric_budget: table.count("metric_budget", default.metric_budget, 1..=1_000_000_000),
        alarms: alarms(table.table("alarms", "cloudwatch.alarms", "{ p99 = \"5s\" }")),
    };
    table.finish();
    cloudwatch
}

fn region(table: &mut Table<'_, '_>) -> Option<String> {
    let text = table.string("region", "the name of a region")?;
    let part =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let parts = text.text.split('-').count();
    let ends_in_digit = text.text.ends_with(|c: char| c.is_ascii_digit());
    if text.text.len() > 32 || parts < 3 || !ends_in_digit || !text.text.split('-').all(part) {
        let message = format!("`region` must be the name of a region, found `{}`", shown(&text.text));
        table.reader.error(text.place, message, "write for example `eu-west-1`");
        return None;
    }
    Some(text.text)
}

fn dashboard(table: &mut Table<'_, '_>) -> Option<String> {
    let text = table.string("dashboard", "the name of a dashboard")?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !(1..=MAX_DASHBOARD).contains(&text.text.len()) || !text.text.bytes().all(allowed) {
        let message = format!("`dashboard` must be the name of a dashboard, found `{}`", shown(&text.text));
        let help = format!("use 1 to {MAX_DASHBOARD} of letters, digits, `-` and `_`");
        table.reader.error(text.place, message, help);
        return None;
    }
    Some(text.text)
}

fn alarms(mut table: Table<'_, '_>) -> Alarms {
    let default = Alarms::default();
    let mut percent = |key, default| table.percent(key, 1, None).unwrap_or(default);
    let error_rate_percent = percent("error_rate", default.error_rate_percent);
    let cache_hit_rate_percent = percent("cache_hit_rate", default.cache_hit_rate_percent);
    let throttled_rate_percent = percent("throttled_rate", default.throttled_rate_percent);
    let alarms = Alarms {
        actions: actions(&mut table),
        error_rate_percent,
        min_requests: table.count("min_requests", default.min_requests, 1..=1_000_000_000),
        p99: table.duration("p99", default.p99),
        cache_hit_rate_percent,
        throttled_rate_percent,
        no_traffic: no_traffic(&mut table),
    };
    table.finish();
    alarms
}

fn actions(table: &mut Table<'_, '_>) -> Vec<String> {
    let mut actions: Vec<String> = Vec::new();
    for text in table.strings("actions", "a list of ARNs").unwrap_or_default() {
        let printable = text.text.bytes().all(|byte| byte.is_ascii_graphic());
        let is_arn = text.text.starts_with("arn:") && text.text.splitn(6, ':').count() == 6;
        let (message, help) = if !is_arn || !printable || text.text.len() > MAX_ARN {
            let message = format!("`actions` holds `{}`, which is no ARN", shown(&text.text));
            (message, "write for example `arn:aws:sns:eu-west-1:123456789012:on-call`")
        } else if actions.contains(&text.text) {
            (format!("`actions` holds `{}` twice", shown(&text.text)), "remove one of them")
        } else if actions.len() == MAX_ACTIONS {
            (
                format!("`actions` holds more than {MAX_ACTIONS} ARNs"),
                "an alarm takes no more; use a topic for the rest",
            )
        } else {
            actions.push(text.text);
            continue;
        };
        table.reader.error(text.place, message, help);
    }
    actions
}

/// A duration of whole minutes, or `"off"`.
fn no_traffic(table: &mut Table<'_, '_>) -> Option<Duration> {
    let text = table.string("no_traffic", "`off` or a duration")?;
    if text.text == "off" {
        return None;
    }
    let duration = match units::parse_duration(&text.text) {
        Ok(duration) => duration,
        Err(error) => {
            let message = format!("`no_traffic` {}, found `{}`", error.fault, shown(&text.text));
            table.reader.error(text.place, message, format!("{}, or `\"off\"`", error.help));
            return None;
        }
    };
    let duration = table.check_within("no_traffic", duration, MINUTE..=DAY, text.place.clone())?;
    if duration.as_millis() % MINUTE.as_millis() != 0 {
        let message = format!("`no_traffic` must be whole minutes, found `{}`", shown(&text.text));
        table.reader.error(
            text.place,
            message,
            "CloudWatch looks once a minute; write for example `\"15m\"`",
        );
        return None;
    }
    Some(duration)
}

#[cfg(test)]
mod tests {
    use crate::config::{Overrides, load};

    use super::*;

    fn read(text: &str) -> CloudWatch {
        let text = format!("[upstream]\naddress = \"app:80\"\n[cloudwatch]\n{text}");
        let loaded = load(&text, "file", &|_| None, &Overrides::default());
        loaded.unwrap_or_else(|report| panic!("{}", report.render(false))).model.cloudwatch
    }

    #[test]
    fn without_keys_it_is_the_default() {
        assert_eq!(read(""), CloudWatch::default());
    }

    #[test]
    fn prices_are_numbers_with_or_without_a_point() {
        let read = read("metric_price = 1\nlog_price = 0.575\n");
        assert_eq!((read.metric_price, read.log_price), (1.0, 0.575));
    }

    #[test]
    fn alarms_are_read() {
        let read =
            read("alarms = { error_rate = \"7%\", no_traffic = \"90m\", actions = \"arn:aws:sns:a:1:b:c\" }");
        assert_eq!(read.alarms.error_rate_percent, 7);
        assert_eq!(read.alarms.no_traffic, Some(90 * MINUTE));
        assert_eq!(read.alarms.actions, ["arn:aws:sns:a:1:b:c"]);
    }
}
