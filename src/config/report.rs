//! The problems of one configuration, and how they are shown.
//!
//! Invariant: a report is in file order, and holds at most [`MAX_SHOWN`] problems in full however
//! broken the file is; the rest is counted.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::sync::Arc;

use super::sources::{Quote, Sources};

/// Problems of one file that are shown; more would only scroll the first away.
pub const MAX_SHOWN: usize = 100;

/// Whether the configuration can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// It cannot.
    Error,
    /// It can, but the operator should know.
    Warning,
}

/// A problem as it was found: bytes of the source, not yet lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) place: Place,
    pub(crate) message: String,
    pub(crate) help: String,
    /// Another place that explains this one, and what it is.
    pub(crate) note: Option<(String, Range<usize>)>,
}

/// Where a problem is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Bytes of the file.
    Bytes(Range<usize>),
    /// The whole file.
    File,
    /// The command line.
    CommandLine,
    /// An environment variable, which the message names.
    Environment,
}

/// One thing that is wrong, or unwise.
#[derive(Debug, Clone)]
struct Problem {
    severity: Severity,
    message: String,
    place: Shown,
    help: String,
    note: Option<(String, Quote)>,
}

#[derive(Debug, Clone)]
enum Shown {
    Quote(Quote),
    File,
    CommandLine,
    Environment,
}

/// All problems of one configuration.
#[derive(Debug, Clone)]
pub struct Report {
    files: Vec<Arc<str>>,
    problems: Vec<Problem>,
    errors: usize,
    warnings: usize,
}

impl Report {
    /// A report of `findings`; `text` is that of the sources without what must not be shown.
    pub(crate) fn new(sources: &Sources, text: &str, mut findings: Vec<Finding>) -> Report {
        findings.sort_by_key(|finding| match &finding.place {
            Place::Bytes(span) => span.start,
            Place::File => usize::MAX - 2,
            Place::Environment => usize::MAX - 1,
            Place::CommandLine => usize::MAX,
        });
        findings.dedup();
        let errors = findings.iter().filter(|f| f.severity == Severity::Error).count();
        let warnings = findings.len() - errors;
        let show = |finding: Finding| Problem {
            severity: finding.severity,
            message: finding.message,
            place: match finding.place {
                Place::Bytes(span) => Shown::Quote(sources.quote(text, &span)),
                Place::File => Shown::File,
                Place::CommandLine => Shown::CommandLine,
                Place::Environment => Shown::Environment,
            },
            help: finding.help,
            note: finding.note.map(|(what, span)| (what, sources.quote(text, &span))),
        };
        Report {
            files: sources.names(),
            problems: findings.into_iter().take(MAX_SHOWN).map(show).collect(),
            errors,
            warnings,
        }
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.errors + self.warnings == 0
    }

    /// How many problems make the configuration unusable.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// How many things are legal but unwise.
    pub fn warnings(&self) -> usize {
        self.warnings
    }

    /// The report as text that ends with a line end; empty when there is nothing to tell.
    pub fn render(&self, color: bool) -> String {
        let paint = Paint { color };
        let mut out = String::new();
        if self.is_empty() {
            return out;
        }
        for problem in &self.problems {
            let _ = self.render_problem(&mut out, problem, paint);
        }
        let hidden = self.errors + self.warnings - self.problems.len();
        if hidden > 0 {
            let _ = writeln!(out, "tollgate: {hidden} more not shown");
        }
        let _ = writeln!(out, "{}", self.summary());
        out
    }

    /// Each problem in one line, for a log: message, place, help.
    pub fn lines(&self) -> Vec<String> {
        let line = |problem: &Problem| {
            let place = match &problem.place {
                Shown::Quote(Quote { file, excerpt }) => {
                    format!("{file}:{}:{}", excerpt.line, excerpt.column)
                }
                Shown::File => self.files(),
                Shown::CommandLine => "command line".to_owned(),
                Shown::Environment => "environment".to_owned(),
            };
            let help = if problem.help.is_empty() { "" } else { "; " };
            format!("{} ({place}){help}{}", problem.message, problem.help)
        };
        self.problems.iter().map(line).collect()
    }

