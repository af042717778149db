//! What was measured since the start, merged over all workers: plain data that every mouth tells from.
//!
//! Invariant: labels are names of the configuration, or from fixed lists, or capped in number; never a user, a key, a
//! path or a query.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::apps::{APPS, AppTotals, BreakerState, BufferTotals};
use super::arrivals::{HANDSHAKE_FAILURES, PROXY_FAILURES};
use super::histogram::Histogram;

/// Methods that are told apart, the last for all others.
pub const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];
/// Classes of status codes.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// Stands for requests that no route matched. No route can have this name.
pub const NO_ROUTE: &str = "(none)";
/// Stands for everything beyond a cap. No route can have this name.
pub const OTHER: &str = "(other)";

/// Everything.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// By route, with [`NO_ROUTE`] and [`OTHER`] where there was something to count.
    pub routes: BTreeMap<Arc<str>, RouteTotals>,
    /// By limit.
    pub limits: BTreeMap<Arc<str>, LimitTotals>,
    /// By model and operation.
    pub models: BTreeMap<ModelLabels, ModelTotals>,
    /// Connections and exchanges.
    pub traffic: Traffic,
    /// The app's side.
    pub upstream: UpstreamTotals,
    /// The app, then the canary if there is one.
    pub apps: Vec<AppTotals>,
    /// What is kept for slow clients.
    pub buffers: BufferTotals,
    /// By route, of those that have one.
    pub breakers: BTreeMap<Arc<str>, BreakerState>,
    /// When each certificate that clients are shown ends, in seconds since 1970; by its path.
    pub certificates: BTreeMap<Arc<str>, u64>,
    /// The process.
    pub process: ProcessTotals,
}

/// Exchanges of one route that have ended.
#[derive(Debug, Clone, Default)]
pub struct RouteTotals {
    /// By [`METHODS`] and [`CLASSES`].
    pub requests: [[u64; CLASSES.len()]; METHODS.len()],
    /// By outcome, as it stands in records.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Refused by a limit: 429.
    pub throttled: u64,
    /// Limits in shadow mode would have refused.
    pub shadow_throttled: u64,
    /// On the wire, heads included.
    pub bytes_in: u64,
    /// On the wire, heads included.
    pub bytes_out: u64,
    /// From the head to the last byte; tunnels are not among it.
    pub duration: Histogram,
    /// From the request's first byte to the app to the head of its answer.
    pub upstream: Histogram,
    /// For how long they waited for a slot of the app, of those that did.
    pub queue: Histogram,
    /// A cache had the answer.
    pub cache_hits: u64,
    /// It had not.
    pub cache_misses: u64,
    /// `analysis_latency`
    pub analysis: Histogram,
    /// Further entries of `Server-Timing`, by name.
    pub timings: BTreeMap<Arc<str>, Histogram>,
    /// Tokens of language models.
    pub llm_tokens: u64,
}

/// What one limit did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitTotals {
    /// Requests it refused.
    pub refused: u64,
    /// Requests it would have refused, in shadow mode.
    pub shadow_refused: u64,
}

/// What LLM requests are told apart by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelLabels {
    /// Printable ASCII, bounded; empty if the app does not tell.
    pub model: Arc<str>,
    /// As `model`.
    pub operation: Arc<str>,
}

/// What a model did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelTotals {
    /// As the app tells.
    pub tokens: u64,
    /// By [`CLASSES`].
    pub requests: [u64; CLASSES.len()],
}

/// Connections and exchanges of clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Accepted since the start.
    pub connections: u64,
    /// Refused since the start: their address had too many.
    pub refused_connections: u64,
    /// HTTP/2 connections ended for a flood of frames.
    pub floods: u64,
    /// How connections began, where there is something before HTTP.
    pub arrivals: ArrivalTotals,
    /// Open now.
    pub connections_open: u64,
    /// The most that may be open.
    pub max_connections: u64,
    /// Exchanges that have begun and not ended.
    pub in_flight: u64,
    /// WebSockets since the start.
    pub tunnels: u64,
    /// WebSockets now.
    pub tunnels_open: u64,
}

/// TLS handshakes, and headers of the PROXY protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArrivalTotals {
    /// Handshakes with a whole exchange of keys and certificates.
    pub full: u64,
    /// Handshakes that took a session up again.
    pub resumed: u64,
    /// By [`HANDSHAKE_FAILURES`].
    pub failed: [u64; HANDSHAKE_FAILURES.len()],
    /// Connections refused for want of a header, by [`PROXY_FAILURES`].
    pub unheaded: [u64; PROXY_FAILURES.len()],
}

/// The app's side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpstreamTotals {
    /// Connections that were made.
    pub connects: u64,
    /// That could not be made.
    pub connect_failures: u64,
    /// Requests over a connection that had served one before.
    pub reuses: u64,
    /// Requests that were sent again.
    pub repeats: u64,
    /// Idle connections now.
    pub idle: u64,
    /// Requests that were sent to it, by [`APPS`] and [`CLASSES`].
    pub requests: [[u64; CLASSES.len()]; APPS.len()],
}

/// The process.
#[derive(Debug, Clone, Default)]
pub struct ProcessTotals {
    /// Of tollgate.
    pub version: &'static str,
    /// When it started, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Now, milliseconds since 1970.
    pub now_unix_ms: u64,
    /// Threads that serve.
    pub workers: u64,
    /// States of limits that are held.
    pub buckets: u64,
    /// The most that are held.
    pub max_buckets: u64,
    /// States that had to go before they were as good as new.
    pub forced_evictions: u64,
    /// Reloads that were put into force.
    pub reloads: u64,
    /// Reloads that changed nothing because something was wrong.
    pub failed_reloads: u64,
    /// When the last reload was put into force, milliseconds since 1970; 0 if there was none.
    pub reloaded_unix_ms: u64,
    /// Lines that were dropped, by sink: `records`, `emf`.
    pub dropped_lines: BTreeMap<&'static str, u64>,
    /// EMF lines that the validator kept back.
    pub invalid_emf_lines: u64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Processor time, in nanoseconds.
    pub cpu_nanos: u64,
    /// Descriptors that are open.
    pub open_files: u64,
    /// The most that may be open.
    pub max_open_files: u64,
    /// Threads of the process.
    pub threads: u64,
}

