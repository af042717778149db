//! An operator: asks the admin listener, one connection a request, and reads answers strictly.

use std::io::Write;

use serde_json::Value;

use super::socket::Socket;
use super::wire::{Framing, Headers, Wire, parse_head};

/// Whoever asks.
#[derive(Debug, Clone)]
pub struct Operator {
    address: String,
    token: Option<String>,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Told {
    /// The status code.
    pub status: u16,
    /// The fields.
    pub headers: Headers,
    /// The body.
    pub text: String,
}

impl Told {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:#?}"))
    }

    /// Panics unless this is a failure with this status and code.
    #[track_caller]
    pub fn assert_failed(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:#?}");
        let body = self.json();
        assert_eq!(body["error"], code, "{body}");
        assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    }
}

impl Operator {
    /// At this address, without a token.
    pub fn at(address: &str) -> Operator {
        Operator { address: address.to_owned(), token: None }
    }

    /// Shows this token.
    pub fn with_token(&self, token: &str) -> Operator {
        Operator { token: Some(token.to_owned()), ..self.clone() }
    }

    /// `host:port` or `unix:/path`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A `GET`.
    #[track_caller]
    pub fn get(&self, path: &str) -> Told {
        self.send("GET", path, "", "")
    }

    /// The state of the process.
    #[track_caller]
    pub fn status(&self) -> Value {
        let told = self.get("/status");
        assert_eq!(told.status, 200, "{told:#?}");
        told.json()
    }

    /// A `POST` of JSON.
    #[track_caller]
    pub fn post(&self, path: &str, body: &str) -> Told {
        self.send("POST", path, "Content-Type: application/json\r\n", body)
    }

    /// A `DELETE` with JSON.
    #[track_caller]
    pub fn delete(&self, path: &str, body: &str) -> Told {
        self.send("DELETE", path, "Content-Type: application/json\r\n", body)
    }

    /// With these further fields.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, fields: &str, body: &str) -> Told {
        let host = if self.address.starts_with("unix:") { "localhost" } else { &self.address };
        self.send_to_host(method, path, &format!("Host: {host}\r\n{fields}"), body)
    }

    /// With these fields, `Host` among them.
    #[track_caller]
    pub fn send_to_host(&self, method: &str, path: &str, fields: &str, body: &str) -> Told {
        let mut wire = self.open(method, path, fields, body);
        let raw =
            wire.head().unwrap_or_else(|ending| panic!("{method} {path}: the connection was {ending:?}"));
        let (line, headers) = parse_head(&raw);
        let status: u16 = line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
        let framing = match headers.get("content-length") {
            _ if method == "HEAD" => Framing::Empty,
            Some(length) => Framing::Length(length.parse().unwrap()),
            None => Framing::Chunked,
        };
        let body = wire.body(framing);
        assert_eq!(body.cut, None, "the answer was cut");
        Told { status, headers, text: String::from_utf8(body.bytes).expect("text") }
    }

    /// Sends a request and leaves its answer to be read.
    pub fn open(&self, method: &str, path: &str, fields: &str, body: &str) -> Wire {
        let mut socket = Socket::connect(&self.address)
            .unwrap_or_else(|error| panic!("cannot connect to {}: {error}", self.address));
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let token = token.unwrap_or_default();
        let request = format!("{method} {path} HTTP/1.1\r\n{fields}{token}{length}\r\n{body}");
        socket.write_all(request.as_bytes()).unwrap();
        Wire::new(socket)
    }
}
