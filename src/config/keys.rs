//! The keys file: whose the API keys are, by their SHA-256.
//!
//! Invariant: no key is there twice, and every one names a user.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use toml::de::{DeTable, DeValue};

use crate::identity::{Holder, KeyDigest, Keys};

use super::layers::Below;
use super::print::quote;
use super::reader::Reader;
use super::report::{Finding, Place, Report, Severity, shown};
use super::routes::is_name;
use super::sources::Sources;
use super::syntax;
use super::table::Table;

const MAX_USER: usize = 256;
/// Bytes of a note.
pub const MAX_NOTE: usize = 1024;

/// Keys that can be used.
#[derive(Debug, Clone)]
pub struct LoadedKeys {
    /// The keys.
    pub keys: Keys,
    /// Where each key's entry begins, in the order of the file.
    pub headers: Vec<(KeyDigest, usize)>,
    /// What is legal but of no use; may be empty.
    pub warnings: Report,
}

/// Reads a keys file; `file` is its name in messages.
pub fn load(text: &str, file: &str, unix_seconds: u64) -> Result<LoadedKeys, Report> {
    let sources = Sources::one(file, text);
    let (root, errors) = DeTable::parse_recoverable(text);
    let syntax = syntax::findings(text, &errors);
    if !syntax.structure_is_known {
        return Err(Report::new(&sources, text, syntax.findings));
    }
    let no_variables = |_: &str| None;
    let mut reader = Reader::new(&sources, Below::default(), &no_variables);
    let mut keys = Keys::default();
    let mut places = HashMap::new();
    let mut headers = Vec::new();
    let entries = reader.list(root.get_ref(), "keys", "a key");
    let count = entries.len();
    for (index, (entry, header)) in entries.into_iter().enumerate() {
        read(&mut reader, index, entry, &header, unix_seconds, &mut keys, &mut places)
            .into_iter()
            .for_each(|digest| headers.push((digest, header.start)));
    }
    reader.refuse_unknown(root.get_ref(), &["keys"], "");
    // What stands in place of a digest may be the key itself: it is told already, without showing it.
    let read_spans: HashSet<usize> = places.values().map(|span| span.start).collect();
    let spans = (0..count).filter_map(|at| reader.span(&format!("keys.{at}.sha256")));
    let unread: Vec<Range<usize>> = spans.filter(|span| !read_spans.contains(&span.start)).collect();
    let syntax_findings = syntax.findings.into_iter().filter(|finding| !is_within(finding, &unread));
    let mut findings = reader.findings;
    findings.extend(syntax_findings);
    let report = Report::new(&sources, text, findings);
    if report.errors() > 0 { Err(report) } else { Ok(LoadedKeys { keys, headers, warnings: report }) }
}

/// Whether a problem is in one of these places, which are in the order of the file.
fn is_within(finding: &Finding, places: &[Range<usize>]) -> bool {
    let Place::Bytes(at) = &finding.place else { return false };
    let before = places.partition_point(|place| place.start <= at.start);
    before > 0 && at.end <= places[before - 1].end
}

fn read<'d>(
    reader: &mut Reader<'d>,
    index: usize,
    entry: &'d DeTable<'d>,
    header: &Range<usize>,
    unix_seconds: u64,
    keys: &mut Keys,
    places: &mut HashMap<KeyDigest, Range<usize>>,
) -> Option<KeyDigest> {
    let mut table = Table::new(reader, format!("keys.{index}"), "keys", Some(entry));
    let digest = digest(&mut table, header);
    let user = user(&mut table, header);
    let tier = tier(&mut table);
    let note = note(&mut table);
    let expires_unix_seconds = expires(&mut table, unix_seconds);
    table.finish();
    if let Some((digest, span)) = digest {
        if let Some(first) = places.get(&digest) {
            let note = Some(("it stands first here".to_owned(), first.clone()));
            let message = "this key is there twice".to_owned();
            let help = "remove one of them: a key has one user".to_owned();
            reader.find(Severity::Error, Place::Bytes(span), message, help, note);
            return None;
        }
        places.insert(digest, span);
        keys.insert(digest, Holder { user: user.unwrap_or_default(), tier, note, expires_unix_seconds });
        return Some(digest);
    }
    None
}

