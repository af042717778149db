//! Whether a route asks the app at all: not for a while, when too many of its requests failed of late.
//!
//! A circuit breaker (M. Nygard, Release It!, 2007): closed, it counts over a sliding window; open, it refuses; half-open,
//! one request tries. An error is a 5xx of the app or a fault on the way to it; a 4xx and a client that leaves are none.
//!
//! Invariant: at most one trial is under way, and only a trial of the present opening closes it. A permit that is dropped
//! says nothing, and lets the next one try.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Tick;
use crate::message::handling::BreakerRule;
use crate::message::local_reply::RetryAfter;
use crate::message::routes::Route;

/// Parts of the sliding window; it slides by one at a time.
const SLICES: usize = 10;
/// For those who come while another one tries.
const WHILE_TRIED: RetryAfter = RetryAfter { seconds: 1 };

/// What was counted in a part of the window.
#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    requests: u32,
    errors: u32,
}

#[derive(Debug, Clone)]
enum Phase {
    Closed { slices: [Slice; SLICES], newest: u64 },
    Open { until: Tick },
    HalfOpen { is_tried: bool },
}

/// A turn of a breaker, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Opened { requests: u32, errors: u32 },
    StaysOpen,
    Closed,
}

/// The state, pure.
#[derive(Debug)]
struct Circuit {
    rule: BreakerRule,
    phase: Phase,
    /// Counts openings and closings; what belongs to an earlier one does not count.
    era: u64,
}

/// Who may ask the app, as the state knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pass {
    era: u64,
    is_trial: bool,
}

impl Circuit {
    fn new(rule: BreakerRule) -> Circuit {
        Circuit { rule, phase: Phase::Closed { slices: Default::default(), newest: 0 }, era: 0 }
    }

    fn ask(&mut self, now: Tick) -> Result<Pass, RetryAfter> {
        let is_trial = match &mut self.phase {
            Phase::Closed { .. } => false,
            Phase::Open { until } if now < *until => {
                return Err(RetryAfter { seconds: until.nanos_since(now).div_ceil(1_000_000_000).max(1) });
            }
            Phase::HalfOpen { is_tried: true } => return Err(WHILE_TRIED),
            Phase::Open { .. } | Phase::HalfOpen { is_tried: false } => {
                self.phase = Phase::HalfOpen { is_tried: true };
                true
            }
        };
        Ok(Pass { era: self.era, is_trial })
    }

    fn told(&mut self, pass: Pass, is_error: bool, now: Tick) -> Option<Turn> {
        if pass.era != self.era {
            return None;
        }
        if pass.is_trial {
            self.era += 1;
            return Some(match is_error {
                true => {
                    self.phase = Phase::Open { until: now + self.rule.open_for };
                    Turn::StaysOpen
                }
                false => {
                    self.phase = Phase::Closed { slices: Default::default(), newest: self.slice_of(now) };
                    Turn::Closed
                }
            });
        }
        let slice = self.slice_of(now);
        let Phase::Closed { slices, newest } = &mut self.phase else { return None };
        // Clocks of workers may be a little apart: what is late belongs to the newest.
        let passed = slice.saturating_sub(*newest).min(SLICES as u64);
        for step in 1..=passed {
            slices[((*newest + step) % SLICES as u64) as usize] = Slice::default();
        }
        if passed == SLICES as u64 {
            *slices = Default::default();
        }
        *newest = slice.max(*newest);
        let own = &mut slices[(*newest % SLICES as u64) as usize];
        own.requests = own.requests.saturating_add(1);
        own.errors = own.errors.saturating_add(u32::from(is_error));
        let sum = |of: fn(&Slice) -> u32| slices.iter().map(of).fold(0, u32::saturating_add);
        let (requests, errors) = (sum(|slice| slice.requests), sum(|slice| slice.errors));
        let is_too_many =
            u64::from(errors) * 100 >= u64::from(self.rule.errors_percent) * u64::from(requests);
        if !is_error || requests < self.rule.at_least || !is_too_many {
            return None;
        }
        self.phase = Phase::Open { until: now + self.rule.open_for };
        self.era += 1;
        Some(Turn::Opened { requests, errors })
    }

