//! `[store]`: where limits are kept.

use std::path::PathBuf;
use std::time::Duration;

use super::listen::warn;
use super::model::Store;
use super::report::{Place, shown};
use super::table::Table;
use super::units::duration_text;

pub(crate) const INTERVAL: Duration = Duration::from_secs(10);
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// Reads the table.
pub(crate) fn read(mut table: Table<'_, '_>) -> Store {
    let snapshot = snapshot(&mut table);
    let interval = interval(&mut table);
    let max_keys = table.count("max_keys", 1_000_000, 1_000..=100_000_000);
    if snapshot.is_none() && !table.has("snapshot") {
        let message = "`interval` has no `snapshot` to go with";
        let help = "write the path of the file too, `snapshot = \"/var/lib/tollgate/limits.snapshot\"`, or remove it";
        warn(table.reader, "store.interval", message.to_owned(), help.to_owned());
    }
    table.finish();
    Store { snapshot, interval, max_keys: usize::try_from(max_keys).unwrap_or(usize::MAX) }
}

fn snapshot(table: &mut Table<'_, '_>) -> Option<PathBuf> {
    let text = table.string("snapshot", "the path of a file")?;
    let path = text.text.as_str();
    if !path.contains('/') || path.ends_with('/') || path.contains('\0') {
        let message = format!("`snapshot` must be the path of a file, found `{}`", shown(path));
        let help = "a file is written with its directory: `/var/lib/tollgate/limits.snapshot`";
        table.reader.error(text.place, message, help);
        return None;
    }
    Some(PathBuf::from(path))
}

fn interval(table: &mut Table<'_, '_>) -> Duration {
    let interval = table.duration("interval", INTERVAL);
    if interval < LEAST_INTERVAL
        && let Some(span) = table.span("interval")
    {
        let message = format!("`interval` must be at least `1s`, found `{}`", duration_text(interval));
        table.reader.error(
            Place::Bytes(span),
            message,
            "a crash loses at most one interval; write `\"10s\"`",
        );
    }
    interval
}
