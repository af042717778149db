//! `[limits.NAME]`: raw values to [`Limit`]s, and which of them each route has.
//!
//! `numbers` reads what is measured, `keys` what is counted by, `cost` what a request takes, `applied` the names in
//! `[[routes]]`, and `unverified` warns of keys that anybody can invent.
//!
//! Invariant: a limit that leaves here measures something, and holds at least what its requests cost.

mod applied;
mod cost;
mod keys;
mod numbers;
mod presets;
mod unverified;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use jiff::tz::TimeZone;
use toml::de::DeTable;

use crate::limit::rules::{KeyPart, Limit, Mode, Scope};

pub(crate) use applied::{RouteLimits, apply};
pub(crate) use numbers::Algorithm;
use numbers::{Holds, Numbers};
pub(crate) use unverified::Verified;

use super::reader::{Reader, find};
use super::report::{Place, shown};
use super::suggest::nearest;
use super::table::{Named, Table};

pub(crate) const SCOPES: [(&str, Scope); 2] = [("route", Scope::Route), ("service", Scope::Service)];
pub(crate) const MODES: [(&str, Mode); 3] =
    [("enforce", Mode::Enforce), ("shadow", Mode::Shadow), ("off", Mode::Off)];
pub(crate) const ALGORITHMS: [(&str, Algorithm); 2] =
    [("token_bucket", Algorithm::TokenBucket), ("sliding_window", Algorithm::SlidingWindow)];

/// Bits of an IPv6 address that a provider gives to one customer.
const IPV6_PREFIX: u64 = 64;

/// A limit, and where the file has it.
pub(crate) struct Draft {
    limit: Limit,
    /// Its name; `None` for a preset that is not written.
    place: Option<Range<usize>>,
    /// Whether nothing is wrong with it.
    is_whole: bool,
    /// What can be had of it at once, by each of its meters that costs count for.
    holds: Vec<Holds>,
}

/// Limits by name: those of the file, and the presets that were asked for.
pub(crate) type Drafts = BTreeMap<Arc<str>, Draft>;

/// Reads all tables `[limits.NAME]`.
pub(crate) fn read<'d>(reader: &mut Reader<'d>, root: &'d DeTable<'d>) -> Drafts {
    let mut drafts = Drafts::new();
    let value = find(root, "limits").map(|(_, value)| value);
    for named in reader.named_tables("limits", value, "[limits.default]") {
        let Some(name) = name(reader, &named, "limit") else {
            continue;
        };
        let path = format!("limits.{}", named.key);
        let before = reader.findings.len();
        let table = Table::new(reader, path, "limits.*", Some(named.entries));
        let mut draft = read_limit(table, &name, Some(named.place));
        draft.is_whole = reader.findings.len() == before;
        drafts.insert(name, draft);
    }
    drafts
}

/// A name by the rule for names of routes.
fn name(reader: &mut Reader<'_>, named: &Named<'_>, kind: &str) -> Option<Arc<str>> {
    if super::routes::is_name(&named.name) {
        return Some(named.name.as_str().into());
    }
    let message = format!("`{}` is not a {kind} name", shown(&named.name));
    let help = "use 1 to 64 of letters, digits, `_`, `.` and `-`";
    reader.error(Place::Bytes(named.place.clone()), message, help);
    None
}

/// Reads one table, or none: a preset as it is built in.
fn read_limit(mut table: Table<'_, '_>, name: &str, place: Option<Range<usize>>) -> Draft {
    let preset = presets::find(name);
    let preset_rate = preset.as_ref().and_then(presets::Preset::rate);
    let key =
        keys::read(&mut table).unwrap_or_else(|| vec![preset.map_or(KeyPart::Caller, |preset| preset.key)]);
    let per = table.choice("per", &SCOPES, Scope::Route);
    let base = Numbers::read(&mut table).or(&Numbers::of_preset(preset_rate));
    let algorithm = table.choice("algorithm", &ALGORITHMS, Algorithm::TokenBucket);
    let zone = zone(&mut table);
    let mode = table.choice("mode", &MODES, Mode::Enforce);
    let ipv6_prefix = table.count("ipv6_prefix", IPV6_PREFIX, 1..=128);
    let cost = cost::read(&mut table);
    let tiers = read_tiers(&mut table, &base, &key);

    let mut holds = Vec::new();
    let all: Vec<&Numbers> = std::iter::once(&base).chain(tiers.iter().map(|(_, numbers)| numbers)).collect();
    check_measures(&mut table, name, &all, place.clone());
    let zone = zone.unwrap_or(TimeZone::UTC);
    let mut meters = |numbers: &Numbers| numbers.meters(table.reader, name, algorithm, &zone, &mut holds);
    let standard = meters(&base);
    let tiers = tiers.iter().map(|(tier, numbers)| (Arc::clone(tier), meters(numbers))).collect();
    cost.check(table.reader, name, &holds);
    let limit = Limit {
        name: name.into(),
        key,
        per,
        mode,
        ipv6_prefix: u8::try_from(ipv6_prefix).unwrap_or(u8::MAX),
        cost: cost.cost,
        standard,
        tiers,
    };
    table.finish();
    Draft { limit, place, is_whole: true, holds }
}

