//! Where the logs of sliding windows are: sharded, bounded, forgetting what is as good as new.
//!
//! Invariant: as for the table of integers. A log is larger and changed under its shard's lock, which is why only
//! those who ask for `sliding_window` pay for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;

use crate::clock::Tick;

use super::key::Key;
use super::sliding::{Log, SlidingWindow};

const SHARDS: usize = 16;
/// Logs looked at on each insertion.
const LOOKED_AT: usize = 4;
/// As for the table's states.
const SLACK_NANOS: u64 = 1_000_000_000;

/// Logs by key.
#[derive(Debug)]
pub struct Logs {
    shards: Box<[Mutex<Shard>]>,
    max_in_shard: usize,
    forced: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    logs: IndexMap<Key, Kept>,
    cursor: usize,
}

#[derive(Debug)]
struct Kept {
    log: Log,
    full_at: Tick,
}

impl Logs {
    /// An empty one for at most about `max_keys` logs.
    pub fn new(max_keys: usize) -> Logs {
        Logs {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            max_in_shard: max_keys.div_ceil(SHARDS).max(1),
            forced: AtomicU64::new(0),
        }
    }

    /// What `look` sees in the log of a key, an empty one if there is none.
    pub fn look<R>(&self, key: Key, look: impl FnOnce(&Log) -> R) -> R {
        let shard = self.shard(key);
        match shard.logs.get(&key) {
            Some(kept) => look(&kept.log),
            None => look(&Log::default()),
        }
    }

    /// Changes the log of a key.
    pub fn change<R>(
        &self,
        key: Key,
        window: &SlidingWindow,
        now: Tick,
        change: impl FnOnce(&mut Log) -> R,
    ) -> R {
        let mut shard = self.shard(key);
        if let Some(kept) = shard.logs.get_mut(&key) {
            let result = change(&mut kept.log);
            kept.full_at = kept.log.full_at(window);
            return result;
        }
        let mut log = Log::default();
        let result = change(&mut log);
        if log.entries().next().is_some() {
            let full_at = log.full_at(window);
            shard.look_at_some(now);
            if shard.logs.len() >= self.max_in_shard {
                shard.drop_nearest();
                self.forced.fetch_add(1, Ordering::Relaxed);
            }
            shard.logs.insert(key, Kept { log, full_at });
        }
        result
    }

    /// Puts a log back that another process had.
    pub fn restore(&self, key: Key, log: Log, window: &SlidingWindow, now: Tick) {
        self.change(key, window, now, |place| *place = log);
    }

    /// Keeps only the logs `keep` says so of.
    pub fn retain(&self, mut keep: impl FnMut(Key) -> bool) {
        for shard in &self.shards {
            lock(shard).logs.retain(|key, _| keep(*key));
        }
    }

    /// Drops what is as good as new and gives memory back.
    pub fn tend(&self, now: Tick) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.logs.retain(|_, kept| !is_as_good_as_new(kept, now));
            if shard.logs.len() * 4 < shard.logs.capacity() {
                shard.logs.shrink_to_fit();
            }
        }
    }

    /// Copies of all logs, a shard at a time.
    pub fn shards(&self) -> impl Iterator<Item = Vec<(Key, Log)>> {
        self.shards
            .iter()
            .map(|shard| lock(shard).logs.iter().map(|(key, kept)| (*key, kept.log.clone())).collect())
    }

    /// Logs there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).logs.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Logs dropped because their shard was full, since the start.
    pub fn forced_evictions(&self) -> u64 {
        self.forced.load(Ordering::Relaxed)
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        lock(&self.shards[key.0[0] as usize % SHARDS])
    }
}

impl Shard {
    fn look_at_some(&mut self, now: Tick) {
        for _ in 0..LOOKED_AT {
            if self.logs.is_empty() {
                return;
            }
            self.cursor %= self.logs.len();
            match self.logs.get_index(self.cursor) {
                Some((_, kept)) if is_as_good_as_new(kept, now) => {
                    self.logs.swap_remove_index(self.cursor);
                }
                _ => self.cursor += 1,
            }
        }
    }

    /// Of the next few, the one that is as good as new first.
    fn drop_nearest(&mut self) {
        let count = self.logs.len();
        let some = (0..LOOKED_AT.min(count)).map(|ahead| (self.cursor + ahead) % count);
        let nearest = some.min_by_key(|at| self.logs.get_index(*at).map(|(_, kept)| kept.full_at));
        if let Some(at) = nearest {
            self.logs.swap_remove_index(at);
        }
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_as_good_as_new(kept: &Kept, now: Tick) -> bool {
    kept.full_at.0.saturating_add(SLACK_NANOS) <= now.0
}
