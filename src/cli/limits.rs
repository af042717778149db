//! `tollgate limits`, `block` and `unblock`: how limits stand at a running tollgate, and what is done by hand.

use std::net::IpAddr;
use std::process::ExitCode;

use http::Method;
use serde_json::{Map, Value, json};

use crate::admin::status::{Block, CallerKind, KeyStatus, Lift, LimitStatus, Status};

use super::columns::Align::{Left, Right};
use super::columns::{shown, span, table};
use super::live::{Admin, Failure};
use super::options::live::{self, ChangeLimit, ListLimits};
use super::terminal;

/// Does what is asked.
pub(super) fn limits(arguments: &live::Limits) -> ExitCode {
    let done = match &arguments.change {
        None => list(&arguments.list),
        Some(change) => change_limit(change),
    };
    done.unwrap_or_else(|failure| failure.tell())
}

/// Refuses a caller for a while.
pub(super) fn block(arguments: &live::Block) -> ExitCode {
    let caller = who(arguments.caller.user.as_deref(), arguments.caller.address);
    let blocked = || {
        let admin = Admin::by_file(&arguments.by_file)?;
        admin.send(&Method::POST, "/block", &with_seconds(&caller, arguments.seconds))?;
        Ok(said(format!("{} is blocked for {}", whom(&caller), span(arguments.seconds))))
    };
    blocked().unwrap_or_else(|failure: Failure| failure.tell())
}

/// Ends a block.
pub(super) fn unblock(arguments: &live::Unblock) -> ExitCode {
    let caller = who(arguments.caller.user.as_deref(), arguments.caller.address);
    let unblocked = || {
        let admin = Admin::by_file(&arguments.by_file)?;
        admin.send(&Method::DELETE, "/block", &Value::Object(caller.clone()))?;
        Ok(said(format!("{} is not blocked any more", whom(&caller))))
    };
    unblocked().unwrap_or_else(|failure: Failure| failure.tell())
}

fn change_limit(change: &ChangeLimit) -> Result<ExitCode, Failure> {
    let (name, caller, by_file) = match change {
        ChangeLimit::Reset { name, caller, by_file }
        | ChangeLimit::Lift { name, caller, by_file, .. }
        | ChangeLimit::Unlift { name, caller, by_file } => (name, caller, by_file),
    };
    let admin = Admin::by_file(by_file)?;
    let caller = who(caller.user.as_deref(), caller.address);
    let path = |verb: &str| format!("/limits/{}/{verb}", segment(name));
    let limit = format!("limit `{}`", shown(name));
    Ok(said(match change {
        ChangeLimit::Reset { .. } => {
            let told = admin.send(&Method::POST, &path("reset"), &Value::Object(caller.clone()))?;
            let dropped = told["dropped"].as_u64().ok_or_else(|| admin.is_something_else())?;
            format!("{limit} is reset for {}, {}", whom(&caller), told_dropped(dropped))
        }
        ChangeLimit::Lift { seconds, .. } => {
            admin.send(&Method::POST, &path("lift"), &with_seconds(&caller, *seconds))?;
            format!("{limit} is lifted for {}, for {}", whom(&caller), span(*seconds))
        }
        ChangeLimit::Unlift { .. } => {
            admin.send(&Method::DELETE, &path("lift"), &Value::Object(caller.clone()))?;
            format!("{limit} holds again for {}", whom(&caller))
        }
    }))
}

fn said(sentence: String) -> ExitCode {
    terminal::to_stdout(format!("{sentence}\n").as_bytes())
}

/// A caller as the admin listener wants it; empty for all of them.
fn who(user: Option<&str>, address: Option<IpAddr>) -> Map<String, Value> {
    let mut caller = Map::new();
    if let Some(user) = user {
        caller.insert("user".to_owned(), json!(user));
    }
    if let Some(address) = address {
        caller.insert("address".to_owned(), json!(address));
    }
    caller
}

fn whom(caller: &Map<String, Value>) -> String {
    match caller.iter().next() {
        Some((kind, Value::String(name))) => format!("{kind} `{}`", shown(name)),
        _ => "everybody".to_owned(),
    }
}

/// A name with a mistake in it resets nothing; this shows it.
fn told_dropped(dropped: u64) -> String {
    match dropped {
        0 => "nothing had been spent".to_owned(),
        1 => "1 state was forgotten".to_owned(),
        more => format!("{more} states were forgotten"),
    }
}

fn with_seconds(caller: &Map<String, Value>, seconds: u64) -> Value {
    let mut body = caller.clone();
    body.insert("seconds".to_owned(), json!(seconds));
    Value::Object(body)
}

