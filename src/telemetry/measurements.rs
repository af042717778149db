//! Everything that is measured, over all workers: where each worker's part is kept, and how they are merged.
//!
//! Invariant: reading changes nothing and stops no worker.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Tick;
use crate::config::model::metrics::Metrics;

use super::series::WorkerSeries;
use super::talkers::{Rankings, RefusalNote, merge};
use super::totals::{CLASSES, ModelLabels, ModelTotals, OTHER, Totals};

/// Bytes of a model's or operation's name.
const MAX_LABEL: usize = 64;

/// The measurements of a process.
#[derive(Debug)]
pub struct Measurements {
    bounds: Arc<[u64]>,
    max_routes: usize,
    max_models: usize,
    workers: Mutex<Vec<Arc<WorkerSeries>>>,
    models: Mutex<Models>,
    invalid_emf_lines: AtomicU64,
}

/// By model, then by operation.
type Models = BTreeMap<Box<str>, BTreeMap<Box<str>, Arc<ModelSeries>>>;

/// What all workers count of one model; answers of models are rare and slow.
#[derive(Debug, Default)]
pub struct ModelSeries {
    tokens: AtomicU64,
    requests: [AtomicU64; CLASSES.len()],
}

impl ModelSeries {
    /// Counts an answer.
    pub fn count(&self, status: u16, tokens: u64) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.requests[class].fetch_add(1, Ordering::Relaxed);
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
    }
}

impl Measurements {
    /// Nothing measured yet.
    pub fn new(metrics: &Metrics) -> Measurements {
        Measurements {
            bounds: metrics.buckets.as_slice().into(),
            max_routes: metrics.max_routes,
            max_models: metrics.max_models,
            workers: Mutex::default(),
            models: Mutex::default(),
            invalid_emf_lines: AtomicU64::new(0),
        }
    }

    /// A place for one more worker.
    pub fn worker(&self) -> Arc<WorkerSeries> {
        let series = Arc::new(WorkerSeries::new(Arc::clone(&self.bounds), self.max_routes));
        lock(&self.workers).push(Arc::clone(&series));
        series
    }

    /// Upper bounds of `duration_within`, in nanoseconds.
    pub fn bounds(&self) -> &[u64] {
        &self.bounds
    }

    /// The series of a model and an operation as the app names them, the shared one if there are too many.
    pub fn model(&self, model: &[u8], operation: &[u8]) -> Arc<ModelSeries> {
        let (model, operation) = (label(model), label(operation));
        let mut models = lock(&self.models);
        if let Some(series) = models.get(model).and_then(|operations| operations.get(operation)) {
            return Arc::clone(series);
        }
        let known: usize = models.values().map(BTreeMap::len).sum();
        let (model, operation) = if known < self.max_models { (model, operation) } else { (OTHER, OTHER) };
        Arc::clone(models.entry(model.into()).or_default().entry(operation.into()).or_default())
    }

    /// Counts a line of an interval that the validator kept back.
    pub fn count_invalid_emf_line(&self) {
        self.invalid_emf_lines.fetch_add(1, Ordering::Relaxed);
    }

    /// All that was counted; what is of the process is left out.
    pub fn totals(&self) -> Totals {
        let workers = lock(&self.workers).clone();
        let mut totals = Totals::default();
        totals.process.invalid_emf_lines = self.invalid_emf_lines.load(Ordering::Relaxed);
        for worker in &workers {
            for series in worker.read_routes() {
                totals.routes.entry(Arc::clone(&series.name)).or_default().add(&series.totals());
            }
            for (name, limit) in worker.read_limits() {
                let sum = totals.limits.entry(name).or_default();
                sum.refused += limit.refused;
                sum.shadow_refused += limit.shadow_refused;
            }
            let (traffic, upstream) = (&mut totals.traffic, &mut totals.upstream);
            traffic.connections += worker.connections.get();
            traffic.refused_connections += worker.refused_connections.get();
            traffic.floods += worker.floods.get();
            worker.arrivals.add_to(&mut traffic.arrivals);
            traffic.in_flight += worker.in_flight.get();
            traffic.tunnels += worker.tunnels.get();
            traffic.tunnels_open += worker.tunnels_open.get();
            upstream.connects += worker.connects.get();
            upstream.connect_failures += worker.connect_failures.get();
            upstream.reuses += worker.reuses.get();
            upstream.repeats += worker.repeats.get();
            upstream.idle += worker.idle.get();
            let of_apps = upstream.requests.iter_mut().zip(&worker.apps);
            of_apps.for_each(|(sum, app)| app.add_to(sum));
            totals.process.invalid_emf_lines += worker.invalid_emf_lines.get();
        }
        totals.routes.retain(|_, route| route.count() > 0);
        totals.models = self.read_models();
        totals
    }

    /// Who asked for most in the last five to ten minutes, the `most` greatest by each measure.
    pub fn talkers(&self, now: Tick, most: usize) -> Rankings {
        let workers = lock(&self.workers).clone();
        merge(workers.iter().map(|worker| lock(&worker.noted).rankings(now)).collect(), most)
    }

    /// The last refusals by limits, the newest first; not all, when there are many.
    pub fn refusals(&self) -> Vec<RefusalNote> {
        let workers = lock(&self.workers).clone();
        let mut refusals = Vec::new();
        for worker in &workers {
            refusals.extend(lock(&worker.noted).refusals().cloned());
        }
        refusals.sort_by_key(|refusal| std::cmp::Reverse(refusal.unix_nanos));
        refusals
    }

