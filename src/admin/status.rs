//! What `/status` tells, as data: the live page, `tollgate top` and scripts read nothing else.
//!
//! Invariant: nothing here holds a secret; callers are named as records name them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod apps;

pub use apps::*;

/// The state of a running tollgate.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Of tollgate.
    pub version: String,
    /// When this was told, milliseconds since 1970.
    pub now_ms: u64,
    /// When the process started, milliseconds since 1970.
    pub started_ms: u64,
    /// Whether it accepts requests, or finishes what has begun.
    pub state: State,
    /// Whether it is ready to serve, as `/readyz` says.
    pub ready: bool,
    /// Threads that serve.
    pub workers: u64,
    /// Counts since the start, over all routes.
    pub traffic: TrafficStatus,
    /// Counts since the start, and latencies of the last minute, by route; the busiest first.
    pub routes: Vec<RouteStatus>,
    /// Limits, in the order of their names.
    pub limits: Vec<LimitStatus>,
    /// Who asks for most.
    pub talkers: Talkers,
    /// The last refusals by limits, the newest first; not all, when there are many.
    pub refusals: Vec<Refusal>,
    /// The app.
    pub upstream: UpstreamStatus,
    /// The app's slots, then those of the canary if there is one.
    pub apps: Vec<AppStatus>,
    /// Requests that waited for a slot.
    pub queue: QueueStatus,
    /// What is kept for slow clients.
    pub buffers: BufferStatus,
    /// Breakers of routes, in the order of the routes' names.
    pub breakers: Vec<BreakerStatus>,
    /// Reloads of the configuration.
    pub reloads: ReloadStatus,
    /// Where lines go.
    pub sinks: Vec<SinkStatus>,
    /// States of limits.
    pub buckets: BucketStatus,
    /// Limits that are lifted for now.
    pub lifts: Vec<Lift>,
    /// Callers that are blocked for now.
    pub blocks: Vec<Block>,
    /// The process.
    pub process: ProcessStatus,
    /// The configuration in force, as `tollgate check --print` writes it, without secrets. Not in events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
}

/// What the process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Accepting and serving.
    Serving,
    /// Finishing what has begun.
    Draining,
}

/// Counts over all routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrafficStatus {
    /// Exchanges that have ended.
    pub requests: u64,
    /// 5xx among them.
    pub errors: u64,
    /// 4xx among them, refusals by limits included.
    pub client_errors: u64,
    /// Refused by limits.
    pub throttled: u64,
    /// Limits in shadow mode would have refused.
    pub shadow_throttled: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Exchanges that have begun and not ended.
    pub in_flight: u64,
    /// Open connections of clients.
    pub connections: u64,
    /// Connections that were refused since the start: their address had too many.
    #[serde(default)]
    pub refused_connections: u64,
    /// HTTP/2 connections that were ended since the start: the client sent a flood of frames.
    #[serde(default)]
    pub http2_floods: u64,
    /// The most there may be.
    pub max_connections: u64,
    /// Open WebSockets.
    pub tunnels: u64,
}

/// One route.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RouteStatus {
    /// Its name; `(none)` for requests that no route matched.
    pub name: String,
    /// Exchanges that have ended.
    pub requests: u64,
    /// 5xx among them.
    pub errors: u64,
    /// 4xx among them, refusals by limits included.
    pub client_errors: u64,
    /// Refused by limits.
    pub throttled: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// From the head to the last byte, in the last minute.
    pub latency: Option<Latency>,
    /// Of the app, to the head of its answer, in the last minute.
    pub upstream_latency: Option<Latency>,
    /// Of the requests that waited for a slot of the app in the last minute: for how long.
    pub queue_time: Option<Latency>,
    /// Answers that a cache of the app had, where the app tells.
    pub cache_hits: u64,
    /// Answers that it had not.
    pub cache_misses: u64,
    /// Tokens of language models, where the app tells.
    pub llm_tokens: u64,
}

/// Percentiles, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// Half of the requests took no longer.
    pub p50_ms: f64,
    /// 95% of the requests took no longer.
    pub p95_ms: f64,
    /// 99% of the requests took no longer.
    pub p99_ms: f64,
}

