//! Who asks for most, in constant memory, and the last refusals.
//!
//! The sketch is the Space-Saving algorithm of Metwally, Agrawal and El Abbadi (2005) cut into sets: a caller belongs
//! to one set by its hash, and a caller that is not in it takes the place of the least of its set, with the count it
//! finds there. Invariant: a count is never too low, and too high by at most what was taken over.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use crate::clock::Tick;

const SETS: usize = 64;
const WAYS: usize = 4;
/// Bytes of a user's name that are kept.
pub const MAX_NAME: usize = 64;
/// What is told is of one to two of these.
const GENERATION_NANOS: u64 = 300_000_000_000;
const MOST_REFUSALS: usize = 50;
/// A flood of refusals is told by a few of them.
const REFUSALS_APART_NANOS: u64 = 10_000_000;

/// A caller as people know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallerName {
    /// By identity; cut after [`MAX_NAME`] bytes.
    User(Box<[u8]>),
    /// By the client's address; `None` for a Unix peer nobody spoke for.
    Address(Option<IpAddr>),
}

/// A caller that has just been served.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Of its name, by a secret seed.
    pub hash: u64,
    /// By identity.
    pub user: Option<&'a [u8]>,
    /// The client's.
    pub address: Option<IpAddr>,
}

impl Caller<'_> {
    fn name(&self) -> CallerName {
        match self.user {
            Some(user) => CallerName::User(user[..user.len().min(MAX_NAME)].into()),
            None => CallerName::Address(self.address),
        }
    }
}

/// What a caller took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Took {
    /// A limit refused.
    pub refused: bool,
    /// Both ways.
    pub bytes: u64,
    /// Tokens it paid to limits.
    pub cost: u64,
}

/// Names and counts, the greatest first.
pub type Ranking = Vec<(CallerName, u64)>;

/// Rankings by what callers took.
#[derive(Debug, Clone, Default)]
pub struct Rankings {
    /// By requests.
    pub requests: Ranking,
    /// By refusals.
    pub refusals: Ranking,
    /// By bytes.
    pub bytes: Ranking,
    /// By tokens.
    pub cost: Ranking,
}

/// A refusal by a limit.
#[derive(Debug, Clone)]
pub struct RefusalNote {
    /// When, in nanoseconds since 1970.
    pub unix_nanos: u64,
    /// The request's id.
    pub request_id: Box<str>,
    /// Whose it was.
    pub caller: CallerName,
    /// The route's name.
    pub route: Arc<str>,
    /// The limit that refused.
    pub limit: Arc<str>,
    /// What the client was told to wait.
    pub retry_after_seconds: u64,
}

/// What a worker notes of callers.
#[derive(Debug, Default)]
pub struct Noted {
    generations: [Sketches; 2],
    begun: Option<Tick>,
    refusals: VecDeque<RefusalNote>,
    last_refusal: Option<Tick>,
}

#[derive(Debug, Default)]
struct Sketches {
    requests: Sketch,
    refusals: Sketch,
    bytes: Sketch,
    cost: Sketch,
}

impl Noted {
    /// Notes an exchange.
    pub fn note(&mut self, caller: Caller<'_>, took: Took, now: Tick) {
        self.turn(now);
        let sketches = &mut self.generations[0];
        sketches.requests.add(caller, 1);
        sketches.bytes.add(caller, took.bytes);
        if took.cost > 0 {
            sketches.cost.add(caller, took.cost);
        }
        if took.refused {
            sketches.refusals.add(caller, 1);
        }
    }

    /// Notes a refusal, if the last one is a moment ago.
    pub fn note_refusal(
        &mut self,
        now: Tick,
        caller: Caller<'_>,
        note: impl FnOnce(CallerName) -> RefusalNote,
    ) {
        if self.last_refusal.is_some_and(|last| now.nanos_since(last) < REFUSALS_APART_NANOS) {
            return;
        }
        self.last_refusal = Some(now);
        if self.refusals.len() >= MOST_REFUSALS {
            self.refusals.pop_front();
        }
        self.refusals.push_back(note(caller.name()));
    }

    /// The last refusals, the oldest first.
    pub fn refusals(&self) -> impl Iterator<Item = &RefusalNote> {
        self.refusals.iter()
    }

    /// Every caller that is kept, with its counts, in no order; of the last five to ten minutes.
    pub fn rankings(&mut self, now: Tick) -> Rankings {
        self.turn(now);
        let all = |pick: fn(&Sketches) -> &Sketch| {
            self.generations.iter().flat_map(|sketches| pick(sketches).entries()).collect()
        };
        Rankings {
            requests: all(|sketches| &sketches.requests),
            refusals: all(|sketches| &sketches.refusals),
            bytes: all(|sketches| &sketches.bytes),
            cost: all(|sketches| &sketches.cost),
        }
    }

