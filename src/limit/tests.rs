//! The laws of limits, against plain models with exact arithmetic.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use proptest::prelude::*;

use super::bucket::TokenBucket;
use super::buckets::Buckets;
use super::carry::{Fate, carry_over};
use super::decide::{Meets, Verdict, decide, meets};
use super::key::{Payer, Seed};
use super::meter::{Measure, Meter};
use super::quota::{Calendar, CalendarUnit, Quota};
use super::rate::{MAX_NANOS, Rate};
use super::rules::{Cost, Due, KeyPart, Limit, Limiting, Limits, Mode, Scope};
use super::sliding::{Log, SlidingWindow};
use super::state::Now;
use crate::clock::Tick;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_000_000 * SECOND;
const UNIX: u64 = 1_800_000_000 * SECOND;

fn at(nanos: u64) -> Now {
    Now { tick: Tick(START + nanos), unix_nanos: UNIX + nanos }
}

fn rates() -> impl Strategy<Value = Rate> {
    let count = prop_oneof![1..200u64, 1..1_000_000_000u64];
    (count, prop_oneof![Just(1u64), Just(60), Just(900), Just(3600), 1..100_000u64])
        .prop_filter_map("a rate", |(count, period)| Rate::new(count, period))
}

/// Steps of time and cost: mostly small, sometimes a long pause.
fn history() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let pause = prop_oneof![Just(0u64), 0..1_000_000u64, 0..2 * SECOND, 0..2000 * SECOND];
    prop::collection::vec((pause, 1..6u64), 1..120)
}

