//! `cost`: what a request takes, known on entry or told by the app.
//!
//! Invariant: no cost is above what its limit can ever hold, or the request could never pass.

use std::ops::Range;

use http::HeaderName;
use toml::de::DeValue;

use crate::limit::rules::Cost;

use super::super::fields;
use super::super::reader::Reader;
use super::super::report::{Place, Severity, shown};
use super::super::table::Table;
use super::numbers::Holds;

pub(super) const MAX_COST: u64 = 1_000_000_000;

/// A cost, and where the number of it is that is taken on entry.
pub(super) struct Written {
    pub(super) cost: Cost,
    entry: u64,
    place: Option<Range<usize>>,
}

/// Reads `cost = 5` or `cost = { response_header = "X-LLM-Tokens" }`.
pub(super) fn read(table: &mut Table<'_, '_>) -> Written {
    let entry = table.entry("cost");
    let inner = entry.as_ref().and_then(|entry| match entry.value.get_ref() {
        DeValue::Table(entries) => Some(entries),
        _ => None,
    });
    if let Some(entry) = entry.as_ref().filter(|_| inner.is_none()) {
        let cost = table.count_of(entry, 1..=MAX_COST).unwrap_or(1);
        let place = Some(entry.value.span());
        return Written { cost: Cost::Fixed(cost), entry: cost, place };
    }
    let path = entry.as_ref().map(|entry| entry.path.clone()).unwrap_or_default();
    let mut answer = Table::new(table.reader, path, "limits.*.cost", inner);
    let header = response_header(&mut answer);
    let reserve = answer.count("reserve", 1, 1..=MAX_COST);
    let strip = answer.switch("strip", true);
    let place = answer.span("reserve");
    let is_missing = !answer.has("response_header");
    answer.finish();
    if is_missing && let Some(entry) = &entry {
        let help = "write `cost = { response_header = \"X-LLM-Tokens\" }`, or a number";
        let place = Place::Bytes(entry.value.span());
        table.reader.error(place, "`response_header` of this cost is missing", help);
    }
    match header {
        Some(header) => Written { cost: Cost::Answer { header, reserve, strip }, entry: reserve, place },
        None => Written { cost: Cost::Fixed(1), entry: 1, place: None },
    }
}

fn response_header(table: &mut Table<'_, '_>) -> Option<HeaderName> {
    let text = table.string("response_header", "a field name")?;
    let name = fields::parse(table.reader, "response_header", &text)?;
    if fields::is_own(&name) || fields::is_credential(&name) || fields::is_of_limits(&name) {
        table.reader.error(
            text.place,
            format!("`response_header` cannot be `{}`, which means something else", shown(&text.text)),
            "use a field of its own that the app sets, for example `X-LLM-Tokens`",
        );
        return None;
    }
    Some(name)
}

impl Written {
    /// Refuses a cost that a meter can never hold.
    pub(super) fn check(&self, reader: &mut Reader<'_>, limit: &str, holds: &[Holds]) {
        if let Some(place) = &self.place {
            let key = if matches!(self.cost, Cost::Answer { .. }) { "reserve" } else { "cost" };
            check(reader, key, self.entry, place, limit, holds);
        }
    }
}

pub(super) fn check(
    reader: &mut Reader<'_>,
    key: &str,
    cost: u64,
    place: &Range<usize>,
    limit: &str,
    holds: &[Holds],
) {
    let Some(least) = holds.iter().min_by_key(|holds| holds.most).filter(|holds| holds.most < cost) else {
        return;
    };
    let message = format!("`{key}` is {cost}, limit `{limit}` never holds more than {}", least.most);
    let help = format!(
        "such a request could never pass; lower `{key}` to {} at most, or raise the limit",
        least.most
    );
    let note = least.place.clone().map(|place| (format!("it holds {} here", least.most), place));
    reader.find(Severity::Error, Place::Bytes(place.clone()), message, help, note);
}
