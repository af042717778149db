//! A request's body as the protocol of its connection brings it.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use crate::upstream::fault::UploadFault;

use super::wire::Wire;

/// A body that is on its way.
#[derive(Debug)]
pub enum Inbound {
    /// There is none.
    Empty,
    /// From hyper, which takes it off the connection.
    Http1(Incoming),
    /// Of a stream of its own.
    Http2(StreamBody),
}

/// What a stream brings behind its head.
#[derive(Debug)]
pub struct StreamBody {
    receive: RecvStream,
    /// What is left of the length that the head announced, if it did.
    announced: Option<u64>,
    data_is_over: bool,
    /// The client waits to be asked for it (RFC 9110 section 10.1.1).
    must_ask: bool,
    /// Where bytes are counted.
    wire: Rc<Wire>,
}

impl Inbound {
    /// Whether nothing comes.
    pub fn is_end_stream(&self) -> bool {
        match self {
            Inbound::Empty => true,
            Inbound::Http1(incoming) => incoming.is_end_stream(),
            Inbound::Http2(body) => body.receive.is_end_stream(),
        }
    }

    /// As [`http_body::Body::size_hint`].
    pub fn size_hint(&self) -> SizeHint {
        match self {
            Inbound::Empty => SizeHint::with_exact(0),
            Inbound::Http1(incoming) => incoming.size_hint(),
            Inbound::Http2(StreamBody { announced, .. }) => {
                announced.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
        }
    }

    /// As [`http_body::Body::poll_frame`].
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        match self {
            Inbound::Empty => Poll::Ready(None),
            Inbound::Http1(incoming) => Pin::new(incoming).poll_frame(cx).map_err(|error| fault_of(&error)),
            Inbound::Http2(body) => body.poll_frame(cx),
        }
    }
}

/// A body whose coding is broken, by our reading of it or, in trailers, by hyper's, or whose client is gone.
fn fault_of(error: &hyper::Error) -> UploadFault {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => UploadFault::Malformed,
        _ => UploadFault::DownstreamLeft,
    }
}

impl StreamBody {
    /// Of a stream whose head announced a length, or none, and whose client may wait to be asked for it.
    pub fn new(receive: RecvStream, announced: Option<u64>, must_ask: bool, wire: &Rc<Wire>) -> StreamBody {
        StreamBody { receive, announced, data_is_over: false, must_ask, wire: Rc::clone(wire) }
    }

    /// A stream that broke its framing was reset by then, so all faults are alike: nobody waits for an answer.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        if !self.data_is_over {
            let data = self.receive.poll_data(cx);
            if data.is_pending() && std::mem::take(&mut self.must_ask) {
                self.wire.ask_for_body();
            }
            match ready!(data) {
                Some(Ok(data)) => {
                    self.wire.add_message_in(data.len());
                    if let Some(left) = &mut self.announced {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    // Taken off the stream, it is bounded by what takes it.
                    let released = self.receive.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(match released {
                        Ok(()) => Ok(Frame::data(data)),
                        Err(_) => Err(UploadFault::DownstreamLeft),
                    }));
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(UploadFault::DownstreamLeft))),
                None => self.data_is_over = true,
            }
        }
        Poll::Ready(match ready!(self.receive.poll_trailers(cx)) {
            Ok(Some(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(None) => None,
            Err(_) => Some(Err(UploadFault::DownstreamLeft)),
        })
    }
}