fn digest(table: &mut Table<'_, '_>, header: &Range<usize>) -> Option<(KeyDigest, Range<usize>)> {
    let help = "`tollgate keys add` writes it; by hand: `printf %s KEY | sha256sum`";
    let Some(entry) = table.entry("sha256") else {
        table.reader.error(Place::Bytes(header.clone()), "`sha256` of this key is missing", help);
        return None;
    };
    let span = entry.value.span();
    // No variable is put in: a digest has none, and a part of a key is not to be told as a variable's name.
    let found = match entry.value.get_ref() {
        DeValue::String(text) => match KeyDigest::parse(text) {
            Some(digest) => return Some((digest, span)),
            None => format!("{} characters", text.chars().count()),
        },
        _ => "no text in quotes".to_owned(),
    };
    // It may be the key itself that was written here, so the line is not shown.
    let line = table.reader.position(span.start).in_words();
    let message = format!("`sha256` on {line} must be 64 hexadecimal digits, found {found}");
    table.reader.error(Place::File, message, help);
    None
}

fn user(table: &mut Table<'_, '_>, header: &Range<usize>) -> Option<Arc<str>> {
    let Some(text) = table.string("user", "a user") else {
        if !table.has("user") {
            let help = "write `user = \"billing\"`: limits and records name the key's holder by it";
            table.reader.error(Place::Bytes(header.clone()), "`user` of this key is missing", help);
        }
        return None;
    };
    if !(1..=MAX_USER).contains(&text.text.len()) {
        let message = format!("`user` must be 1 to {MAX_USER} bytes, found {}", text.text.len());
        table.reader.error(text.place, message, "write who holds the key");
        return None;
    }
    Some(text.text.into())
}

fn tier(table: &mut Table<'_, '_>) -> Option<Arc<str>> {
    let text = table.string("tier", "the name of a tier")?;
    if !is_name(&text.text) {
        let message = format!("`{}` is not the name of a tier", shown(&text.text));
        table.reader.error(text.place, message, "use 1 to 64 of letters, digits, `_`, `.` and `-`");
        return None;
    }
    Some(text.text.into())
}

fn note(table: &mut Table<'_, '_>) -> Option<String> {
    let text = table.string("note", "a note")?;
    if text.text.len() > MAX_NOTE {
        let message = format!("`note` must be at most {MAX_NOTE} bytes, found {}", text.text.len());
        table.reader.error(text.place, message, "keep it short");
        return None;
    }
    Some(text.text)
}

fn expires(table: &mut Table<'_, '_>, unix_seconds: u64) -> Option<u64> {
    let text = table.string("expires", "a date or a time")?;
    let Some(expires) = parse_expiry(&text.text) else {
        let message = format!("`expires` must be a date or a time, found `{}`", shown(&text.text));
        let help = "write `\"2027-01-31\"`, which ends with that day in UTC, or `\"2027-01-31T12:00:00Z\"`";
        table.reader.error(text.place, message, help);
        return None;
    };
    if expires <= unix_seconds {
        let message = format!("this key expired, `{}`", shown(&text.text));
        let help = "remove it, or give its holder a new one".to_owned();
        table.reader.find(Severity::Warning, text.place, message, help, None);
    }
    Some(expires)
}

/// The second since 1970 with which a date's day ends in UTC, or that a time is.
pub fn parse_expiry(text: &str) -> Option<u64> {
    let instant = match text.parse::<Date>() {
        Ok(date) if text.len() == "2027-01-31".len() => {
            date.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp()
        }
        _ => text.parse::<Timestamp>().ok()?,
    };
    u64::try_from(instant.as_second()).ok()
}

/// [`parse_expiry`] backwards, as a time.
pub fn expiry_text(unix_seconds: u64) -> String {
    let instant = i64::try_from(unix_seconds).ok().and_then(|second| Timestamp::from_second(second).ok());
    instant.unwrap_or(Timestamp::MAX).to_string()
}

/// A file's text with one more key at its end.
pub fn with_entry(text: &str, digest: &KeyDigest, holder: &Holder) -> String {
    let mut text = text.to_owned();
    if !text.is_empty() {
        text.push_str(if text.ends_with('\n') { "\n" } else { "\n\n" });
    }
    text.push_str(&format!("[[keys]]\nsha256 = \"{}\"\nuser = {}\n", digest.to_hex(), quote(&holder.user)));
    let expires = holder.expires_unix_seconds.map(expiry_text);
    let tier = holder.tier.as_deref();
    for (key, value) in [("tier", tier), ("note", holder.note.as_deref()), ("expires", expires.as_deref())] {
        if let Some(value) = value {
            text.push_str(&format!("{key} = {}\n", quote(value)));
        }
    }
    text
}

