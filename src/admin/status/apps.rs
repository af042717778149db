//! The part of the state that is of the app's slots: who has one, who waits, what is kept for slow clients.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The app or the canary, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppStatus {
    /// `main` or `canary`.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// Its condition.
    pub state: Condition,
    /// Requests it has; `null` without `max_in_flight`, where nobody counts them.
    pub in_flight: Option<u64>,
    /// The most it may have, now; `null` for any number.
    pub max_in_flight: Option<u32>,
    /// Whether that number finds itself.
    pub auto: bool,
    /// Requests that wait for it.
    pub waiting: u64,
    /// The most that may wait.
    pub queue_size: u64,
    /// Requests that were sent to it since the start.
    pub requests: u64,
    /// Those among them that ended with a 5xx.
    pub errors: u64,
}

/// The condition of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It answers.
    Up,
    /// It refused a connection: requests wait while it is tried.
    Suspect,
    /// It gets no request.
    Down,
    /// It was not tried yet.
    Unknown,
}

impl Condition {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Condition::Up => "up",
            Condition::Suspect => "suspect",
            Condition::Down => "down",
            Condition::Unknown => "unknown",
        }
    }
}

/// Requests that waited for a slot, since the app has the address it has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueStatus {
    /// That had to wait.
    pub queued: u64,
    /// Refused because the queue was full.
    pub full: u64,
    /// Refused because they waited for `queue.timeout`.
    pub timed_out: u64,
    /// Refused because a more urgent request needed the place.
    pub shed: u64,
}

/// Bodies that are kept for slow clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BufferStatus {
    /// Bytes in memory.
    pub used_bytes: u64,
    /// The most there may be in memory.
    pub max_bytes: u64,
    /// Bytes in files.
    pub spilled_bytes: u64,
    /// The most there may be in files; 0 where nothing goes to files.
    pub max_spilled_bytes: u64,
}

/// The breaker of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BreakerStatus {
    /// The route's name.
    pub route: String,
    /// What it does.
    pub state: Breaker,
}

/// What a breaker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Breaker {
    /// Requests pass.
    Closed,
    /// Requests are refused.
    Open,
    /// One request is let through to try; others are refused.
    HalfOpen,
}
