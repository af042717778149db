//! One request on one connection, until the head of its answer is there.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fault::{UploadFault, UpstreamFault};
use super::gate::Slot;
use super::outgoing::{Outgoing, SendFault};
use super::pool::Connection;
use super::response_head::{AnswerHead, AnswerScan, Asked};
use crate::alarms::Alarm;
use crate::config::model::memory::ANSWER_READ;
use crate::socket::Socket;

/// First read of an answer; most answers fit.
const FIRST_READ: usize = 8 * 1024;
/// What one read may grow to while the app sends faster than we read. Larger ones leave the core's cache and
/// run into the kernel's pacing: they cost more a byte, not less (`make bench`, `large`).
const LARGEST_READ: usize = ANSWER_READ;

/// A request being sent and its answer being awaited, at the same time: an app may answer early.
#[derive(Debug)]
pub struct Call<B> {
    pub(super) connection: Connection,
    pub(super) outgoing: Outgoing<B>,
    pub(super) receiving: Receiving,
    scan: AnswerScan,
    asked: Asked,
    deadline: Alarm,
    patience: Duration,
    /// Writing failed; the answer may be there all the same.
    send_error: Option<io::Error>,
    send_done: bool,
    /// A byte of the answer has come.
    answered: bool,
    /// The whole head has come; the deadline is not for what follows.
    head_received: bool,
    /// The request's place in the app, free when this is dropped.
    slot: Slot,
}

/// A request that may be written on another connection, with what it has.
#[derive(Debug)]
pub struct Unanswered<B> {
    /// The request, back at its start.
    pub outgoing: Outgoing<B>,
    /// For the head of the answer.
    pub deadline: Alarm,
    /// Its place in the app.
    pub slot: Slot,
}

impl<B> Call<B>
where
    B: Body<Data = Bytes, Error = UploadFault> + Unpin,
{
    /// Nothing is sent yet. `patience` is for the app: it counts from the last byte of the request that the app
    /// took, and not while the client is the one who is waited for.
    pub fn new(connection: Connection, request: Unanswered<B>, asked: Asked, patience: Duration) -> Call<B> {
        let Unanswered { outgoing, deadline, slot } = request;
        Call {
            connection,
            outgoing,
            receiving: Receiving { next_read: FIRST_READ },
            scan: AnswerScan::default(),
            asked,
            deadline,
            patience,
            send_error: None,
            send_done: false,
            answered: false,
            head_received: false,
            slot,
        }
    }

    /// Sends, and waits for the judged head of the answer.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, UpstreamFault>> {
        self.poll_send(cx)?;
        loop {
            if !self.connection.inbox.is_empty() {
                self.answered = true;
                if let Some(head) = self.scan.take(&mut self.connection.inbox, self.asked)? {
                    self.head_received = true;
                    self.deadline.clear();
                    return Poll::Ready(Ok(head));
                }
            }
            if self.deadline.poll(cx).is_ready() {
                return Poll::Ready(Err(UpstreamFault::Timeout));
            }
            match ready!(self.receiving.poll_read(&mut self.connection, cx)) {
                Ok(0) => return Poll::Ready(Err(self.ended(io::ErrorKind::UnexpectedEof.into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(self.ended(error))),
            }
        }
    }

    /// Goes on sending the body. A write error is kept: an app that refuses a body closes, but its answer
    /// may be waiting to be read.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), UpstreamFault> {
        if self.send_done {
            return Ok(());
        }
        let before = self.outgoing.written();
        match self.outgoing.poll_send(&mut self.connection.socket, cx) {
            Poll::Ready(Ok(())) => self.send_done = true,
            Poll::Ready(Err(SendFault::Upload(fault))) => return Err(UpstreamFault::Upload(fault)),
            Poll::Ready(Err(SendFault::Socket(error))) => {
                self.send_error = Some(error);
                self.send_done = true;
            }
            Poll::Pending => {}
        }
        if self.head_received {
            return Ok(());
        }
        if !self.send_done && self.outgoing.awaits_body() {
            self.deadline.clear();
        } else if self.outgoing.written() != before || !self.deadline.is_set() {
            self.deadline.set_after(self.patience);
        }
        Ok(())
    }

    /// Whether the request was written whole.
    pub fn sent_whole(&self) -> bool {
        self.send_error.is_none() && self.outgoing.is_done()
    }

    /// The request, if it may be written again on another connection: when no byte of it was written, or
    /// when it is `repeatable`, has no body, and no byte of an answer came.
    pub fn into_unanswered(self, repeatable: bool) -> Option<Unanswered<B>> {
        let Call { mut outgoing, deadline, answered, slot, .. } = self;
        let untouched = outgoing.written() == 0;
        if answered || !(untouched || (repeatable && outgoing.is_bodiless())) {
            return None;
        }
        outgoing.rewind();
        Some(Unanswered { outgoing, deadline, slot })
    }

    /// Whether no byte of the request was written.
    pub fn is_unwritten(&self) -> bool {
        self.outgoing.written() == 0
    }

    /// The socket, with what was read past the head, and the place in the app, for a tunnel.
    pub fn into_tunnel(self) -> (Socket, BytesMut, Slot) {
        (self.connection.socket, self.connection.inbox, self.slot)
    }

    /// Whether its place in the app is counted.
    pub fn is_counted(&self) -> bool {
        self.slot.is_counted()
    }

    /// Says that nothing more comes, and reads until the app has ended.
    pub async fn hang_up(mut self) -> io::Result<()> {
        let mut sink = vec![0; FIRST_READ];
        self.connection.socket.shutdown().await?;
        while self.connection.socket.read(&mut sink).await? > 0 {}
        Ok(())
    }

    fn ended(&mut self, error: io::Error) -> UpstreamFault {
        let error = self.send_error.take().unwrap_or(error);
        if self.answered { UpstreamFault::Cut(error) } else { UpstreamFault::Died(error) }
    }
}

/// Reads of an answer, growing while they are filled.
#[derive(Debug)]
pub(super) struct Receiving {
    next_read: usize,
}

impl Receiving {
    /// Reads once into the connection's inbox. `Ok(0)` is the end of the stream.
    pub(super) fn poll_read(
        &mut self,
        connection: &mut Connection,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Connection { socket, inbox, .. } = connection;
        if inbox.capacity() - inbox.len() < self.next_read / 2 {
            inbox.reserve(self.next_read);
        }
        let room = inbox.capacity() - inbox.len();
        let read = ready!(std::future::Future::poll(pin!(socket.read_buf(inbox)), cx))?;
        if read == room && self.next_read < LARGEST_READ {
            self.next_read *= 2;
        }
        Poll::Ready(Ok(read))
    }
}
