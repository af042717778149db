//! One accepted socket, from its first byte to its close.
//!
//! Hyper serves it while there is something to serve. A connection without a request for a second is taken apart, its
//! buffers given back, and only the bare socket kept until it can be read again.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::alarms::Alarm;
use crate::clock::Tick;
use crate::config::model::tls::TlsVersion;
use crate::message::forwarded::Scheme;
use crate::message::head::HeadFault;
use crate::message::http2_frames::PREFACE;
use crate::socket::Socket;

use super::arrival::{Arrival, Protocol};
use super::body::Body;
use super::downstream_io::DownstreamIo;
use super::exchange::Exchange;
use super::handle;
use super::http2;
use super::sending::SendLimits;
use super::tunnel;
use super::wire::Wire;
use super::worker::{Seat, Worker};

/// A connection without a request is parked after this long.
const PARK_AFTER: Duration = Duration::from_secs(1);
/// A connection accepted just before the drain may still bring its first request.
pub(super) const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);
/// A connection in use may bring one more request when the drain begins: its client learns from the answer that it is
/// the last, instead of finding the connection closed under its hands.
pub(super) const NEXT_REQUEST_GRACE: Duration = Duration::from_millis(500);
/// How long, and how much, input is read past an answer that ended the connection, so that the client gets to
/// read the answer (RFC 9112 section 9.6).
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 * 1024 * 1024;
/// For the few bytes of a refusal.
const REFUSAL_TIME: Duration = Duration::from_secs(5);

/// What all exchanges of a connection share.
#[derive(Debug)]
pub struct Connection {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// Between the socket and hyper.
    pub wire: Rc<Wire>,
    /// The other end; `None` for a Unix socket.
    pub peer: Option<IpAddr>,
    /// How the peer reached us.
    pub scheme: Scheme,
    /// Whom the peer's certificate names, if it showed one that was verified.
    pub certified: Option<Arc<str>>,
    /// The version of TLS, if it is.
    pub tls: Option<TlsVersion>,
    protocol: Protocol,
}

impl Connection {
    /// Of a socket that was just accepted.
    pub fn new(worker: &Rc<Worker>, arrival: Arrival) -> Rc<Connection> {
        let snapshot = worker.snapshot();
        worker.series.connections.add(1);
        let send_limits = SendLimits::of(&snapshot.model.listen);
        let wire = Wire::new(snapshot.head_limits, send_limits, &worker.alarms);
        Rc::new(Connection {
            worker: Rc::clone(worker),
            wire: Rc::new(wire),
            peer: arrival.peer,
            scheme: arrival.scheme,
            certified: arrival.certified,
            tls: arrival.tls,
            protocol: arrival.protocol,
        })
    }

    /// What a stream of this connection has to itself.
    pub fn lane(&self) -> Rc<Connection> {
        let snapshot = self.worker.snapshot();
        let wire =
            Wire::new(snapshot.head_limits, SendLimits::of(&snapshot.model.listen), &self.worker.alarms);
        Rc::new(Connection {
            worker: Rc::clone(&self.worker),
            wire: Rc::new(wire),
            peer: self.peer,
            scheme: self.scheme,
            certified: self.certified.clone(),
            tls: self.tls,
            protocol: self.protocol,
        })
    }

    /// Time since 1970 at a tick.
    pub fn wall_time(&self, tick: Tick) -> Duration {
        Duration::from_nanos(self.worker.clock.unix_nanos(tick))
    }
}

/// Why hyper stopped serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The connection is at its end.
    Over,
    /// Nothing to serve for a while.
    Park,
    /// The next request is refused.
    Refuse(HeadFault),
}

/// Ends the exchange that a wire still holds when nothing serves it anymore, however that came: the exchange
/// holds the connection, and the two would keep each other.
struct Unheld<'a>(&'a Wire);

impl Drop for Unheld<'_> {
    fn drop(&mut self) {
        self.0.end_unflushed();
        drop(self.0.take_tunnel());
    }
}

/// Serves a connection to its end.
pub async fn serve(mut socket: Socket, conn: Rc<Connection>, seat: Seat) {
    let _unheld = Unheld(&conn.wire);
    let alarm = Alarm::new(&conn.worker.alarms);
    match speaks_http2(&mut socket, &conn, &alarm).await {
        Some(false) => {}
        Some(true) => {
            Box::pin(http2::serve(socket, &conn, &alarm)).await;
            return;
        }
        None => return,
    }
    loop {
        let (stop, returned) = Box::pin(serve_http1(socket, &conn, &alarm)).await;
        socket = returned;
        match stop {
            Stop::Park => {
                if !park(&socket, &conn, &alarm).await {
                    say_end(&mut socket, &alarm).await;
                    break;
                }
            }
            Stop::Refuse(fault) => {
                Box::pin(refuse(&mut socket, &conn, &alarm, fault)).await;
                break;
            }
            Stop::Over => {
                Box::pin(finish(socket, &conn, &alarm)).await;
                break;
            }
        }
    }
    drop(seat);
}

