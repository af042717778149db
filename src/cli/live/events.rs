//! The stream of states that the admin listener sends, one a second, as server-sent events.

use std::time::Duration;

use http::{HeaderValue, Method, header};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::admin::status::Status;

use super::client::next;
use super::{Admin, Failure};

/// Several events are missing by then.
const SILENCE: Duration = Duration::from_secs(6);
/// Far more than the largest status.
const MAX_EVENT: usize = 16 << 20;

/// An open stream.
pub(in crate::cli) struct Events {
    admin: Admin,
    body: Incoming,
    parser: Parser,
}

impl Events {
    /// Asks for the stream.
    pub(in crate::cli) async fn open(admin: &Admin) -> Result<Events, Failure> {
        let mut response = admin.open(&Method::GET, "/events", None).await?;
        if response.status().is_success() {
            let media_type = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
            if !media_type.is_some_and(|media_type| media_type.starts_with(b"text/event-stream")) {
                return Err(admin.is_something_else());
            }
            return Ok(Events {
                admin: admin.clone(),
                body: response.into_body(),
                parser: Parser::default(),
            });
        }
        let status = response.status();
        let mut told = Vec::new();
        while let Some(Ok(bytes)) = next(response.body_mut()).await {
            told.extend_from_slice(&bytes);
            if told.len() > MAX_EVENT {
                break;
            }
        }
        Err(admin.refused(status, &told))
    }

    /// Waits for the next state.
    pub(in crate::cli) async fn next(&mut self) -> Result<Status, Failure> {
        loop {
            if let Some(data) = self.parser.next() {
                return serde_json::from_slice(&data).map_err(|_| self.admin.is_something_else());
            }
            let place = &self.admin.place;
            let came = timeout(SILENCE, next(&mut self.body)).await;
            match came.map_err(|_| Failure::new(format!("`{place}` went silent"), ""))? {
                Some(Ok(bytes)) => self.parser.push(&bytes),
                Some(Err(_)) | None => {
                    return Err(Failure::new(format!("`{place}` ended the connection"), ""));
                }
            }
            if self.parser.rest.len() > MAX_EVENT {
                return Err(self.admin.is_something_else());
            }
        }
    }
}

/// Takes a stream apart into the data of its `status` events.
#[derive(Debug, Default)]
struct Parser {
    rest: Vec<u8>,
    /// Where the line begins that is not complete.
    begun: usize,
}

impl Parser {
    fn push(&mut self, bytes: &[u8]) {
        // Carriage returns stand before line ends and nowhere in JSON.
        self.rest.extend(bytes.iter().filter(|byte| **byte != b'\r'));
    }

    /// The data of the next complete `status` event.
    fn next(&mut self) -> Option<Vec<u8>> {
        while let Some(end) = self.rest[self.begun..].windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = self.rest.drain(..self.begun + end + 2).collect();
            self.begun = 0;
            let (mut name, mut data) = (&b"message"[..], Vec::new());
            for line in event.split(|byte| *byte == b'\n') {
                if let Some(value) = line.strip_prefix(b"event:") {
                    name = value.trim_ascii();
                } else if let Some(value) = line.strip_prefix(b"data:") {
                    data.extend_from_slice(value);
                    data.push(b'\n');
                }
            }
            if name == b"status" && !data.is_empty() {
                return Some(data);
            }
        }
        self.begun = self.rest.len().saturating_sub(1);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_the_stream_is_cut() {
        let stream =
            b": hello\n\nevent: other\ndata: 0\n\nevent: status\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n\
                       event: status\ndata: 2\n\nevent: status\ndata: 3\n";
        for size in 1..stream.len() {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                parser.push(piece);
                while let Some(data) = parser.next() {
                    found.push(String::from_utf8(data).unwrap());
                }
            }
            assert_eq!(found, [" {\"a\":\n 1}\n", " 2\n"], "in pieces of {size}");
        }
    }
}
