//! `max_in_flight` and `auto_limit`: how many requests the app gets at a time.

use toml::de::DeValue;

use super::super::model::shield::InFlightCap;
use super::super::report::{Place, shown};
use super::super::table::{Entry, Table};

/// More than any app has threads.
const MAX_IN_FLIGHT: u64 = 1_000_000;

/// `max_in_flight` as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WrittenCap {
    /// 0 for no cap.
    Number(u32),
    Auto,
}

impl WrittenCap {
    /// The cap; `auto` is between the bounds.
    pub(super) fn with(self, bounds: AutoBounds) -> Option<InFlightCap> {
        match self {
            WrittenCap::Number(0) => None,
            WrittenCap::Number(most) => Some(InFlightCap::Fixed(most)),
            WrittenCap::Auto => Some(InFlightCap::Auto { floor: bounds.floor, ceiling: bounds.ceiling }),
        }
    }
}

/// `auto_limit`, which holds for the app and its canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AutoBounds {
    floor: u32,
    ceiling: u32,
}

/// Reads `max_in_flight = 8`, `0` or `"auto"`, or no such key.
pub(super) fn read(table: &mut Table<'_, '_>) -> Option<WrittenCap> {
    let entry = table.entry("max_in_flight")?;
    let number = match entry.value.get_ref() {
        DeValue::String(raw) if raw == "auto" => return Some(WrittenCap::Auto),
        DeValue::String(raw) if raw.contains("${") => {
            let text = table.reader.text(&entry, entry.value, "a whole number or `\"auto\"`")?;
            if text.text == "auto" {
                return Some(WrittenCap::Auto);
            }
            match text.text.parse::<u64>().ok().filter(|number| *number <= MAX_IN_FLIGHT) {
                Some(number) => Some(number),
                None => return refuse(table, &entry, &format!("`{}`", shown(&text.text))),
            }
        }
        DeValue::String(raw) if raw.parse::<u64>().is_err() => {
            let found = table.reader.written(entry.value);
            return refuse(table, &entry, &found);
        }
        _ => table.count_of(&entry, 0..=MAX_IN_FLIGHT),
    };
    number.and_then(|number| u32::try_from(number).ok()).map(WrittenCap::Number)
}

fn refuse(table: &mut Table<'_, '_>, entry: &Entry<'_>, found: &str) -> Option<WrittenCap> {
    let message = format!("`max_in_flight` must be a whole number or `\"auto\"`, found {found}");
    let help = "write Gunicorn's workers × threads, `max_in_flight = 8`; 0 is no cap";
    table.reader.error(Place::Bytes(entry.value.span()), message, help);
    None
}

/// Reads `auto_limit`; `is_auto` says whether there is a cap that it holds for.
pub(super) fn read_auto(mut table: Table<'_, '_>, is_auto: bool) -> AutoBounds {
    let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let floor = count(table.count("floor", 2, 1..=MAX_IN_FLIGHT));
    let ceiling = count(table.count("ceiling", 256, 1..=MAX_IN_FLIGHT));
    let places = [table.span("floor"), table.span("ceiling")];
    let is_right = places.iter().flatten().all(|span| !table.reader.has_error_in(span));
    if floor > ceiling
        && is_right
        && let Some(span) = places.into_iter().flatten().next()
    {
        let message = format!("`floor` is {floor}, more than `ceiling`, {ceiling}");
        let help = "the cap is found between them: lower `floor`, or raise `ceiling`";
        table.reader.error(Place::Bytes(span), message, help);
    }
    if let Some(place) = table.place().filter(|_| table.is_there() && !is_auto) {
        let help = "write `max_in_flight = \"auto\"`, or remove it";
        table.reader.error(
            Place::Bytes(place),
            "`auto_limit` has no `max_in_flight = \"auto\"` to go with",
            help,
        );
    }
    table.finish();
    AutoBounds { floor, ceiling }
}
