//! Values that are never shown: tokens, and URLs that whoever knows them can post to.
//!
//! Invariant: no report quotes such a value, and the code it shows has `*` in its place, be the value well-formed, of
//! the wrong type, below a mistyped key, or in a file that cannot be parsed.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::interpolate::interpolate;
use super::reader::{Reader, find};
use super::report::Place;
use super::table::Table;

/// The keys of such values.
const KEYS: [&str; 3] = ["token", "webhook", "url"];

/// The tables they are in, and those they are put into by mistake.
const TABLES: [&str; 2] = ["admin", "alerts"];

/// Text that must not be part of a message.
pub(crate) struct SecretText {
    pub(crate) text: String,
    pub(crate) place: Place,
}

impl<'d> Table<'_, 'd> {
    /// `key = "…"`, or no such key; an empty text is as good as none, so that a variable may be unset.
    pub(crate) fn secret(&mut self, key: &'static str, help: &str) -> Option<SecretText> {
        let entry = self.entry(key)?;
        let span = entry.value.span();
        self.reader.hide(entry.value);
        let DeValue::String(raw) = entry.value.get_ref() else {
            self.reader.error(Place::Bytes(span), format!("`{key}` must be text in quotes"), help);
            return None;
        };
        match interpolate(raw, self.reader.env) {
            Ok(done) => {
                if !done.variables.is_empty() {
                    let at = self.reader.position(span.start);
                    self.reader.note_environment(&entry.path, at, done.variables);
                    if is_variables_only(raw) {
                        self.reader.origins.set_written(entry.path, raw.to_string());
                    }
                }
                Some(SecretText { text: done.text, place: Place::Bytes(span) }).filter(|s| !s.text.is_empty())
            }
            Err(errors) => {
                for wrong in errors {
                    // What stands behind a dollar sign may be a part of the secret, the name of a variable is none.
                    let (message, help) = match wrong.is_unset {
                        true => (wrong.message, wrong.help),
                        false => (
                            format!("`{key}` holds a `$` that begins no variable"),
                            "write `$$` for a dollar sign, `${NAME}` for an environment variable".to_owned(),
                        ),
                    };
                    self.reader.error(Place::Bytes(span.clone()), message, help);
                }
                None
            }
        }
    }
}

impl<'d> Reader<'d> {
    /// Hides a value that stands in place of a table with secrets: it may be the secret.
    pub(crate) fn hide_unless_table(&mut self, entries: &DeTable<'d>, key: &str) {
        if let Some((_, value)) = find(entries, key)
            && !matches!(value.get_ref(), DeValue::Table(_))
        {
            self.hide(value);
        }
    }

    /// Hides the value of a key that nobody knows, where it may be a secret below a mistyped name or in the wrong
    /// table.
    pub(super) fn hide_unknown(&mut self, inside: &str, key: &str, value: &Spanned<DeValue<'_>>) {
        let table = inside.trim_start_matches('[');
        self.hide_pem(value);
        let has_secrets = table != "alerts.rules]]" && TABLES.iter().any(|name| table.starts_with(name));
        if has_secrets || KEYS.contains(&key) {
            self.hide(value);
        } else if let DeValue::Table(entries) = value.get_ref() {
            for (key, value) in entries {
                self.hide_unknown(inside, key.get_ref(), value);
            }
        }
    }

    /// Hides a value that holds a private key, or may.
    pub(super) fn hide_pem(&mut self, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(entries) => entries.iter().for_each(|(_, value)| self.hide_pem(value)),
            DeValue::Array(values) => values.iter().for_each(|value| self.hide_pem(value)),
            DeValue::String(text) if text.contains("-----BEGIN") => self.secrets.push(value.span()),
            _ => {}
        }
    }

    /// Hides all there is of a value.
    fn hide(&mut self, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(entries) => entries.iter().for_each(|(_, value)| self.hide(value)),
            DeValue::Array(values) => values.iter().for_each(|value| self.hide(value)),
            _ => self.secrets.push(value.span()),
        }
    }
}

