//! The body of a response, with its exchange inside: the record waits for the last byte.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::upstream::fault::UpstreamFault;

use super::ahead::Ahead;
use super::exchange::Exchange;

/// Hyper writes when a body pauses. Pausing after so many bytes keeps one write about as large as one read.
const WRITE_AFTER: usize = 16 * 1024;

/// What hyper sends.
#[derive(Debug)]
pub struct Body {
    content: Content,
    exchange: Option<Box<Exchange>>,
    handed_over: usize,
}

#[derive(Debug)]
enum Content {
    Local(Option<Bytes>),
    /// The wire has it.
    Upstream,
}

impl Body {
    /// Nothing, and no exchange: a tunnel has it.
    pub fn none() -> Body {
        Body { content: Content::Local(None), exchange: None, handed_over: 0 }
    }

    /// A reply of our own.
    pub fn local(bytes: Bytes, exchange: Box<Exchange>) -> Body {
        Body { content: Content::Local(Some(bytes)), exchange: Some(exchange), handed_over: 0 }
    }

    /// The app's answer, which the exchange's wire carries.
    pub fn upstream(exchange: Box<Exchange>) -> Body {
        Body { content: Content::Upstream, exchange: Some(exchange), handed_over: 0 }
    }

    /// The app's answer as it stands, if this body has one.
    fn of_answer<T>(&self, look: impl FnOnce(&Ahead) -> T) -> Option<T> {
        let wire = &self.exchange.as_ref()?.conn.wire;
        wire.answer().as_ref().map(look)
    }

    fn poll_answer(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamFault>>> {
        let Some(exchange) = &self.exchange else { return Poll::Ready(None) };
        match &mut *exchange.conn.wire.answer_mut() {
            Some(answer) => answer.poll_frame(cx, &exchange.conn.worker),
            None => Poll::Ready(None),
        }
    }

    fn route_timeout_passed(&self, cx: &Context<'_>) -> bool {
        let total = self.exchange.as_ref().and_then(|exchange| exchange.total.as_ref());
        total.is_some_and(|total| total.poll(cx).is_ready())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = UpstreamFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamFault>>> {
        let this = self.get_mut();
        let overdue = this.route_timeout_passed(cx);
        let frame = match &mut this.content {
            Content::Local(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Upstream if overdue => Poll::Ready(Some(Err(UpstreamFault::RouteTimeout))),
            Content::Upstream if this.handed_over >= WRITE_AFTER => {
                this.handed_over = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Content::Upstream => this.poll_answer(cx),
        };
        this.handed_over = match &frame {
            Poll::Ready(Some(Ok(frame))) => this.handed_over + frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        if let (Poll::Ready(Some(Err(fault))), Some(exchange)) = (&frame, &mut this.exchange) {
            exchange.cut_because(fault);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Local(bytes) => bytes.is_none(),
            Content::Upstream => self.of_answer(Ahead::is_over).unwrap_or(true),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Local(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Content::Upstream => self.of_answer(Ahead::size_hint).unwrap_or_default(),
        }
    }
}

impl Drop for Body {
    /// Hyper drops a body when it has all of it, or when the client has left.
    fn drop(&mut self) {
        // Of an answer to HEAD it needs only the head, which knows the length.
        let over = http_body::Body::is_end_stream(self)
            || self.exchange.as_ref().is_some_and(|exchange| exchange.request.method == http::Method::HEAD);
        let Some(exchange) = self.exchange.take() else { return };
        let answer = match self.content {
            Content::Local(_) => None,
            Content::Upstream => exchange.conn.wire.take_answer(),
        };
        match answer {
            _ if over => exchange.end_when_flushed(),
            Some(answer) => exchange.leave_behind(answer.into_answer()),
            None => {}
        }
    }
}
