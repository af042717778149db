//! The parts of EMF lines that are the same for all of them, encoded once.

use std::io::Write as _;

use crate::config::model::emf::{Dimension, Emf};
use crate::config::model::metrics::FromResponse;

use super::super::access_line::text;
use super::catalog::{self, Unit};

/// Names and values are shorter: the configuration says so.
const MAX_TEXT: usize = 1024;

/// Prepared text.
#[derive(Debug, Clone)]
pub struct Template {
    /// Whether lines ask for metrics.
    pub(super) extraction: bool,
    /// Between the timestamp and the first definition.
    pub(super) directive: Vec<u8>,
    /// Behind the last definition.
    pub(super) directive_end: Vec<u8>,
    /// Service and environment, as members.
    common: Vec<u8>,
    /// How long a request waited for a slot of the app, where that is a metric.
    pub(super) queue_time: Option<Definition>,
    /// The further entries of `Server-Timing`, by their index.
    pub(super) timings: Vec<Definition>,
}

/// A metric that some lines have.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    /// `{"Name":…,"Unit":…}`
    pub(super) definition: Vec<u8>,
    /// `,"NAME":`
    pub(super) member: Vec<u8>,
}

impl Definition {
    pub(super) fn new(name: &str, unit: Unit) -> Definition {
        let mut definition = Vec::new();
        text(b"{\"Name\":", name.as_bytes(), MAX_TEXT, &mut definition);
        text(b",\"Unit\":", unit.as_str().as_bytes(), MAX_TEXT, &mut definition);
        definition.push(b'}');
        let mut member = Vec::new();
        text(b",", name.as_bytes(), MAX_TEXT, &mut member);
        member.push(b':');
        Definition { definition, member }
    }
}

impl Template {
    /// Of a configuration; `has_queue_time` is what the catalog says of it.
    pub fn new(emf: &Emf, from: &FromResponse, has_queue_time: bool) -> Template {
        let mut directive = Vec::new();
        text(b",\"CloudWatchMetrics\":[{\"Namespace\":", emf.namespace.as_bytes(), MAX_TEXT, &mut directive);
        let set = |set: &Vec<Dimension>| {
            let names: Vec<String> =
                set.iter().map(|dimension| format!("\"{}\"", dimension.as_str())).collect();
            format!("[{}]", names.join(","))
        };
        let sets: Vec<String> = emf.dimensions.iter().map(set).collect();
        // Writing to a vector cannot fail.
        let _ = write!(directive, ",\"Dimensions\":[{}],\"Metrics\":[", sets.join(","));
        let mut directive_end = b"]}]".to_vec();
        for (key, value) in
            [(&b",\"LogGroupName\":"[..], &emf.log_group), (b",\"LogStreamName\":", &emf.log_stream)]
        {
            if let Some(value) = value {
                text(key, value.as_bytes(), MAX_TEXT, &mut directive_end);
            }
        }
        directive_end.extend_from_slice(b"},");
        let mut common = Vec::new();
        text(b"\"Service\":", emf.service.as_bytes(), MAX_TEXT, &mut common);
        text(b",\"Environment\":", emf.environment.as_bytes(), MAX_TEXT, &mut common);
        let timing =
            |entry: &std::sync::Arc<str>| Definition::new(&catalog::timing_name(entry), Unit::Milliseconds);
        Template {
            extraction: emf.extraction,
            directive,
            directive_end,
            common,
            queue_time: has_queue_time.then(|| Definition::new(catalog::QUEUE_TIME, Unit::Milliseconds)),
            timings: from.server_timing.iter().map(timing).collect(),
        }
    }

    /// Service, environment and route, as members of a line.
    pub fn dimensions(&self, route: &str) -> Vec<u8> {
        let mut members = self.common.clone();
        text(b",\"Route\":", route.as_bytes(), MAX_TEXT, &mut members);
        members
    }
}
