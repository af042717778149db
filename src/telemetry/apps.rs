//! What is counted and told of the app and its canary: their requests, their slots and queues, what is buffered for
//! their clients, and the breakers of routes.
//!
//! Invariant: plain data and counters of one writer; whoever holds slots, buffers and breakers fills it in when it is
//! read.

use std::sync::Arc;

use super::series::Counter;
use super::totals::CLASSES;

/// The app and the canary, as labels have them.
pub const APPS: [&str; 2] = ["main", "canary"];
/// Why the queue refuses, as labels have it: it was full, `queue.timeout` passed, or a more urgent request needed the
/// place.
pub const QUEUE_REFUSALS: [&str; 3] = ["full", "timeout", "shed"];

/// What a worker counts of the app, or of the canary.
#[derive(Debug, Default)]
pub struct AppSeries {
    requests: [Counter; CLASSES.len()],
}

impl AppSeries {
    /// Counts a request that was sent to it, by the status its client was told.
    pub fn count(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.requests[class].add(1);
    }

    /// By [`CLASSES`].
    pub(super) fn requests(&self) -> [u64; CLASSES.len()] {
        self.requests.each_ref().map(Counter::get)
    }
}

/// What a worker counts of its requests that the queue refused.
#[derive(Debug, Default)]
pub struct QueueSeries {
    /// There was no place in the queue.
    pub full: Counter,
    /// It waited for `queue.timeout`.
    pub timed_out: Counter,
    /// It waited, and a more urgent one needed its place.
    pub shed: Counter,
}

impl QueueSeries {
    /// By [`QUEUE_REFUSALS`].
    pub(super) fn refusals(&self) -> [u64; QUEUE_REFUSALS.len()] {
        [&self.full, &self.timed_out, &self.shed].map(Counter::get)
    }
}

/// The app or the canary, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppTotals {
    /// One of [`APPS`].
    pub name: &'static str,
    /// Where it listens, as records have it.
    pub address: Arc<str>,
    /// Its condition.
    pub state: AppState,
    /// Requests it has.
    pub in_flight: u64,
    /// Requests that wait for it.
    pub waiting: u64,
    /// The most it may have, now; `None` for any number.
    pub max_in_flight: Option<u32>,
    /// Whether that number finds itself.
    pub is_auto: bool,
    /// The most that may wait.
    pub queue_size: u64,
}

/// The condition of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppState {
    /// It answers.
    Up,
    /// It refused a connection: requests wait while it is tried.
    Suspect,
    /// It gets no request.
    Down,
    /// It was not tried yet.
    Unknown,
}

impl AppState {
    /// As mouths tell it.
    pub fn as_str(self) -> &'static str {
        match self {
            AppState::Up => "up",
            AppState::Suspect => "suspect",
            AppState::Down => "down",
            AppState::Unknown => "unknown",
        }
    }

    /// Whether it takes requests; `None` if it was not tried yet.
    pub fn is_up(self) -> Option<bool> {
        match self {
            AppState::Up => Some(true),
            AppState::Suspect | AppState::Down => Some(false),
            AppState::Unknown => None,
        }
    }
}

/// Bodies that are kept for slow clients, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BufferTotals {
    /// In memory.
    pub used: u64,
    /// The most there may be in memory.
    pub max: u64,
    /// In files.
    pub spilled: u64,
    /// The most there may be in files; 0 where nothing goes to files.
    pub spill_max: u64,
}

/// The breaker of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests pass.
    Closed,
    /// Requests are refused.
    Open,
    /// One request is let through to try; others are refused.
    HalfOpen,
}

impl BreakerState {
    /// As mouths tell it.
    pub fn as_str(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }

    /// Whether it refuses requests.
    pub fn is_open(self) -> bool {
        !matches!(self, BreakerState::Closed)
    }
}
