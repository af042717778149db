//! A walk over the parsed file that collects every problem instead of ending at the first.
//!
//! Invariant: a key is known because somebody asked for it, so the list of known keys cannot differ
//! from what is read; what nobody asked for is an unknown key.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::interpolate::interpolate;
use super::layers::Below;
use super::origin::{Origin, Origins};
use super::report::{Finding, MAX_SHOWN, Place, Severity, shown};
use super::sources::{Position, Sources};
use super::suggest::{alternatives, nearest};
use super::table::{Entry, Named, Table};

/// What is gathered while tables are read.
pub(crate) struct Reader<'d> {
    sources: &'d Sources,
    /// What later files replaced.
    below: Below,
    pub(super) env: &'d dyn Fn(&str) -> Option<String>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) origins: Origins,
    /// The value of every key that is in the file, by dotted path.
    pub(super) spans: BTreeMap<String, Range<usize>>,
    /// Every key that was asked for, by dotted path without indexes.
    pub(super) known: BTreeSet<String>,
    /// Where keys are that nobody asks for, and that have a report of their own.
    pub(super) refused: BTreeSet<usize>,
    /// Values that no report may show.
    pub(super) secrets: Vec<Range<usize>>,
}

/// A string value after its variables were put in.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) place: Place,
    /// Whether the bytes of the file between the quotes are the text.
    verbatim: bool,
}

impl Text {
    /// An option's value.
    pub(crate) fn from_command_line(text: &str) -> Text {
        Text { text: text.to_owned(), place: Place::CommandLine, verbatim: false }
    }

    /// The text behind its first bytes, which are a prefix of ASCII.
    pub(crate) fn behind(&self, prefix: &str) -> Option<Text> {
        let text = self.text.strip_prefix(prefix)?.to_owned();
        Some(Text { text, place: self.part(&(prefix.len()..self.text.len())), verbatim: false })
    }

    /// The place of a part of the text, as near as it is known.
    pub(crate) fn part(&self, part: &Range<usize>) -> Place {
        match &self.place {
            Place::Bytes(span) if self.verbatim => {
                Place::Bytes(span.start + 1 + part.start..span.start + 1 + part.end)
            }
            place => place.clone(),
        }
    }
}

