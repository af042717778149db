//! Bytes of an answer that are kept in memory, in the order they came.
//!
//! Small pieces are copied into blocks: a piece of the app's buffer would hold all of that buffer. Invariant: what is
//! allocated is leased from the budget of all workers, and never more than this answer may have.

use std::collections::VecDeque;
use std::mem;

use bytes::{Bytes, BytesMut};

use crate::upstream::budget::Lease;

/// Of one block.
const BLOCK: usize = 32 * 1024;

/// Blocks, the first of them the oldest.
#[derive(Debug)]
pub(super) struct Blocks {
    full: VecDeque<Bytes>,
    last: BytesMut,
    max: usize,
    lease: Lease,
}

impl Blocks {
    /// None yet, of at most `max` bytes together.
    pub(super) fn new(max: usize, lease: Lease) -> Blocks {
        Blocks { full: VecDeque::new(), last: BytesMut::new(), max, lease }
    }

    /// Whether at least one byte more can be kept; makes room for it.
    pub(super) fn has_room(&mut self) -> bool {
        self.last.len() < self.last.capacity() || self.add_block()
    }

    /// Takes as much off the front of `bytes` as there is room for.
    pub(super) fn keep(&mut self, bytes: &mut Bytes) {
        while !bytes.is_empty() && self.has_room() {
            let len = bytes.len().min(self.last.capacity() - self.last.len());
            self.last.extend_from_slice(&bytes.split_to(len));
        }
    }

    fn add_block(&mut self) -> bool {
        let left = (self.max as u64).saturating_sub(self.lease.bytes());
        let size = left.min(BLOCK as u64);
        if size == 0 || !self.lease.grow(size) {
            return false;
        }
        if !self.last.is_empty() {
            self.full.push_back(mem::take(&mut self.last).freeze());
        }
        self.last = BytesMut::with_capacity(size as usize);
        true
    }

    /// The oldest bytes, which are no longer kept here.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        if let Some(block) = self.full.pop_front() {
            self.lease.shrink(block.len() as u64);
            return Some(block);
        }
        if self.last.is_empty() {
            return None;
        }
        if self.last.len() < self.last.capacity() / 2 {
            // The block stays for what comes next.
            let bytes = Bytes::copy_from_slice(&self.last);
            self.last.clear();
            return Some(bytes);
        }
        self.lease.shrink(self.last.capacity() as u64);
        Some(mem::take(&mut self.last).freeze())
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.last.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::budget::Budget;

    fn all(blocks: &mut Blocks) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(block) = blocks.next() {
            bytes.extend_from_slice(&block);
        }
        bytes
    }

    fn pattern(len: usize) -> Bytes {
        (0..len).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn bytes_come_out_as_they_came_whatever_their_pieces() {
        for piece in [1, 7, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK] {
            let budget = Budget::new(1 << 30);
            let mut blocks = Blocks::new(1 << 20, budget.lease());
            let expected = pattern(5 * BLOCK + 17);
            for part in expected.chunks(piece) {
                let mut part = Bytes::copy_from_slice(part);
                blocks.keep(&mut part);
                assert!(part.is_empty());
            }
            assert!(all(&mut blocks) == expected, "pieces of {piece}");
            assert!(blocks.is_empty());
            drop(blocks);
            assert_eq!(budget.used(), 0);
        }
    }

    #[test]
    fn small_pieces_cost_little_more_than_their_bytes() {
        let budget = Budget::new(1 << 30);
        let mut blocks = Blocks::new(1 << 20, budget.lease());
        let large = pattern(1 << 20);
        for at in 0..1000 {
            blocks.keep(&mut large.slice(at..at + 1));
        }
        assert_eq!(budget.used(), BLOCK as u64);
        drop(large);
        assert_eq!(all(&mut blocks).len(), 1000);
    }

    #[test]
    fn what_has_no_room_is_left_with_its_owner() {
        for (max, total) in [(40_000, 1 << 30), (1 << 30, 40_000)] {
            let budget = Budget::new(total);
            let mut blocks = Blocks::new(max, budget.lease());
            let mut bytes = pattern(100_000);
            blocks.keep(&mut bytes);
            assert!(budget.used() <= 40_000 && !blocks.has_room());
            let kept = all(&mut blocks);
            assert!(kept.len() >= BLOCK && kept.len() + bytes.len() == 100_000);
            assert!([&kept[..], &bytes[..]].concat() == pattern(100_000));
            blocks.keep(&mut bytes);
            assert!(blocks.has_room() || bytes.len() < 100_000 - kept.len(), "room came back");
        }
    }

    #[test]
    fn a_block_is_used_again_while_little_is_taken_from_it() {
        let budget = Budget::new(1 << 30);
        let mut blocks = Blocks::new(1 << 20, budget.lease());
        for round in 0..1000_u32 {
            blocks.keep(&mut Bytes::copy_from_slice(&round.to_be_bytes()));
            assert_eq!(blocks.next().as_deref(), Some(&round.to_be_bytes()[..]));
        }
        assert_eq!(budget.used(), BLOCK as u64);
    }
}
