//! A table of the file while it is read.
//!
//! Invariant: every key that is asked for is noted, whether the file has it or not; that is what
//! makes it known.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::origin::Origin;
use super::reader::{Reader, bare_or_quoted, find};
use super::report::Place;

/// A table, or the absence of one: every key of it can be asked for.
pub(crate) struct Table<'r, 'd> {
    pub(crate) reader: &'r mut Reader<'d>,
    /// With the index in an array of tables: `routes.0`.
    path: String,
    /// Without: `routes`.
    schema: &'static str,
    entries: Option<&'d DeTable<'d>>,
    /// Its name, where it is a table within another.
    place: Option<Range<usize>>,
    asked: Vec<&'static str>,
}

/// A key that is in the file.
pub(crate) struct Entry<'d> {
    pub(crate) key: &'static str,
    pub(crate) path: String,
    pub(crate) value: &'d Spanned<DeValue<'d>>,
}

/// A table whose name the file chooses: `[limits.NAME]`.
pub(crate) struct Named<'d> {
    pub(crate) name: String,
    /// The name as a part of a dotted path, in quotes if it needs them.
    pub(crate) key: String,
    /// Where the name is.
    pub(crate) place: Range<usize>,
    pub(crate) entries: &'d DeTable<'d>,
}

impl<'r, 'd> Table<'r, 'd> {
    /// A table by its entries.
    pub(crate) fn new(
        reader: &'r mut Reader<'d>,
        path: String,
        schema: &'static str,
        entries: Option<&'d DeTable<'d>>,
    ) -> Table<'r, 'd> {
        Table { reader, path, schema, entries, place: None, asked: Vec::new() }
    }

    /// The entry of a key, which is known from now on.
    pub(crate) fn entry(&mut self, key: &'static str) -> Option<Entry<'d>> {
        self.asked.push(key);
        self.reader.known.insert(format!("{}.{key}", self.schema));
        let path = format!("{}.{key}", self.path);
        let (_, value) = find(self.entries?, key)?;
        let at = self.reader.position(value.span().start);
        self.reader.spans.insert(path.clone(), value.span());
        self.reader.origins.set(path.clone(), Origin::File { at });
        Some(Entry { key, path, value })
    }

    /// Whether the file has this table.
    pub(crate) fn is_there(&self) -> bool {
        self.entries.is_some()
    }

    /// The name of a table within another, in the file.
    pub(crate) fn place(&self) -> Option<Range<usize>> {
        self.place.clone()
    }

    /// Whether the file has this key, well-formed or not.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.span(key).is_some()
    }

    /// Whether the file has this list of tables.
    pub(crate) fn has_list(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| find(entries, key).is_some())
    }

    /// The bytes of a key's value, if the file has the key and it was asked for.
    pub(crate) fn span(&self, key: &str) -> Option<Range<usize>> {
        self.reader.span(&format!("{}.{key}", self.path))
    }

    /// A table within this one, `key = { … }` or `[table.key]`.
    pub(crate) fn table(&mut self, key: &'static str, schema: &'static str, example: &str) -> Table<'_, 'd> {
        self.asked.push(key);
        let found = self.entries.and_then(|entries| find(entries, key));
        let entries = match found.as_ref().map(|(_, value)| (*value, value.get_ref())) {
            None => None,
            Some((_, DeValue::Table(table))) => Some(table),
            Some((value, _)) => {
                let message = format!("`{key}` must be a table, found {}", self.reader.written(value));
                self.reader.error(Place::Bytes(value.span()), message, format!("write `{key} = {example}`"));
                None
            }
        };
        let path = format!("{}.{key}", self.path);
        let place = found.map(|(place, _)| place);
        Table { place, ..Table::new(self.reader, path, schema, entries) }
    }

    /// The tables within `key`, by the names that the file gives them; each is read by [`Table::named`].
    pub(crate) fn named_tables(&mut self, key: &'static str, example: &str) -> Vec<Named<'d>> {
        self.asked.push(key);
        let value = self.entries.and_then(|entries| find(entries, key)).map(|(_, value)| value);
        let tables = self.reader.named_tables(key, value, example);
        for named in &tables {
            let at = self.reader.position(named.place.start);
            let path = format!("{}.{key}.{}", self.path, named.key);
            self.reader.origins.set(path, Origin::File { at });
        }
        tables
    }

    /// The entries of a table within this one whose keys are the file's own, each with its name and the name's place.
    pub(crate) fn free_entries(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Vec<(String, Range<usize>, Entry<'d>)> {
        let known = format!("{}.{key}.*", self.schema);
        let entries = self.table(key, "", example).entries;
        self.reader.known.insert(known);
        let mut found = Vec::new();
        for (name, value) in entries.into_iter().flatten() {
            let path = format!("{}.{key}.{}", self.path, bare_or_quoted(name.get_ref()));
            let at = self.reader.position(value.span().start);
            self.reader.spans.insert(path.clone(), value.span());
            self.reader.origins.set(path.clone(), Origin::File { at });
            found.push((name.get_ref().to_string(), name.span(), Entry { key, path, value }));
        }
        found
    }

    /// The tables `[[header]]`, of which `key` is the last part, each with its place.
    pub(crate) fn list(
        &mut self,
        key: &'static str,
        header: &str,
        one: &str,
    ) -> Vec<(&'d DeTable<'d>, Range<usize>)> {
        self.asked.push(key);
        match self.entries.and_then(|entries| find(entries, key)) {
            Some((_, value)) => self.reader.list_of(value, header, one),
            None => Vec::new(),
        }
    }

    /// Hides what stands in place of a table within this one that holds a secret.
    pub(crate) fn hide_unless_table(&mut self, key: &str) {
        if let Some(entries) = self.entries {
            self.reader.hide_unless_table(entries, key);
        }
    }

    /// Hides a value of this table that holds what belongs into a file of its own.
    pub(crate) fn hide_pem(&mut self, key: &str) {
        if let Some((_, value)) = self.entries.and_then(|entries| find(entries, key)) {
            self.reader.hide_pem(value);
        }
    }

    /// One of [`Table::named_tables`]; its schema has a `*` for each name.
    pub(crate) fn named(&mut self, key: &str, named: &Named<'d>, schema: &'static str) -> Table<'_, 'd> {
        let path = format!("{}.{key}.{}", self.path, named.key);
        Table::new(self.reader, path, schema, Some(named.entries))
    }

    /// A key one might look for and that is not there for a reason.
    pub(crate) fn refuse(&mut self, key: &str, message: &str, help: &str) {
        if let Some((place, _)) = self.entries.and_then(|entries| find(entries, key)) {
            self.reader.refused.insert(place.start);
            self.reader.error_at_key(place, message, help);
        }
    }

    /// Ends the reading: what was not asked for is unknown.
    pub(crate) fn finish(self) {
        if let Some(entries) = self.entries {
            let name = match self.schema {
                schema @ ("routes" | "keys" | "alerts.rules" | "listen.tls.certificates") => {
                    format!("[[{schema}]]")
                }
                schema if schema.contains('*') => format!("[{}]", self.path),
                schema => format!("[{schema}]"),
            };
            self.reader.refuse_unknown(entries, &self.asked, &name);
        }
    }
}
