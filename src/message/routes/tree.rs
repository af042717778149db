//! The segment tree behind the route table.
//!
//! Invariant: a node is entered at most once in a lookup, because it stands for one sequence of
//! segments; the work is bounded by the size of the tree, whatever the path.

use std::cmp::Ordering;

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
    /// Sorted by length, then bytes: most comparisons end at the length.
    literals: Vec<(Box<[u8]>, u32)>,
    parameter: Option<u32>,
    /// The path ends here.
    end: Leaf,
    /// `/*`: at least a slash follows.
    tail: Leaf,
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
            Segment::Literal(text) => {
                let bytes = text.as_bytes();
                match node.literals.binary_search_by(|(have, _)| by_length(have, bytes)) {
                    Ok(found) => node.literals[found].1,
                    Err(gap) => {
                        node.literals.insert(gap, (bytes.into(), next));
                        next
                    }
                }
            }
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
        if node.parameter.is_some() || !node.literals.is_empty() {
            let (segment, behind) = match memchr::memchr(b'/', rest) {
                Some(slash) => (&rest[..slash], Some(&rest[slash + 1..])),
                None => (rest, None),
            };
            let literal = node
                .literals
                .binary_search_by(|(have, _)| by_length(have, segment))
                .ok()
                .map(|found| node.literals[found].1);
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

fn by_length(have: &[u8], want: &[u8]) -> Ordering {
    have.len().cmp(&want.len()).then_with(|| have.cmp(want))
}
