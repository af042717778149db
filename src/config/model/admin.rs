//! `[admin]` and `[alerts]`: what operators ask, and what they are told unasked.

use std::time::Duration;

use super::ListenAddress;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Keeps a text.
    pub fn new(text: &str) -> Secret {
        Secret(text.into())
    }

    /// The text, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// At least one.
    pub addresses: Vec<ListenAddress>,
    /// What callers must show; there is one if an address is not of the loopback and no Unix socket.
    pub token: Option<Secret>,
    /// Path at which the traffic listener answers whether the process lives; normalized.
    pub live_path: Option<String>,
    /// Path at which the traffic listener answers whether it is ready; normalized.
    pub ready_path: Option<String>,
}

/// `[alerts]`
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Alerts {
    /// The URL of Slack's incoming webhook.
    pub slack: Option<Secret>,
    /// A URL that gets each alert as JSON.
    pub webhook: Option<Secret>,
    /// Checked every second; their names are unique.
    pub rules: Vec<AlertRule>,
}

/// `[[alerts.rules]]`
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRule {
    /// In messages.
    pub name: String,
    /// What must be so.
    pub when: Condition,
    /// The route it looks at; all of them if there is none.
    pub route: Option<String>,
    /// The window that is measured; 10 s to 1 h.
    pub over: Duration,
    /// How long it must be so before somebody is told; 0 for at once.
    pub hold: Duration,
    /// How long nobody is told of it again while it stays so.
    pub cooldown: Duration,
    /// Fewer requests in the window are no reason to tell anybody; for rates and latencies.
    pub min_requests: u64,
}

/// `when = "error_rate > 0.05"`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition {
    /// What is measured.
    pub measure: AlertMeasure,
    /// On which side of the threshold it is so.
    pub side: Side,
    /// A share from 0 to 1 for rates, seconds for latencies, a number for the rest. Of `UpstreamDown` 0.5: it is 1
    /// while the app is down, else 0.
    pub threshold: f64,
}

/// What a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertMeasure {
    /// Share of 5xx among requests.
    ErrorRate,
    /// Share of refusals by limits among requests.
    ThrottledRate,
    /// Seconds that 50% of requests took at most.
    P50,
    /// Seconds that 95% of requests took at most.
    P95,
    /// Seconds that 99% of requests took at most.
    P99,
    /// Requests a second.
    RequestRate,
    /// Whether the app is down.
    UpstreamDown,
    /// Lines that sinks dropped.
    SinkDrops,
    /// The largest share of a calendar quota that one caller has used up.
    QuotaUsed,
}

/// On which side of the threshold a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// `>`
    Above,
    /// `<`
    Below,
}
