//! Who the client is and how it came, by what trusted proxies say.
//!
//! Invariant: nothing an untrusted peer sends changes the answer. The list is read from the right, over
//! all its lines, past the hops we trust, and no further: what stands to the left of the first
//! address we do not trust is that address's own claim.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::head::trim_whitespace;

/// `X-Forwarded-For`
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// `X-Forwarded-Port`
pub const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Hops read at most; an AWS load balancer refuses more than 30.
const MAX_HOPS: usize = 64;

/// The client's address, given a peer that is trusted. `peer` is `None` for a Unix socket, whose other end
/// has no address; then the answer may be `None` too.
///
/// An entry that is no address ends the walk: the last hop that was one is the answer.
pub fn client_address(
    peer: Option<IpAddr>,
    headers: &HeaderMap,
    trusts: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let mut client = peer;
    let lines: Vec<&HeaderValue> = headers.get_all(X_FORWARDED_FOR).iter().collect();
    let entries = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for entry in entries.take(MAX_HOPS) {
        let Some(address) = parse_hop(entry) else { break };
        client = Some(address);
        if !trusts(address) {
            break;
        }
    }
    client
}

/// One hop: an IPv4 or IPv6 address, with or without a port, IPv6 with or without brackets.
pub fn parse_hop(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(trim_whitespace(entry)).ok()?;
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (inner, port) = rest.split_once(']')?;
        let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        port_is_fine.then(|| inner.parse::<Ipv6Addr>().ok()).flatten().map(IpAddr::V6)?
    } else if let Ok(address) = text.parse::<IpAddr>() {
        address
    } else {
        let (host, port) = text.split_once(':')?;
        is_port(port).then(|| host.parse::<Ipv4Addr>().ok()).flatten().map(IpAddr::V4)?
    };
    Some(address.to_canonical())
}

/// Writes an address as text; once or twice a request, so not by way of a formatter where it matters.
pub fn write_address(address: IpAddr, mut write: impl FnMut(&[u8])) {
    match address {
        IpAddr::V4(v4) => {
            let mut digits = itoa::Buffer::new();
            for (at, octet) in v4.octets().into_iter().enumerate() {
                if at > 0 {
                    write(b".");
                }
                write(digits.format(octet).as_bytes());
            }
        }
        IpAddr::V6(v6) => write(v6.to_string().as_bytes()),
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// How the client reached the outermost proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// For `X-Forwarded-Proto`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// What the app is told of the way here. One of each, whatever came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// `X-Forwarded-Proto`
    pub scheme: Scheme,
    /// `X-Forwarded-Host`
    pub host: &'a [u8],
    /// `X-Forwarded-Port`
    pub port: u16,
}

impl<'a> Forwarded<'a> {
    /// From the connection and the checked `Host` alone, or with what a trusted peer's fields say.
    pub fn read(own: Scheme, host: &'a [u8], headers: &'a HeaderMap, peer_is_trusted: bool) -> Forwarded<'a> {
        let told = |name: &HeaderName| {
            if peer_is_trusted { nearest(headers, name) } else { None }
        };
        let scheme = match told(&X_FORWARDED_PROTO) {
            Some(told) if told.eq_ignore_ascii_case(b"https") || told.eq_ignore_ascii_case(b"wss") => {
                Scheme::Https
            }
            Some(told) if told.eq_ignore_ascii_case(b"http") || told.eq_ignore_ascii_case(b"ws") => {
                Scheme::Http
            }
            _ => own,
        };
        let host = told(&X_FORWARDED_HOST).filter(|told| super::target::is_valid_host(told)).unwrap_or(host);
        let port = told(&X_FORWARDED_PORT)
            .and_then(|told| std::str::from_utf8(told).ok())
            .and_then(|told| told.parse::<u16>().ok())
            .or_else(|| super::target::port_of(host))
            .unwrap_or(scheme.default_port());
        Forwarded { scheme, host, port }
    }
}

/// What the nearest hop wrote: the last entry of the last line.
fn nearest<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let line = headers.get_all(name).iter().next_back()?;
    line.as_bytes().rsplit(|byte| *byte == b',').next().map(trim_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn client(lines: &[&'static str]) -> String {
        let fields: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        let trusts = |ip: IpAddr| ip.is_loopback() || matches!(ip, IpAddr::V4(v4) if v4.octets()[0] == 10);
        client_address(Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), &headers(&fields), trusts).unwrap().to_string()
    }

    #[test]
    fn the_list_is_read_from_the_right_past_trusted_hops() {
        assert_eq!(client(&[]), "127.0.0.1");
        assert_eq!(client(&["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(&["6.6.6.6, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(&["6.6.6.6, 203.0.113.9, 10.0.0.1, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(client(&["6.6.6.6", "203.0.113.9", "10.0.0.1"]), "203.0.113.9");
        assert_eq!(client(&["10.0.0.3, 10.0.0.1"]), "10.0.0.3");
    }

    #[test]
    fn an_entry_that_is_no_address_ends_the_walk() {
        assert_eq!(client(&["6.6.6.6, unknown, 10.0.0.1"]), "10.0.0.1");
        assert_eq!(client(&["6.6.6.6, , 10.0.0.1"]), "10.0.0.1");
        assert_eq!(client(&[""]), "127.0.0.1");
    }

    #[test]
    fn hops_may_have_ports_and_brackets() {
        for (entry, address) in [
            ("203.0.113.9:4711", Some("203.0.113.9")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            (" [2001:db8::1]:443 ", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("::ffff:203.0.113.9", Some("203.0.113.9")),
            ("[2001:db8::1", None),
            ("[203.0.113.9]", None),
            ("203.0.113.9:", None),
            ("203.0.113.9:99999", None),
            ("203.0.113.9:+1", None),
            ("example.com", None),
        ] {
            assert_eq!(parse_hop(entry.as_bytes()).map(|ip| ip.to_string()).as_deref(), address, "{entry:?}");
        }
    }

    #[test]
    fn a_unix_peer_without_a_list_has_no_address() {
        assert_eq!(client_address(None, &HeaderMap::new(), |_| true), None);
    }

    #[test]
    fn only_a_trusted_peer_is_asked_how_the_client_came() {
        let fields = headers(&[
            ("x-forwarded-proto", "http, https"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-port", "8443"),
        ]);
        let believed = Forwarded::read(Scheme::Http, b"inner:8080", &fields, true);
        assert_eq!(believed, Forwarded { scheme: Scheme::Https, host: b"shop.example", port: 8443 });
        let own = Forwarded::read(Scheme::Http, b"inner:8080", &fields, false);
        assert_eq!(own, Forwarded { scheme: Scheme::Http, host: b"inner:8080", port: 8080 });
    }

    #[test]
    fn values_that_are_no_scheme_host_or_port_are_not_believed() {
        let fields = headers(&[
            ("x-forwarded-proto", "javascript"),
            ("x-forwarded-host", "a b"),
            ("x-forwarded-port", "-1"),
        ]);
        let read = Forwarded::read(Scheme::Http, b"inner", &fields, true);
        assert_eq!(read, Forwarded { scheme: Scheme::Http, host: b"inner", port: 80 });
    }

    #[test]
    fn no_more_hops_are_read_than_there_can_be() {
        let list: String = (0..=MAX_HOPS).rev().map(|hop| format!("10.0.1.{hop},")).collect();
        let fields = HeaderMap::from_iter([(X_FORWARDED_FOR, list.trim_end_matches(',').parse().unwrap())]);
        let last = IpAddr::from([10, 0, 1, MAX_HOPS as u8 - 1]);
        assert_eq!(client_address(None, &fields, |_| true), Some(last));
    }
}
