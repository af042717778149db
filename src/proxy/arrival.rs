//! What comes before HTTP on a new connection: a header of the PROXY protocol, then TLS.
//!
//! All of it is done in the connection's own task, within deadlines. Invariant: a connection has its seat, and its place
//! among those of its address, before it may shake hands; and not one byte is lost between these steps.

use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::alarms::Alarm;
use crate::clock::Tick;
use crate::config::model::tls::TlsVersion;
use crate::message::forwarded::Scheme;
use crate::message::proxy_header::{self, MAX_HEADER};
use crate::socket::Socket;
use crate::telemetry::arrivals::{HandshakeFailure, ProxyFailure};
use crate::tls::failure;
use crate::tls::server::{Handshaken, ServerTls, client_name};

use super::connection::{self, Connection, FIRST_REQUEST_GRACE};
use super::listener;
use super::worker::{Seat, Worker};

/// Room for what a client says first: a hello of TLS mostly fits.
const FIRST_READ: usize = 2 * 1024;
/// The type of a TLS record that begins a handshake.
const TLS_HANDSHAKE: u8 = 22;

/// How a connection came, known before its first request.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The other end, by its header of the PROXY protocol if it has one; `None` for a Unix socket.
    pub peer: Option<IpAddr>,
    /// With or without TLS.
    pub scheme: Scheme,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Whom the peer's certificate names, if it showed one that was verified.
    pub certified: Option<Arc<str>>,
    /// The version of TLS, if it is.
    pub tls: Option<TlsVersion>,
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 or HTTP/1.0.
    Http1,
    /// HTTP/2, agreed on by ALPN.
    Http2,
    /// HTTP/2 if the first bytes say so.
    Either,
}

impl Arrival {
    /// On a plain socket.
    pub fn plain(peer: Option<IpAddr>, h2c: bool) -> Arrival {
        let protocol = if h2c { Protocol::Either } else { Protocol::Http1 };
        Arrival { peer, scheme: Scheme::Http, protocol, certified: None, tls: None }
    }
}

/// A connection that was accepted, and has a seat.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) socket: Socket,
    /// The other end of the socket; `None` for a Unix socket.
    pub(super) peer: Option<IpAddr>,
    pub(super) seat: Seat,
    /// It begins with a header of the PROXY protocol.
    pub(super) is_headed: bool,
    /// Then TLS is spoken.
    pub(super) is_tls: bool,
}

/// Takes a connection through what comes before HTTP, and serves it.
pub(super) async fn arrive(accepted: Accepted, worker: Rc<Worker>) {
    let Accepted { mut socket, mut peer, mut seat, is_headed, is_tls } = accepted;
    let mut early = BytesMut::new();
    let begun = Begun::now(&worker);
    if is_headed {
        let timeout = worker.snapshot().model.listen.header_timeout;
        let reading = Box::pin(read_header(&mut socket, &mut early));
        let header = begun.within(timeout, reading).await.unwrap_or(Err(ProxyFailure::TimedOut));
        match header {
            Ok(source) => peer = source.or(peer),
            Err(failure) => return listener::refuse_unheaded(&worker, &socket, peer, failure),
        }
        match seat.with_peer(peer) {
            Some(seated) => seat = seated,
            None => return listener::refuse(&worker, &socket, peer),
        }
    }
    match (is_tls, socket) {
        (true, Socket::Tcp(tcp)) => Box::pin(arrive_by_tls(tcp, early, peer, seat, begun)).await,
        (_, socket) => {
            let h2c = worker.snapshot().model.listen.h2c;
            let conn = Connection::new(&worker, Arrival::plain(peer, h2c));
            conn.wire.put_back(&early);
            drop(begun);
            connection::serve(socket, conn, seat).await;
        }
    }
}

/// When a connection was accepted, and its alarm.
struct Begun {
    worker: Rc<Worker>,
    accepted: Tick,
    alarm: Alarm,
}

impl Begun {
    fn now(worker: &Rc<Worker>) -> Begun {
        Begun {
            worker: Rc::clone(worker),
            accepted: worker.clock.recent(),
            alarm: Alarm::new(&worker.alarms),
        }
    }

    /// What `work` gives, if that is in time. A drain does not wait for who has nothing to say.
    async fn within<T>(&self, timeout: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let end = self.worker.clock.recent() + timeout;
        let done = poll_fn(|cx| {
            if let std::task::Poll::Ready(done) = work.as_mut().poll(cx) {
                return std::task::Poll::Ready(Some(done));
            }
            let grace = self.accepted + FIRST_REQUEST_GRACE;
            self.alarm.set(if self.worker.is_draining() { end.min(grace) } else { end });
            self.alarm.poll(cx).map(|()| None)
        });
        let done = done.await;
        self.alarm.clear();
        done
    }
}

