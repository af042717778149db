//! Why an exchange with the app failed, and what a client may be told of it.

use std::fmt;
use std::io;

use crate::message::local_reply::{BadRequest, LocalReply, RetryAfter};

/// Why a request body could not be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadFault {
    /// More than the route allows.
    TooLarge,
    /// Nothing came for too long.
    TooSlow,
    /// The chunked coding is broken.
    Malformed,
    /// The client went away.
    DownstreamLeft,
    /// It was spilled, and cannot be read back.
    Lost,
}

/// Why an exchange with the app failed.
#[derive(Debug)]
pub enum UpstreamFault {
    /// No connection.
    Connect(io::Error),
    /// No connection in time.
    ConnectTimeout,
    /// The connection ended before a byte of the answer.
    Died(io::Error),
    /// The connection ended inside the answer.
    Cut(io::Error),
    /// The answer is malformed.
    Malformed(&'static str),
    /// No response head in time.
    Timeout,
    /// The whole exchange took longer than its route allows.
    RouteTimeout,
    /// What was spilled of the answer cannot be read back.
    Spill(io::Error),
    /// It was the client's body.
    Upload(UploadFault),
}

impl UpstreamFault {
    /// What the client is told; `None` if it is gone.
    pub fn reply(&self) -> Option<LocalReply> {
        Some(match self {
            UpstreamFault::Connect(_) | UpstreamFault::Died(_) => LocalReply::UpstreamUnavailable,
            UpstreamFault::Cut(_) | UpstreamFault::Malformed(_) => LocalReply::BadUpstreamResponse,
            UpstreamFault::ConnectTimeout | UpstreamFault::Timeout | UpstreamFault::RouteTimeout => {
                LocalReply::UpstreamTimeout
            }
            UpstreamFault::Spill(_) | UpstreamFault::Upload(UploadFault::Lost) => {
                LocalReply::Overloaded(RetryAfter { seconds: 1 })
            }
            UpstreamFault::Upload(UploadFault::TooLarge) => LocalReply::PayloadTooLarge,
            UpstreamFault::Upload(UploadFault::TooSlow) => LocalReply::RequestTimeout,
            UpstreamFault::Upload(UploadFault::Malformed) => LocalReply::BadRequest(BadRequest::Chunk),
            UpstreamFault::Upload(UploadFault::DownstreamLeft) => return None,
        })
    }
}

impl fmt::Display for UpstreamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpstreamFault::Connect(error) => write!(f, "connect: {error}"),
            UpstreamFault::ConnectTimeout => f.write_str("connect timeout"),
            UpstreamFault::Died(error) => write!(f, "connection lost before the answer: {error}"),
            UpstreamFault::Cut(error) => write!(f, "connection lost inside the answer: {error}"),
            UpstreamFault::Malformed(what) => write!(f, "malformed answer: {what}"),
            UpstreamFault::Timeout => f.write_str("no response head in time"),
            UpstreamFault::RouteTimeout => f.write_str("route timeout"),
            UpstreamFault::Spill(error) => write!(f, "spilled answer lost: {error}"),
            UpstreamFault::Upload(UploadFault::Lost) => f.write_str("spilled request body lost"),
            UpstreamFault::Upload(UploadFault::TooLarge) => f.write_str("request body too large"),
            UpstreamFault::Upload(UploadFault::TooSlow) => f.write_str("request body too slow"),
            UpstreamFault::Upload(UploadFault::Malformed) => f.write_str("malformed chunked request body"),
            UpstreamFault::Upload(UploadFault::DownstreamLeft) => f.write_str("client left"),
        }
    }
}

impl std::error::Error for UpstreamFault {}
