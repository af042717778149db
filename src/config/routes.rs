//! `[[routes]]`: raw values to the route table.
//!
//! Invariant: names are different, and no two patterns claim the same requests.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use toml::de::DeTable;

use crate::message::handling::{Handling, Spill};
use crate::message::routes::{Pattern, Route, RouteTable};

use super::handling;
use super::limits::RouteLimits;
use super::reader::{Reader, Text};
use super::report::{Place, Severity, shown};
use super::table::Table;

const EXAMPLE: &str = "write `match = \"POST /api/v1/query\"`, or a list of such patterns";

/// A route and its patterns, each with its place in the file.
#[derive(Default)]
struct Gathered {
    routes: Vec<Arc<Route>>,
    patterns: Vec<(Pattern, usize)>,
    places: Vec<Place>,
    names: HashMap<Arc<str>, Range<usize>>,
    limits: Vec<RouteLimits>,
}

/// Reads the list, and what each route says of limits; without one, a single route takes everything.
pub(crate) fn read<'d>(
    reader: &mut Reader<'d>,
    root: &'d DeTable<'d>,
    max_body: u64,
    spill: Spill,
) -> (RouteTable, Option<Vec<RouteLimits>>) {
    let handling = Handling { spill, ..Handling::default() };
    let everything = Route { name: "all".into(), timeout: None, max_body, handling };
    let entries = reader.list(root, "routes", "a route");
    if entries.is_empty() {
        return (RouteTable::single(everything), None);
    }
    let mut gathered = Gathered::default();
    for (index, entry) in entries.into_iter().enumerate() {
        let table = Table::new(reader, format!("routes.{index}"), "routes", Some(entry.0));
        read_route(table, entry.1, (max_body, spill), &mut gathered);
    }
    let Gathered { routes, patterns, places, limits, .. } = gathered;
    let table = RouteTable::build(routes, patterns.clone()).unwrap_or_else(|duplicates| {
        for found in duplicates {
            let pattern = &patterns[found.second].0;
            let message = match found.method {
                Some(method) if pattern.methods().len() > 1 => {
                    format!("`{pattern}` repeats a pattern for `{method}`")
                }
                _ => format!("`{pattern}` repeats a pattern"),
            };
            let note = match &places[found.first] {
                Place::Bytes(span) => Some(("it stands first here".to_owned(), span.clone())),
                _ => None,
            };
            let help = "remove one of them; names of parameters do not make a difference".to_owned();
            reader.find(Severity::Error, places[found.second].clone(), message, help, note);
        }
        RouteTable::single(everything)
    });
    (table, Some(limits))
}

/// Reads one route; what it leaves out of `max_body` and `spill` is as given.
fn read_route(
    mut table: Table<'_, '_>,
    header: Range<usize>,
    (max_body, spill): (u64, Spill),
    gathered: &mut Gathered,
) {
    let name = name(&mut table, &header, &mut gathered.names);
    let patterns = patterns(&mut table, &header);
    let timeout = table.optional_duration("timeout");
    let max_body = table.size("max_body", max_body);
    let handling = handling::read(&mut table, spill);
    gathered.limits.push(RouteLimits::read(&mut table));
    table.finish();
    let route = gathered.routes.len();
    gathered.routes.push(Arc::new(Route { name: name.unwrap_or_default(), timeout, max_body, handling }));
    for (pattern, place) in patterns {
        gathered.patterns.push((pattern, route));
        gathered.places.push(place);
    }
}

fn name(
    table: &mut Table<'_, '_>,
    header: &Range<usize>,
    names: &mut HashMap<Arc<str>, Range<usize>>,
) -> Option<Arc<str>> {
    let written = table.string("name", "a name");
    let Some(text) = written else {
        if !table.has("name") {
            let help = "write `name = \"query\"`; records and metrics carry it";
            table.reader.error(Place::Bytes(header.clone()), "`name` of this route is missing", help);
        }
        return None;
    };
    if !is_name(&text.text) {
        let message = format!("`{}` is not a route name", shown(&text.text));
        table.reader.error(text.place, message, "use 1 to 64 of letters, digits, `_`, `.` and `-`");
        return None;
    }
    let name: Arc<str> = text.text.into();
    if let Some(first) = names.get(&name) {
        let note = Some(("it stands first here".to_owned(), first.clone()));
        let message = format!("route name `{name}` is there twice");
        let help = "give each route its own name, or put all patterns into one `match` list".to_owned();
        table.reader.find(Severity::Error, text.place, message, help, note);
        return None;
    }
    if let Place::Bytes(span) = text.place {
        names.insert(Arc::clone(&name), span);
    }
    Some(name)
}

/// Whether it can stand in a record, a metric and a header without quotes.
pub fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

fn patterns(table: &mut Table<'_, '_>, header: &Range<usize>) -> Vec<(Pattern, Place)> {
    let Some(texts) = table.strings("match", "a pattern or a list of patterns") else {
        if !table.has("match") {
            table.reader.error(Place::Bytes(header.clone()), "`match` of this route is missing", EXAMPLE);
        }
        return Vec::new();
    };
    if texts.is_empty() {
        let span = table.span("match").unwrap_or_else(|| header.clone());
        if !table.reader.has_error_in(&span) {
            table.reader.error(Place::Bytes(span), "`match` must hold at least one pattern", EXAMPLE);
        }
    }
    let parsed = texts.into_iter().map(|text| parse(table.reader, text));
    parsed.collect::<Vec<_>>().into_iter().flatten().collect()
}

fn parse(reader: &mut Reader<'_>, text: Text) -> Option<(Pattern, Place)> {
    match Pattern::parse(&text.text) {
        Ok(pattern) => Some((pattern, text.place)),
        Err(error) => {
            reader.error(text.part(&error.at), error.message, error.help);
            None
        }
    }
}
