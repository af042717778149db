//! What is known of a connection between its socket, hyper, and the exchange that is open.
//!
//! Hyper gets one message at a time, each head checked before hyper sees a byte of it; bytes behind the current
//! message wait here, bounded, until its answer is flushed. [`super::downstream_io`] moves the bytes, this keeps
//! the books.
//!
//! ```text
//! Idle ─► Open ─► Flushing ─► Flushed ─► Idle      every byte of the answer was sent
//!           └────────┴─► Broken                    the exchange ended without a whole answer
//! ```
//!
//! Invariant: an exchange that waits here for its flush is ended by the flush or by [`Wire::end_unflushed`]; it
//! holds the connection that holds it, so nothing else would end it.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;

use crate::alarms::{Alarm, Alarms};
use crate::message::chunked::{Chunked, Piece};
use crate::message::head::{Framing, HeadFault, HeadLimits, HeadScan};

use super::ahead::Ahead;
use super::exchange::Exchange;
use super::sending::{SendLimits, Sending, Slowness};
use super::tunnel::TunnelStart;
use super::worker::Worker;

/// Where the connection stands, as far as exchanges go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
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
pub struct Wire {
    limits: Cell<HeadLimits>,
    pub(super) phase: Cell<Phase>,
    expect: RefCell<Expect>,
    /// Read and not yet given to hyper. Its first `checked` bytes are checked.
    pub(super) waiting: RefCell<BytesMut>,
    pub(super) checked: Cell<usize>,
    /// Hyper wanted to read and was told to wait for the open exchange.
    pub(super) held: Cell<bool>,
    pub(super) refusal: Cell<Option<HeadFault>>,
    message_in: Cell<u64>,
    written: Cell<u64>,
    /// Bytes that the kernel took; of TLS with all that it adds.
    taken: Cell<u64>,
    ahead: RefCell<Option<Ahead>>,
    pub(super) flushing: RefCell<Option<Box<Exchange>>>,
    tunnel: RefCell<Option<TunnelStart>>,
    cut: Cell<bool>,
    total: RefCell<Option<Rc<Alarm>>>,
    /// What the kernel had taken when the exchange began.
    taken_before: Cell<u64>,
    alarms: Rc<Alarms>,
    send_limits: Cell<SendLimits>,
    /// Whether a write waits for the client.
    pub(super) blocked: Cell<bool>,
    /// How the client takes the open exchange's answer; there once a write had to wait.
    sending: RefCell<Option<Sending>>,
    overdue: Cell<Option<Slowness>>,
    /// Over HTTP/2: the client waits for `100 Continue`, and its body is wanted now.
    body_is_wanted: Cell<bool>,
}

impl Wire {
    /// How large heads may be from now on, and how slowly answers may be taken.
    pub fn set_limits(&self, limits: HeadLimits, send_limits: SendLimits) {
        self.limits.set(limits);
        self.send_limits.set(send_limits);
    }

    /// Of a new connection.
    pub fn new(limits: HeadLimits, send_limits: SendLimits, alarms: &Rc<Alarms>) -> Wire {
        Wire {
            limits: Cell::new(limits),
            phase: Cell::new(Phase::Idle),
            expect: RefCell::new(Expect::Head(HeadScan::new())),
            waiting: RefCell::new(BytesMut::new()),
            checked: Cell::new(0),
            held: Cell::new(false),
            refusal: Cell::new(None),
            message_in: Cell::new(0),
            written: Cell::new(0),
            taken: Cell::new(0),
            ahead: RefCell::new(None),
            flushing: RefCell::new(None),
            tunnel: RefCell::new(None),
            cut: Cell::new(false),
            total: RefCell::new(None),
            taken_before: Cell::new(0),
            alarms: Rc::clone(alarms),
            send_limits: Cell::new(send_limits),
            blocked: Cell::new(false),
            sending: RefCell::new(None),
            overdue: Cell::new(None),
            body_is_wanted: Cell::new(false),
        }
    }

    /// An exchange begins: what comes behind its request waits.
    pub fn open(&self) {
        self.phase.set(Phase::Open);
        self.taken_before.set(self.taken.get());
    }

    /// The app's answer begins. The body that hyper has takes it from here, and lets go of it with
    /// [`Wire::take_answer`].
    pub fn carry(&self, answer: Ahead) {
        *self.ahead.borrow_mut() = Some(answer);
    }

