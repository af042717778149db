//! One look at the app: a connection, or a request of which only the head of the answer is read.
//!
//! Invariant: it ends within its time, reads no more than a head may have, and leaves no connection behind.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::condition::{Ask, Finding};
use super::connect::Destination;
use super::response_head::{AnswerScan, Asked};
use super::signs::is_refusal;
use crate::clock::Clock;

/// What a probe asks, and when it is content.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) ask: Ask,
    /// The configuration's, if it has one.
    pub(super) path: Option<String>,
    pub(super) expect: Vec<(u16, u16)>,
    pub(super) timeout: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) found: Finding,
    /// Until there was a connection, nanoseconds.
    pub(super) connect_nanos: Option<u64>,
}

impl Question {
    /// Asks.
    pub(super) async fn put(&self, destination: &Destination, clock: &Clock) -> Answer {
        let mut connect_nanos = None;
        let asked = tokio::time::timeout(self.timeout, async {
            let begun = clock.now();
            let mut socket = match destination.connect().await {
                Ok(socket) => socket,
                Err(error) if is_refusal(&error) => return Finding::Refused,
                // This process has no descriptors left, or the like: it shows nothing good of the app, and nothing final.
                Err(_) => return Finding::Broken,
            };
            connect_nanos = Some(clock.now().nanos_since(begun));
            if self.ask == Ask::Connect {
                return Finding::Good;
            }
            match self.converse(&mut socket, &destination.label).await {
                Ok(status) if self.is_expected(status) => Finding::Good,
                Ok(status) => Finding::Status(status),
                Err(_) => Finding::Broken,
            }
        })
        .await;
        Answer { found: asked.unwrap_or(Finding::TimedOut), connect_nanos }
    }

    fn is_expected(&self, status: u16) -> bool {
        self.ask == Ask::Anything || self.expect.iter().any(|(from, to)| (*from..=*to).contains(&status))
    }

    fn head(&self, label: &str) -> String {
        let (method, path) = match (self.ask, &self.path) {
            (Ask::Path, Some(path)) => ("GET", path.as_str()),
            _ => ("OPTIONS", "/"),
        };
        // The path of a socket is no name of a host.
        let host = if label.starts_with("unix:") { "localhost" } else { label };
        let version = env!("CARGO_PKG_VERSION");
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tollgate-health/{version}\r\n\
             Accept: */*\r\nConnection: close\r\n\r\n"
        )
    }

    async fn converse(&self, socket: &mut crate::socket::Socket, label: &str) -> io::Result<u16> {
        socket.write_all(self.head(label).as_bytes()).await?;
        socket.flush().await?;
        let (mut scan, mut inbox) = (AnswerScan::default(), BytesMut::with_capacity(1024));
        let asked = Asked { head: false, upgrade: false };
        loop {
            if socket.read_buf(&mut inbox).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match scan.take(&mut inbox, asked) {
                Ok(Some(head)) => return Ok(head.status.as_u16()),
                Ok(None) => {}
                Err(fault) => return Err(io::Error::other(fault.to_string())),
            }
        }
    }
}
