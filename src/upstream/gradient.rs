//! How many requests the app can have at a time before they only wait inside it, found from how long they take.
//!
//! The gradient algorithm of Netflix's concurrency-limits (`Gradient2Limit`) and of Envoy's adaptive concurrency filter: the
//! least latency seen is what a request takes that does not wait; while requests take about as long, the limit grows, and
//! when they take longer it shrinks by as much. As in Envoy, the least is measured anew now and then at a smaller limit,
//! else a constant crowd would be taken for normal.
//!
//! Pure: windows and the time are arguments, chance is a seed. Invariant: the limit is within its bounds, always.

use std::time::Duration;

use crate::clock::Tick;

/// The shortest window that is judged, and the fewest requests in it.
const WINDOW: Duration = Duration::from_millis(250);
const ENOUGH: u64 = 10;
/// What is still as fast as the least.
const TOLERANCE: f64 = 1.1;
/// The limit shrinks to no less than this share at a time.
const STEEPEST: f64 = 0.5;
/// What is left of the limit when requests timed out.
const AFTER_FAILURES: f64 = 0.9;
/// Between two measurements of the least latency, and up to so much more.
const MEASURE_EVERY: Duration = Duration::from_secs(30);
const MEASURE_JITTER: Duration = Duration::from_secs(6);
/// The longest measurement, and the longest wait until there are few enough requests for it.
const LONGEST_MEASUREMENT: Duration = Duration::from_secs(3);
/// A measurement of fewer requests tells nothing.
const ENOUGH_MEASURED: u64 = 3;

/// What the requests of a window did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// That were answered.
    pub answered: u64,
    /// What all of them took together, to the head of the answer.
    pub sum_nanos: u64,
    /// That timed out, or found no connection.
    pub failed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// Judging windows.
    Searching,
    /// Waiting until there are few enough requests in the app, at the latest until then.
    Emptying(Tick),
    /// Measuring the least latency, at the latest until then.
    Measuring(Tick),
}

/// The search for one app's limit.
#[derive(Debug)]
pub struct Gradient {
    floor: u32,
    ceiling: u32,
    limit: f64,
    least_nanos: Option<f64>,
    window_began: Tick,
    tally: Tally,
    phase: Phase,
    next_measurement: Tick,
    random: fastrand::Rng,
}

impl Gradient {
    /// Begins at `limit`, which is brought within the bounds.
    pub fn new(floor: u32, ceiling: u32, limit: u32, seed: u64, now: Tick) -> Gradient {
        let mut gradient = Gradient {
            floor,
            ceiling: ceiling.max(floor),
            limit: f64::from(limit),
            least_nanos: None,
            window_began: now,
            tally: Tally::default(),
            phase: Phase::Searching,
            next_measurement: now,
            random: fastrand::Rng::with_seed(seed),
        };
        gradient.set_limit(f64::from(limit));
        gradient.next_measurement = gradient.later(now);
        gradient
    }

    /// Other bounds from now on.
    pub fn set_bounds(&mut self, floor: u32, ceiling: u32) {
        (self.floor, self.ceiling) = (floor, ceiling.max(floor));
        self.set_limit(self.limit);
    }

    /// How many are let in now.
    pub fn cap(&self) -> u32 {
        let found = (self.limit as u32).clamp(self.floor, self.ceiling);
        match self.phase {
            Phase::Searching => found,
            Phase::Emptying(_) | Phase::Measuring(_) => (found / 2).clamp(self.floor, self.ceiling),
        }
    }

    /// Adds what was seen since the last look; `in_flight` requests are in the app now.
    pub fn look(&mut self, seen: Tally, in_flight: u32, now: Tick) {
        self.tally.answered += seen.answered;
        self.tally.sum_nanos = self.tally.sum_nanos.saturating_add(seen.sum_nanos);
        self.tally.failed += seen.failed;
        match self.phase {
            Phase::Emptying(until) if in_flight <= self.cap() => {
                // Those that were in before were slower; the window begins with the next ones.
                self.begin_window(now);
                self.phase = Phase::Measuring(until);
            }
            Phase::Emptying(until) if until <= now => self.search_on(now),
            Phase::Emptying(_) => {}
            Phase::Measuring(until) => self.measure(until, now),
            Phase::Searching => self.judge(in_flight, now),
        }
    }

    fn measure(&mut self, until: Tick, now: Tick) {
        if until <= now || self.is_whole(now) {
            if self.tally.answered >= ENOUGH_MEASURED {
                self.least_nanos = self.mean();
            }
            self.search_on(now);
        }
    }

    fn judge(&mut self, in_flight: u32, now: Tick) {
        let lasted = now.nanos_since(self.window_began) as f64;
        let has_failures = self.tally.failed > 0 && WINDOW.as_nanos() as f64 <= lasted;
        if !(self.is_whole(now) || has_failures) {
            return;
        }
        // Little's law: what requests took together, in the time of the window.
        let in_use = (self.tally.sum_nanos as f64 / lasted).max(f64::from(in_flight));
        if let Some(mean) = self.mean()
            && self.tally.answered >= ENOUGH
        {
            let least = self.least_nanos.map_or(mean, |least| least.min(mean));
            self.least_nanos = Some(least);
            // A limit that is not reached is neither too low nor too high.
            if in_use >= self.limit / 2.0 {
                let gradient = (TOLERANCE * least / mean).clamp(STEEPEST, 1.0);
                self.set_limit(self.limit * gradient + (self.limit.sqrt() / 2.0).max(1.0));
            }
        }
        if has_failures {
            self.set_limit(self.limit * AFTER_FAILURES);
        }
        self.begin_window(now);
        let is_full = in_use >= self.limit * 0.9;
        if self.next_measurement <= now && is_full && self.cap() / 2 >= self.floor {
            self.phase = Phase::Emptying(now + LONGEST_MEASUREMENT);
        }
    }

    fn search_on(&mut self, now: Tick) {
        self.phase = Phase::Searching;
        self.next_measurement = self.later(now);
        self.begin_window(now);
    }

    fn begin_window(&mut self, now: Tick) {
        (self.window_began, self.tally) = (now, Tally::default());
    }

    fn is_whole(&self, now: Tick) -> bool {
        self.window_began + WINDOW <= now && self.tally.answered >= ENOUGH
    }

    fn mean(&self) -> Option<f64> {
        (self.tally.answered > 0).then(|| self.tally.sum_nanos as f64 / self.tally.answered as f64)
    }

    fn later(&mut self, now: Tick) -> Tick {
        now + MEASURE_EVERY + MEASURE_JITTER.mul_f64(self.random.f64())
    }

    fn set_limit(&mut self, limit: f64) {
        self.limit = limit.clamp(f64::from(self.floor), f64::from(self.ceiling));
    }
}

#[cfg(test)]
mod tests;
