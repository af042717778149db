//! The socket as hyper has it: reads give whole, checked messages one after the other, writes are counted.
//!
//! Invariants: what hyper reads was let through by [`Wire::check`]; what hyper writes while no exchange is open would
//! be its own error answer, and is replaced by ours.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::config::model::memory::READ_AHEAD;
use crate::message::local_reply::BadRequest;
use crate::socket::Socket;

use super::wire::{Phase, Wire};

/// One read into the waiting bytes.
const ONE_READ: usize = 4 * 1024;

/// The socket as hyper has it.
#[derive(Debug)]
pub struct DownstreamIo {
    socket: Socket,
    wire: Rc<Wire>,
}

impl DownstreamIo {
    /// Wraps a socket.
    pub fn new(socket: Socket, wire: Rc<Wire>) -> DownstreamIo {
        DownstreamIo { socket, wire }
    }

    /// Unwraps it.
    pub fn into_socket(self) -> Socket {
        self.socket
    }

    /// Reads into the waiting bytes. `Ok(0)` is the end of the stream.
    fn poll_read_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut waiting = self.wire.waiting.borrow_mut();
        waiting.reserve(ONE_READ);
        std::future::Future::poll(pin!(self.socket.read_buf(&mut *waiting)), cx)
    }

    /// While an exchange is open: notices that the client left, and keeps what it sends ahead.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.held.set(true);
        while self.wire.waiting.borrow().len() < READ_AHEAD {
            // Asked first, so that a client that stays silent costs no buffer.
            ready!(self.socket.poll_read_ready(cx))?;
            if ready!(self.poll_read_waiting(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }
}

impl AsyncRead for DownstreamIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let wire = Rc::clone(&this.wire);
        loop {
            if wire.checked.get() == 0 {
                if wire.body_is_malformed() {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                if wire.must_wait() {
                    return this.poll_watch(cx);
                }
            }
            if wire.waiting.borrow().is_empty() {
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
                let fresh = &buf.filled()[before..];
                if fresh.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                let checked = wire.check(fresh);
                if checked < fresh.len() {
                    wire.waiting.borrow_mut().extend_from_slice(&fresh[checked..]);
                    buf.set_filled(before + checked);
                }
                if checked > 0 {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            if wire.checked.get() == 0 {
                let checked = wire.check(&wire.waiting.borrow());
                wire.checked.set(checked);
            }
            if wire.checked.get() > 0 {
                let mut waiting = wire.waiting.borrow_mut();
                let len = wire.checked.get().min(buf.remaining());
                buf.put_slice(&waiting[..len]);
                waiting.advance(len);
                wire.checked.set(wire.checked.get() - len);
                return Poll::Ready(Ok(()));
            }
            if wire.must_wait() {
                continue;
            }
            if ready!(this.poll_read_waiting(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl DownstreamIo {
    /// Hyper writes only answers of ours, except when it finds a request malformed that passed the check.
    fn is_own_error_of_hyper(&self) -> bool {
        let unasked = self.wire.phase.get() == Phase::Idle;
        if unasked && self.wire.refusal.get().is_none() {
            self.wire.refuse(BadRequest::Field.into());
        }
        unasked
    }
}

impl DownstreamIo {
    fn count(&self, written: &Poll<io::Result<usize>>) {
        self.wire.count(written, self.socket.carried());
    }
}

impl AsyncWrite for DownstreamIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_own_error_of_hyper() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut this.socket).poll_write(cx, buf);
        this.count(&written);
        if written.is_pending() { this.wire.poll_overdue(cx) } else { written }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_own_error_of_hyper() {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, bufs);
        this.count(&written);
        if written.is_pending() { this.wire.poll_overdue(cx) } else { written }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.socket).poll_flush(cx);
        if this.socket.is_tls() {
            this.count(&Poll::Pending);
        }
        if flushed.is_pending() {
            ready!(this.wire.poll_overdue::<()>(cx))?;
        }
        ready!(flushed)?;
        if this.wire.phase.get() == Phase::Flushing {
            this.wire.phase.set(Phase::Flushed);
            if let Some(mut exchange) = this.wire.flushing.borrow_mut().take() {
                exchange.complete();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