proptest! {
    /// In any window `t`, what passes is at most `burst + rate * t`, in exact fractions.
    #[test]
    fn a_bucket_never_admits_more_than_burst_and_rate(rate in rates(), burst in 1..50u64, history in history()) {
        let Some(bucket) = TokenBucket::new(rate, burst) else { return Ok(()) };
        let (mut full_at, mut now) = (0, START);
        let mut passed: Vec<(u64, u64)> = Vec::new();
        for (pause, cost) in history {
            now += pause;
            if let Ok(debited) = bucket.debit(full_at, Tick(now), cost) {
                full_at = debited;
                passed.push((now, cost));
            }
        }
        for (first, (begin, _)) in passed.iter().enumerate() {
            let mut sum = 0u128;
            for (end, cost) in &passed[first..] {
                sum += u128::from(*cost);
                // sum <= burst + count * t / period, without a division.
                let period = u128::from(rate.period_nanos());
                let most = u128::from(burst) * period + u128::from(rate.count()) * u128::from(end - begin);
                prop_assert!(sum * period <= most, "{sum} in {} ns", end - begin);
            }
        }
    }

    /// A unit earlier refused, at the unit admitted; a refusal changes nothing.
    #[test]
    fn a_wait_is_exact(rate in rates(), burst in 1..50u64, history in history()) {
        let Some(bucket) = TokenBucket::new(rate, burst) else { return Ok(()) };
        let (mut full_at, mut now) = (0, START);
        for (pause, cost) in history {
            now += pause;
            match bucket.debit(full_at, Tick(now), cost) {
                Ok(debited) => full_at = debited,
                Err(_) if cost > burst => {}
                Err(wait) => {
                    prop_assert!(wait.nanos >= 1);
                    prop_assert!(bucket.debit(full_at, Tick(now + wait.nanos - 1), cost).is_err());
                    prop_assert!(bucket.debit(full_at, Tick(now + wait.nanos), cost).is_ok());
                }
            }
            let left = bucket.remaining(full_at, Tick(now));
            prop_assert_eq!(bucket.debit(full_at, Tick(now), left.max(1)).is_ok(), left > 0);
            prop_assert!(bucket.debit(full_at, Tick(now), left + 1).is_err());
        }
    }

    #[test]
    fn a_refund_undoes_its_debit_and_a_settlement_is_one_debit(
        rate in rates(),
        burst in 5..50u64,
        history in history(),
        reserve in 1..5u64,
        cost in 0..100u64,
        later in 0..100 * SECOND,
    ) {
        let Some(bucket) = TokenBucket::new(rate, burst) else { return Ok(()) };
        let (mut full_at, mut now) = (0, START);
        for (pause, cost) in history {
            now += pause;
            full_at = bucket.debit(full_at, Tick(now), cost).unwrap_or(full_at);
        }
        let Ok(debited) = bucket.debit(full_at, Tick(now), reserve) else { return Ok(()) };
        let then = Tick(now + later);
        let same = |one: u64, other: u64| one.max(then.0) == other.max(then.0);
        prop_assert!(same(bucket.refund(debited, debited, then, reserve), full_at.max(now)));
        let once = full_at.max(now) + cost * rate.interval_nanos();
        let settled = match cost.checked_sub(reserve) {
            Some(more) => bucket.charge(debited, debited, more),
            None => bucket.refund(debited, debited, then, reserve - cost),
        };
        prop_assert!(same(settled, once), "{settled} {once} {}", then.0);
    }

    /// Whatever comes between a debit and its late refund, no more passes than if it had never been made.
    #[test]
    fn a_late_refund_makes_nothing_looser(
        burst in 2..20u64,
        before in 1..20u64,
        pause in 0..30u64,
        between in 0..20u64,
        wait in 0..30u64,
    ) {
        let bucket = TokenBucket::new(Rate::new(1, 1).unwrap(), burst).unwrap();
        let now = Tick(START);
        let Ok(debited) = bucket.debit(0, now, before.min(burst)) else { return Ok(()) };
        let middle = Tick(START + pause * SECOND);
        let spend = |full_at| if between == 0 { full_at } else { bucket.debit(full_at, middle, between).unwrap_or(full_at) };
        let with = spend(debited);
        // Without the debit the one between might have passed where it did not.
        if with == debited && between > 0 { return Ok(()); }
        let without = spend(0);
        let end = Tick(middle.0 + wait * SECOND);
        let refunded = bucket.refund(with, debited, end, before.min(burst));
        prop_assert!(bucket.remaining(refunded, end) <= bucket.remaining(without, end));
    }

    #[test]
    fn extreme_numbers_neither_overflow_nor_panic(
        count in any::<u64>(), period in any::<u64>(), burst in any::<u64>(),
        full_at in any::<u64>(), now in 0..u64::MAX / 4, cost in any::<u64>(),
    ) {
        let Some(bucket) = Rate::new(count, period).and_then(|rate| TokenBucket::new(rate, burst)) else { return Ok(()) };
        let full_at = full_at >> 1;
        let _ = bucket.debit(full_at, Tick(now), cost);
        let _ = bucket.remaining(full_at, Tick(now));
        prop_assert!(bucket.charge(full_at, full_at, cost) < 1 << 63);
        prop_assert!(bucket.convert(&bucket, full_at, Tick(now)) < 1 << 63);
        let _ = bucket.refund(full_at, full_at, Tick(now), cost);
        prop_assert!(rate_is_sane(bucket));
    }

    /// Never more than the count in any window that is open at its begin.
    #[test]
    fn a_sliding_window_is_never_above_its_count(
        count in prop_oneof![1..20u64, 60..70u64, 200..400u64],
        history in prop::collection::vec((prop_oneof![Just(0u64), 0..SECOND / 10, 0..3 * SECOND, 0..70 * SECOND], 1..6u64), 1..200),
    ) {
        let rate = Rate::new(count, 60).unwrap();
        let window = SlidingWindow::new(rate);
        let (mut log, mut now) = (Log::default(), START);
        let mut passed: Vec<(u64, u64)> = Vec::new();
        for (pause, cost) in history {
            now += pause;
            let looked = window.look(&log, Tick(now), cost);
            let debited = window.debit(&mut log, Tick(now), cost);
            prop_assert_eq!(looked, debited);
            match debited {
                Ok(()) => passed.push((now, cost)),
                Err(wait) if cost <= count => {
                    let before = window.look(&log, Tick(now + wait.nanos - 1), cost);
                    prop_assert!(before.is_err());
                    prop_assert!(window.look(&log, Tick(now + wait.nanos), cost).is_ok());
                    if count <= 64 {
                        // Exact: what really lies in the window leaves no room.
                        let open = passed.iter().filter(|(at, _)| at + rate.period_nanos() > now);
                        prop_assert!(open.map(|(_, cost)| cost).sum::<u64>() + cost > count);
                    }
                }
                Err(_) => {}
            }
        }
        for (first, (begin, _)) in passed.iter().enumerate() {
            let inside = passed[first..].iter().take_while(|(at, _)| at - begin < rate.period_nanos());
            prop_assert!(inside.map(|(_, cost)| cost).sum::<u64>() <= count);
        }
        prop_assert!(log.entries().count() <= 67.max(count as usize));
    }

    /// A refused request leaves every state as it was, and the order of limits makes no difference.
    #[test]
    fn all_limits_or_none_in_any_order(
        bursts in prop::collection::vec(1..6u64, 1..5),
        history in prop::collection::vec((0..3 * SECOND, 1..3u64), 1..40),
        turn in 0..5usize,
    ) {
        let rate = Rate::new(1, 1).unwrap();
        let limits: Vec<Arc<Limit>> = bursts.iter().enumerate().map(|(index, burst)| {
            limit(&format!("l{index}"), index as u16 + 1, Measure::Bucket(TokenBucket::new(rate, *burst).unwrap()))
        }).collect();
        let (here, there) = (Buckets::new(Seed([1, 2]), 1000), Buckets::new(Seed([1, 2]), 1000));
        let mut turned = limits.clone();
        let count = turned.len();
        turned.rotate_left(turn % count);
        let mut now = 0;
        for (pause, cost) in history {
            now += pause;
            let before = states(&here);
            let one = decided(&limits, &here, cost, at(now));
            if let Some((_, wait)) = &one {
                prop_assert_eq!(states(&here), before, "a refusal changed something");
                // The one named is the one that frees last: then, and not before, the request would pass.
                prop_assert!(looked(&limits, &here, cost, at(now + wait - 1)).is_some());
                if cost <= *bursts.iter().min().unwrap() {
                    prop_assert!(looked(&limits, &here, cost, at(now + wait)).is_none());
                }
            }
            let other = decided(&turned, &there, cost, at(now));
            prop_assert_eq!(one.map(|(_, wait)| wait), other.map(|(_, wait)| wait));
            prop_assert_eq!(states(&here), states(&there));
        }
    }

    /// The same numbers change nothing; other numbers keep what was spent; what nobody asked for meanwhile is
    /// moved to the same state as what somebody did.
    #[test]
    fn a_change_of_numbers_keeps_what_was_spent(
        old in (1..100u64, 1..30u64), new in (1..100u64, 1..30u64), spent in 1..30u64, later in 0..40 * SECOND,
    ) {
        let bucket = |(count, burst): (u64, u64)| Measure::Bucket(TokenBucket::new(Rate::new(count, 60).unwrap(), burst).unwrap());
        let mut before = rules(vec![limit("a", 0, bucket(old))]);
        carry_over(&Limits::default(), &mut before);
        let buckets = Buckets::new(Seed([1, 2]), 1000);
        let spent = spent.min(old.1);
        for user in ["asks", "sleeps"] {
            debit(&before, &buckets, user, spent, at(0));
        }
        let mut after = rules(vec![limit("a", 0, bucket(new))]);
        let carried = carry_over(&before, &mut after);
        prop_assert_eq!(carried.fates["a"], if old == new { Fate::Same } else { Fate::Converted });
        let now = at(later);
        let left_before = left(&before, &buckets, "asks", now);
        let asked = left(&after, &buckets, "asks", now);
        prop_assert_eq!(left(&after, &buckets, "sleeps", now), asked);
        carried.finish(&buckets, now);
        prop_assert_eq!(left(&after, &buckets, "sleeps", now), asked, "moved as asked");
        if old == new {
            prop_assert_eq!(asked, left_before);
        } else {
            let spent_now = old.1 - left_before;
            let expected = new.1.saturating_sub(spent_now);
            prop_assert!(asked.abs_diff(expected) <= 1, "{asked} of {expected}");
            prop_assert!(asked <= expected + u64::from(spent_now > 0), "never looser than a part of a token");
        }
    }

    /// A table is a map that forgets only what is as good as new, or what it counts.
    #[test]
    fn the_table_is_a_bounded_map(
        steps in prop::collection::vec((0..60u64, 1..5u64, 0..3 * SECOND), 1..400), max in 8..40usize,
    ) {
        let bucket = TokenBucket::new(Rate::new(1, 1).unwrap(), 100).unwrap();
        let table = super::table::Table::new(max);
        let seed = Seed([3, 4]);
        let probe = limit("a", 1, Measure::Bucket(bucket));
        let headers = HeaderMap::new();
        let mut model = std::collections::HashMap::new();
        let mut now = 0;
        for (user, cost, pause) in steps {
            now += pause;
            let user = user.to_le_bytes();
            let payer = Payer { user: Some(&user), api_key: None, address: None, headers: &headers, route: "r" };
            let key = seed.digest(&probe, &payer).unwrap().tagged(1);
            let state = table.advance(key, at(now), |_| 0, |state| bucket.debit(state, at(now).tick, cost));
            if table.forced_evictions() > 0 {
                prop_assert!(table.len() <= max);
                return Ok(());
            }
            let known = model.entry(user).or_insert(0u64);
            let expected = bucket.debit(*known, at(now).tick, cost);
            prop_assert_eq!(state, expected);
            *known = expected.unwrap_or(*known);
            prop_assert!(table.len() <= max);
        }
        for (user, state) in model {
            let payer = Payer { user: Some(&user), api_key: None, address: None, headers: &headers, route: "r" };
            let key = seed.digest(&probe, &payer).unwrap().tagged(1);
            let kept = table.get(key);
            prop_assert!(kept == state || (kept == 0 && state <= at(now).tick.0), "{kept} {state}");
        }
    }
}

