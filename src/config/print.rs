//! A resolved configuration as a file that says where each value comes from.
//!
//! Invariant: the text is a configuration itself, and loading it gives the same model.

use std::fmt::Write as _;
use std::time::Duration;

use ipnet::IpNet;

use crate::identity::{ApiKey, Source};
use crate::message::routes::Route;

mod emf;
mod limits;
mod memory;
mod metrics;
mod operators;
mod tls;
mod upstream;

use super::Loaded;
use super::identity::{CERTIFICATE_NAMES, UNKNOWN_KEYS};
use super::model::{AccessSink, Model};
use super::origin::Origins;
use super::telling::{ERROR_FORMATS, ID_FORMATS, INBOUND, LOG_FORMATS, LOG_LEVELS};
use super::units::{byte_rate_text, duration_text, size_text};

/// Comments begin here, behind all but the longest values.
const COMMENT_COLUMN: usize = 44;

/// The configuration as text, and below it what memory it takes at worst.
pub fn print(loaded: &Loaded) -> String {
    let mut text = print_model(&loaded.model, &loaded.origins);
    memory::print(&mut text, &loaded.model);
    text
}

/// A configuration as text, without where its values come from.
pub fn print_plain(model: &Model) -> String {
    let text = print_model(model, &Origins::default());
    let mut plain = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.strip_suffix("  # default").unwrap_or(line).trim_end();
        plain.push_str(line);
        plain.push('\n');
    }
    plain
}

/// A model as text.
pub(super) fn print_model(model: &Model, origins: &Origins) -> String {
    let mut printer = Printer { out: String::new(), origins, table: String::new() };
    print_listen(&mut printer, model);
    upstream::print(&mut printer, model);
    print_telling(&mut printer, model);
    print_identity(&mut printer, model);
    limits::print(&mut printer, model);
    for (index, route) in model.routes.routes().iter().enumerate() {
        let patterns = model.routes.patterns(index).map(|pattern| quote(&pattern.to_string()));
        print_route(&mut printer, index, route, patterns.collect());
        upstream::print_handling(&mut printer, &route.handling);
        limits::print_of_route(&mut printer, model, index);
    }
    emf::print(&mut printer, model.emf.as_ref());
    metrics::print(&mut printer, &model.metrics);
    metrics::print_cloudwatch(&mut printer, &model.cloudwatch);
    operators::print(&mut printer, model);
    printer.out
}

struct Printer<'a> {
    out: String,
    origins: &'a Origins,
    table: String,
}

impl Printer<'_> {
    fn table(&mut self, header: &str, path: &str) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out.push_str(header);
        self.out.push('\n');
        path.clone_into(&mut self.table);
    }

    fn key(&mut self, key: &str, value: impl std::fmt::Display) {
        let origin = self.origins.get(&format!("{}.{key}", self.table));
        let line = format!("{key} = {value}");
        let _ = writeln!(self.out, "{line:COMMENT_COLUMN$}  # {origin}");
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key, quote(value));
    }

    /// A key that may be absent.
    fn optional(&mut self, key: &str, value: Option<&str>) {
        match value {
            Some(value) => self.text(key, value),
            None => self.unset(key),
        }
    }

    fn unset(&mut self, key: &str) {
        let _ = writeln!(self.out, "# {key} is not set");
    }

    /// A key whose value is not shown: the file's words for it where they tell nothing, else that there is one.
    fn secret(&mut self, key: &str, is_set: bool) {
        match self.origins.written(&format!("{}.{key}", self.table)) {
            Some(written) if is_set => self.key(key, format!("\"{written}\"")),
            _ if is_set => {
                let _ = writeln!(self.out, "# {key} is set, and not shown");
            }
            _ => self.unset(key),
        }
    }
}

