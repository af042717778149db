//! Room that all workers share: bytes of memory for buffers, bytes of disk for spilled bodies.
//!
//! Invariant: what is used never exceeds the maximum that held when it was taken, and what a [`Lease`] took is given
//! back when it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many bytes, for everybody together.
#[derive(Debug)]
pub struct Budget {
    used: AtomicU64,
    max: AtomicU64,
}

impl Budget {
    /// `max` bytes, none of them taken.
    pub fn new(max: u64) -> Arc<Budget> {
        Arc::new(Budget { used: AtomicU64::new(0), max: AtomicU64::new(max) })
    }

    /// So many bytes from now on; what is taken stays taken.
    pub fn set_max(&self, max: u64) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Bytes that are taken.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most that may be.
    pub fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// A share of nothing yet, to be grown.
    pub fn lease(self: &Arc<Budget>) -> Lease {
        Lease { budget: Arc::clone(self), bytes: 0 }
    }

    fn take(&self, bytes: u64) -> bool {
        let max = self.max();
        let more = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A share of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub struct Lease {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Lease {
    /// Takes more. False if there is not as much left; then nothing is taken.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let taken = bytes == 0 || self.budget.take(bytes);
        if taken {
            self.bytes += bytes;
        }
        taken
    }

    /// Gives some back, at most what it has.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        if bytes > 0 {
            self.bytes -= bytes;
            self.budget.give_back(bytes);
        }
    }

    /// What it has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_is_is_never_taken_and_all_of_it_comes_back() {
        let budget = Budget::new(100);
        let (mut one, mut other) = (budget.lease(), budget.lease());
        assert!(one.grow(60) && !other.grow(41) && other.grow(40) && !one.grow(1));
        one.shrink(10);
        assert_eq!((budget.used(), one.bytes(), other.bytes()), (90, 50, 40));
        assert!(!other.grow(u64::MAX) && other.grow(10));
        one.shrink(1000);
        assert_eq!((one.bytes(), budget.used()), (0, 50));
        drop((one, other));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_smaller_maximum_leaves_what_is_taken() {
        let budget = Budget::new(100);
        let mut lease = budget.lease();
        assert!(lease.grow(80));
        budget.set_max(50);
        assert!(!lease.grow(1) && lease.grow(0));
        lease.shrink(40);
        assert!(lease.grow(10) && !lease.grow(1));
        assert_eq!((budget.used(), budget.max()), (50, 50));
    }

    #[test]
    fn threads_together_never_take_more_than_there_is() {
        let budget = Budget::new(1000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let mut lease = budget.lease();
                        let _ = lease.grow(400);
                        assert!(budget.used() <= 1000);
                    }
                });
            }
        });
        assert_eq!(budget.used(), 0);
    }
}
