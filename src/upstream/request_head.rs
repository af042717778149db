//! The head of the request as the app gets it, written straight from the head as it came.
//!
//! Invariant: exactly one `Host`, one request id and one of each `X-Forwarded-*` that tollgate sets, whatever the
//! client sent; framing is what the body writer will do.

use std::net::IpAddr;

use bytes::{BufMut, BytesMut};
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, Uri};

use crate::message::forwarded::{Forwarded, write_address};
use crate::message::hop_by_hop::{ConnectionOptions, is_hearsay, is_replaced};
use crate::message::request_id::RequestId;

/// All that goes into the head.
#[derive(Debug)]
pub struct RequestHead<'a> {
    /// As received.
    pub method: &'a Method,
    /// As received; only path and query are sent.
    pub uri: &'a Uri,
    /// As received.
    pub headers: &'a HeaderMap,
    /// Read from `headers`.
    pub options: &'a ConnectionOptions,
    /// Whether what the peer says of others is passed on.
    pub peer_is_trusted: bool,
    /// The field for the request id.
    pub id_header: &'a HeaderName,
    /// The request id.
    pub id: &'a RequestId,
    /// For `X-Forwarded-For`; without one there is no such field.
    pub client: Option<IpAddr>,
    /// For the other `X-Forwarded-*`.
    pub forwarded: Forwarded<'a>,
    /// How the body goes out.
    pub framing: Framing,
    /// Whether to ask for a WebSocket.
    pub upgrade: bool,
}

/// How a request's body goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// As the fields that came say: with their length, or none.
    AsReceived,
    /// There is none, whatever the fields that came say: an app that waits for one would take the next request for it.
    None,
    /// It came chunked, and is so long.
    Length(u64),
    /// Chunked.
    Chunked,
}

impl RequestHead<'_> {
    /// Appends the head, up to and including the empty line.
    pub fn encode(&self, out: &mut BytesMut) {
        out.reserve(1024);
        out.put_slice(self.method.as_str().as_bytes());
        out.put_u8(b' ');
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        if !target.starts_with('/') {
            // `http://host?query` has an empty path, which is `/` on the way to a server.
            out.put_u8(b'/');
        }
        out.put_slice(target.as_bytes());
        out.put_slice(b" HTTP/1.1\r\n");
        for (name, value) in self.headers {
            if self.passes(name) {
                field(out, name.as_str().as_bytes(), value.as_bytes());
            }
        }
        field(out, self.id_header.as_str().as_bytes(), self.id.as_header().as_bytes());
        self.forwarded_fields(out);
        self.connection_fields(out);
        out.put_slice(b"\r\n");
    }

    fn passes(&self, name: &HeaderName) -> bool {
        !(self.options.strips(name)
            || is_replaced(name)
            || *name == header::EXPECT
            || (*name == header::CONTENT_LENGTH && self.framing == Framing::None)
            || name == self.id_header
            || (!self.peer_is_trusted && is_hearsay(name)))
    }

    fn forwarded_fields(&self, out: &mut BytesMut) {
        if let Some(client) = self.client {
            out.put_slice(b"x-forwarded-for: ");
            write_address(client, |text| out.put_slice(text));
            out.put_slice(b"\r\n");
        }
        field(out, b"x-forwarded-proto", self.forwarded.scheme.as_str().as_bytes());
        field(out, b"x-forwarded-host", self.forwarded.host);
        field(out, b"x-forwarded-port", itoa::Buffer::new().format(self.forwarded.port).as_bytes());
        field(out, b"via", b"1.1 tollgate");
    }

    fn connection_fields(&self, out: &mut BytesMut) {
        match self.framing {
            Framing::AsReceived => {}
            Framing::None if self.headers.contains_key(header::CONTENT_LENGTH) => {
                field(out, b"content-length", b"0");
            }
            Framing::None => {}
            Framing::Length(length) => {
                field(out, b"content-length", itoa::Buffer::new().format(length).as_bytes());
            }
            Framing::Chunked => field(out, b"transfer-encoding", b"chunked"),
        }
        if self.upgrade {
            out.put_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
        } else if accepts_trailers(self.headers) {
            out.put_slice(b"connection: te\r\nte: trailers\r\n");
        }
    }
}

/// Whether the client can take trailers (RFC 9110 section 10.1.4).
pub fn accepts_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(header::TE).iter().any(|line| {
        line.as_bytes()
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    })
}

fn field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::forwarded::Scheme;
    use http::HeaderValue;

    fn encoded(fields: &[(&'static str, &'static str)], peer_is_trusted: bool) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let options = ConnectionOptions::read(&headers);
        let mut out = BytesMut::new();
        RequestHead {
            method: &Method::GET,
            uri: &"/a%20b?q=1".parse().unwrap(),
            headers: &headers,
            options: &options,
            peer_is_trusted,
            id_header: &HeaderName::from_static("x-request-id"),
            id: &RequestId::uuid4(0, &mut BytesMut::new()),
            client: Some("203.0.113.9".parse().unwrap()),
            forwarded: Forwarded { scheme: Scheme::Https, host: b"a", port: 443 },
            framing: Framing::AsReceived,
            upgrade: false,
        }
        .encode(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    const OURS: &str = "x-request-id: 00000000-0000-4000-8000-000000000000\r\nx-forwarded-for: 203.0.113.9\r\n\
        x-forwarded-proto: https\r\nx-forwarded-host: a\r\nx-forwarded-port: 443\r\nvia: 1.1 tollgate\r\n\r\n";

    #[test]
    fn the_app_gets_the_original_target_and_each_of_our_fields_once() {
        let sent = encoded(
            &[
                ("host", "a"),
                ("x-forwarded-for", "6.6.6.6"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-ssl", "on"),
                ("x-forwarded-protocol", "ssl"),
                ("x-request-id", "theirs"),
                ("script_name", "/admin"),
                ("remote_user", "root"),
                ("connection", "x-forwarded-for, x-drop, keep-alive"),
                ("x-drop", "1"),
                ("expect", "100-continue"),
                ("accept", "*/*"),
            ],
            false,
        );
        assert_eq!(sent, format!("GET /a%20b?q=1 HTTP/1.1\r\nhost: a\r\naccept: */*\r\n{OURS}"));
    }

    #[test]
    fn hearsay_passes_from_trusted_peers_only() {
        let fields = [("host", "a"), ("x-real-ip", "1.2.3.4"), ("forwarded", "for=1.2.3.4")];
        assert!(!encoded(&fields, false).contains("1.2.3.4"));
        assert_eq!(encoded(&fields, true).matches("1.2.3.4").count(), 2);
    }

    #[test]
    fn te_is_reduced_to_trailers() {
        let sent = encoded(&[("host", "a"), ("te", "gzip, Trailers")], false);
        assert!(sent.ends_with("connection: te\r\nte: trailers\r\n\r\n"), "{sent}");
        assert!(!encoded(&[("host", "a"), ("te", "gzip")], false).contains("te:"));
    }
}
