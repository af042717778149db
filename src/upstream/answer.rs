//! The body of the app's answer, decoded, and the end of its connection's turn.
//!
//! Invariant: a body that broke off ends in an error, never in an end; a connection goes back to the pool only if
//! request and answer both ended where they said they would.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use super::call::Call;
use super::fault::{UploadFault, UpstreamFault};
use super::pool::Pool;
use super::response_head::AnswerFraming;
use crate::clock::Clock;
use crate::message::chunked::{Chunked, Piece};
use crate::message::trailers::may_trail;

#[derive(Debug)]
enum Decoder {
    Length(u64),
    Chunked(Box<Chunked>),
    UntilClose,
    Over,
}

/// A body on its way from the app.
#[derive(Debug)]
pub struct Answer<B> {
    call: Option<Box<Call<B>>>,
    decoder: Decoder,
    keep_alive: bool,
    pool: Rc<Pool>,
    clock: Rc<Clock>,
}

impl<B> Answer<B>
where
    B: Body<Data = Bytes, Error = UploadFault> + Unpin,
{
    /// The body behind a head that [`Call::poll_head`] gave. Fails if more has already come than it may have.
    pub fn new(
        call: Box<Call<B>>,
        framing: AnswerFraming,
        keep_alive: bool,
        pool: Rc<Pool>,
        clock: Rc<Clock>,
    ) -> Result<Answer<B>, UpstreamFault> {
        let arrived = call.connection.inbox.len() as u64;
        let decoder = match framing {
            AnswerFraming::None => Decoder::Length(0),
            AnswerFraming::Length(length) => Decoder::Length(length),
            AnswerFraming::Chunked => Decoder::Chunked(Box::default()),
            AnswerFraming::UntilClose => Decoder::UntilClose,
        };
        if matches!(decoder, Decoder::Length(length) if arrived > length) {
            return Err(UpstreamFault::Malformed("more bytes than the answer's length"));
        }
        let mut answer = Answer { call: Some(call), decoder, keep_alive, pool, clock };
        answer.end_if_over();
        Ok(answer)
    }

    /// Whether its place in the app is counted, and still taken.
    pub fn is_counted(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.is_counted())
    }

    /// Whether all of it was handed on.
    pub fn is_over(&self) -> bool {
        matches!(self.decoder, Decoder::Over)
    }

    /// Whether nothing more comes: it is over, or it failed. The connection is let go then.
    pub fn is_ended(&self) -> bool {
        self.call.is_none()
    }

    /// As [`Body::size_hint`].
    pub fn size_hint(&self) -> SizeHint {
        match self.decoder {
            Decoder::Length(length) => SizeHint::with_exact(length),
            Decoder::Over => SizeHint::with_exact(0),
            Decoder::Chunked(_) | Decoder::UntilClose => SizeHint::default(),
        }
    }

    /// As [`Body::poll_frame`]: the next piece of content, or the trailers.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamFault>>> {
        let frame = self.poll_decoded(cx);
        if let Poll::Ready(Some(Err(_))) = &frame {
            self.call = None;
        }
        frame
    }

    fn poll_decoded(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamFault>>> {
        loop {
            let Some(call) = &mut self.call else { return Poll::Ready(None) };
            call.poll_send(cx)?;
            if !call.connection.inbox.is_empty() {
                let frame = self.decode()?;
                self.end_if_over();
                match frame {
                    Some(frame) => return Poll::Ready(Some(Ok(frame))),
                    None => continue,
                }
            }
            let Call { receiving, connection, .. } = &mut **call;
            let end = match ready!(receiving.poll_read(connection, cx)) {
                Ok(0) if matches!(self.decoder, Decoder::UntilClose) => {
                    self.decoder = Decoder::Over;
                    self.call = None;
                    continue;
                }
                Ok(0) => io::Error::from(io::ErrorKind::UnexpectedEof),
                Ok(_) => continue,
                Err(error) => error,
            };
            return Poll::Ready(Some(Err(UpstreamFault::Cut(end))));
        }
    }

    /// Decodes the next frame of what has arrived; `None` when that was only framing.
    fn decode(&mut self) -> Result<Option<Frame<Bytes>>, UpstreamFault> {
        let Some(call) = &mut self.call else { return Ok(None) };
        let inbox = &mut call.connection.inbox;
        let chunked = match &mut self.decoder {
            Decoder::Over => return Ok(None),
            Decoder::UntilClose => return Ok(Some(Frame::data(inbox.split().freeze()))),
            Decoder::Length(remaining) => {
                *remaining = remaining
                    .checked_sub(inbox.len() as u64)
                    .ok_or(UpstreamFault::Malformed("more bytes than the answer's length"))?;
                return Ok(Some(Frame::data(inbox.split().freeze())));
            }
            Decoder::Chunked(chunked) => chunked,
        };
        while !inbox.is_empty() {
            match chunked.next(inbox).map_err(|_| UpstreamFault::Malformed("a broken chunk"))? {
                Piece::Framing(len) => inbox.advance(len),
                Piece::Data(len) => return Ok(Some(Frame::data(inbox.split_to(len).freeze()))),
                Piece::End(len) => {
                    inbox.advance(len);
                    if !inbox.is_empty() {
                        return Err(UpstreamFault::Malformed("bytes after the last chunk"));
                    }
                    let trailers = parse_trailers(chunked.trailers())?;
                    self.decoder = Decoder::Over;
                    return Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)));
                }
            }
        }
        Ok(None)
    }

    /// Once the last byte is decoded, gives the connection back, or closes it.
    fn end_if_over(&mut self) {
        if matches!(self.decoder, Decoder::Length(0)) {
            self.decoder = Decoder::Over;
        }
        if !matches!(self.decoder, Decoder::Over) {
            return;
        }
        if let Some(call) = self.call.take()
            && self.keep_alive
            && call.sent_whole()
            && call.connection.inbox.is_empty()
        {
            self.pool.put(call.connection, self.clock.recent());
        }
    }
}

fn parse_trailers(lines: &[u8]) -> Result<HeaderMap, UpstreamFault> {
    let mut trailers = HeaderMap::new();
    if lines.is_empty() {
        return Ok(trailers);
    }
    let malformed = UpstreamFault::Malformed("a trailer is malformed");
    let block = [lines, b"\r\n"].concat();
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(&block, &mut fields) else {
        return Err(malformed);
    };
    for field in fields {
        match (HeaderName::from_bytes(field.name.as_bytes()), HeaderValue::from_bytes(field.value)) {
            (Ok(name), Ok(value)) if may_trail(&name) => {
                trailers.append(name, value);
            }
            (Ok(_), Ok(_)) => {}
            _ => return Err(malformed),
        }
    }
    Ok(trailers)
}
