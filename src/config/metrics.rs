//! `[metrics]`: what is measured. `from_response` reads what the app says of itself.
//!
//! Invariant: nothing that is measured grows without a bound, and every bound is written down.

mod from_response;

use std::time::Duration;

use http::HeaderName;
use toml::Spanned;
use toml::de::DeValue;

use crate::message::routes::RouteTable;

use super::listen::warn;
use super::model::metrics::Metrics;
use super::report::{Place, Severity, shown};
use super::table::{Entry, Table};
use super::units::{self, duration_text};

const MAX_BUCKETS: usize = 30;

/// Whether metrics are sent to CloudWatch by tollgate itself.
pub(crate) const PUSH: [(&str, bool); 2] = [("off", false), ("cloudwatch", true)];
const PUSH_EVERY: Duration = Duration::from_secs(60);

/// Reads the table.
pub(crate) fn read(mut table: Table<'_, '_>, routes: &RouteTable, request_id: &HeaderName) -> Metrics {
    let default = Metrics::default();
    let prometheus = table.switch("prometheus", default.prometheus);
    let push = table.choice("push", &PUSH, false);
    let allowed = Duration::from_secs(10)..=Duration::from_secs(3600);
    let every = table.duration_within("push_every", PUSH_EVERY, allowed);
    let is_wrong = |key| table.span(key).is_some_and(|span| table.reader.has_error_in(&span));
    if !push && !["push", "push_every"].into_iter().any(is_wrong) {
        let message = "`push_every` has no `push` to go with".to_owned();
        let help = "write `push = \"cloudwatch\"`, or remove it".to_owned();
        warn(table.reader, "metrics.push_every", message, help);
    }
    let buckets = buckets(&mut table).unwrap_or(default.buckets);
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let metrics = Metrics {
        prometheus,
        push: push.then_some(every),
        buckets,
        max_routes: count(table.count("max_routes", default.max_routes as u64, 1..=10_000)),
        max_models: count(table.count("max_models", default.max_models as u64, 1..=1_000)),
        from_response: from_response::read(
            table.table("from_response", "metrics.from_response", "{ strip = true }"),
            request_id,
        ),
    };
    warn_of_routes(&mut table, routes, metrics.max_routes);
    table.finish();
    metrics
}

/// Warns where some routes have no series of their own.
fn warn_of_routes(table: &mut Table<'_, '_>, routes: &RouteTable, max_routes: usize) {
    let number = routes.routes().len();
    if number <= max_routes {
        return;
    }
    let first_without = table.reader.span(&format!("routes.{max_routes}.name"));
    let Some(span) = table.span("max_routes").or(first_without) else {
        return;
    };
    let message = format!("{number} routes are more than `max_routes` of `[metrics]`, {max_routes}");
    let help =
        "the rest is measured as `(other)`; raise `max_routes`, or put patterns into one route".to_owned();
    table.reader.find(Severity::Warning, Place::Bytes(span), message, help, None);
}

/// Upper bounds in nanoseconds.
fn buckets(table: &mut Table<'_, '_>) -> Option<Vec<u64>> {
    const EXAMPLE: &str = "write for example `buckets = [\"10ms\", \"100ms\", \"1s\"]`";
    let entry = table.entry("buckets")?;
    let place = Place::Bytes(entry.value.span());
    let DeValue::Array(values) = entry.value.get_ref() else {
        let found = table.reader.written(entry.value);
        table.reader.error(place, format!("`buckets` must be a list of durations, found {found}"), EXAMPLE);
        return None;
    };
    if !(1..=MAX_BUCKETS).contains(&values.len()) {
        let message = format!("`buckets` must hold 1 to {MAX_BUCKETS} durations, found {}", values.len());
        table.reader.error(place, message, EXAMPLE);
        return None;
    }
    let mut bounds: Vec<Duration> = Vec::new();
    for value in values.iter() {
        let Some(bound) = bucket(table, &entry, value) else {
            continue;
        };
        if let Some(before) = bounds.last().copied().filter(|before| *before >= bound) {
            let message = format!(
                "`buckets` must ascend, found `{}` behind `{}`",
                duration_text(bound),
                duration_text(before)
            );
            table.reader.error(Place::Bytes(value.span()), message, "write the shortest first, each once");
            continue;
        }
        bounds.push(bound);
    }
    let nanos = |bound: Duration| u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
    Some(bounds.into_iter().map(nanos).collect())
}

fn bucket<'d>(
    table: &mut Table<'_, 'd>,
    entry: &Entry<'d>,
    value: &Spanned<DeValue<'d>>,
) -> Option<Duration> {
    let text = table.reader.text(entry, value, "a list of durations with units")?;
    units::parse_duration(&text.text)
        .map_err(|error| {
            let message = format!("a bucket {}, found `{}`", error.fault, shown(&text.text));
            table.reader.error(text.place, message, error.help);
        })
        .ok()
}

#[cfg(test)]
mod tests;
