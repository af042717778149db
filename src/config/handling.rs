//! What a route of `[[routes]]` says of how its requests are handled.
//!
//! Invariant: a route that streams spills nothing.

use std::time::Duration;

use crate::message::handling::{BreakerRule, Handling, OnDisconnect, Priority, Spill};

use super::report::Place;
use super::table::Table;
use super::upstream::{PRIORITIES, spill};

pub(crate) const ON_DISCONNECT: [(&str, OnDisconnect); 2] =
    [("abort", OnDisconnect::Abort), ("finish", OnDisconnect::Finish)];

/// Reads these keys of a route; `by_default` is what goes to a file where it says nothing.
pub(super) fn read(table: &mut Table<'_, '_>, by_default: Spill) -> Handling {
    let priority = table.choice("priority", &options(&PRIORITIES), None::<Priority>);
    let stream = table.switch("stream", false);
    let own_spill = spill(table);
    let on_disconnect = table.choice("on_disconnect", &options(&ON_DISCONNECT), None);
    let breaker = breaker(table.table("breaker", "routes.breaker", "{ errors = \"50%\", over = \"10s\" }"));
    if stream
        && own_spill.is_some_and(|spill| spill != Spill::default())
        && let Some(span) = table.span("spill")
    {
        let help = "with `stream = true` nothing is kept of a body: remove one of the two";
        table.reader.error(Place::Bytes(span), "`spill` has no meaning on a route that streams", help);
    }
    let inherited = if stream { Spill::default() } else { by_default };
    Handling { priority, stream, spill: own_spill.unwrap_or(inherited), on_disconnect, breaker }
}

/// Words for something that may be left out.
fn options<T: Copy, const N: usize>(names: &[(&'static str, T); N]) -> [(&'static str, Option<T>); N] {
    names.map(|(name, value)| (name, Some(value)))
}

/// Reads `breaker`; `None` if the route has none.
fn breaker(mut table: Table<'_, '_>) -> Option<BreakerRule> {
    let is_there = table.is_there();
    let errors_percent = table.percent("errors", 1, None).unwrap_or(50);
    let times = Duration::from_secs(1)..=Duration::from_secs(600);
    let over = table.duration_within("over", Duration::from_secs(10), times);
    let at_least = table.count("at_least", 20, 1..=1_000_000);
    let times = Duration::from_millis(100)..=Duration::from_secs(3600);
    let open_for = table.duration_within("open_for", Duration::from_secs(5), times);
    table.finish();
    is_there.then_some(BreakerRule {
        errors_percent: errors_percent.into(),
        over,
        at_least: u32::try_from(at_least).unwrap_or(u32::MAX),
        open_for,
    })
}
