//! `[upstream.health]`: how it is found out whether the app is well.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::super::listen::warn;
use super::super::model::shield::HealthCheck;
use super::super::report::{Place, shown};
use super::super::table::{Entry, Table};
use super::super::units::duration_text;

const EXAMPLE: &str = "write for example `expect = \"200-399\"`, `200`, or a list of such";

/// More in a row would be noticed by people before.
const MAX_IN_A_ROW: u64 = 1000;

/// Reads the table.
pub(super) fn read(mut table: Table<'_, '_>) -> HealthCheck {
    let path = path(&mut table);
    let interval = table.duration("interval", Duration::from_secs(5));
    let timeout = table.duration("timeout", Duration::from_secs(2));
    let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let healthy_after = count(table.count("healthy_after", 1, 1..=MAX_IN_A_ROW));
    let unhealthy_after = count(table.count("unhealthy_after", 3, 1..=MAX_IN_A_ROW));
    let expect = expect(&mut table).unwrap_or_else(|| vec![(200, 399)]);
    advise(&mut table, interval, timeout);
    table.finish();
    HealthCheck { path, interval, timeout, healthy_after, unhealthy_after, expect }
}

/// What is asked for; as it goes onto the wire.
fn path(table: &mut Table<'_, '_>) -> Option<String> {
    let text = table.string("path", "a path")?;
    let path = text.text.as_str();
    let (fault, help) = if !path.starts_with('/') {
        let help = match path.starts_with("http:") || path.starts_with("https:") {
            true => "the app's address is known: write the path alone, `path = \"/health\"`".to_owned(),
            false => format!("write `path = \"/{}\"`", shown(path)),
        };
        ("must begin with a slash", help)
    } else if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        let help = "percent-encode what is no printable character of ASCII; `#` is never sent";
        ("holds a character that cannot be sent", help.to_owned())
    } else if path.len() > 1024 {
        ("must be at most 1024 bytes", "ask for something shorter".to_owned())
    } else {
        return Some(text.text);
    };
    let message = format!("`path` {fault}, found `{}`", shown(path));
    table.reader.error(text.place, message, help);
    None
}

/// Statuses that mean the app is well, each from and to.
fn expect(table: &mut Table<'_, '_>) -> Option<Vec<(u16, u16)>> {
    let entry = table.entry("expect")?;
    let values: &[Spanned<DeValue<'_>>] = match entry.value.get_ref() {
        DeValue::Array(values) => values,
        _ => std::slice::from_ref(entry.value),
    };
    if values.is_empty() {
        let place = Place::Bytes(entry.value.span());
        table.reader.error(place, "`expect` must hold at least one status", EXAMPLE);
    }
    let ranges: Vec<Option<(u16, u16)>> = values.iter().map(|value| statuses(table, &entry, value)).collect();
    Some(ranges.into_iter().flatten().collect())
}

fn statuses<'d>(
    table: &mut Table<'_, 'd>,
    entry: &Entry<'d>,
    value: &Spanned<DeValue<'d>>,
) -> Option<(u16, u16)> {
    let written = match value.get_ref() {
        DeValue::Integer(number) if number.radix() == 10 => number.to_string(),
        DeValue::String(_) => table.reader.text(entry, value, "a status")?.text,
        _ => table.reader.written(value).trim_matches('`').to_owned(),
    };
    let (from, to) = written.split_once('-').unwrap_or((&written, &written));
    let status = |text: &str| text.parse::<u16>().ok().filter(|status| (100..=599).contains(status));
    let message = match (status(from), status(to)) {
        (Some(from), Some(to)) if from <= to => return Some((from, to)),
        (Some(_), Some(_)) => format!("`expect` holds `{}`, which ends before it begins", shown(&written)),
        _ => format!("`expect` must hold statuses from 100 to 599, found `{}`", shown(&written)),
    };
    table.reader.error(Place::Bytes(value.span()), message, EXAMPLE);
    None
}

/// Legal: one probe is in flight at a time, so it only comes more seldom than is written.
fn advise(table: &mut Table<'_, '_>, interval: Duration, timeout: Duration) {
    let spans = [table.span("timeout"), table.span("interval")];
    if timeout <= interval || spans.iter().flatten().any(|span| table.reader.has_error_in(span)) {
        return;
    }
    let key = if spans[0].is_some() { "upstream.health.timeout" } else { "upstream.health.interval" };
    let message = format!(
        "`timeout` of a probe is `{}`, longer than `interval`, `{}`",
        duration_text(timeout),
        duration_text(interval)
    );
    let help =
        "one probe is sent at a time, so a slow one puts off the next; lower `timeout`, or raise `interval`";
    warn(table.reader, key, message, help.to_owned());
}
