//! `[identity]`: who is calling.
//!
//! Invariant: a source that is asked can answer, and a field that frames a message names nobody. No key is in a field
//! that records show, be it as the request's id or as its user.

use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderName;

use crate::identity::{ApiKey, CertificateName, Identity, Source, UnknownKey};

use super::fields;
use super::listen::warn;
use super::report::{Place, shown};
use super::suggest::nearest;
use super::table::Table;

pub(crate) const UNKNOWN_KEYS: [(&str, UnknownKey); 2] =
    [("anonymous", UnknownKey::Anonymous), ("reject", UnknownKey::Reject)];

pub(crate) const CERTIFICATE_NAMES: [(&str, CertificateName); 4] = [
    ("subject_cn", CertificateName::SubjectCn),
    ("san_dns", CertificateName::SanDns),
    ("san_email", CertificateName::SanEmail),
    ("san_uri", CertificateName::SanUri),
];

const SOURCES: [&str; 3] = ["api_key", "header", "certificate"];

/// Reads the table; `request_id` is the field of the request's id. Without `sources` the tables that are there are
/// asked. `knows_clients` is whether clients can show certificates.
pub(crate) fn read(mut table: Table<'_, '_>, request_id: &HeaderName, knows_clients: bool) -> Identity {
    let sources = sources(&mut table);
    let mut key_table = table.table("api_key", "identity.api_key", "{ header = \"X-API-Key\" }");
    let key_is_there = key_table.is_there();
    let api_key = api_key(&mut key_table, request_id);
    key_table.finish();
    let mut header_table = table.table("header", "identity.header", "{ name = \"X-User\" }");
    let header_is_there = header_table.is_there();
    let header = user_field(&mut header_table, &api_key.header, request_id);
    header_table.finish();
    let mut certificate_table =
        table.table("certificate", "identity.certificate", "{ name = \"subject_cn\" }");
    let certificate_is_there = certificate_table.is_there();
    let certificate = certificate_table.choice("name", &CERTIFICATE_NAMES, CertificateName::default());
    certificate_table.finish();
    let there =
        [("api_key", key_is_there), ("header", header_is_there), ("certificate", certificate_is_there)];
    if let Some(asked) = &sources {
        for (name, _) in there.iter().filter(|(name, there)| *there && !asked.contains(name)) {
            let message = format!("`[identity.{name}]` is not asked");
            let help = format!("add \"{name}\" to `sources`, or remove the table");
            warn(table.reader, "identity.sources", message, help);
        }
    }
    let asked =
        sources.unwrap_or_else(|| there.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect());
    if asked.contains(&"header") && header.is_none() && table.reader.span("identity.header.name").is_none() {
        let place = table.span("sources").map_or(Place::File, Place::Bytes);
        let help = "name the field the proxy in front sets: `name = \"X-Amzn-Oidc-Identity\"` below `[identity.header]`";
        table.reader.error(place, "`name` of `[identity.header]` is missing", help);
    }
    if asked.contains(&"certificate") && !knows_clients {
        let place = table.span("sources").map_or(Place::File, Place::Bytes);
        let help = "name the authorities whose clients are known, `client_ca = \"/etc/tollgate/clients.pem\"` below `[listen.tls]`";
        table.reader.error(place, "`certificate` names users, and no client is asked for one", help);
    }
    table.finish();
    let source = |name: &str| match name {
        "certificate" => Some(Source::Certificate(certificate)),
        "header" => header.clone().map(Source::Header),
        _ => Some(Source::ApiKey(api_key.clone())),
    };
    Identity { sources: asked.into_iter().filter_map(source).collect() }
}

