//! A client that sends raw bytes and reads answers strictly.
//!
//! Every answer it parses is checked: no field may be there that neither HTTP nor the test's app
//! put there, no hop-by-hop field may pass, and `X-Request-Id` must be present.

use std::net::Shutdown;

use super::socket::Socket;
use super::wire::{Body, Ending, Framing, Headers, Wire, parse_head};

/// Fields any answer may have.
const STANDARD: [&str; 19] = [
    "age",
    "allow",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "last-modified",
    "location",
    "retry-after",
    "server",
    "trailer",
    "transfer-encoding",
    "vary",
    "via",
    "x-request-id",
];

/// An answer's head.
#[derive(Debug, Clone)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// `HTTP/1.1`
    pub version: String,
    /// The fields.
    pub headers: Headers,
}

impl Head {
    /// How the body's length is told, for an answer to `method`.
    pub fn framing(&self, method: &str) -> Framing {
        if method == "HEAD" || self.status < 200 || matches!(self.status, 204 | 304) {
            return Framing::Empty;
        }
        let length = self.headers.get("content-length");
        if let Some(coding) = self.headers.get("transfer-encoding") {
            assert_eq!(coding, "chunked");
            assert_eq!(length, None, "two framings in {self:#?}");
            assert_eq!(self.version, "HTTP/1.1", "chunks for a client that knows none");
            return Framing::Chunked;
        }
        length.map_or(Framing::UntilClose, |length| Framing::Length(length.parse().unwrap()))
    }

    /// Whether tollgate says that it closes the connection after this answer.
    pub fn closes(&self) -> bool {
        self.headers.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status and fields.
    pub head: Head,
    /// The body, as far as it came.
    pub body: Body,
}

impl Response {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The only value of a field.
    pub fn header(&self, name: &str) -> Option<String> {
        self.head.headers.get(name)
    }

    /// The body as text. A cut body is a panic.
    pub fn text(&self) -> String {
        assert_eq!(self.body.cut, None, "the body was cut: {self:#?}");
        String::from_utf8(self.body.bytes.clone()).expect("text")
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text()).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// Panics unless this is the local reply with this status and code, complete in every part.
    #[track_caller]
    pub fn assert_local(&self, status: u16, code: &str) {
        assert_eq!(self.status(), status, "{self:#?}");
        assert_eq!(self.header("content-type").as_deref(), Some("application/json"));
        let body = self.json();
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["error"], code, "{body}");
        assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id").as_deref(), "{body}");
    }
}

/// One connection to tollgate.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    allowed: Vec<String>,
    id_field: String,
}

impl Client {
    /// Connects to `host:port` or `unix:/path`.
    pub fn connect(address: &str) -> Client {
        let socket =
            Socket::connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        Client::over(socket)
    }

    /// Over a socket already connected.
    pub fn over(socket: Socket) -> Client {
        let id_field = "x-request-id".to_owned();
        Client { wire: Wire::new(socket), allowed: Vec::new(), id_field }
    }

    /// Fields the test's app sets, besides the standard ones.
    pub fn allow(mut self, names: &[&str]) -> Client {
        self.allowed.extend(names.iter().map(|name| name.to_ascii_lowercase()));
        self
    }

    /// The field the request id is in, where it is configured.
    pub fn id_field(mut self, name: &str) -> Client {
        self.id_field = name.to_ascii_lowercase();
        self
    }