/// Whether HTTP/2 is spoken on a connection; `None` if it ended before that was known. What was read to find out waits in
/// the wire.
async fn speaks_http2(socket: &mut Socket, conn: &Connection, alarm: &Alarm) -> Option<bool> {
    match conn.protocol {
        Protocol::Http1 => return Some(false),
        Protocol::Http2 => return Some(true),
        Protocol::Either => {}
    }
    let listen = conn.worker.snapshot().model.listen.clone();
    alarm.set_after(listen.keepalive_timeout);
    let grace = conn.worker.clock.recent() + FIRST_REQUEST_GRACE;
    let mut head_has_begun = false;
    let decided = poll_fn(|cx| {
        loop {
            let mut waiting = conn.wire.waiting.borrow_mut();
            let compared = waiting.len().min(PREFACE.len());
            if waiting[..compared] != PREFACE[..compared] {
                return Poll::Ready(Some(false));
            }
            if compared == PREFACE.len() {
                return Poll::Ready(Some(true));
            }
            if compared > 0 && !head_has_begun {
                head_has_begun = true;
                alarm.set_after(listen.header_timeout);
            }
            if conn.worker.is_draining() && compared == 0 {
                alarm.set(grace);
            }
            if alarm.poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            // Asked first, so that a client that stays silent costs no buffer.
            match socket.poll_read_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Ready(Ok(())) => {}
            }
            match pin!(socket.read_buf(&mut *waiting)).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) => return Poll::Ready(None),
            }
        }
    })
    .await;
    alarm.clear();
    decided
}

/// Lets hyper serve until there is a reason to stop.
async fn serve_http1(socket: Socket, conn: &Rc<Connection>, alarm: &Alarm) -> (Stop, Socket) {
    let snapshot = conn.worker.snapshot();
    conn.wire.set_limits(snapshot.head_limits, SendLimits::of(&snapshot.model.listen));
    let io = TokioIo::new(DownstreamIo::new(socket, Rc::clone(&conn.wire)));
    let mut driver = Driver {
        http1: snapshot.http1.serve_connection(io, Handler(Rc::clone(conn))),
        conn,
        alarm,
        waiting: Waiting::Nothing,
        idle_since: conn.worker.clock.now(),
        closing: false,
    };
    let stop = poll_fn(|cx| driver.poll(cx)).await;
    alarm.clear();
    let parts = driver.http1.into_parts();
    // What hyper could not parse.
    conn.wire.put_back(&parts.read_buf);
    (stop, parts.io.into_inner().into_socket())
}

/// Hands hyper's requests to the request path.
#[derive(Debug)]
struct Handler(Rc<Connection>);

impl Service<Request<Incoming>> for Handler {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let answer = handle(request, Rc::clone(&self.0));
        Box::pin(async move { Ok(answer.await) })
    }
}

/// What the connection's alarm is set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// It is not.
    Nothing,
    /// The first byte of a head.
    Request,
    /// The rest of a head.
    Head,
}

struct Driver<'a> {
    http1: http1::Connection<TokioIo<DownstreamIo>, Handler>,
    conn: &'a Rc<Connection>,
    alarm: &'a Alarm,
    waiting: Waiting,
    idle_since: Tick,
    closing: bool,
}