impl RouteTotals {
    /// All requests.
    pub fn count(&self) -> u64 {
        self.requests.iter().flatten().sum()
    }

    /// Requests whose status is of a class, by its index in [`CLASSES`].
    pub fn of_class(&self, class: usize) -> u64 {
        self.requests.iter().map(|classes| classes[class]).sum()
    }

    /// 5xx.
    pub fn errors(&self) -> u64 {
        self.of_class(4)
    }

    /// 4xx, refusals by limits among them.
    pub fn client_errors(&self) -> u64 {
        self.of_class(3)
    }

    /// Whether nothing was counted of all that mouths tell.
    fn is_nothing(&self) -> bool {
        let counts = [self.count(), self.bytes_in, self.bytes_out, self.throttled, self.llm_tokens];
        let told = [self.cache_hits, self.cache_misses, self.shadow_throttled];
        let durations = [&self.duration, &self.upstream, &self.queue, &self.analysis];
        counts.into_iter().chain(told).all(|count| count == 0)
            && durations.into_iter().chain(self.timings.values()).all(|durations| durations.count() == 0)
    }

    /// Adds what another worker, or another route, has.
    pub fn add(&mut self, other: &RouteTotals) {
        for (mine, theirs) in self.requests.iter_mut().flatten().zip(other.requests.iter().flatten()) {
            *mine += theirs;
        }
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
        self.throttled += other.throttled;
        self.shadow_throttled += other.shadow_throttled;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.duration.add(&other.duration);
        self.upstream.add(&other.upstream);
        self.queue.add(&other.queue);
        self.cache_hits += other.cache_hits;
        self.cache_misses += other.cache_misses;
        self.analysis.add(&other.analysis);
        for (name, histogram) in &other.timings {
            self.timings.entry(Arc::clone(name)).or_default().add(histogram);
        }
        self.llm_tokens += other.llm_tokens;
    }

    /// What came since an earlier state.
    pub fn since(&self, earlier: &RouteTotals) -> RouteTotals {
        let mut new = self.clone();
        for (now, before) in new.requests.iter_mut().flatten().zip(earlier.requests.iter().flatten()) {
            *now = now.saturating_sub(*before);
        }
        for (outcome, count) in &mut new.outcomes {
            *count = count.saturating_sub(earlier.outcomes.get(outcome).copied().unwrap_or(0));
        }
        new.throttled = self.throttled.saturating_sub(earlier.throttled);
        new.shadow_throttled = self.shadow_throttled.saturating_sub(earlier.shadow_throttled);
        new.bytes_in = self.bytes_in.saturating_sub(earlier.bytes_in);
        new.bytes_out = self.bytes_out.saturating_sub(earlier.bytes_out);
        new.duration = self.duration.since(&earlier.duration);
        new.upstream = self.upstream.since(&earlier.upstream);
        new.queue = self.queue.since(&earlier.queue);
        new.cache_hits = self.cache_hits.saturating_sub(earlier.cache_hits);
        new.cache_misses = self.cache_misses.saturating_sub(earlier.cache_misses);
        new.analysis = self.analysis.since(&earlier.analysis);
        for (name, histogram) in &mut new.timings {
            if let Some(before) = earlier.timings.get(name) {
                *histogram = histogram.since(before);
            }
        }
        new.llm_tokens = self.llm_tokens.saturating_sub(earlier.llm_tokens);
        new
    }
}

impl Totals {
    /// All routes together.
    pub fn all_routes(&self) -> RouteTotals {
        let mut all = RouteTotals::default();
        self.routes.values().for_each(|route| all.add(route));
        all
    }

    /// What the routes did since an earlier state; routes that did nothing since then are left out. What belongs to
    /// one request may lie in two states, one of which has no request: workers count on while they are read.
    pub fn routes_since(&self, earlier: &Totals) -> BTreeMap<Arc<str>, RouteTotals> {
        let nothing = RouteTotals::default();
        let since = |(name, now): (&Arc<str>, &RouteTotals)| {
            let new = now.since(earlier.routes.get(name).unwrap_or(&nothing));
            (!new.is_nothing()).then(|| (Arc::clone(name), new))
        };
        self.routes.iter().filter_map(since).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_between_a_request_and_its_duration_is_in_one_difference_or_the_other() {
        let state = |requests, durations: &[u64]| {
            let mut totals = Totals::default();
            let route = totals.routes.entry("a".into()).or_default();
            route.requests[0][1] = requests;
            durations.iter().for_each(|nanos| route.duration.record(*nanos));
            totals
        };
        let states = [
            state(0, &[]),
            state(1, &[]),
            state(1, &[7]),
            state(1, &[7]),
            state(1, &[7, 9]),
            state(2, &[7, 9]),
        ];
        let (mut requests, mut durations) = (0, 0);
        for pair in states.windows(2) {
            for did in pair[1].routes_since(&pair[0]).values() {
                (requests, durations) = (requests + did.count(), durations + did.duration.count());
            }
        }
        assert_eq!((requests, durations), (2, 2));
        assert!(states[3].routes_since(&states[2]).is_empty());
    }
}
