//! `[[routes]] limits` and `cost`: which limits a route's requests pay.
//!
//! Invariant: the lists are as many as there are routes; limits by address go before those by anything a client
//! can invent, so that a flood of invented keys is refused before a key of it is remembered.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::limit::rules::{Cost, Due, Limit, Limiting, Limits};

use super::super::reader::{Reader, Text};
use super::super::report::{Place, Severity, shown};
use super::super::suggest::nearest;
use super::super::table::Table;
use super::cost::{self, MAX_COST};
use super::unverified::{self, Verified};
use super::{Draft, Drafts, presets, read_limit};

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

/// A limit that a route names, and where.
struct Named {
    name: Arc<str>,
    place: Place,
}

/// Finds the limits of every route; `None` when no route is written, and one takes everything.
pub(crate) fn apply(
    reader: &mut Reader<'_>,
    mut drafts: Drafts,
    limiting: Limiting,
    routes: Option<Vec<RouteLimits>>,
    verified: Verified,
) -> Limits {
    let named: Vec<Vec<Named>> = match &routes {
        Some(routes) => routes.iter().map(|route| names(reader, &mut drafts, route)).collect(),
        None => vec![default_alone(&drafts)],
    };
    warn_unnamed(reader, &drafts, &named, routes.is_some());
    let routes = routes.unwrap_or_default();
    for (route, names) in routes.iter().zip(&named) {
        check_cost(reader, &drafts, route, names);
    }
    let limits: BTreeMap<Arc<str>, Arc<Limit>> =
        drafts.into_iter().map(|(name, draft)| (name, Arc::new(draft.limit))).collect();
    let mut by_route = Vec::with_capacity(named.len());
    for (index, names) in named.iter().enumerate() {
        let cost = routes.get(index).and_then(|route| route.cost.as_ref()).map(|(cost, _)| *cost);
        let found = names.iter().filter_map(|named| Some((limits.get(&named.name)?, &named.place)));
        let due = |limit: &Arc<Limit>| Due { limit: Arc::clone(limit), cost: entry_cost(limit, cost) };
        let (mut dues, places): (Vec<Due>, Vec<Place>) =
            found.map(|(limit, place)| (due(limit), place.clone())).unzip();
        unverified::warn(reader, &dues, &places, verified);
        dues.sort_by_key(|due| !due.limit.is_by_address());
        by_route.push(dues);
    }
    Limits { limiting, limits: limits.into_values().collect(), by_route }
}

/// What holds for everything when no route is written.
fn default_alone(drafts: &Drafts) -> Vec<Named> {
    let found = drafts.get_key_value(DEFAULT).into_iter();
    let place = |draft: &Draft| draft.place.clone().map_or(Place::File, Place::Bytes);
    found.map(|(name, draft)| Named { name: Arc::clone(name), place: place(draft) }).collect()
}

/// Tokens a request takes on entry: a cost that the app tells is not a route's to choose.
fn entry_cost(limit: &Limit, of_route: Option<u64>) -> u64 {
    match limit.cost {
        Cost::Fixed(cost) => of_route.unwrap_or(cost),
        Cost::Answer { reserve, .. } => reserve,
    }
}

/// The limits a route names, each once; a preset comes into being by its name.
fn names(reader: &mut Reader<'_>, drafts: &mut Drafts, route: &RouteLimits) -> Vec<Named> {
    let mut names: Vec<Named> = Vec::new();
    for text in &route.names {
        if let Some(Named { name, place }) = names.iter().find(|named| *named.name == *text.text) {
            let note = match place {
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
            Some((name, _)) => names.push(Named { name: Arc::clone(name), place: text.place.clone() }),
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

fn check_cost(reader: &mut Reader<'_>, drafts: &Drafts, route: &RouteLimits, names: &[Named]) {
    let Some((cost, place)) = &route.cost else {
        return;
    };
    let mut applies = false;
    for Named { name, .. } in names {
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

fn warn_unnamed(reader: &mut Reader<'_>, drafts: &Drafts, named: &[Vec<Named>], routes_are_written: bool) {
    for (name, draft) in drafts {
        let Some(place) = draft.place.as_ref().filter(|_| draft.is_whole) else {
            continue;
        };
        if named.iter().flatten().any(|named| named.name == *name) {
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
