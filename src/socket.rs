//! A connected byte stream, of either side: TCP, Unix, or TLS over TCP.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Over TLS, in plaintext on our side.
    Tls(Box<TlsStream<Carrier>>),
}

impl Socket {
    /// Resolves when there is something to read, or the other side has left. Of a TLS stream, only after a read had to
    /// wait: what is decrypted already is not looked at.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(socket) => socket.poll_read_ready(cx),
            Socket::Unix(socket) => socket.poll_read_ready(cx),
            Socket::Tls(stream) => stream.get_ref().0.tcp.poll_read_ready(cx),
        }
    }

    /// Whether it is TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Socket::Tls(_))
    }

    /// Of TLS, bytes that the kernel took so far. What is written to a TLS stream may wait in it, encrypted, until it is
    /// flushed.
    pub fn carried(&self) -> Option<u64> {
        match self {
            Socket::Tls(stream) => Some(stream.get_ref().0.carried),
            Socket::Tcp(_) | Socket::Unix(_) => None,
        }
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Socket::Tcp(socket) => Some(socket),
            Socket::Unix(_) => None,
            Socket::Tls(stream) => Some(&stream.get_ref().0.tcp),
        }
    }

    /// Lets the close that follows be a reset, so that an answer which only the connection's end
    /// delimits cannot pass for a whole one.
    pub fn reset_on_close(&self) {
        if let Some(socket) = self.tcp() {
            // A socket that refuses the option is closed in the ordinary way.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }

    /// Lets the kernel take no more than so many bytes of what it cannot send yet.
    pub fn limit_unsent(&self, bytes: u32) {
        if let Some(socket) = self.tcp() {
            // A kernel that does not know the option takes more, and shows a slow reader later.
            let _ = SockRef::from(socket).set_tcp_notsent_lowat(bytes);
        }
    }

    /// Lets the kernel find out about a peer that vanished without a word.
    pub fn keep_alive(&self, after: Duration) {
        if let Some(socket) = self.tcp() {
            let _ = SockRef::from(socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(after));
        }
    }
}

/// The TCP socket below TLS. What was read of it before TLS began is given out first.
#[derive(Debug)]
pub struct Carrier {
    tcp: TcpStream,
    early: Bytes,
    /// Bytes that the kernel took.
    carried: u64,
}

impl Carrier {
    /// A socket of which `early` was read.
    pub fn new(tcp: TcpStream, early: Bytes) -> Carrier {
        Carrier { tcp, early, carried: 0 }
    }

    /// The bare socket.
    pub fn into_tcp(self) -> TcpStream {
        self.tcp
    }

    fn count(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = &written {
            self.carried += *written as u64;
        }
        written
    }
}

impl AsyncRead for Carrier {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.early.is_empty() {
            return Pin::new(&mut this.tcp).poll_read(cx, buf);
        }
        let len = this.early.len().min(buf.remaining());
        buf.put_slice(&this.early[..len]);
        this.early.advance(len);
        if this.early.is_empty() {
            // Gives the memory back.
            this.early = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.tcp).poll_write(cx, buf);
        this.count(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.tcp).poll_write_vectored(cx, bufs);
        this.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

macro_rules! either {
    ($self:expr, $socket:ident => $call:expr) => {
        match $self.get_mut() {
            Socket::Tcp($socket) => $call,
            Socket::Unix($socket) => $call,
            Socket::Tls($socket) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, socket => Pin::new(socket).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, socket => Pin::new(socket).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, socket => Pin::new(socket).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, socket => Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, socket => Pin::new(socket).poll_shutdown(cx))
    }
}
