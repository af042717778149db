//! `[limiting]`: what holds for all limits.
//!
//! Invariant: nobody is exempt by what anybody can write into a request, such as a user agent.

use std::sync::Arc;

use ipnet::IpNet;

use crate::limit::rules::{Exempt, Limiting, Mode, Reset};
use crate::message::handling::Handling;
use crate::message::routes::{Pattern, Route, RouteTable};

use super::address::parse_network;
use super::limits::MODES;
use super::reader::{Reader, Text};
use super::report::{Place, Severity, shown};
use super::suggest::nearest;
use super::table::Table;

pub(crate) const RESETS: [(&str, Reset); 2] = [("delta", Reset::Delta), ("epoch", Reset::Epoch)];

/// Reads the table.
pub(crate) fn read(mut table: Table<'_, '_>) -> Limiting {
    let default = Limiting::default();
    let mode = table.choice("mode", &MODES, Mode::Enforce);
    let (ietf_fields, legacy_fields) =
        headers(&mut table).unwrap_or((default.ietf_fields, default.legacy_fields));
    let limiting = Limiting {
        mode,
        ietf_fields,
        legacy_fields,
        reset: table.choice("reset", &RESETS, default.reset),
        jitter_percent: table.percent("jitter", 0, None).unwrap_or(default.jitter_percent),
        reload_guard_percent: table.percent("reload_guard", 0, Some("off")),
        exempt: exempt(table.table("exempt", "limiting.exempt", "{ ips = [\"10.0.0.0/8\"] }")),
    };
    table.finish();
    limiting
}

/// Whether the standard's fields, and whether those of old.
fn headers(table: &mut Table<'_, '_>) -> Option<(bool, bool)> {
    let texts = table.strings("headers", "a list of `ietf` and `legacy`")?;
    let mut fields = (false, false);
    for text in texts {
        let field = match text.text.as_str() {
            "ietf" => &mut fields.0,
            "legacy" => &mut fields.1,
            other => {
                let message = format!("`headers` must hold `ietf` or `legacy`, found `{}`", shown(other));
                let help = match nearest(other, ["ietf", "legacy"]) {
                    Some(meant) => format!("did you mean `{meant}`"),
                    None => {
                        "`ietf` is `RateLimit` and `RateLimit-Policy`, `legacy` is `X-RateLimit-*`".to_owned()
                    }
                };
                table.reader.error(text.place, message, help);
                continue;
            }
        };
        *field = true;
    }
    Some(fields)
}

fn exempt(mut table: Table<'_, '_>) -> Exempt {
    for key in ["user_agents", "user_agent", "agents"] {
        table.refuse(
            key,
            "a user agent exempts nobody, it can be faked",
            "exempt the address, `ips`, the user, `users`, or the API key, `keys`",
        );
    }
    let networks = networks(&mut table);
    let users = table.strings("users", "a user or a list of users").unwrap_or_default();
    let keys = table.strings("keys", "the SHA-256 of a key or a list of them").unwrap_or_default();
    let exempt = Exempt {
        networks,
        users: users.into_iter().filter_map(|text| user(table.reader, text)).collect(),
        keys: keys.into_iter().filter_map(|text| key(table.reader, &text)).collect(),
        paths: paths(&mut table),
    };
    table.finish();
    exempt
}

fn networks(table: &mut Table<'_, '_>) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for text in table.strings("ips", "a network or a list of networks").unwrap_or_default() {
        match parse_network(&text.text) {
            Ok(network) => {
                if network.prefix_len() == 0 {
                    let message = format!("`{network}` exempts everybody");
                    let help = "no limit holds then; write `mode = \"off\"` if that is meant".to_owned();
                    table.reader.find(Severity::Warning, text.place, message, help, None);
                }
                networks.push(network);
            }
            Err(error) => {
                let message = format!("`ips` {}, found `{}`", error.fault, shown(&text.text));
                table.reader.error(text.place, message, error.help);
            }
        }
    }
    networks
}

fn user(reader: &mut Reader<'_>, text: Text) -> Option<Arc<str>> {
    if text.text.is_empty() {
        reader.error(text.place, "`users` holds an empty name", "write a user as identity names it");
        return None;
    }
    Some(text.text.into())
}

/// The SHA-256 of a key, with or without the word before it. Neither text nor line is shown: it may be a key itself.
fn key(reader: &mut Reader<'_>, text: &Text) -> Option<[u8; 32]> {
    let hex = text.text.strip_prefix("sha256:").unwrap_or(&text.text);
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = hex.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    let hash = bytes.collect::<Option<Vec<u8>>>().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    if hash.is_none() {
        let line = match &text.place {
            Place::Bytes(span) => reader.position(span.start).in_words(),
            Place::File | Place::CommandLine | Place::Environment => String::new(),
        };
        let message = format!("`exempt.keys` on {line} holds something that is not a SHA-256");
        let help = "write the hash of the key in 64 hexadecimal digits, never the key: `sha256:9f86d0…`";
        reader.error(Place::File, message, help);
    }
    hash
}

fn paths(table: &mut Table<'_, '_>) -> Option<Arc<RouteTable>> {
    let texts = table.strings("paths", "a pattern or a list of patterns")?;
    let (mut patterns, mut places): (Vec<(Pattern, usize)>, Vec<Place>) = Default::default();
    for text in texts {
        match Pattern::parse(&text.text) {
            Ok(pattern) => {
                patterns.push((pattern, 0));
                places.push(text.place);
            }
            Err(error) => table.reader.error(text.part(&error.at), error.message, error.help),
        }
    }
    if patterns.is_empty() {
        return None;
    }
    let route =
        Arc::new(Route { name: "exempt".into(), timeout: None, max_body: 0, handling: Handling::default() });
    match RouteTable::build(vec![route], patterns.clone()) {
        Ok(table) => Some(Arc::new(table)),
        Err(duplicates) => {
            for found in duplicates {
                let message = format!("`{}` repeats a pattern", patterns[found.second].0);
                table.reader.error(places[found.second].clone(), message, "remove one of them");
            }
            None
        }
    }
}