fn rate_is_sane(bucket: TokenBucket) -> bool {
    bucket.rate().interval_nanos() >= 1 && bucket.rate().period_nanos() <= MAX_NANOS
}

fn limit(name: &str, tag: u16, measure: Measure) -> Arc<Limit> {
    Arc::new(Limit {
        name: name.into(),
        key: vec![KeyPart::User],
        per: Scope::Route,
        mode: Mode::Enforce,
        ipv6_prefix: 64,
        cost: Cost::Fixed(1),
        standard: vec![Meter { tag, ..Meter::new(name, measure) }],
        tiers: Vec::new(),
    })
}

fn rules(limits: Vec<Arc<Limit>>) -> Limits {
    let due = limits.iter().map(|limit| Due { limit: Arc::clone(limit), cost: 1 }).collect();
    Limits { limiting: Limiting::default(), limits, by_route: vec![due] }
}

fn payer<'a>(user: &'a str, headers: &'a HeaderMap) -> Payer<'a> {
    Payer { user: Some(user.as_bytes()), api_key: None, address: None, headers, route: "r" }
}

fn met<'a>(due: &'a [Due], buckets: &Buckets, user: &str) -> Meets<'a> {
    meets(due, &Limiting::default(), &payer(user, &HeaderMap::new()), None, buckets)
}