/// Reads `tiers.NAME`; each has what it does not say from the limit.
fn read_tiers(table: &mut Table<'_, '_>, base: &Numbers, key: &[KeyPart]) -> Vec<(Arc<str>, Numbers)> {
    let carries_tier = |part: &KeyPart| matches!(part, KeyPart::Caller | KeyPart::User | KeyPart::ApiKey);
    let mut tiers = Vec::new();
    let tables = table.named_tables("tiers", "tiers.pro = { rate = \"600/minute\" }");
    let first = tables.iter().map(|named| &named.place).min_by_key(|place| place.start);
    if let Some(first) = first
        && !key.is_empty()
        && !key.iter().any(carries_tier)
    {
        let message = "a limit with this `key` has no tiers";
        let help = "a tier is a caller's: use a `key` of `caller`, `user` or `api_key`, or remove `tiers`";
        table.reader.error(Place::Bytes(first.clone()), message, help);
    }
    for named in tables {
        let Some(name) = name(table.reader, &named, "tier") else {
            continue;
        };
        let mut tier = table.named("tiers", &named, "limits.*.tiers.*");
        let numbers = Numbers::read(&mut tier).or(base);
        tier.finish();
        tiers.push((name, numbers));
    }
    tiers
}

/// What only makes sense beside something that is measured; the limit's own numbers come first in `all`.
fn check_measures(table: &mut Table<'_, '_>, name: &str, all: &[&Numbers], place: Option<Range<usize>>) {
    let written = ["rate", "quota", "in_flight"].iter().any(|key| table.has(key));
    if !written && !all.first().is_some_and(|base| base.measures()) {
        let message = format!("limit `{}` limits nothing", shown(name));
        let help = "write a `rate`, a `quota` or `in_flight`: `rate = \"120/minute\"`";
        table.reader.error(place.map_or(Place::File, Place::Bytes), message, help);
        return;
    }
    // A rate that could not be read is none, and has its own report.
    let has_rate = table.has("rate") || all.iter().any(|numbers| numbers.has_rate());
    let has_quota = table.has("quota") || all.iter().any(|numbers| numbers.has_quota());
    let rate = "it says how a `rate` is kept: write one, or remove it";
    let quota = "it says where the days of a `quota` begin: write one, or remove it";
    for (key, other, is_there, help) in
        [("algorithm", "rate", has_rate, rate), ("zone", "quota", has_quota, quota)]
    {
        if let Some(span) = table.span(key).filter(|_| !is_there) {
            table.reader.error(Place::Bytes(span), format!("`{key}` has no `{other}` to go with"), help);
        }
    }
}

/// Reads `zone`, a name of the IANA time zone database.
fn zone(table: &mut Table<'_, '_>) -> Option<TimeZone> {
    let text = table.string("zone", "a time zone")?;
    let zones = jiff::tz::TimeZoneDatabase::bundled();
    if let Ok(zone) = zones.get(&text.text) {
        return Some(zone);
    }
    let names: Vec<String> = zones.available().map(|name| name.to_string()).collect();
    let city =
        |name: &&String| name.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(&text.text));
    let meant = names.iter().find(city).map(String::as_str);
    let help = match meant.or_else(|| nearest(&text.text, names.iter().map(String::as_str))) {
        Some(meant) => format!("did you mean `{meant}`"),
        None => "zones are named as in `Europe/Berlin`; without one it is UTC".to_owned(),
    };
    table.reader.error(text.place, format!("there is no time zone `{}`", shown(&text.text)), help);
    None
}

#[cfg(test)]
mod tests;