    /// When each worker last said that it lives.
    pub fn beats(&self) -> Vec<Tick> {
        lock(&self.workers).iter().map(|worker| worker.last_beat()).collect()
    }

    fn read_models(&self) -> BTreeMap<ModelLabels, ModelTotals> {
        let models = lock(&self.models);
        let mut totals = BTreeMap::new();
        for (model, operations) in &*models {
            let model: Arc<str> = (&**model).into();
            for (operation, series) in operations {
                let labels = ModelLabels { model: Arc::clone(&model), operation: (&**operation).into() };
                let requests = series.requests.each_ref().map(|count| count.load(Ordering::Relaxed));
                totals
                    .insert(labels, ModelTotals { tokens: series.tokens.load(Ordering::Relaxed), requests });
            }
        }
        totals
    }
}

/// A value of the app's as a label: short and printable, or none of its own.
fn label(value: &[u8]) -> &str {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~');
    match std::str::from_utf8(value.trim_ascii()) {
        Ok(text) if text.len() <= MAX_LABEL && text.bytes().all(|byte| printable(&byte)) => text,
        _ => OTHER,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::histogram::Histogram;
    use crate::telemetry::record::Outcome;
    use crate::telemetry::series::{Ended, Told};

    fn ended(told: &Told) -> Ended<'_> {
        Ended {
            method: &http::Method::GET,
            status: 200,
            outcome: Outcome::Complete,
            throttled: false,
            shadow_throttled: false,
            bytes_in: 1,
            bytes_out: 2,
            duration_nanos: 3_000_000,
            response_head_nanos: None,
            queue_nanos: None,
            told,
        }
    }

    #[test]
    fn a_million_routes_and_models_have_a_bounded_number_of_labels() {
        let metrics = Metrics { max_routes: 20, max_models: 10, ..Metrics::default() };
        let measurements = Measurements::new(&metrics);
        let worker = measurements.worker();
        let told = Told::default();
        for number in 0..1_000_000u32 {
            measurements.model(format!("m{number}").as_bytes(), b"").count(200, 1);
            worker.route(&format!("r{}", number % 5_000)).count(&ended(&told), &[]);
        }
        let totals = measurements.totals();
        assert_eq!((totals.routes.len(), totals.models.len()), (21, 11));
        assert_eq!(totals.all_routes().count(), 1_000_000);
        assert_eq!(totals.models.values().map(|model| model.tokens).sum::<u64>(), 1_000_000);
        assert!(totals.routes[OTHER].count() > 900_000);
    }

    #[test]
    fn reloads_with_ever_new_names_leave_a_bounded_number_of_series_and_every_sum() {
        let measurements = Measurements::new(&Metrics { max_routes: 20, ..Metrics::default() });
        let worker = measurements.worker();
        let told = Told { timings: [(0, 5)].into_iter().collect(), ..Told::default() };
        let (reloads, mut requests) = (10_000, 0);
        for number in 0..reloads {
            let (route, limit) = (worker.route(&format!("r{number}")), worker.limit(&format!("l{number}")));
            let timings = [route.timing(&format!("t{number}"))];
            let kept = worker.route("kept").timing(&format!("t{number}"));
            // Most names come and go without a request.
            if number % 5 == 0 {
                route.count(&ended(&told), &timings);
                worker.route("kept").count(&ended(&told), &[kept]);
                limit.refused.add(1);
                requests += 1;
            }
        }
        let totals = measurements.totals();
        assert_eq!((totals.routes.len(), totals.limits.len()), (21, 1_001));
        assert_eq!(totals.routes["kept"].timings.len(), 101);
        assert_eq!(
            totals.routes.keys().filter(|name| name.starts_with('r')).count(),
            19,
            "what counts has a name"
        );
        assert_eq!(totals.all_routes().count(), 2 * requests);
        assert_eq!(totals.all_routes().timings.values().map(Histogram::count).sum::<u64>(), 2 * requests);
        assert_eq!(totals.limits.values().map(|limit| limit.refused).sum::<u64>(), requests);
    }

    #[test]
    fn names_that_are_no_labels_are_other() {
        assert_eq!(label(b" gpt-4o "), "gpt-4o");
        assert_eq!(label(b""), "");
        let long = [b'a'; MAX_LABEL + 1];
        for odd in [&b"a b"[..], b"a\nb", "caf\u{e9}".as_bytes(), b"\xff", &long] {
            assert_eq!(label(odd), OTHER);
        }
    }

    #[test]
    fn workers_are_added_up() {
        let measurements = Measurements::new(&Metrics::default());
        let told = Told { cache_hit: Some(true), llm_tokens: Some(5), ..Told::default() };
        for _ in 0..2 {
            let worker = measurements.worker();
            worker.route("a").count(&ended(&told), &[]);
            worker.limit("l").refused.add(2);
            worker.in_flight.add(1);
        }
        let totals = measurements.totals();
        let route = &totals.routes["a"];
        assert_eq!((route.count(), route.cache_hits, route.llm_tokens, route.bytes_out), (2, 2, 10, 4));
        assert_eq!(route.duration.within, [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((totals.limits["l"].refused, totals.traffic.in_flight), (4, 2));
        assert_eq!(measurements.beats().len(), 2);
    }
}