/// Gathers what may be a secret of a value that a later file replaces; `path` is its key.
pub(super) fn replaced(path: &str, value: &Spanned<DeValue<'_>>, secrets: &mut Vec<Range<usize>>) {
    let is_within =
        |table: &&str| path.strip_prefix(*table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let of_table = !is_within(&"alerts.rules") && TABLES.iter().any(is_within);
    let of_key = KEYS.contains(&path.rsplit('.').next().unwrap_or(path));
    match value.get_ref() {
        DeValue::Table(entries) => {
            for (key, value) in entries {
                replaced(&format!("{path}.{}", key.get_ref()), value, secrets);
            }
        }
        DeValue::Array(values) => values.iter().for_each(|value| replaced(path, value, secrets)),
        _ if of_table || of_key => secrets.push(value.span()),
        _ => {}
    }
}

/// Whether a text is made of uses of variables alone, so that it tells nothing of their values.
fn is_variables_only(raw: &str) -> bool {
    let mut rest = raw;
    while let Some(inner) = rest.strip_prefix("${") {
        let Some((name, behind)) = inner.split_once('}') else { return false };
        let has_default = name.split_once(":-").is_some_and(|(_, default)| !default.is_empty());
        if has_default {
            return false;
        }
        rest = behind;
    }
    rest.is_empty()
}

/// The source with these values hidden. Every byte keeps its place, and every line its number.
pub(crate) fn masked(source: &str, secrets: &[Range<usize>]) -> String {
    let mut bytes = source.as_bytes().to_vec();
    for span in secrets {
        for byte in bytes.get_mut(span.clone()).into_iter().flatten() {
            if !matches!(byte, b'\n' | b'\r' | b'"' | b'\'') {
                *byte = b'*';
            }
        }
    }
    // A span that ends within a character leaves no text; nothing is shown then.
    String::from_utf8(bytes).unwrap_or_else(|_| "*".repeat(source.len()))
}

/// Where secrets may be in a file that cannot be parsed: behind the `=` of their keys, and of every key of the
/// tables that hold them, to the end of the line or of a text of several lines.
pub(crate) fn suspects(source: &str) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    let mut in_table = false;
    let mut until: Option<&str> = None;
    let mut start = 0;
    for line in source.split_inclusive('\n') {
        let whole = start..start + line.len();
        start = whole.end;
        if let Some(quotes) = until {
            if line.contains(quotes) {
                until = None;
            }
            spans.push(whole);
            continue;
        }
        let bare = line.trim_start();
        if let Some(header) = bare.strip_prefix('[') {
            let name = header.trim_start_matches(['[', ' ', '\t']);
            let of_rules = name.starts_with("alerts.rules");
            in_table = !of_rules && TABLES.iter().any(|table| name.starts_with(table));
        }
        let begin = match in_table || TABLES.iter().any(|table| bare.starts_with(table)) {
            // Without a key before it, it is the next line of a value.
            true if bare.starts_with(['"', '\'']) => Some(0),
            true => Some(line.find(['=', ':']).map_or(0, |at| at + 1)),
            false => behind_key(line),
        };
        let Some(begin) = begin.filter(|_| !bare.starts_with('[')) else { continue };
        let value = line[begin..].trim_start();
        let begin = line.len() - value.len();
        until = ["\"\"\"", "'''"]
            .into_iter()
            .find(|quotes| value.strip_prefix(quotes).is_some_and(|rest| !rest.contains(quotes)));
        spans.push(whole.start + begin..whole.end);
    }
    spans
}

/// Where the value of the first of [`KEYS`] on a line begins.
fn behind_key(line: &str) -> Option<usize> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let begins = KEYS.iter().flat_map(|key| line.match_indices(key));
    let value = |(at, key): (usize, &str)| {
        let (before, behind) = (&line[..at], &line[at + key.len()..]);
        if before.ends_with(is_word) || behind.starts_with(is_word) {
            return None;
        }
        let sign = behind.trim_start_matches(['"', '\'', ' ', '\t']);
        sign.starts_with(['=', ':']).then(|| line.len() - sign.len() + 1)
    };
    begins.filter_map(value).min()
}

#[cfg(test)]
mod tests {
    use crate::config::{Overrides, load};

    const SECRET: &str = "hunter2-hunter2-hunter2";

    /// What is told of a text, which must be wrong or unwise.
    fn told(text: &str) -> String {
        let report = match load(text, "file", &|_| None, &Overrides::default()) {
            Ok(loaded) => loaded.warnings,
            Err(report) => report,
        };
        assert!(!report.is_empty(), "{text}");
        format!("{}{}{:?}", report.render(false), report.lines().concat(), report)
    }

    #[test]
    fn a_secret_is_in_no_report() {
        let wrong = [
            "[admin]\ntoken = \"$S\\u0007\"",
            "[admin]\ntoken = '$S é'",
            "[admin]\ntoken = [\"$S\"]",
            "[admin]\ntoken = $S",
            "[admin]\ntoken = \"$S",
            "[admin]\ntoken = \"\"\"\n$S\n",
            "[admin]\ntoken = \"$S\"\ntoken = \"$S\"",
            "[admin]\ntoken: \"$S\"",
            "[admin]\ntokn = \"$S\"",
            "[admin\ntokn = \"$S\"",
            "[admin]\ntoken = \"x $$$S\"\n",
            "[admin]\ntoken = \"${$S}\"\n",
            "admin = \"$S\"",
            "admin = { token = \"$S\", nope = 1 }",
            "admin = { token = \"$S\" nope = 1 }",
            "admim = { token = \"$S\" }",
            "admim.token = \"$S\"",
            "admin.token.a = \"$S\"",
            "[alerts]\nslack = \"https://example.com/$S\"",
            "[alerts]\nslak = \"https://example.com/$S\"",
            "alerts.slack.url = \"https://example.com/$S\"",
            "alerts.slak.webhook = \"https://example.com/$S\"",
            "alerts = \"https://example.com/$S\"",
            "[alerts.slack]\nwebhook = \"http://example.com/$S\"",
            "[alerts.slack]\nwebhook = \"https:///$S\"",
            "[alerts.webhook]\nurl = \"ftp://example.com/$S\"",
            "[alerts.webhook]\nurl = \"https://example.com/$S {\"",
            "[alerts.slack]\nwebhook = [\n\"https://example.com/$S\" nope\n]",
            "admin = { tokn = \"$S\" nope = 1 }",
            "[upstream.x]\ntoken = \"$S\"",
            "[upstream]\nadress.token = \"$S\"",
            "[[alerts.rules]]\nwebhook = \"https://example.com/$S\"",
        ];
        for text in wrong {
            let text = text.replace("$S", SECRET);
            let app = if text.contains("[upstream") { "" } else { "\n[upstream]\naddress = \"app:80\"\n" };
            let text = format!("{text}{app}");
            let told = told(&text);
            assert!(!told.contains("hunter2"), "{text}\n{told}");
        }
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        let told = told(
            "[upstream]\naddress = \"app:80\"\n[admin]\nlive_path = \"here\"\ntoken = \"x\"\n[[alerts.rules]]\nthreshold = 5\n",
        );
        assert!(told.contains("threshold = 5"), "{told}");
        assert!(told.contains("live_path = \"here\""), "{told}");
        assert!(told.contains("token = \"*\""), "{told}");
    }
}