impl Driver<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        let wire = &self.conn.wire;
        loop {
            let served = self.http1.poll_without_shutdown(cx);
            if let Some(fault) = wire.refusal() {
                return Poll::Ready(Stop::Refuse(fault));
            }
            match served {
                // Reading is over, but hyper has more of the answer than the kernel took: polled again, it goes on.
                Poll::Ready(Ok(())) if wire.is_flushing() => {}
                Poll::Ready(_) => return Poll::Ready(Stop::Over),
                Poll::Pending => {}
            }
            if self.conn.worker.is_draining() && !self.closing && !wire.is_idle() {
                self.closing = true;
                Pin::new(&mut self.http1).graceful_shutdown();
            }
            if !wire.take_held() {
                break;
            }
        }
        if !wire.is_idle() {
            self.wait_for(Waiting::Nothing);
            wire.read_on(cx, &self.conn.worker);
            // A drain must reach an exchange that waits for the app.
            let _ = self.alarm.poll(cx);
            return Poll::Pending;
        }
        self.poll_idle(cx)
    }

    /// Between two exchanges.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        let begun = self.conn.wire.head_has_begun();
        self.wait_for(if begun { Waiting::Head } else { Waiting::Request });
        if self.conn.worker.is_draining() && !begun {
            let is_new = self.conn.wire.written() == 0;
            let until = self.idle_since + if is_new { FIRST_REQUEST_GRACE } else { NEXT_REQUEST_GRACE };
            if until <= self.conn.worker.clock.recent() {
                return Poll::Ready(Stop::Over);
            }
            self.alarm.set(until);
        }
        match (self.alarm.poll(cx), begun) {
            (Poll::Pending, _) => Poll::Pending,
            (Poll::Ready(()), true) => {
                self.conn.wire.refuse(HeadFault::TooSlow);
                Poll::Ready(Stop::Refuse(HeadFault::TooSlow))
            }
            (Poll::Ready(()), false) => {
                self.conn.wire.give_back();
                Poll::Ready(if self.conn.wire.is_in_step() { Stop::Park } else { Stop::Over })
            }
        }
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
            Waiting::Request => {
                self.idle_since = self.conn.worker.clock.now();
                self.alarm.set_after(PARK_AFTER.min(listen.keepalive_timeout));
            }
            Waiting::Head => self.alarm.set_after(listen.header_timeout),
        }
    }
}

/// Keeps the bare socket until it can be read. False when it is to be closed.
async fn park(socket: &Socket, conn: &Connection, alarm: &Alarm) -> bool {
    let keepalive_timeout = conn.worker.snapshot().model.listen.keepalive_timeout;
    alarm.set_after(keepalive_timeout.saturating_sub(PARK_AFTER));
    let readable = poll_fn(|cx| {
        if conn.worker.is_draining() || alarm.poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        socket.poll_read_ready(cx).map(|ready| ready.is_ok())
    })
    .await;
    alarm.clear();
    readable
}

/// Answers who speaks plain HTTP where TLS is spoken; what it sent waits in the wire.
pub(super) async fn refuse_plain(mut socket: Socket, conn: &Rc<Connection>, alarm: &Alarm) {
    let _unheld = Unheld(&conn.wire);
    refuse(&mut socket, conn, alarm, HeadFault::NoTls).await;
}

/// Answers a request that hyper never saw, or could not read.
async fn refuse(socket: &mut Socket, conn: &Rc<Connection>, alarm: &Alarm, fault: HeadFault) {
    let head = conn.wire.take_waiting();
    let exchange = Exchange::refused(&head, conn);
    let (reply, mut exchange) = exchange.answer_on_the_wire(fault);
    alarm.set_after(REFUSAL_TIME);
    let writing = async {
        socket.write_all(&reply).await?;
        socket.flush().await
    };
    if alarm.before(writing).await.is_some_and(|written| written.is_ok()) {
        conn.wire.add_written(reply.len());
        exchange.complete();
    }
    drop(exchange);
    linger(socket, alarm).await;
}

/// After hyper's last word: a tunnel, a reset, or a close that lets the client read to the end.
async fn finish(mut socket: Socket, conn: &Rc<Connection>, alarm: &Alarm) {
    conn.wire.end_unflushed();
    if let Some(tunnel) = conn.wire.take_tunnel() {
        let early = conn.wire.take_waiting();
        socket.keep_alive(tunnel::KEEP_ALIVE_AFTER);
        tunnel::run(tunnel, socket, early, conn).await;
    } else if conn.wire.was_cut() {
        socket.reset_on_close();
    } else if !conn.wire.is_in_step() {
        linger(&mut socket, alarm).await;
    } else {
        say_end(&mut socket, alarm).await;
    }
}

/// Over TLS, an end that is not said may be anybody's: it is how a client tells a whole answer from a cut one.
async fn say_end(socket: &mut Socket, alarm: &Alarm) {
    if socket.is_tls() {
        alarm.set_after(LINGER_TIME);
        // Who has left is told nothing.
        let _ = alarm.before(socket.shutdown()).await;
    }
}

/// Says that nothing more comes, and reads what still does, for a while.
pub(super) async fn linger(socket: &mut Socket, alarm: &Alarm) {
    alarm.set_after(LINGER_TIME);
    let _ = alarm
        .before(async {
            socket.shutdown().await?;
            let mut sink = vec![0; 16 * 1024];
            let mut left = LINGER_BYTES;
            while left > 0 {
                match socket.read(&mut sink).await? {
                    0 => break,
                    read => left = left.saturating_sub(read),
                }
            }
            std::io::Result::Ok(())
        })
        .await;
}
