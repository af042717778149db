//! `key`: what a limit counts by.

use crate::limit::rules::KeyPart;

use super::super::fields;
use super::super::reader::{Reader, Text};
use super::super::report::{Place, shown};
use super::super::suggest::nearest;
use super::super::table::Table;

const PARTS: [(&str, KeyPart); 5] = [
    ("caller", KeyPart::Caller),
    ("user", KeyPart::User),
    ("ip", KeyPart::Ip),
    ("api_key", KeyPart::ApiKey),
    ("global", KeyPart::Global),
];
const LIST: &str = "keys are `caller`, `user`, `ip`, `api_key`, `header:NAME`, `global`";

/// Reads `key`; `None` if it is not written.
pub(super) fn read(table: &mut Table<'_, '_>) -> Option<Vec<KeyPart>> {
    let texts = table.strings("key", "a key or a list of keys")?;
    let span = table.span("key").unwrap_or_default();
    let reader = &mut *table.reader;
    if texts.is_empty() && !reader.has_error_in(&span) {
        reader.error(Place::Bytes(span), "`key` must hold at least one key", LIST);
        return None;
    }
    let mut parts = Vec::new();
    for text in &texts {
        let Some(part) = parse(reader, text) else {
            continue;
        };
        if parts.contains(&part) {
            let message = format!("`key` holds `{}` twice", shown(&text.text));
            reader.error(text.place.clone(), message, "remove one of them");
            continue;
        }
        if part == KeyPart::Global && texts.len() > 1 {
            let help =
                "one bucket for everybody is not one for each of something: remove the others, or this one";
            reader.error(text.place.clone(), "`global` stands alone", help);
        }
        parts.push(part);
    }
    Some(parts)
}

fn parse(reader: &mut Reader<'_>, text: &Text) -> Option<KeyPart> {
    if let Some((_, part)) = PARTS.iter().find(|(name, _)| *name == text.text) {
        return Some(part.clone());
    }
    if let Some(field) = text.behind("header:").filter(|field| !field.text.is_empty()) {
        let name = fields::parse(reader, "key", &field)?;
        if fields::is_forwarded(&name) {
            let message = format!("`{}` is for anybody to write", shown(&text.text));
            reader.error(
                text.place.clone(),
                message,
                "use `ip`: the client's address behind `trusted_proxies`",
            );
            return None;
        }
        return Some(KeyPart::Header(name));
    }
    let help = match nearest(&text.text, PARTS.iter().map(|(name, _)| *name)) {
        Some(meant) => format!("did you mean `{meant}`"),
        None if text.text.starts_with("header") => "write `header:X-Tenant`".to_owned(),
        None => LIST.to_owned(),
    };
    reader.error(
        text.place.clone(),
        format!("`key` holds `{}`, which is nothing to count by", shown(&text.text)),
        help,
    );
    None
}
