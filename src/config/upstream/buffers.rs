//! `buffer_*` and `spill*`: what is kept so that the app does not wait for clients.
//!
//! Invariant: what one exchange may buffer fits into what all may, and no route spills without a directory.

use std::path::PathBuf;

use crate::message::handling::Spill;
use crate::message::routes::RouteTable;

use super::super::listen::warn;
use super::super::model::Listen;
use super::super::model::shield::{Buffers, SpillDir};
use super::super::reader::Reader;
use super::super::report::{Place, shown};
use super::super::table::Table;
use super::super::units::size_text;

const REQUEST: u64 = 64 << 10;
const RESPONSE: u64 = 1 << 20;
const TOTAL: u64 = 256 << 20;
const SPILL_MAX: u64 = 1 << 30;
/// Less would be used up by a handful of answers.
const LEAST_TOTAL: u64 = 1 << 20;

/// Reads the keys; they are compared with one another by [`settle`], when the routes are known.
pub(super) fn read(table: &mut Table<'_, '_>) -> Buffers {
    let request = table.size("buffer_request", REQUEST);
    let response = table.size("buffer_response", RESPONSE);
    let total = table.size("buffer_total", TOTAL);
    if total < LEAST_TOTAL
        && let Some(span) = table.span("buffer_total")
    {
        let message = format!("`buffer_total` must be at least `1MiB`, found `{}`", size_text(total));
        let help = "all exchanges share it; `\"256MiB\"` is enough for 256 large answers at a time";
        table.reader.error(Place::Bytes(span), message, help);
    }
    let path = directory(table);
    let max = table.size("spill_max", SPILL_MAX);
    if let Some(span) = table.span("spill_max").filter(|_| !table.has("spill_dir")) {
        let help = "write where files are made too, `spill_dir = \"/var/tmp\"`, or remove it";
        table.reader.error(Place::Bytes(span), "`spill_max` has no `spill_dir` to go with", help);
    }
    let spill_by_default = spill(table).unwrap_or_default();
    let (request, response, total) = (size(request), size(response), size(total));
    Buffers { request, response, total, spill: path.map(|path| SpillDir { path, max }), spill_by_default }
}

fn directory(table: &mut Table<'_, '_>) -> Option<PathBuf> {
    let text = table.string("spill_dir", "the path of a directory")?;
    let path = text.text.as_str();
    if !path.contains('/') || path.contains('\0') {
        let message = format!("`spill_dir` must be the path of a directory, found `{}`", shown(path));
        let help = "write it with a slash, for example `/var/tmp`; on a disk, not in memory";
        table.reader.error(text.place, message, help);
        return None;
    }
    Some(PathBuf::from(path))
}

/// Reads `spill = "requests"`, `"responses"`, or a list of them; of a route or of all.
pub(crate) fn spill(table: &mut Table<'_, '_>) -> Option<Spill> {
    const WANTED: &str = "`\"requests\"`, `\"responses\"`, or a list of them";
    let texts = table.strings("spill", WANTED)?;
    let mut spill = Spill::default();
    for text in texts {
        match text.text.as_str() {
            "requests" => spill.requests = true,
            "responses" => spill.responses = true,
            other => {
                let message = format!("`spill` must be {WANTED}, found `{}`", shown(other));
                table.reader.error(text.place, message, "`[]` is for nothing");
            }
        }
    }
    Some(spill)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Compares what is buffered with how large bodies may be, and lowers the default to it.
pub(super) fn settle(reader: &mut Reader<'_>, buffers: &mut Buffers, listen: &Listen, routes: &RouteTable) {
    let max_body = routes.routes().iter().map(|route| route.max_body).fold(listen.max_body, u64::max);
    check_request(reader, buffers, max_body);
    check_total(reader, buffers);
    check_spill(reader, buffers, routes);
}

/// Of two sizes that do not fit, whether no error was found yet where they are written.
fn are_right(reader: &Reader<'_>, keys: [&str; 2]) -> bool {
    let spans = keys.into_iter().filter_map(|key| reader.span(key));
    spans.into_iter().all(|span| !reader.has_error_in(&span))
}

fn check_request(reader: &mut Reader<'_>, buffers: &mut Buffers, max_body: u64) {
    let Some(span) = reader.span("upstream.buffer_request") else {
        buffers.request = buffers.request.min(size(max_body));
        return;
    };
    if buffers.request as u64 > max_body && are_right(reader, ["upstream.buffer_request", "listen.max_body"])
    {
        let message = format!(
            "`buffer_request` is `{}`, more than any request may have, `max_body`, `{}`",
            size_text(buffers.request as u64),
            size_text(max_body)
        );
        let help = "raise `max_body` of `[listen]` or of a route, or lower `buffer_request` to it";
        reader.error(Place::Bytes(span), message, help);
    }
}

fn check_total(reader: &mut Reader<'_>, buffers: &Buffers) {
    let total = buffers.total as u64;
    for (key, part) in [("buffer_request", buffers.request), ("buffer_response", buffers.response)] {
        let path = format!("upstream.{key}");
        let part = part as u64;
        if part <= total || !are_right(reader, [&path, "upstream.buffer_total"]) {
            continue;
        }
        let Some(span) = reader.span(&path).or_else(|| reader.span("upstream.buffer_total")) else {
            continue;
        };
        let message =
            format!("`{key}` is `{}`, more than `buffer_total`, `{}`", size_text(part), size_text(total));
        let help = format!("all exchanges share `buffer_total`: raise it, or lower `{key}`");
        reader.error(Place::Bytes(span), message, help);
    }
}

fn check_spill(reader: &mut Reader<'_>, buffers: &Buffers, routes: &RouteTable) {
    let Some(directory) = &buffers.spill else {
        // A directory that could not be read has its own report.
        if reader.span("upstream.spill_dir").is_none() {
            refuse_without_directory(reader, buffers.spill_by_default, routes);
        }
        return;
    };
    let Some(largest) = routes
        .routes()
        .iter()
        .filter(|route| route.handling.spill.requests)
        .max_by_key(|route| route.max_body)
    else {
        return;
    };
    if directory.max < largest.max_body {
        let message = format!(
            "`spill_max` is `{}`, less than one body of route `{}` may have, `{}`",
            size_text(directory.max),
            largest.name,
            size_text(largest.max_body)
        );
        let help =
            "such a body is refused with 413; raise `spill_max`, or lower `max_body` of the route".to_owned();
        let key = match reader.span("upstream.spill_max") {
            Some(_) => "upstream.spill_max",
            None => "upstream.spill_dir",
        };
        warn(reader, key, message, help);
    }
}

fn refuse_without_directory(reader: &mut Reader<'_>, by_default: Spill, routes: &RouteTable) {
    let spills = |spill: Spill| spill != Spill::default();
    let of_all = reader.span("upstream.spill").filter(|_| spills(by_default));
    let of_routes = routes.routes().iter().enumerate().filter(|(_, route)| spills(route.handling.spill));
    let of_routes = of_routes.filter_map(|(index, _)| reader.span(&format!("routes.{index}.spill")));
    for span in of_all.into_iter().chain(of_routes).collect::<Vec<_>>() {
        let help = "say where files are made: `spill_dir = \"/var/tmp\"` in `[upstream]`";
        reader.error(Place::Bytes(span), "`spill` has no `spill_dir` to go with", help);
    }
}
