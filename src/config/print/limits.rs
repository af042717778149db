//! Limits as a file: `[limits.NAME]`, `[limiting]`, `[store]`, and what a route says of them.

use crate::limit::meter::{Measure, Meter};
use crate::limit::rules::{Cost, Exempt, Limit, Limiting};

use super::super::limiting::RESETS;
use super::super::limits::{ALGORITHMS, Algorithm, MODES, SCOPES};
use super::super::model::{Model, Store};
use super::super::reader::bare_or_quoted;
use super::super::store::INTERVAL;
use super::super::units::duration_text;
use super::{Printer, list, name_of, network_text, one_or_list, quote};

pub(super) fn print(printer: &mut Printer<'_>, model: &Model) {
    for limit in &model.limits.limits {
        print_limit(printer, limit);
    }
    print_limiting(printer, &model.limits.limiting);
    print_store(printer, &model.store);
}

fn print_limit(printer: &mut Printer<'_>, limit: &Limit) {
    let path = format!("limits.{}", bare_or_quoted(&limit.name));
    printer.table(&format!("[{path}]"), &path);
    let key = limit.key.iter().map(|part| quote(&part.to_string()));
    printer.key("key", one_or_list(key.collect()));
    printer.text("per", name_of(&SCOPES, limit.per));
    for (key, value) in numbers(&limit.standard, false) {
        printer.key(key, value);
    }
    let meters = || limit.standard.iter().chain(limit.tiers.iter().flat_map(|(_, meters)| meters));
    let mut algorithms = meters().filter_map(|meter| match meter.measure {
        Measure::Bucket(_) => Some(Algorithm::TokenBucket),
        Measure::Sliding(_) => Some(Algorithm::SlidingWindow),
        Measure::Quota(_) | Measure::InFlight(_) => None,
    });
    if let Some(algorithm) = algorithms.next() {
        printer.text("algorithm", name_of(&ALGORITHMS, algorithm));
    }
    let mut zones = meters().filter_map(|meter| match &meter.measure {
        Measure::Quota(quota) => quota.calendar().zone_name(),
        _ => None,
    });
    if let Some(zone) = zones.next() {
        printer.text("zone", zone);
    }
    printer.key("cost", cost(&limit.cost));
    printer.key("ipv6_prefix", limit.ipv6_prefix);
    printer.text("mode", name_of(&MODES, limit.mode));
    for (tier, meters) in &limit.tiers {
        let numbers = numbers(meters, true).into_iter().map(|(key, value)| format!("{key} = {value}"));
        let numbers: Vec<String> = numbers.collect();
        printer.key(&format!("tiers.{}", bare_or_quoted(tier)), format!("{{ {} }}", numbers.join(", ")));
    }
}

/// The keys that these meters were made from. A burst that is the rate's own number is left out, as a tier would
/// inherit it; a tier says it, lest it inherits another.
fn numbers(meters: &[Meter], of_tier: bool) -> Vec<(&'static str, String)> {
    let (mut rates, mut bursts) = (Vec::new(), Vec::new());
    let mut rest = Vec::new();
    for meter in meters {
        match &meter.measure {
            Measure::Bucket(bucket) => {
                rates.push(bucket.rate().to_string());
                bursts.push((bucket.burst(), bucket.rate().count()));
            }
            Measure::Sliding(window) => rates.push(window.rate().to_string()),
            Measure::Quota(quota) => {
                let text = format!("{}/{}", quota.count(), quota.calendar().unit().as_str());
                rest.push(("quota", quote(&text)));
            }
            Measure::InFlight(most) => rest.push(("in_flight", most.to_string())),
        }
    }
    let mut keys = Vec::new();
    if !rates.is_empty() {
        keys.push(("rate", quote(&rates.join("; "))));
    }
    if let [(burst, count)] = bursts[..]
        && (of_tier || burst != count)
    {
        keys.push(("burst", burst.to_string()));
    }
    keys.extend(rest);
    keys
}

fn cost(cost: &Cost) -> String {
    match cost {
        Cost::Fixed(cost) => cost.to_string(),
        Cost::Answer { header, reserve, strip } => {
            format!(
                "{{ response_header = {}, reserve = {reserve}, strip = {strip} }}",
                quote(header.as_str())
            )
        }
    }
}

fn print_limiting(printer: &mut Printer<'_>, limiting: &Limiting) {
    printer.table("[limiting]", "limiting");
    printer.text("mode", name_of(&MODES, limiting.mode));
    let fields = [("ietf", limiting.ietf_fields), ("legacy", limiting.legacy_fields)];
    let sent = fields.iter().filter(|(_, sent)| *sent).map(|(name, _)| quote(name));
    printer.key("headers", list(sent.collect()));
    printer.text("reset", name_of(&RESETS, limiting.reset));
    printer.text("jitter", &format!("{}%", limiting.jitter_percent));
    let guard = limiting.reload_guard_percent.map_or("off".to_owned(), |percent| format!("{percent}%"));
    printer.text("reload_guard", &guard);
    print_exempt(printer, &limiting.exempt);
}

fn print_exempt(printer: &mut Printer<'_>, exempt: &Exempt) {
    let quoted = exempt.networks.iter().map(|network| quote(&network_text(network)));
    printer.key("exempt.ips", list(quoted.collect()));
    printer.key("exempt.users", list(exempt.users.iter().map(|user| quote(user)).collect()));
    let hex = |key: &[u8; 32]| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let keys = exempt.keys.iter().map(|key| quote(&format!("sha256:{}", hex(key))));
    printer.key("exempt.keys", list(keys.collect()));
    let patterns = exempt.paths.iter().flat_map(|table| table.patterns(0));
    printer.key("exempt.paths", list(patterns.map(|pattern| quote(&pattern.to_string())).collect()));
}

fn print_store(printer: &mut Printer<'_>, store: &Store) {
    printer.table("[store]", "store");
    match &store.snapshot {
        Some(path) => printer.text("snapshot", &path.display().to_string()),
        None => printer.out.push_str("# snapshot is not set\n"),
    }
    // Without a snapshot it has no meaning, and would be warned of.
    if store.snapshot.is_some() || store.interval != INTERVAL {
        printer.text("interval", &duration_text(store.interval));
    }
    printer.key("max_keys", store.max_keys);
}

/// The keys of a route, below those that it has anyway.
pub(super) fn print_of_route(printer: &mut Printer<'_>, model: &Model, index: usize) {
    let dues = model.limits.by_route.get(index).map(Vec::as_slice).unwrap_or_default();
    let names = dues.iter().map(|due| quote(&due.limit.name));
    printer.key("limits", list(names.collect()));
    let fixed = dues.iter().filter(|due| matches!(due.limit.cost, Cost::Fixed(_)));
    let mut of_route = fixed.filter(|due| due.limit.cost != Cost::Fixed(due.cost));
    match of_route.next() {
        Some(due) => printer.key("cost", due.cost),
        None => printer.out.push_str("# cost is not set\n"),
    }
}
