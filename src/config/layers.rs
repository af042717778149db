//! Several files as one configuration: later ones win, key by key.
//!
//! Tables are merged, and so are the lists of named tables in [`BY_NAME`], entry by entry. Anything else that a later
//! file has replaces what an earlier one had. Invariant: what was replaced is never read and never shown, but a key
//! that nobody knows is told of in every file.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::report::{Finding, Place, Severity};
use super::secret;
use super::sources::Sources;
use super::syntax;

/// Lists whose entries have names of their own, as the tables `[limits.NAME]` have.
const BY_NAME: [&str; 2] = ["routes", "alerts.rules"];

/// What the grammar says of some texts.
pub(crate) struct Parsed<'d> {
    /// The tree of each, with the places it has in the whole.
    trees: Vec<DeTable<'d>>,
    /// What is wrong.
    pub(crate) findings: Vec<Finding>,
    /// Whether tables, keys and values could be told apart in all of them.
    pub(crate) structure_is_known: bool,
    /// The whole, without what may be secrets of a text that is wrong.
    pub(crate) shown: String,
}

/// What is below a later file's keys.
#[derive(Debug, Default)]
pub(crate) struct Below {
    /// Where else a key stands, by where it begins in the merged tree.
    pub(crate) keys: BTreeMap<usize, Vec<Range<usize>>>,
    /// Replaced values that may be secrets.
    pub(crate) secrets: Vec<Range<usize>>,
}

/// Parses each text on its own.
pub(crate) fn parse(sources: &Sources) -> Parsed<'_> {
    let (mut trees, mut findings) = (Vec::new(), Vec::new());
    let mut structure_is_known = true;
    let mut suspects = Vec::new();
    for file in sources.files() {
        let text = sources.text().get(file.bytes.clone()).unwrap_or_default();
        let offset = file.bytes.start;
        if let Some(place) = &file.not_utf8 {
            structure_is_known = false;
            suspects.extend(secret::suspects(text).into_iter().map(|span| shifted(&span, offset)));
            findings.push(not_utf8(place.clone()));
            continue;
        }
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let hidden = secret::suspects(text);
            let syntax = syntax::findings(&secret::masked(text, &hidden), &errors);
            structure_is_known &= syntax.structure_is_known;
            suspects.extend(hidden.into_iter().map(|span| shifted(&span, offset)));
            findings.extend(syntax.findings.into_iter().map(|mut finding| {
                if let Place::Bytes(span) = &mut finding.place {
                    *span = shifted(span, offset);
                }
                finding
            }));
        }
        trees.push(if offset == 0 { root.into_inner() } else { moved_table(root.into_inner(), offset) });
    }
    Parsed { trees, findings, structure_is_known, shown: secret::masked(sources.text(), &suspects) }
}

/// That a file is not UTF-8, which TOML must be.
pub(crate) fn not_utf8(place: Range<usize>) -> Finding {
    Finding {
        severity: Severity::Error,
        place: Place::Bytes(place),
        message: "the file is not UTF-8".to_owned(),
        help: "save it in UTF-8; this byte belongs to no character".to_owned(),
        note: None,
    }
}

/// All trees as one.
pub(crate) fn merged<'d>(parsed: &mut Parsed<'d>) -> (DeTable<'d>, Below) {
    let mut below = Below::default();
    let mut trees = std::mem::take(&mut parsed.trees).into_iter();
    let mut whole = trees.next().unwrap_or_default();
    for tree in trees {
        lay_table(&mut whole, tree, "", &mut below);
    }
    (whole, below)
}

fn lay_table<'d>(under: &mut DeTable<'d>, over: DeTable<'d>, path: &str, below: &mut Below) {
    for (key, value) in over {
        let Some((old_key, old)) = under.remove_entry(key.get_ref().as_ref()) else {
            under.insert(key, value);
            continue;
        };
        let path = match path {
            "" => key.get_ref().to_string(),
            _ => format!("{path}.{}", key.get_ref()),
        };
        let old_span = old.span();
        match (old.into_inner(), value.get_ref()) {
            (DeValue::Table(mut table), DeValue::Table(_)) => {
                below.keys.entry(old_key.span().start).or_default().push(key.span());
                if let DeValue::Table(over) = value.into_inner() {
                    lay_table(&mut table, over, &path, below);
                }
                under.insert(old_key, Spanned::new(old_span, DeValue::Table(table)));
            }
            (DeValue::Array(list), DeValue::Array(_)) if BY_NAME.contains(&path.as_str()) => {
                if let DeValue::Array(over) = value.into_inner() {
                    let list = lay_list(list, over, &path, below);
                    under.insert(old_key, Spanned::new(old_span, DeValue::Array(list)));
                }
            }
            (old, _) => {
                secret::replaced(&path, &Spanned::new(old_span, old), &mut below.secrets);
                let mut places = below.keys.remove(&old_key.span().start).unwrap_or_default();
                places.push(old_key.span());
                below.keys.insert(key.span().start, places);
                under.insert(key, value);
            }
        }
    }
}

/// An entry goes over the one of its name; others are added. A name that stands twice in one file stays there twice.
fn lay_list<'d>(under: DeArray<'d>, over: DeArray<'d>, path: &str, below: &mut Below) -> DeArray<'d> {
    let mut entries: Vec<Spanned<DeValue<'d>>> = under.into_iter().collect();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        if let Some(name) = name_of(entry) {
            places.entry(name).or_insert(index);
        }
    }
    for entry in over {
        let place = name_of(&entry).and_then(|name| places.remove(&name));
        let old = place.and_then(|place| entries.get_mut(place)).map(Spanned::get_mut);
        match (old, entry.get_ref()) {
            (Some(DeValue::Table(table)), DeValue::Table(_)) => {
                if let DeValue::Table(over) = entry.into_inner() {
                    lay_table(table, over, path, below);
                }
            }
            _ => entries.push(entry),
        }
    }
    entries.into_iter().collect()
}

fn name_of(entry: &Spanned<DeValue<'_>>) -> Option<String> {
    let DeValue::Table(table) = entry.get_ref() else { return None };
    match table.get("name")?.get_ref() {
        DeValue::String(name) => Some(name.to_string()),
        _ => None,
    }
}

fn shifted(span: &Range<usize>, offset: usize) -> Range<usize> {
    span.start + offset..span.end + offset
}

fn moved_table(table: DeTable<'_>, offset: usize) -> DeTable<'_> {
    let entry = |(key, value)| (moved(key, offset, |key, _| key), moved(value, offset, moved_value));
    table.into_iter().map(entry).collect()
}

fn moved_value(value: DeValue<'_>, offset: usize) -> DeValue<'_> {
    match value {
        DeValue::Table(table) => DeValue::Table(moved_table(table, offset)),
        DeValue::Array(values) => {
            DeValue::Array(values.into_iter().map(|value| moved(value, offset, moved_value)).collect())
        }
        value => value,
    }
}

fn moved<T>(spanned: Spanned<T>, offset: usize, inner: impl Fn(T, usize) -> T) -> Spanned<T> {
    let span = shifted(&spanned.span(), offset);
    Spanned::new(span, inner(spanned.into_inner(), offset))
}

#[cfg(test)]
mod tests;