fn sources(table: &mut Table<'_, '_>) -> Option<Vec<&'static str>> {
    let texts = table.strings("sources", "a list of `api_key`, `header` and `certificate`")?;
    let mut sources = Vec::new();
    for text in texts {
        let known = SOURCES.iter().find(|name| **name == text.text);
        let (message, help) = match known {
            Some(name) if !sources.contains(name) => {
                sources.push(*name);
                continue;
            }
            Some(name) => (format!("`sources` holds `{name}` twice"), "remove one of them".to_owned()),
            None => {
                let message = format!("`sources` holds `{}`, which is no source", shown(&text.text));
                let help = match nearest(&text.text, SOURCES) {
                    Some(meant) => format!("did you mean `{meant}`"),
                    None => "sources are `api_key`, `header` and `certificate`".to_owned(),
                };
                (message, help)
            }
        };
        table.reader.error(text.place, message, help);
    }
    Some(sources)
}

fn api_key(table: &mut Table<'_, '_>, request_id: &HeaderName) -> ApiKey {
    let header =
        field(table, "header", request_id, "X-API-Key").unwrap_or(HeaderName::from_static("x-api-key"));
    let query = query(table);
    let keys_file = keys_file(table);
    let unknown = table.choice("unknown", &UNKNOWN_KEYS, UnknownKey::Anonymous);
    if keys_file.is_none()
        && !table.has("keys_file")
        && let Some(span) = table.span("unknown")
    {
        let help = "without `keys_file` no key is known: name the file, `keys_file = \"/etc/tollgate/keys.toml\"`, or remove it";
        table.reader.error(Place::Bytes(span), "`unknown` has no `keys_file` to go with", help);
    }
    ApiKey { header, query, keys_file, unknown }
}

/// A field that may name somebody.
fn field(
    table: &mut Table<'_, '_>,
    key: &'static str,
    request_id: &HeaderName,
    example: &str,
) -> Option<HeaderName> {
    let text = table.string(key, "a field name")?;
    let name = fields::parse(table.reader, key, &text)?;
    let means_more = fields::is_own(&name) || fields::is_of_limits(&name) || name == http::header::COOKIE;
    let why = if means_more {
        "which means something else"
    } else if name == *request_id {
        "the field of the request id, which records and answers show"
    } else if fields::is_recorded(&name) {
        "which every record shows"
    } else {
        return Some(name);
    };
    let message = format!("`{key}` cannot be `{}`, {why}", shown(&text.text));
    table.reader.error(text.place, message, format!("use a field of its own, for example `{example}`"));
    None
}

/// The field of a user's name, which records show: not one in which there is a secret.
fn user_field(
    table: &mut Table<'_, '_>,
    key_field: &HeaderName,
    request_id: &HeaderName,
) -> Option<HeaderName> {
    const EXAMPLE: &str = "X-Amzn-Oidc-Identity";
    let name = field(table, "name", request_id, EXAMPLE)?;
    if name == *key_field || fields::is_credential(&name) {
        let place = table.span("name").map_or(Place::File, Place::Bytes);
        let message = format!("`name` cannot be `{name}`, which holds credentials: records show users");
        let help = format!("name the field the proxy in front puts the user into, for example `{EXAMPLE}`");
        table.reader.error(place, message, help);
        return None;
    }
    Some(name)
}

fn query(table: &mut Table<'_, '_>) -> Option<Arc<str>> {
    let text = table.string("query", "the name of a parameter")?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if !(1..=64).contains(&text.text.len()) || !text.text.bytes().all(allowed) {
        let message = format!("`query` must be the name of a parameter, found `{}`", shown(&text.text));
        table.reader.error(text.place, message, "use 1 to 64 of letters, digits, `_`, `.` and `-`");
        return None;
    }
    Some(text.text.into())
}

fn keys_file(table: &mut Table<'_, '_>) -> Option<PathBuf> {
    let text = table.string("keys_file", "the path of a file")?;
    let path = text.text.as_str();
    if !path.contains('/') || path.ends_with('/') || path.contains('\0') {
        let message = format!("`keys_file` must be the path of a file, found `{}`", shown(path));
        let help = "a file is written with its directory: `/etc/tollgate/keys.toml`";
        table.reader.error(text.place, message, help);
        return None;
    }
    Some(PathBuf::from(path))
}
