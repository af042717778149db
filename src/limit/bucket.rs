//! The token bucket as one integer: `full_at`, the instant at which it is full again.
//!
//! This is the generic cell rate algorithm (ITU-T I.371), its theoretical arrival time being `full_at`. A bucket of
//! `burst` tokens that refills one token every `interval` is `(full_at - now) / interval` tokens short of full.
//!
//! Invariant: what [`TokenBucket::debit`] admits is never more than `burst + rate * t` in any time `t`; a
//! refusal's wait is exact to the nanosecond.

use crate::clock::Tick;

use super::rate::{MAX_NANOS, Rate};

/// The largest `full_at`: one bit is left for the table's other kinds of states.
pub(crate) const LATEST: u64 = (1 << 63) - 1;

/// A bucket's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    rate: Rate,
    burst: u64,
    interval_nanos: u64,
    capacity_nanos: u64,
}

/// Not now; after so many nanoseconds, if nobody else spends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// At least 1.
    pub nanos: u64,
}

impl TokenBucket {
    /// A bucket; `None` if `burst` is 0, or takes longer to fill than is reckoned with.
    pub fn new(rate: Rate, burst: u64) -> Option<TokenBucket> {
        let interval_nanos = rate.interval_nanos();
        let capacity_nanos = interval_nanos.checked_mul(burst)?;
        (1..=MAX_NANOS).contains(&capacity_nanos).then_some(TokenBucket {
            rate,
            burst,
            interval_nanos,
            capacity_nanos,
        })
    }

    /// As written.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Its capacity in tokens.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// Takes `cost` tokens: the new `full_at`, or how long until they are there. A refusal changes nothing.
    pub fn debit(&self, full_at: u64, now: Tick, cost: u64) -> Result<u64, Wait> {
        let debited = self.owe(full_at.max(now.0), cost);
        let full = now.0.saturating_add(self.capacity_nanos);
        if debited <= full { Ok(debited) } else { Err(Wait { nanos: debited - full }) }
    }

    /// Whole tokens there are.
    pub fn remaining(&self, full_at: u64, now: Tick) -> u64 {
        let short = full_at.saturating_sub(now.0);
        self.capacity_nanos.saturating_sub(short) / self.interval_nanos
    }

    /// Gives `tokens` of a debit back that led to `debited`, as far as time has not given them back since: what a
    /// full bucket would have lost must not come back by a refund.
    pub fn refund(&self, full_at: u64, debited: u64, now: Tick, tokens: u64) -> u64 {
        let still_owed = debited.saturating_sub(now.0);
        full_at.saturating_sub(self.interval_nanos.saturating_mul(tokens).min(still_owed))
    }

    /// Takes `tokens` more for a debit that led to `debited`, whether they are there or not.
    pub fn charge(&self, full_at: u64, debited: u64, tokens: u64) -> u64 {
        self.owe(full_at.max(debited), tokens)
    }

    /// The `full_at` of a bucket with these numbers that has spent what `full_at` says a bucket with the numbers
    /// `before` has spent.
    ///
    /// Spent tokens count, rounded up; beyond an empty bucket only what was owed beyond one before.
    pub fn convert(&self, before: &TokenBucket, full_at: u64, now: Tick) -> u64 {
        let short = full_at.saturating_sub(now.0);
        if short == 0 {
            return full_at;
        }
        let scaled = |nanos: u64| {
            let nanos = u128::from(nanos) * u128::from(self.interval_nanos);
            u64::try_from(nanos.div_ceil(u128::from(before.interval_nanos))).unwrap_or(LATEST)
        };
        let owed = scaled(short.saturating_sub(before.capacity_nanos));
        let short = scaled(short).min(self.capacity_nanos.saturating_add(owed));
        now.0.saturating_add(short).min(LATEST)
    }

    /// Whether a bucket has spent more than these numbers allow at once.
    pub fn is_over(&self, before: &TokenBucket, full_at: u64, now: Tick) -> bool {
        let short = u128::from(full_at.saturating_sub(now.0));
        short * u128::from(self.interval_nanos)
            > u128::from(self.capacity_nanos) * u128::from(before.interval_nanos)
    }

    fn owe(&self, from: u64, tokens: u64) -> u64 {
        from.saturating_add(self.interval_nanos.saturating_mul(tokens)).min(LATEST)
    }
}
