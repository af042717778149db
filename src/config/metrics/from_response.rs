//! `[metrics.from_response]`: what the app says of itself in fields of its answers.
//!
//! Invariant: no field is read, or kept from the client, that holds a secret or that tollgate sets.

use std::sync::Arc;

use http::HeaderName;

use super::super::fields;
use super::super::model::metrics::{CacheHit, FromResponse, Llm};
use super::super::report::{Place, shown};
use super::super::routes::is_name;
use super::super::table::Table;

const MAX_TIMINGS: usize = 20;
const MAX_EQUALS: usize = 256;

/// Reads the table.
pub(super) fn read(mut table: Table<'_, '_>, request_id: &HeaderName) -> FromResponse {
    let example = "{ header = \"X-Cache\", equals = \"HIT\" }";
    let cache_hit =
        cache_hit(table.table("cache_hit", "metrics.from_response.cache_hit", example), request_id);
    let example = "{ server_timing = \"analysis\" }";
    let analysis_latency =
        analysis_latency(table.table("analysis_latency", "metrics.from_response.analysis_latency", example));
    let server_timing = server_timing(&mut table, analysis_latency.as_deref());
    let example = "{ tokens = \"X-LLM-Tokens\" }";
    let llm = llm(table.table("llm", "metrics.from_response.llm", example), request_id);
    let strip = table.switch("strip", true);
    table.finish();
    FromResponse { cache_hit, analysis_latency, server_timing, llm, strip }
}

/// A key that a table cannot do without.
fn require(table: &mut Table<'_, '_>, key: &str, what: &str, help: &str) {
    if table.is_there() && !table.has(key) {
        let place = table.place().map_or(Place::File, Place::Bytes);
        table.reader.error(place, format!("`{key}` of `{what}` is missing"), help);
    }
}

fn field(
    table: &mut Table<'_, '_>,
    key: &'static str,
    request_id: &HeaderName,
    example: &str,
) -> Option<HeaderName> {
    let text = table.string(key, "a field name")?;
    let name = fields::parse(table.reader, key, &text)?;
    let means_more = fields::is_own(&name)
        || fields::is_credential(&name)
        || fields::is_of_limits(&name)
        || name == *request_id;
    if means_more {
        let message = format!("`{key}` cannot be `{}`, which means something else", shown(&text.text));
        let help = format!("use a field of its own that the app sets, for example `{example}`");
        table.reader.error(text.place, message, help);
        return None;
    }
    Some(name)
}

fn cache_hit(mut table: Table<'_, '_>, request_id: &HeaderName) -> Option<CacheHit> {
    let header = field(&mut table, "header", request_id, "X-Cache");
    let equals = table.string("equals", "the value of a hit").and_then(|text| {
        let printable = text.text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !printable || text.text.trim() != text.text || !(1..=MAX_EQUALS).contains(&text.text.len()) {
            let message = format!("`equals` must be the value of a field, found `{}`", shown(&text.text));
            let help = "use 1 to 256 printable characters of ASCII, without a space at either end";
            table.reader.error(text.place, message, help);
            return None;
        }
        Some(text.text.into_boxed_str())
    });
    let help = "write `cache_hit = { header = \"X-Cache\", equals = \"HIT\" }`";
    require(&mut table, "header", "cache_hit", help);
    require(&mut table, "equals", "cache_hit", help);
    table.finish();
    Some(CacheHit { header: header?, equals: equals? })
}

fn analysis_latency(mut table: Table<'_, '_>) -> Option<Arc<str>> {
    let name = table.string("server_timing", "the name of an entry").and_then(|text| {
        if is_name(&text.text) {
            return Some(text.text.into());
        }
        let message = format!("`server_timing` must be the name of an entry, found `{}`", shown(&text.text));
        table.reader.error(text.place, message, "use 1 to 64 of letters, digits, `_`, `.` and `-`");
        None
    });
    let help = "write `analysis_latency = { server_timing = \"analysis\" }`";
    require(&mut table, "server_timing", "analysis_latency", help);
    table.finish();
    name
}

fn server_timing(table: &mut Table<'_, '_>, analysis: Option<&str>) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = Vec::new();
    for text in table.strings("server_timing", "a list of names of entries").unwrap_or_default() {
        let name = text.text.as_str();
        let (message, help) = if !is_name(name) {
            let message = format!("`server_timing` holds `{}`, which is no name of an entry", shown(name));
            (message, "use 1 to 64 of letters, digits, `_`, `.` and `-`")
        } else if analysis == Some(name) {
            let message = format!("`server_timing` holds `{name}`, which is `analysis_latency` already");
            (message, "remove it: it would be measured, and billed, twice")
        } else if names.iter().any(|known| **known == *name) {
            (format!("`server_timing` holds `{name}` twice"), "remove one of them")
        } else if names.len() == MAX_TIMINGS {
            let message = format!("`server_timing` holds more than {MAX_TIMINGS} names");
            (message, "each is a metric of its own; keep those that are looked at")
        } else {
            names.push(name.into());
            continue;
        };
        table.reader.error(text.place, message, help);
    }
    names
}

fn llm(mut table: Table<'_, '_>, request_id: &HeaderName) -> Option<Llm> {
    let tokens = field(&mut table, "tokens", request_id, "X-LLM-Tokens");
    let model = field(&mut table, "model", request_id, "X-LLM-Model");
    let operation = field(&mut table, "operation", request_id, "X-LLM-Operation");
    require(&mut table, "tokens", "llm", "write `llm = { tokens = \"X-LLM-Tokens\" }`");
    for (key, name, others) in
        [("model", &model, [&tokens, &None]), ("operation", &operation, [&tokens, &model])]
    {
        if let Some(name) = name
            && others.iter().any(|other| other.as_ref() == Some(name))
            && let Some(span) = table.span(key)
        {
            let message = format!("`{key}` is in the field of another key, `{name}`");
            table.reader.error(Place::Bytes(span), message, "each has a field of its own");
        }
    }
    table.finish();
    Some(Llm { tokens: tokens?, model, operation })
}
