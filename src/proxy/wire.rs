//! Between the socket and hyper: each head is checked here before hyper sees a byte of it, and hyper gets
//! one message at a time.
//!
//! Invariants: what hyper reads are whole, checked heads and their bodies, in order; bytes behind the
//! current message wait here, bounded, until its answer is flushed; what hyper writes while no exchange is
//! open would be its own error answer, and is replaced by ours.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::alarms::Alarm;
use crate::message::chunked::{Chunked, Piece};
use crate::message::head::{Framing, HeadFault, HeadLimits, HeadScan};
use crate::message::local_reply::BadRequest;
use crate::socket::Socket;

use super::exchange::Exchange;
use super::tunnel::TunnelStart;

/// Bytes of later messages that are read ahead while an exchange is open.
const MAX_AHEAD: usize = 16 * 1024;
/// One read into the waiting bytes.
const READ_AHEAD: usize = 4 * 1024;

/// Where the connection stands, as far as exchanges go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No exchange.
    Idle,
    /// One is being served.
    Open,
    /// Its answer is with hyper, not all of it with the kernel.
    Flushing,
    /// All of it is with the kernel.
    Flushed,
    /// One ended without a whole answer: there is no other on this connection.
    Broken,
}

/// Where the bytes that come next belong.
#[derive(Debug)]
enum Expect {
    Head(HeadScan),
    Body(u64),
    Chunks(Box<Chunked>),
    /// The body broke its coding: reading it is an error.
    Broken,
    /// Nothing more is read.
    Nothing,
}

/// What the socket's wrapper, the service and the connection's driver tell one another.
#[derive(Debug)]
pub struct Wire {
    limits: HeadLimits,
    phase: Cell<Phase>,
    expect: RefCell<Expect>,
    /// Read and not yet given to hyper. Its first `cleared` bytes are checked.
    waiting: RefCell<BytesMut>,
    cleared: Cell<usize>,
    /// Hyper wanted to read and was told to wait for the open exchange.
    held: Cell<bool>,
    refusal: Cell<Option<HeadFault>>,
    message_in: Cell<u64>,
    written: Cell<u64>,
    flushing: RefCell<Option<Box<Exchange>>>,
    tunnel: RefCell<Option<TunnelStart>>,
    cut: Cell<bool>,
    total: RefCell<Option<Rc<Alarm>>>,
    overdue: Cell<bool>,
}

impl Wire {
    /// Of a new connection.
    pub fn new(limits: HeadLimits) -> Wire {
        Wire {
            limits,
            phase: Cell::new(Phase::Idle),
            expect: RefCell::new(Expect::Head(HeadScan::new())),
            waiting: RefCell::new(BytesMut::new()),
            cleared: Cell::new(0),
            held: Cell::new(false),
            refusal: Cell::new(None),
            message_in: Cell::new(0),
            written: Cell::new(0),
            flushing: RefCell::new(None),
            tunnel: RefCell::new(None),
            cut: Cell::new(false),
            total: RefCell::new(None),
            overdue: Cell::new(false),
        }
    }

    /// An exchange begins: what comes behind its request waits.
    pub fn open(&self) {
        self.phase.set(Phase::Open);
    }

    /// Hyper has the whole answer; the exchange ends when it is flushed.
    pub fn flush_then_end(&self, exchange: Box<Exchange>) {
        self.phase.set(Phase::Flushing);
        *self.flushing.borrow_mut() = Some(exchange);
    }

    /// Bounds how long the open exchange may wait for a client that does not read.
    pub fn bound_writes(&self, end: Rc<Alarm>) {
        *self.writes_end.borrow_mut() = Some(end);
    }

