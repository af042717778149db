//! A request on its way to the app: its head, and its body as it comes.
//!
//! Invariant: what was written is known to the byte, so that a caller can tell a request that never left from
//! one that may have been acted upon.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body;
use tokio::io::AsyncWrite;

use super::fault::UploadFault;
use crate::message::trailers::may_trail;
use crate::socket::Socket;

/// Pieces handed to one system call.
const MAX_PIECES: usize = 8;

/// The body of a request and how it is framed.
#[derive(Debug)]
pub enum Upload<B> {
    /// No body.
    None,
    /// Its length stands in the head.
    Length(B),
    /// Goes out chunked.
    Chunked(B),
}

/// Why writing stopped.
#[derive(Debug)]
pub enum SendFault {
    /// The app's side.
    Socket(io::Error),
    /// The client's side.
    Upload(UploadFault),
}

/// A request being written.
#[derive(Debug)]
pub struct Outgoing<B> {
    head: Bytes,
    head_sent: usize,
    pieces: VecDeque<Bytes>,
    upload: Upload<B>,
    trailers: HeaderMap,
    bodiless: bool,
    nudged: bool,
    written: u64,
}

impl<B> Outgoing<B>
where
    B: Body<Data = Bytes, Error = UploadFault> + Unpin,
{
    /// A request of which nothing is written yet.
    pub fn new(head: Bytes, upload: Upload<B>) -> Outgoing<B> {
        let bodiless = matches!(upload, Upload::None);
        Outgoing {
            head,
            head_sent: 0,
            pieces: VecDeque::new(),
            upload,
            trailers: HeaderMap::new(),
            bodiless,
            nudged: false,
            written: 0,
        }
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether it has no body, so that its head is all there is to repeat.
    pub fn is_bodiless(&self) -> bool {
        self.bodiless
    }

    /// Whether all of it is written.
    pub fn is_done(&self) -> bool {
        self.head_sent == self.head.len() && self.pieces.is_empty() && matches!(self.upload, Upload::None)
    }

    /// Whether all that came is written, and more is to come from the client.
    pub fn awaits_body(&self) -> bool {
        self.head_sent == self.head.len() && self.pieces.is_empty() && !matches!(self.upload, Upload::None)
    }

    /// Back to the start. Only for a request without a body, or of which nothing was written.
    pub fn rewind(&mut self) {
        debug_assert!(self.bodiless || self.written == 0);
        self.head_sent = 0;
        self.written = 0;
    }

    /// Writes what can be written. Ready when all is.
    pub fn poll_send(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<Result<(), SendFault>> {
        loop {
            let more_to_come = self.poll_fill(cx).map_err(SendFault::Upload)?;
            if more_to_come && self.head_sent == 0 && self.pieces.is_empty() && !self.nudged {
                // A body that arrived with its head reaches us one poll later: worth one write less.
                self.nudged = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.head_sent == self.head.len() && self.pieces.is_empty() {
                // What a TLS stream holds back would wait for an answer that waits for it.
                let flushed = Pin::new(&mut *socket).poll_flush(cx).map_err(SendFault::Socket)?;
                return if more_to_come || flushed.is_pending() {
                    Poll::Pending
                } else {
                    Poll::Ready(Ok(()))
                };
            }
            let written = ready!(self.poll_write(socket, cx)).map_err(SendFault::Socket)?;
            self.advance(written);
        }
    }

    /// Takes the next piece of the body if there is room for it. Tells whether the body goes on.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Result<bool, UploadFault> {
        while self.pieces.is_empty() {
            let (body, chunked) = match &mut self.upload {
                Upload::None => return Ok(false),
                Upload::Length(body) => (body, false),
                Upload::Chunked(body) => (body, true),
            };
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => self.push(data, chunked),
                    Ok(_) => {}
                    Err(frame) => self.trailers = frame.into_trailers().unwrap_or_default(),
                },
                Poll::Ready(Some(Err(fault))) => return Err(fault),
                Poll::Ready(None) => {
                    if chunked {
                        self.pieces.push_back(last_chunk(&self.trailers));
                    }
                    self.upload = Upload::None;
                }
            }
        }
        Ok(!matches!(self.upload, Upload::None))
    }

    fn push(&mut self, data: Bytes, chunked: bool) {
        if chunked {
            self.pieces.push_back(Bytes::from(format!("{:x}\r\n", data.len())));
            self.pieces.push_back(data);
            self.pieces.push_back(Bytes::from_static(b"\r\n"));
        } else {
            self.pieces.push_back(data);
        }
    }

    fn poll_write(&self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let head = &self.head[self.head_sent..];
        if self.pieces.is_empty() {
            return Pin::new(socket).poll_write(cx, head);
        }
        let mut slices = [IoSlice::new(&[]); MAX_PIECES];
        let mut count = 0;
        let parts = std::iter::once(head).chain(self.pieces.iter().map(|piece| &piece[..]));
        for (slice, part) in slices.iter_mut().zip(parts.filter(|part| !part.is_empty())) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        Pin::new(socket).poll_write_vectored(cx, &slices[..count])
    }

    fn advance(&mut self, mut written: usize) {
        self.written += written as u64;
        let of_head = written.min(self.head.len() - self.head_sent);
        self.head_sent += of_head;
        written -= of_head;
        while let Some(piece) = self.pieces.front_mut() {
            if written < piece.len() {
                piece.advance(written);
                break;
            }
            written -= piece.len();
            self.pieces.pop_front();
        }
    }
}

/// The end of a chunked body, with those of its trailers that may pass.
fn last_chunk(trailers: &HeaderMap) -> Bytes {
    if trailers.is_empty() {
        return Bytes::from_static(b"0\r\n\r\n");
    }
    let mut chunk = b"0\r\n".to_vec();
    for (name, value) in trailers.iter().filter(|(name, _)| may_trail(name)) {
        chunk.extend_from_slice(name.as_str().as_bytes());
        chunk.extend_from_slice(b": ");
        chunk.extend_from_slice(value.as_bytes());
        chunk.extend_from_slice(b"\r\n");
    }
    chunk.extend_from_slice(b"\r\n");
    Bytes::from(chunk)
}