    /// The answer on its way, if there is one.
    pub fn answer(&self) -> Ref<'_, Option<Ahead>> {
        self.ahead.borrow()
    }

    /// The same, to take pieces from.
    pub fn answer_mut(&self) -> RefMut<'_, Option<Ahead>> {
        self.ahead.borrow_mut()
    }

    /// Ends the answer's way.
    pub fn take_answer(&self) -> Option<Ahead> {
        self.ahead.take()
    }

    /// Reads on from the app while the client is the slower one.
    pub fn read_on(&self, cx: &mut Context<'_>, worker: &Worker) {
        if let Some(ahead) = &mut *self.ahead.borrow_mut()
            && (self.blocked.get() || ahead.has_backlog())
        {
            ahead.read_on(cx, worker);
        }
    }

    /// Hyper has the whole answer; the exchange ends when it is flushed.
    pub fn flush_then_end(&self, exchange: Box<Exchange>) {
        self.phase.set(Phase::Flushing);
        *self.flushing.borrow_mut() = Some(exchange);
    }

    /// The answer's last bytes will not be sent: its exchange ends without them.
    pub fn end_unflushed(&self) {
        drop(self.flushing.take());
    }

    /// The exchange ended.
    pub fn close_exchange(&self) {
        *self.total.borrow_mut() = None;
        *self.sending.borrow_mut() = None;
        self.phase.set(if self.phase.get() == Phase::Flushed { Phase::Idle } else { Phase::Broken });
    }

    /// The open exchange must be over by then, whoever holds it up.
    pub fn bound(&self, total: Rc<Alarm>) {
        *self.total.borrow_mut() = Some(total);
    }

    /// For a write that would block: an error once the exchange has had its time, or the client is too slow.
    pub fn poll_overdue<T>(&self, cx: &Context<'_>) -> Poll<io::Result<T>> {
        self.blocked.set(true);
        let is_over = self.total.borrow().as_ref().is_some_and(|total| total.poll(cx).is_ready());
        let slowness = match is_over {
            true => Some(Slowness::Route),
            false => {
                let mut sending = self.sending.borrow_mut();
                let new = || Sending::new(&self.alarms, self.send_limits.get(), self.taken_before.get());
                sending.get_or_insert_with(new).poll_wait(cx, self.taken.get())
            }
        };
        match slowness {
            None => Poll::Pending,
            slow => {
                self.overdue.set(slow);
                self.cut();
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Writing goes on after it had to wait.
    pub fn go_on(&self) {
        if !self.blocked.replace(false) {
            return;
        }
        if let Some(sending) = &mut *self.sending.borrow_mut() {
            sending.go_on();
        }
    }

    /// The connection that carries this stream was ended so.
    pub(super) fn was_overdue(&self, slowness: Slowness) {
        self.overdue.set(Some(slowness));
    }

    /// Why an exchange was ended with the client holding it up, if one was.
    pub fn overdue(&self) -> Option<Slowness> {
        self.overdue.get()
    }

    /// The client is to be told to send its body.
    pub fn ask_for_body(&self) {
        self.body_is_wanted.set(true);
    }

    /// Whether the client is to be told so now; once.
    pub fn take_asked_for_body(&self) -> bool {
        self.body_is_wanted.take()
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
            Expect::Head(scan) => scan.begun(self.waiting.borrow().len() - self.checked.get()),
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
    pub(super) fn body_is_malformed(&self) -> bool {
        matches!(*self.expect.borrow(), Expect::Broken)
    }

    /// Bytes of the current message that hyper has been given.
    pub fn message_in(&self) -> u64 {
        self.message_in.get()
    }

    /// Counts bytes of a message that did not come through hyper.
    pub fn add_message_in(&self, bytes: usize) {
        self.message_in.set(self.message_in.get() + bytes as u64);
    }

    /// Bytes written since the connection began.
    pub fn written(&self) -> u64 {
        self.written.get()
    }

    /// Counts what a write gave, and what the kernel took of it: over TLS, which carried so much by now, the one may be
    /// long before the other.
    pub(super) fn count(&self, written: &Poll<io::Result<usize>>, carried: Option<u64>) {
        if let Poll::Ready(Ok(written)) = written {
            self.add_written(*written);
        }
        let (taken, goes_on) = match carried {
            None => (self.written.get(), written.is_ready()),
            Some(carried) => (carried, carried > self.taken.get()),
        };
        self.taken.set(taken);
        if goes_on {
            self.go_on();
        }
    }

    /// Bytes that the kernel took since the connection began; of TLS with all that it adds.
    pub(super) fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Counts bytes that a stream's client has room for.
    pub(super) fn add_taken(&self, bytes: usize) {
        self.add_written(bytes);
        self.taken.set(self.written.get());
    }

    /// Counts bytes written past hyper.
    pub fn add_written(&self, bytes: usize) {
        self.written.set(self.written.get() + bytes as u64);
    }

    /// What was read and not given to hyper: the refused head, or the first bytes of a tunnel.
    pub fn take_waiting(&self) -> BytesMut {
        self.checked.set(0);
        self.waiting.take()
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
    pub(super) fn check(&self, bytes: &[u8]) -> usize {
        let mut at = 0;
        let mut expect = self.expect.borrow_mut();
        while at < bytes.len() {
            match &mut *expect {
                Expect::Head(_) if at > 0 || self.phase.get() != Phase::Idle => break,
                Expect::Head(scan) => match scan.advance(bytes, &self.limits.get()) {
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
    pub(super) fn must_wait(&self) -> bool {
        match &*self.expect.borrow() {
            Expect::Head(_) => self.phase.get() != Phase::Idle,
            Expect::Nothing => true,
            Expect::Body(_) | Expect::Chunks(_) | Expect::Broken => false,
        }
    }
}

/// An exchange knows its connection, and a connection its wire: what this leaves out would have no end.
impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("phase", &self.phase)
            .field("expect", &self.expect)
            .finish_non_exhaustive()
    }
}
