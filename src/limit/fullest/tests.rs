//! What is found, whose it is, and what a reset leaves.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::bucket::TokenBucket;
use super::super::decide::{decide, meets};
use super::super::meter::Measure;
use super::super::rate::Rate;
use super::super::reset::{reset_all, reset_caller};
use super::super::rules::{Cost, Due, Mode, Scope};
use super::super::sliding::SlidingWindow;
use super::super::{carry::carry_over, key::Seed};
use super::*;
use crate::clock::Tick;

const SECOND: u64 = 1_000_000_000;
const ROUTES: [&str; 2] = ["first", "second"];

fn now() -> Now {
    Now { tick: Tick(1_000_000 * SECOND), unix_nanos: 1_800_000_000 * SECOND }
}

fn bucket(count: u64, burst: u64) -> Measure {
    Measure::Bucket(TokenBucket::new(Rate::new(count, 60).unwrap(), burst).unwrap())
}

fn limit(name: &str, key: &[KeyPart], per: Scope, measures: Vec<Measure>) -> Limit {
    Limit {
        name: name.into(),
        key: key.to_vec(),
        per,
        mode: Mode::Enforce,
        ipv6_prefix: 64,
        cost: Cost::Fixed(1),
        standard: measures.into_iter().map(|measure| Meter::new(name, measure)).collect(),
        tiers: Vec::new(),
    }
}

/// On both routes.
fn limits(all: Vec<Limit>) -> Limits {
    let all: Vec<Arc<Limit>> = all.into_iter().map(Arc::new).collect();
    let due: Vec<Due> = all.iter().map(|limit| Due { limit: Arc::clone(limit), cost: 1 }).collect();
    let mut limits = Limits { limits: all, by_route: vec![due.clone(), due], ..Limits::default() };
    carry_over(&Limits::default(), &mut limits);
    limits
}

fn spend(limits: &Limits, buckets: &Buckets, known: &Known<'_>, route: usize, times: usize) {
    let headers = HeaderMap::new();
    for _ in 0..times {
        let payer = known.on_route(ROUTES[route], &headers);
        let met = meets(&limits.by_route[route], &limits.limiting, &payer, None, buckets);
        decide(&met, buckets, now());
    }
}

fn user(name: &str) -> Known<'_> {
    Known::User(name.as_bytes())
}

fn address(last: u8) -> Known<'static> {
    Known::Address(IpAddr::from([192, 0, 2, last]))
}

#[test]
fn the_fullest_keys_are_found_and_named_if_somebody_knows_them() {
    let limits = limits(vec![limit("one", &[KeyPart::Caller], Scope::Route, vec![bucket(60, 10)])]);
    let buckets = Buckets::new(Seed([1, 2]), 10_000);
    spend(&limits, &buckets, &user("ann"), 0, 9);
    spend(&limits, &buckets, &user("ann"), 1, 2);
    spend(&limits, &buckets, &address(7), 1, 4);
    spend(&limits, &buckets, &user("nobody knows"), 0, 3);
    let found = &survey(&limits, &buckets, 10, now())["one"];
    assert_eq!(found.keys, 4);
    let left: Vec<u64> = found.fullest.iter().map(|full| full.remaining).collect();
    assert_eq!(left, [1, 6, 7, 8]);
    assert!(found.fullest.iter().all(|full| full.most == 10));
    let known = [address(7), user("ann")];
    let owners = owners(&limits, &ROUTES, &limits.limits[0], &found.fullest, &known, &buckets);
    assert_eq!(owners[0], Owner::Known(1, Some("first")));
    assert_eq!(owners[1], Owner::Known(0, Some("second")));
    assert!(matches!(owners[2], Owner::Hash(_)), "{owners:?}");
    assert_eq!(owners[3], Owner::Known(1, Some("second")));
}

