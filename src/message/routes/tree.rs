//! The segment tree behind the route table.
//!
//! Invariant: a node is entered at most once in a lookup, because it stands for one sequence of
//! segments; the work is bounded by the size of the tree, whatever the path.

use http::Method;

use super::pattern::{Pattern, Segment};

/// Nodes by index; the root is the first.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

/// What may follow one sequence of segments.
#[derive(Debug, Clone, Default)]
struct Node {
    literals: Literals,
    parameter: Option<u32>,
    /// The path ends here.
    end: Leaf,
    /// `/*`: at least a slash follows.
    tail: Leaf,
}

/// The literal segments that may follow, each with its node.
///
/// A hash table with linear probing: segments of an API begin alike, so searching by comparison
/// would compare long texts many times. The segments are the operator's, so nobody else can force
/// collisions.
#[derive(Debug, Clone, Default)]
struct Literals {
    entries: Vec<(Box<[u8]>, u32)>,
    /// Places in `entries` plus one, 0 for none; a power of two, at least twice as many. Empty as
    /// long as there are few entries.
    slots: Vec<u32>,
}

/// The routes of one path pattern, by method.
#[derive(Debug, Clone, Default)]
struct Leaf {
    named: Vec<(Method, Owner)>,
    every: Option<Owner>,
}

/// A route, and the place of the pattern that put it here.
#[derive(Debug, Clone, Copy)]
struct Owner {
    route: u32,
    place: usize,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree { nodes: vec![Node::default()] }
    }
}

impl Tree {
    /// Adds a pattern for one method; answers the place of the pattern that was there before it.
    pub(super) fn insert(
        &mut self,
        pattern: &Pattern,
        method: Option<Method>,
        route: u32,
        place: usize,
    ) -> Option<usize> {
        let mut at = 0;
        for segment in pattern.segments() {
            at = self.child(at, segment);
        }
        let node = &mut self.nodes[at as usize];
        let leaf = if pattern.has_tail() { &mut node.tail } else { &mut node.end };
        leaf.insert(method, Owner { route, place })
    }

    fn child(&mut self, at: u32, segment: &Segment) -> u32 {
        let next = self.nodes.len() as u32;
        let node = &mut self.nodes[at as usize];
        let child = match segment {
            Segment::Parameter(_) => *node.parameter.get_or_insert(next),
            Segment::Literal(text) => node.literals.get_or_insert(text.as_bytes(), next),
        };
        if child == next {
            self.nodes.push(Node::default());
        }
        child
    }

    pub(super) fn find(&self, method: &Method, path: &[u8]) -> Option<u32> {
        let root = self.nodes.first()?;
        match path.split_first() {
            Some((b'/', rest)) => self.descend(root, method, rest),
            _ => root.tail.find(method),
        }
    }

    /// The best match below `node`; `rest` stands behind a slash.
    fn descend(&self, node: &Node, method: &Method, rest: &[u8]) -> Option<u32> {
        if node.parameter.is_some() || !node.literals.entries.is_empty() {
            let (segment, behind) = match memchr::memchr(b'/', rest) {
                Some(slash) => (&rest[..slash], Some(&rest[slash + 1..])),
                None => (rest, None),
            };
            let literal = node.literals.get(segment);
            let parameter = node.parameter.filter(|_| !segment.is_empty());
            for child in [literal, parameter].into_iter().flatten() {
                let child = &self.nodes[child as usize];
                let found = match behind {
                    Some(behind) => self.descend(child, method, behind),
                    None => child.end.find(method),
                };
                if found.is_some() {
                    return found;
                }
            }
        }
        node.tail.find(method)
    }
}

impl Literals {
    /// Up to here comparing each is faster than hashing.
    const FEW: usize = 3;

    fn get(&self, segment: &[u8]) -> Option<u32> {
        if self.slots.is_empty() {
            let found = self.entries.iter().find(|(text, _)| **text == *segment)?;
            return Some(found.1);
        }
        let mut slot = hash(segment) as usize;
        loop {
            let place = self.slots[slot & (self.slots.len() - 1)];
            let (text, child) = self.entries.get((place as usize).checked_sub(1)?)?;
            if **text == *segment {
                return Some(*child);
            }
            slot = slot.wrapping_add(1);
        }
    }

    fn get_or_insert(&mut self, segment: &[u8], child: u32) -> u32 {
        if let Some(found) = self.get(segment) {
            return found;
        }
        self.entries.push((segment.into(), child));
        if self.entries.len() * 2 > self.slots.len() && self.entries.len() > Literals::FEW {
            self.slots = vec![0; (self.entries.len() * 4).next_power_of_two()];
            for place in 1..=self.entries.len() {
                self.fill_slot(place);
            }
        } else if !self.slots.is_empty() {
            self.fill_slot(self.entries.len());
        }
        child
    }

    /// Puts an entry into the first free slot from where its hash points.
    fn fill_slot(&mut self, place: usize) {
        let last = self.slots.len() - 1;
        let mut slot = hash(&self.entries[place - 1].0) as usize & last;
        while self.slots[slot] != 0 {
            slot = (slot + 1) & last;
        }
        self.slots[slot] = place as u32;
    }
}

/// Multiply and rotate, eight bytes at a time; the high bits, which every byte has reached, end up
/// where slots are picked from.
fn hash(segment: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = segment.as_chunks::<8>();
    let mut hash = segment.len() as u64;
    for word in words {
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
    }
    let rest = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    hash = (hash.rotate_left(5) ^ rest).wrapping_mul(FACTOR);
    hash >> 32
}

impl Leaf {
    fn insert(&mut self, method: Option<Method>, owner: Owner) -> Option<usize> {
        match method {
            None => match self.every {
                Some(first) => return Some(first.place),
                None => self.every = Some(owner),
            },
            Some(method) => match self.get(&method) {
                Some(first) => return Some(first.place),
                None => self.named.push((method, owner)),
            },
        }
        None
    }

    fn get(&self, method: &Method) -> Option<Owner> {
        let found = self.named.iter().find(|(named, _)| named == method)?;
        Some(found.1)
    }

    fn find(&self, method: &Method) -> Option<u32> {
        let owner = self
            .get(method)
            .or_else(|| match *method {
                Method::HEAD => self.get(&Method::GET),
                _ => None,
            })
            .or(self.every)?;
        Some(owner.route)
    }
}
