//! Sliding windows: never more than `N` in any window of the rate's length, wherever it begins.
//!
//! The state is a log of what was admitted. Up to [`EXACT`] requests a window each has its own entry; beyond that
//! entries cover a 64th of the window each and count as if all of it was spent at the entry's last moment, so
//! that the window errs by a 64th toward refusing and a log stays small.

use std::collections::VecDeque;

use crate::clock::Tick;

use super::bucket::Wait;
use super::rate::Rate;

/// Entries up to which a log is exact.
const EXACT: u64 = 64;

/// A window's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlidingWindow {
    rate: Rate,
    /// How long an entry takes more in.
    cell_nanos: u64,
}

/// What one key spent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    entries: VecDeque<Entry>,
    spent: u64,
}

/// Tokens spent from `first` to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// When the first of them was.
    pub first: Tick,
    /// When the last of them was.
    pub last: Tick,
    /// How many.
    pub spent: u64,
}

impl SlidingWindow {
    /// `rate`'s count in any window of its period.
    pub fn new(rate: Rate) -> SlidingWindow {
        let cell_nanos = if rate.count() <= EXACT { 0 } else { rate.period_nanos() / EXACT };
        SlidingWindow { rate, cell_nanos }
    }

    /// As written.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes `cost`, or tells how long until it can be had. A refusal changes nothing that counts.
    pub fn debit(&self, log: &mut Log, now: Tick, cost: u64) -> Result<(), Wait> {
        log.forget(self, now);
        let excess = log.spent.saturating_add(cost).saturating_sub(self.rate.count());
        if excess > 0 {
            return Err(log.wait(self, now, excess));
        }
        log.spend(self, now, cost);
        Ok(())
    }

    /// Whether `cost` could be taken.
    pub fn look(&self, log: &Log, now: Tick, cost: u64) -> Result<(), Wait> {
        let counted = log.counted(self, now);
        let excess = counted.saturating_add(cost).saturating_sub(self.rate.count());
        if excess == 0 { Ok(()) } else { Err(log.wait(self, now, excess)) }
    }

    /// What is left, and the nanoseconds until all of it is there again.
    pub fn standing(&self, log: &Log, now: Tick) -> (u64, u64) {
        let left = self.rate.count().saturating_sub(log.counted(self, now));
        let full_at = log.entries.back().map_or(0, |entry| self.leaves_at(entry));
        (left, full_at.saturating_sub(now.0))
    }

    /// Gives `tokens` of a debit at `debited` back.
    pub fn refund(&self, log: &mut Log, debited: Tick, tokens: u64) {
        let Some(at) = log.entries.iter().rposition(|entry| entry.first <= debited) else { return };
        let entry = &mut log.entries[at];
        let tokens = tokens.min(entry.spent);
        entry.spent -= tokens;
        log.spent -= tokens;
        if entry.spent == 0 {
            // Requests that cost nothing in the end would otherwise make the log grow.
            log.entries.remove(at);
        }
    }

    /// Takes `tokens` more for a debit at `debited`, whether there are any left or not.
    pub fn charge(&self, log: &mut Log, debited: Tick, tokens: u64) {
        match log.entries.iter_mut().rev().find(|entry| entry.first <= debited && debited <= entry.last) {
            Some(entry) => entry.spent = entry.spent.saturating_add(tokens),
            // Its entry has left the window, and so has what it owes.
            None => return,
        }
        log.spent = log.spent.saturating_add(tokens);
    }

    fn leaves_at(&self, entry: &Entry) -> u64 {
        entry.last.0.saturating_add(self.rate.period_nanos())
    }
}

impl Log {
    /// A log of entries in the order of time.
    pub fn from_entries(entries: impl IntoIterator<Item = Entry>) -> Log {
        let entries: VecDeque<Entry> = entries.into_iter().collect();
        let spent = entries.iter().fold(0u64, |sum, entry| sum.saturating_add(entry.spent));
        Log { entries, spent }
    }

    /// In the order of time.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// When it has been as good as new since.
    pub fn full_at(&self, window: &SlidingWindow) -> Tick {
        Tick(self.entries.back().map_or(0, |entry| window.leaves_at(entry)))
    }

    /// What counts in the window that ends now.
    fn counted(&self, window: &SlidingWindow, now: Tick) -> u64 {
        let left = self.entries.iter().take_while(|entry| window.leaves_at(entry) <= now.0);
        self.spent.saturating_sub(left.map(|entry| entry.spent).sum())
    }

    fn forget(&mut self, window: &SlidingWindow, now: Tick) {
        while let Some(entry) = self.entries.front()
            && window.leaves_at(entry) <= now.0
        {
            self.spent = self.spent.saturating_sub(entry.spent);
            self.entries.pop_front();
        }
    }

    fn spend(&mut self, window: &SlidingWindow, now: Tick, cost: u64) {
        self.spent = self.spent.saturating_add(cost);
        match self.entries.back_mut() {
            // A worker may be a moment behind another: the log stays in order.
            Some(entry) if now.0 <= entry.last.0.max(entry.first.0.saturating_add(window.cell_nanos)) => {
                entry.spent = entry.spent.saturating_add(cost);
                entry.last = entry.last.max(now);
            }
            _ => self.entries.push_back(Entry { first: now, last: now, spent: cost }),
        }
    }

    /// Until `excess` tokens have left the window.
    fn wait(&self, window: &SlidingWindow, now: Tick, excess: u64) -> Wait {
        let mut freed = 0u64;
        for entry in &self.entries {
            let leaves_at = window.leaves_at(entry);
            if leaves_at > now.0 {
                freed = freed.saturating_add(entry.spent);
            }
            if freed >= excess {
                return Wait { nanos: leaves_at.saturating_sub(now.0).max(1) };
            }
        }
        Wait { nanos: window.rate.period_nanos() }
    }
}
