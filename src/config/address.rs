//! Where tollgate listens, where the app listens, and whose networks are trusted, as they are written.
//!
//! Invariant: no name is looked up here; a host name stays a host name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::model::{ListenAddress, UpstreamAddress};

/// A message for behind "`address` …", and what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddressError {
    pub(crate) fault: String,
    pub(crate) help: String,
}

/// The longest path a Unix socket can have, its closing NUL not counted.
const MAX_SOCKET_PATH: usize = 107;

fn wrong<T>(fault: impl Into<String>, help: impl Into<String>) -> Result<T, AddressError> {
    Err(AddressError { fault: fault.into(), help: help.into() })
}

/// The longest name of a passed socket that systemd takes.
const MAX_PASSED_NAME: usize = 255;

/// Reads `127.0.0.1:8080`, `[::]:8080`, `unix:/run/tollgate/http.sock`, `systemd:http`.
pub(crate) fn parse_listen(text: &str) -> Result<ListenAddress, AddressError> {
    if let Some(name) = text.strip_prefix("systemd:") {
        return parse_passed_name(name).map(ListenAddress::Passed);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return parse_socket_path(path).map(ListenAddress::Unix);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(ListenAddress::Tcp(address));
    }
    let fault = "is not an address to listen on";
    if let Some(rest) = text.strip_prefix("http://") {
        return wrong(fault, format!("write it without `http://`: `{}`", rest.trim_end_matches('/')));
    }
    if let Some(rest) = text.strip_prefix("https://") {
        let rest = rest.trim_end_matches('/');
        return wrong(
            fault,
            format!("TLS has addresses of its own: `address = \"{rest}\"` below `[listen.tls]`"),
        );
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && let Ok(ip @ IpAddr::V6(_)) = host.parse::<IpAddr>()
        && is_digits(port)
    {
        return wrong(fault, format!("an IPv6 address stands in brackets: `[{ip}]:{port}`"));
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return wrong("has no port", format!("write `{}`", SocketAddr::new(ip, 8080)));
    }
    if let Some(help) = ipv6_without_brackets(text) {
        return wrong(fault, help);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None => ("", text),
    };
    if !is_digits(port) {
        return wrong(
            fault,
            "write `127.0.0.1:8080`, `[::]:8080`, `unix:/run/tollgate/http.sock` or `systemd:http`",
        );
    }
    if port.parse::<u16>().is_err() {
        return wrong("has a port above 65535", "use a port from 1 to 65535");
    }
    if host.is_empty() || host == "*" {
        return wrong(
            "names no interface",
            format!(
                "write `127.0.0.1:{port}` for this host only, `0.0.0.0:{port}` for all of IPv4, `[::]:{port}` for IPv6"
            ),
        );
    }
    if host == "localhost" {
        return wrong("is a host name, not an address", format!("write `127.0.0.1:{port}`"));
    }
    wrong(
        "is not the address of an interface",
        format!("write an IP address, for example `127.0.0.1:{port}`"),
    )
}

/// Reads `127.0.0.1:8000`, `app:8000`, `http://app:8000`, `https://app:8443`, `unix:/run/gunicorn.sock`.
pub(crate) fn parse_upstream(text: &str) -> Result<UpstreamAddress, AddressError> {
    if let Some(path) = text.strip_prefix("unix:") {
        return parse_socket_path(path).map(UpstreamAddress::Unix);
    }
    let (tls, bare) = match text.strip_prefix("https://") {
        Some(bare) => (true, bare),
        None => (false, text.strip_prefix("http://").unwrap_or(text)),
    };
    if let Some((_, rest)) = bare.split_once("://") {
        let help = format!("tollgate speaks HTTP to the app; write `{rest}`");
        return wrong("has an unknown scheme", help);
    }
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    if let Some(slash) = bare.find('/') {
        if bare.starts_with('/') {
            return wrong("is not an address", format!("a Unix socket is written `unix:{bare}`"));
        }
        let scheme = if tls { "https://" } else { "" };
        return wrong(
            "has a path",
            format!("requests keep their own path; write `{scheme}{}`", &bare[..slash]),
        );
    }
    let (host, port) = match tls {
        false => parse_host_port(bare, 8000)?,
        true => parse_host_port(bare, 8443).map_err(|AddressError { fault, help }| AddressError {
            fault,
            help: help.replacen('`', "`https://", 1),
        })?,
    };
    Ok(UpstreamAddress::Tcp { host, port, tls })
}

/// Reads `app:8000`, `127.0.0.1:25888`, `[::1]:8000`; `usual` is the port of examples.
pub(crate) fn parse_host_port(bare: &str, usual: u16) -> Result<(String, u16), AddressError> {
    if let Some(help) = ipv6_without_brackets(bare) {
        return wrong("is not an address", help);
    }
    let Some((host, port)) = bare.rsplit_once(':').filter(|(host, _)| !host.ends_with(':')) else {
        if is_digits(bare) {
            return wrong("has no host", format!("write `127.0.0.1:{bare}`"));
        }
        return wrong(
            "has no port",
            format!("write `{}:{usual}`", if bare.is_empty() { "127.0.0.1" } else { bare }),
        );
    };
    let port = match port.parse::<u16>() {
        Ok(0) => {
            return wrong("has port 0", format!("write the port that is listened on, for example {usual}"));
        }
        Ok(port) if is_digits(&bare[host.len() + 1..]) => port,
        _ if is_digits(port) => {
            return wrong("has a port above 65535", "use a port from 1 to 65535");
        }
        _ => {
            return wrong("has no port", format!("write `host:port`, for example `127.0.0.1:{usual}`"));
        }
    };
    let host = parse_host(host, port)?;
    Ok((host, port))
}

fn parse_host(host: &str, port: u16) -> Result<String, AddressError> {
    if host.is_empty() {
        return wrong("has no host", format!("write `127.0.0.1:{port}`"));
    }
    if host.starts_with('[') {
        let inside = host.trim_matches(['[', ']']);
        return match inside.parse::<IpAddr>() {
            Ok(ip @ IpAddr::V6(_)) if host.len() == inside.len() + 2 => Ok(ip.to_string()),
            _ => wrong("has no IPv6 address between its brackets", format!("write `[::1]:{port}`")),
        };
    }
    let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if numeric {
        return match host.parse::<Ipv4Addr>() {
            Ok(ip) => Ok(ip.to_string()),
            Err(_) => wrong("has no valid IPv4 address", format!("write `127.0.0.1:{port}`")),
        };
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.len() > 253 || !name.split('.').all(label) {
        return wrong(
            "has no valid host name",
            "write `host:port`, for example `127.0.0.1:8000` or `app:8000`",
        );
    }
    Ok(host.to_owned())
}

/// Reads `10.0.0.0/8`, `127.0.0.1`, `::1`.
pub(crate) fn parse_network(text: &str) -> Result<IpNet, AddressError> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip.to_canonical()));
    }
    let Ok(network) = text.parse::<IpNet>() else {
        return wrong("is neither an IP address nor a network", "write `10.0.0.7` or `10.0.0.0/8`");
    };
    if network.addr() != network.network() {
        return wrong("has bits below its prefix", format!("write `{}`", network.trunc()));
    }
    if let IpNet::V6(v6) = network
        && v6.prefix_len() >= 96
        && v6.addr().to_ipv4_mapped().is_some()
    {
        return wrong(
            "is an IPv4 network in IPv6 form",
            "peers of this form are compared as IPv4; write the IPv4 network",
        );
    }
    Ok(network)
}

