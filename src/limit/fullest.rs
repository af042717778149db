//! Which keys of a limit have least left, found by looking at all states once.
//!
//! Invariant: what is remembered while looking is bounded by the number of limits, not of keys; each shard is locked
//! only for the time of its copy. Keys are hashes and stay so, unless their caller is among those who are known.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;

use super::buckets::{Buckets, Standing};
use super::key::{Digest, Key, Payer};
use super::meter::{Meter, Tag};
use super::reset::{Known, digests, routes_of};
use super::rules::{KeyPart, Limit, Limits};
use super::state::{Now, is_as_good_as_new};

/// What was found of one limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Keys it holds a state for.
    pub keys: u64,
    /// Those that have least left, the fullest first.
    pub fullest: Vec<Full>,
}

/// Where one key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    /// Tokens left.
    pub remaining: u64,
    /// The most there can be.
    pub most: u64,
    /// Until nothing is spent any more.
    pub reset_nanos: u64,
    key: Key,
}

/// Whose a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner<'a> {
    /// A caller, by its place among those who are known, and the route where each has its own bucket.
    Known(usize, Option<&'a str>),
    /// All share it; the route where each has its own bucket.
    Everybody(Option<&'a str>),
    /// Nobody knows; a part of the hash.
    Hash(u32),
}

/// Looks at all states; by limit, at most `most` of the fullest keys.
pub fn survey(limits: &Limits, buckets: &Buckets, most: usize, now: Now) -> BTreeMap<Arc<str>, Survey> {
    let mut meters: BTreeMap<Tag, Metered<'_>> = BTreeMap::new();
    for (at, limit) in limits.limits.iter().enumerate() {
        let groups = std::iter::once(&limit.standard).chain(limit.tiers.iter().map(|(_, meters)| meters));
        for (group, meter) in
            groups.enumerate().flat_map(|(group, meters)| meters.iter().map(move |meter| (group, meter)))
        {
            meters.insert(meter.tag, Metered { limit: at, group, meter, states: 0 });
        }
    }
    let mut fullest: Vec<Vec<Full>> = vec![Vec::new(); limits.limits.len()];
    let mut look = |key: Key, standing: &dyn Fn(&Meter) -> Option<Standing>| {
        let Some(metered) = meters.get_mut(&key.tag()) else { return };
        let Some(Standing { remaining, reset_nanos }) = standing(metered.meter) else { return };
        metered.states += 1;
        let full = Full { remaining, most: metered.meter.measure.most(), reset_nanos, key: key.retagged(0) };
        keep(&mut fullest[metered.limit], full, most);
    };
    for (key, state) in buckets.table.shards().flatten() {
        if !is_as_good_as_new(state, now) {
            look(key, &|meter| Some(meter.measure.standing_of_state(state, now)));
        }
    }
    for (key, log) in buckets.logs.shards().flatten() {
        // A log that nothing counts in anymore stays until somebody tends it.
        let counts = |standing: &Standing| standing.reset_nanos > 0;
        look(key, &|meter| Some(meter.measure.standing_of_log(&log, now)).filter(counts));
    }
    let keys = count_keys(meters.values(), limits.limits.len());
    let names = limits.limits.iter().map(|limit| Arc::clone(&limit.name));
    names
        .zip(keys.into_iter().zip(fullest))
        .map(|(name, (keys, fullest))| (name, Survey { keys, fullest }))
        .collect()
}

struct Metered<'a> {
    limit: usize,
    /// Which of the limit's tiers.
    group: usize,
    meter: &'a Meter,
    states: u64,
}

/// A key has a state at each meter of its tier that it has used: the most of one meter is the number of keys.
fn count_keys<'a>(meters: impl Iterator<Item = &'a Metered<'a>>, limits: usize) -> Vec<u64> {
    let mut groups: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for metered in meters {
        let most = groups.entry((metered.limit, metered.group)).or_default();
        *most = metered.states.max(*most);
    }
    let mut keys = vec![0; limits];
    groups.into_iter().for_each(|((limit, _), most)| keys[limit] += most);
    keys
}

/// Puts a key among the fullest, once, with the meter that has least left.
fn keep(fullest: &mut Vec<Full>, full: Full, most: usize) {
    if let Some(at) = fullest.iter().position(|other| other.key == full.key) {
        if !full.is_fuller(&fullest[at]) {
            return;
        }
        fullest.remove(at);
    }
    let at = fullest.partition_point(|other| !full.is_fuller(other));
    if at < most {
        fullest.insert(at, full);
        fullest.truncate(most);
    }
}

impl Full {
    /// A smaller share is left; with the same share, it takes longer until there is more.
    fn is_fuller(&self, other: &Full) -> bool {
        let share = |one: &Full, of: &Full| u128::from(one.remaining) * u128::from(of.most);
        match share(self, other).cmp(&share(other, self)) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => self.reset_nanos > other.reset_nanos,
            std::cmp::Ordering::Greater => false,
        }
    }
}

/// Whose the fullest keys of a limit are, in their order. Nothing leads from a hash to a name: those who are known
/// are hashed and compared.
pub fn owners<'a>(
    limits: &'a Limits,
    routes: &'a [&'a str],
    limit: &'a Limit,
    fullest: &[Full],
    known: &'a [Known<'a>],
    buckets: &'a Buckets,
) -> Vec<Owner<'a>> {
    let mut owners: Vec<Owner<'a>> =
        fullest.iter().map(|full| Owner::Hash((full.key.words()[0] & 0xff_ffff) as u32)).collect();
    let mut name = |digest: Digest, owner: Owner<'a>| {
        let key = digest.tagged(0);
        if let Some(at) = fullest.iter().position(|full| full.key == key) {
            owners[at] = owner;
        }
    };
    if limit.key.iter().all(|part| *part == KeyPart::Global) {
        let headers = HeaderMap::new();
        for route in routes_of(limits, routes, limit) {
            let nobody = Payer {
                user: None,
                api_key: None,
                address: None,
                headers: &headers,
                route: route.unwrap_or_default(),
            };
            if let Some(digest) = buckets.seed.digest(limit, &nobody) {
                name(digest, Owner::Everybody(route));
            }
        }
        return owners;
    }
    for (at, known) in known.iter().enumerate().filter(|(_, known)| known.finds_keys_of(limit)) {
        for (route, digest) in digests(limits, routes, limit, known, buckets) {
            name(digest, Owner::Known(at, route));
        }
    }
    owners
}

#[cfg(test)]
mod tests;
