//! `[emf]`: lines for CloudWatch. `sink` reads where they go, `variables` what the AWS libraries read from the
//! environment.
//!
//! Invariant: no line is refused by CloudWatch for its namespace, dimensions or log group, and standard output and
//! files have lines of one kind.

mod sink;
mod variables;

use std::ops::Range;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::listen::warn;
use super::model::emf::{Dimension, Emf, EmfPer, EmfSink};
use super::model::{AccessSink, Log};
use super::reader::{Reader, Text, find};
use super::report::{Place, Severity, shown};
use super::suggest::nearest;
use super::table::{Entry, Table};
use super::units;

const DIMENSIONS: [Dimension; 3] = [Dimension::Service, Dimension::Environment, Dimension::Route];

/// Each set is billed for each metric and each of its values.
const MAX_SETS: usize = 10;
const MAX_NAMESPACE: usize = 255;
const MAX_VALUE: usize = 1024;

/// Reads the table; without one there are no lines, whatever the environment says.
pub(crate) fn read<'d>(reader: &mut Reader<'d>, root: &'d DeTable<'d>, log: &Log) -> Option<Emf> {
    let header = find(root, "emf").map(|(place, _)| place);
    let mut table = reader.table(root, "emf");
    let is_there = table.is_there();
    let sink = sink::read(&mut table).unwrap_or(EmfSink::Stdout);
    let namespace = text(&mut table, "namespace", "AWS_EMF_NAMESPACE", check_namespace);
    let service = text(&mut table, "service", "AWS_EMF_SERVICE_NAME", check_value);
    let environment = table
        .string("environment", "a text")
        .and_then(|text| checked(&mut table, "environment", text, check_value));
    let per = per(&mut table);
    let dimensions = dimensions(&mut table);
    let validate = table.switch("validate", false);
    let log_group = text(&mut table, "log_group", "AWS_EMF_LOG_GROUP_NAME", sink::check_group);
    let log_stream = text(&mut table, "log_stream", "AWS_EMF_LOG_STREAM_NAME", sink::check_stream);
    let extraction = !variables::extraction_is_disabled(&mut table);
    let is_routed = matches!(sink, EmfSink::Tcp(_) | EmfSink::Udp(_));
    for (key, is_written) in [("log_group", log_group.is_some()), ("log_stream", log_stream.is_some())] {
        if !is_routed && is_written {
            let message = format!("`{key}` has no meaning for this sink");
            let help = "it tells the CloudWatch agent where to put what comes over its socket; use a sink of `tcp://` or `udp://`, or remove it";
            warn(table.reader, &format!("emf.{key}"), message, help.to_owned());
        }
    }
    table.finish();
    if !is_there {
        return None;
    }
    refuse_sharing(reader, &sink, log, header);
    Some(Emf {
        sink,
        namespace: namespace.unwrap_or_else(|| "Tollgate".to_owned()),
        service: service.unwrap_or_else(|| "tollgate".to_owned()),
        environment: environment.unwrap_or_else(|| "production".to_owned()),
        per,
        dimensions: dimensions
            .unwrap_or_else(|| vec![vec![Dimension::Service], vec![Dimension::Service, Dimension::Route]]),
        validate,
        extraction,
        log_group: log_group.filter(|_| is_routed),
        log_stream: log_stream.filter(|_| is_routed),
    })
}

/// Why a text cannot be, behind its key, and what to write.
type Fault = (String, &'static str);

/// The text of a key, or of a variable where the file does not set the key.
fn text(
    table: &mut Table<'_, '_>,
    key: &'static str,
    variable: &'static str,
    check: fn(&str) -> Result<(), Fault>,
) -> Option<String> {
    match table.string(key, "a text") {
        Some(text) => checked(table, key, text, check),
        None if table.has(key) => None,
        None => {
            let value = variables::find(table, variable)?;
            let Err((fault, help)) = check(&value) else {
                variables::note(table, key, variable);
                return Some(value);
            };
            variables::refuse(table, variable, &fault, &value, help);
            None
        }
    }
}

fn checked(
    table: &mut Table<'_, '_>,
    key: &str,
    text: Text,
    check: fn(&str) -> Result<(), Fault>,
) -> Option<String> {
    if let Err((fault, help)) = check(&text.text) {
        let message = format!("`{key}` {fault}, found `{}`", shown(&text.text));
        table.reader.error(text.place, message, help);
        return None;
    }
    Some(text.text)
}

fn check_namespace(text: &str) -> Result<(), Fault> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-#:/".contains(&byte);
    if text.is_empty() || text.len() > MAX_NAMESPACE || !text.bytes().all(allowed) {
        let fault = format!("must be 1 to {MAX_NAMESPACE} of letters, digits and `._-#:/`");
        return Err((fault, "CloudWatch takes no other namespace; write for example `Tollgate`"));
    }
    if text.starts_with("AWS/") || text.starts_with(':') {
        let fault = "cannot begin with `AWS/` or `:`".to_owned();
        return Err((fault, "CloudWatch keeps those for itself; write for example `Tollgate`"));
    }
    Ok(())
}

/// What the value of a dimension can be.
fn check_value(text: &str) -> Result<(), Fault> {
    let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if text.trim().is_empty() || text.len() > MAX_VALUE || !printable {
        let fault = format!("must be 1 to {MAX_VALUE} printable characters of ASCII and not blank");
        return Err((fault, "it is the value of a dimension, and CloudWatch takes no other"));
    }
    Ok(())
}