    fn turn(&mut self, now: Tick) {
        let begun = *self.begun.get_or_insert(now);
        let age = now.nanos_since(begun);
        if age < GENERATION_NANOS {
            return;
        }
        self.begun = Some(now);
        self.generations.swap(0, 1);
        self.generations[0] = Sketches::default();
        if age >= 2 * GENERATION_NANOS {
            self.generations[1] = Sketches::default();
        }
    }
}

/// The heaviest callers by one measure; empty until the first.
#[derive(Debug, Default)]
struct Sketch {
    sets: Vec<Set>,
}

#[derive(Debug, Default)]
struct Set {
    hashes: [u64; WAYS],
    counts: [u64; WAYS],
    names: [Option<CallerName>; WAYS],
}

impl Sketch {
    fn add(&mut self, caller: Caller<'_>, more: u64) {
        if self.sets.is_empty() {
            self.sets.resize_with(SETS, Set::default);
        }
        let set = &mut self.sets[(caller.hash >> 32) as usize % SETS];
        let known = (0..WAYS).find(|way| set.hashes[*way] == caller.hash && set.names[*way].is_some());
        let way = known.unwrap_or_else(|| {
            let least = (0..WAYS).min_by_key(|way| set.counts[*way]).unwrap_or(0);
            set.hashes[least] = caller.hash;
            set.names[least] = Some(caller.name());
            least
        });
        set.counts[way] = set.counts[way].saturating_add(more);
    }

    fn entries(&self) -> impl Iterator<Item = (CallerName, u64)> {
        self.sets.iter().flat_map(|set| {
            set.names.iter().zip(set.counts).filter_map(|(name, count)| Some((name.clone()?, count)))
        })
    }
}

/// Rankings of several workers as one; the `most` greatest of each.
pub fn merge(all: Vec<Rankings>, most: usize) -> Rankings {
    let merged = |pick: fn(&Rankings) -> &Ranking| {
        let mut sums = std::collections::HashMap::<CallerName, u64>::new();
        for (name, count) in all.iter().flat_map(pick) {
            *sums.entry(name.clone()).or_default() += count;
        }
        let mut ranking: Ranking = sums.into_iter().filter(|(_, count)| *count > 0).collect();
        ranking.sort_by(|(a_name, a), (b_name, b)| b.cmp(a).then_with(|| a_name.cmp(b_name)));
        ranking.truncate(most);
        ranking
    };
    Rankings {
        requests: merged(|rankings| &rankings.requests),
        refusals: merged(|rankings| &rankings.refusals),
        bytes: merged(|rankings| &rankings.bytes),
        cost: merged(|rankings| &rankings.cost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(number: u32) -> Caller<'static> {
        // Any well-mixed hash.
        let hash = u64::from(number).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Caller { hash, user: None, address: Some(IpAddr::from(number.to_be_bytes())) }
    }

    fn name(number: u32) -> CallerName {
        CallerName::Address(Some(IpAddr::from(number.to_be_bytes())))
    }

    #[test]
    fn a_heavy_caller_stands_out_of_a_flood_of_others() {
        let mut noted = Noted::default();
        for round in 0..100_000u32 {
            noted.note(caller(10 + round), Took { bytes: 1, ..Took::default() }, Tick(0));
            if round % 20 == 0 {
                noted.note(caller(1), Took { bytes: 1, cost: 3, refused: true }, Tick(0));
            }
        }
        let rankings = merge(vec![noted.rankings(Tick(0))], 5);
        assert_eq!(rankings.requests[0].0, name(1));
        assert!(rankings.requests[0].1 >= 5_000, "never too low: {:?}", rankings.requests);
        assert_eq!(rankings.cost, [(name(1), 15_000)]);
        assert_eq!(rankings.refusals, [(name(1), 5_000)]);
    }

    #[test]
    fn memory_is_bounded_whoever_comes() {
        let mut noted = Noted::default();
        for number in 0..1_000_000 {
            noted.note(caller(number), Took::default(), Tick(0));
        }
        assert_eq!(noted.rankings(Tick(0)).requests.len(), SETS * WAYS);
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut noted = Noted::default();
        noted.note(caller(1), Took::default(), Tick(0));
        assert_eq!(noted.rankings(Tick(GENERATION_NANOS)).requests.len(), 1);
        noted.note(caller(2), Took::default(), Tick(GENERATION_NANOS));
        let later = merge(vec![noted.rankings(Tick(2 * GENERATION_NANOS))], 9);
        assert_eq!(later.requests, [(name(2), 1)]);
        assert!(noted.rankings(Tick(9 * GENERATION_NANOS)).requests.is_empty());
    }

    #[test]
    fn long_names_are_cut_and_workers_are_added_up() {
        let user = vec![b'a'; 4096];
        let caller = Caller { hash: 7, user: Some(&user), address: None };
        let mut workers = [Noted::default(), Noted::default()];
        for worker in &mut workers {
            worker.note(caller, Took::default(), Tick(0));
        }
        let rankings = workers.iter_mut().map(|worker| worker.rankings(Tick(0))).collect();
        assert_eq!(merge(rankings, 9).requests, [(CallerName::User(user[..MAX_NAME].into()), 2)]);
    }
}
