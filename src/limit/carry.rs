//! Which states outlive a change of the rules: limits are matched by name, their meters by what they measure.
//!
//! The same numbers: the states stay as they are. Changed numbers: what was spent stays spent, see
//! [`TokenBucket::convert`]. Something else counted by, or in another way: new states. A limit that is gone takes
//! its states with it.
//!
//! The way of a change: [`carry_over`] gives the new meters their tags, [`Carried::measure`] looks what it would
//! mean right now, then the new rules come into force, in which a bucket asks its predecessor on first use, and
//! [`Carried::finish`] moves what nobody has asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bucket::TokenBucket;
use super::buckets::Buckets;
use super::meter::{Measure, Meter, Tag};
use super::rules::{Due, Limit, Limits};
use super::state::{Now, is_as_good_as_new};

/// What becomes of the states of one rule set under another.
#[derive(Debug, Clone, Default)]
pub struct Carried {
    /// Of each limit that is in either of the rule sets, by name.
    pub fates: BTreeMap<Arc<str>, Fate>,
    /// Buckets whose numbers changed, by their former tag.
    moved: BTreeMap<Tag, Moved>,
    /// Tags whose states mean nothing any more.
    dropped: BTreeSet<Tag>,
}

#[derive(Debug, Clone)]
struct Moved {
    limit: Arc<str>,
    tag: Tag,
    before: TokenBucket,
    after: TokenBucket,
}

/// What becomes of a limit's states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// They stay as they are.
    Same,
    /// Their numbers change; what was spent stays spent.
    Converted,
    /// There were none.
    New,
    /// The limit counts by something else, or in another way, from now on.
    Fresh,
    /// The limit is gone.
    Dropped,
}

/// What a change means to the keys known right now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Impact {
    /// By limit with changed numbers: keys known, and those of them that could pay before and cannot after.
    pub limits: BTreeMap<Arc<str>, (usize, usize)>,
}

impl Impact {
    /// Whether more than this share of the keys known can no longer pay.
    pub fn exceeds(&self, percent: u8) -> bool {
        let (known, over) = self.total();
        over * 100 > known * usize::from(percent)
    }

    /// Keys known, and those that can no longer pay, over all limits with changed numbers.
    pub fn total(&self) -> (usize, usize) {
        self.limits.values().fold((0, 0), |sum, limit| (sum.0 + limit.0, sum.1 + limit.1))
    }
}

/// Gives every meter of `new` its tag: that of the states it takes over from `old`, or one that is not in use.
pub fn carry_over(old: &Limits, new: &mut Limits) -> Carried {
    let mut carried = Carried::default();
    let mut tags = Tags { taken: tags_of(old).collect(), next: 1 };
    for limit in &old.limits {
        carried.fates.insert(Arc::clone(&limit.name), Fate::Dropped);
    }
    for limit in &mut new.limits {
        let before = old.limits.iter().find(|before| before.name == limit.name);
        let (tagged, fate) = carry_limit(limit, before.map(Arc::as_ref), &mut tags, &mut carried);
        carried.fates.insert(Arc::clone(&tagged.name), fate);
        *limit = Arc::new(tagged);
    }
    let limits = &new.limits;
    for Due { limit, .. } in new.by_route.iter_mut().flatten() {
        if let Some(tagged) = limits.iter().find(|tagged| tagged.name == limit.name) {
            *limit = Arc::clone(tagged);
        }
    }
    let kept: BTreeSet<Tag> = tags_of(new).collect();
    let moved = &carried.moved;
    carried.dropped = tags_of(old).filter(|tag| !kept.contains(tag) && !moved.contains_key(tag)).collect();
    carried
}

fn tags_of(limits: &Limits) -> impl Iterator<Item = Tag> {
    limits.limits.iter().flat_map(|limit| all_meters(limit)).map(|meter| meter.tag)
}

fn all_meters(limit: &Limit) -> impl Iterator<Item = &Meter> {
    limit.standard.iter().chain(limit.tiers.iter().flat_map(|(_, meters)| meters))
}

fn carry_limit(
    limit: &Limit,
    before: Option<&Limit>,
    tags: &mut Tags,
    carried: &mut Carried,
) -> (Limit, Fate) {
    let mut tagged = limit.clone();
    let same_keys = |before: &&Limit| {
        before.key == limit.key && before.per == limit.per && before.ipv6_prefix == limit.ipv6_prefix
    };
    let states = before.filter(same_keys);
    let mut fate = if before.is_some() && states.is_none() { Fate::Fresh } else { Fate::New };
    if states.is_some() {
        fate = Fate::Same;
    }
    let standard = states.map(|before| &before.standard[..]).unwrap_or_default();
    fate = worse(fate, carry_meters(&mut tagged.standard, standard, &limit.name, tags, carried));
    for (tier, meters) in &mut tagged.tiers {
        let of_tier = states.and_then(|before| before.tiers.iter().find(|(name, _)| name == tier));
        let of_tier = of_tier.map(|(_, meters)| &meters[..]).unwrap_or_default();
        fate = worse(fate, carry_meters(meters, of_tier, &limit.name, tags, carried));
    }
    (tagged, fate)
}

