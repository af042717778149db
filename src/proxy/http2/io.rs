//! The socket as the HTTP/2 library has it: frames are counted before it reads them, bytes as they are written.
//!
//! Invariant: after a flood nothing more is read. What the client holds up is bounded as over HTTP/1.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::Clock;
use crate::message::http2_frames::{Flood, Frames};
use crate::proxy::wire::Wire;
use crate::socket::Socket;

/// What the driver and the socket's wrapper tell one another.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) frames: RefCell<Frames>,
    flooded: Cell<bool>,
}

impl Watched {
    pub(super) fn new(frames: Frames) -> Rc<Watched> {
        Rc::new(Watched { frames: RefCell::new(frames), flooded: Cell::new(false) })
    }

    /// Whether the client sent more than it may of what only costs.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.get()
    }
}

/// The socket.
#[derive(Debug)]
pub(super) struct FrameIo {
    socket: Socket,
    /// What was read before it was known which protocol is spoken.
    early: BytesMut,
    wire: Rc<Wire>,
    watched: Rc<Watched>,
    clock: Rc<Clock>,
}

impl FrameIo {
    pub(super) fn new(
        socket: Socket,
        early: BytesMut,
        wire: &Rc<Wire>,
        watched: &Rc<Watched>,
        clock: &Rc<Clock>,
    ) -> FrameIo {
        FrameIo { socket, early, wire: Rc::clone(wire), watched: Rc::clone(watched), clock: Rc::clone(clock) }
    }

    fn count(&self, written: &Poll<io::Result<usize>>) {
        self.wire.count(written, self.socket.carried());
        if let Poll::Ready(Ok(bytes)) = written {
            self.watched.frames.borrow_mut().sent(*bytes);
        }
    }
}

impl AsyncRead for FrameIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watched.is_flooded() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if this.early.is_empty() {
            ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
        } else {
            let len = this.early.len().min(buf.remaining());
            buf.put_slice(&this.early[..len]);
            this.early.advance(len);
        }
        let advanced = this.watched.frames.borrow_mut().advance(&buf.filled()[before..], this.clock.recent());
        if let Err(Flood) = advanced {
            this.watched.flooded.set(true);
            buf.set_filled(before);
            // The driver looks after each poll; it is polled again to say good-bye.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FrameIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(cx, buf);
        this.count(&written);
        if written.is_pending() { this.wire.poll_overdue(cx) } else { written }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, bufs);
        this.count(&written);
        if written.is_pending() { this.wire.poll_overdue(cx) } else { written }
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
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
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