fn due(limits: &[Arc<Limit>], cost: u64) -> Vec<Due> {
    limits.iter().map(|limit| Due { limit: Arc::clone(limit), cost }).collect()
}

/// Which limit refuses, and for how long.
fn decided(limits: &[Arc<Limit>], buckets: &Buckets, cost: u64, now: Now) -> Option<(String, u64)> {
    let due = due(limits, cost);
    match decide(&met(&due, buckets, "u"), buckets, now).verdict {
        Verdict::Admitted { .. } => None,
        Verdict::Refused { by, wait_nanos } => Some((by.limit.name.to_string(), wait_nanos)),
    }
}

/// As [`decided`], without a debit.
fn looked(limits: &[Arc<Limit>], buckets: &Buckets, cost: u64, now: Now) -> Option<u64> {
    let due = due(limits, cost);
    let met = met(&due, buckets, "u");
    met.iter()
        .filter_map(|met| buckets.look(met.meter, met.payer, now, met.cost).err())
        .map(|wait| wait.nanos)
        .max()
}

fn states(buckets: &Buckets) -> Vec<([u64; 2], u64)> {
    let mut all: Vec<_> = buckets.table.shards().flatten().map(|(key, state)| (key.words(), state)).collect();
    all.sort_unstable();
    all
}

