//! What a route says of how its requests are handled on their way to the app and back.

use std::time::Duration;

/// Who is served first while requests wait for the app; the later is the less urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Before all others.
    High,
    /// As most.
    Normal,
    /// When nobody else waits; the first to be refused when the queue is full.
    Low,
}

impl Priority {
    /// All of them, the most urgent first.
    pub const ALL: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Priority::High => "high",
            Priority::Normal => "normal",
            Priority::Low => "low",
        }
    }
}

/// What happens at the app when the client of a request leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDisconnect {
    /// The connection to the app ends with the client's.
    Abort,
    /// The app's answer is read to its end and dropped, so that what it did is accounted for.
    Finish,
}

/// What goes to a file when it is too large for memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spill {
    /// Bodies of requests; else they are streamed to the app.
    pub requests: bool,
    /// Answers; else the app waits for the client.
    pub responses: bool,
}

/// When a route stops asking the app, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRule {
    /// Share of errors, in percent, from which on it opens; 1 to 100.
    pub errors_percent: u32,
    /// Looked at over this long.
    pub over: Duration,
    /// Not opened by fewer requests than that.
    pub at_least: u32,
    /// Until one request is let through to try.
    pub open_for: Duration,
}

/// How the requests of a route are handled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Handling {
    /// If the route says; it goes before the tier's.
    pub priority: Option<Priority>,
    /// Nothing is buffered, either way.
    pub stream: bool,
    /// What goes to a file.
    pub spill: Spill,
    /// If the route says; else the app is let go only where that frees something.
    pub on_disconnect: Option<OnDisconnect>,
    /// If there is one.
    pub breaker: Option<BreakerRule>,
}
