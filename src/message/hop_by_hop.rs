//! Fields that end at the next hop (RFC 9110 section 7.6.1), and those a client may never hand through.
//!
//! All `Connection` lines are read before the first field is judged. A nomination cannot remove what
//! the next hop needs to frame, route or attribute the message: stripping is the sender's tool
//! against itself, never against us.

use http::header::{self, HeaderMap, HeaderName};

use super::head::trim_whitespace;

/// What the `Connection` lines of a message say.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// `close` is among them.
    pub close: bool,
    /// `keep-alive` is among them.
    pub keep_alive: bool,
    /// `upgrade` is among them.
    pub upgrade: bool,
    nominated: Vec<HeaderName>,
}

impl ConnectionOptions {
    /// Reads all lines. Options that are no field names are ignored: they can name no field.
    pub fn read(headers: &HeaderMap) -> ConnectionOptions {
        let mut options = ConnectionOptions::default();
        for value in headers.get_all(header::CONNECTION) {
            for token in value.as_bytes().split(|byte| *byte == b',') {
                options.add(trim_whitespace(token));
            }
        }
        options
    }

    /// Whether a field of this name must not go to the next hop.
    pub fn strips(&self, name: &HeaderName) -> bool {
        is_hop_by_hop(name) || self.nominated.contains(name)
    }

    fn add(&mut self, token: &[u8]) {
        if token.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
        } else if token.eq_ignore_ascii_case(b"close") {
            self.close = true;
        } else if token.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else if let Ok(name) = HeaderName::from_bytes(token)
            && !is_protected(&name)
        {
            self.nominated.push(name);
        }
    }
}

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::TRANSFER_ENCODING
        || *name == header::TE
        || *name == header::UPGRADE
        || *name == header::PROXY_AUTHENTICATE
        || *name == header::PROXY_AUTHORIZATION
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
        || *name == HTTP2_SETTINGS
}

/// What no nomination can remove.
fn is_protected(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "content-length"
            | "content-type"
            | "content-encoding"
            | "authorization"
            | "cache-control"
            | "cookie"
            | "set-cookie"
            | "date"
            | "via"
            | "forwarded"
            | "x-real-ip"
            | "x-request-id"
            | "traceparent"
            | "tracestate"
            | "x-amzn-trace-id"
    ) || name.as_str().starts_with("x-forwarded-")
}

/// Says whether the canary is asked; tollgate's own, in lower case.
pub const CANARY_CHOICE: &str = "x-tollgate-canary";

/// Fields that never pass, whoever sends them: tollgate writes its own, or Gunicorn would take them for
/// variables of its own (`forwarder_headers`, `secure_scheme_headers`, any name with `_`).
pub fn is_replaced(name: &HeaderName) -> bool {
    let name = name.as_str();
    match name.strip_prefix("x-forwarded-") {
        Some(rest) => matches!(rest, "for" | "proto" | "host" | "port" | "protocol" | "ssl" | "scheme"),
        None => name == CANARY_CHOICE || memchr::memchr(b'_', name.as_bytes()).is_some(),
    }
}

/// Fields that say who or where the client is: passed from a trusted proxy, dropped from anybody else.
pub fn is_hearsay(name: &HeaderName) -> bool {
    matches!(name.as_str(), "forwarded" | "x-real-ip" | "x-forwarded-prefix" | "remote-user")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(lines: &[&'static str]) -> ConnectionOptions {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CONNECTION, header::HeaderValue::from_static(line));
        }
        ConnectionOptions::read(&headers)
    }

    fn name(text: &'static str) -> HeaderName {
        HeaderName::from_static(text)
    }

    #[test]
    fn all_connection_lines_count() {
        let options = options(&["close, X-One", " x-two ,,Upgrade"]);
        assert!(options.close && options.upgrade && !options.keep_alive);
        assert!(options.strips(&name("x-one")) && options.strips(&name("x-two")));
        assert!(!options.strips(&name("x-three")));
    }

    #[test]
    fn a_nomination_cannot_remove_what_tollgate_sets_or_needs() {
        let options =
            options(&["Host, Content-Length, X-Request-Id, X-Forwarded-For, X-Forwarded-Proto, Via, Cookie"]);
        for kept in [
            "host",
            "content-length",
            "x-request-id",
            "x-forwarded-for",
            "x-forwarded-proto",
            "via",
            "cookie",
        ] {
            assert!(!options.strips(&name(kept)), "{kept}");
        }
    }

    #[test]
    fn the_standing_list_is_stripped_without_nomination() {
        for stripped in [
            "connection",
            "keep-alive",
            "proxy-connection",
            "te",
            "transfer-encoding",
            "upgrade",
            "http2-settings",
        ] {
            assert!(options(&[]).strips(&name(stripped)), "{stripped}");
        }
    }

    #[test]
    fn names_that_become_wsgi_variables_never_pass() {
        for dropped in [
            "script_name",
            "path_info",
            "remote_user",
            "x_forwarded_for",
            "x-forwarded-ssl",
            "x-forwarded-protocol",
            "a_b",
        ] {
            assert!(is_replaced(&name(dropped)), "{dropped}");
        }
        for passed in ["x-forwarded-client-cert", "x-real-name", "accept", "x-custom"] {
            assert!(!is_replaced(&name(passed)) && !is_hearsay(&name(passed)), "{passed}");
        }
    }

    #[test]
    fn who_the_client_is_said_to_be_is_hearsay() {
        for name in ["forwarded", "x-real-ip", "x-forwarded-prefix", "remote-user"] {
            assert!(is_hearsay(&HeaderName::from_static(name)), "{name}");
        }
        assert!(!is_hearsay(&HeaderName::from_static("user-agent")));
    }
}
