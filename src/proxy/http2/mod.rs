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
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;

use crate::alarms::Alarm;
use crate::message::http2_frames::Frames;
use crate::socket::Socket;

use super::connection::Connection;
use super::worker::StreamSeat;

use self::io::{FrameIo, Watched};

/// After the last word to a client, it has this long to take it.
const LAST_WORD_TIME: Duration = Duration::from_secs(2);

/// Serves a connection to its end.
pub(super) async fn serve(socket: Socket, conn: &Rc<Connection>, alarm: &Alarm) {
    let worker = &conn.worker;
    let snapshot = worker.snapshot();
    let watched = Watched::new(Frames::new(worker.clock.recent()));
    let io = FrameIo::new(socket, conn.wire.take_waiting(), &conn.wire, &watched, &worker.clock);
    alarm.set_after(snapshot.model.listen.header_timeout);
    let Some(Ok(http2)) = alarm.before(snapshot.http2.handshake::<_, Bytes>(io)).await else { return };
    drop(snapshot);
    alarm.clear();
    let mut driver = Driver {
        http2,
        conn,
        alarm,
        watched,
        streams: Rc::default(),
        waiting: Waiting::Nothing,
        ending: false,
    };
    poll_fn(|cx| driver.poll(cx)).await;
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
    /// Streams, which have deadlines of their own.
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
    ending: bool,
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
        let Some(seat) = self.conn.worker.take_stream_seat() else {
            // Nothing was done: the client may ask again (RFC 9113 section 8.7).
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        };
        self.wait_for(Waiting::Nothing);
        self.streams.open.set(self.streams.open.get() + 1);
        let open = OpenStream { streams: Rc::clone(&self.streams), _seat: seat };
        let serving = stream::serve(request, respond, self.conn);
        tokio::task::spawn_local(async move {
            serving.await;
            drop(open);
        });
    }

    /// No new streams; those that are open are finished.
    fn end(&mut self) {
        if !self.ending {
            self.ending = true;
            self.http2.graceful_shutdown();
        }
    }

    /// Sets the alarm for what is waited for now.
    fn watch(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let head_has_begun = self.watched.frames.borrow().is_in_the_middle();
        let waiting = match self.waiting {
            Waiting::End => Waiting::End,
            _ if head_has_begun => Waiting::Head,
            _ if self.streams.open.get() > 0 => Waiting::Nothing,
            _ if self.ending => Waiting::End,
            _ => Waiting::Request,
        };
        self.wait_for(waiting);
        if waiting == Waiting::Nothing {
            self.streams.driver.replace(Some(cx.waker().clone()));
        }
        while self.alarm.poll(cx).is_ready() {
            match self.waiting {
                Waiting::End => return Poll::Ready(()),
                Waiting::Nothing => break,
                Waiting::Request | Waiting::Head => {
                    self.end();
                    self.wait_for(Waiting::End);
                    // It has something to write now.
                    if self.http2.poll_accept(cx).is_ready() {
                        return Poll::Ready(());
                    }
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
        match waiting {
            Waiting::Nothing => self.alarm.clear(),
            Waiting::Request => self.alarm.set_after(listen.keepalive_timeout),
            Waiting::Head => self.alarm.set_after(listen.header_timeout),
            Waiting::End => self.alarm.set_after(LAST_WORD_TIME),
        }
    }
}
