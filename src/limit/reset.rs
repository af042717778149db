//! Making states as good as new, of all keys of a limit or of one caller.
//!
//! Invariant: places in flight are never given back here: whoever has one gives it back itself.

use std::net::IpAddr;

use http::HeaderMap;

use super::buckets::Buckets;
use super::key::{Digest, Payer};
use super::meter::{Measure, Meter};
use super::rules::{KeyPart, Limit, Limits, Scope};
use super::sliding::Log;
use super::state::{Now, is_as_good_as_new};

/// A caller by the one thing that is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known<'a> {
    /// By identity.
    User(&'a [u8]),
    /// By its address, without a user.
    Address(IpAddr),
}

impl Known<'_> {
    /// As limits see it on a route.
    pub(crate) fn on_route<'a>(&'a self, route: &'a str, headers: &'a HeaderMap) -> Payer<'a> {
        let (user, address) = match self {
            Known::User(user) => (Some(*user), None),
            Known::Address(address) => (None, Some(*address)),
        };
        Payer { user, api_key: None, address, headers, route }
    }

    /// Whether this is enough to find the caller's keys of a limit.
    pub fn finds_keys_of(&self, limit: &Limit) -> bool {
        let found = |part: &KeyPart| match self {
            Known::User(_) => matches!(part, KeyPart::Caller | KeyPart::User),
            Known::Address(_) => matches!(part, KeyPart::Caller | KeyPart::Ip),
        };
        limit.key.iter().all(found)
    }
}

/// What a caller is counted by at a limit, on each of the routes that have buckets of their own.
pub(crate) fn digests<'a>(
    limits: &'a Limits,
    routes: &'a [&'a str],
    limit: &'a Limit,
    known: &'a Known<'a>,
    buckets: &'a Buckets,
) -> impl Iterator<Item = (Option<&'a str>, Digest)> {
    let headers = HeaderMap::new();
    routes_of(limits, routes, limit).filter_map(move |route| {
        let payer = known.on_route(route.unwrap_or_default(), &headers);
        Some((route, buckets.seed.digest(limit, &payer)?))
    })
}

/// The routes that have buckets of their own at a limit; one without a name where all share one.
pub(crate) fn routes_of<'a>(
    limits: &'a Limits,
    routes: &'a [&'a str],
    limit: &'a Limit,
) -> impl Iterator<Item = Option<&'a str>> {
    let of_route = limit.per == Scope::Route;
    let named = limits
        .by_route
        .iter()
        .zip(routes)
        .filter(move |(due, _)| of_route && due.iter().any(|due| due.limit.name == limit.name));
    (!of_route).then_some(None).into_iter().chain(named.map(|(_, route)| Some(*route)))
}

/// Makes every state of a limit as good as new; how many were dropped.
pub fn reset_all(limit: &Limit, buckets: &Buckets, now: Now) -> u64 {
    let tags: Vec<_> = meters(limit).flat_map(tags_of).collect();
    let mut dropped = 0;
    buckets.table.rewrite(now, |key, _| {
        let belongs = tags.contains(&key.tag());
        dropped += u64::from(belongs);
        // The state of what was never used.
        belongs.then_some((key, 0))
    });
    buckets.logs.retain(|key| {
        let belongs = tags.contains(&key.tag());
        dropped += u64::from(belongs);
        !belongs
    });
    dropped
}

/// Makes the states of one caller as good as new, on every route; how many there were that were not.
pub fn reset_caller(
    limits: &Limits,
    routes: &[&str],
    limit: &Limit,
    known: &Known<'_>,
    buckets: &Buckets,
    now: Now,
) -> u64 {
    let mut dropped = 0;
    for (_, digest) in digests(limits, routes, limit, known, buckets) {
        for meter in meters(limit) {
            for tag in tags_of(meter) {
                dropped += u64::from(reset_one(meter, digest, tag, buckets, now));
            }
        }
    }
    dropped
}

fn reset_one(meter: &Meter, digest: Digest, tag: u16, buckets: &Buckets, now: Now) -> bool {
    let key = digest.tagged(tag);
    match &meter.measure {
        Measure::InFlight(_) => false,
        Measure::Sliding(window) => buckets.logs.change(key, window, now.tick, |log| {
            let counted = log.full_at(window) > now.tick;
            *log = Log::default();
            counted
        }),
        Measure::Bucket(_) | Measure::Quota(_) => {
            let counted = !is_as_good_as_new(buckets.table.get(key), now);
            buckets.table.change(key, |_| 0);
            counted
        }
    }
}

fn meters(limit: &Limit) -> impl Iterator<Item = &Meter> {
    let all = limit.standard.iter().chain(limit.tiers.iter().flat_map(|(_, meters)| meters));
    all.filter(|meter| !matches!(meter.measure, Measure::InFlight(_)))
}

/// Its own, and that of the meter it takes states over from.
fn tags_of(meter: &Meter) -> impl Iterator<Item = u16> {
    std::iter::once(meter.tag).chain(meter.before.as_deref().map(|(tag, _)| *tag))
}
