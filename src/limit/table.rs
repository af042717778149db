//! Where states are: a sharded hash table of integers, bounded, that forgets what is as good as new.
//!
//! A slot is a key and an atomic integer, 24 bytes. A known key is advanced by compare-and-swap under a shared
//! lock; only a new one takes its shard's lock alone. Each insertion looks at a few other slots and drops those
//! that are as good as new, so that memory follows use without a sweep that stops anything.
//!
//! Invariant: a shard holds at most its part of `max_keys`; a state is dropped before it is as good as new only
//! when its shard is full, and then the nearest to full of a few, and counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::key::Key;
use super::shard::Shard;
use super::state::{Now, is_as_good_as_new};

/// Shards of a large table; a small one has fewer, so that its bound is kept well.
const MAX_SHARDS: usize = 64;
const KEYS_WORTH_A_SHARD: usize = 1024;

/// States by key.
#[derive(Debug)]
pub struct Table {
    shards: Box<[RwLock<Shard>]>,
    max_in_shard: usize,
    forced: AtomicU64,
}

impl Table {
    /// An empty table for at most about `max_keys` states.
    pub fn new(max_keys: usize) -> Table {
        let shards = (max_keys / KEYS_WORTH_A_SHARD).clamp(1, MAX_SHARDS).next_power_of_two();
        let shards = shards.min(MAX_SHARDS);
        Table {
            shards: (0..shards).map(|_| RwLock::new(Shard::default())).collect(),
            max_in_shard: max_keys.div_ceil(shards).max(1),
            forced: AtomicU64::new(0),
        }
    }

    /// The state of a key; 0 if there is none.
    pub fn get(&self, key: Key) -> u64 {
        self.read(key).find(key).map_or(0, |state| state.load(Ordering::Acquire))
    }

    /// Advances a state by `step`, again as long as others advance it meanwhile. `step` may refuse, then nothing
    /// is changed. A key without a state begins with what `first` says.
    ///
    /// Returns what `step` last said.
    pub fn advance<R>(
        &self,
        key: Key,
        now: Now,
        first: impl FnOnce(&dyn Fn(Key) -> u64) -> u64,
        step: impl Fn(u64) -> Result<u64, R>,
    ) -> Result<u64, R> {
        if let Some(state) = self.read(key).find(key) {
            return advance(state, &step);
        }
        let mut shard = self.write(key);
        if let Some(state) = shard.find(key) {
            return advance(state, &step);
        }
        let state = step(first(&|key| shard.find(key).map_or(0, |state| state.load(Ordering::Acquire))))?;
        if !is_as_good_as_new(state, now) && shard.insert(key, state, now, self.max_in_shard) {
            self.forced.fetch_add(1, Ordering::Relaxed);
        }
        Ok(state)
    }

    /// Makes room for about so many states.
    pub fn reserve(&self, keys: usize) {
        let in_shard = (keys / self.shards.len() + 1).min(self.max_in_shard);
        for shard in &self.shards {
            shard.write().unwrap_or_else(PoisonError::into_inner).reserve(in_shard);
        }
    }

    /// Puts a state back that another process had; one that is there stays. A key without a tag is none.
    pub fn restore(&self, key: Key, state: u64, now: Now) {
        let mut shard = self.write(key);
        if key.tag() != 0
            && shard.find(key).is_none()
            && !is_as_good_as_new(state, now)
            && shard.insert(key, state, now, self.max_in_shard)
        {
            self.forced.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Changes the state of a key that has one.
    pub fn change(&self, key: Key, step: impl Fn(u64) -> u64) {
        if let Some(state) = self.read(key).find(key) {
            let _ = advance(state, &|state| Ok::<u64, ()>(step(state)));
        }
    }

    /// What `step` makes of the states of a shard, one shard at a time; `None` keeps a state as it is.
    ///
    /// The shard is locked meanwhile: a step is short.
    pub fn rewrite(&self, now: Now, mut step: impl FnMut(Key, u64) -> Option<(Key, u64)>) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            let changed: Vec<_> =
                shard.states().filter_map(|(key, state)| Some((key, step(key, state)?))).collect();
            for (old, (new, state)) in changed {
                shard.remove(old);
                if shard.find(new).is_none() && !is_as_good_as_new(state, now) {
                    // It takes the place of the one just removed.
                    shard.insert(new, state, now, self.max_in_shard);
                }
            }
        }
    }

    /// Drops what is as good as new and gives memory back, shard by shard.
    pub fn tend(&self, now: Now) {
        for shard in &self.shards {
            let idle = shard.read().unwrap_or_else(PoisonError::into_inner).is_mostly_idle(now);
            if idle {
                shard.write().unwrap_or_else(PoisonError::into_inner).rebuild(now);
            }
        }
    }

    /// Copies of all states, a shard at a time, so that requests wait for one shard's copy at most.
    pub fn shards(&self) -> impl Iterator<Item = Vec<(Key, u64)>> {
        self.shards.iter().map(|shard| {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.states().collect()
        })
    }

    /// Bytes its slots take.
    pub fn memory_bytes(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).memory_bytes())
            .sum()
    }

    /// States there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// States dropped because their shard was full, since the start.
    pub fn forced_evictions(&self) -> u64 {
        self.forced.load(Ordering::Relaxed)
    }

    fn shard(&self, key: Key) -> &RwLock<Shard> {
        // A shard finds a key by its high bits.
        &self.shards[key.0[0] as usize & (self.shards.len() - 1)]
    }

    fn read(&self, key: Key) -> RwLockReadGuard<'_, Shard> {
        self.shard(key).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, key: Key) -> RwLockWriteGuard<'_, Shard> {
        self.shard(key).write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn advance<R>(state: &AtomicU64, step: &impl Fn(u64) -> Result<u64, R>) -> Result<u64, R> {
    let mut seen = state.load(Ordering::Acquire);
    loop {
        let next = step(seen)?;
        match state.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(next),
            Err(now) => seen = now,
        }
    }
}
