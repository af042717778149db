//! `[listen]`: raw values to [`Listen`].
//!
//! Invariant: sizes are ordered; a line fits into its head, and a head into memory.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use ipnet::IpNet;

use super::address::{parse_listen, parse_network};
use super::model::{Http2, Listen, ListenAddress};
use super::origin::Origin;
use super::reader::{Reader, Text};
use super::report::{Place, Severity, shown};
use super::table::Table;
use super::tls;
use super::units::size_text;

/// What a head may be at most, whatever is configured.
const MAX_HEAD: u64 = 1 << 20;

/// Load balancers notice within minutes.
const MAX_DRAIN_DELAY: Duration = Duration::from_secs(3600);

const LOOPBACK: [IpAddr; 2] =
    [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)];

/// The defaults; the app is expected to be a Gunicorn with its own.
pub(crate) fn defaults() -> Listen {
    Listen {
        addresses: vec![ListenAddress::Tcp(([127, 0, 0, 1], 8080).into())],
        trusted_proxies: LOOPBACK.map(IpNet::from).to_vec(),
        max_connections: 20_000,
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(30),
        keepalive_timeout: Duration::from_secs(75),
        send_timeout: Duration::from_secs(60),
        min_body_rate: Some(240),
        min_send_rate: Some(240),
        max_connections_per_ip: None,
        max_uri: 4000,
        max_headers: 90,
        max_header_line: 8000,
        max_header_bytes: 64 << 10,
        max_body: 10 << 20,
        drain_delay: Duration::ZERO,
        drain_timeout: Duration::from_secs(30),
        h2c: false,
        http2: Http2 { max_streams: 100, window: 64 << 10 },
        proxy_protocol: false,
        tls: None,
    }
}

/// Reads the table; addresses of the command line go before those of the file.
pub(crate) fn read(mut table: Table<'_, '_>, options: &[String]) -> Listen {
    let default = defaults();
    let addresses = addresses(&mut table, options).unwrap_or(default.addresses);
    let example =
        "{ address = \"0.0.0.0:8443\", certificate = \"/a/chain.pem\", private_key = \"/a/key.pem\" }";
    let tls = tls::read_listen(table.table("tls", "listen.tls", example), &addresses);
    let listen = Listen {
        addresses,
        trusted_proxies: networks(&mut table).unwrap_or(default.trusted_proxies),
        max_connections: size(table.count("max_connections", default.max_connections as u64, 1..=1_000_000)),
        header_timeout: table.duration("header_timeout", default.header_timeout),
        body_timeout: table.duration("body_timeout", default.body_timeout),
        keepalive_timeout: table.duration("keepalive_timeout", default.keepalive_timeout),
        send_timeout: table.duration("send_timeout", default.send_timeout),
        min_body_rate: table.byte_rate("min_body_rate", default.min_body_rate),
        min_send_rate: table.byte_rate("min_send_rate", default.min_send_rate),
        max_connections_per_ip: table.optional_count("max_connections_per_ip", 1..=1_000_000).map(size),
        max_uri: size(table.size("max_uri", default.max_uri as u64)),
        max_headers: size(table.count("max_headers", default.max_headers as u64, 1..=32_768)),
        max_header_line: size(table.size("max_header_line", default.max_header_line as u64)),
        max_header_bytes: size(table.size("max_header_bytes", default.max_header_bytes as u64)),
        max_body: table.size("max_body", default.max_body),
        drain_delay: table.delay("drain_delay", MAX_DRAIN_DELAY),
        drain_timeout: table.duration("drain_timeout", default.drain_timeout),
        h2c: table.switch("h2c", default.h2c),
        http2: http2(&mut table, default.http2),
        proxy_protocol: table.switch("proxy_protocol", default.proxy_protocol),
        tls,
    };
    check_order(table.reader, &listen);
    check_proxies(table.reader, &listen);
    advise(table.reader, &listen);
    table.finish();
    listen
}

