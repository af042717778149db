//! A part of the table: open addressing with linear probing, without tombstones.
//!
//! Invariant: between a key's home and its slot there is no empty slot; at most three quarters of the slots are
//! taken.

use std::sync::atomic::{AtomicU64, Ordering};

use super::key::Key;
use super::state::{Now, is_as_good_as_new, nanos_until_new};

/// Slots looked at on each insertion.
const LOOKED_AT: usize = 8;
/// Slots of the smallest shard that is not empty.
const FEWEST_SLOTS: usize = 16;

/// Slots of one shard.
#[derive(Debug, Default)]
pub(super) struct Shard {
    slots: Vec<Slot>,
    taken: usize,
    cursor: usize,
}

/// A key without a tag marks an empty slot.
#[derive(Debug)]
struct Slot {
    key: Key,
    state: AtomicU64,
}

impl Slot {
    fn empty() -> Slot {
        Slot { key: Key([0, 0]), state: AtomicU64::new(0) }
    }

    fn is_empty(&self) -> bool {
        self.key.tag() == 0
    }

    fn state(&self) -> u64 {
        self.state.load(Ordering::Acquire)
    }
}

impl Shard {
    /// A key's state.
    pub(crate) fn find(&self, key: Key) -> Option<&AtomicU64> {
        let slot = &self.slots[self.position(key).ok()?];
        Some(&slot.state)
    }

    /// States there are.
    pub(crate) fn len(&self) -> usize {
        self.taken
    }

    /// Bytes its slots take.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }

    /// All states.
    pub(crate) fn states(&self) -> impl Iterator<Item = (Key, u64)> {
        self.slots.iter().filter(|slot| !slot.is_empty()).map(|slot| (slot.key, slot.state()))
    }

    /// Adds a key that is not there; tells whether a state that still counted had to go for it.
    pub(crate) fn insert(&mut self, key: Key, state: u64, now: Now, max: usize) -> bool {
        let nearest = self.look_at_some(now);
        let mut forced = false;
        if self.taken >= max
            && let Some(key) = nearest.or_else(|| self.nearest_of_all(now))
        {
            self.remove(key);
            forced = true;
        }
        if (self.taken + 1) * 4 > self.slots.len() * 3 {
            self.rebuild(now);
        }
        self.put(key, state);
        forced
    }

    /// Removes a key.
    pub(crate) fn remove(&mut self, key: Key) {
        let Ok(at) = self.position(key) else { return };
        self.taken -= 1;
        let mut hole = at;
        let mut next = self.after(at);
        while !self.slots[next].is_empty() {
            // It may move into the hole unless its home lies behind the hole.
            let home = self.home(self.slots[next].key);
            if self.distance(home, next) >= self.distance(hole, next) {
                self.slots.swap(hole, next);
                hole = next;
            }
            next = self.after(next);
        }
        self.slots[hole] = Slot::empty();
    }

    /// Drops what is as good as new, and takes the room that what is left needs, with some to grow.
    pub(crate) fn rebuild(&mut self, now: Now) {
        let counts = |slot: &Slot| !slot.is_empty() && !is_as_good_as_new(slot.state(), now);
        let kept = self.slots.iter().filter(|slot| counts(slot)).count();
        self.move_to(kept * 2, counts);
    }

    /// Makes room for so many keys. Keys that come in the order of another table would all crowd into the front of
    /// one that grows with them.
    pub(crate) fn reserve(&mut self, keys: usize) {
        let slots = keys + keys / 2;
        if slots > self.slots.len() {
            self.move_to(slots, |slot| !slot.is_empty());
        }
    }

    fn move_to(&mut self, slots: usize, keep: impl Fn(&Slot) -> bool) {
        let empty = std::iter::repeat_with(Slot::empty).take(slots.max(FEWEST_SLOTS)).collect();
        let old = std::mem::replace(&mut self.slots, empty);
        self.taken = 0;
        self.cursor = 0;
        for slot in old.into_iter().filter(keep) {
            let state = slot.state();
            self.put(slot.key, state);
        }
    }

    /// Whether a rebuilding would give back half of the memory or more.
    pub(crate) fn is_mostly_idle(&self, now: Now) -> bool {
        if self.slots.len() <= FEWEST_SLOTS {
            return false;
        }
        let kept = self.states().filter(|(_, state)| !is_as_good_as_new(*state, now)).count();
        kept * 4 < self.slots.len()
    }

    /// Looks at the next few slots, drops what is as good as new, and names of the others the one that is so
    /// first. Nothing is named if room was made.
    fn look_at_some(&mut self, now: Now) -> Option<Key> {
        let mut nearest: Option<(u64, Key)> = None;
        let mut dropped = false;
        for _ in 0..LOOKED_AT.min(self.slots.len()) {
            self.cursor %= self.slots.len();
            let slot = &self.slots[self.cursor];
            let (key, state) = (slot.key, slot.state());
            if slot.is_empty() {
                self.cursor += 1;
                continue;
            }
            match nanos_until_new(state, now) {
                Some(0) => {
                    // Another may have moved here: it is looked at next.
                    self.remove(key);
                    dropped = true;
                }
                Some(nanos) if nearest.is_none_or(|(least, _)| nanos < least) => {
                    nearest = Some((nanos, key));
                    self.cursor += 1;
                }
                _ => self.cursor += 1,
            }
        }
        nearest.filter(|_| !dropped).map(|(_, key)| key)
    }

    /// Only where the few slots looked at held nothing that may go.
    fn nearest_of_all(&self, now: Now) -> Option<Key> {
        if self.taken == 0 {
            return None;
        }
        let timed = self.states().filter_map(|(key, state)| Some((nanos_until_new(state, now)?, key)));
        timed.min_by_key(|(nanos, _)| *nanos).map(|(_, key)| key)
    }

    fn put(&mut self, key: Key, state: u64) {
        if let Err(at) = self.position(key) {
            self.slots[at] = Slot { key, state: AtomicU64::new(state) };
            self.taken += 1;
        }
    }

    /// The slot of a key, or the empty one where it would be.
    fn position(&self, key: Key) -> Result<usize, usize> {
        if self.slots.is_empty() {
            return Err(0);
        }
        let mut at = self.home(key);
        loop {
            let slot = &self.slots[at];
            if slot.key == key {
                return Ok(at);
            }
            if slot.is_empty() {
                return Err(at);
            }
            at = self.after(at);
        }
    }

    /// Any number of slots is served evenly, so that a shard can grow by less than doubling.
    fn home(&self, key: Key) -> usize {
        ((u128::from(key.0[0]) * self.slots.len() as u128) >> 64) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.slots.len() - from }
    }
}
