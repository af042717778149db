//! All states of all limits, and what can be done with one of them by way of its meter.

use super::bucket::{TokenBucket, Wait};
use super::key::{Digest, Key, Seed};
use super::logs::Logs;
use super::meter::{Measure, Meter, Tag};
use super::rate::NANOS_PER_SECOND;
use super::state::{self, Now};
use super::table::Table;

/// When a place in flight gets free nobody knows; after this time it is worth another try.
const IN_FLIGHT_WAIT: Wait = Wait { nanos: NANOS_PER_SECOND };

/// The states of a process.
#[derive(Debug)]
pub struct Buckets {
    /// The secret their keys are made with.
    pub seed: Seed,
    /// Integers: token buckets, quotas, counts in flight.
    pub table: Table,
    /// Logs: sliding windows.
    pub logs: Logs,
}

/// Tokens that were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Debit {
    /// From which state.
    pub key: Key,
    /// How many.
    pub tokens: u64,
    /// The state the debit led to, or its time where states are logs.
    debited: u64,
}

/// Where a key stands with a meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Tokens left.
    pub remaining: u64,
    /// Until nothing is spent any more; 0 for places in flight.
    pub reset_nanos: u64,
}

impl Buckets {
    /// No states, and room for at most about `max_keys`.
    pub fn new(seed: Seed, max_keys: usize) -> Buckets {
        Buckets { seed, table: Table::new(max_keys), logs: Logs::new(max_keys) }
    }

    /// Whether `cost` could be had. Changes nothing.
    pub fn look(&self, meter: &Meter, payer: Digest, now: Now, cost: u64) -> Result<(), Wait> {
        let key = payer.tagged(meter.tag);
        match &meter.measure {
            Measure::Bucket(bucket) => {
                bucket.debit(self.full_at(meter, key, bucket, now), now.tick, cost).map(drop)
            }
            Measure::Sliding(window) => self.logs.look(key, |log| window.look(log, now.tick, cost)),
            Measure::Quota(quota) => quota.debit(self.table.get(key), now.unix_nanos, cost).map(drop),
            Measure::InFlight(most) => {
                state::enter(self.table.get(key), *most).map(drop).ok_or(IN_FLIGHT_WAIT)
            }
        }
    }

    /// Takes `cost`, or changes nothing.
    pub fn debit(
        &self,
        meter: &Meter,
        payer: Digest,
        now: Now,
        cost: u64,
    ) -> Result<(Debit, Standing), Wait> {
        let key = payer.tagged(meter.tag);
        let debit = |debited| Debit { key, tokens: cost, debited };
        match &meter.measure {
            Measure::Bucket(bucket) => {
                let first =
                    |get: &dyn Fn(Key) -> u64| inherit(meter, bucket, now, |old| get(key.retagged(old)));
                let state =
                    self.table.advance(key, now, first, |state| bucket.debit(state, now.tick, cost))?;
                Ok((debit(state), standing_of_bucket(bucket, state, now)))
            }
            Measure::Sliding(window) => self.logs.change(key, window, now.tick, |log| {
                window.debit(log, now.tick, cost)?;
                let (remaining, reset_nanos) = window.standing(log, now.tick);
                Ok((debit(now.tick.0), Standing { remaining, reset_nanos }))
            }),
            Measure::Quota(quota) => {
                let state =
                    self.table.advance(key, now, |_| 0, |state| quota.debit(state, now.unix_nanos, cost))?;
                let (remaining, reset_nanos) = quota.standing(state, now.unix_nanos);
                Ok((debit(state), Standing { remaining, reset_nanos }))
            }
            Measure::InFlight(most) => {
                let enter = |state| state::enter(state, *most).ok_or(IN_FLIGHT_WAIT);
                let state = self.table.advance(key, now, |_| 0, enter)?;
                let remaining = most.saturating_sub(state::in_flight(state));
                Ok((debit(state), Standing { remaining, reset_nanos: 0 }))
            }
        }
    }

    /// Where a key stands. Changes nothing.
    pub fn standing(&self, meter: &Meter, payer: Digest, now: Now) -> Standing {
        let key = payer.tagged(meter.tag);
        let state = match &meter.measure {
            Measure::Sliding(_) => {
                return self.logs.look(key, |log| meter.measure.standing_of_log(log, now));
            }
            Measure::Bucket(bucket) => self.full_at(meter, key, bucket, now),
            Measure::Quota(_) | Measure::InFlight(_) => self.table.get(key),
        };
        meter.measure.standing_of_state(state, now)
    }

    /// Gives `tokens` of a debit back; a place in flight as a whole.
    pub fn refund(&self, meter: &Meter, debit: &Debit, now: Now, tokens: u64) {
        let tokens = tokens.min(debit.tokens);
        match &meter.measure {
            Measure::Bucket(bucket) => {
                self.table.change(debit.key, |state| bucket.refund(state, debit.debited, now.tick, tokens));
            }
            Measure::Sliding(window) => self.logs.change(debit.key, window, now.tick, |log| {
                window.refund(log, crate::clock::Tick(debit.debited), tokens);
            }),
            Measure::Quota(quota) => {
                self.table.change(debit.key, |state| quota.refund(state, debit.debited, tokens));
            }
            Measure::InFlight(_) => self.table.change(debit.key, state::leave),
        }
    }

    /// Makes a debit one of `tokens`: gives back what was too much, or takes what is missing, whether it is there or
    /// not.
    pub fn settle(&self, meter: &Meter, debit: &Debit, now: Now, tokens: u64) {
        if tokens <= debit.tokens {
            return self.refund(meter, debit, now, debit.tokens - tokens);
        }
        let more = tokens - debit.tokens;
        match &meter.measure {
            Measure::Bucket(bucket) => {
                let step = |state| Ok::<u64, ()>(bucket.charge(state, debit.debited, more));
                let _ = self.table.advance(debit.key, now, |_| 0, step);
            }
            Measure::Sliding(window) => self.logs.change(debit.key, window, now.tick, |log| {
                window.charge(log, crate::clock::Tick(debit.debited), more);
            }),
            Measure::Quota(quota) => {
                let step = |state| Ok::<u64, ()>(quota.charge(state, debit.debited, more));
                let _ = self.table.advance(debit.key, now, |_| 0, step);
            }
            Measure::InFlight(_) => {}
        }
    }

    /// Drops what is as good as new and gives memory back.
    pub fn tend(&self, now: Now) {
        self.table.tend(now);
        self.logs.tend(now.tick);
    }

    /// States there are.
    pub fn len(&self) -> usize {
        self.table.len() + self.logs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// States that had to go while they still counted, since the start.
    pub fn forced_evictions(&self) -> u64 {
        self.table.forced_evictions() + self.logs.forced_evictions()
    }

    fn full_at(&self, meter: &Meter, key: Key, bucket: &TokenBucket, now: Now) -> u64 {
        match self.table.get(key) {
            0 => inherit(meter, bucket, now, |old| self.table.get(key.retagged(old))),
            state => state,
        }
    }
}

/// What a bucket begins with that nobody has used since its limit's numbers were changed.
fn inherit(meter: &Meter, bucket: &TokenBucket, now: Now, old_state: impl FnOnce(Tag) -> u64) -> u64 {
    match meter.before.as_deref() {
        None => 0,
        Some((tag, before)) => bucket.convert(before, old_state(*tag), now.tick),
    }
}

fn standing_of_bucket(bucket: &TokenBucket, full_at: u64, now: Now) -> Standing {
    Standing {
        remaining: bucket.remaining(full_at, now.tick),
        reset_nanos: full_at.saturating_sub(now.tick.0),
    }
}
