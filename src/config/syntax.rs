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
    if message.starts_with("key with no value") {
        return ("a key has no value".to_owned(), "write `key = value` on one line".to_owned(), false);
    }
    (message.to_owned(), String::new(), false)
}
