//! The socket as the HTTP/2 library has it: frames are counted before it reads them, bytes as they are written.
//!
//! Invariant: after a flood nothing more is read. What the client holds up is bounded as over HTTP/1.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::Clock;
use crate::message::http2_frames::{Flood, Frames, SentFrames};
use crate::proxy::sending::Slowness;
use crate::proxy::wire::Wire;
use crate::socket::Socket;

/// What the driver, the socket's wrapper and the streams tell one another.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) frames: RefCell<Frames>,
    /// The connection's own.
    wire: Rc<Wire>,
    flooded: Cell<bool>,
    sent: RefCell<SentFrames>,
    /// Streams whose last frame is with the library, and who waits until the socket has it.
    leaving: RefCell<Vec<(u32, Waker)>>,
    /// The connection is no more; it was ended for a client that held it up.
    ended: Cell<Option<Option<Slowness>>>,
}

impl Watched {
    pub(super) fn new(frames: Frames, wire: &Rc<Wire>) -> Rc<Watched> {
        Rc::new(Watched {
            frames: RefCell::new(frames),
            wire: Rc::clone(wire),
            flooded: Cell::new(false),
            sent: RefCell::default(),
            leaving: RefCell::default(),
            ended: Cell::new(None),
        })
    }

    /// Whether the client sent more than it may of what only costs.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.get()
    }

    /// A stream's last frame is with the library.
    pub(super) fn leaves(&self, stream: u32) {
        self.leaving.borrow_mut().push((stream, Waker::noop().clone()));
    }

    /// Resolves when the socket has the last byte of such a stream: true, or false if it never will.
    pub(super) fn poll_sent(&self, stream: u32, cx: &Context<'_>) -> Poll<bool> {
        let mut leaving = self.leaving.borrow_mut();
        match leaving.iter_mut().find(|(id, _)| *id == stream) {
            None => Poll::Ready(true),
            Some(_) if self.ended.get().is_some() => Poll::Ready(false),
            Some((_, waker)) => {
                waker.clone_from(cx.waker());
                Poll::Pending
            }
        }
    }

    /// Whatever became of a stream, nobody waits for it any more.
    pub(super) fn forget(&self, stream: u32) {
        self.leaving.borrow_mut().retain(|(id, _)| *id != stream);
    }

    /// Bytes of the whole connection that the kernel took.
    pub(super) fn taken(&self) -> u64 {
        self.wire.taken()
    }

    /// Whether the connection's last write waits for the client.
    pub(super) fn is_blocked(&self) -> bool {
        self.wire.blocked.get()
    }

    /// Why the connection was ended, if it was for a client that held it up.
    pub(super) fn slowness(&self) -> Option<Slowness> {
        self.ended.get().flatten()
    }

    /// The connection is no more.
    pub(super) fn end(&self, slowness: Option<Slowness>) {
        self.ended.set(Some(slowness));
        self.leaving.borrow().iter().for_each(|(_, waker)| waker.wake_by_ref());
    }

    fn written(&self, bytes: &[u8]) {
        self.sent.borrow_mut().advance(bytes, |stream| {
            let mut leaving = self.leaving.borrow_mut();
            if let Some(at) = leaving.iter().position(|(id, _)| *id == stream) {
                leaving.swap_remove(at).1.wake();
            }
        });
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

    /// Counts what a write of these bytes gave.
    fn count(&self, written: &Poll<io::Result<usize>>, bufs: &[&[u8]]) {
        self.wire.count(written, self.socket.carried());
        let Poll::Ready(Ok(written)) = written else { return };
        self.watched.frames.borrow_mut().sent(*written);
        let mut left = *written;
        for buf in bufs {
            let len = left.min(buf.len());
            self.watched.written(&buf[..len]);
            left -= len;
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
        this.count(&written, &[buf]);
        if written.is_pending() { this.wire.poll_overdue(cx) } else { written }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, bufs);
        let bytes: SmallVec<[&[u8]; 64]> = bufs.iter().map(|buf| &**buf).collect();
        this.count(&written, &bytes);
        if written.is_pending() { this.wire.poll_overdue(cx) } else { written }
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.socket).poll_flush(cx);
        if this.socket.is_tls() {
            this.count(&Poll::Pending, &[]);
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
