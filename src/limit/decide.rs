//! The decision over all limits a request meets: every one is debited, or none.
//!
//! All are looked at before the first is debited, so that a refusal writes nothing and takes nothing from anybody
//! meanwhile. When another request is faster between the look and a debit, what was debited is given back.
//!
//! Invariant: a refused request leaves every state as it found it; which limits refuse does not depend on their
//! order.

use smallvec::SmallVec;

use super::buckets::{Buckets, Debit, Standing};
use super::key::{Digest, Payer};
use super::meter::{Measure, Meter};
use super::rules::{Cost, Due, Limit, Limiting, Mode};
use super::state::Now;

/// A meter a request meets.
#[derive(Debug, Clone, Copy)]
pub struct Met<'a> {
    /// Whose it is.
    pub limit: &'a Limit,
    /// The meter.
    pub meter: &'a Meter,
    /// Who pays.
    pub payer: Digest,
    /// How much, on entry.
    pub cost: u64,
    /// Whether a refusal counts.
    pub enforced: bool,
}

/// What a request meets; eight meters before it allocates.
pub type Meets<'a> = SmallVec<[Met<'a>; 8]>;

/// Every meter of every limit of a route that counts this payer.
pub fn meets<'a>(
    due: &'a [Due],
    limiting: &Limiting,
    payer: &Payer<'_>,
    tier: Option<&str>,
    buckets: &Buckets,
) -> Meets<'a> {
    let mut meets = Meets::new();
    for Due { limit, cost } in due {
        let mode = limit.mode.min(limiting.mode);
        if mode == Mode::Off {
            continue;
        }
        let Some(payer) = buckets.seed.digest(limit, payer) else { continue };
        let enforced = mode == Mode::Enforce;
        for meter in limit.meters(tier) {
            let cost = if matches!(meter.measure, Measure::InFlight(_)) { 1 } else { *cost };
            meets.push(Met { limit, meter, payer, cost, enforced });
        }
    }
    meets
}

/// What was taken, and must be given back or settled when more is known.
#[derive(Debug)]
pub struct Owed {
    /// The meter, kept beyond the configuration it came from.
    pub meter: Meter,
    /// The debit.
    pub debit: Debit,
    /// The limit's way to tell the cost; fixed where only a place in flight is given back.
    pub cost: Cost,
}

/// Limits in shadow mode, each once.
pub type Shadows<'a> = SmallVec<[&'a Limit; 2]>;

/// A decision.
#[derive(Debug)]
pub struct Decision<'a> {
    /// Whether the request may pass.
    pub verdict: Verdict<'a>,
    /// The limits in shadow mode that would have refused, the one that would free last first.
    pub shadows: Shadows<'a>,
}

/// Whether a request may pass.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// It has paid.
    Admitted {
        /// Of the enforced limits the one nearest to refusing.
        tightest: Option<(Met<'a>, Standing)>,
        /// What is to be done later.
        owed: Vec<Owed>,
    },
    /// It has paid nothing.
    Refused {
        /// The limit that frees last.
        by: Met<'a>,
        /// Until it would pass if nobody else spends; at least 1.
        wait_nanos: u64,
    },
}

/// Decides, and debits if all of it can be had.
pub fn decide<'a>(meets: &[Met<'a>], buckets: &Buckets, now: Now) -> Decision<'a> {
    let enforced = || meets.iter().filter(|met| met.enforced);
    // A single meter looks when it debits.
    if enforced().nth(1).is_some()
        && let Some((by, wait_nanos)) = refusal(enforced(), buckets, now)
    {
        return Decision { verdict: Verdict::Refused { by, wait_nanos }, shadows: Shadows::new() };
    }
    let mut debits: SmallVec<[(&Met<'a>, Debit); 8]> = SmallVec::new();
    let mut tightest: Option<(Met<'a>, Standing)> = None;
    for met in enforced() {
        match buckets.debit(met.meter, met.payer, now, met.cost) {
            Ok((debit, standing)) => {
                debits.push((met, debit));
                if tightest.as_ref().is_none_or(|(other, least)| is_tighter(met, standing, other, *least)) {
                    tightest = Some((*met, standing));
                }
            }
            Err(wait) => {
                for (met, debit) in &debits {
                    buckets.refund(met.meter, debit, now, debit.tokens);
                }
                let others = enforced().filter(|other| !std::ptr::eq(*other, met));
                let (by, wait_nanos) = refusal(others, buckets, now)
                    .filter(|(_, nanos)| *nanos > wait.nanos)
                    .unwrap_or((*met, wait.nanos));
                return Decision { verdict: Verdict::Refused { by, wait_nanos }, shadows: Shadows::new() };
            }
        }
    }
    let shadows = debit_shadows(meets, buckets, now, &mut debits);
    let owed = debits.iter().filter_map(|(met, debit)| owed(met, debit)).collect();
    Decision { verdict: Verdict::Admitted { tightest, owed }, shadows }
}

/// Whether a request would be refused: by which meter, and the nanoseconds until it would pass. Changes nothing.
pub fn look<'a>(meets: &[Met<'a>], buckets: &Buckets, now: Now) -> Option<(Met<'a>, u64)> {
    refusal(meets.iter().filter(|met| met.enforced), buckets, now)
}

/// Of the meters that would refuse, the one that frees last.
fn refusal<'m, 'a: 'm>(
    meets: impl Iterator<Item = &'m Met<'a>>,
    buckets: &Buckets,
    now: Now,
) -> Option<(Met<'a>, u64)> {
    let mut last: Option<(Met<'a>, u64)> = None;
    for met in meets {
        if let Err(wait) = buckets.look(met.meter, met.payer, now, met.cost)
            && last.as_ref().is_none_or(|(_, nanos)| wait.nanos > *nanos)
        {
            last = Some((*met, wait.nanos));
        }
    }
    last
}

/// Limits in shadow mode each decide for themselves, as they would if they were enforced alone.
fn debit_shadows<'m, 'a>(
    meets: &'m [Met<'a>],
    buckets: &Buckets,
    now: Now,
    debits: &mut SmallVec<[(&'m Met<'a>, Debit); 8]>,
) -> Shadows<'a> {
    let (mut refusing, mut longest) = (Shadows::new(), 0);
    for met in meets.iter().filter(|met| !met.enforced) {
        match buckets.debit(met.meter, met.payer, now, met.cost) {
            Ok((debit, _)) => debits.push((met, debit)),
            Err(wait) => {
                let known = refusing.iter().position(|limit| std::ptr::eq(*limit, met.limit));
                let at = known.unwrap_or_else(|| {
                    refusing.push(met.limit);
                    refusing.len() - 1
                });
                if wait.nanos > longest {
                    longest = wait.nanos;
                    refusing.swap(0, at);
                }
            }
        }
    }
    refusing
}

/// Fewer requests like this one are left; with equally many, it takes longer until there are more.
fn is_tighter(met: &Met<'_>, standing: Standing, other: &Met<'_>, least: Standing) -> bool {
    let (left, others) = (standing.remaining / met.cost.max(1), least.remaining / other.cost.max(1));
    left < others || (left == others && standing.reset_nanos > least.reset_nanos)
}

fn owed(met: &Met<'_>, debit: &Debit) -> Option<Owed> {
    let cost = match (&met.meter.measure, &met.limit.cost) {
        (Measure::InFlight(_), _) => Cost::Fixed(1),
        (_, cost @ Cost::Answer { .. }) => cost.clone(),
        _ => return None,
    };
    Some(Owed { meter: met.meter.clone(), debit: *debit, cost })
}