fn print_listen(printer: &mut Printer<'_>, model: &Model) {
    let listen = &model.listen;
    let addresses = listen.addresses.iter().map(|address| quote(&address.to_string()));
    let networks = listen.trusted_proxies.iter().map(|network| quote(&network_text(network)));
    printer.table("[listen]", "listen");
    printer.key("address", one_or_list(addresses.collect()));
    printer.key("trusted_proxies", list(networks.collect()));
    printer.key("max_connections", listen.max_connections);
    printer.text("header_timeout", &duration_text(listen.header_timeout));
    printer.text("body_timeout", &duration_text(listen.body_timeout));
    printer.text("keepalive_timeout", &duration_text(listen.keepalive_timeout));
    printer.text("send_timeout", &duration_text(listen.send_timeout));
    printer.text("min_body_rate", &byte_rate_text(listen.min_body_rate));
    printer.text("min_send_rate", &byte_rate_text(listen.min_send_rate));
    match listen.max_connections_per_ip {
        Some(most) => printer.key("max_connections_per_ip", most),
        None => printer.unset("max_connections_per_ip"),
    }
    printer.text("max_uri", &size_text(listen.max_uri as u64));
    printer.key("max_headers", listen.max_headers);
    printer.text("max_header_line", &size_text(listen.max_header_line as u64));
    printer.text("max_header_bytes", &size_text(listen.max_header_bytes as u64));
    printer.text("max_body", &size_text(listen.max_body));
    match listen.drain_delay {
        Duration::ZERO => printer.text("drain_delay", "0s"),
        delay => printer.text("drain_delay", &duration_text(delay)),
    }
    printer.text("drain_timeout", &duration_text(listen.drain_timeout));
    printer.key("h2c", listen.h2c);
    printer.table("[listen.http2]", "listen.http2");
    printer.key("max_streams", listen.http2.max_streams);
    printer.text("window", &size_text(u64::from(listen.http2.window)));
    printer.key("proxy_protocol", listen.proxy_protocol);
    tls::print_listen(printer, listen.tls.as_ref());
}

fn print_identity(printer: &mut Printer<'_>, model: &Model) {
    let sources = &model.identity.sources;
    let names = sources.iter().map(|source| match source {
        Source::ApiKey(_) => quote("api_key"),
        Source::Header(_) => quote("header"),
        Source::Certificate(_) => quote("certificate"),
    });
    printer.table("[identity]", "identity");
    printer.key("sources", list(names.collect()));
    for source in sources {
        match source {
            Source::ApiKey(ApiKey { header, query, keys_file, unknown }) => {
                printer.text("api_key.header", header.as_str());
                match query {
                    Some(query) => printer.text("api_key.query", query),
                    None => printer.out.push_str("# api_key.query is not set\n"),
                }
                match keys_file {
                    Some(path) => {
                        printer.text("api_key.keys_file", &path.display().to_string());
                        printer.text("api_key.unknown", name_of(&UNKNOWN_KEYS, *unknown));
                    }
                    None => printer.out.push_str("# api_key.keys_file is not set\n"),
                }
            }
            Source::Header(name) => {
                printer.text("header.name", name.as_str());
            }
            Source::Certificate(name) => {
                printer.text("certificate.name", name_of(&CERTIFICATE_NAMES, *name));
            }
        }
    }
}

fn print_telling(printer: &mut Printer<'_>, model: &Model) {
    let (request_id, log) = (&model.request_id, &model.log);
    printer.table("[request_id]", "request_id");
    printer.text("header", request_id.header.as_str());
    printer.text("inbound", name_of(&INBOUND, request_id.inbound));
    printer.text("format", name_of(&ID_FORMATS, request_id.format));
    let fields = log.headers.iter().map(|name| quote(name.as_str()));
    printer.table("[log]", "log");
    printer.text("format", name_of(&LOG_FORMATS, log.format));
    printer.text("level", name_of(&LOG_LEVELS, log.level));
    let access = match &log.access {
        AccessSink::Stdout => "stdout".to_owned(),
        AccessSink::Stderr => "stderr".to_owned(),
        AccessSink::Off => "off".to_owned(),
        AccessSink::File(path) => path.display().to_string(),
    };
    printer.text("access", &access);
    printer.key("query", log.query);
    printer.key("headers", list(fields.collect()));
    printer.table("[errors]", "errors");
    printer.text("format", name_of(&ERROR_FORMATS, model.errors));
}

fn print_route(printer: &mut Printer<'_>, index: usize, route: &Route, patterns: Vec<String>) {
    printer.table("[[routes]]", &format!("routes.{index}"));
    printer.text("name", &route.name);
    printer.key("match", one_or_list(patterns));
    match route.timeout {
        Some(timeout) => printer.text("timeout", &duration_text(timeout)),
        None => printer.out.push_str("# timeout is not set\n"),
    }
    printer.text("max_body", &size_text(route.max_body));
}

fn network_text(network: &IpNet) -> String {
    match network.prefix_len() == network.max_prefix_len() {
        true => network.addr().to_string(),
        false => network.to_string(),
    }
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    let found = names.iter().find(|(_, named)| *named == value);
    found.map_or("", |(name, _)| name)
}

fn one_or_list(mut quoted: Vec<String>) -> String {
    if quoted.len() == 1 { quoted.swap_remove(0) } else { list(quoted) }
}

fn list(quoted: Vec<String>) -> String {
    format!("[{}]", quoted.join(", "))
}

/// A TOML basic string, with dollar signs doubled so that they are not read as variables.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for found in text.chars() {
        match found {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '$' => quoted.push_str("$$"),
            _ if found.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(found));
            }
            _ => quoted.push(found),
        }
    }
    quoted.push('"');
    quoted
}
