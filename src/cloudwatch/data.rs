//! From two states of the totals to what PutMetricData takes: plain data, and parcels of a size that is accepted.
//!
//! Invariant: what the parcels of all intervals hold adds up to the totals; no datum and no parcel is larger than
//! CloudWatch takes.

use crate::telemetry::emf::catalog::{self, Metric, Unit};
use crate::telemetry::histogram::{Histogram, middle};
use crate::telemetry::totals::{RouteTotals, Totals};

use super::emitted::Emitted;
use crate::config::model::emf::Dimension;

/// Distinct values of one datum.
pub const MAX_VALUES: usize = 150;
/// Data of one request.
pub const MAX_DATA: usize = 1_000;
/// Bytes of one request, below the megabyte that is taken.
pub const MAX_BYTES: usize = 900_000;
/// Bytes of names, keys and numbers around what a datum holds, reckoned generously.
const DATUM_BYTES: usize = 250;
/// Bytes of one value and its count.
const VALUE_BYTES: usize = 20;

const NANOS_PER_MILLI: f64 = 1_000_000.0;

/// One metric of one interval and one set of dimension values.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: Unit,
    /// Names and values.
    pub dimensions: Vec<(&'static str, String)>,
    /// The interval's end, milliseconds since 1970.
    pub unix_ms: u64,
    /// What was measured.
    pub value: Value,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// So many.
    Sum(u64),
    /// Distinct values, ascending, and how often each was seen; 1 to [`MAX_VALUES`] of them.
    Distribution {
        /// Milliseconds.
        values: Vec<f64>,
        /// As many.
        counts: Vec<f64>,
    },
}

impl Datum {
    /// No fewer bytes than it has in a request.
    pub fn bytes(&self) -> usize {
        let names: usize = self.dimensions.iter().map(|(name, value)| name.len() + value.len() + 40).sum();
        let values = match &self.value {
            Value::Sum(_) => 1,
            Value::Distribution { values, .. } => values.len(),
        };
        DATUM_BYTES + self.name.len() + names + values * VALUE_BYTES
    }
}

/// What came between two states, as of `unix_ms`; routes without a request since then are left out.
pub fn data(previous: &Totals, now: &Totals, unix_ms: u64, emitted: &Emitted) -> Vec<Datum> {
    let routes = now.routes_since(previous);
    if routes.is_empty() {
        return Vec::new();
    }
    let mut all = RouteTotals::default();
    routes.values().for_each(|route| all.add(route));
    let mut made = Vec::new();
    for set in &emitted.sets {
        if set.contains(&Dimension::Route) {
            for (name, totals) in &routes {
                of_set(totals, &emitted.values(set, name), unix_ms, &emitted.metrics, &mut made);
            }
        } else {
            of_set(&all, &emitted.values(set, ""), unix_ms, &emitted.metrics, &mut made);
        }
    }
    made
}