    /// Sends bytes; a connection closed meanwhile is a panic.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.wire.send(bytes.as_ref());
        self
    }

    /// Sends each piece in its own write.
    pub fn send_pieces(&mut self, pieces: &[&[u8]]) -> &mut Client {
        for piece in pieces {
            self.wire.send(piece);
        }
        self
    }

    /// Sends as much as the peer takes.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.wire.try_send(bytes.as_ref())
    }

    /// The next answer's head.
    #[track_caller]
    pub fn head(&mut self) -> Head {
        let raw = self.wire.head().unwrap_or_else(|ending| {
            let got = String::from_utf8_lossy(self.wire.unread()).into_owned();
            panic!("instead of an answer the connection was {ending:?}, after {got:?}")
        });
        let (line, headers) = parse_head(&raw);
        let version = line.split(' ').next().unwrap_or_default().to_owned();
        assert!(matches!(version.as_str(), "HTTP/1.1" | "HTTP/1.0"), "not a status line: {line:?}");
        let code = line.split(' ').nth(1).unwrap_or_default();
        assert_eq!(code.len(), 3, "not a status line: {line:?}");
        let head = Head { status: code.parse().unwrap(), version, headers };
        self.check(&head);
        head
    }

    #[track_caller]
    fn check(&self, head: &Head) {
        for (name, value) in &head.headers.0 {
            let known =
                STANDARD.contains(&name.as_str()) || *name == self.id_field || self.allowed.contains(name);
            let switching = head.status == 101 && name == "upgrade";
            assert!(
                known || switching,
                "the field `{name}` was set neither by HTTP nor by the test's app in {head:#?}"
            );
            let value = String::from_utf8_lossy(value).to_ascii_lowercase();
            match name.as_str() {
                "connection" if head.status == 101 => assert_eq!(value, "upgrade"),
                "connection" => assert!(
                    matches!(value.as_str(), "close" | "keep-alive"),
                    "`Connection: {value}` is the app's, not tollgate's"
                ),
                "transfer-encoding" => assert_eq!(value, "chunked"),
                _ => {}
            }
        }
        if head.status >= 200 || head.status == 101 {
            let id = head.headers.get(&self.id_field);
            assert!(id.is_some_and(|id| !id.is_empty()), "no request id in {head:#?}");
        }
    }

    /// The next answer, or `None` when the connection ended before one began.
    #[track_caller]
    pub fn maybe_response(&mut self) -> Option<Response> {
        if self.wire.unread().is_empty() && self.wire.read_more().is_err() {
            return None;
        }
        Some(self.response())
    }

    /// Panics unless the answer is cut: begun and not finished, or never begun.
    #[track_caller]
    pub fn assert_cut(&mut self) -> Option<Response> {
        let response = self.maybe_response();
        let looks_complete = response.as_ref().is_some_and(|response| response.body.cut.is_none());
        assert!(!looks_complete, "a cut answer looks complete: {response:#?}");
        response
    }

    /// The next answer, whole, to a request with this method.
    #[track_caller]
    pub fn response_to(&mut self, method: &str) -> Response {
        let head = self.head();
        let body = self.wire.body(head.framing(method));
        Response { head, body }
    }

    /// The next answer, whole.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    /// Sends a `GET` and returns the answer.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.send(get(target));
        self.response()
    }

    /// Sends a `GET`, and tells whether an answer began.
    pub fn try_get(&mut self, target: &str) -> std::io::Result<()> {
        self.try_send(get(target))?;
        self.wire.read_more().map_err(|ending| std::io::Error::other(format!("{ending:?}")))
    }

    /// Sends a request without a body and returns the answer.
    #[track_caller]
    pub fn request(&mut self, method: &str, target: &str, fields: &str) -> Response {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n"));
        self.response_to(method)
    }

    /// The body that belongs to a head.
    pub fn body(&mut self, head: &Head, method: &str) -> Body {
        self.wire.body(head.framing(method))
    }

    /// The raw bytes.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// How tollgate ended the connection; a panic if bytes come before.
    #[track_caller]
    pub fn end(&mut self) -> Ending {
        self.wire.end()
    }

    /// Ends our direction, still able to read.
    pub fn finish_sending(&self) {
        self.wire.socket().shutdown(Shutdown::Write);
    }

    /// Closes with a reset.
    pub fn reset(self) {
        self.wire.into_socket().reset();
    }
}

/// A plain `GET`.
pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n")
}

/// A `POST` with a body of known length.
pub fn post(target: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {target} HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