/// A text as one segment of a path (RFC 3986).
fn segment(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

fn list(arguments: &ListLimits) -> Result<ExitCode, Failure> {
    let status = Admin::by_file(&arguments.by_file)?.status()?;
    let limits: Vec<&LimitStatus> = match &arguments.name {
        None => status.limits.iter().collect(),
        Some(name) => {
            let found: Vec<_> = status.limits.iter().filter(|limit| limit.name == *name).collect();
            if found.is_empty() {
                let names: Vec<String> =
                    status.limits.iter().map(|limit| format!("`{}`", limit.name)).collect();
                let help = match names.as_slice() {
                    [] => "no limit is configured".to_owned(),
                    names => format!("there are {}", names.join(", ")),
                };
                return Err(Failure::usage(format!("there is no limit `{}`", shown(name)), help));
            }
            found
        }
    };
    if arguments.json {
        let mut lines = String::new();
        for limit in limits {
            let line = serde_json::to_string(limit)
                .map_err(|error| Failure::new(format!("cannot write JSON: {error}"), ""))?;
            lines.push_str(&line);
            lines.push('\n');
        }
        return Ok(terminal::to_stdout(lines.as_bytes()));
    }
    let mut text = match (&arguments.name, limits.as_slice()) {
        (Some(_), [limit]) => one(limit),
        (_, []) => "no limit is configured\n".to_owned(),
        _ => overview(&limits),
    };
    text.push_str(&by_hand(&status, arguments.name.as_deref()));
    Ok(terminal::to_stdout(text.as_bytes()))
}

/// A line a limit, with its fullest key.
pub(super) fn overview(limits: &[&LimitStatus]) -> String {
    let head = ["limit", "mode", "by", "per", "keys", "refused", "shadow", "fullest"].map(str::to_owned);
    let mut rows = vec![head.to_vec()];
    rows.extend(limits.iter().map(|limit| {
        let fullest = limit.fullest.first();
        vec![
            shown(&limit.name),
            limit.mode.clone(),
            limit.key.join("+"),
            limit.per.clone(),
            limit.keys.to_string(),
            limit.refused.to_string(),
            limit.shadow_refused.to_string(),
            fullest.map_or_else(String::new, |key| format!("{}, {}", key_name(key), left(key))),
        ]
    }));
    table(&[Left, Left, Left, Left, Right, Right, Right, Left], &rows)
}

fn one(limit: &LimitStatus) -> String {
    let mut text = format!(
        "limit    {}, {}\nby       {}, per {}\nallows   {}\nrefused  {}, {} in shadow\nkeys     {}\n",
        shown(&limit.name),
        limit.mode,
        limit.key.join(" and "),
        limit.per,
        limit.measures.join("; "),
        limit.refused,
        limit.shadow_refused,
        limit.keys,
    );
    if !limit.fullest.is_empty() {
        let mut rows = vec![["fullest keys", "left", "of", "full again in"].map(str::to_owned).to_vec()];
        rows.extend(limit.fullest.iter().map(|key| {
            vec![key_name(key), key.remaining.to_string(), key.most.to_string(), span(key.reset_seconds)]
        }));
        text.push('\n');
        text.push_str(&table(&[Left, Right, Right, Right], &rows));
    }
    text
}

/// A key, and its route where it has one.
pub(super) fn key_name(key: &KeyStatus) -> String {
    match &key.route {
        None => shown(&key.key),
        Some(route) => format!("{} at {}", shown(&key.key), shown(route)),
    }
}

/// What a key has left.
pub(super) fn left(key: &KeyStatus) -> String {
    format!("{} of {} left", key.remaining, key.most)
}

/// What was lifted and blocked by hand.
fn by_hand(status: &Status, limit: Option<&str>) -> String {
    let wanted = |lift: &&Lift| limit.is_none_or(|name| lift.limit == name);
    let mut lines: Vec<String> = Vec::new();
    lines.extend(status.lifts.iter().filter(wanted).map(|lift| told_lift(lift, status.now_ms)));
    if limit.is_none() {
        lines.extend(status.blocks.iter().map(|block| told_block(block, status.now_ms)));
    }
    lines
        .iter()
        .enumerate()
        .map(|(at, line)| format!("{}{line}\n", if at == 0 { "\n" } else { "" }))
        .collect()
}

/// A lift in words.
pub(super) fn told_lift(lift: &Lift, now_ms: u64) -> String {
    let whom = match (lift.kind, &lift.caller) {
        (Some(kind), Some(caller)) => named(kind, caller),
        _ => "everybody".to_owned(),
    };
    format!("lifted   {} for {whom}, {} left", shown(&lift.limit), time_left(lift.until_ms, now_ms))
}

/// A block in words.
pub(super) fn told_block(block: &Block, now_ms: u64) -> String {
    format!("blocked  {}, {} left", named(block.kind, &block.caller), time_left(block.until_ms, now_ms))
}

/// With what it is: a user may have the name of an address.
fn named(kind: CallerKind, caller: &str) -> String {
    let kind = match kind {
        CallerKind::User => "user",
        CallerKind::Address => "address",
    };
    format!("{kind} `{}`", shown(caller))
}

fn time_left(until_ms: u64, now_ms: u64) -> String {
    span(until_ms.saturating_sub(now_ms).div_ceil(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_of_the_path() {
        assert_eq!(segment("per_ip-1.0"), "per_ip-1.0");
        assert_eq!(segment("a/b?c#d e%é"), "a%2Fb%3Fc%23d%20e%25%C3%A9");
    }

    #[test]
    fn callers_are_told_apart_from_everybody() {
        assert_eq!(whom(&who(None, None)), "everybody");
        assert_eq!(whom(&who(Some("al\u{1b}ice"), None)), "user `al\\u{1b}ice`");
        let address = who(None, "2001:db8::1".parse().ok());
        assert_eq!(with_seconds(&address, 60), json!({"address": "2001:db8::1", "seconds": 60}));
    }
}