/// One limit.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LimitStatus {
    /// Its name.
    pub name: String,
    /// `enforce`, `shadow` or `off`, the kill switch considered.
    pub mode: String,
    /// What it counts by, as the configuration says it.
    pub key: Vec<String>,
    /// `route` or `service`.
    pub per: String,
    /// What callers without a tier may have, in words.
    pub measures: Vec<String>,
    /// Requests it refused.
    pub refused: u64,
    /// Requests it would have refused, in shadow mode.
    pub shadow_refused: u64,
    /// Keys it holds a state for.
    pub keys: u64,
    /// The keys that have least left, at most ten.
    pub fullest: Vec<KeyStatus>,
}

/// Where one key of a limit stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyStatus {
    /// The caller's name or address where it is known, `(everybody)` where all share one, else a part of the key's
    /// hash, `#3fa2c1`.
    pub key: String,
    /// The route of the bucket, where there is one for each route and it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Tokens left.
    pub remaining: u64,
    /// The most there can be.
    pub most: u64,
    /// Until nothing is spent any more, in seconds, rounded up.
    pub reset_seconds: u64,
}

/// Who asked for most in the last five to ten minutes, at most twenty each. Counts of callers that are not among the heaviest may be
/// too high by what they took over from one that was forgotten.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Talkers {
    /// By requests.
    pub requests: Vec<Talker>,
    /// By refusals of limits.
    pub refusals: Vec<Talker>,
    /// By bytes, both ways.
    pub bytes: Vec<Talker>,
    /// By tokens of limits they have paid.
    pub cost: Vec<Talker>,
}

/// A caller and how much it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Talker {
    /// The user, or the address where there is none.
    pub caller: String,
    /// Which of the two it is.
    pub kind: CallerKind,
    /// How much.
    pub count: u64,
}

/// What a caller is named by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallerKind {
    /// By identity.
    User,
    /// By the client's address.
    Address,
}

/// A refusal by a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// When, milliseconds since 1970.
    pub time_ms: u64,
    /// The request's id.
    pub request_id: String,
    /// The user, or the address where there is none.
    pub caller: String,
    /// Which of the two it is.
    pub kind: CallerKind,
    /// The route's name.
    pub route: String,
    /// The limit that refused.
    pub limit: String,
    /// What the client was told to wait.
    pub retry_after_seconds: u64,
}

/// The app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UpstreamStatus {
    /// Where it listens.
    pub address: String,
    /// Whether it takes connections; `null` when it was not tried yet.
    pub up: Option<bool>,
    /// How long it took to connect.
    pub connect_ms: Option<f64>,
    /// Idle connections.
    pub idle: u64,
    /// Connections that were made.
    pub connects: u64,
    /// Connections that could not be made.
    pub connect_failures: u64,
    /// Requests over a connection that had served one before.
    pub reuses: u64,
    /// Requests that were sent again.
    pub repeats: u64,
}

/// Reloads of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReloadStatus {
    /// Put into force.
    pub done: u64,
    /// Refused.
    pub failed: u64,
    /// When the last one was put into force or refused, milliseconds since 1970.
    pub last_ms: Option<u64>,
    /// What was wrong with the last one; empty if it was put into force.
    pub problems: Vec<String>,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SinkStatus {
    /// `records` or `emf`.
    pub name: String,
    /// Lines that were dropped because it was too slow or not there.
    pub dropped: u64,
}

/// States of limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BucketStatus {
    /// Held now.
    pub held: u64,
    /// The most that are held.
    pub most: u64,
    /// That had to go before they were as good as new.
    pub evicted: u64,
}

/// A limit that is lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lift {
    /// The limit's name.
    pub limit: String,
    /// For whom; for everybody if it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// What the caller is named by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<CallerKind>,
    /// Until when, milliseconds since 1970.
    pub until_ms: u64,
}

/// A caller that is blocked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Block {
    /// Who.
    pub caller: String,
    /// What the caller is named by.
    pub kind: CallerKind,
    /// Until when, milliseconds since 1970.
    pub until_ms: u64,
}

/// The process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessStatus {
    /// Resident memory.
    pub resident_bytes: u64,
    /// Processor time.
    pub cpu_seconds: f64,
    /// Open descriptors.
    pub open_files: u64,
    /// The most that may be open.
    pub max_open_files: u64,
    /// Threads.
    pub threads: u64,
}
