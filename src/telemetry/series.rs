//! What one worker counts: integers that it alone writes, and that others read while it goes on.
//!
//! Invariant: a counter has one writer, so that counting is a load and a store and never waits. Readers see each
//! counter whole, but not all of them at the same instant.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use http::Method;

use crate::clock::Tick;

use super::apps::{APPS, AppSeries};
use super::arrivals::Arrivals;
use super::histogram::{BUCKETS, Histogram, bucket_of};
use super::record::Outcome;
use super::talkers::Noted;
use super::totals::{CLASSES, LimitTotals, METHODS, NO_ROUTE, OTHER, RouteTotals};

/// Kinds of outcomes a route can have counted; there are fewer.
const MOST_OUTCOMES: usize = 40;
/// Limits that have series of their own, over all reloads.
const MOST_LIMITS: usize = 1_000;
/// Entries of `Server-Timing` that have series of their own at a route, over all reloads.
const MOST_TIMINGS: usize = 100;

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts; only its writer may.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// Takes back; only its writer may.
    pub fn subtract(&self, less: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(less), Ordering::Relaxed);
    }

    /// Replaces; only its writer may.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Series of which each has a name, in bounded number however often a reload brings new names.
#[derive(Debug)]
struct Named<T> {
    series: Mutex<BTreeMap<Arc<str>, Arc<T>>>,
    /// So many have a name of their own.
    most: usize,
}

impl<T> Named<T> {
    fn new(most: usize) -> Named<T> {
        Named { series: Mutex::default(), most }
    }

    /// The series of a name; the shared one if there are too many. What was counted stays, so that no sum ever
    /// becomes less; what no configuration has and nothing was counted in makes room.
    fn get(&self, name: &str, new: impl FnOnce(Arc<str>) -> T, is_unused: impl Fn(&T) -> bool) -> Arc<T> {
        let mut all = self.lock();
        let is_own = |name: &str| !matches!(name, NO_ROUTE | OTHER);
        let is_full =
            |all: &BTreeMap<Arc<str>, Arc<T>>| all.keys().filter(|name| is_own(name)).count() >= self.most;
        let name = if !is_own(name) || all.contains_key(name) || !is_full(&all) {
            name
        } else {
            all.retain(|_, series| Arc::strong_count(series) > 1 || !is_unused(series));
            if is_full(&all) { OTHER } else { name }
        };
        let name: Arc<str> = name.into();
        Arc::clone(all.entry(Arc::clone(&name)).or_insert_with(|| Arc::new(new(name))))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<T>>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A distribution with one writer. Its buckets are there from the first value on.
#[derive(Debug)]
pub struct Distribution {
    bounds: Arc<[u64]>,
    /// Those of [`BUCKETS`], then those of the bounds.
    buckets: OnceLock<Box<[Counter]>>,
    sum_nanos: Counter,
}

impl Distribution {
    /// Nothing counted yet; `bounds` are upper bounds in nanoseconds, ascending.
    pub fn new(bounds: &Arc<[u64]>) -> Distribution {
        Distribution { bounds: Arc::clone(bounds), buckets: OnceLock::new(), sum_nanos: Counter::default() }
    }

    /// Counts a duration.
    pub fn record(&self, nanos: u64) {
        let count = BUCKETS + self.bounds.len();
        let buckets =
            self.buckets.get_or_init(|| std::iter::repeat_with(Counter::default).take(count).collect());
        buckets[bucket_of(nanos)].add(1);
        if let Some(bound) = self.bounds.iter().position(|bound| nanos <= *bound) {
            buckets[BUCKETS + bound].add(1);
        }
        self.sum_nanos.add(nanos);
    }

    fn is_empty(&self) -> bool {
        self.buckets.get().is_none()
    }

    fn read(&self) -> Histogram {
        let Some(buckets) = self.buckets.get() else { return Histogram::default() };
        let read = |counters: &[Counter]| counters.iter().map(Counter::get).collect();
        Histogram::new(read(&buckets[..BUCKETS]), self.sum_nanos.get(), read(&buckets[BUCKETS..]))
    }
}

/// An exchange of a route that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// Of the request.
    pub method: &'a Method,
    /// As sent.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// A limit refused it.
    pub throttled: bool,
    /// A limit in shadow mode would have.
    pub shadow_throttled: bool,
    /// Bytes on the wire.
    pub bytes_in: u64,
    /// Bytes on the wire.
    pub bytes_out: u64,
    /// From the head to the last byte.
    pub duration_nanos: u64,
    /// From the request's first byte to the app to the head of its answer.
    pub response_head_nanos: Option<u64>,
    /// For how long it waited for a slot of the app, if it did.
    pub queue_nanos: Option<u64>,
    /// What the app says of itself.
    pub told: &'a Told,
}

/// What the app says of itself in one answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Whether a cache had the answer.
    pub cache_hit: Option<bool>,
    /// `analysis_latency`
    pub analysis_nanos: Option<u64>,
    /// By index among the further entries of `Server-Timing` that are configured.
    pub timings: smallvec::SmallVec<[(u8, u64); 2]>,
    /// Tokens of a language model.
    pub llm_tokens: Option<u64>,
}

