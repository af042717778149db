//! What one rule sees: a measure over the last `over`, as differences of what was counted since the start.
//!
//! Invariant: at most [`SAMPLES`] earlier states are kept, however long the window is, so that a window is longer
//! than `over` by a 58th of it at most, or by the time between two looks. Until `over` has passed, it begins with
//! the first look.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::evaluation::Signs;
use crate::clock::Tick;
use crate::config::model::admin::{AlertMeasure, AlertRule};
use crate::telemetry::histogram::Histogram;
use crate::telemetry::totals::{RouteTotals, Totals};

/// The most earlier states a rule keeps.
pub const SAMPLES: usize = 60;
/// Of them, one lies before the window, and one may be just at its begin.
const STEPS: u32 = SAMPLES as u32 - 2;

/// What a look at a measure gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// A number that can be compared with a threshold.
    Value {
        /// In the unit of thresholds.
        value: f64,
        /// What it belongs to, for people: the limit of a quota.
        of: Option<Arc<str>>,
    },
    /// There is too little to tell, which is no reason to tell anybody.
    TooFew {
        /// Requests there were.
        requests: u64,
    },
    /// Nobody knows yet; what was so before is taken to be so.
    Unknown,
}

/// A measure's counters at an instant.
#[derive(Debug, Clone)]
enum Counters {
    /// Requests, and those among them that the rule is about.
    Share { requests: u64, part: u64 },
    /// Durations of requests.
    Durations(Histogram),
    /// Something that happened so often.
    Count(u64),
    /// Measures that have no window.
    Nothing,
}

/// The window of a rule.
#[derive(Debug)]
pub struct Window {
    over: Duration,
    /// Ascending; of those before the window only the last.
    earlier: VecDeque<(Tick, Counters)>,
}

impl Window {
    /// A window that begins with the first look.
    pub fn new(over: Duration) -> Window {
        Window { over, earlier: VecDeque::new() }
    }

    /// Looks at the rule's measure, and remembers what it saw. `now` does not go backwards.
    pub fn look(&mut self, rule: &AlertRule, now: Tick, totals: &Totals, signs: &Signs) -> Reading {
        match rule.when.measure {
            AlertMeasure::UpstreamDown => match signs.upstream_up {
                Some(up) => value(if up { 0.0 } else { 1.0 }),
                None => Reading::Unknown,
            },
            AlertMeasure::QuotaUsed => match &signs.quota_used {
                Some(used) => Reading::Value { value: used.share, of: Some(Arc::clone(&used.limit)) },
                None => Reading::TooFew { requests: 0 },
            },
            measure => {
                let counters = counters(measure, rule.route.as_deref(), totals);
                let reading = self.since_begin(rule, now, &counters);
                self.remember(now, counters);
                reading
            }
        }
    }

    /// Earlier states that are kept.
    pub fn samples(&self) -> usize {
        self.earlier.len()
    }

    fn since_begin(&mut self, rule: &AlertRule, now: Tick, counters: &Counters) -> Reading {
        while self.earlier.get(1).is_some_and(|(at, _)| *at + self.over <= now) {
            self.earlier.pop_front();
        }
        let (begin, before) = self.earlier.front().map_or((now, counters), |(at, before)| (*at, before));
        let elapsed = Duration::from_nanos(now.nanos_since(begin));
        reading(rule, counters, before, elapsed)
    }

    fn remember(&mut self, now: Tick, counters: Counters) {
        let step = self.over / STEPS;
        if self.earlier.back().is_none_or(|(last, _)| *last + step <= now) {
            self.earlier.push_back((now, counters));
        }
    }
}

fn value(value: f64) -> Reading {
    Reading::Value { value, of: None }
}

/// What is counted since the start.
fn counters(measure: AlertMeasure, route: Option<&str>, totals: &Totals) -> Counters {
    let routes = || {
        totals
            .routes
            .iter()
            .filter(move |(name, _)| route.is_none_or(|route| ***name == *route))
            .map(|(_, r)| r)
    };
    let requests = || routes().map(RouteTotals::count).sum();
    match measure {
        AlertMeasure::ErrorRate => {
            Counters::Share { requests: requests(), part: routes().map(RouteTotals::errors).sum() }
        }
        AlertMeasure::ThrottledRate => {
            Counters::Share { requests: requests(), part: routes().map(|route| route.throttled).sum() }
        }
        AlertMeasure::P50 | AlertMeasure::P95 | AlertMeasure::P99 => {
            let mut all = Histogram::default();
            routes().for_each(|route| all.add(&route.duration));
            Counters::Durations(all)
        }
        AlertMeasure::RequestRate => Counters::Count(requests()),
        AlertMeasure::SinkDrops => Counters::Count(totals.process.dropped_lines.values().sum()),
        AlertMeasure::UpstreamDown | AlertMeasure::QuotaUsed => Counters::Nothing,
    }
}

fn reading(rule: &AlertRule, now: &Counters, before: &Counters, elapsed: Duration) -> Reading {
    // No share and no percentile is there without a request.
    let enough = rule.min_requests.max(1);
    match (now, before) {
        (Counters::Share { requests, part }, Counters::Share { requests: r, part: p }) => {
            let (requests, part) = (requests.saturating_sub(*r), part.saturating_sub(*p));
            if requests < enough {
                Reading::TooFew { requests }
            } else {
                value(part as f64 / requests as f64)
            }
        }
        (Counters::Durations(now), Counters::Durations(before)) => {
            let new = now.since(before);
            let requests = new.count();
            match new.quantile(share(rule.when.measure)) {
                Some(nanos) if requests >= enough => value(Duration::from_nanos(nanos).as_secs_f64()),
                _ => Reading::TooFew { requests },
            }
        }
        (Counters::Count(now), Counters::Count(before)) => {
            let new = now.saturating_sub(*before);
            match rule.when.measure {
                AlertMeasure::RequestRate if elapsed < rule.over => Reading::TooFew { requests: new },
                AlertMeasure::RequestRate => value(new as f64 / elapsed.as_secs_f64()),
                _ => value(new as f64),
            }
        }
        _ => Reading::Unknown,
    }
}

/// The share of requests that a percentile is about.
fn share(measure: AlertMeasure) -> f64 {
    match measure {
        AlertMeasure::P50 => 0.5,
        AlertMeasure::P95 => 0.95,
        _ => 0.99,
    }
}

#[cfg(test)]
mod tests;
