//! A route's pattern: `POST /api/v1/query`, `/ws/{room}`, `GET,POST /auth/*`.
//!
//! Invariant: a pattern that could never match, or not what was meant, is refused here, with the place in
//! its text that is wrong.

use std::fmt;
use std::ops::Range;

use http::Method;

/// Bounds the depth of a lookup.
const MAX_SEGMENTS: usize = 64;

/// Methods, and a path of literal and parameter segments which may end in `/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    methods: Vec<Method>,
    segments: Vec<Segment>,
    tail: bool,
}

/// What stands between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// These bytes; empty only behind a final slash.
    Literal(Box<str>),
    /// `{name}`: any one segment that is not empty.
    Parameter(Box<str>),
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError {
    /// The bytes of the text that are wrong.
    pub at: Range<usize>,
    /// What is wrong with them.
    pub message: String,
    /// What to write.
    pub help: String,
}

impl Pattern {
    /// `/*`, for every method.
    pub fn everything() -> Pattern {
        Pattern { methods: Vec::new(), segments: Vec::new(), tail: true }
    }

    /// Reads `[METHOD[,METHOD]… ]/path`.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        let (methods, start) = match text.find(' ') {
            Some(space) if !text.starts_with('/') => (
                parse_methods(&text[..space])?,
                space + text[space..].len() - text[space..].trim_start_matches(' ').len(),
            ),
            _ => (Vec::new(), 0),
        };
        let path = &text[start..];
        if !path.starts_with('/') {
            return Err(no_slash(text, start));
        }
        check_characters(text, start)?;
        let (segments, tail) = parse_path(path, start)?;
        Ok(Pattern { methods, segments, tail })
    }

    /// The methods named; none stands for every method.
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// The segments before the tail.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether the pattern ends in `/*`.
    pub fn has_tail(&self) -> bool {
        self.tail
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, method) in self.methods.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{method}")?;
        }
        if !self.methods.is_empty() {
            f.write_str(" ")?;
        }
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Parameter(name) => write!(f, "/{{{name}}}")?,
            }
        }
        if self.tail {
            f.write_str("/*")?;
        }
        Ok(())
    }
}

fn refuse<T>(
    at: Range<usize>,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Result<T, PatternError> {
    Err(PatternError { at, message: message.into(), help: help.into() })
}

fn no_slash(text: &str, start: usize) -> PatternError {
    let path = &text[start..];
    let help = if path.is_empty() {
        "write a method and a path, `GET /health`, or a path alone, `/health`".to_owned()
    } else if start == 0 && path.bytes().all(|b| b.is_ascii_uppercase()) {
        format!("write a path behind the method: `{path} /health`")
    } else {
        format!("write `{}/{path}`", &text[..start])
    };
    PatternError { at: start..text.len(), message: "a path must begin with `/`".to_owned(), help }
}

fn parse_methods(text: &str) -> Result<Vec<Method>, PatternError> {
    let mut methods = Vec::new();
    let mut start = 0;
    for name in text.split(',') {
        let at = start..start + name.len();
        start = at.end + 1;
        let letters = |b: u8| b.is_ascii_uppercase() || b == b'-';
        if name.is_empty() || name.len() > 20 || !name.bytes().all(letters) {
            let upper = name.to_ascii_uppercase();
            let help = if !name.is_empty() && upper.bytes().all(letters) {
                format!("methods are upper case: `{upper}`")
            } else {
                "write methods in capitals with a comma between them: `GET,POST /path`".to_owned()
            };
            return refuse(at, format!("`{name}` is not a method"), help);
        }
        if matches!(name, "CONNECT" | "TRACE") {
            let message = format!("`{name}` never reaches a route, tollgate refuses it");
            return refuse(at, message, format!("remove `{name}`"));
        }
        let Ok(method) = Method::from_bytes(name.as_bytes()) else {
            return refuse(at, format!("`{name}` is not a method"), "use a standard method");
        };
        if methods.contains(&method) {
            return refuse(at, format!("`{name}` is there twice"), "write it once");
        }
        methods.push(method);
    }
    Ok(methods)
}

/// What can be in no normalized path, or would be read as something else than was meant.
fn check_characters(text: &str, start: usize) -> Result<(), PatternError> {
    for (offset, found) in text[start..].char_indices() {
        let at = start + offset..start + offset + found.len_utf8();
        match found {
            '?' => {
                let help = "routes are found by method and path; remove the query";
                return refuse(at, "a pattern has no query string", help);
            }
            '#' => {
                let help = "a fragment is never sent to a server; remove it";
                return refuse(at, "a pattern has no fragment", help);
            }
            '%' => {
                let help = "write the character itself, not its percent-encoding";
                return refuse(at, "a pattern is written decoded, without `%`", help);
            }
            '\\' => {
                let help = "tollgate refuses paths with a backslash; write `/`";
                return refuse(at, "a path has no backslash", help);
            }
            _ if found.is_whitespace() || found.is_control() => {
                let help = "put several patterns into a list: `match = [\"GET /a\", \"GET /b\"]`";
                return refuse(at, "a path has no spaces or control characters", help);
            }
            _ => {}
        }
    }
    Ok(())
}

fn parse_path(path: &str, offset: usize) -> Result<(Vec<Segment>, bool), PatternError> {
    let mut segments = Vec::new();
    let mut start = offset + 1;
    let mut parts = path[1..].split('/').peekable();
    while let Some(part) = parts.next() {
        let at = start..start + part.len();
        start = at.end + 1;
        let last = parts.peek().is_none();
        if last && part == "*" {
            return Ok((segments, true));
        }
        if segments.len() == MAX_SEGMENTS {
            let message = format!("a pattern has at most {MAX_SEGMENTS} segments");
            return refuse(at, message, "end it with `/*`");
        }
        segments.push(parse_segment(part, at, last, &segments)?);
    }
    Ok((segments, false))
}

fn parse_segment(
    part: &str,
    at: Range<usize>,
    last: bool,
    before: &[Segment],
) -> Result<Segment, PatternError> {
    if part.is_empty() && !last {
        let at = at.start - 1..at.end + 1;
        return refuse(at, "a pattern has no empty segment", "write one `/`");
    }
    if matches!(part, "." | "..") {
        let help = "such segments are resolved before routes are looked up; write the path they lead to";
        return refuse(at, format!("`{part}` matches no normalized path"), help);
    }
    if part.contains('*') {
        let help = "end the pattern with `/*`, or use `{name}` for one whole segment";
        return refuse(at, "`*` stands alone, as the last segment", help);
    }
    if !part.contains(['{', '}']) {
        return Ok(Segment::Literal(part.into()));
    }
    let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) else {
        let help = "write `/{name}/`, with nothing before or behind the braces";
        return refuse(at, "a parameter is a whole segment", help);
    };
    let well_formed = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    if !well_formed {
        let help = "use letters, digits and `_`, not beginning with a digit: `{draft_id}`";
        return refuse(at, format!("`{name}` is not a parameter name"), help);
    }
    let parameter = Segment::Parameter(name.into());
    if before.contains(&parameter) {
        return refuse(at, format!("parameter `{name}` is there twice"), "give each its own name");
    }
    Ok(parameter)
}
