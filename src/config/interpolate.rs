//! `${NAME}` and `${NAME:-default}` in a string value; `$$` is a dollar sign.
//!
//! Invariant: a lone `$` is an error, so that a mistyped use never becomes part of a value unseen.

use std::ops::Range;

/// A string with its variables put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interpolated {
    pub(crate) text: String,
    /// The variables used, in order; empty when there was none.
    pub(crate) variables: Vec<String>,
}

/// A use that cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UseError {
    /// The bytes of the string that are wrong.
    pub(crate) at: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: String,
    /// Whether it names a variable that is not set.
    pub(crate) is_unset: bool,
}

/// Replaces every use in `text`; all that are wrong are reported.
pub(crate) fn interpolate(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Interpolated, Vec<UseError>> {
    let mut done = Interpolated { text: String::with_capacity(text.len()), variables: Vec::new() };
    let mut errors = Vec::new();
    let mut at = 0;
    while let Some(dollar) = memchr::memchr(b'$', &text.as_bytes()[at..]) {
        let dollar = at + dollar;
        done.text.push_str(&text[at..dollar]);
        let rest = &text[dollar + 1..];
        if rest.starts_with('$') {
            done.text.push('$');
            at = dollar + 2;
            continue;
        }
        let close = match rest.starts_with('{') {
            true => rest.find('}'),
            false => {
                errors.push(lone_dollar(rest, dollar));
                at = dollar + 1;
                continue;
            }
        };
        let Some(close) = close else {
            errors.push(UseError {
                at: dollar..text.len(),
                message: "`${` has no `}`".to_owned(),
                help: "write `${NAME}` or `${NAME:-default}`".to_owned(),
                is_unset: false,
            });
            at = text.len();
            break;
        };
        at = dollar + 1 + close + 1;
        match resolve(&rest[1..close], env) {
            Ok((name, value)) => {
                done.text.push_str(&value);
                done.variables.push(name.to_owned());
            }
            Err(error) => errors.push(UseError { at: dollar..at, ..error }),
        }
    }
    done.text.push_str(&text[at..]);
    if errors.is_empty() { Ok(done) } else { Err(errors) }
}

fn lone_dollar(rest: &str, dollar: usize) -> UseError {
    let name: String = rest.chars().take_while(|c| is_name_byte(*c)).collect();
    let help = match name.is_empty() {
        true => "write `$$` for a dollar sign, `${NAME}` for an environment variable".to_owned(),
        false => {
            format!("write `${{{name}}}` for the environment variable, `$${name}` for the text")
        }
    };
    UseError {
        at: dollar..dollar + 1 + name.len(),
        message: "`$` stands alone".to_owned(),
        help,
        is_unset: false,
    }
}

fn is_name_byte(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The value of what stands between the braces, or a message and its help.
fn resolve<'a>(inner: &'a str, env: &dyn Fn(&str) -> Option<String>) -> Result<(&'a str, String), UseError> {
    let wrong = |message: String, help: String| UseError { at: 0..0, message, help, is_unset: false };
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let well_formed = name.chars().all(is_name_byte) && name.starts_with(|c: char| !c.is_ascii_digit());
    if !well_formed {
        return Err(wrong(
            format!("`{name}` is not the name of an environment variable"),
            "use letters, digits and `_`, as in `${NAME}` or `${NAME:-default}`".to_owned(),
        ));
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err(wrong(
            "a default cannot hold another variable".to_owned(),
            "write a plain value behind `:-`".to_owned(),
        ));
    }
    match (env(name), default) {
        (Some(value), None) => Ok((name, value)),
        (Some(value), Some(_)) if !value.is_empty() => Ok((name, value)),
        (_, Some(default)) => Ok((name, default.to_owned())),
        (None, None) => Err(UseError {
            is_unset: true,
            ..wrong(
                format!("environment variable `{name}` is not set"),
                format!("set it, or give a default: `${{{name}:-value}}`"),
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("8000".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICKY" => Some("${PORT}".to_owned()),
            _ => None,
        }
    }

    fn text(input: &str) -> String {
        interpolate(input, &env).unwrap().text
    }

    #[test]
    fn variables_and_defaults_are_put_in() {
        assert_eq!(text("app:${PORT}"), "app:8000");
        assert_eq!(text("${PORT}${PORT:-1}"), "80008000");
        assert_eq!(text("${UNSET:-a:-b}!"), "a:-b!");
        assert_eq!(text("${UNSET:-}"), "");
        assert_eq!(text("${EMPTY:-x}"), "x");
        assert_eq!(text("${EMPTY}"), "");
    }

    #[test]
    fn two_dollar_signs_are_one() {
        assert_eq!(text("$$"), "$");
        assert_eq!(text("$${PORT}"), "${PORT}");
    }

    #[test]
    fn a_value_is_not_read_again() {
        assert_eq!(text("${TRICKY}"), "${PORT}");
    }

    #[test]
    fn the_variables_used_are_told() {
        let done = interpolate("${PORT} ${UNSET:-1}", &env).unwrap();
        assert_eq!(done.variables, ["PORT", "UNSET"]);
    }

    #[test]
    fn every_wrong_use_is_told_with_its_place() {
        let input = "é${UNSET} $x ${1} ${A:-${B}} ${";
        let errors = interpolate(input, &env).unwrap_err();
        let places: Vec<&str> = errors.iter().map(|error| &input[error.at.clone()]).collect();
        assert_eq!(places, ["${UNSET}", "$x", "${1}", "${A:-${B}", "${"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(input in "\\PC*|[${}:a-]{0,20}") {
            if let Err(errors) = interpolate(&input, &env) {
                for error in errors {
                    prop_assert!(input.get(error.at).is_some());
                }
            }
        }

        #[test]
        fn text_without_a_dollar_sign_stays(input in "[^$]*") {
            prop_assert_eq!(text(&input), input);
        }
    }
}