/// What a worker counts of one route.
#[derive(Debug)]
pub struct RouteSeries {
    /// As labels have it.
    pub name: Arc<str>,
    requests: [[Counter; CLASSES.len()]; METHODS.len()],
    outcomes: [(OnceLock<&'static str>, Counter); MOST_OUTCOMES],
    throttled: Counter,
    shadow_throttled: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    duration: Distribution,
    upstream: Distribution,
    queue: Distribution,
    cache_hits: Counter,
    cache_misses: Counter,
    analysis: Distribution,
    timings: Named<Distribution>,
    llm_tokens: Counter,
}

impl RouteSeries {
    /// Of a route; `bounds` are those of `[metrics] buckets`.
    pub fn new(name: Arc<str>, bounds: &Arc<[u64]>) -> RouteSeries {
        RouteSeries {
            name,
            requests: Default::default(),
            outcomes: std::array::from_fn(|_| Default::default()),
            throttled: Counter::default(),
            shadow_throttled: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            duration: Distribution::new(bounds),
            upstream: Distribution::new(bounds),
            queue: Distribution::new(bounds),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            analysis: Distribution::new(bounds),
            timings: Named::new(MOST_TIMINGS),
            llm_tokens: Counter::default(),
        }
    }

    /// The distribution of an entry of `Server-Timing`, the shared one if there are too many.
    pub fn timing(&self, entry: &str) -> Arc<Distribution> {
        self.timings.get(entry, |_| Distribution::new(&self.duration.bounds), Distribution::is_empty)
    }

    /// Counts an exchange; `timings` are the distributions of the entries by their index.
    pub fn count(&self, ended: &Ended<'_>, timings: &[Arc<Distribution>]) {
        let class = usize::from(ended.status / 100).clamp(1, CLASSES.len()) - 1;
        self.requests[index_of_method(ended.method)][class].add(1);
        self.count_outcome(ended.outcome);
        if ended.throttled {
            self.throttled.add(1);
        }
        if ended.shadow_throttled {
            self.shadow_throttled.add(1);
        }
        self.bytes_in.add(ended.bytes_in);
        self.bytes_out.add(ended.bytes_out);
        // A tunnel lives as long as it likes, which says nothing of how fast the app is.
        if ended.status != 101 {
            self.duration.record(ended.duration_nanos);
        }
        if let Some(nanos) = ended.response_head_nanos {
            self.upstream.record(nanos);
        }
        if let Some(nanos) = ended.queue_nanos {
            self.queue.record(nanos);
        }
        self.count_told(ended.told, timings);
    }

    fn count_told(&self, told: &Told, timings: &[Arc<Distribution>]) {
        match told.cache_hit {
            Some(true) => self.cache_hits.add(1),
            Some(false) => self.cache_misses.add(1),
            None => {}
        }
        if let Some(nanos) = told.analysis_nanos {
            self.analysis.record(nanos);
        }
        for (entry, nanos) in &told.timings {
            if let Some(timing) = timings.get(usize::from(*entry)) {
                timing.record(*nanos);
            }
        }
        if let Some(tokens) = told.llm_tokens {
            self.llm_tokens.add(tokens);
        }
    }

    fn count_outcome(&self, outcome: Outcome) {
        let name = outcome.as_str();
        for (place, count) in &self.outcomes {
            if *place.get_or_init(|| name) == name {
                return count.add(1);
            }
        }
    }

    /// The first thing that an exchange counts in.
    fn is_unused(&self) -> bool {
        self.requests.iter().flatten().all(|count| count.get() == 0)
    }

    /// What was counted.
    pub fn totals(&self) -> RouteTotals {
        let timings = self.timings.lock().clone();
        RouteTotals {
            requests: self.requests.each_ref().map(|classes| classes.each_ref().map(Counter::get)),
            outcomes: self
                .outcomes
                .iter()
                .filter_map(|(name, count)| Some((*name.get()?, count.get())))
                .collect(),
            throttled: self.throttled.get(),
            shadow_throttled: self.shadow_throttled.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            duration: self.duration.read(),
            upstream: self.upstream.read(),
            queue: self.queue.read(),
            cache_hits: self.cache_hits.get(),
            cache_misses: self.cache_misses.get(),
            analysis: self.analysis.read(),
            timings: timings.iter().map(|(name, timing)| (Arc::clone(name), timing.read())).collect(),
            llm_tokens: self.llm_tokens.get(),
        }
    }
}

fn index_of_method(method: &Method) -> usize {
    METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1)
}

/// What a worker counts of one limit.
#[derive(Debug, Default)]
pub struct LimitSeries {
    /// Requests it refused.
    pub refused: Counter,
    /// Requests it would have refused.
    pub shadow_refused: Counter,
}

impl LimitSeries {
    fn is_unused(&self) -> bool {
        self.totals() == LimitTotals::default()
    }

