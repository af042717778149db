//! The requests of a scenario, written out once before it starts, one for each key.

use std::cell::Cell;
use std::rc::Rc;

use crate::plan::{AnswerSize, DISTINCT_KEYS, Exchange};

use super::answer::Expected;

/// What connections send, and what must come back.
#[derive(Clone)]
pub(crate) struct Requests(Rc<Prepared>);

struct Prepared {
    heads: Vec<Vec<u8>>,
    messages: Vec<http::Request<()>>,
    body: Vec<u8>,
    next: Cell<usize>,
    sent: Cell<u64>,
    expected: Expected,
}

impl Requests {
    /// `close` asks for the end of the connection after the answer; `through_proxy` expects a
    /// request id in the answer.
    pub(crate) fn prepare(exchange: Exchange, close: bool, through_proxy: bool) -> Self {
        let heads =
            (0..DISTINCT_KEYS).map(|key| head(exchange, exchange.answer.path(), key, close)).collect();
        let messages = (0..DISTINCT_KEYS).map(|key| message(exchange.answer.path(), key)).collect();
        Self(Rc::new(Prepared {
            heads,
            messages,
            body: vec![b'b'; exchange.request_body_bytes],
            next: Cell::new(0),
            sent: Cell::new(0),
            expected: Expected {
                body_bytes: exchange.answer.bytes(),
                request_id: through_proxy,
                refused: exchange.answer == AnswerSize::Refused,
            },
        }))
    }

    /// The next head: keys take turns.
    pub(crate) fn next_head(&self) -> &[u8] {
        let index = self.0.next.get();
        self.0.next.set((index + 1) % self.0.heads.len());
        self.0.sent.set(self.0.sent.get() + 1);
        &self.0.heads[index]
    }

    /// The same for HTTP/2.
    pub(crate) fn next_message(&self) -> http::Request<()> {
        let index = self.0.next.get();
        self.0.next.set((index + 1) % self.0.messages.len());
        self.0.sent.set(self.0.sent.get() + 1);
        self.0.messages[index].clone()
    }

    /// How many heads were handed out.
    pub(crate) fn sent(&self) -> u64 {
        self.0.sent.get()
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.0.body
    }

    pub(crate) fn expected(&self) -> Expected {
        self.0.expected
    }
}

/// A GET over HTTP/2, as a program that calls an API sends it.
fn message(path: &str, key: usize) -> http::Request<()> {
    let mut request = http::Request::new(());
    *request.uri_mut() = format!("https://api.example.com{path}").parse().unwrap_or_default();
    *request.version_mut() = http::Version::HTTP_2;
    let fields = [
        ("user-agent", "bench/1.0".to_owned()),
        ("accept", "application/json".to_owned()),
        ("accept-encoding", "gzip, deflate".to_owned()),
        ("x-api-key", format!("key-{key:06}-0123456789abcdef")),
    ];
    for (name, value) in fields {
        if let Ok(value) = http::HeaderValue::try_from(value) {
            request.headers_mut().insert(name, value);
        }
    }
    request
}

/// A request as a program that calls an API writes it.
pub(crate) fn head(exchange: Exchange, path: &str, key: usize, close: bool) -> Vec<u8> {
    let mut text = match exchange.request_body_bytes {
        0 => format!("GET {path} HTTP/1.1\r\n"),
        bytes => {
            format!("POST {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {bytes}\r\n")
        }
    };
    text.push_str("Host: api.example.com\r\nUser-Agent: bench/1.0\r\nAccept: application/json\r\n");
    text.push_str("Accept-Encoding: gzip, deflate\r\n");
    text.push_str(&format!("X-API-Key: key-{key:06}-0123456789abcdef\r\n"));
    if close {
        text.push_str("Connection: close\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}