/// The smallest window is the protocol's own (RFC 9113 section 6.9.2).
fn http2(table: &mut Table<'_, '_>, default: Http2) -> Http2 {
    const WINDOWS: Range<u64> = 65_535..(16 << 20) + 1;
    let mut http2 = table.table("http2", "listen.http2", "{ max_streams = 100, window = \"64KiB\" }");
    let max_streams = http2.count("max_streams", u64::from(default.max_streams), 1..=1_000);
    let window = http2.size("window", u64::from(default.window));
    if !WINDOWS.contains(&window)
        && let Some(span) = http2.reader.span("listen.http2.window")
    {
        let message = format!("`window` must be from `65535B` to `16MiB`, found `{}`", size_text(window));
        let help = "what a client may send on a stream before the app takes it; memory for it is there once a request";
        http2.reader.error(Place::Bytes(span), message, help);
    }
    http2.finish();
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Http2 { max_streams: small(max_streams), window: small(window) }
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn addresses(table: &mut Table<'_, '_>, options: &[String]) -> Option<Vec<ListenAddress>> {
    let written = table.strings("address", "an address or a list of addresses");
    let from_file = written.map(|texts| {
        if texts.is_empty() {
            let span = table.reader.span("listen.address").unwrap_or_default();
            if !table.reader.has_error_in(&span) {
                table.reader.error(
                    Place::Bytes(span),
                    "`address` must hold at least one address",
                    "write `address = \"127.0.0.1:8080\"`",
                );
            }
        }
        parse_addresses(table.reader, "`address`", &texts)
    });
    if options.is_empty() {
        // Wrong addresses are not replaced by the default, which would be blamed for what it is not.
        return from_file;
    }
    let texts: Vec<Text> = options.iter().map(|text| Text::from_command_line(text)).collect();
    let option = "--listen";
    table.reader.origins.set("listen.address".to_owned(), Origin::CommandLine { option });
    Some(parse_addresses(table.reader, "`--listen`", &texts))
}

pub(crate) fn parse_addresses(reader: &mut Reader<'_>, name: &str, texts: &[Text]) -> Vec<ListenAddress> {
    let mut addresses = Vec::new();
    for text in texts {
        match parse_listen(&text.text) {
            Ok(address) if addresses.contains(&address) && !is_any_port(&address) => reader.error(
                text.place.clone(),
                format!("{name} holds `{}` twice", shown(&text.text)),
                "remove one of them",
            ),
            Ok(address) => addresses.push(address),
            Err(error) => {
                let message = format!("{name} {}, found `{}`", error.fault, shown(&text.text));
                reader.error(text.place.clone(), message, error.help);
            }
        }
    }
    addresses
}

/// Whether one of these addresses takes the other's connections.
pub(crate) fn is_same_listener(one: &ListenAddress, other: &ListenAddress) -> bool {
    match (one, other) {
        (ListenAddress::Tcp(a), ListenAddress::Tcp(b)) => {
            let same_host = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
            same_host && a.port() == b.port() && a.port() != 0
        }
        _ => one == other,
    }
}

/// Port 0: each time another free port.
fn is_any_port(address: &ListenAddress) -> bool {
    matches!(address, ListenAddress::Tcp(address) if address.port() == 0)
}

fn networks(table: &mut Table<'_, '_>) -> Option<Vec<IpNet>> {
    let texts = table.strings("trusted_proxies", "a network or a list of networks")?;
    let mut networks = Vec::new();
    for text in texts {
        match parse_network(&text.text) {
            Ok(network) => {
                if network.prefix_len() == 0 {
                    table.reader.find(
                        Severity::Warning,
                        text.place,
                        format!("`{network}` trusts every peer"),
                        "any client can then choose its own address; name the proxies in front instead"
                            .to_owned(),
                        None,
                    );
                }
                networks.push(network);
            }
            Err(error) => {
                let message = format!("`trusted_proxies` {}, found `{}`", error.fault, shown(&text.text));
                table.reader.error(text.place, message, error.help);
            }
        }
    }
    Some(networks)
}

/// Only trusted proxies may connect where the PROXY protocol is spoken; over TCP there must be some.
fn check_proxies(reader: &mut Reader<'_>, listen: &Listen) {
    let over_tcp = |address: &ListenAddress| !matches!(address, ListenAddress::Unix(_));
    if listen.proxy_protocol
        && listen.trusted_proxies.is_empty()
        && (listen.tls.is_some() || listen.addresses.iter().any(over_tcp))
        && let Some(span) = reader.span("listen.proxy_protocol")
    {
        let message = "`proxy_protocol` lets `trusted_proxies` alone connect, and there are none";
        reader.error(
            Place::Bytes(span),
            message,
            "name the subnets of the load balancer in `trusted_proxies`",
        );
    }
}

/// Errors between keys. The mark is put under the part if it is in the file, else under the whole.
fn check_order(reader: &mut Reader<'_>, listen: &Listen) {
    let head = listen.max_header_bytes as u64;
    if head > MAX_HEAD
        && let Some(span) = reader.span("listen.max_header_bytes")
    {
        let message = format!("`max_header_bytes` must be at most `1MiB`, found `{}`", size_text(head));
        let help = "every connection may hold this much; `64KiB` is what an ALB passes";
        reader.error(Place::Bytes(span), message, help);
    }
    for (key, value) in [("max_uri", listen.max_uri), ("max_header_line", listen.max_header_line)] {
        let value = value as u64;
        let part = reader.span(&format!("listen.{key}"));
        let whole = reader.span("listen.max_header_bytes");
        let known = |span: &Option<Range<usize>>| span.as_ref().is_none_or(|span| !reader.has_error_in(span));
        if value <= head || !known(&part) || !known(&whole) {
            continue;
        }
        let Some(span) = part.or(whole) else {
            continue;
        };
        let message =
            format!("`{key}` is `{}`, more than `max_header_bytes`, `{}`", size_text(value), size_text(head));
        let help = format!("raise `max_header_bytes`, or lower `{key}` below it");
        reader.error(Place::Bytes(span), message, help);
    }
}

/// Legal, but Gunicorn or a load balancer with its own defaults will not like it.
fn advise(reader: &mut Reader<'_>, listen: &Listen) {
    let above = "answers what is larger itself, less clearly than tollgate would";
    if listen.max_headers > 100 {
        let message = format!("`max_headers` is {}, Gunicorn takes 100", listen.max_headers);
        let help = format!("Gunicorn {above}; raise its `limit_request_fields` too, or stay at 90");
        warn(reader, "listen.max_headers", message, help);
    }
    if listen.max_uri > 4094 {
        let message = format!(
            "`max_uri` is `{}`, Gunicorn takes a request line of 4094 bytes",
            size_text(listen.max_uri as u64)
        );
        let help = format!("Gunicorn {above}; raise its `limit_request_line` too, or stay at `4000B`");
        warn(reader, "listen.max_uri", message, help);
    }
    if listen.max_header_line > 8190 {
        let message = format!(
            "`max_header_line` is `{}`, Gunicorn takes 8190 bytes",
            size_text(listen.max_header_line as u64)
        );
        let help = format!("Gunicorn {above}; raise its `limit_request_field_size` too, or stay at `8000B`");
        warn(reader, "listen.max_header_line", message, help);
    }
    if listen.keepalive_timeout < Duration::from_secs(60) {
        let message = "`keepalive_timeout` is below the 60 seconds an ALB or nginx keeps idle connections";
        let help = "the one in front then reuses a connection that is closing, and its client sees 502; use `\"75s\"`";
        warn(reader, "listen.keepalive_timeout", message.to_owned(), help.to_owned());
    }
}

/// A warning at a key's value; defaults are never unwise.
pub(crate) fn warn(reader: &mut Reader<'_>, path: &str, message: String, help: String) {
    let span: Option<Range<usize>> = reader.span(path);
    if let Some(span) = span {
        reader.find(Severity::Warning, Place::Bytes(span), message, help, None);
    }
}