fn of_set(
    totals: &RouteTotals,
    dimensions: &[(&'static str, String)],
    unix_ms: u64,
    metrics: &[Metric],
    made: &mut Vec<Datum>,
) {
    for metric in metrics {
        if let Some(value) = measured(totals, &metric.name) {
            let (name, unit, dimensions) = (metric.name.clone(), metric.unit, dimensions.to_vec());
            made.push(Datum { name, unit, dimensions, unix_ms, value });
        }
    }
}

/// What was measured under a name; `None` if there was nothing to measure.
fn measured(totals: &RouteTotals, name: &str) -> Option<Value> {
    let asked_the_cache = totals.cache_hits + totals.cache_misses > 0;
    match name {
        catalog::REQUEST_COUNT => Some(Value::Sum(totals.count())),
        catalog::ERROR_COUNT => Some(Value::Sum(totals.errors())),
        catalog::CLIENT_ERROR_COUNT => Some(Value::Sum(totals.client_errors())),
        catalog::THROTTLED_COUNT => Some(Value::Sum(totals.throttled)),
        catalog::LATENCY => distribution(&totals.duration),
        catalog::UPSTREAM_LATENCY => distribution(&totals.upstream),
        catalog::QUEUE_TIME => distribution(&totals.queue),
        catalog::ANALYSIS_LATENCY => distribution(&totals.analysis),
        catalog::CACHE_HIT => asked_the_cache.then_some(Value::Sum(totals.cache_hits)),
        catalog::CACHE_MISS => asked_the_cache.then_some(Value::Sum(totals.cache_misses)),
        catalog::LLM_TOKENS => (totals.llm_tokens > 0).then_some(Value::Sum(totals.llm_tokens)),
        name => {
            let timing = totals.timings.iter().find(|(entry, _)| catalog::timing_name(entry) == name);
            timing.and_then(|(_, histogram)| distribution(histogram))
        }
    }
}

/// The buckets' middles, or, if there are too many buckets, the mean of neighbors: two, three or four of them, so that
/// a value is known to within an eighth of itself at worst.
fn distribution(histogram: &Histogram) -> Option<Value> {
    let filled: Vec<(usize, u64)> = histogram.filled().collect();
    if filled.is_empty() {
        return None;
    }
    let groups = |width: usize| filled.chunk_by(move |a, b| a.0 / width == b.0 / width);
    let width = (1..).find(|width| groups(*width).count() <= MAX_VALUES).unwrap_or(usize::MAX);
    let (mut values, mut counts) = (Vec::new(), Vec::new());
    for group in groups(width) {
        let count: u64 = group.iter().map(|(_, count)| count).sum();
        let sum: f64 = group.iter().map(|(at, count)| middle(*at) as f64 * *count as f64).sum();
        values.push(sum / count as f64 / NANOS_PER_MILLI);
        counts.push(count as f64);
    }
    Some(Value::Distribution { values, counts })
}

/// Data in the same order, in parcels for one request each.
pub fn parcels(data: Vec<Datum>) -> Vec<Vec<Datum>> {
    let mut parcels: Vec<Vec<Datum>> = Vec::new();
    let mut bytes = 0;
    for datum in data {
        let more = datum.bytes();
        match parcels.last_mut() {
            Some(last) if last.len() < MAX_DATA && bytes + more <= MAX_BYTES => {
                last.push(datum);
                bytes += more;
            }
            _ => {
                parcels.push(vec![datum]);
                bytes = more;
            }
        }
    }
    parcels
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::cloudwatch::tests::{emf, model};
    use crate::config::model::metrics::{CacheHit, Llm};

    fn emitted() -> Emitted {
        let mut model = model();
        model.emf = Some(emf());
        let fields = &mut model.metrics.from_response;
        fields.cache_hit = Some(CacheHit { header: "x-cache".parse().unwrap(), equals: "HIT".into() });
        fields.analysis_latency = Some("analysis".into());
        fields.server_timing = vec!["db".into()];
        fields.llm = Some(Llm { tokens: "x-tokens".parse().unwrap(), model: None, operation: None });
        Emitted::of(&model).unwrap()
    }

    /// A request to a route.
    fn count(totals: &mut Totals, route: &str, class: usize, nanos: u64) {
        let route = totals.routes.entry(Arc::from(route)).or_default();
        route.requests[0][class] += 1;
        route.duration.record(nanos);
    }

    fn sum(data: &[Datum], name: &str, dimensions: usize) -> f64 {
        let of_name = data.iter().filter(|datum| datum.name == name && datum.dimensions.len() == dimensions);
        let sum = |datum: &Datum| match &datum.value {
            Value::Sum(sum) => *sum as f64,
            Value::Distribution { counts, .. } => counts.iter().sum(),
        };
        of_name.map(sum).sum()
    }

    #[test]
    fn every_measure_has_its_datum_by_service_and_by_route() {
        let mut totals = Totals::default();
        count(&mut totals, "query", 4, 2_000_000);
        count(&mut totals, "rest", 1, 3_000_000);
        let query = totals.routes.get_mut("query").unwrap();
        (query.cache_hits, query.llm_tokens, query.throttled) = (2, 70, 5);
        query.analysis.record(4_000_000);
        query.timings.entry("db".into()).or_default().record(1_000_000);
        query.upstream.record(1_000_000);
        let emitted = emitted();
        let data = data(&Totals::default(), &totals, 99, &emitted);
        let names = |dimensions: &[(&str, &str)]| {
            let wanted: Vec<_> =
                dimensions.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            let found = data.iter().filter(|datum| datum.dimensions == wanted);
            found.map(|datum| datum.name.clone()).collect::<Vec<_>>()
        };
        let all: Vec<_> = emitted.metrics.iter().map(|metric| metric.name.clone()).collect();
        assert_eq!(names(&[("Service", "api")]), all);
        assert_eq!(names(&[("Service", "api"), ("Route", "query")]), all);
        assert_eq!(
            names(&[("Service", "api"), ("Route", "rest")]),
            ["RequestCount", "ErrorCount", "ClientErrorCount", "ThrottledCount", "Latency"]
        );
        let total = |name: &str| (sum(&data, name, 1), sum(&data, name, 2));
        assert_eq!(total("RequestCount"), (2.0, 2.0));
        assert_eq!(total("ErrorCount"), (1.0, 1.0));
        assert_eq!(total("CacheHit"), (2.0, 2.0));
        assert_eq!(total("CacheMiss"), (0.0, 0.0));
        assert_eq!(total("LlmTokens"), (70.0, 70.0));
        assert_eq!(total("ThrottledCount"), (5.0, 5.0));
        assert!(data.iter().all(|datum| datum.unix_ms == 99));
    }

    #[test]
    fn without_a_request_there_is_nothing_to_send() {
        let mut totals = Totals::default();
        count(&mut totals, "rest", 1, 1);
        assert!(data(&totals.clone(), &totals, 1, &emitted()).is_empty());
    }

    #[test]
    fn a_wide_distribution_keeps_its_count_and_nearly_its_values() {
        let mut histogram = Histogram::default();
        let mut nanos = 20_000_u64;
        let mut count = 0;
        while nanos < 3_000_000_000_000 {
            histogram.record(nanos);
            nanos += nanos / 40;
            count += 1;
        }
        assert!(histogram.filled().count() > 300, "more than fit");
        let Some(Value::Distribution { values, counts }) = distribution(&histogram) else { panic!() };
        assert!(values.len() <= MAX_VALUES && values.len() > MAX_VALUES / 2, "{}", values.len());
        assert!(values.is_sorted());
        assert_eq!(counts.iter().sum::<f64>(), f64::from(count));
        let exact = histogram.quantile(1.0).unwrap() as f64 / NANOS_PER_MILLI;
        assert!((values.last().unwrap() - exact).abs() / exact < 0.125);
    }

    #[test]
    fn a_parcel_is_never_larger_than_is_taken() {
        let datum = |values: usize| Datum {
            name: "Latency".to_owned(),
            unit: Unit::Milliseconds,
            dimensions: vec![("Service", "api".to_owned()), ("Route", "r".repeat(64))],
            unix_ms: 1,
            value: Value::Distribution { values: vec![1.5; values], counts: vec![1.0; values] },
        };
        let large = parcels(vec![datum(MAX_VALUES); 2_500]);
        assert_eq!(large.iter().map(Vec::len).sum::<usize>(), 2_500);
        for parcel in &large {
            assert!(parcel.iter().map(Datum::bytes).sum::<usize>() <= MAX_BYTES);
        }
        let small = parcels(vec![datum(1); 2_500]);
        assert_eq!(small.iter().map(Vec::len).collect::<Vec<_>>(), [1_000, 1_000, 500]);
    }

    proptest! {
        #[test]
        fn intervals_add_up_to_the_totals(
            requests in proptest::collection::vec((0..4_usize, 1..5_usize, 1_000..90_000_000_000_u64), 1..300),
            cuts in proptest::collection::btree_set(0..300_usize, 0..5),
        ) {
            let (emitted, names) = (emitted(), ["query", "upload", "rest", "(none)"]);
            let (mut now, mut before) = (Totals::default(), Totals::default());
            let mut sent = Vec::new();
            for (at, (route, class, nanos)) in requests.iter().enumerate() {
                count(&mut now, names[*route], *class, *nanos);
                if cuts.contains(&at) {
                    sent.extend(data(&before, &now, 1, &emitted));
                    before = now.clone();
                }
            }
            sent.extend(data(&before, &now, 2, &emitted));
            let all = now.all_routes();
            for dimensions in [1, 2] {
                prop_assert_eq!(sum(&sent, "RequestCount", dimensions), requests.len() as f64);
                prop_assert_eq!(sum(&sent, "Latency", dimensions), requests.len() as f64);
                prop_assert_eq!(sum(&sent, "ErrorCount", dimensions), all.errors() as f64);
                prop_assert_eq!(sum(&sent, "ClientErrorCount", dimensions), all.client_errors() as f64);
            }
        }
    }
}
