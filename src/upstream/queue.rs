//! Who waits for the app, and whose turn it is: a line for each caller, served in turn, the urgent before the others.
//!
//! A caller's flood makes its own line longer and nobody else's. When the queue is full, the least urgent go first, and
//! among equals the caller that has most there (as in Stochastic Fairness Queueing, P. McKenney 1990, and fq_codel,
//! RFC 8290 section 4.1). Pure: no clock, no lock, no waker. Every operation is constant time but for the order of lines by
//! length, which is logarithmic.
//!
//! Invariant: each entry is in exactly one line, each line with an entry in exactly one ring, and `by_length` knows the
//! length of each.

use std::collections::{BTreeSet, HashMap};

use slab::Slab;

use crate::message::handling::Priority;

/// An entry's place; good until the entry is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(usize);

#[derive(Debug)]
struct Entry<T> {
    waiter: T,
    level: usize,
    line: usize,
    before: Option<usize>,
    after: Option<usize>,
}

/// One caller's entries of one priority, in the order they came.
#[derive(Debug)]
struct Line {
    caller: u64,
    first: usize,
    last: usize,
    len: usize,
    /// Neighbors in the ring of lines.
    before: usize,
    after: usize,
}

/// The lines of one priority.
#[derive(Debug, Default)]
struct Level {
    lines: Slab<Line>,
    of_caller: HashMap<u64, usize>,
    by_length: BTreeSet<(usize, usize)>,
    /// Whose turn it is.
    turn: Option<usize>,
}

/// The queue.
#[derive(Debug)]
pub struct Queue<T> {
    entries: Slab<Entry<T>>,
    levels: [Level; Priority::ALL.len()],
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { entries: Slab::new(), levels: Default::default() }
    }
}

impl<T> Queue<T> {
    /// Entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts an entry at the end of its caller's line.
    pub fn push(&mut self, caller: u64, priority: Priority, waiter: T) -> Place {
        let level = priority as usize;
        let key = self.entries.vacant_key();
        let lines = &mut self.levels[level];
        let (line, before) = match lines.of_caller.get(&caller) {
            Some(&line) => (line, Some(lines.append(line, key))),
            None => (lines.begin(caller, key), None),
        };
        if let Some(before) = before {
            self.entries[before].after = Some(key);
        }
        self.entries.insert(Entry { waiter, level, line, before, after: None });
        Place(key)
    }

    /// Takes out whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let (level, line) =
            self.levels.iter().enumerate().find_map(|(level, lines)| Some((level, lines.turn?)))?;
        let lines = &mut self.levels[level];
        lines.turn = Some(lines.lines[line].after);
        let first = lines.lines[line].first;
        Some(self.remove(Place(first)))
    }

    /// Takes an entry out, wherever it is.
    pub fn remove(&mut self, Place(key): Place) -> T {
        let Entry { waiter, level, line, before, after } = self.entries.remove(key);
        if let Some(before) = before {
            self.entries[before].after = after;
        }
        if let Some(after) = after {
            self.entries[after].before = before;
        }
        self.levels[level].shorten(line, before, after);
        waiter
    }

    /// Who is to go so that a newcomer has room: the last of the longest line among those that are less urgent, or as
    /// urgent and more than the newcomer's caller would have. `None` if that is the newcomer.
    pub fn least_entitled(&self, caller: u64, priority: Priority) -> Option<Place> {
        for level in (priority as usize..self.levels.len()).rev() {
            let lines = &self.levels[level];
            let Some(&(len, line)) = lines.by_length.last() else { continue };
            if level == priority as usize {
                let own = lines.of_caller.get(&caller).map_or(0, |own| lines.lines[*own].len);
                if len <= own + 1 {
                    return None;
                }
            }
            return Some(Place(lines.lines[line].last));
        }
        None
    }
}

impl Level {
    /// A new line of one entry, served last in this round.
    fn begin(&mut self, caller: u64, entry: usize) -> usize {
        let line = self.lines.vacant_key();
        let (before, after) = match self.turn {
            None => (line, line),
            Some(turn) => (self.lines[turn].before, turn),
        };
        self.lines.insert(Line { caller, first: entry, last: entry, len: 1, before, after });
        self.lines[before].after = line;
        self.lines[after].before = line;
        self.turn.get_or_insert(line);
        self.of_caller.insert(caller, line);
        self.by_length.insert((1, line));
        line
    }

    /// One more at the end; gives the entry that was the last.
    fn append(&mut self, line: usize, entry: usize) -> usize {
        let found = &mut self.lines[line];
        self.by_length.remove(&(found.len, line));
        found.len += 1;
        self.by_length.insert((found.len, line));
        std::mem::replace(&mut found.last, entry)
    }

    /// One entry less, which was between these two.
    fn shorten(&mut self, line: usize, before: Option<usize>, after: Option<usize>) {
        let found = &mut self.lines[line];
        self.by_length.remove(&(found.len, line));
        found.len -= 1;
        match (before, after) {
            (None, None) => return self.end(line),
            (None, Some(after)) => found.first = after,
            (Some(before), None) => found.last = before,
            (Some(_), Some(_)) => {}
        }
        self.by_length.insert((found.len, line));
    }

    fn end(&mut self, line: usize) {
        let Line { caller, before, after, .. } = self.lines.remove(line);
        self.of_caller.remove(&caller);
        if after == line {
            self.turn = None;
            return;
        }
        self.lines[before].after = after;
        self.lines[after].before = before;
        if self.turn == Some(line) {
            self.turn = Some(after);
        }
    }
}

#[cfg(test)]
mod tests;