    /// For a write that would block: an error once the client has had its time.
    fn poll_overdue(&self, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        match &*self.writes_end.borrow() {
            Some(end) if end.poll(cx).is_ready() => {
                self.cut();
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            _ => Poll::Pending,
        }
    }

    /// The answer's last bytes will not be sent: its exchange ends without them.
    pub fn end_unflushed(&self) {
        drop(self.flushing.take());
    }

    /// The exchange ended.
    pub fn close_exchange(&self) {
        *self.total.borrow_mut() = None;
        self.phase.set(if self.phase.get() == Phase::Flushed { Phase::Idle } else { Phase::Broken });
    }

    /// The open exchange must be over by then, whoever holds it up.
    pub fn bound(&self, total: Rc<Alarm>) {
        *self.total.borrow_mut() = Some(total);
    }

    /// Whether the open exchange has run out of time with the client holding it up; true from then on.
    pub fn poll_overdue(&self, cx: &Context<'_>) -> bool {
        let passed = self.total.borrow().as_ref().is_some_and(|total| total.poll(cx).is_ready());
        self.overdue.set(self.overdue.get() || passed);
        self.overdue.get()
    }

    /// Whether an exchange was ended for that reason.
    pub fn was_overdue(&self) -> bool {
        self.overdue.get()
    }

    /// The app agreed to a WebSocket: when hyper is done, the tunnel begins.
    pub fn start_tunnel(&self, tunnel: TunnelStart) {
        *self.tunnel.borrow_mut() = Some(tunnel);
    }

    /// The tunnel to begin, if there is one.
    pub fn take_tunnel(&self) -> Option<TunnelStart> {
        self.tunnel.borrow_mut().take()
    }

    /// The answer was cut: the connection's end must not look like the answer's.
    pub fn cut(&self) {
        self.cut.set(true);
    }

    /// Whether an answer was cut.
    pub fn was_cut(&self) -> bool {
        self.cut.get()
    }

    /// Whether no exchange is open and no answer is on its way.
    pub fn is_idle(&self) -> bool {
        self.phase.get() == Phase::Idle
    }

    /// Whether hyper has the whole answer, and the kernel not yet all of it.
    pub fn is_flushing(&self) -> bool {
        self.phase.get() == Phase::Flushing
    }

    /// Whether a read was put off that can be done now.
    pub fn take_held(&self) -> bool {
        self.is_idle() && self.held.take()
    }

    /// Why the next request is refused, once nothing is before it.
    pub fn refusal(&self) -> Option<HeadFault> {
        if self.is_idle() { self.refusal.get() } else { None }
    }

    /// Refuses whatever comes next.
    pub fn refuse(&self, fault: HeadFault) {
        self.refusal.set(Some(fault));
        *self.expect.borrow_mut() = Expect::Nothing;
    }

    /// Whether a head has begun to arrive and is not complete.
    pub fn head_has_begun(&self) -> bool {
        match &*self.expect.borrow() {
            Expect::Head(scan) => scan.begun(self.waiting.borrow().len() - self.cleared.get()),
            _ => false,
        }
    }

    /// Whether the last message was read to its end and nothing waits behind it.
    pub fn is_in_step(&self) -> bool {
        matches!(*self.expect.borrow(), Expect::Head(_)) && self.waiting.borrow().is_empty()
    }

    /// Between two requests: gives the buffer back, and with it empty lines, which some clients send behind a
    /// body and which mean nothing (RFC 9112 section 2.2).
    pub fn give_back(&self) {
        let expect = &mut *self.expect.borrow_mut();
        if let Expect::Head(scan) = expect
            && !scan.begun(self.waiting.borrow().len())
        {
            *scan = HeadScan::new();
            self.waiting.take();
        }
    }

    /// Whether the request body broke its coding.
    fn body_is_malformed(&self) -> bool {
        matches!(*self.expect.borrow(), Expect::Broken)
    }

    /// Bytes of the current message that hyper has been given.
    pub fn message_in(&self) -> u64 {
        self.message_in.get()
    }

    /// Bytes written since the connection began.
    pub fn written(&self) -> u64 {
        self.written.get()
    }

    /// Counts bytes written past hyper.
    pub fn add_written(&self, bytes: usize) {
        self.written.set(self.written.get() + bytes as u64);
    }

    /// What was read and not given to hyper: the refused head, or the first bytes of a tunnel.
    pub fn take_waiting(&self) -> BytesMut {
        self.cleared.set(0);
        self.waiting.take()
    }

    /// Gives back the buffer of an idle connection.
    pub fn shrink(&self) {
        debug_assert!(self.is_in_step());
        *self.waiting.borrow_mut() = BytesMut::new();
    }

    /// Puts back, in front, what hyper had and made nothing of.
    pub fn put_back(&self, unparsed: &[u8]) {
        if !unparsed.is_empty() {
            let mut waiting = self.waiting.borrow_mut();
            *waiting = [unparsed, &waiting[..]].concat().as_slice().into();
        }
    }

    /// How many of `bytes`, which come next, may go to hyper. What is left begins a head that is not complete,
    /// not wanted yet, or refused.
    fn clear(&self, bytes: &[u8]) -> usize {
        let mut at = 0;
        let mut expect = self.expect.borrow_mut();
        while at < bytes.len() {
            match &mut *expect {
                Expect::Head(_) if at > 0 || self.phase.get() != Phase::Idle => break,
                Expect::Head(scan) => match scan.advance(bytes, &self.limits) {
                    Ok(None) => break,
                    Ok(Some(head)) => {
                        at = head.len;
                        self.message_in.set(0);
                        *expect = match head.framing {
                            Framing::None => Expect::Head(HeadScan::new()),
                            Framing::Length(length) => Expect::Body(length),
                            Framing::Chunked => Expect::Chunks(Box::default()),
                        };
                    }
                    Err(fault) => {
                        self.refusal.set(Some(fault));
                        *expect = Expect::Nothing;
                    }
                },
                Expect::Body(remaining) => {
                    let len = (*remaining).min((bytes.len() - at) as u64);
                    *remaining -= len;
                    at += len as usize;
                    if *remaining == 0 {
                        *expect = Expect::Head(HeadScan::new());
                    }
                }
                Expect::Chunks(chunked) => match chunked.next(&bytes[at..]) {
                    Ok(Piece::Framing(len) | Piece::Data(len)) => at += len,
                    Ok(Piece::End(len)) => {
                        at += len;
                        *expect = Expect::Head(HeadScan::new());
                    }
                    Err(_) => *expect = Expect::Broken,
                },
                Expect::Broken | Expect::Nothing => break,
            }
        }
        self.message_in.set(self.message_in.get() + at as u64);
        at
    }

    /// Whether bytes that come now would only wait.
    fn must_wait(&self) -> bool {
        match &*self.expect.borrow() {
            Expect::Head(_) => self.phase.get() != Phase::Idle,
            Expect::Nothing => true,
            Expect::Body(_) | Expect::Chunks(_) | Expect::Broken => false,
        }
    }
}

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
        waiting.reserve(READ_AHEAD);
        std::future::Future::poll(pin!(self.socket.read_buf(&mut *waiting)), cx)
    }

    /// While an exchange is open: notices that the client left, and keeps what it sends ahead.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.held.set(true);
        while self.wire.waiting.borrow().len() < MAX_AHEAD {
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
            if wire.cleared.get() == 0 {
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
                let cleared = wire.clear(fresh);
                if cleared < fresh.len() {
                    wire.waiting.borrow_mut().extend_from_slice(&fresh[cleared..]);
                    buf.set_filled(before + cleared);
                }
                if cleared > 0 {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            if wire.cleared.get() == 0 {
                let cleared = wire.clear(&wire.waiting.borrow());
                wire.cleared.set(cleared);
            }
            if wire.cleared.get() > 0 {
                let mut waiting = wire.waiting.borrow_mut();
                let len = wire.cleared.get().min(buf.remaining());
                buf.put_slice(&waiting[..len]);
                waiting.advance(len);
                wire.cleared.set(wire.cleared.get() - len);
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

impl AsyncWrite for DownstreamIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_own_error_of_hyper() {
            return Poll::Ready(Ok(buf.len()));
        }
        let Poll::Ready(written) = Pin::new(&mut this.socket).poll_write(cx, buf) else {
            return this.wire.poll_overdue(cx);
        };
        this.wire.add_written(*written.as_ref().unwrap_or(&0));
        Poll::Ready(written)
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
        let Poll::Ready(written) = Pin::new(&mut this.socket).poll_write_vectored(cx, bufs) else {
            return this.wire.poll_overdue(cx);
        };
        this.wire.add_written(*written.as_ref().unwrap_or(&0));
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.socket).poll_flush(cx))?;
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
