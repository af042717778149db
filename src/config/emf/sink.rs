//! `sink`: where lines go.

use std::path::PathBuf;

use super::super::address::{AddressError, parse_host_port};
use super::super::model::emf::{EmfSink, HostPort};
use super::super::report::shown;
use super::super::suggest::nearest;
use super::super::table::Table;
use super::{Fault, variables};

const WANTED: &str = "`stdout`, `file:PATH`, `tcp://HOST:PORT`, `udp://HOST:PORT` or `logs:GROUP`";

/// The port of the CloudWatch agent's socket.
pub(super) const AGENT_PORT: u16 = 25_888;

const MAX_GROUP: usize = 512;

/// Reads the key; without it the environment is asked. `None` for the default.
pub(super) fn read(table: &mut Table<'_, '_>) -> Option<EmfSink> {
    let Some(text) = table.string("sink", WANTED) else {
        return if table.has("sink") { None } else { variables::sink(table) };
    };
    parse(&text.text)
        .map_err(|error| {
            let message = format!("`sink` {}, found `{}`", error.fault, shown(&text.text));
            table.reader.error(text.place, message, error.help);
        })
        .ok()
}

fn parse(text: &str) -> Result<EmfSink, AddressError> {
    if text == "stdout" {
        return Ok(EmfSink::Stdout);
    }
    if let Some(path) = text.strip_prefix("file:") {
        return parse_file(path);
    }
    if let Some(name) = text.strip_prefix("logs:") {
        return parse_logs(name);
    }
    if let Some(sink) = parse_socket(text) {
        return sink;
    }
    let help = match text {
        "stderr" => "events go to standard error; use `stdout`, or a file".to_owned(),
        _ if text.starts_with('/') => format!("a file is written `file:{}`", shown(text)),
        _ => match nearest(text, ["stdout"]) {
            Some(meant) => format!("did you mean `{meant}`"),
            None => format!("the CloudWatch agent listens on `tcp://127.0.0.1:{AGENT_PORT}`"),
        },
    };
    Err(AddressError { fault: format!("must be {WANTED}"), help })
}

/// Reads `tcp://HOST:PORT` and `udp://HOST:PORT`; `None` if it is neither.
pub(super) fn parse_socket(text: &str) -> Option<Result<EmfSink, AddressError>> {
    let (address, sink): (_, fn(HostPort) -> EmfSink) = match text.split_once("://")? {
        ("tcp", address) => (address, EmfSink::Tcp),
        ("udp", address) => (address, EmfSink::Udp),
        _ => return None,
    };
    if let Some((_, path)) = address.split_once('/') {
        let help = "write the address alone, `tcp://127.0.0.1:25888`".to_owned();
        let fault = if path.is_empty() { "ends in `/`" } else { "has a path" };
        return Some(Err(AddressError { fault: fault.to_owned(), help }));
    }
    Some(parse_host_port(address, AGENT_PORT).map(|(host, port)| sink(HostPort { host, port })))
}

fn parse_file(path: &str) -> Result<EmfSink, AddressError> {
    if !path.contains('/') || path.ends_with('/') || path.contains('\0') {
        let fault = "must name a file behind `file:`".to_owned();
        let help = "a file is written with its directory: `file:/var/log/tollgate/emf.log`".to_owned();
        return Err(AddressError { fault, help });
    }
    Ok(EmfSink::File(PathBuf::from(path)))
}

fn parse_logs(name: &str) -> Result<EmfSink, AddressError> {
    let (group, stream) = match name.split_once(':') {
        Some((group, stream)) => (group, Some(stream)),
        None => (name, None),
    };
    let wrong = |what: &str, (fault, help): Fault| AddressError {
        fault: format!("names a log {what} that {fault}"),
        help: help.to_owned(),
    };
    check_group(group).map_err(|fault| wrong("group", fault))?;
    if let Some(stream) = stream {
        check_stream(stream).map_err(|fault| wrong("stream", fault))?;
    }
    Ok(EmfSink::Logs { group: group.to_owned(), stream: stream.map(str::to_owned) })
}

/// What CloudWatch Logs takes as the name of a group.
pub(super) fn check_group(text: &str) -> Result<(), Fault> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/#".contains(&byte);
    if text.is_empty() || text.len() > MAX_GROUP || !text.bytes().all(allowed) {
        let fault = format!("must be 1 to {MAX_GROUP} of letters, digits and `._-/#`");
        return Err((fault, "write for example `/tollgate/emf`"));
    }
    Ok(())
}

/// What CloudWatch Logs takes as the name of a stream.
pub(super) fn check_stream(text: &str) -> Result<(), Fault> {
    let allowed = |c: char| !c.is_control() && !matches!(c, ':' | '*');
    if text.is_empty() || text.chars().count() > MAX_GROUP || !text.chars().all(allowed) {
        let fault = format!("must be 1 to {MAX_GROUP} characters without `:` and `*`");
        return Err((fault, "write for example the name of the host"));
    }
    Ok(())
}