impl<'d> Reader<'d> {
    pub(crate) fn new(
        sources: &'d Sources,
        mut below: Below,
        env: &'d dyn Fn(&str) -> Option<String>,
    ) -> Reader<'d> {
        let secrets = std::mem::take(&mut below.secrets);
        Reader {
            sources,
            below,
            env,
            findings: Vec::new(),
            origins: Origins::default(),
            spans: BTreeMap::new(),
            known: BTreeSet::new(),
            refused: BTreeSet::new(),
            secrets,
        }
    }

    pub(crate) fn known(self) -> BTreeSet<String> {
        self.known
    }

    pub(crate) fn error(&mut self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.find(Severity::Error, place, message.into(), help.into(), None);
    }

    pub(crate) fn find(
        &mut self,
        severity: Severity,
        place: Place,
        message: String,
        help: String,
        note: Option<(String, Range<usize>)>,
    ) {
        self.findings.push(Finding { severity, place, message, help, note });
    }

    /// The bytes of a key's value, if the key is in the file.
    pub(crate) fn span(&self, path: &str) -> Option<Range<usize>> {
        self.spans.get(path).cloned()
    }

    /// The line that holds this byte.
    pub(crate) fn position(&self, at: usize) -> Position {
        self.sources.position(at)
    }

    /// The value of another key as a note, if it is in another file than this place.
    pub(crate) fn elsewhere(&self, place: &Place, path: &str, what: &str) -> Option<(String, Range<usize>)> {
        let Place::Bytes(here) = place else { return None };
        let there = self.span(path).filter(|there| self.sources.are_apart(here.start, there.start))?;
        Some((what.to_owned(), there))
    }

    /// An error at a key, and at the same key in every file it is in.
    pub(crate) fn error_at_key(&mut self, key: Range<usize>, message: &str, help: &str) {
        let others = self.below.keys.get(&key.start).cloned().unwrap_or_default();
        for place in others.into_iter().chain([key]) {
            self.error(Place::Bytes(place), message, help);
        }
    }

    /// Whether an error was found within these bytes.
    pub(crate) fn has_error_in(&self, span: &Range<usize>) -> bool {
        self.findings.iter().any(|finding| {
            let inside = matches!(&finding.place, Place::Bytes(at) if span.contains(&at.start));
            inside && finding.severity == Severity::Error
        })
    }

    /// The file's text of a value, short enough for a message.
    pub(crate) fn written(&self, value: &Spanned<DeValue<'_>>) -> String {
        match value.get_ref() {
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
            _ if self.secrets.contains(&value.span()) => "something else".to_owned(),
            _ => {
                let written = self.sources.text().get(value.span()).unwrap_or_default();
                let line = written.lines().next().unwrap_or_default();
                format!("`{}`", shown(line))
            }
        }
    }

    /// The text of a string value; anything else is an error that says what was wanted.
    pub(crate) fn text(
        &mut self,
        entry: &Entry<'d>,
        value: &Spanned<DeValue<'d>>,
        wanted: &str,
    ) -> Option<Text> {
        let DeValue::String(raw) = value.get_ref() else {
            let message = format!("`{}` must be {wanted}, found {}", entry.key, self.written(value));
            let help = match value.get_ref() {
                DeValue::Array(_) | DeValue::Table(_) => "",
                _ => "text stands in quotes",
            };
            self.error(Place::Bytes(value.span()), message, help);
            return None;
        };
        let span = value.span();
        let inside = span.start + 1..span.end.saturating_sub(1).max(span.start + 1);
        let mut text = Text {
            text: String::new(),
            place: Place::Bytes(span.clone()),
            verbatim: self.sources.text().get(inside) == Some(raw.as_ref()),
        };
        match interpolate(raw, self.env) {
            Ok(done) => {
                text.verbatim &= done.text == *raw;
                text.text = done.text;
                if !done.variables.is_empty() {
                    let at = self.position(span.start);
                    self.note_environment(&entry.path, at, done.variables);
                }
                Some(text)
            }
            Err(errors) => {
                for wrong in errors {
                    self.error(text.part(&wrong.at), wrong.message, wrong.help);
                }
                None
            }
        }
    }

    pub(super) fn note_environment(&mut self, path: &str, at: Position, mut variables: Vec<String>) {
        if let Origin::Environment { variables: before, .. } = self.origins.get(path) {
            variables.splice(0..0, before);
        }
        self.origins.set(path.to_owned(), Origin::Environment { at, variables });
    }

    /// The table `[name]`, which may be absent.
    pub(crate) fn table(&mut self, root: &'d DeTable<'d>, name: &'static str) -> Table<'_, 'd> {
        let entries = match find(root, name) {
            None => None,
            Some((_, value)) => match value.get_ref() {
                DeValue::Table(table) => Some(table),
                DeValue::Array(_) => {
                    let message = format!("`{name}` must be one table, found a list");
                    self.error(Place::Bytes(value.span()), message, format!("write `[{name}]` once"));
                    None
                }
                _ => {
                    let message = format!("`{name}` must be a table, found {}", self.written(value));
                    self.error(
                        Place::Bytes(value.span()),
                        message,
                        format!("write `[{name}]`, and its keys below"),
                    );
                    None
                }
            },
        };
        Table::new(self, name.to_owned(), name, entries)
    }

    /// The tables of a table whose keys are names, such as `[limits.NAME]`; what is no table is an error.
    pub(crate) fn named_tables(
        &mut self,
        key: &str,
        value: Option<&'d Spanned<DeValue<'d>>>,
        example: &str,
    ) -> Vec<Named<'d>> {
        let Some(value) = value else {
            return Vec::new();
        };
        let DeValue::Table(tables) = value.get_ref() else {
            let message = format!("`{key}` must hold named tables, found {}", self.written(value));
            self.error(Place::Bytes(value.span()), message, format!("write `{example}`"));
            return Vec::new();
        };
        let mut found = Vec::new();
        for (name, value) in tables {
            let DeValue::Table(entries) = value.get_ref() else {
                let message =
                    format!("`{}` must be a table, found {}", shown(name.get_ref()), self.written(value));
                self.error(Place::Bytes(name.span()), message, format!("write `{example}`"));
                continue;
            };
            let name_text = name.get_ref().to_string();
            let key = bare_or_quoted(&name_text);
            found.push(Named { name: name_text, key, place: name.span(), entries });
        }
        found
    }

    /// The tables `[[name]]`, each with its place; `one` is what each of them is, for messages.
    pub(crate) fn list(
        &mut self,
        root: &'d DeTable<'d>,
        name: &str,
        one: &str,
    ) -> Vec<(&'d DeTable<'d>, Range<usize>)> {
        let Some((_, value)) = find(root, name) else {
            return Vec::new();
        };
        self.list_of(value, name, one)
    }

    /// The tables of a list; `header` is what stands between the brackets above each.
    pub(super) fn list_of(
        &mut self,
        value: &'d Spanned<DeValue<'d>>,
        header: &str,
        one: &str,
    ) -> Vec<(&'d DeTable<'d>, Range<usize>)> {
        let name = header.rsplit('.').next().unwrap_or(header);
        let help = format!("write `[[{header}]]` above each {}", one.trim_start_matches("a "));
        let DeValue::Array(values) = value.get_ref() else {
            let message = format!("`{name}` must be a list of tables, found {}", self.written(value));
            self.error(Place::Bytes(value.span()), message, help);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for value in values.iter() {
            match value.get_ref() {
                DeValue::Table(table) => tables.push((table, value.span())),
                _ => {
                    let message = format!("{one} must be a table, found {}", self.written(value));
                    self.error(Place::Bytes(value.span()), message, help.clone());
                }
            }
        }
        tables
    }

    /// Reports what is in `entries` but not among `names`.
    pub(crate) fn refuse_unknown(&mut self, entries: &DeTable<'_>, names: &[&str], inside: &str) {
        for (key, value) in entries {
            let name = key.get_ref().as_ref();
            if names.contains(&name) || self.refused.contains(&key.span().start) {
                continue;
            }
            self.hide_unknown(inside, name, value);
            let shown = shown(name);
            let message = match (inside.is_empty(), value.get_ref()) {
                (true, DeValue::Table(_)) => format!("unknown table `[{shown}]`"),
                (true, _) => format!("unknown key `{shown}` outside of any table"),
                (false, _) => format!("unknown key `{shown}` in `{inside}`"),
            };
            // Nobody reads suggestions for thousands of keys, and they cost.
            let hinted = self.findings.len() < MAX_SHOWN;
            let help = match nearest(name, names.iter().copied().filter(|_| hinted)) {
                Some(meant) => format!("did you mean `{meant}`"),
                None if inside.is_empty() => self.table_of(name, names),
                None => format!("known keys are {}", list(names)),
            };
            self.error_at_key(key.span(), &message, &help);
        }
    }

    fn table_of(&self, key: &str, tables: &[&str]) -> String {
        let owners: Vec<&str> = self
            .known
            .iter()
            .filter_map(|path| path.split_once('.'))
            .filter(|(_, last)| *last == key)
            .map(|(table, _)| table)
            .collect();
        match owners.is_empty() {
            true => format!("known tables are {}", list(tables)),
            false => format!("`{key}` is a key of {}", alternatives(&owners)),
        }
    }
}

fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// A name as a key of TOML.
pub(crate) fn bare_or_quoted(name: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { format!("{name:?}") }
}

/// An entry of a table by name.
pub(crate) fn find<'d>(
    table: &'d DeTable<'d>,
    name: &str,
) -> Option<(Range<usize>, &'d Spanned<DeValue<'d>>)> {
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
    Some((key.span(), value))
}
