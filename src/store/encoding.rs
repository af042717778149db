//! The snapshot's format: a head, the rules the states belong to, the states, a checksum.
//!
//! Times of token buckets and logs are written relative to the moment of writing: another process has another
//! clock. The rules are written so that numbers edited while tollgate was down are carried over by the code that
//! carries them over a reload. Invariant: what is read was written so; a single changed byte is noticed.

use std::sync::Arc;

use http::HeaderName;
use jiff::tz::TimeZone;

use crate::clock::Tick;
use crate::limit::bucket::TokenBucket;
use crate::limit::buckets::Buckets;
use crate::limit::key::{Key, Seed};
use crate::limit::meter::{Measure, Meter};
use crate::limit::quota::{Calendar, CalendarUnit, Quota};
use crate::limit::rate::Rate;
use crate::limit::rules::{Cost, KeyPart, Limit, Limits, Mode, Scope};
use crate::limit::sliding::{Entry, Log, SlidingWindow};
use crate::limit::state::{Now, is_as_good_as_new, is_in_flight, is_quota};

pub use super::wire::Damage;
use super::wire::{Input, Output};

/// The last byte is the version.
const MAGIC: &[u8; 16] = b"tollgate limits\x01";
const CHECKSUM: usize = 4;

/// The head: whose states follow.
pub fn head(seed: Seed, limits: &Limits, unix_nanos: u64) -> Vec<u8> {
    let mut out = Output::default();
    out.0.extend_from_slice(MAGIC);
    out.u64(seed.0[0]);
    out.u64(seed.0[1]);
    out.u64(unix_nanos);
    out.count(limits.limits.len());
    for limit in &limits.limits {
        write_limit(&mut out, limit);
    }
    out.0
}

/// Some states; what means nothing to another process, or is as good as new, is left out.
pub fn states(states: &[(Key, u64)], now: Now) -> Vec<u8> {
    let counts = |state: u64| !is_in_flight(state) && !is_as_good_as_new(state, now);
    let kept: Vec<_> = states.iter().filter(|(_, state)| counts(*state)).collect();
    let mut out = Output::default();
    if kept.is_empty() {
        return out.0;
    }
    out.0.reserve(4 + 24 * kept.len());
    out.u32(u32::try_from(kept.len()).unwrap_or(u32::MAX));
    for (key, state) in kept {
        let [high, low] = key.words();
        out.u64(high);
        out.u64(low);
        out.u64(if is_quota(*state) { *state } else { state.saturating_sub(now.tick.0) });
    }
    out.0
}

/// Some logs.
pub fn logs(logs: &[(Key, Log)], now: Now) -> Vec<u8> {
    let mut out = Output::default();
    if logs.is_empty() {
        return out.0;
    }
    out.u32(u32::try_from(logs.len()).unwrap_or(u32::MAX));
    for (key, log) in logs {
        let [high, low] = key.words();
        out.u64(high);
        out.u64(low);
        out.count(log.entries().count());
        for entry in log.entries() {
            out.u64(now.tick.0.saturating_sub(entry.first.0));
            out.u64(now.tick.0.saturating_sub(entry.last.0));
            out.u64(entry.spent);
        }
    }
    out.0
}

/// Ends the states, and ends the logs.
pub const END: [u8; 4] = [0; 4];

/// What a file holds.
#[derive(Debug)]
pub struct Snapshot {
    /// The secret of the keys.
    pub seed: Seed,
    /// When it was written.
    pub unix_nanos: u64,
    /// The rules of that time, as far as states depend on them.
    pub limits: Limits,
    states: Vec<(Key, u64)>,
    /// With ages in place of times.
    logs: Vec<(Key, Vec<Entry>)>,
}