/// Reads a header; what was read behind it stays in `early`.
async fn read_header(socket: &mut Socket, early: &mut BytesMut) -> Result<Option<IpAddr>, ProxyFailure> {
    loop {
        match proxy_header::parse(early) {
            Ok(Some(header)) => {
                early.advance(header.len);
                return Ok(header.source);
            }
            Ok(None) => {}
            Err(proxy_header::NoHeader) => return Err(ProxyFailure::Malformed),
        }
        let room = (MAX_HEADER - early.len()).min(FIRST_READ);
        match read_some(socket, early, room).await {
            Ok(0) | Err(_) => return Err(ProxyFailure::Left),
            Ok(_) => {}
        }
    }
}

/// Reads once, at most `most` bytes. Until there are some it costs no memory.
async fn read_some(socket: &mut Socket, into: &mut BytesMut, most: usize) -> io::Result<usize> {
    poll_fn(|cx| socket.poll_read_ready(cx)).await?;
    into.reserve(most);
    let mut limited = bytes::BufMut::limit(into, most);
    socket.read_buf(&mut limited).await
}

async fn arrive_by_tls(tcp: TcpStream, mut early: BytesMut, peer: Option<IpAddr>, seat: Seat, begun: Begun) {
    let worker = Rc::clone(&begun.worker);
    let snapshot = worker.snapshot();
    let (Some(settings), Some(tls)) = (&snapshot.model.listen.tls, &snapshot.tls) else { return };
    let mut socket = Socket::Tcp(tcp);
    let shaking = async {
        if early.is_empty() && matches!(read_some(&mut socket, &mut early, FIRST_READ).await, Ok(0) | Err(_))
        {
            return Err(Failed { why: HandshakeFailure::Left, cause: None, socket: None });
        }
        if early[0] != TLS_HANDSHAKE {
            let is_http = early[0].is_ascii_uppercase();
            let why = if is_http { HandshakeFailure::PlainHttp } else { HandshakeFailure::NoTls };
            return Err(Failed { why, cause: None, socket: Some(socket) });
        }
        shake_hands(tls, socket, early.split(), &worker).await
    };
    let timed_out = Failed { why: HandshakeFailure::TimedOut, cause: None, socket: None };
    let shaken = begun.within(settings.handshake_timeout, shaking).await.unwrap_or(Err(timed_out));
    match shaken {
        Ok(Handshaken { socket, is_http2, is_resumed, version, client }) => {
            let count =
                if is_resumed { &worker.series.arrivals.resumed } else { &worker.series.arrivals.full };
            count.add(1);
            let by = snapshot.model.identity.certificate_name();
            let certified = client.and_then(|der| client_name(&der, by, unix_seconds(&worker)));
            let protocol = if is_http2 { Protocol::Http2 } else { Protocol::Http1 };
            let arrival = Arrival { peer, scheme: Scheme::Https, protocol, certified, tls: Some(version) };
            let conn = Connection::new(&worker, arrival);
            drop((snapshot, begun));
            connection::serve(socket, conn, seat).await;
        }
        Err(failed) => {
            worker.series.arrivals.handshake_failed(failed.why);
            failed.end(early, peer, begun).await;
            drop(seat);
        }
    }
}

async fn shake_hands(
    tls: &ServerTls,
    socket: Socket,
    early: BytesMut,
    worker: &Worker,
) -> Result<Handshaken, Failed> {
    let Socket::Tcp(tcp) = socket else {
        return Err(Failed { why: HandshakeFailure::NoTls, cause: None, socket: None });
    };
    let shaken = tls.handshake(tcp, early.freeze(), unix_seconds(worker)).await;
    shaken.map_err(|(error, tcp)| Failed {
        why: failure::of(&error),
        socket: tcp.map(Socket::Tcp),
        cause: Some(error),
    })
}

fn unix_seconds(worker: &Worker) -> u64 {
    worker.clock.unix_nanos(worker.clock.recent()) / 1_000_000_000
}

/// A handshake that failed.
struct Failed {
    why: HandshakeFailure,
    cause: Option<io::Error>,
    socket: Option<Socket>,
}

impl Failed {
    /// Lets the client learn why, as far as it can.
    async fn end(self, early: BytesMut, peer: Option<IpAddr>, begun: Begun) {
        let Failed { why, cause, socket } = self;
        let (told, cause) = (peer.map(tracing::field::display), cause.as_ref().map(tracing::field::display));
        tracing::debug!(peer = told, reason = why.as_str(), cause, "handshake failed");
        let Some(mut socket) = socket else { return };
        match why {
            HandshakeFailure::PlainHttp => {
                let conn = Connection::new(&begun.worker, Arrival::plain(peer, false));
                conn.wire.put_back(&early);
                connection::refuse_plain(socket, &conn, &begun.alarm).await;
            }
            HandshakeFailure::NoTls | HandshakeFailure::Left | HandshakeFailure::TimedOut => {}
            HandshakeFailure::NothingInCommon
            | HandshakeFailure::ClientCertificate
            | HandshakeFailure::RefusedByClient
            | HandshakeFailure::Malformed => connection::linger(&mut socket, &begun.alarm).await,
        }
    }
}