fn debit(rules: &Limits, buckets: &Buckets, user: &str, cost: u64, now: Now) {
    let limit = &rules.limits[0];
    let headers = HeaderMap::new();
    let digest = buckets.seed.digest(limit, &payer(user, &headers)).unwrap();
    buckets.debit(&limit.standard[0], digest, now, cost).unwrap();
}

fn left(rules: &Limits, buckets: &Buckets, user: &str, now: Now) -> u64 {
    let limit = &rules.limits[0];
    let headers = HeaderMap::new();
    let digest = buckets.seed.digest(limit, &payer(user, &headers)).unwrap();
    buckets.standing(&limit.standard[0], digest, now).remaining
}

#[test]
fn threads_on_one_bucket_admit_exactly_its_burst() {
    let bucket = TokenBucket::new(Rate::new(1, 3600).unwrap(), 10_000).unwrap();
    let limits = [limit("a", 1, Measure::Bucket(bucket))];
    let buckets = Buckets::new(Seed([1, 2]), 1000);
    let admitted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    if decided(&limits, &buckets, 1, at(0)).is_none() {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 10_000);
}

#[test]
fn threads_that_debit_and_refund_lose_nothing() {
    let bucket = TokenBucket::new(Rate::new(1, 60).unwrap(), 1_000_000).unwrap();
    let limit = limit("a", 1, Measure::Bucket(bucket));
    let buckets = Buckets::new(Seed([1, 2]), 1000);
    let headers = HeaderMap::new();
    let digest = buckets.seed.digest(&limit, &payer("u", &headers)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..5_000 {
                    let (debit, _) = buckets.debit(&limit.standard[0], digest, at(0), 3).unwrap();
                    if round % 2 == 0 {
                        buckets.refund(&limit.standard[0], &debit, at(0), 3);
                    }
                }
            });
        }
    });
    assert_eq!(buckets.standing(&limit.standard[0], digest, at(0)).remaining, 1_000_000 - 8 * 2_500 * 3);
}

#[test]
fn places_in_flight_are_taken_and_given_back() {
    let limit = limit("a", 1, Measure::InFlight(2));
    let buckets = Buckets::new(Seed([1, 2]), 1000);
    let due = due(&[Arc::clone(&limit)], 1);
    let enter = || match decide(&met(&due, &buckets, "u"), &buckets, at(0)).verdict {
        Verdict::Admitted { owed, .. } => Some(owed),
        Verdict::Refused { .. } => None,
    };
    let (first, _second) = (enter().unwrap(), enter().unwrap());
    assert!(enter().is_none());
    buckets.tend(at(MAX_NANOS));
    assert!(enter().is_none(), "time alone frees none");
    buckets.refund(&first[0].meter, &first[0].debit, at(0), 1);
    assert!(enter().is_some());
    assert!(enter().is_none());
}

#[test]
fn shadow_and_off_refuse_nobody() {
    let bucket = TokenBucket::new(Rate::new(1, 3600).unwrap(), 1).unwrap();
    let enforced = limit("e", 1, Measure::Bucket(TokenBucket::new(Rate::new(1, 1).unwrap(), 50).unwrap()));
    let mut shadow = (*limit("s", 2, Measure::Bucket(bucket))).clone();
    shadow.mode = Mode::Shadow;
    let due = due(&[Arc::new(shadow), enforced], 1);
    let buckets = Buckets::new(Seed([1, 2]), 1000);
    for round in 0..5 {
        let met = met(&due, &buckets, "u");
        let decision = decide(&met, &buckets, at(0));
        assert!(matches!(decision.verdict, Verdict::Admitted { .. }));
        assert_eq!(decision.shadows.first().map(|limit| &*limit.name), (round > 0).then_some("s"));
    }
    let off = Limiting { mode: Mode::Off, ..Limiting::default() };
    assert!(meets(&due, &off, &payer("u", &HeaderMap::new()), None, &buckets).is_empty());
}

