//! What an exchange adds to the measurements, and what the app's answer says of itself.
//!
//! Invariant: whatever the app writes, a value is bounded and parsed strictly, or it is none.

use std::sync::Arc;

use http::HeaderMap;
use http::header::HeaderName;

use crate::config::model::Model;
use crate::config::model::emf::EmfPer;
use crate::config::model::metrics::{FromResponse, Llm};
use crate::message::server_timing;
use crate::telemetry::emf::catalog::has_queue_time;
use crate::telemetry::emf::template::Template;
use crate::telemetry::measurements::Measurements;
use crate::telemetry::series::{Distribution, LimitSeries, RouteSeries, Told, WorkerSeries};
use crate::telemetry::totals::NO_ROUTE;

use super::admit::parse_tokens;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The series that exchanges of a configuration count in, by its routes and limits.
#[derive(Debug)]
pub struct Series {
    routes: Vec<OfRoute>,
    no_route: OfRoute,
    limits: Vec<(Arc<str>, Arc<LimitSeries>)>,
    /// What EMF lines have in common, where each exchange has one.
    pub emf: Option<Template>,
}

/// A route's series, with its entries of `Server-Timing` by their index.
#[derive(Debug)]
pub struct OfRoute {
    /// What is counted.
    pub series: Arc<RouteSeries>,
    /// By index in `[metrics.from_response] server_timing`.
    pub timings: Vec<Arc<Distribution>>,
    /// The dimensions of its EMF lines, encoded.
    pub dimensions: Vec<u8>,
}

impl Series {
    /// Those of a configuration.
    pub fn new(model: &Model, worker: &WorkerSeries) -> Series {
        let from = &model.metrics.from_response;
        let emf = model.emf.as_ref().filter(|emf| emf.per == EmfPer::Request);
        let emf = emf.map(|emf| Template::new(emf, from, has_queue_time(model)));
        let of_route = |name: &str| {
            let series = worker.route(name);
            let timings = from.server_timing.iter().map(|entry| series.timing(entry)).collect();
            let dimensions = emf.as_ref().map(|emf| emf.dimensions(&series.name)).unwrap_or_default();
            OfRoute { series, timings, dimensions }
        };
        Series {
            routes: model.routes.routes().iter().map(|route| of_route(&route.name)).collect(),
            no_route: of_route(NO_ROUTE),
            limits: model
                .limits
                .limits
                .iter()
                .map(|limit| (Arc::clone(&limit.name), worker.limit(&limit.name)))
                .collect(),
            emf,
        }
    }

    /// Of a route by its index, or of requests without one.
    pub fn route(&self, route: Option<usize>) -> &OfRoute {
        route.and_then(|index| self.routes.get(index)).unwrap_or(&self.no_route)
    }

    /// Of a limit.
    pub fn limit(&self, name: &str) -> Option<&LimitSeries> {
        self.limits.iter().find(|(known, _)| **known == *name).map(|(_, series)| &**series)
    }
}

/// Reads what an answer tells, and counts what it asked of language models.
pub fn read_told(headers: &HeaderMap, status: u16, from: &FromResponse, measurements: &Measurements) -> Told {
    let mut told = Told::default();
    if let Some(cache) = &from.cache_hit
        && let Some(value) = headers.get(&cache.header)
    {
        let value = value.as_bytes().trim_ascii();
        told.cache_hit = Some(value.eq_ignore_ascii_case(cache.equals.as_bytes()));
    }
    if from.analysis_latency.is_some() || !from.server_timing.is_empty() {
        read_timings(headers, from, &mut told);
    }
    if let Some(llm) = &from.llm {
        told.llm_tokens = read_llm(headers, status, llm, measurements);
    }
    told
}

fn read_timings(headers: &HeaderMap, from: &FromResponse, told: &mut Told) {
    for line in headers.get_all(SERVER_TIMING).iter().filter_map(|line| line.to_str().ok()) {
        for (name, nanos) in server_timing::entries(line) {
            if from.analysis_latency.as_deref() == Some(name) {
                // The first of a name counts, so that no answer is measured twice.
                told.analysis_nanos.get_or_insert(nanos);
            } else if let Some(index) = from.server_timing.iter().position(|entry| **entry == *name)
                && let Ok(index) = u8::try_from(index)
                && told.timings.iter().all(|(known, _)| *known != index)
            {
                told.timings.push((index, nanos));
            }
        }
    }
}

fn read_llm(headers: &HeaderMap, status: u16, llm: &Llm, measurements: &Measurements) -> Option<u64> {
    let tokens = parse_tokens(headers.get(&llm.tokens)?.as_bytes())?;
    let label = |name: &Option<HeaderName>| {
        name.as_ref().and_then(|name| headers.get(name)).map_or(&b""[..], |value| value.as_bytes())
    };
    measurements.model(label(&llm.model), label(&llm.operation)).count(status, tokens);
    Some(tokens)
}

/// Takes out what the client is not to see, when everybody has read it.
pub fn hide_told(headers: &mut HeaderMap, from: &FromResponse) {
    if !from.strip {
        return;
    }
    if let Some(cache) = &from.cache_hit {
        headers.remove(&cache.header);
    }
    if from.analysis_latency.is_some() || !from.server_timing.is_empty() {
        headers.remove(SERVER_TIMING);
    }
    if let Some(Llm { tokens, model, operation }) = &from.llm {
        headers.remove(tokens);
        for name in [model, operation].into_iter().flatten() {
            headers.remove(name);
        }
    }
}
