//! The record of one exchange: plain data, borrowed from the exchange that ends.

use std::net::IpAddr;

use http::header::{HeaderName, HeaderValue};

use crate::message::local_reply::{Fault, LocalReply};

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The last byte of the app's answer was sent.
    Complete,
    /// The client went away first.
    DownstreamLeft,
    /// The app's answer broke off after its head.
    UpstreamReset,
    /// tollgate answered itself, or cut the app's answer for this reason.
    Local(LocalReply),
    /// The process ended before it did.
    CutOff,
    /// A defect of ours ended it.
    Panicked,
}

impl Outcome {
    /// As it stands in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Complete => "complete",
            Outcome::DownstreamLeft => "downstream_left",
            Outcome::UpstreamReset => "upstream_reset",
            Outcome::Local(reply) => reply.row().code,
            Outcome::CutOff => "cut_off",
            Outcome::Panicked => "internal_error",
        }
    }

    /// Whose fault it was, if anybody's.
    pub fn fault(self) -> Option<Fault> {
        match self {
            Outcome::Complete => None,
            Outcome::DownstreamLeft => Some(Fault::Downstream),
            Outcome::UpstreamReset => Some(Fault::Upstream),
            Outcome::Local(reply) => Some(reply.row().fault),
            Outcome::CutOff | Outcome::Panicked => Some(Fault::Tollgate),
        }
    }
}

/// One exchange, told.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// When the head was understood, in nanoseconds since 1970.
    pub unix_nanos: u64,
    /// The id the app and the client have seen.
    pub request_id: &'a str,
    /// Behind trusted proxies; `None` for a Unix peer without one.
    pub client_addr: Option<IpAddr>,
    /// As identity names it.
    pub user: Option<&'a [u8]>,
    /// The user's.
    pub tier: Option<&'a str>,
    /// As received.
    pub method: &'a [u8],
    /// As received, without the query.
    pub path: &'a [u8],
    /// Only if the configuration asks for it.
    pub query: Option<&'a [u8]>,
    /// The route's name.
    pub route: Option<&'a str>,
    /// The limit that refused.
    pub limit: Option<&'a str>,
    /// The limit in shadow mode that would have refused.
    pub shadow_limit: Option<&'a str>,
    /// As sent; 499 if the client left before there was one, 500 if tollgate itself ended before.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// The version of TLS, if it came over it.
    pub tls: Option<&'static str>,
    /// Bytes on the wire, head included.
    pub bytes_in: u64,
    /// Bytes on the wire, head included.
    pub bytes_out: u64,
    /// From the head to the last byte.
    pub duration_nanos: u64,
    /// Of a new upstream connection; `None` for a pooled one.
    pub connect_nanos: Option<u64>,
    /// From the request's first byte upstream to the response head.
    pub response_head_nanos: Option<u64>,
    /// Of a request that waited for a slot of the app: for how long.
    pub queue_nanos: Option<u64>,
    /// The app's address, if it was asked.
    pub upstream: Option<&'a str>,
    /// The canary was asked.
    pub canary: bool,
    /// `User-Agent`
    pub user_agent: Option<&'a HeaderValue>,
    /// `traceparent`
    pub traceparent: Option<&'a HeaderValue>,
    /// `X-Amzn-Trace-Id`
    pub amzn_trace_id: Option<&'a HeaderValue>,
    /// The fields the configuration names, as far as they were sent.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// What lies behind a local reply or a cut answer; for operators, never for clients.
    pub cause: Option<&'a str>,
}