/// `"request"`, or an interval.
fn per(table: &mut Table<'_, '_>) -> EmfPer {
    let Some(text) = table.string("per", "`request` or an interval") else {
        return EmfPer::Request;
    };
    if text.text == "request" {
        return EmfPer::Request;
    }
    match units::parse_duration(&text.text) {
        Ok(interval) => {
            let allowed = Duration::from_secs(1)..=Duration::from_secs(3600);
            let interval = table.check_within("per", interval, allowed, text.place);
            interval.map_or(EmfPer::Request, EmfPer::Interval)
        }
        Err(error) => {
            let (fault, help) = match text.text.starts_with(|c: char| c.is_ascii_digit()) {
                true => (error.fault, error.help),
                false if nearest(&text.text, ["request"]).is_some() => {
                    ("must be `request` or an interval".to_owned(), "did you mean `request`".to_owned())
                }
                false => (
                    "must be `request` or an interval".to_owned(),
                    "write `\"request\"` for a line an exchange, or a time such as `\"10s\"`".to_owned(),
                ),
            };
            let message = format!("`per` {fault}, found `{}`", shown(&text.text));
            table.reader.error(text.place, message, help);
            EmfPer::Request
        }
    }
}

fn dimensions(table: &mut Table<'_, '_>) -> Option<Vec<Vec<Dimension>>> {
    const EXAMPLE: &str = "write `dimensions = [[\"Service\"], [\"Service\", \"Route\"]]`";
    let entry = table.entry("dimensions")?;
    let place = Place::Bytes(entry.value.span());
    let DeValue::Array(values) = entry.value.get_ref() else {
        let message =
            format!("`dimensions` must be a list of lists, found {}", table.reader.written(entry.value));
        table.reader.error(place, message, EXAMPLE);
        return None;
    };
    let mut sets: Vec<(Vec<Dimension>, Range<usize>)> = Vec::new();
    for value in values.iter() {
        let span = value.span();
        let DeValue::Array(names) = value.get_ref() else {
            let message =
                format!("a set of dimensions must be a list, found {}", table.reader.written(value));
            table.reader.error(Place::Bytes(span), message, EXAMPLE);
            continue;
        };
        let before = table.reader.findings.len();
        let set: Vec<Dimension> = set(table, &entry, names);
        if table.reader.findings.len() > before {
            continue;
        }
        let sorted = |set: &[Dimension]| {
            let mut set = set.to_vec();
            set.sort_unstable();
            set
        };
        if set.is_empty() {
            let help = "name what metrics are told apart by, at least `[\"Service\"]`";
            table.reader.error(Place::Bytes(span), "a set of dimensions is empty", help);
        } else if let Some((_, first)) = sets.iter().find(|(other, _)| sorted(other) == sorted(&set)) {
            let note = Some(("it stands first here".to_owned(), first.clone()));
            let message = "this set of dimensions is there twice".to_owned();
            let help = "remove one of them; the order of names makes no difference".to_owned();
            table.reader.find(Severity::Error, Place::Bytes(span), message, help, note);
        } else if sets.len() == MAX_SETS {
            let message = format!("`dimensions` holds more than {MAX_SETS} sets");
            let help = "each set is billed again for each metric; keep those that are looked at";
            table.reader.error(Place::Bytes(span), message, help);
            break;
        } else {
            sets.push((set, span));
        }
    }
    if values.is_empty() {
        table.reader.error(place, "`dimensions` must hold at least one set", EXAMPLE);
    }
    Some(sets.into_iter().map(|(set, _)| set).collect())
}

fn set<'d>(
    table: &mut Table<'_, 'd>,
    entry: &Entry<'d>,
    names: &[toml::Spanned<DeValue<'d>>],
) -> Vec<Dimension> {
    let mut set = Vec::new();
    for value in names {
        let Some(text) = table.reader.text(entry, value, "a list of lists of names") else {
            continue;
        };
        let known = DIMENSIONS.iter().copied().find(|dimension| dimension.as_str() == text.text);
        let (message, help) = match known {
            Some(dimension) if !set.contains(&dimension) => {
                set.push(dimension);
                continue;
            }
            Some(dimension) => {
                (format!("this set holds `{}` twice", dimension.as_str()), "remove one of them".to_owned())
            }
            None => {
                let why =
                    "never a user, a key or a path: each value is a metric of its own, and billed as one";
                let help = match nearest(&text.text, DIMENSIONS.map(Dimension::as_str)) {
                    Some(meant) => format!("did you mean `{meant}`"),
                    None => format!("dimensions are `Service`, `Environment` and `Route`; {why}"),
                };
                (format!("`{}` is not a dimension", shown(&text.text)), help)
            }
        };
        table.reader.error(text.place, message, help);
    }
    set
}

/// Lines of both kinds in one place: the agent's queue for metrics drops what is too much, and records with it.
fn refuse_sharing(reader: &mut Reader<'_>, sink: &EmfSink, log: &Log, header: Option<Range<usize>>) {
    if reader.span("emf.sink").is_some_and(|span| reader.has_error_in(&span)) {
        return;
    }
    let (message, help) = match (sink, &log.access) {
        (EmfSink::Stdout, AccessSink::Stdout) => (
            "EMF lines and records cannot share standard output".to_owned(),
            "set `access` of `[log]` to `\"stderr\"`, a file or `\"off\"`: with `per = \"request\"` a line holds what the record holds; or choose another `sink`",
        ),
        (EmfSink::File(lines), AccessSink::File(records)) if lines == records => (
            format!("EMF lines and records cannot share the file `{}`", shown(&lines.display().to_string())),
            "choose another file: the CloudWatch agent drops the oldest lines of a file with metrics when there are too many, records as well",
        ),
        _ => return,
    };
    let place = reader.span("emf.sink").or(header).map_or(Place::File, Place::Bytes);
    let note = reader.span("log.access").map(|span| ("records go there because of this".to_owned(), span));
    reader.find(Severity::Error, place, message, help.to_owned(), note);
}

#[cfg(test)]
mod tests;
