//! The body of a response, with its exchange inside: the record waits for the last byte.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::upstream::answer::Answer;
use crate::upstream::fault::UpstreamFault;

use super::exchange::Exchange;
use super::upload::UploadBody;

/// What hyper sends.
#[derive(Debug)]
pub struct Body {
    content: Content,
    exchange: Option<Box<Exchange>>,
}

#[derive(Debug)]
enum Content {
    Local(Option<Bytes>),
    Upstream(Box<Answer<UploadBody>>),
}

impl Body {
    /// Nothing, and no exchange: a tunnel has it.
    pub fn none() -> Body {
        Body { content: Content::Local(None), exchange: None }
    }

    /// A reply of our own.
    pub fn local(bytes: Bytes, exchange: Box<Exchange>) -> Body {
        Body { content: Content::Local(Some(bytes)), exchange: Some(exchange) }
    }

    /// The app's answer.
    pub fn upstream(answer: Box<Answer<UploadBody>>, exchange: Box<Exchange>) -> Body {
        Body { content: Content::Upstream(answer), exchange: Some(exchange) }
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
        let frame = match &mut this.content {
            Content::Local(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Upstream(answer) => answer.poll_frame(cx),
        };
        let frame = match frame {
            Poll::Pending if this.route_timeout_passed(cx) => {
                Poll::Ready(Some(Err(UpstreamFault::RouteTimeout)))
            }
            frame => frame,
        };
        if let (Poll::Ready(Some(Err(fault))), Some(exchange)) = (&frame, &mut this.exchange) {
            exchange.cut_because(fault);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Local(bytes) => bytes.is_none(),
            Content::Upstream(answer) => answer.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Local(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Content::Upstream(answer) => answer.size_hint(),
        }
    }
}

impl Drop for Body {
    /// Hyper drops a body when it has all of it, or when the client has left.
    fn drop(&mut self) {
        let over = http_body::Body::is_end_stream(self)
            || self.exchange.as_ref().is_some_and(|exchange| exchange.request.method == http::Method::HEAD);
        if let Some(exchange) = self.exchange.take()
            && over
        {
            exchange.end_when_flushed();
        }
    }
}