/// Of a limit that had states, what changes most.
fn worse(fate: Fate, meters: Fate) -> Fate {
    match (fate, meters) {
        (Fate::Same | Fate::Converted, Fate::New | Fate::Fresh) => Fate::Fresh,
        (Fate::Same, Fate::Converted) => Fate::Converted,
        _ => fate,
    }
}

fn carry_meters(
    meters: &mut [Meter],
    before: &[Meter],
    limit: &Arc<str>,
    tags: &mut Tags,
    carried: &mut Carried,
) -> Fate {
    let mut left: Vec<&Meter> = before.iter().collect();
    let mut fate = Fate::Same;
    for meter in meters {
        let own = left.iter().position(|before| can_take_over(&meter.measure, &before.measure, true));
        let found = own
            .or_else(|| left.iter().position(|before| can_take_over(&meter.measure, &before.measure, false)));
        let Some(before) = found.map(|at| left.remove(at)) else {
            meter.tag = tags.free();
            fate = Fate::Fresh;
            continue;
        };
        match (&meter.measure, &before.measure) {
            (Measure::Bucket(after), Measure::Bucket(was)) if after != was => {
                meter.tag = tags.free();
                meter.before = Some(Box::new((before.tag, *was)));
                let moved = Moved { limit: Arc::clone(limit), tag: meter.tag, before: *was, after: *after };
                carried.moved.insert(before.tag, moved);
                if fate == Fate::Same {
                    fate = Fate::Converted;
                }
            }
            _ => meter.tag = before.tag,
        }
    }
    fate
}

/// Whether the states of `before` mean something to `meter`; with `exactly`, to none more.
fn can_take_over(meter: &Measure, before: &Measure, exactly: bool) -> bool {
    match (meter, before) {
        (Measure::Bucket(meter), Measure::Bucket(before)) => {
            !exactly || meter.rate().period_seconds() == before.rate().period_seconds()
        }
        (Measure::Sliding(meter), Measure::Sliding(before)) => {
            !exactly || meter.rate().period_seconds() == before.rate().period_seconds()
        }
        (Measure::Quota(meter), Measure::Quota(before)) => meter.has_windows_of(before),
        (Measure::InFlight(_), Measure::InFlight(_)) => true,
        _ => false,
    }
}

struct Tags {
    taken: BTreeSet<Tag>,
    next: Tag,
}

impl Tags {
    /// A tag that is not in use. Fewer limits than there are tags fit into any configuration.
    fn free(&mut self) -> Tag {
        while self.next == 0 || !self.taken.insert(self.next) {
            self.next = self.next.wrapping_add(1);
        }
        self.next
    }
}

impl Carried {
    /// What the change means to the keys known right now.
    pub fn measure(&self, buckets: &Buckets, now: Now) -> Impact {
        let mut impact = Impact::default();
        for Moved { limit, .. } in self.moved.values() {
            impact.limits.entry(Arc::clone(limit)).or_default();
        }
        for shard in buckets.table.shards() {
            for (key, state) in shard {
                let Some(moved) = self.moved.get(&key.tag()) else { continue };
                if is_as_good_as_new(state, now) {
                    continue;
                }
                let could_pay = moved.before.debit(state, now.tick, 1).is_ok();
                let after = moved.after.convert(&moved.before, state, now.tick);
                let can_pay = moved.after.debit(after, now.tick, 1).is_ok();
                let counts = impact.limits.entry(Arc::clone(&moved.limit)).or_default();
                counts.0 += 1;
                counts.1 += usize::from(could_pay && !can_pay);
            }
        }
        impact
    }

    /// Converts what no request has asked for since the new rules are in force, and drops what belongs to none
    /// of them.
    pub fn finish(&self, buckets: &Buckets, now: Now) {
        if self.moved.is_empty() && self.dropped.is_empty() {
            return;
        }
        buckets.table.rewrite(now, |key, state| {
            if let Some(moved) = self.moved.get(&key.tag()) {
                let converted = moved.after.convert(&moved.before, state, now.tick);
                return Some((key.retagged(moved.tag), converted));
            }
            self.dropped.contains(&key.tag()).then_some((key, 0))
        });
        buckets.logs.retain(|key| !self.dropped.contains(&key.tag()));
    }
}