#[test]
fn only_so_many_are_kept_and_each_key_once() {
    let measures = vec![bucket(60, 100), bucket(600, 200)];
    let limits = limits(vec![limit("one", &[KeyPart::User], Scope::Service, measures)]);
    let buckets = Buckets::new(Seed([1, 2]), 10_000);
    let names: Vec<String> = (0..50).map(|number| format!("user-{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        spend(&limits, &buckets, &user(name), 0, 1 + number);
    }
    let found = &survey(&limits, &buckets, 10, now())["one"];
    assert_eq!(found.keys, 50, "two meters do not make two keys");
    let left: Vec<u64> = found.fullest.iter().map(|full| full.remaining).collect();
    assert_eq!(left, (50..60).collect::<Vec<u64>>(), "of the tighter meter");
}

#[test]
fn a_log_that_nothing_counts_in_anymore_is_no_key() {
    let window = Measure::Sliding(SlidingWindow::new(Rate::new(10, 60).unwrap()));
    let limits = limits(vec![limit("one", &[KeyPart::User], Scope::Service, vec![window])]);
    let buckets = Buckets::new(Seed([1, 2]), 10_000);
    spend(&limits, &buckets, &user("ann"), 0, 3);
    assert_eq!(survey(&limits, &buckets, 10, now())["one"].keys, 1);
    let later = Now { tick: Tick(now().tick.0 + 3_600 * SECOND), ..now() };
    assert_eq!(survey(&limits, &buckets, 10, later)["one"], Survey::default());
}

#[test]
fn a_shared_bucket_is_everybodys() {
    let limits = limits(vec![limit("all", &[KeyPart::Global], Scope::Service, vec![bucket(60, 10)])]);
    let buckets = Buckets::new(Seed([1, 2]), 10_000);
    spend(&limits, &buckets, &user("ann"), 0, 1);
    let found = &survey(&limits, &buckets, 10, now())["all"];
    let owners = owners(&limits, &ROUTES, &limits.limits[0], &found.fullest, &[], &buckets);
    assert_eq!(owners, [Owner::Everybody(None)]);
}

#[test]
fn a_caller_is_reset_alone_and_on_every_route() {
    let window = Measure::Sliding(SlidingWindow::new(Rate::new(10, 60).unwrap()));
    let measures = vec![bucket(60, 10), window, Measure::InFlight(100)];
    let limits = limits(vec![
        limit("one", &[KeyPart::Caller], Scope::Route, measures),
        limit("two", &[KeyPart::User], Scope::Service, vec![bucket(60, 10)]),
    ]);
    let buckets = Buckets::new(Seed([1, 2]), 10_000);
    for known in [user("ann"), user("bob")] {
        spend(&limits, &buckets, &known, 0, 3);
        spend(&limits, &buckets, &known, 1, 1);
    }
    let one = &limits.limits[0];
    assert_eq!(reset_caller(&limits, &ROUTES, one, &user("ann"), &buckets, now()), 4);
    assert_eq!(reset_caller(&limits, &ROUTES, one, &user("ann"), &buckets, now()), 0, "nothing is left");
    let found = survey(&limits, &buckets, 10, now());
    let known = [user("ann"), user("bob")];
    let spent: Vec<(Owner<'_>, u64)> = owners(&limits, &ROUTES, one, &found["one"].fullest, &known, &buckets)
        .into_iter()
        .zip(found["one"].fullest.iter().map(|full| full.most - full.remaining))
        .collect();
    assert!(spent.contains(&(Owner::Known(1, Some("first")), 3)), "{spent:?}");
    assert!(spent.contains(&(Owner::Known(0, Some("first")), 3)), "places in flight stay taken: {spent:?}");
    assert_eq!(found["two"].keys, 2, "another limit is another thing");
}

#[test]
fn a_limit_is_reset_as_a_whole_but_for_places_in_flight() {
    let window = Measure::Sliding(SlidingWindow::new(Rate::new(10, 60).unwrap()));
    let limits = limits(vec![
        limit("one", &[KeyPart::Ip], Scope::Service, vec![bucket(60, 10), window, Measure::InFlight(9)]),
        limit("two", &[KeyPart::Ip], Scope::Service, vec![bucket(60, 10)]),
    ]);
    let buckets = Buckets::new(Seed([1, 2]), 10_000);
    (1..=5).for_each(|last| spend(&limits, &buckets, &address(last), 0, 2));
    let states = buckets.len();
    assert_eq!(reset_all(&limits.limits[0], &buckets, now()), 10);
    assert_eq!(buckets.len(), states - 10);
    let found = survey(&limits, &buckets, 10, now());
    assert_eq!((found["one"].keys, found["two"].keys), (5, 5));
    assert!(found["one"].fullest.iter().all(|full| full.most == 9 && full.remaining == 7));
}

#[test]
fn what_is_known_of_a_caller_finds_only_keys_that_are_made_of_it() {
    let finds = |known: Known<'_>, key: &[KeyPart]| {
        known.finds_keys_of(&limit("one", key, Scope::Route, vec![bucket(1, 1)]))
    };
    assert!(finds(user("a"), &[KeyPart::Caller]) && finds(user("a"), &[KeyPart::User]));
    assert!(finds(address(1), &[KeyPart::Caller]) && finds(address(1), &[KeyPart::Ip]));
    assert!(!finds(user("a"), &[KeyPart::Ip]) && !finds(address(1), &[KeyPart::User]));
    assert!(!finds(user("a"), &[KeyPart::User, KeyPart::Ip]), "the address is not known");
    assert!(!finds(user("a"), &[KeyPart::Global]), "nobody has it alone");
    assert!(!finds(user("a"), &[KeyPart::ApiKey]));
}
