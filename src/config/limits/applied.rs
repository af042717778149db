//! `[[routes]] limits` and `cost`: which limits a route's requests pay.
//!
//! Invariant: the lists are as many as there are routes; limits by address go before those by anything a client
//! can invent, so that a flood of invented keys is refused before a key of it is remembered.

use std::ops::Range;
use std::sync::Arc;

use crate::limit::rules::{Cost, Due, Limit, Limiting, Limits};

use super::super::reader::{Reader, Text};
use super::super::report::{Place, Severity, shown};
use super::super::suggest::nearest;
use super::super::table::Table;
use super::cost::{self, MAX_COST};
use super::unverified::{self, Verified};
use super::{Drafts, presets, read_limit};

/// The limit a single route has that nobody wrote.
const DEFAULT: &str = "default";

/// What a route says of limits.
pub(crate) struct RouteLimits {
    names: Vec<Text>,
    cost: Option<(u64, Range<usize>)>,
}

impl RouteLimits {
    /// Reads the keys of one route.
    pub(crate) fn read(table: &mut Table<'_, '_>) -> RouteLimits {
        let names = table.strings("limits", "a limit's name or a list of names").unwrap_or_default();
        let cost = table.optional_count("cost", 1..=MAX_COST);
        RouteLimits { names, cost: cost.zip(table.span("cost")) }
    }
}

/// Finds the limits of every route; `None` when no route is written, and one takes everything.
pub(crate) fn apply(
    reader: &mut Reader<'_>,
    mut drafts: Drafts,
    limiting: Limiting,
    routes: Option<Vec<RouteLimits>>,
    verified: Verified,
) -> Limits {
    let written = routes.is_some();
    let named: Vec<Vec<(Arc<str>, Place)>> = match &routes {
        Some(routes) => routes.iter().map(|route| names(reader, &mut drafts, route)).collect(),
        None => {
            let default = drafts.get_key_value(DEFAULT).map(|(name, _)| (Arc::clone(name), Place::File));
            vec![default.into_iter().collect()]
        }
    };
    for (route, names) in routes.iter().flatten().zip(&named) {
        check_cost(reader, &drafts, route, names);
    }
    warn_unnamed(reader, &drafts, &named, written);
    let costs: Vec<Option<u64>> = match &routes {
        Some(routes) => routes.iter().map(|route| route.cost.as_ref().map(|(cost, _)| *cost)).collect(),
        None => vec![None],
    };
    let places = named.iter().map(|names| names.iter().map(|(_, place)| place.clone()).collect::<Vec<_>>());
    let places: Vec<Vec<Place>> = places.collect();
    let limits: std::collections::BTreeMap<Arc<str>, Arc<Limit>> =
        drafts.into_iter().map(|(name, draft)| (name, Arc::new(draft.limit))).collect();
    let dues = named.iter().zip(costs).map(|(names, cost)| {
        let found = names.iter().filter_map(|(name, _)| limits.get(name));
        found.map(|limit| Due { limit: Arc::clone(limit), cost: entry_cost(limit, cost) }).collect::<Vec<_>>()
    });
    let mut by_route: Vec<Vec<Due>> = dues.collect();
    for (dues, places) in by_route.iter_mut().zip(&places) {
        unverified::warn(reader, dues, places, verified);
        dues.sort_by_key(|due| !due.limit.is_by_address());
    }
    Limits { limiting, limits: limits.into_values().collect(), by_route }
}

/// Tokens a request takes on entry: a cost that the app tells is not a route's to choose.
fn entry_cost(limit: &Limit, of_route: Option<u64>) -> u64 {
    match limit.cost {
        Cost::Fixed(cost) => of_route.unwrap_or(cost),
        Cost::Answer { reserve, .. } => reserve,
    }
}

/// The limits a route names, each once; a preset comes into being by its name.
fn names(reader: &mut Reader<'_>, drafts: &mut Drafts, route: &RouteLimits) -> Vec<(Arc<str>, Place)> {
    let mut names: Vec<(Arc<str>, Place)> = Vec::new();
    for text in &route.names {
        if let Some((name, first)) = names.iter().find(|(name, _)| **name == *text.text) {
            let note = match first {
                Place::Bytes(span) => Some(("it stands first here".to_owned(), span.clone())),
                _ => None,
            };
            let message = format!("limit `{name}` is there twice");
            let help = "a route has each limit once; remove one of them, or write a `cost`".to_owned();
            reader.find(Severity::Error, text.place.clone(), message, help, note);
            continue;
        }
        if !drafts.contains_key(text.text.as_str()) && presets::find(&text.text).is_some() {
            let table = Table::new(reader, format!("limits.{}", text.text), "limits.*", None);
            drafts.insert(text.text.as_str().into(), read_limit(table, &text.text, None));
        }
        match drafts.get_key_value(text.text.as_str()) {
            Some((name, _)) => names.push((Arc::clone(name), text.place.clone())),
            None => refuse_unknown(reader, drafts, text),
        }
    }
    names
}

fn refuse_unknown(reader: &mut Reader<'_>, drafts: &Drafts, text: &Text) {
    let known: Vec<&str> = drafts.keys().map(|name| &**name).chain(presets::names()).collect();
    let short = shown(&text.text);
    let help = match nearest(&text.text, known) {
        Some(meant) => format!("did you mean `{meant}`"),
        None => {
            format!("write a table `[limits.{short}]`, or use a preset: `public`, `auth`, `staff`, `admin`")
        }
    };
    reader.error(text.place.clone(), format!("there is no limit `{short}`"), help);
}

fn check_cost(reader: &mut Reader<'_>, drafts: &Drafts, route: &RouteLimits, names: &[(Arc<str>, Place)]) {
    let Some((cost, place)) = &route.cost else {
        return;
    };
    let mut applies = false;
    for (name, _) in names {
        let Some(draft) = drafts.get(name) else {
            continue;
        };
        if matches!(draft.limit.cost, Cost::Fixed(_)) {
            applies = true;
            cost::check(reader, "cost", *cost, place, name, &draft.holds);
        }
    }
    if !applies && names.len() == route.names.len() {
        let message = "this route has no limit that its `cost` is for".to_owned();
        let help = "name one in `limits`; what an app tells by `response_header` is not replaced".to_owned();
        reader.find(Severity::Warning, Place::Bytes(place.clone()), message, help, None);
    }
}

fn warn_unnamed(
    reader: &mut Reader<'_>,
    drafts: &Drafts,
    named: &[Vec<(Arc<str>, Place)>],
    routes_are_written: bool,
) {
    for (name, draft) in drafts {
        let Some(place) = draft.place.as_ref().filter(|_| draft.is_whole) else {
            continue;
        };
        if named.iter().flatten().any(|(named, _)| named == name) {
            continue;
        }
        let message = format!("`limits.{name}` is named by no route");
        let help = match routes_are_written {
            true => format!("write `limits = [\"{name}\"]` below the `[[routes]]` it is for"),
            false => format!(
                "write `[[routes]]` with `limits = [\"{name}\"]`; without routes only `limits.{DEFAULT}` applies"
            ),
        };
        reader.find(Severity::Warning, Place::Bytes(place.clone()), message, help, None);
    }
}