/// A file's text without these keys; `None` if one of them is not a `[[keys]]` of its own. Comments right above an
/// entry go with it, those behind it stay.
pub fn without_entries(text: &str, headers: &[(KeyDigest, usize)], gone: &[KeyDigest]) -> Option<String> {
    let begin = |header: usize| {
        let mut begin = text[..header].rfind('\n').map_or(0, |at| at + 1);
        while begin > 0 {
            let above = text[..begin - 1].rfind('\n').map_or(0, |at| at + 1);
            if !text[above..begin].trim_start().starts_with('#') {
                break;
            }
            begin = above;
        }
        begin
    };
    let mut kept = String::with_capacity(text.len());
    let mut from = 0;
    for (at, (digest, header)) in headers.iter().enumerate() {
        if !text[*header..].starts_with("[[") {
            return None;
        }
        if gone.contains(digest) {
            kept.push_str(&text[from..begin(*header)]);
            let next = headers.get(at + 1).map_or(text.len(), |(_, next)| begin(*next));
            from = header + own_length(&text[*header..next]);
        }
    }
    kept.push_str(&text[from..]);
    Some(kept)
}

/// Bytes from an entry's header to its last line, and the empty lines behind; comments behind are not the entry's.
fn own_length(text: &str) -> usize {
    let (mut end, mut at) = (0, 0);
    let mut is_behind_comment = false;
    for line in text.split_inclusive('\n') {
        at += line.len();
        let line = line.trim();
        let is_comment = line.starts_with('#');
        is_behind_comment = is_comment || (is_behind_comment && line.is_empty());
        if !is_behind_comment {
            end = at;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(user: &str) -> Holder {
        let note = Some("a \"quoted\" ${NOTE}\n".to_owned());
        Holder {
            user: user.into(),
            tier: Some("pro".into()),
            note,
            expires_unix_seconds: Some(1_900_000_000),
        }
    }

    #[test]
    fn what_is_added_is_read_back() {
        let mut text = "# ours\n".to_owned();
        for user in ["ann", "b$n", "c\u{7f}t"] {
            text = with_entry(&text, &KeyDigest::of(user.as_bytes()), &holder(user));
        }
        let loaded = load(&text, "keys", 0).unwrap_or_else(|report| panic!("{}", report.render(false)));
        for user in ["ann", "b$n", "c\u{7f}t"] {
            let found = loaded.keys.find(&KeyDigest::of(user.as_bytes()), 0);
            assert_eq!(found, crate::identity::Found::Known(&holder(user)));
        }
    }

    #[test]
    fn what_is_removed_leaves_the_rest_as_it_was() {
        let entry = |user: &str| with_entry("", &KeyDigest::of(user.as_bytes()), &holder(user));
        let text = format!(
            "# head\n\n# ann's\n{}\n# ben's\n{}\n{}# tail\n",
            entry("ann"),
            entry("ben"),
            entry("cat")
        );
        let loaded = load(&text, "keys", 0).unwrap();
        let gone = [KeyDigest::of(b"ben")];
        let kept = without_entries(&text, &loaded.headers, &gone).unwrap();
        assert_eq!(kept, format!("# head\n\n# ann's\n{}\n{}# tail\n", entry("ann"), entry("cat")));
        let kept = without_entries(&text, &loaded.headers, &[KeyDigest::of(b"cat")]).unwrap();
        assert_eq!(kept, format!("# head\n\n# ann's\n{}\n# ben's\n{}\n# tail\n", entry("ann"), entry("ben")));
        let sections = format!("{}\n# the second half\n\n{}", entry("ann"), entry("ben"));
        let loaded = load(&sections, "keys", 0).unwrap();
        let kept = without_entries(&sections, &loaded.headers, &[KeyDigest::of(b"ann")]).unwrap();
        assert_eq!(kept, format!("# the second half\n\n{}", entry("ben")));
        let inline = format!("keys = [{{ sha256 = \"{}\", user = \"x\" }}]\n", KeyDigest::of(b"x").to_hex());
        let loaded = load(&inline, "keys", 0).unwrap();
        assert_eq!(without_entries(&inline, &loaded.headers, &[KeyDigest::of(b"x")]), None);
    }

    #[test]
    fn a_date_ends_with_its_day() {
        assert_eq!(parse_expiry("2027-01-31"), parse_expiry("2027-02-01T00:00:00Z"));
        assert_eq!(parse_expiry("2027-01-31T12:00:00+02:00"), parse_expiry("2027-01-31T10:00:00Z"));
        assert_eq!(parse_expiry(&expiry_text(1_900_000_000)), Some(1_900_000_000));
        for wrong in ["", "2027-02-30", "tomorrow", "2027-01-31 12:00", "1969-01-01"] {
            assert_eq!(parse_expiry(wrong), None, "{wrong:?}");
        }
    }
}
