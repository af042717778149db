//! `[upstream]` beyond its address: how many requests the app gets at a time, who waits and for how long, what is
//! buffered for whom, and how it is told that the app is down.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::message::handling::{Priority, Spill};

use super::UpstreamAddress;

/// How many requests the app gets at a time, over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InFlightCap {
    /// So many; at least 1.
    Fixed(u32),
    /// As many as it answers without getting slower; found while running.
    Auto {
        /// Never fewer; at least 1.
        floor: u32,
        /// Never more; at least the floor.
        ceiling: u32,
    },
}

/// `queue`: requests that wait for the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// So many at most; at least 1.
    pub size: usize,
    /// For so long at most.
    pub timeout: Duration,
    /// Callers are served in turn; else requests are in the order they came.
    pub fair: bool,
    /// By tier, where the route says nothing.
    pub tiers: BTreeMap<Arc<str>, Priority>,
}

/// What is kept in memory so that the app does not wait for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buffers {
    /// Bytes of a request's body.
    pub request: usize,
    /// Bytes of an answer.
    pub response: usize,
    /// Bytes of all of them together.
    pub total: usize,
    /// Where what is larger goes, for routes that say so.
    pub spill: Option<SpillDir>,
    /// What of it goes there for routes that say nothing; each route's own is in its handling.
    pub spill_by_default: Spill,
}

/// Where bodies go that are too large for memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpillDir {
    /// Files are made here, without a name.
    pub path: PathBuf,
    /// Bytes of all of them together.
    pub max: u64,
}

/// `[upstream.health]`: how it is found out whether the app is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked for each `interval`; `None` if the app is only looked at when requests fail.
    pub path: Option<String>,
    /// Between two probes.
    pub interval: Duration,
    /// Of one probe.
    pub timeout: Duration,
    /// Probes in a row that bring it back.
    pub healthy_after: u32,
    /// Failed probes, or requests, in a row that take it out.
    pub unhealthy_after: u32,
    /// Statuses that mean it is well, each from and to; at least one.
    pub expect: Vec<(u16, u16)>,
}

/// `[upstream.canary]`: a second version of the app, for some callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// Where it listens; never the address of the first.
    pub address: UpstreamAddress,
    /// Callers out of ten thousand.
    pub weight_of_10_000: u32,
    /// How many requests it gets at a time; `None` for any number. As of the first where the canary has none of its own.
    pub max_in_flight: Option<InFlightCap>,
}