/// Reads a whole file.
pub fn decode(bytes: &[u8]) -> Result<Snapshot, Damage> {
    let (content, checksum) =
        bytes.split_at_checked(bytes.len().saturating_sub(CHECKSUM)).ok_or(Damage("it is empty"))?;
    let mut input = Input(content);
    let magic = input.bytes(MAGIC.len())?;
    if magic[..MAGIC.len() - 1] != MAGIC[..MAGIC.len() - 1] {
        return Err(Damage("it is no snapshot of tollgate"));
    }
    if magic != MAGIC {
        return Err(Damage("another version of tollgate wrote it"));
    }
    if checksum != crc32fast::hash(content).to_le_bytes() {
        return Err(Damage("its checksum is wrong"));
    }
    let seed = Seed([input.u64()?, input.u64()?]);
    let unix_nanos = input.u64()?;
    let mut limits = Limits::default();
    for _ in 0..input.u16()? {
        limits.limits.push(Arc::new(read_limit(&mut input)?));
    }
    let mut states = Vec::new();
    loop {
        let count = input.u32()? as usize;
        if count == 0 {
            break;
        }
        let mut block = Input(input.bytes(count.checked_mul(24).ok_or(Damage("a count is absurd"))?)?);
        states.reserve(count);
        for _ in 0..count {
            states.push((Key::from_words([block.u64()?, block.u64()?]), block.u64()?));
        }
    }
    let mut logs = Vec::new();
    loop {
        let count = input.u32()?;
        if count == 0 {
            break;
        }
        for _ in 0..count {
            let key = Key::from_words([input.u64()?, input.u64()?]);
            let entries = input.u16()?;
            let entry = |input: &mut Input<'_>| {
                let (first, last) = (Tick(input.u64()?), Tick(input.u64()?));
                Ok::<Entry, Damage>(Entry { first, last, spent: input.u64()? })
            };
            logs.push((key, (0..entries).map(|_| entry(&mut input)).collect::<Result<_, _>>()?));
        }
    }
    if !input.0.is_empty() {
        return Err(Damage("something follows its end"));
    }
    Ok(Snapshot { seed, unix_nanos, limits, states, logs })
}

impl Snapshot {
    /// The states as they are now, after the time the process was away.
    pub fn restore(self, max_keys: usize, now: Now) -> Buckets {
        let away = now.unix_nanos.saturating_sub(self.unix_nanos);
        let buckets = Buckets::new(self.seed, max_keys);
        buckets.table.reserve(self.states.len());
        for (key, state) in self.states {
            let state = if is_quota(state) {
                state
            } else {
                match state.saturating_sub(away) {
                    0 => continue,
                    owed => now.tick.0.saturating_add(owed).min(u64::MAX >> 1),
                }
            };
            buckets.table.restore(key, state, now);
        }
        for (key, entries) in self.logs {
            let Some(window) = window_of(&self.limits, key) else { continue };
            let at = |age: Tick| Tick(now.tick.0.saturating_sub(age.0.saturating_add(away)));
            let moved = entries.into_iter().map(|entry| Entry {
                first: at(entry.first),
                last: at(entry.last),
                spent: entry.spent,
            });
            buckets.logs.restore(key, Log::from_entries(moved), &window, now.tick);
        }
        buckets
    }
}

fn window_of(limits: &Limits, key: Key) -> Option<SlidingWindow> {
    let meters = limits
        .limits
        .iter()
        .flat_map(|limit| limit.standard.iter().chain(limit.tiers.iter().flat_map(|(_, meters)| meters)));
    meters.filter(|meter| meter.tag == key.tag()).find_map(|meter| match &meter.measure {
        Measure::Sliding(window) => Some(*window),
        _ => None,
    })
}

fn write_limit(out: &mut Output, limit: &Limit) {
    out.text(&limit.name);
    out.u8(u8::from(limit.per == Scope::Service));
    out.u8(limit.ipv6_prefix);
    out.count(limit.key.len());
    for part in &limit.key {
        match part {
            KeyPart::Caller => out.u8(0),
            KeyPart::User => out.u8(1),
            KeyPart::Ip => out.u8(2),
            KeyPart::ApiKey => out.u8(3),
            KeyPart::Global => out.u8(4),
            KeyPart::Header(name) => {
                out.u8(5);
                out.text(name.as_str());
            }
        }
    }
    write_meters(out, &limit.standard);
    out.count(limit.tiers.len());
    for (tier, meters) in &limit.tiers {
        out.text(tier);
        write_meters(out, meters);
    }
}

