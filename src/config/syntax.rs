//! Errors of the TOML grammar, in our words where theirs would not help.
//!
//! Invariant: what is told about values is told of a file whose structure is known. When tables or
//! keys could not be told apart, nothing is concluded from them.

use toml::de::Error;

use super::report::{Finding, Place, Severity, shown};

/// The errors of a parse.
pub(crate) struct Syntax {
    pub(crate) findings: Vec<Finding>,
    /// Whether tables, keys and values could be told apart despite the errors.
    pub(crate) structure_is_known: bool,
}

/// Translates the parser's errors.
pub(crate) fn findings(source: &str, errors: &[Error]) -> Syntax {
    let mut syntax =
        Syntax { findings: Vec::with_capacity(errors.len().min(1000)), structure_is_known: true };
    for error in errors {
        let span = error.span().unwrap_or(source.len()..source.len());
        let span = span.start.min(source.len())..span.end.min(source.len());
        let written = source.get(span.clone()).unwrap_or_default();
        let (message, help, value_only) = explain(error.message(), written);
        syntax.structure_is_known &= value_only;
        syntax.findings.push(Finding {
            severity: Severity::Error,
            place: Place::Bytes(span),
            message,
            help,
            note: None,
        });
    }
    syntax
}

/// A message, its help, and whether the error is within one value or key.
fn explain(message: &str, written: &str) -> (String, String, bool) {
    let shown = shown(written);
    if message.starts_with("string values must be quoted") {
        return match written.is_empty() {
            true => (
                "a value is missing".to_owned(),
                "write it behind the `=`, or remove the key".to_owned(),
                true,
            ),
            false => (
                format!("`{shown}` is not a value"),
                format!("text stands in quotes: `\"{}\"`", shown.trim_matches(['“', '”', '"', '\''])),
                true,
            ),
        };
    }
    if message == "duplicate key" {
        let help = "remove one of them, or join the two tables".to_owned();
        return (format!("`{shown}` is there twice"), help, true);
    }
    if message.starts_with("invalid boolean") {
        return (
            format!("`{shown}` is not a value"),
            "write `true` or `false`, or put text in quotes".to_owned(),
            true,
        );
    }
    if message.starts_with("invalid float") || message.starts_with("invalid integer") {
        let help = "an address, a duration or a size stands in quotes: `\"127.0.0.1:8080\"`, `\"10s\"`";
        return (format!("this is not a number, at `{shown}`"), help.to_owned(), true);
    }
    if message.contains("recurs") {
        let help = "no key of tollgate is deeper than `table.key.key`".to_owned();
        return ("this is nested too deeply".to_owned(), help, false);
    }
    let (message, help) = match message {
        _ if message.starts_with("key with no value") => {
            ("a key has no value", "write `key = value` on one line")
        }
        _ if message.starts_with("invalid unquoted key") && written == ":" => {
            ("`:` stands in a key", "write `=` between a key and its value")
        }
        _ if message.starts_with("missing escaped value") => (
            "a backslash is no part of text in double quotes",
            "write it twice, or put the text in single quotes",
        ),
        _ if message.starts_with("missing comma") => {
            ("a comma is missing", "write one between the entries of a list or an inline table")
        }
        _ if message.starts_with("unclosed table") => {
            ("the name of a table has no closing bracket", "write `[table]` on one line")
        }
        _ if message.starts_with("unclosed array") => {
            ("a list has no closing bracket", "write `]` behind its last entry")
        }
        _ if message.starts_with("invalid basic string") || message.starts_with("invalid literal string") => {
            ("text has no closing quote", "write the same quote behind the text, on the same line")
        }
        _ => (message, ""),
    };
    (message.to_owned(), help.to_owned(), false)
}
