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

    /// Adds them to sums by [`CLASSES`].
    pub(super) fn add_to(&self, sums: &mut [u64; CLASSES.len()]) {
        sums.iter_mut().zip(&self.requests).for_each(|(sum, count)| *sum += count.get());
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
    /// Requests it has; `None` without a limit, where nobody counts them.
    pub in_flight: Option<u64>,
    /// Requests that wait for it.
    pub waiting: u64,
    /// The most it may have, now; `None` for any number.
    pub max_in_flight: Option<u32>,
    /// Whether that number finds itself.
    pub is_auto: bool,
    /// The most that may wait.
    pub queue_size: u64,
    /// What its queue did since the app has this address.
    pub queue: QueueTotals,
}

/// What a queue did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueTotals {
    /// Requests that had to wait.
    pub queued: u64,
    /// Refused because it was full.
    pub full: u64,
    /// Refused because they waited for `queue.timeout`.
    pub timed_out: u64,
    /// Refused because a more urgent one needed the place.
    pub shed: u64,
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