    fn totals(&self) -> LimitTotals {
        LimitTotals { refused: self.refused.get(), shadow_refused: self.shadow_refused.get() }
    }
}

/// All that a worker counts.
#[derive(Debug)]
pub struct WorkerSeries {
    bounds: Arc<[u64]>,
    beat: AtomicU64,
    routes: Named<RouteSeries>,
    limits: Named<LimitSeries>,
    /// Connections that were accepted.
    pub connections: Counter,
    /// Connections that were refused: their address had too many.
    pub refused_connections: Counter,
    /// HTTP/2 connections that were ended for a flood of frames.
    pub floods: Counter,
    /// How connections began.
    pub arrivals: Arrivals,
    /// Exchanges that have begun and not ended.
    pub in_flight: Counter,
    /// WebSockets since the start.
    pub tunnels: Counter,
    /// WebSockets now.
    pub tunnels_open: Counter,
    /// Connections to the app that were made.
    pub connects: Counter,
    /// That could not be made.
    pub connect_failures: Counter,
    /// Requests over a connection that had served one before.
    pub reuses: Counter,
    /// Requests that were sent again.
    pub repeats: Counter,
    /// Idle connections to the app now.
    pub idle: Counter,
    /// By [`APPS`].
    pub(super) apps: [AppSeries; APPS.len()],
    /// EMF lines that the validator kept back.
    pub invalid_emf_lines: Counter,
    /// Who asks for most, and who was refused.
    pub noted: Mutex<Noted>,
}

impl WorkerSeries {
    /// Nothing counted yet.
    pub fn new(bounds: Arc<[u64]>, max_routes: usize) -> WorkerSeries {
        WorkerSeries {
            bounds,
            beat: AtomicU64::new(0),
            routes: Named::new(max_routes),
            limits: Named::new(MOST_LIMITS),
            connections: Counter::default(),
            refused_connections: Counter::default(),
            floods: Counter::default(),
            arrivals: Arrivals::default(),
            in_flight: Counter::default(),
            tunnels: Counter::default(),
            tunnels_open: Counter::default(),
            connects: Counter::default(),
            connect_failures: Counter::default(),
            reuses: Counter::default(),
            repeats: Counter::default(),
            idle: Counter::default(),
            apps: Default::default(),
            invalid_emf_lines: Counter::default(),
            noted: Mutex::default(),
        }
    }

    /// The series of a route, the shared one if there are too many.
    pub fn route(&self, name: &str) -> Arc<RouteSeries> {
        self.routes.get(name, |name| RouteSeries::new(name, &self.bounds), RouteSeries::is_unused)
    }

    /// The series of the app by its name, one of [`APPS`].
    pub fn app(&self, name: &str) -> &AppSeries {
        &self.apps[APPS.iter().position(|known| *known == name).unwrap_or(0)]
    }

    /// The series of a limit, the shared one if there are too many.
    pub fn limit(&self, name: &str) -> Arc<LimitSeries> {
        self.limits.get(name, |_| LimitSeries::default(), LimitSeries::is_unused)
    }

    /// The worker lives.
    pub fn beat(&self, now: Tick) {
        self.beat.store(now.0, Ordering::Relaxed);
    }

    /// When it last said that it lives.
    pub fn last_beat(&self) -> Tick {
        Tick(self.beat.load(Ordering::Relaxed))
    }

    pub(super) fn read_routes(&self) -> Vec<Arc<RouteSeries>> {
        self.routes.lock().values().cloned().collect()
    }

    pub(super) fn read_limits(&self) -> Vec<(Arc<str>, LimitTotals)> {
        self.limits.lock().iter().map(|(name, series)| (Arc::clone(name), series.totals())).collect()
    }
}
