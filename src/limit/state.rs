//! The states of buckets, quotas and counts as integers, told apart by their highest bits.
//!
//! `0…`: the instant at which a token bucket is full again. `10`: a quota's window and count. `11`: requests in
//! flight. 0 is the state of what was never used.

use crate::clock::Tick;

use super::quota;

/// Marks a count of requests in flight.
const IN_FLIGHT: u64 = 0b11 << 62;

/// The time, on both clocks: buckets must not follow the wall clock, calendars must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since the process began.
    pub tick: Tick,
    /// Nanoseconds since 1970.
    pub unix_nanos: u64,
}

/// A worker that reads the time and then waits for the processor decides with a time that has passed. For so long
/// a state is kept after it is as good as new.
const SLACK_NANOS: u64 = 1_000_000_000;

/// Nanoseconds until this state can be forgotten; `None` if time alone does not make it so.
pub(crate) fn nanos_until_new(state: u64, now: Now) -> Option<u64> {
    match state >> 62 {
        0b10 => Some(quota::nanos_until_end(state, now.unix_nanos.saturating_sub(SLACK_NANOS))),
        0b11 if in_flight(state) > 0 => None,
        0b11 => Some(0),
        _ => Some(state.saturating_sub(now.tick.0.saturating_sub(SLACK_NANOS))),
    }
}

/// Whether this state can be forgotten.
pub fn is_as_good_as_new(state: u64, now: Now) -> bool {
    nanos_until_new(state, now) == Some(0)
}

/// Whether it is a count of what runs right now, which means nothing in another process.
pub fn is_in_flight(state: u64) -> bool {
    state & IN_FLIGHT == IN_FLIGHT
}

/// Whether it is a quota's.
pub fn is_quota(state: u64) -> bool {
    state >> 62 == 0b10
}

/// Requests in flight.
pub(crate) fn in_flight(state: u64) -> u64 {
    state & !IN_FLIGHT
}

/// One more in flight, if there may be.
pub(crate) fn enter(state: u64, most: u64) -> Option<u64> {
    let running = in_flight(state);
    (running < most).then_some(IN_FLIGHT | (running + 1))
}

/// One fewer in flight.
pub(crate) fn leave(state: u64) -> u64 {
    IN_FLIGHT | in_flight(state).saturating_sub(1)
}
