//! Accepting: never in the way of connections that are being served, and never spinning.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

use crate::socket::Socket;
use crate::telemetry::arrivals::ProxyFailure;

use super::arrival::{Accepted, arrive};
use super::worker::{Seat, Worker};

/// Pause after an error that would only repeat, such as too many open files.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);
/// Pause while `max_connections` are open.
const SEAT_WAIT: Duration = Duration::from_millis(10);
/// Bytes that the kernel holds for a client that does not read, besides what it has under way. It takes more when half
/// of them are gone: in such steps it shows that the client reads.
const UNSENT: u32 = 128 * 1024;
/// At most this often an accept error is told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// A bound address, as one worker has it.
#[derive(Debug)]
pub enum Listener {
    /// Its own queue, by `SO_REUSEPORT`.
    Tcp(TcpListener),
    /// One queue for all workers.
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<(Socket, Option<IpAddr>)> {
        match self {
            Listener::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                // A peer that has already gone is noticed by the first read.
                let _ = socket.set_nodelay(true);
                Ok((Socket::Tcp(socket), Some(peer.ip().to_canonical())))
            }
            Listener::Unix(listener) => {
                let (socket, _) = listener.accept().await?;
                Ok((Socket::Unix(socket), None))
            }
        }
    }
}

/// What is accepted at an address.
#[derive(Debug, Clone, Copy)]
pub struct Accepting {
    /// TLS is spoken on it.
    pub is_tls: bool,
    /// Whose the queue is.
    pub queue: Queue,
}

/// Whose the connections are that the kernel has completed when the listener closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Ours: nobody else could accept them.
    Ours,
    /// Of whoever listens next on the same socket, which is not ours to close.
    Kept,
}

/// Accepts until `stop` says otherwise, then serves what is in the queue if it is ours, and closes the listener.
pub async fn accept(
    listener: Listener,
    accepting: Accepting,
    worker: Rc<Worker>,
    mut stop: watch::Receiver<bool>,
) {
    let Accepting { is_tls, queue } = accepting;
    let mut last_told = None;
    while !*stop.borrow() {
        if !worker.has_seat() {
            tokio::time::sleep(SEAT_WAIT).await;
            continue;
        }
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        match accepted {
            Ok((socket, peer)) => {
                let seat = next_seat(&worker).await;
                serve(&worker, socket, peer, seat, is_tls);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                let now = worker.clock.now();
                if last_told.is_none_or(|told| told + TELL_EVERY <= now) {
                    last_told = Some(now);
                    tracing::warn!(%error, "cannot accept connections");
                }
                tokio::time::sleep(ACCEPT_BACK_OFF).await;
            }
        }
    }
    if queue == Queue::Ours {
        // It ends with an error: the queue is empty, or cannot be read.
        let _ = serve_queue(listener, is_tls, &worker);
    }
}

/// The last one may have gone to another worker since; then this connection waits here, accepted, for the next.
async fn next_seat(worker: &Rc<Worker>) -> Seat {
    loop {
        match worker.take_seat() {
            Some(seat) => return seat,
            None => tokio::time::sleep(SEAT_WAIT).await,
        }
    }
}

/// Connections that the kernel had completed before the listener closes would be reset with it. Asks the kernel
/// itself: the runtime may not have heard of them yet.
fn serve_queue(listener: Listener, is_tls: bool, worker: &Rc<Worker>) -> io::Result<()> {
    let next: Box<dyn Fn() -> io::Result<(Socket, Option<IpAddr>)>> = match listener {
        Listener::Tcp(listener) => {
            let listener = listener.into_std()?;
            Box::new(move || {
                let (socket, peer) = listener.accept()?;
                socket.set_nonblocking(true)?;
                Ok((Socket::Tcp(TcpStream::from_std(socket)?), Some(peer.ip().to_canonical())))
            })
        }
        Listener::Unix(listener) => {
            let listener = listener.into_std()?;
            Box::new(move || {
                let (socket, _) = listener.accept()?;
                socket.set_nonblocking(true)?;
                Ok((Socket::Unix(UnixStream::from_std(socket)?), None))
            })
        }
    };
    while let Some(seat) = worker.take_seat() {
        let (socket, peer) = next()?;
        serve(worker, socket, peer, seat, is_tls);
    }
    Ok(())
}

fn serve(worker: &Rc<Worker>, socket: Socket, peer: Option<IpAddr>, mut seat: Seat, is_tls: bool) {
    let snapshot = worker.snapshot();
    let listen = &snapshot.model.listen;
    if listen.proxy_protocol {
        // Whoever can connect to a Unix socket is trusted. The client's place is taken once its proxy has named it.
        if peer.is_some_and(|peer| !listen.trusts(peer)) {
            return refuse_unheaded(worker, &socket, peer, ProxyFailure::Untrusted);
        }
    } else {
        match seat.with_peer(peer) {
            Some(seated) => seat = seated,
            None => return refuse(worker, &socket, peer),
        }
    }
    socket.limit_unsent(UNSENT);
    let accepted = Accepted { socket, peer, seat, is_headed: listen.proxy_protocol, is_tls };
    tokio::task::spawn_local(arrive(accepted, Rc::clone(worker)));
}

/// An answer would cost more than whoever sends floods has paid.
pub(super) fn refuse(worker: &Worker, socket: &Socket, peer: Option<IpAddr>) {
    socket.reset_on_close();
    worker.series.refused_connections.add(1);
    if let Some(refused) = worker.peers.refused(worker.clock.now()) {
        let peer = peer.map(tracing::field::display);
        tracing::warn!(peer, refused, "an address has `max_connections_per_ip` connections, more are reset");
    }
}

/// Who says nothing of the client it speaks for, or is not believed, gets no answer either.
pub(super) fn refuse_unheaded(worker: &Worker, socket: &Socket, peer: Option<IpAddr>, failure: ProxyFailure) {
    socket.reset_on_close();
    worker.series.arrivals.proxy_failed(failure);
    // Checks of load balancers may do no more than to connect.
    if failure != ProxyFailure::Left
        && let Some(refused) = worker.unheaded.refused(worker.clock.now())
    {
        let (peer, reason) = (peer.map(tracing::field::display), failure.as_str());
        tracing::warn!(
            peer,
            reason,
            refused,
            "connections without a header of the PROXY protocol of a trusted proxy are reset"
        );
    }
}

/// Errors of a connection that was gone before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