    fn summary(&self) -> String {
        let count = |number: usize, noun: &str| match number {
            0 => None,
            1 => Some(format!("1 {noun}")),
            _ => Some(format!("{number} {noun}s")),
        };
        let counts = [count(self.errors, "problem"), count(self.warnings, "warning")];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        let end = if self.errors > 0 { ", nothing was changed" } else { "" };
        format!("tollgate: {} in `{}`{end}", counts.join(" and "), self.files.join("` + `"))
    }

    fn render_problem(&self, out: &mut String, problem: &Problem, paint: Paint) -> fmt::Result {
        let (style, word) = match problem.severity {
            Severity::Error => (RED, "error"),
            Severity::Warning => (YELLOW, "warning"),
        };
        paint.write(out, style, word)?;
        paint.write(out, BOLD, &format!(": {}", problem.message))?;
        out.push('\n');
        match &problem.place {
            Shown::Quote(quote) => render_quote(out, quote, style, paint)?,
            Shown::File => {
                paint.write(out, BLUE, " -->")?;
                writeln!(out, " {}", self.files())?;
            }
            Shown::CommandLine => {
                paint.write(out, BLUE, " -->")?;
                writeln!(out, " command line")?;
            }
            Shown::Environment => {
                paint.write(out, BLUE, " -->")?;
                writeln!(out, " environment")?;
            }
        }
        if let Some((text, quote)) = &problem.note {
            paint.write(out, BLUE, "note")?;
            writeln!(out, ": {text}")?;
            render_quote(out, quote, BLUE, paint)?;
        }
        if !problem.help.is_empty() {
            paint.write(out, GREEN, "help")?;
            writeln!(out, ": {}", problem.help)?;
        }
        out.push('\n');
        Ok(())
    }

    /// The names of all files.
    fn files(&self) -> String {
        self.files.join(" + ")
    }
}

fn render_quote(out: &mut String, Quote { file, excerpt }: &Quote, style: &str, paint: Paint) -> fmt::Result {
    let number = excerpt.line.to_string();
    let gutter = number.len();
    paint.write(out, BLUE, &format!("{:gutter$}-->", ""))?;
    writeln!(out, " {file}:{}:{}", excerpt.line, excerpt.column)?;
    paint.write(out, BLUE, &format!("{:gutter$} |", ""))?;
    out.push('\n');
    paint.write(out, BLUE, &format!("{number} |"))?;
    let space = if excerpt.text.is_empty() { "" } else { " " };
    writeln!(out, "{space}{}", excerpt.text)?;
    paint.write(out, BLUE, &format!("{:gutter$} |", ""))?;
    write!(out, " {:1$}", "", excerpt.indent)?;
    paint.write(out, style, &"^".repeat(excerpt.mark))?;
    out.push('\n');
    Ok(())
}

/// What somebody wrote, short enough for a message and without what moves a cursor.
pub(crate) fn shown(text: &str) -> String {
    const MAX_CHARACTERS: usize = 60;
    let mut short = String::new();
    for (index, found) in text.chars().enumerate() {
        if index == MAX_CHARACTERS {
            short.push('…');
            break;
        }
        match found {
            _ if found.is_control() => short.extend(found.escape_default()),
            _ => short.push(found),
        }
    }
    short
}

const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[1;33m";
const GREEN: &str = "\u{1b}[1;32m";
const BLUE: &str = "\u{1b}[1;34m";
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

#[derive(Clone, Copy)]
struct Paint {
    color: bool,
}

impl Paint {
    fn write(self, out: &mut String, style: &str, text: &str) -> fmt::Result {
        if self.color { write!(out, "{style}{text}{PLAIN}") } else { out.write_str(text) }
    }
}