    fn dropped(&mut self, pass: Pass) {
        if pass.is_trial && pass.era == self.era {
            self.phase = Phase::HalfOpen { is_tried: false };
        }
    }

    fn slice_of(&self, now: Tick) -> u64 {
        let width = self.rule.over.max(Duration::from_nanos(SLICES as u64)) / SLICES as u32;
        now.0 / u64::try_from(width.as_nanos()).unwrap_or(u64::MAX).max(1)
    }
}

/// The breaker of one route, shared by all workers.
#[derive(Debug)]
pub struct Breaker {
    route: Arc<str>,
    circuit: Mutex<Circuit>,
}

/// How a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stance {
    /// Requests pass.
    Closed,
    /// They are refused.
    Open,
    /// One is let through to try, the others are refused.
    HalfOpen,
}

impl Breaker {
    /// A closed one.
    pub fn new(route: Arc<str>, rule: BreakerRule) -> Arc<Breaker> {
        Arc::new(Breaker { route, circuit: Mutex::new(Circuit::new(rule)) })
    }

    /// Whether the app may be asked, or when it is worth to come again.
    pub fn ask(self: &Arc<Breaker>, now: Tick) -> Result<Permit, RetryAfter> {
        let pass = self.lock().ask(now)?;
        Ok(Permit { breaker: Arc::clone(self), pass: Some(pass) })
    }

    /// How it stands.
    pub fn stance(&self) -> Stance {
        match self.lock().phase {
            Phase::Closed { .. } => Stance::Closed,
            Phase::Open { .. } => Stance::Open,
            Phase::HalfOpen { .. } => Stance::HalfOpen,
        }
    }

    fn told(&self, pass: Pass, is_error: bool, now: Tick) {
        let (turn, open_for) = {
            let mut circuit = self.lock();
            (circuit.told(pass, is_error, now), circuit.rule.open_for)
        };
        let route = &*self.route;
        match turn {
            None => {}
            Some(Turn::Opened { requests, errors }) => {
                tracing::warn!(route, requests, errors, ?open_for, "breaker opens, the app is not asked");
            }
            Some(Turn::StaysOpen) => tracing::warn!(route, ?open_for, "breaker stays open, a trial failed"),
            Some(Turn::Closed) => tracing::info!(route, "breaker closes, a trial succeeded"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to ask the app once. Dropped without a word it counts as nothing.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    breaker: Arc<Breaker>,
    pass: Option<Pass>,
}

impl Permit {
    /// The app answered, and not with 5xx.
    pub fn succeeded(mut self, now: Tick) {
        if let Some(pass) = self.pass.take() {
            self.breaker.told(pass, false, now);
        }
    }

    /// The app answered with 5xx, or did not.
    pub fn failed(mut self, now: Tick) {
        if let Some(pass) = self.pass.take() {
            self.breaker.told(pass, true, now);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take()
            && pass.is_trial
        {
            self.breaker.lock().dropped(pass);
        }
    }
}

/// All breakers of a configuration, by the names of their routes.
#[derive(Debug, Clone, Default)]
pub struct Breakers(HashMap<Arc<str>, Arc<Breaker>>);

impl Breakers {
    /// Those of these routes; one whose rule is as it was `before` goes on as it is.
    pub fn new(routes: &[Arc<Route>], before: Option<&Breakers>) -> Breakers {
        let of = |route: &Arc<Route>| {
            let rule = route.handling.breaker?;
            let known = before.and_then(|before| before.of(&route.name));
            let breaker = match known.filter(|known| known.lock().rule == rule) {
                Some(known) => Arc::clone(known),
                None => Breaker::new(Arc::clone(&route.name), rule),
            };
            Some((Arc::clone(&route.name), breaker))
        };
        Breakers(routes.iter().filter_map(of).collect())
    }

    /// The breaker of a route, if it has one.
    pub fn of(&self, route: &str) -> Option<&Arc<Breaker>> {
        self.0.get(route)
    }

    /// Each with its route, in no order.
    pub fn each(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Breaker>)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests;
