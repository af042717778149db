//! A connected stream, TCP or Unix, and the addresses of both, written as tollgate writes them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};
use socket2::SockRef;

/// A connected stream.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Over TLS, with the handshake done.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Socket {
    /// Connects to `host:port` or `unix:/path`.
    pub fn connect(address: &str) -> io::Result<Socket> {
        match address.strip_prefix("unix:") {
            Some(path) => UnixStream::connect(path).map(Socket::Unix),
            None => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(stream))
            }
        }
    }

    /// Connects to `host:port` from an address of the loopback network, such as `127.0.0.2`.
    pub fn connect_from(source: [u8; 4], address: &str) -> io::Result<Socket> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect(&address.parse::<SocketAddr>().expect("an address and a port").into())?;
        socket.set_tcp_nodelay(true)?;
        Ok(Socket::Tcp(socket.into()))
    }

    /// A second handle on the same stream.
    pub fn duplicate(&self) -> Socket {
        match self {
            Socket::Tcp(stream) => Socket::Tcp(stream.try_clone().unwrap()),
            Socket::Unix(stream) => Socket::Unix(stream.try_clone().unwrap()),
            Socket::Tls(_) => panic!("TLS has one handle"),
        }
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Socket::Tcp(stream) => Some(stream),
            Socket::Unix(_) => None,
            Socket::Tls(stream) => Some(&stream.sock),
        }
    }

    /// Lets the kernel hold little of what was received and not read.
    pub fn limit_receiving(&self, bytes: usize) {
        let limited = match self {
            Socket::Tcp(stream) => SockRef::from(stream).set_recv_buffer_size(bytes),
            Socket::Unix(stream) => SockRef::from(stream).set_recv_buffer_size(bytes),
            Socket::Tls(_) => panic!("set it before TLS begins"),
        };
        limited.unwrap();
    }

    /// How long one read or write may take.
    pub fn set_timeout(&self, limit: Option<Duration>) {
        match self {
            Socket::Tcp(_) | Socket::Tls(_) => {
                let stream = self.tcp().unwrap();
                stream.set_read_timeout(limit).unwrap();
                stream.set_write_timeout(limit).unwrap();
            }
            Socket::Unix(stream) => {
                stream.set_read_timeout(limit).unwrap();
                stream.set_write_timeout(limit).unwrap();
            }
        }
    }

    /// Lets the kernel keep little of what is not read.
    pub fn narrow(&self) {
        if let Some(stream) = self.tcp() {
            SockRef::from(stream).set_recv_buffer_size(64 * 1024).unwrap();
        }
    }

    /// Ends our direction, or both.
    pub fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Socket::Tcp(stream) => stream.shutdown(how),
            Socket::Unix(stream) => stream.shutdown(how),
            Socket::Tls(stream) => stream.sock.shutdown(how),
        };
    }

    /// Closes with a reset: the peer's next read fails instead of ending.
    pub fn reset(self) {
        if let Some(stream) = self.tcp() {
            SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }

    /// Whether bytes, or the end, wait to be read.
    pub fn peeked(&self) -> bool {
        let stream = self.tcp().expect("only TCP can be peeked");
        stream.set_nonblocking(true).unwrap();
        let waits = stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).unwrap();
        waits
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buffer),
            Socket::Unix(stream) => stream.read(buffer),
            Socket::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Unix(stream) => stream.write(bytes),
            Socket::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Socket::Tcp(_) | Socket::Unix(_) => Ok(()),
            Socket::Tls(stream) => stream.flush(),
        }
    }
}
