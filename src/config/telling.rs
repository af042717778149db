//! `[request_id]`, `[log]` and `[errors]`: raw values to their models.
//!
//! Invariant: no field that holds credentials can be named for the record.

use std::path::PathBuf;

use http::HeaderName;

use crate::identity::Identity;

use super::fields;
use super::model::{AccessSink, ErrorFormat, IdFormat, InboundId, Log, LogFormat, LogLevel, RequestId};
use super::report::shown;
use super::suggest::nearest;
use super::table::Table;

pub(crate) const INBOUND: [(&str, InboundId); 3] =
    [("always", InboundId::Always), ("trusted", InboundId::Trusted), ("never", InboundId::Never)];
pub(crate) const ID_FORMATS: [(&str, IdFormat); 2] = [("uuid7", IdFormat::Uuid7), ("uuid4", IdFormat::Uuid4)];
pub(crate) const LOG_FORMATS: [(&str, LogFormat); 3] =
    [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("text", LogFormat::Text)];
pub(crate) const LOG_LEVELS: [(&str, LogLevel); 4] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
];
pub(crate) const ERROR_FORMATS: [(&str, ErrorFormat); 2] =
    [("json", ErrorFormat::Json), ("problem", ErrorFormat::Problem)];

/// More fields would make the record a copy of the request.
const MAX_LOGGED_FIELDS: usize = 32;

/// Reads `[request_id]`.
pub(crate) fn read_request_id(mut table: Table<'_, '_>) -> RequestId {
    let header = request_id_header(&mut table);
    let request_id = RequestId {
        header: header.unwrap_or(HeaderName::from_static("x-request-id")),
        inbound: table.choice("inbound", &INBOUND, InboundId::Trusted),
        format: table.choice("format", &ID_FORMATS, IdFormat::Uuid7),
    };
    table.finish();
    request_id
}

fn request_id_header(table: &mut Table<'_, '_>) -> Option<HeaderName> {
    let text = table.string("header", "a field name")?;
    let name = fields::parse(table.reader, "header", &text)?;
    if fields::is_own(&name) || fields::is_credential(&name) {
        table.reader.error(
            text.place,
            format!("`header` cannot be `{}`, which means something else", shown(&text.text)),
            "use a field of its own, for example `X-Request-Id`",
        );
        return None;
    }
    Some(name)
}

/// Reads `[log]`.
pub(crate) fn read_log(mut table: Table<'_, '_>, identity: &Identity) -> Log {
    let log = Log {
        format: table.choice("format", &LOG_FORMATS, LogFormat::Auto),
        level: table.choice("level", &LOG_LEVELS, LogLevel::Info),
        access: access(&mut table).unwrap_or(AccessSink::Stdout),
        query: table.switch("query", false),
        headers: logged_fields(&mut table, identity),
    };
    table.finish();
    log
}

fn access(table: &mut Table<'_, '_>) -> Option<AccessSink> {
    let text = table.string("access", "`stdout`, `stderr`, `off` or the path of a file")?;
    let sink = match text.text.as_str() {
        "stdout" => AccessSink::Stdout,
        "stderr" => AccessSink::Stderr,
        "off" => AccessSink::Off,
        path if path.contains('/') && !path.ends_with('/') && !path.contains('\0') => {
            AccessSink::File(PathBuf::from(path))
        }
        other => {
            let help = match nearest(other, ["stdout", "stderr", "off"]) {
                Some(meant) => format!("did you mean `{meant}`"),
                None => "a file is written with its directory: `/var/log/tollgate/access.log`".to_owned(),
            };
            let message = format!(
                "`access` must be `stdout`, `stderr`, `off` or the path of a file, found `{}`",
                shown(other)
            );
            table.reader.error(text.place, message, help);
            return None;
        }
    };
    Some(sink)
}

fn logged_fields(table: &mut Table<'_, '_>, identity: &Identity) -> Vec<HeaderName> {
    let key_field = identity.api_key().map(|source| &source.header);
    let texts = table.strings("headers", "a list of field names").unwrap_or_default();
    let mut names: Vec<HeaderName> = Vec::new();
    for text in texts {
        let Some(name) = fields::parse(table.reader, "headers", &text) else {
            continue;
        };
        let (message, help) = if fields::is_credential(&name) || key_field == Some(&name) {
            (format!("`{name}` holds credentials and is never logged"), "remove it")
        } else if names.contains(&name) {
            (format!("`headers` holds `{name}` twice"), "remove one of them")
        } else if names.len() == MAX_LOGGED_FIELDS {
            (format!("`headers` holds more than {MAX_LOGGED_FIELDS} names"), "log what is looked at")
        } else {
            names.push(name);
            continue;
        };
        table.reader.error(text.place, message, help);
    }
    names
}

/// Reads `[errors]`.
pub(crate) fn read_errors(mut table: Table<'_, '_>) -> ErrorFormat {
    let format = table.choice("format", &ERROR_FORMATS, ErrorFormat::Json);
    table.finish();
    format
}
