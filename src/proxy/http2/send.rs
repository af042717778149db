//! An answer's body onto its stream, no faster than the client's window allows.
//!
//! While the client is the slower one, the app's answer is read ahead as over HTTP/1 ([`crate::proxy::ahead`]). Invariant: a
//! piece is taken from the app only when the one before it is with the library, so a stream buffers what its window allows and one
//! piece.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Frame;

use crate::alarms::Alarm;
use crate::proxy::ahead::Ahead;
use crate::proxy::connection::Connection;
use crate::proxy::exchange::Exchange;
use crate::proxy::sending::Slowness;
use crate::proxy::wire::Wire;
use crate::upstream::fault::UpstreamFault;

use super::io::Watched;

/// Where the body comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// The head was all.
    Nothing,
    /// It is ours.
    Local(Bytes),
    /// The wire carries it.
    App,
}

impl Source {
    /// Whether nothing is left.
    pub(super) fn is_over(&self, wire: &Wire) -> bool {
        match self {
            Source::Nothing => true,
            Source::Local(bytes) => bytes.is_empty(),
            Source::App => wire.answer().as_ref().is_none_or(Ahead::is_over),
        }
    }

    /// How much there is, if that is known.
    pub(super) fn length(&self, wire: &Wire) -> Option<u64> {
        match self {
            Source::Nothing => None,
            Source::Local(bytes) => Some(bytes.len() as u64),
            Source::App => wire.answer().as_ref().and_then(|answer| answer.size_hint().exact()),
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        conn: &Connection,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamFault>>> {
        match self {
            Source::Nothing => Poll::Ready(None),
            Source::Local(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Local(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::App => match &mut *conn.wire.answer_mut() {
                Some(answer) => answer.poll_frame(cx, &conn.worker),
                None => Poll::Ready(None),
            },
        }
    }
}

/// How the sending of an answer ended.
#[derive(Debug)]
enum End {
    /// All of it is with the library.
    Whole,
    /// The client took its request back, or is gone.
    Left,
    /// The app's answer was cut, or took too long.
    Cut(UpstreamFault),
    /// The client took it too slowly.
    Overdue,
}

/// Sends all of it, and tells the exchange how that ended.
pub(super) async fn all(
    stream: SendStream<Bytes>,
    source: Source,
    exchange: &mut Exchange,
    conn: &Rc<Connection>,
    watched: &Watched,
) {
    let id = stream.stream_id().as_u32();
    let is_over = matches!(source, Source::Nothing);
    let mut sending = Sending { stream, source, piece: Bytes::new(), is_last: false };
    let mut end = if is_over { End::Whole } else { poll_fn(|cx| sending.poll(cx, exchange, conn)).await };
    if let End::Whole = end {
        end = leave(&mut sending.stream, id, conn, watched).await;
    }
    if let (End::Left, Some(slowness)) = (&end, watched.slowness()) {
        conn.wire.was_overdue(slowness);
    }
    match end {
        End::Whole => exchange.complete(),
        End::Left => exchange.downstream_left(),
        End::Cut(fault) => {
            exchange.cut_because(&fault);
            sending.stream.send_reset(Reason::INTERNAL_ERROR);
        }
        // The wire knows of it.
        End::Overdue => sending.stream.send_reset(Reason::CANCEL),
    }
}

/// Waits until the socket has what is with the library, for as long as the client takes anything of the connection.
async fn leave(stream: &mut SendStream<Bytes>, id: u32, conn: &Connection, watched: &Watched) -> End {
    let patience = conn.worker.snapshot().model.listen.send_timeout;
    let alarm = Alarm::new(&conn.worker.alarms);
    let mut taken = None;
    watched.leaves(id);
    let end = poll_fn(|cx| {
        if let Poll::Ready(is_sent) = watched.poll_sent(id, cx) {
            return Poll::Ready(if is_sent { End::Whole } else { End::Left });
        }
        if stream.poll_reset(cx).is_ready() {
            return Poll::Ready(End::Left);
        }
        while taken.is_none() || alarm.poll(cx).is_ready() {
            if taken == Some(watched.taken()) {
                conn.wire.was_overdue(Slowness::Stopped);
                return Poll::Ready(End::Overdue);
            }
            taken = Some(watched.taken());
            alarm.set_after(patience);
        }
        Poll::Pending
    })
    .await;
    watched.forget(id);
    end
}

struct Sending {
    stream: SendStream<Bytes>,
    source: Source,
    /// What comes next.
    piece: Bytes,
    /// Nothing comes behind it.
    is_last: bool,
}

impl Sending {
    fn poll(&mut self, cx: &mut Context<'_>, exchange: &Exchange, conn: &Connection) -> Poll<End> {
        if self.stream.poll_reset(cx).is_ready() {
            return Poll::Ready(End::Left);
        }
        if exchange.total.as_ref().is_some_and(|total| total.poll(cx).is_ready()) {
            return Poll::Ready(End::Cut(UpstreamFault::RouteTimeout));
        }
        loop {
            if self.piece.is_empty() && !self.is_last {
                match self.source.poll_frame(cx, conn) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Err(fault))) => return Poll::Ready(End::Cut(fault)),
                    Poll::Ready(None) => self.is_last = true,
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => {
                            self.piece = data;
                            self.is_last = self.source.is_over(&conn.wire);
                            continue;
                        }
                        Err(frame) => {
                            let trailers = frame.into_trailers().unwrap_or_default();
                            let sent = self.stream.send_trailers(trailers);
                            return Poll::Ready(if sent.is_ok() { End::Whole } else { End::Left });
                        }
                    },
                }
            }
            let room = if self.piece.is_empty() {
                0
            } else {
                match self.poll_room(cx) {
                    Poll::Ready(Some(room)) => room,
                    Poll::Ready(None) => return Poll::Ready(End::Left),
                    Poll::Pending if conn.wire.poll_overdue::<()>(cx).is_ready() => {
                        return Poll::Ready(End::Overdue);
                    }
                    Poll::Pending => {
                        conn.wire.read_on(cx, &conn.worker);
                        return Poll::Pending;
                    }
                }
            };
            conn.wire.go_on();
            let data = self.piece.split_to(room.min(self.piece.len()));
            conn.wire.add_taken(data.len());
            let is_end = self.is_last && self.piece.is_empty();
            match self.stream.send_data(data, is_end) {
                Ok(()) if is_end => return Poll::Ready(End::Whole),
                Ok(()) => {}
                Err(_) => return Poll::Ready(End::Left),
            }
        }
    }

    /// How much of the piece the client has room for; `None` if it is gone.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        self.stream.reserve_capacity(self.piece.len());
        loop {
            match self.stream.capacity() {
                0 => match std::task::ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(None),
                },
                room => return Poll::Ready(Some(room)),
            }
        }
    }
}
