//! The request's body, read before anything of the app is taken: all of it if it is small, the beginning of it if not.
//!
//! Invariant: what was read is handed on first, byte for byte, before anything that comes later.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::message::local_reply::LocalReply;
use crate::upstream::budget::{Budget, Lease};
use crate::upstream::fault::{UploadFault, UpstreamFault};
use crate::upstream::outgoing::Upload;

use super::ask::within_total;
use super::exchange::Exchange;
use super::upload::UploadBody;

/// A request's body: what was read of it, and what is still to come.
#[derive(Debug)]
pub struct RequestBody {
    ahead: Ahead,
    rest: Option<UploadBody>,
}

/// What was read.
#[derive(Debug, Default)]
struct Ahead {
    /// As it came, which for most is all there is.
    first: Option<Bytes>,
    more: BytesMut,
    trailers: Option<HeaderMap>,
    /// For what more than one read brought; the first is in the connection's own buffer anyway.
    lease: Option<Lease>,
}

impl Ahead {
    fn len(&self) -> usize {
        self.first.as_ref().map_or(0, Bytes::len) + self.more.len()
    }

    /// False if there is no memory for it.
    fn push(&mut self, data: Bytes, memory: &Arc<Budget>) -> bool {
        if self.first.is_none() {
            self.first = Some(data);
            return true;
        }
        let before = if self.lease.is_none() { self.len() } else { 0 };
        let lease = self.lease.get_or_insert_with(|| memory.lease());
        let fits = lease.grow((before + data.len()) as u64);
        self.more.extend_from_slice(&data);
        fits
    }
}

/// Reads up to `up_to` bytes of a body; what was announced to be larger is streamed behind them.
pub async fn collect(
    mut rest: UploadBody,
    up_to: usize,
    memory: &Arc<Budget>,
    exchange: &Exchange,
) -> Result<Upload<RequestBody>, Uncollected> {
    let announced = rest.size_hint().exact();
    let mut ahead = Ahead::default();
    while ahead.len() < up_to && !rest.is_end_stream() {
        let next = |cx: &mut Context<'_>| within_total(exchange, cx, |cx| poll_next(&mut rest, cx));
        match poll_fn(next).await.map_err(Uncollected::Fault)? {
            None => return Ok(whole(ahead)),
            Some(frame) => match frame.into_data() {
                Ok(data) => {
                    if !ahead.push(data, memory) {
                        return Err(Uncollected::NoMemory);
                    }
                }
                Err(frame) => ahead.trailers = frame.into_trailers().ok(),
            },
        }
    }
    if rest.is_end_stream() {
        return Ok(whole(ahead));
    }
    let body = RequestBody { ahead, rest: Some(rest) };
    Ok(if announced.is_some() { Upload::Length(body) } else { Upload::Chunked(body) })
}

/// Why a body was not read.
#[derive(Debug)]
pub enum Uncollected {
    /// The client, or time.
    Fault(UpstreamFault),
    /// `buffer_total` is used up.
    NoMemory,
}

impl Uncollected {
    /// What the client is told; `None` if it is gone.
    pub fn reply(&self, busy: LocalReply) -> Option<LocalReply> {
        match self {
            Uncollected::Fault(fault) => fault.reply(),
            Uncollected::NoMemory => Some(busy),
        }
    }
}

impl std::fmt::Display for Uncollected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Uncollected::Fault(fault) => fault.fmt(f),
            Uncollected::NoMemory => f.write_str("`buffer_total` is used up"),
        }
    }
}

fn poll_next(
    body: &mut UploadBody,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Frame<Bytes>>, UpstreamFault>> {
    let next = ready!(Pin::new(body).poll_frame(cx));
    Poll::Ready(next.transpose().map_err(UpstreamFault::Upload))
}

/// Trailers need a chunked body; without them its length is known now.
fn whole(ahead: Ahead) -> Upload<RequestBody> {
    let has_trailers = ahead.trailers.as_ref().is_some_and(|trailers| !trailers.is_empty());
    let body = RequestBody { ahead, rest: None };
    if has_trailers { Upload::Chunked(body) } else { Upload::Length(body) }
}

impl RequestBody {
    /// A body of which nothing was read.
    pub fn streamed(rest: UploadBody) -> RequestBody {
        RequestBody { ahead: Ahead::default(), rest: Some(rest) }
    }

    /// Whether all of it is here.
    pub fn is_whole(&self) -> bool {
        self.rest.is_none()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        let RequestBody { ahead, rest } = self.get_mut();
        if let Some(first) = ahead.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if !ahead.more.is_empty() {
            // The memory goes on to the socket; what it holds there is the kernel's.
            ahead.lease = None;
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut ahead.more).freeze()))));
        }
        match rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(ahead.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.len() as u64;
        match &self.rest {
            None => SizeHint::with_exact(ahead),
            Some(rest) => {
                let rest = rest.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(ahead + rest.lower());
                if let Some(upper) = rest.upper() {
                    hint.set_upper(ahead + upper);
                }
                hint
            }
        }
    }
}