#[test]
fn every_limit_in_shadow_mode_that_would_refuse_is_told_once_the_longest_wait_first() {
    let bucket =
        |count, period| Measure::Bucket(TokenBucket::new(Rate::new(count, period).unwrap(), 1).unwrap());
    let shadow = |name, tag, measures: Vec<Measure>| {
        let mut shadow = (*limit(name, tag, measures[0].clone())).clone();
        shadow.mode = Mode::Shadow;
        let meter = |(at, measure)| Meter { tag: tag + at as u16, ..Meter::new(name, measure) };
        shadow.standard = measures.into_iter().enumerate().map(meter).collect();
        Arc::new(shadow)
    };
    let due = due(
        &[
            shadow("minute", 1, vec![bucket(1, 60)]),
            shadow("day", 2, vec![bucket(1, 3_600), bucket(1, 86_400)]),
            shadow("hour", 4, vec![bucket(1, 3_600)]),
        ],
        1,
    );
    let buckets = Buckets::new(Seed([1, 2]), 1000);
    let told = |now| {
        let met = met(&due, &buckets, "u");
        let shadows = decide(&met, &buckets, at(now)).shadows;
        shadows.iter().map(|limit| limit.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(told(0), [""; 0]);
    let mut all = told(1);
    assert_eq!(all[0], "day");
    all.sort();
    assert_eq!(all, ["day", "hour", "minute"]);
    assert_eq!(told(3_000 * SECOND)[0], "day");
}

#[test]
fn days_and_months_end_where_the_calendar_says() {
    let zone = |name: &str| jiff::tz::TimeZone::get(name).unwrap();
    let seconds = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_second() as u64;
    for (unit, name, now, end) in [
        (CalendarUnit::Day, "UTC", "2026-11-24T23:59:59Z", "2026-11-25T00:00:00Z"),
        (CalendarUnit::Day, "Europe/Berlin", "2026-03-29T00:30:00Z", "2026-03-29T22:00:00Z"),
        (CalendarUnit::Day, "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-25T23:00:00Z"),
        (CalendarUnit::Day, "Australia/Lord_Howe", "2026-04-05T00:00:00Z", "2026-04-05T13:30:00Z"),
        (CalendarUnit::Hour, "Asia/Kathmandu", "2026-11-24T10:20:00Z", "2026-11-24T11:15:00Z"),
        (CalendarUnit::Hour, "UTC", "2026-11-24T10:00:00Z", "2026-11-24T11:00:00Z"),
        (CalendarUnit::Month, "UTC", "2028-02-10T00:00:00Z", "2028-03-01T00:00:00Z"),
        (CalendarUnit::Month, "America/New_York", "2026-12-31T23:00:00Z", "2027-01-01T05:00:00Z"),
    ] {
        let quota = Quota::new(2, Calendar::new(unit, zone(name))).unwrap();
        let (now, end) = (seconds(now) * SECOND, seconds(end) * SECOND);
        let once = quota.debit(0, now, 1).unwrap();
        let twice = quota.debit(once, end - 1, 1).unwrap();
        assert_eq!(quota.debit(twice, now, 1).unwrap_err().nanos, end - now, "{name} {unit:?}");
        assert!(quota.debit(twice, end - 1, 1).is_err());
        assert!(quota.debit(twice, end, 2).is_ok());
        // A clock that is set back opens no window again.
        let next = quota.debit(twice, end, 2).unwrap();
        assert!(quota.debit(next, now, 1).is_err());
        assert_eq!(quota.refund(twice, twice, 1), once);
        assert_eq!(quota.refund(next, twice, 1), next, "another window's tokens stay");
    }
}

#[test]
fn callers_are_told_apart() {
    let seed = Seed([5, 6]);
    let mut headers = HeaderMap::new();
    headers.append("x-a", "1".parse().unwrap());
    let base = Payer { user: None, api_key: None, address: None, headers: &headers, route: "r" };
    let by = |keys: &[KeyPart], payer: &Payer<'_>| {
        let mut limit = (*limit("a", 1, Measure::InFlight(1))).clone();
        limit.key = keys.to_vec();
        seed.digest(&limit, payer)
    };
    let v6 = |text: &str| Payer { address: Some(text.parse().unwrap()), ..base };
    let caller = &[KeyPart::Caller][..];
    assert_eq!(by(caller, &v6("2001:db8::1")), by(caller, &v6("2001:db8::2")), "one /64");
    assert_ne!(by(caller, &v6("2001:db8::1")), by(caller, &v6("2001:db8:0:1::1")));
    assert_ne!(by(caller, &v6("192.0.2.1")), by(caller, &v6("192.0.2.2")));
    let named = Payer { user: Some(&[192, 0, 2, 1]), ..base };
    assert_ne!(by(caller, &named), by(caller, &v6("192.0.2.1")), "a user is no address");
    assert_eq!(by(&[KeyPart::User], &base), None, "nobody is not counted");
    assert!(by(caller, &base).is_some(), "a Unix peer is");
    let field = KeyPart::Header(http::HeaderName::from_static("x-a"));
    let other = KeyPart::Header(http::HeaderName::from_static("x-b"));
    assert!(by(std::slice::from_ref(&field), &base).is_some());
    assert_eq!(by(std::slice::from_ref(&other), &base), None);
    assert!(by(&[other, field], &base).is_some(), "one part is enough");
    let (ab, c) = (
        Payer { user: Some(b"ab"), api_key: Some(b"c"), ..base },
        Payer { user: Some(b"a"), api_key: Some(b"bc"), ..base },
    );
    let both = &[KeyPart::User, KeyPart::ApiKey][..];
    assert_ne!(by(both, &ab), by(both, &c));
    assert_ne!(by(caller, &Payer { route: "s", ..named }), by(caller, &named), "another route");
}

#[test]
fn tags_are_not_given_twice_while_states_remember_them() {
    let measure = |burst| Measure::Bucket(TokenBucket::new(Rate::new(10, 60).unwrap(), burst).unwrap());
    let buckets = Buckets::new(Seed([1, 2]), 1000);
    let mut old = rules(vec![limit("a", 0, measure(10)), limit("b", 0, measure(10))]);
    carry_over(&Limits::default(), &mut old);
    debit(&old, &buckets, "u", 7, at(0));
    // `a` goes; what comes must not find its states.
    let mut new = rules(vec![limit("c", 0, measure(10)), limit("b", 0, measure(12))]);
    let carried = carry_over(&old, &mut new);
    assert_eq!(
        (carried.fates["a"], carried.fates["b"], carried.fates["c"]),
        (Fate::Dropped, Fate::Converted, Fate::New)
    );
    assert_eq!(left(&new, &buckets, "u", at(0)), 10);
    carried.finish(&buckets, at(0));
    assert_eq!(left(&new, &buckets, "u", at(0)), 10);
    assert!(buckets.is_empty(), "what belonged to `a` is gone");
    let mut again = rules(vec![limit("a", 0, measure(10))]);
    carry_over(&new, &mut again).finish(&buckets, at(0));
    assert_eq!(left(&again, &buckets, "u", at(0)), 10);
}

#[test]
fn time_and_a_refund_do_not_both_give_the_same_tokens_back() {
    let bucket = TokenBucket::new(Rate::new(1, 1).unwrap(), 13).unwrap();
    let (start, later) = (Tick(START), Tick(START + 2 * SECOND));
    let debited = bucket.debit(0, start, 8).unwrap();
    let spent = bucket.debit(debited, later, 2).unwrap();
    // Two of the eight came back by themselves, for which there would have been no room.
    assert_eq!(bucket.remaining(bucket.refund(spent, debited, later, 8), later), 11);
}

#[test]
fn requests_that_cost_nothing_in_the_end_leave_nothing_in_the_log() {
    for count in [10, 1000] {
        let window = SlidingWindow::new(Rate::new(count, 60).unwrap());
        let mut log = Log::default();
        for round in 0..10_000 {
            let now = Tick(START + round * 1_000);
            window.debit(&mut log, now, 1).unwrap();
            window.refund(&mut log, now, 1);
        }
        assert_eq!(log.entries().count(), 0);
        assert_eq!(window.standing(&log, Tick(START)).0, count);
    }
}
