//! The admin thread: accepting, and serving connections, on a runtime of its own, so that nothing that is asked here
//! holds up a worker or the control thread.
//!
//! Invariant: connections are bounded in number, heads and bodies in size, and whoever does not read or write for
//! [`PATIENCE`] is dropped.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Semaphore, watch};
use tokio::time::Sleep;

use crate::socket::Socket;

use super::control::Control;
use super::server::Server;

/// How long a peer may take for a head, for a body, or to read what is written.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: usize = 64;
const MAX_HEAD: usize = 16 * 1024;
/// Pause after an error that would only repeat, such as too many open files.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// A bound address that no runtime has yet.
#[derive(Debug)]
pub enum Bound {
    /// Not blocking.
    Tcp(std::net::TcpListener),
    /// Not blocking.
    Unix(std::os::unix::net::UnixListener),
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Tcp(SocketAddr),
    /// Whoever may open the socket.
    Unix,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix"),
        }
    }
}

/// The thread; it ends when this is dropped, and what it was answering with it.
#[derive(Debug)]
pub struct AdminThread {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl AdminThread {
    /// Begins.
    pub fn start(listeners: Vec<Bound>, control: Arc<Control>) -> io::Result<AdminThread> {
        let (stop, mut stopped) = watch::channel(false);
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            runtime.block_on(async {
                let listeners: io::Result<Vec<Listener>> = listeners.into_iter().map(register).collect();
                match listeners {
                    Ok(listeners) => {
                        serve(listeners, control);
                        let _ = started.send(Ok(()));
                        let _ = stopped.wait_for(|stop| *stop).await;
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            });
        })?;
        start.recv().unwrap_or_else(|_| Err(io::Error::other("the admin thread ended before it began")))?;
        Ok(AdminThread { stop, thread: Some(thread) })
    }
}

impl Drop for AdminThread {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the admin thread panicked");
        }
    }
}

#[derive(Debug)]
enum Listener {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

fn register(bound: Bound) -> io::Result<Listener> {
    Ok(match bound {
        Bound::Tcp(listener) => Listener::Tcp(tokio::net::TcpListener::from_std(listener)?),
        Bound::Unix(listener) => Listener::Unix(tokio::net::UnixListener::from_std(listener)?),
    })
}

impl Listener {
    async fn accept(&self) -> io::Result<(Socket, Peer)> {
        Ok(match self {
            Listener::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                // A peer that has already gone is noticed by the first read.
                let _ = socket.set_nodelay(true);
                // What the kernel took for a peer that does not read, or is gone without a word, is not written.
                let _ = SockRef::from(&socket).set_tcp_user_timeout(Some(PATIENCE));
                (Socket::Tcp(socket), Peer::Tcp(peer))
            }
            Listener::Unix(listener) => (Socket::Unix(listener.accept().await?.0), Peer::Unix),
        })
    }
}

fn serve(listeners: Vec<Listener>, control: Arc<Control>) {
    let server = Server::start(control);
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    for listener in listeners {
        tokio::task::spawn_local(accept(listener, Rc::clone(&server), Arc::clone(&seats)));
    }
}

async fn accept(listener: Listener, server: Rc<Server>, seats: Arc<Semaphore>) {
    // Never closed.
    while let Ok(seat) = Arc::clone(&seats).acquire_owned().await {
        match listener.accept().await {
            Ok((socket, peer)) => {
                let server = Rc::clone(&server);
                tokio::task::spawn_local(async move {
                    converse(socket, peer, server).await;
                    drop(seat);
                });
            }
            Err(error) => {
                server.tell_of_accepting(&error);
                tokio::time::sleep(ACCEPT_BACK_OFF).await;
            }
        }
    }
}

/// One connection, until either side ends it.
async fn converse(socket: Socket, peer: Peer, server: Rc<Server>) {
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let server = Rc::clone(&server);
        async move { Ok::<_, Infallible>(server.answer(request, peer).await) }
    });
    let io = TokioIo::new(Patient { socket, stalled: None });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(io, service);
    // What ends it early is the peer's business.
    let _ = connection.await;
}

/// A socket whose peer must read.
#[derive(Debug)]
struct Patient {
    socket: Socket,
    /// There while something waits to be written.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn watched<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut Socket>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(result) = poll(Pin::new(&mut self.socket), cx) {
            self.stalled = None;
            return Poll::Ready(result);
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.watched(cx, |socket, cx| socket.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watched(cx, |socket, cx| socket.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
