//! Latencies of the last minute: what was counted now, less what was counted a minute ago.
//!
//! Invariant: at most [`KEPT`] states are kept, whatever is asked and however often.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Tick;
use crate::telemetry::histogram::Histogram;
use crate::telemetry::totals::{RouteTotals, Totals};

use super::status::Latency;

/// How often a state is kept.
pub(super) const EVERY: Duration = Duration::from_secs(10);
/// States: those of a minute, and the one before them.
const KEPT: usize = 7;

/// States of the last minute, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Minute(VecDeque<(Tick, BTreeMap<Arc<str>, Durations>)>);

#[derive(Debug)]
struct Durations {
    whole: Histogram,
    upstream: Histogram,
    queue: Histogram,
}

/// Of a route in the last minute; each `None` if there was nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Latencies {
    /// From head to last byte.
    pub(super) whole: Option<Latency>,
    /// Of the app.
    pub(super) upstream: Option<Latency>,
    /// Of those that waited for a slot of the app.
    pub(super) queue: Option<Latency>,
}

impl Minute {
    /// Keeps a state.
    pub(super) fn keep(&mut self, totals: &Totals, now: Tick) {
        let durations = |route: &RouteTotals| Durations {
            whole: route.duration.clone(),
            upstream: route.upstream.clone(),
            queue: route.queue.clone(),
        };
        let routes = totals.routes.iter().map(|(name, route)| (Arc::clone(name), durations(route))).collect();
        self.0.push_back((now, routes));
        while self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// Of a route.
    pub(super) fn latencies(&self, name: &str, route: &RouteTotals, now: Tick) -> Latencies {
        // The youngest that is a minute old; before there is one, everything is of the last minute.
        let minute = EVERY * (KEPT as u32 - 1);
        let before = self.0.iter().rev().find(|(at, _)| *at + minute <= now);
        match before.and_then(|(_, routes)| routes.get(name)) {
            Some(before) => Latencies {
                whole: latency(&route.duration.since(&before.whole)),
                upstream: latency(&route.upstream.since(&before.upstream)),
                queue: latency(&route.queue.since(&before.queue)),
            },
            None => Latencies {
                whole: latency(&route.duration),
                upstream: latency(&route.upstream),
                queue: latency(&route.queue),
            },
        }
    }
}

fn latency(durations: &Histogram) -> Option<Latency> {
    let millis = |share| durations.quantile(share).map(|nanos| nanos as f64 / 1e6);
    Some(Latency { p50_ms: millis(0.5)?, p95_ms: millis(0.95)?, p99_ms: millis(0.99)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;
    const SECOND: u64 = 1_000 * MILLI;

    #[test]
    fn what_is_older_than_a_minute_does_not_count() {
        let mut totals = Totals::default();
        let name: Arc<str> = "a".into();
        let mut minute = Minute::default();
        let slow = totals.routes.entry(Arc::clone(&name)).or_default();
        (0..100).for_each(|_| slow.duration.record(900 * MILLI));
        for tens in 0..=5 {
            minute.keep(&totals, Tick(tens * 10 * SECOND));
        }
        let p50 = |minute: &Minute, totals: &Totals, seconds: u64| {
            minute
                .latencies("a", &totals.routes["a"], Tick(seconds * SECOND))
                .whole
                .map(|latency| latency.p50_ms)
        };
        assert!(p50(&minute, &totals, 59).unwrap() > 800.0);
        totals.routes.get_mut("a").unwrap().duration.record(10 * MILLI);
        let told = p50(&minute, &totals, 60).unwrap();
        assert!((9.0..11.0).contains(&told), "{told}");
        for tens in 6..=20 {
            minute.keep(&totals, Tick(tens * 10 * SECOND));
        }
        assert_eq!(p50(&minute, &totals, 200), None, "nothing for a minute");
        assert_eq!(minute.0.len(), KEPT);
    }
}
