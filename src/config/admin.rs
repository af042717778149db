//! `[admin]`: where operators ask.
//!
//! Invariant: whoever reaches an address from another host must show a token.

use std::ops::Range;

use toml::de::DeTable;

use crate::message::routes::{Pattern, Segment};

use super::listen::{is_same_listener, parse_addresses};
use super::model::admin::{Admin, Secret};
use super::model::{ListenAddress, UpstreamAddress};
use super::reader::{Reader, Text, find};
use super::report::{Place, shown};
use super::table::Table;

const MIN_TOKEN: usize = 16;
const MAX_TOKEN: usize = 1024;

const TOKEN_HELP: &str =
    "write `token = \"${TOLLGATE_ADMIN_TOKEN}\"`, and into the variable what `openssl rand -hex 32` prints";

/// Reads the table; without one nobody can ask. `app` is where the app listens, if that is known.
pub(crate) fn read<'d>(
    reader: &mut Reader<'d>,
    root: &'d DeTable<'d>,
    listen: &[ListenAddress],
    app: Option<&UpstreamAddress>,
) -> Option<Admin> {
    let header = find(root, "admin").map(|(place, _)| place);
    reader.hide_unless_table(root, "admin");
    let mut table = reader.table(root, "admin");
    let is_there = table.is_there();
    let addresses = addresses(&mut table);
    let token = token(&mut table);
    let live_path = path(&mut table, "live_path");
    let ready_path = path(&mut table, "ready_path");
    if let (Some(live), Some(ready), Some(span)) = (&live_path, &ready_path, table.span("ready_path"))
        && live == ready
    {
        let help = "the answers differ: a process that drains lives and is not ready; use two paths";
        table.reader.error(Place::Bytes(span), "`ready_path` is `live_path` already", help);
    }
    table.finish();
    if !is_there {
        return None;
    }
    let admin = Admin { addresses, token, live_path, ready_path };
    refuse_taken(reader, &admin, listen, app, header.clone());
    require_token(reader, &admin, header);
    Some(admin)
}

fn addresses(table: &mut Table<'_, '_>) -> Vec<ListenAddress> {
    let Some(texts) = table.strings("address", "an address or a list of addresses") else {
        return vec![ListenAddress::Tcp(([127, 0, 0, 1], 9180).into())];
    };
    if texts.is_empty()
        && let Some(span) = table.span("address")
        && !table.reader.has_error_in(&span)
    {
        let help = "write `address = \"127.0.0.1:9180\"`, or remove the table";
        table.reader.error(Place::Bytes(span), "`address` must hold at least one address", help);
    }
    parse_addresses(table.reader, "`address`", &texts)
}

/// The token, which callers show in `Authorization: Bearer`.
fn token(table: &mut Table<'_, '_>) -> Option<Secret> {
    let secret = table.secret("token", TOKEN_HELP)?;
    let characters = secret.text.chars().count();
    let (message, help) = if !secret.text.bytes().all(|byte| byte.is_ascii_graphic()) {
        (
            "`token` holds a character that no field can carry".to_owned(),
            "use letters, digits and signs of ASCII, without spaces",
        )
    } else if characters < MIN_TOKEN {
        (
            format!("`token` must be at least {MIN_TOKEN} characters, found {characters}"),
            "`openssl rand -hex 32` prints one that nobody guesses",
        )
    } else if characters > MAX_TOKEN {
        (
            format!("`token` must be at most {MAX_TOKEN} characters, found {characters}"),
            "`openssl rand -hex 32` prints one that is long enough",
        )
    } else {
        return Some(Secret::new(&secret.text));
    };
    table.reader.error(secret.place, message, help);
    None
}

/// A plain path, as requests are compared with it.
fn path(table: &mut Table<'_, '_>, key: &'static str) -> Option<String> {
    let text = table.string(key, "a path")?;
    let wrong = |table: &mut Table<'_, '_>, text: &Text| {
        let message = format!("`{key}` must be one path, found `{}`", shown(&text.text));
        table.reader.error(
            text.place.clone(),
            message,
            "write it without method and pattern, for example `/healthz`",
        );
    };
    if !text.text.starts_with('/') {
        wrong(table, &text);
        return None;
    }
    match Pattern::parse(&text.text) {
        Ok(pattern) => {
            let plain = pattern.segments().iter().all(|segment| matches!(segment, Segment::Literal(_)));
            if pattern.has_tail() || !plain {
                wrong(table, &text);
                return None;
            }
            Some(pattern.to_string())
        }
        Err(error) => {
            let help = format!("write a plain path, for example `/healthz`: {}", error.message);
            let message = format!("`{key}` must be one path, found `{}`", shown(&text.text));
            table.reader.error(text.part(&error.at), message, help);
            None
        }
    }
}

