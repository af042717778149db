//! A connection over HTTP/2: its streams are requests like any other, each with a wire of its own.
//!
//! The `h2` library keeps the protocol. Here it is given its sockets and its bounds, each stream is given to the request
//! path (`stream`), and what a client leaves unfinished or sends too much of is ended. Invariant: a stream that is served has
//! a seat among `max_connections`, so memory is bounded as if each were a connection.

mod io;
mod send;
mod stream;
mod tunnel;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;

use crate::alarms::Alarm;
use crate::clock::Tick;
use crate::message::http2_frames::Frames;
use crate::socket::Socket;

use super::connection::{Connection, FIRST_REQUEST_GRACE, NEXT_REQUEST_GRACE};
use super::tunnel::KEEP_ALIVE_AFTER;
use super::worker::StreamSeat;

use self::io::{FrameIo, Watched};

/// After the last word to a client, it has this long to take it.
const LAST_WORD_TIME: Duration = Duration::from_secs(2);

/// Serves a connection to its end.
pub(super) async fn serve(socket: Socket, conn: &Rc<Connection>, alarm: &Alarm) {
    let worker = &conn.worker;
    let snapshot = worker.snapshot();
    // A client that vanished without a word would hold its tunnels for ever.
    socket.keep_alive(KEEP_ALIVE_AFTER);
    let watched = Watched::new(Frames::new(worker.clock.recent()), &conn.wire);
    let io = FrameIo::new(socket, conn.wire.take_waiting(), &conn.wire, &watched, &worker.clock);
    let now = worker.clock.recent();
    let (end, grace) = (now + snapshot.model.listen.header_timeout, now + FIRST_REQUEST_GRACE);
    let mut beginning = pin!(snapshot.http2.handshake::<_, Bytes>(io));
    let begun = poll_fn(|cx| match beginning.as_mut().poll(cx) {
        Poll::Ready(begun) => Poll::Ready(begun.ok()),
        Poll::Pending => {
            alarm.set(if worker.is_draining() { end.min(grace) } else { end });
            alarm.poll(cx).map(|()| None)
        }
    });
    let Some(http2) = begun.await else { return };
    drop(snapshot);
    alarm.clear();
    let mut driver = Driver {
        http2,
        conn,
        alarm,
        watched,
        streams: Rc::default(),
        waiting: Waiting::Nothing,
        idle_since: None,
        ended: None,
    };
    poll_fn(|cx| driver.poll(cx)).await;
    driver.watched.end(conn.wire.overdue());
}

/// Streams that are open.
#[derive(Debug, Default)]
struct Streams {
    open: Cell<usize>,
    driver: RefCell<Option<Waker>>,
}

/// One of them.
#[derive(Debug)]
struct OpenStream {
    streams: Rc<Streams>,
    _seat: StreamSeat,
}

impl Drop for OpenStream {
    /// The driver waits for other things once nothing is open.
    fn drop(&mut self) {
        let open = self.streams.open.get() - 1;
        self.streams.open.set(open);
        if open == 0
            && let Some(driver) = self.streams.driver.take()
        {
            driver.wake();
        }
    }
}

/// What the connection's alarm is set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// Streams, or the socket, which have deadlines of their own.
    Nothing,
    /// A request.
    Request,
    /// The rest of a head.
    Head,
    /// The client to take our last word.
    End,
}

struct Driver<'a> {
    http2: server::Connection<FrameIo, Bytes>,
    conn: &'a Rc<Connection>,
    alarm: &'a Alarm,
    watched: Rc<Watched>,
    streams: Rc<Streams>,
    waiting: Waiting,
    /// Since when no stream is open. Nothing but a request is a reason to stay longer.
    idle_since: Option<Tick>,
    /// When the client was told that there will be no new streams.
    ended: Option<Tick>,
}

impl Driver<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.conn.worker.is_draining() {
                self.end();
            }
            loop {
                match self.http2.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => self.accept(request, respond),
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
            if !self.watched.is_flooded() || self.waiting == Waiting::End {
                break;
            }
            tracing::debug!(peer = ?self.conn.peer, "an HTTP/2 client sends a flood of frames, its connection is ended");
            self.conn.worker.series.floods.add(1);
            self.http2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            self.wait_for(Waiting::End);
        }
        self.watch(cx)
    }

    fn accept(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let now = self.conn.worker.clock.recent();
        // Whoever does not hear that there will be no more is not served for ever.
        let is_late = self.ended.is_some_and(|ended| ended + NEXT_REQUEST_GRACE <= now);
        let seat = self.conn.worker.take_stream_seat().filter(|_| !is_late && !self.watched.is_flooded());
        let Some(seat) = seat else {
            // Nothing was done: the client may ask again (RFC 9113 section 8.7).
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        };
        self.idle_since = None;
        self.wait_for(Waiting::Nothing);
        self.streams.open.set(self.streams.open.get() + 1);
        let open = OpenStream { streams: Rc::clone(&self.streams), _seat: seat };
        let serving = stream::serve(request, respond, self.conn, &self.watched);
        tokio::task::spawn_local(async move {
            serving.await;
            drop(open);
        });
    }

    /// No new streams; those that are open are finished.
    fn end(&mut self) {
        if self.ended.is_none() {
            self.ended = Some(self.conn.worker.clock.recent());
            self.http2.graceful_shutdown();
        }
    }

    /// What is waited for now.
    fn awaited(&self) -> Waiting {
        let head_has_begun = self.watched.frames.borrow().is_in_the_middle();
        if self.watched.is_flooded() {
            Waiting::End
        } else if self.watched.is_blocked() {
            // While the client holds up what it is sent, that has a deadline of its own.
            Waiting::Nothing
        } else if head_has_begun && self.ended.is_none() {
            Waiting::Head
        } else if self.streams.open.get() > 0 {
            Waiting::Nothing
        } else if self.ended.is_some() {
            Waiting::End
        } else {
            Waiting::Request
        }
    }

    /// Sets the alarm for what is waited for now.
    fn watch(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.streams.open.get() == 0 && self.idle_since.is_none() {
            self.idle_since = Some(self.conn.worker.clock.recent());
        }
        self.wait_for(self.awaited());
        if self.streams.open.get() > 0 {
            self.streams.driver.replace(Some(cx.waker().clone()));
        }
        while self.alarm.poll(cx).is_ready() {
            match self.waiting {
                Waiting::End => return Poll::Ready(()),
                Waiting::Nothing => break,
                Waiting::Request | Waiting::Head => {
                    self.end();
                    // It has something to write now.
                    if self.http2.poll_accept(cx).is_ready() {
                        return Poll::Ready(());
                    }
                    self.wait_for(self.awaited());
                }
            }
        }
        Poll::Pending
    }

    fn wait_for(&mut self, waiting: Waiting) {
        if waiting == self.waiting {
            return;
        }
        self.waiting = waiting;
        let snapshot = self.conn.worker.snapshot();
        let listen = &snapshot.model.listen;
        let now = self.conn.worker.clock.recent();
        match waiting {
            Waiting::Nothing => self.alarm.clear(),
            Waiting::Request => self.alarm.set(self.idle_since.unwrap_or(now) + listen.keepalive_timeout),
            Waiting::Head => self.alarm.set(now + listen.header_timeout),
            Waiting::End => self.alarm.set(now + LAST_WORD_TIME),
        }
    }
}
