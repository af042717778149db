//! What was written is read, and nothing else.

use std::sync::Arc;

use proptest::prelude::*;

use super::encoding::*;
use crate::clock::Tick;
use crate::config::{Overrides, load};
use crate::limit::buckets::Buckets;
use crate::limit::carry::carry_over;
use crate::limit::key::{Payer, Seed};
use crate::limit::meter::Meter;
use crate::limit::rules::Limits;
use crate::limit::state::Now;

const SECOND: u64 = 1_000_000_000;
const NOW: Now = Now { tick: Tick(5_000_000_000 * SECOND), unix_nanos: 1_800_000_000 * SECOND };

const RULES: &str = r#"
[limits.bucket]
key = ["user", "header:X-Tenant"]
rate = "10/minute; 100/hour"
tiers.pro = { rate = "20/minute" }
[limits.window]
rate = "10/minute"
algorithm = "sliding_window"
[limits.day]
quota = "10/day"
zone = "Europe/Berlin"
in_flight = 2
[limits.wide]
key = "global"
per = "service"
rate = "1000/minute"
ipv6_prefix = 48
"#;

fn limits(text: &str) -> Limits {
    let text = format!("[upstream]\naddress = \"app:8000\"\n{text}");
    load(&text, "file", &|_| None, &Overrides::default()).unwrap().model.limits
}

fn tagged(text: &str) -> Limits {
    let mut limits = limits(text);
    carry_over(&Limits::default(), &mut limits);
    limits
}

fn meters(limits: &Limits) -> Vec<(Arc<crate::limit::rules::Limit>, Meter)> {
    let of = |limit: &Arc<crate::limit::rules::Limit>| {
        let all = limit.standard.iter().chain(limit.tiers.iter().flat_map(|(_, meters)| meters));
        all.map(|meter| (Arc::clone(limit), meter.clone())).collect::<Vec<_>>()
    };
    limits.limits.iter().flat_map(of).collect()
}

fn payer<'a>(user: &'a [u8], headers: &'a http::HeaderMap) -> Payer<'a> {
    Payer { user: Some(user), api_key: None, address: None, headers, route: "r" }
}

/// Buckets in which `users` have each spent `cost` of everything.
fn spent(limits: &Limits, users: u32, cost: u64) -> Buckets {
    let buckets = Buckets::new(Seed([1, 2]), 10_000);
    let headers = http::HeaderMap::new();
    for user in 0..users {
        for (limit, meter) in meters(limits) {
            let digest = buckets.seed.digest(&limit, &payer(&user.to_le_bytes(), &headers)).unwrap();
            let _ = buckets.debit(&meter, digest, NOW, cost.min(meter.measure.most()));
        }
    }
    buckets
}

fn bytes(buckets: &Buckets, limits: &Limits) -> Vec<u8> {
    let mut bytes = head(buckets.seed, limits, NOW.unix_nanos);
    buckets.table.shards().for_each(|shard| bytes.extend(states(&shard, NOW)));
    bytes.extend(END);
    buckets.logs.shards().for_each(|shard| bytes.extend(logs(&shard, NOW)));
    bytes.extend(END);
    let sum = crc32fast::hash(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// What everybody has left of everything, but for places in flight.
fn left(buckets: &Buckets, limits: &Limits, users: u32, now: Now) -> Vec<u64> {
    let headers = http::HeaderMap::new();
    let mut left = Vec::new();
    for user in 0..users {
        for (limit, meter) in meters(limits) {
            if matches!(meter.measure, crate::limit::meter::Measure::InFlight(_)) {
                continue;
            }
            let digest = buckets.seed.digest(&limit, &payer(&user.to_le_bytes(), &headers)).unwrap();
            left.push(buckets.standing(&meter, digest, now).remaining);
        }
    }
    left
}

fn later(seconds: u64) -> Now {
    Now { tick: Tick(NOW.tick.0 + seconds * SECOND), unix_nanos: NOW.unix_nanos + seconds * SECOND }
}

#[test]
fn a_restart_is_like_time_that_passes() {
    let limits = tagged(RULES);
    for away in [0, 1, 7, 30, 59, 60, 3600, 86_400 * 3] {
        let before = spent(&limits, 5, 7);
        let snapshot = decode(&bytes(&before, &limits)).unwrap();
        // Another process: its clock begins elsewhere.
        let there = Now { tick: Tick(2_000_000_000 * SECOND), unix_nanos: later(away).unix_nanos };
        let mut edited = limits.own_copy();
        let carried = carry_over(&snapshot.limits, &mut edited);
        let after = snapshot.restore(10_000, there);
        carried.finish(&after, there);
        assert_eq!(left(&after, &edited, 5, there), left(&before, &limits, 5, later(away)), "{away} s");
    }
}

#[test]
fn numbers_edited_meanwhile_keep_what_was_spent() {
    let limits = tagged(
        "[limits.a]\nkey = \"caller\"\nrate = \"10/hour\"\n[[routes]]\nname = \"r\"\nmatch = \"/*\"\nlimits = \"a\"\n",
    );
    let before = spent(&limits, 1, 7);
    let snapshot = decode(&bytes(&before, &limits)).unwrap();
    let mut edited = super::tests::limits("[limits.a]\nkey = \"caller\"\nrate = \"20/hour\"\n");
    let carried = carry_over(&snapshot.limits, &mut edited);
    let after = snapshot.restore(10_000, NOW);
    carried.finish(&after, NOW);
    assert_eq!(left(&after, &edited, 1, NOW), [13]);
}

#[test]
fn a_clock_that_was_set_back_takes_no_time_off() {
    let limits = tagged(RULES);
    let before = spent(&limits, 1, 7);
    let snapshot = decode(&bytes(&before, &limits)).unwrap();
    let earlier = Now { tick: NOW.tick, unix_nanos: NOW.unix_nanos - 1000 * SECOND };
    let after = snapshot.restore(10_000, earlier);
    assert_eq!(left(&after, &limits, 1, earlier), left(&before, &limits, 1, NOW));
}

#[test]
fn every_changed_byte_is_noticed() {
    let limits = tagged(RULES);
    let whole = bytes(&spent(&limits, 2, 3), &limits);
    assert!(decode(&whole).is_ok());
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        assert!(decode(&changed).is_err(), "byte {at}");
    }
    for end in 0..whole.len() {
        assert!(decode(&whole[..end]).is_err(), "cut at {end}");
    }
    assert!(decode(&[&whole[..], b"x"].concat()).is_err());
}

proptest! {
    #[test]
    fn nothing_makes_the_reader_panic(
        at in 0usize..2000,
        garbage in prop::collection::vec(any::<u8>(), 0..64),
        repair in any::<bool>(),
    ) {
        let limits = tagged(RULES);
        let mut bytes = bytes(&spent(&limits, 2, 3), &limits);
        let at = at % bytes.len();
        let end = (at + garbage.len()).min(bytes.len());
        bytes.splice(at..end, garbage);
        if repair && bytes.len() > 4 {
            // Somebody who can compute a checksum.
            let content = bytes.len() - 4;
            let sum = crc32fast::hash(&bytes[..content]);
            bytes.splice(content.., sum.to_le_bytes());
        }
        if let Ok(snapshot) = decode(&bytes) {
            let _ = snapshot.restore(1_000, NOW);
        }
    }
}
