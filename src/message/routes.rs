//! Which request belongs to which route: patterns, their order, and the table that finds one.
//!
//! Invariant: the most specific pattern wins, whatever the order they were written in. Segment by
//! segment from the left a literal goes before a parameter and a parameter before the tail; on the
//! same path a pattern that names the method goes before one that takes every method.

mod pattern;
mod tree;

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::handling::Handling;

pub use pattern::{Pattern, PatternError, Segment};
use tree::Tree;

/// One `[[routes]]` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The name in records and metrics.
    pub name: Arc<str>,
    /// The whole exchange, from the request head to the last response byte.
    pub timeout: Option<Duration>,
    /// Bytes of a request body.
    pub max_body: u64,
    /// How its requests go to the app.
    pub handling: Handling,
}

/// Two patterns that claim the same requests, by their places in the list given to
/// [`RouteTable::build`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The one that stands first.
    pub first: usize,
    /// The one that repeats it.
    pub second: usize,
    /// The method they share; `None` when both take every method.
    pub method: Option<Method>,
}

/// All routes of a configuration.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
    /// Sorted by route.
    patterns: Vec<(Pattern, u32)>,
    tree: Tree,
}

impl RouteTable {
    /// A table in which every request belongs to `route`.
    pub fn single(route: Route) -> RouteTable {
        let mut tree = Tree::default();
        let everything = Pattern::everything();
        tree.insert(&everything, None, 0, 0);
        RouteTable { routes: vec![Arc::new(route)], patterns: vec![(everything, 0)], tree }
    }

    /// A table of these patterns, each with the place of its route in `routes`.
    ///
    /// A pattern whose route is not in `routes` is left out.
    pub fn build(
        routes: Vec<Arc<Route>>,
        patterns: Vec<(Pattern, usize)>,
    ) -> Result<RouteTable, Vec<Duplicate>> {
        let mut tree = Tree::default();
        let mut duplicates = Vec::new();
        let mut kept = Vec::with_capacity(patterns.len());
        for (place, (pattern, route)) in patterns.into_iter().enumerate() {
            if route >= routes.len() {
                continue;
            }
            let Ok(route) = u32::try_from(route) else {
                continue;
            };
            let every = [None];
            let named: Vec<Option<Method>> = pattern.methods().iter().cloned().map(Some).collect();
            let methods = if named.is_empty() { &every[..] } else { &named };
            for method in methods {
                if let Some(first) = tree.insert(&pattern, method.clone(), route, place) {
                    duplicates.push(Duplicate { first, second: place, method: method.clone() });
                }
            }
            kept.push((pattern, route));
        }
        if !duplicates.is_empty() {
            return Err(duplicates);
        }
        kept.sort_by_key(|(_, route)| *route);
        Ok(RouteTable { routes, patterns: kept, tree })
    }

    /// The route of a request, by its method and its normalized path.
    ///
    /// Allocates nothing. A path without a leading slash (`*`) belongs to `/*` alone.
    pub fn find(&self, method: &Method, path: &[u8]) -> Option<&Arc<Route>> {
        let route = self.tree.find(method, path)?;
        self.routes.get(route as usize)
    }

    /// The place of a request's route among [`RouteTable::routes`].
    pub fn find_index(&self, method: &Method, path: &[u8]) -> Option<usize> {
        self.tree.find(method, path).map(|route| route as usize)
    }

    /// Every route, in the order they were written.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The patterns of the route at this place, in the order they were written.
    pub fn patterns(&self, route: usize) -> impl Iterator<Item = &Pattern> {
        let start = self.patterns.partition_point(|(_, owner)| (*owner as usize) < route);
        let of_route = self.patterns[start..].iter();
        of_route.take_while(move |(_, owner)| *owner as usize == route).map(|(pattern, _)| pattern)
    }
}

#[cfg(test)]
mod tests;