fn write_meters(out: &mut Output, meters: &[Meter]) {
    out.count(meters.len());
    for meter in meters {
        out.u16(meter.tag);
        match &meter.measure {
            Measure::Bucket(bucket) => {
                out.u8(0);
                out.u64(bucket.rate().count());
                out.u64(bucket.rate().period_seconds());
                out.u64(bucket.burst());
            }
            Measure::Sliding(window) => {
                out.u8(1);
                out.u64(window.rate().count());
                out.u64(window.rate().period_seconds());
            }
            Measure::Quota(quota) => {
                out.u8(2);
                out.u64(quota.count());
                out.text(quota.calendar().unit().as_str());
                out.text(quota.calendar().zone_name().unwrap_or("UTC"));
            }
            Measure::InFlight(most) => {
                out.u8(3);
                out.u64(*most);
            }
        }
    }
}

fn read_limit(input: &mut Input<'_>) -> Result<Limit, Damage> {
    let name: Arc<str> = input.text()?.into();
    let per = if input.u8()? == 0 { Scope::Route } else { Scope::Service };
    let ipv6_prefix = input.u8()?;
    let mut key = Vec::new();
    for _ in 0..input.u16()? {
        key.push(match input.u8()? {
            0 => KeyPart::Caller,
            1 => KeyPart::User,
            2 => KeyPart::Ip,
            3 => KeyPart::ApiKey,
            4 => KeyPart::Global,
            5 => KeyPart::Header(
                HeaderName::try_from(input.text()?).map_err(|_| Damage("a field name is none"))?,
            ),
            _ => return Err(Damage("a key is of no known kind")),
        });
    }
    let standard = read_meters(input, &name)?;
    let mut tiers = Vec::new();
    for _ in 0..input.u16()? {
        let tier: Arc<str> = input.text()?.into();
        tiers.push((tier, read_meters(input, &name)?));
    }
    let (mode, cost) = (Mode::Enforce, Cost::Fixed(1));
    Ok(Limit { name, key, per, mode, ipv6_prefix, cost, standard, tiers })
}

fn read_meters(input: &mut Input<'_>, name: &str) -> Result<Vec<Meter>, Damage> {
    const NUMBERS: Damage = Damage("a limit's numbers are none");
    let mut meters = Vec::new();
    for _ in 0..input.u16()? {
        let tag = input.u16()?;
        let measure = match input.u8()? {
            0 => {
                let rate = Rate::new(input.u64()?, input.u64()?).ok_or(NUMBERS)?;
                Measure::Bucket(TokenBucket::new(rate, input.u64()?).ok_or(NUMBERS)?)
            }
            1 => Measure::Sliding(SlidingWindow::new(Rate::new(input.u64()?, input.u64()?).ok_or(NUMBERS)?)),
            2 => {
                let count = input.u64()?;
                let unit = match input.text()? {
                    "hour" => CalendarUnit::Hour,
                    "day" => CalendarUnit::Day,
                    "month" => CalendarUnit::Month,
                    _ => return Err(NUMBERS),
                };
                let zone = match input.text()? {
                    "UTC" => TimeZone::UTC,
                    name => TimeZone::get(name).map_err(|_| Damage("a zone does not exist"))?,
                };
                Measure::Quota(Quota::new(count, Calendar::new(unit, zone)).ok_or(NUMBERS)?)
            }
            3 => Measure::InFlight(input.u64()?),
            _ => return Err(Damage("a limit measures in no known way")),
        };
        meters.push(Meter { tag, ..Meter::new(name, measure) });
    }
    Ok(meters)
}
