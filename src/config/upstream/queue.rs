//! `queue`: who waits for the app, for how long, and in which order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::message::handling::Priority;

use super::super::model::shield::Queue;
use super::super::report::{Place, shown};
use super::super::routes::is_name;
use super::super::table::Table;

/// What the priorities are called.
pub(crate) const PRIORITIES: [(&str, Priority); 3] =
    [("high", Priority::High), ("normal", Priority::Normal), ("low", Priority::Low)];

/// Reads the table; `has_cap` says whether `max_in_flight` is written too.
pub(super) fn read(mut table: Table<'_, '_>, has_cap: bool) -> Queue {
    if let Some(place) = table.place().filter(|_| table.is_there() && !has_cap) {
        let help = "write how many requests the app gets at a time, Gunicorn's workers × threads: \
                    `max_in_flight = 8`; with 0 requests wait only while the app restarts";
        table.reader.error(Place::Bytes(place), "`queue` has no `max_in_flight` to go with", help);
    }
    let size = table.count("size", 256, 1..=1_000_000);
    let timeout = table.duration("timeout", Duration::from_secs(5));
    let fair = table.switch("fair", true);
    let tiers = tiers(&mut table);
    table.finish();
    Queue { size: usize::try_from(size).unwrap_or(usize::MAX), timeout, fair, tiers }
}

/// `tiers = { pro = "high" }`. A tier that no limit names may be one of the keys file.
fn tiers(table: &mut Table<'_, '_>) -> BTreeMap<Arc<str>, Priority> {
    let mut tiers = BTreeMap::new();
    for named in table.named_choices("tiers", "{ pro = \"high\" }", &PRIORITIES) {
        if is_name(&named.name) {
            tiers.insert(named.name.into(), named.value);
            continue;
        }
        let message = format!("`{}` is not a tier name", shown(&named.name));
        let help = "use 1 to 64 of letters, digits, `_`, `.` and `-`";
        table.reader.error(Place::Bytes(named.place), message, help);
    }
    tiers
}
