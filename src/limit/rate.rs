//! So many in such a time.
//!
//! Invariant: both numbers are at least 1, and a token takes between a nanosecond and [`MAX_NANOS`] to come.

use std::fmt;

/// The longest anything is reckoned ahead: 50 years. Nobody waits that long, and sums of it stay far below
/// where a 63-bit count of nanoseconds ends.
pub const MAX_NANOS: u64 = 50 * 365 * 86_400 * NANOS_PER_SECOND;

pub(crate) const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// `count` in `period_seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u64,
    period_seconds: u64,
}

impl Rate {
    /// A rate; `None` if a number is 0, the period is longer than is reckoned with, or more than one token
    /// comes a nanosecond.
    pub fn new(count: u64, period_seconds: u64) -> Option<Rate> {
        let nanos = period_seconds.checked_mul(NANOS_PER_SECOND)?;
        (count > 0 && (1..=MAX_NANOS).contains(&nanos) && count <= nanos)
            .then_some(Rate { count, period_seconds })
    }

    /// How many.
    pub fn count(self) -> u64 {
        self.count
    }

    /// In which time.
    pub fn period_seconds(self) -> u64 {
        self.period_seconds
    }

    /// In which time.
    pub fn period_nanos(self) -> u64 {
        self.period_seconds * NANOS_PER_SECOND
    }

    /// Between two tokens, rounded up: a limit is never looser than it is written.
    pub fn interval_nanos(self) -> u64 {
        self.period_nanos().div_ceil(self.count)
    }
}

impl fmt::Display for Rate {
    /// As the configuration writes it: `5/15 minutes`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
        let seconds = self.period_seconds;
        let fits = UNITS.iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
        let (unit, name) = fits.copied().unwrap_or((1, "second"));
        match seconds / unit {
            1 => write!(f, "{}/{name}", self.count),
            multiple => write!(f, "{}/{multiple} {name}s", self.count),
        }
    }
}
