//! Which metrics a configuration makes: names, units, and how many CloudWatch will count.
//!
//! Invariant: what the encoder writes, what the dashboard shows, what alarms watch and what the forecast counts are
//! the same list.

use crate::config::model::Model;
use crate::config::model::emf::{Dimension, Emf};

/// Units as CloudWatch spells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// How many.
    Count,
    /// How long.
    Milliseconds,
}

impl Unit {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Count => "Count",
            Unit::Milliseconds => "Milliseconds",
        }
    }
}

/// A metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: Unit,
}

impl Metric {
    fn new(name: &str, unit: Unit) -> Metric {
        Metric { name: name.to_owned(), unit }
    }
}

/// Every exchange that has ended.
pub const REQUEST_COUNT: &str = "RequestCount";
/// 5xx among them, 0 or 1.
pub const ERROR_COUNT: &str = "ErrorCount";
/// 4xx among them, refusals by limits included, 0 or 1.
pub const CLIENT_ERROR_COUNT: &str = "ClientErrorCount";
/// Refusals by limits, 0 or 1.
pub const THROTTLED_COUNT: &str = "ThrottledCount";
/// From the head to the last byte.
pub const LATENCY: &str = "Latency";
/// Of the app, to the head of its answer.
pub const UPSTREAM_LATENCY: &str = "UpstreamLatency";
/// Of requests that waited for a slot of the app: for how long.
pub const QUEUE_TIME: &str = "QueueTime";
/// `analysis_latency`
pub const ANALYSIS_LATENCY: &str = "AnalysisLatency";
/// A cache of the app had the answer.
pub const CACHE_HIT: &str = "CacheHit";
/// It had not.
pub const CACHE_MISS: &str = "CacheMiss";
/// Tokens of language models.
pub const LLM_TOKENS: &str = "LlmTokens";

/// Every metric that a line can hold, always those that every line holds first.
pub fn metrics(model: &Model) -> Vec<Metric> {
    use Unit::{Count, Milliseconds};
    let from_response = &model.metrics.from_response;
    let mut metrics = vec![
        Metric::new(REQUEST_COUNT, Count),
        Metric::new(ERROR_COUNT, Count),
        Metric::new(CLIENT_ERROR_COUNT, Count),
        Metric::new(THROTTLED_COUNT, Count),
        Metric::new(LATENCY, Milliseconds),
        Metric::new(UPSTREAM_LATENCY, Milliseconds),
    ];
    if has_queue_time(model) {
        metrics.push(Metric::new(QUEUE_TIME, Milliseconds));
    }
    if from_response.analysis_latency.is_some() {
        metrics.push(Metric::new(ANALYSIS_LATENCY, Milliseconds));
    }
    if from_response.cache_hit.is_some() {
        metrics.push(Metric::new(CACHE_HIT, Count));
        metrics.push(Metric::new(CACHE_MISS, Count));
    }
    if from_response.llm.is_some() {
        metrics.push(Metric::new(LLM_TOKENS, Count));
    }
    metrics.extend(
        from_response.server_timing.iter().map(|entry| Metric::new(&timing_name(entry), Milliseconds)),
    );
    metrics
}

/// Whether how long requests wait is a metric: only where the app gets a bounded number of them. Elsewhere they wait
/// for nothing but an app that is being restarted, which is not worth a metric that costs.
pub fn has_queue_time(model: &Model) -> bool {
    let of_canary = model.upstream.canary.as_ref().and_then(|canary| canary.max_in_flight);
    model.upstream.max_in_flight.or(of_canary).is_some()
}

/// The metric of an entry of `Server-Timing`: `db` is `ServerTiming.db`.
pub fn timing_name(entry: &str) -> String {
    format!("ServerTiming.{entry}")
}

/// How many custom metrics CloudWatch will count at most: a metric for each name and each set of dimension values.
/// Routes without a name, `(none)`, count as one more.
pub fn custom_metrics(model: &Model) -> u64 {
    let Some(emf) = &model.emf else { return 0 };
    let names = metrics(model).len() as u64;
    names * sets_of_values(emf, model.routes.routes().len(), model.metrics.max_routes)
}

fn sets_of_values(emf: &Emf, routes: usize, max_routes: usize) -> u64 {
    // Those beyond the cap share one name, and requests that no route matched have another.
    let shared = usize::from(routes > max_routes);
    let routes = (routes.min(max_routes) + shared + 1) as u64;
    let values = |set: &Vec<Dimension>| if set.contains(&Dimension::Route) { routes } else { 1 };
    emf.dimensions.iter().map(values).sum()
}
