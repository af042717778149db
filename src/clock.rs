//! The only reader of time.
//!
//! Everything below the edges is told the time as a [`Tick`]. Ticks never go backwards; wall-clock time is
//! derived from them and re-anchored now and then, so that a corrected system clock shows in records.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Ticks begin with this much of a past, 50 years: what an earlier process did has its place before the start.
const PAST_NANOS: u64 = 50 * 365 * 86_400 * 1_000_000_000;

/// Nanoseconds on a clock that runs evenly; only differences mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

impl Tick {
    /// An instant that never comes.
    pub const NEVER: Tick = Tick(u64::MAX);

    /// Nanoseconds from `earlier` to here; 0 when it is later.
    pub fn nanos_since(self, earlier: Tick) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Tick {
    type Output = Tick;

    fn add(self, duration: Duration) -> Tick {
        Tick(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A worker's clock.
#[derive(Debug, Clone)]
pub struct Clock {
    origin: Instant,
    /// Of tick 0; before 1970 it wraps around, and back again when a tick is added.
    unix_nanos_at_zero: Cell<u64>,
    recent: Cell<Tick>,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Clock {
        let clock =
            Clock { origin: Instant::now(), unix_nanos_at_zero: Cell::new(0), recent: Cell::new(Tick(0)) };
        clock.reanchor();
        clock
    }

    /// A clock for another thread with the same beginning: both read the same ticks.
    pub fn sibling(&self) -> Clock {
        self.clone()
    }

    /// Reads the time.
    pub fn now(&self) -> Tick {
        let tick = Tick(
            PAST_NANOS.saturating_add(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)),
        );
        self.recent.set(tick);
        tick
    }

    /// What was read last: late by one timer period at most, and free.
    pub fn recent(&self) -> Tick {
        self.recent.get()
    }

    /// Nanoseconds since 1970 at a tick.
    pub fn unix_nanos(&self, tick: Tick) -> u64 {
        self.unix_nanos_at_zero.get().wrapping_add(tick.0)
    }

    /// Takes over corrections of the system's clock.
    pub fn reanchor(&self) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_nanos = u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX);
        self.unix_nanos_at_zero.set(unix_nanos.wrapping_sub(self.now().0));
    }
}