/// Addresses that clients or the app have.
fn refuse_taken(
    reader: &mut Reader<'_>,
    admin: &Admin,
    listen: &[ListenAddress],
    app: Option<&UpstreamAddress>,
    header: Option<Range<usize>>,
) {
    for address in &admin.addresses {
        let (message, help) = if listen.iter().any(|taken| is_same_listener(taken, address)) {
            (
                format!("`{address}` is an address of `[listen]` already"),
                "operators need an address of their own, or clients could ask what they ask; use another port",
            )
        } else if app.is_some_and(|app| super::is_same(address, app)) {
            (format!("`{address}` is the app's address"), "use another port")
        } else {
            continue;
        };
        let place = reader.span("admin.address").or(header.clone()).map_or(Place::File, Place::Bytes);
        reader.error(place, message, help);
    }
}

/// A token where not only this host can ask.
fn require_token(reader: &mut Reader<'_>, admin: &Admin, header: Option<Range<usize>>) {
    let is_open = |address: &&ListenAddress| match address {
        ListenAddress::Tcp(address) => !address.ip().to_canonical().is_loopback(),
        // Where a passed socket listens shows at the start, which looks again.
        ListenAddress::Unix(_) | ListenAddress::Passed(_) => false,
    };
    let token = reader.span("admin.token");
    let is_wrong = token.as_ref().is_some_and(|span| reader.has_error_in(span));
    let Some(open) = admin.addresses.iter().find(is_open).filter(|_| admin.token.is_none() && !is_wrong)
    else {
        return;
    };
    let place = reader.span("admin.address").or(header).map_or(Place::File, Place::Bytes);
    let state = if token.is_some() { "is empty" } else { "is missing" };
    let message = format!("`token` {state}, and other hosts reach `{open}`");
    let help = format!(
        "whoever asks there can lift limits and block callers; {TOKEN_HELP}; or listen on `127.0.0.1:9180`"
    );
    reader.error(place, message, help);
}

#[cfg(test)]
mod tests {
    use crate::config::{Loaded, Overrides, Report, load};

    use super::*;

    fn read(text: &str) -> Result<Loaded, Report> {
        let text = format!("[upstream]\naddress = \"app:80\"\n{text}");
        let env = |name: &str| (name == "TOKEN").then(|| "0123456789abcdef".to_owned());
        load(&text, "file", &env, &Overrides::default())
    }

    fn admin(text: &str) -> Admin {
        let loaded = read(text).unwrap_or_else(|report| panic!("{}", report.render(false)));
        loaded.model.admin.unwrap()
    }

    #[test]
    fn without_a_table_nobody_can_ask() {
        assert_eq!(read("").unwrap().model.admin, None);
        let default = admin("[admin]");
        assert_eq!(default.addresses, [ListenAddress::Tcp(([127, 0, 0, 1], 9180).into())]);
        assert_eq!((default.token, default.live_path, default.ready_path), (None, None, None));
    }

    #[test]
    fn an_unset_token_is_none_and_a_set_one_is_kept() {
        assert_eq!(admin("[admin]\ntoken = \"${UNSET:-}\"").token, None);
        assert_eq!(admin("[admin]\ntoken = \"${TOKEN}\"").token, Some(Secret::new("0123456789abcdef")));
        assert!(read("[admin]\ntoken = \"0123456789abcde\"").is_err(), "15 characters");
    }

    #[test]
    fn other_hosts_must_show_a_token() {
        for address in ["0.0.0.0:9180", "[::]:9180", "10.0.0.1:9180", "[::ffff:10.0.0.1]:9180"] {
            assert!(read(&format!("[admin]\naddress = \"{address}\"")).is_err(), "{address}");
            admin(&format!("[admin]\naddress = \"{address}\"\ntoken = \"${{TOKEN}}\""));
        }
        for address in ["127.0.0.2:9180", "[::1]:9180", "[::ffff:127.0.0.1]:9180", "unix:/run/a.sock"] {
            admin(&format!("[admin]\naddress = \"{address}\""));
        }
    }

    #[test]
    fn taken_addresses_are_refused() {
        for (listen, address) in [
            ("127.0.0.1:9180", "127.0.0.1:9180"),
            ("0.0.0.0:9180", "127.0.0.1:9180"),
            ("[::]:9180", "127.0.0.1:9180"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
        ] {
            let text = format!("[listen]\naddress = \"{listen}\"\n[admin]\naddress = \"{address}\"");
            assert!(read(&text).is_err(), "{text}");
        }
        admin("[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"");
        admin("[listen]\naddress = \"10.0.0.1:9180\"\n[admin]\naddress = \"127.0.0.1:9180\"");
    }

    #[test]
    fn paths_are_plain() {
        let read_paths = admin("[admin]\nlive_path = \"/healthz\"\nready_path = \"/a/ready/\"");
        assert_eq!(read_paths.live_path.as_deref(), Some("/healthz"));
        assert_eq!(read_paths.ready_path.as_deref(), Some("/a/ready/"));
        for path in ["healthz", "GET /a", "/a/*", "/{a}", "/a//b", "/a?b", "/../a", "/a b", ""] {
            assert!(read(&format!("[admin]\nlive_path = \"{path}\"")).is_err(), "{path}");
        }
    }
}
