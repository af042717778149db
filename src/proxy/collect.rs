//! The request's body, read before anything of the app is taken: all of it if it is small, the beginning of it if not.
//!
//! Invariant: what was read is handed on first, byte for byte, before anything that comes later.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::message::local_reply::LocalReply;
use crate::upstream::budget::{Budget, Lease};
use crate::upstream::fault::{UploadFault, UpstreamFault};
use crate::upstream::outgoing::Upload;
use crate::upstream::spill::Spill;

use super::ask::within_total;
use super::connection::Connection;
use super::exchange::Exchange;
use super::spilled_upload::SpilledBody;
use super::upload::UploadBody;

/// A request's body: what was read of it, and what is still to come. Behind a pointer, since most requests have none and
/// are moved all the same.
#[derive(Debug)]
pub struct RequestBody(Box<Parts>);

#[derive(Debug)]
struct Parts {
    ahead: Ahead,
    rest: Rest,
}

/// What comes behind what was read.
#[derive(Debug)]
enum Rest {
    /// Nothing.
    None,
    /// What the client is still sending.
    Streamed(UploadBody),
    /// What is in a file.
    Spilled(Box<SpilledBody>),
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

/// Reads a body up to `buffer_request`. What is larger goes to a file where the route says so, else it is streamed behind
/// what was read.
pub async fn collect(
    mut rest: UploadBody,
    conn: &Connection,
    exchange: &Exchange,
) -> Result<Upload<RequestBody>, Uncollected> {
    let snapshot = &exchange.snapshot;
    let up_to = snapshot.model.upstream.buffers.request;
    let announced = rest.size_hint().exact();
    let mut ahead = Ahead::default();
    while ahead.len() < up_to && !rest.is_end_stream() {
        let next = |cx: &mut Context<'_>| within_total(exchange, cx, |cx| poll_next(&mut rest, cx));
        match poll_fn(next).await.map_err(Uncollected::Fault)? {
            None => return Ok(whole(ahead)),
            Some(frame) => match frame.into_data() {
                Ok(data) => {
                    if !ahead.push(data, &conn.worker.buffers) {
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
    let spills = exchange.handling().is_some_and(|handling| handling.spill.requests);
    if let Some(spill) = snapshot.spill.as_ref().filter(|_| spills) {
        let spilled = spill_rest(rest, spill, conn, exchange).await.map_err(Uncollected::Fault)?;
        let has_trailers = spilled.has_trailers();
        let body = RequestBody::new(ahead, Rest::Spilled(Box::new(spilled)));
        return Ok(if has_trailers { Upload::Chunked(body) } else { Upload::Length(body) });
    }
    let body = RequestBody::new(ahead, Rest::Streamed(rest));
    Ok(if announced.is_some() { Upload::Length(body) } else { Upload::Chunked(body) })
}

async fn spill_rest(
    mut rest: UploadBody,
    spill: &Arc<Spill>,
    conn: &Connection,
    exchange: &Exchange,
) -> Result<SpilledBody, UpstreamFault> {
    let mut taking = pin!(SpilledBody::take([], &mut rest, spill, &conn.worker.clock));
    poll_fn(|cx| {
        within_total(exchange, cx, |cx| {
            taking.as_mut().poll(cx).map(|taken| taken.map_err(UpstreamFault::Upload))
        })
    })
    .await
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
    let body = RequestBody::new(ahead, Rest::None);
    if has_trailers { Upload::Chunked(body) } else { Upload::Length(body) }
}

impl RequestBody {
    fn new(ahead: Ahead, rest: Rest) -> RequestBody {
        RequestBody(Box::new(Parts { ahead, rest }))
    }

    /// A body of which nothing was read.
    pub fn streamed(rest: UploadBody) -> RequestBody {
        RequestBody::new(Ahead::default(), Rest::Streamed(rest))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        let Parts { ahead, rest } = &mut *self.get_mut().0;
        if let Some(first) = ahead.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if !ahead.more.is_empty() {
            // The memory goes on to the socket; what it holds there is the kernel's.
            ahead.lease = None;
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut ahead.more).freeze()))));
        }
        match rest {
            Rest::Streamed(rest) => Pin::new(rest).poll_frame(cx),
            Rest::Spilled(rest) => Pin::new(&mut **rest).poll_frame(cx),
            Rest::None => Poll::Ready(ahead.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.0.ahead.len() as u64;
        let rest = match &self.0.rest {
            Rest::None => SizeHint::with_exact(0),
            Rest::Streamed(rest) => rest.size_hint(),
            Rest::Spilled(rest) => rest.size_hint(),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(ahead + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(ahead + upper);
        }
        hint
    }
}