/// The names of systemd.socket(5): printable ASCII without colons.
fn parse_passed_name(name: &str) -> Result<String, AddressError> {
    let is_printable = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b':';
    if name.is_empty() || name.len() > MAX_PASSED_NAME || !name.bytes().all(is_printable) {
        return wrong(
            "names no passed socket",
            "write the `FileDescriptorName=` of the socket unit, for example `systemd:http`",
        );
    }
    Ok(name.to_owned())
}

fn parse_socket_path(path: &str) -> Result<PathBuf, AddressError> {
    if !path.starts_with('/') || path.starts_with("//") {
        let bare = path.trim_start_matches(['/', '.']);
        let bare = if bare.is_empty() { "run/tollgate/http.sock" } else { bare };
        return wrong("has no absolute path", format!("write `unix:/{bare}`"));
    }
    if path.len() > MAX_SOCKET_PATH {
        return wrong(
            format!("has a path of {} bytes, a Unix socket can have {MAX_SOCKET_PATH}", path.len()),
            "use a shorter path, for example below `/run`",
        );
    }
    if path.ends_with('/') || path.contains('\0') {
        return wrong("names no file", "write the path of the socket, for example `unix:/run/gunicorn.sock`");
    }
    Ok(PathBuf::from(path))
}

/// `::1:8080` is an address without a port, or one that lacks its brackets: nobody can tell.
fn ipv6_without_brackets(text: &str) -> Option<String> {
    if text.starts_with('[') || text.matches(':').count() < 2 {
        return None;
    }
    let (host, port) = text.rsplit_once(':')?;
    match (host.parse::<IpAddr>(), is_digits(port)) {
        (Ok(ip), true) => Some(format!("an IPv6 address stands in brackets: `[{ip}]:{port}`")),
        _ => Some("an IPv6 address stands in brackets: `[::1]:8080`".to_owned()),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests;
