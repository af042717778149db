//! The calendar quota that one caller has used most of.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::meter::{Measure, Tag};
use super::quota::Quota;
use super::rules::Limits;
use super::state;
use super::table::Table;

/// How much of a quota is used.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaUse {
    /// The quota's limit.
    pub limit: Arc<str>,
    /// From 0 to 1.
    pub share: f64,
}

/// The largest share of a quota that one caller has used up in its window; `None` if no limit has a quota.
///
/// Reads all states, a shard at a time: milliseconds for a million of them.
pub fn fullest_quota(limits: &Limits, table: &Table, unix_nanos: u64) -> Option<QuotaUse> {
    let quotas = quotas(limits);
    let (_, (first, _)) = quotas.iter().next()?;
    let mut fullest = QuotaUse { limit: Arc::clone(first), share: 0.0 };
    for (key, state) in table.shards().flatten() {
        if !state::is_quota(state) {
            continue;
        }
        let Some((limit, quota)) = quotas.get(&key.tag()) else { continue };
        let (remaining, _) = quota.standing(state, unix_nanos);
        let share = quota.count().saturating_sub(remaining) as f64 / quota.count() as f64;
        if share > fullest.share {
            fullest = QuotaUse { limit: Arc::clone(limit), share };
        }
    }
    Some(fullest)
}

/// By the mark of their states.
fn quotas(limits: &Limits) -> BTreeMap<Tag, (&Arc<str>, &Quota)> {
    let meters = limits.limits.iter().flat_map(|limit| {
        let of_tiers = limit.tiers.iter().flat_map(|(_, meters)| meters);
        limit.standard.iter().chain(of_tiers).map(move |meter| (limit, meter))
    });
    meters
        .filter_map(|(limit, meter)| match &meter.measure {
            Measure::Quota(quota) => Some((meter.tag, (&limit.name, quota))),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::clock::Tick;
    use crate::limit::buckets::Buckets;
    use crate::limit::key::{Payer, Seed};
    use crate::limit::meter::Meter;
    use crate::limit::quota::{Calendar, CalendarUnit};
    use crate::limit::rate::Rate;
    use crate::limit::rules::{Cost, KeyPart, Limit, Mode, Scope};
    use crate::limit::state::Now;

    const SECOND: u64 = 1_000_000_000;
    const UNIX: u64 = 1_800_000_000 * SECOND;
    const DAY: u64 = 86_400 * SECOND;

    fn now(unix_nanos: u64) -> Now {
        Now { tick: Tick(unix_nanos - UNIX + DAY), unix_nanos }
    }

    fn quota(count: u64) -> Measure {
        Measure::Quota(Quota::new(count, Calendar::new(CalendarUnit::Day, TimeZone::UTC)).unwrap())
    }

    fn limit(name: &str, tag: Tag, standard: Measure, pro: Option<Measure>) -> Arc<Limit> {
        let meter = |tag, measure| Meter { tag, ..Meter::new(name, measure) };
        let tiers = pro.map(|measure| (Arc::from("pro"), vec![meter(tag + 1, measure)]));
        Arc::new(Limit {
            name: Arc::from(name),
            key: vec![KeyPart::User],
            per: Scope::Service,
            mode: Mode::Enforce,
            ipv6_prefix: 64,
            cost: Cost::Fixed(1),
            standard: vec![meter(tag, standard)],
            tiers: tiers.into_iter().collect(),
        })
    }

    fn spend(buckets: &Buckets, limit: &Limit, tier: Option<&str>, user: &[u8], cost: u64, at: u64) {
        let headers = HeaderMap::new();
        let payer = Payer { user: Some(user), api_key: None, address: None, headers: &headers, route: "" };
        let digest = buckets.seed.digest(limit, &payer).unwrap();
        for meter in limit.meters(tier) {
            buckets.debit(meter, digest, now(at), cost).unwrap();
        }
    }

    #[test]
    fn the_fullest_quota_is_found_among_all_limits_tiers_and_callers() {
        let rate =
            Measure::Bucket(crate::limit::bucket::TokenBucket::new(Rate::new(5, 60).unwrap(), 5).unwrap());
        let daily = limit("daily", 1, quota(100), Some(quota(1_000)));
        let exports = limit("exports", 3, quota(10), None);
        let per_user = limit("per_user", 5, rate, None);
        let limits = Limits {
            limits: vec![Arc::clone(&daily), Arc::clone(&exports), Arc::clone(&per_user)],
            ..Limits::default()
        };
        let buckets = Buckets::new(Seed([1, 2]), 10_000);
        let fullest = |at| fullest_quota(&limits, &buckets.table, at).unwrap();
        assert_eq!(fullest(UNIX), QuotaUse { limit: Arc::from("daily"), share: 0.0 });
        // A bucket that is empty is no quota.
        spend(&buckets, &per_user, None, b"1", 5, UNIX);
        for user in 0..200u8 {
            spend(&buckets, &daily, None, &[user], 20, UNIX);
        }
        assert_eq!(fullest(UNIX), QuotaUse { limit: Arc::from("daily"), share: 0.2 });
        spend(&buckets, &daily, Some("pro"), b"big", 300, UNIX);
        assert_eq!(fullest(UNIX), QuotaUse { limit: Arc::from("daily"), share: 0.3 });
        spend(&buckets, &exports, None, b"1", 9, UNIX);
        assert_eq!(fullest(UNIX), QuotaUse { limit: Arc::from("exports"), share: 0.9 });
        // A window that has ended is as if nothing were spent.
        assert_eq!(fullest(UNIX + DAY).share, 0.0);
    }

    #[test]
    fn without_a_quota_there_is_nothing_to_tell() {
        let buckets = Buckets::new(Seed([1, 2]), 10_000);
        assert_eq!(fullest_quota(&Limits::default(), &buckets.table, UNIX), None);
    }
}
