//! Lines to the socket of the CloudWatch agent.
//!
//! Over TCP a line that was not taken whole is sent again on the next connection, from its beginning; so is what
//! follows it. A connection that the agent has closed, or on which nothing moves, is given up: a client that keeps a
//! dead socket loses everything in silence. Lines that the kernel took and the agent never read are lost.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use crate::clock::{Clock, Tick};
use crate::config::model::emf::HostPort;

use super::{Lost, Outlet, count};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A write waits so long before it looks whether it is to give up.
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);
/// A connection on which nothing moves for so long is dead. What the kernel holds of it is lost with it, so that an
/// agent that only pauses is worth waiting for.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes the kernel may hold for the agent, and lose.
const SEND_BUFFER: usize = 256 * 1024;
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The agent over TCP.
#[derive(Debug)]
pub struct TcpAgent {
    address: HostPort,
    stream: Option<TcpStream>,
    back_off: Duration,
    is_told: bool,
    clock: Clock,
}

impl TcpAgent {
    /// Connects with the first line: an agent that starts later than tollgate is no error.
    pub fn new(address: HostPort) -> TcpAgent {
        TcpAgent { address, stream: None, back_off: FIRST_BACK_OFF, is_told: false, clock: Clock::start() }
    }

    fn connect(&mut self) -> io::Result<()> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses(&self.address)? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
                    let options = socket2::SockRef::from(&stream);
                    options.set_tcp_user_timeout(Some(STALL_TIMEOUT))?;
                    options.set_send_buffer_size(SEND_BUFFER)?;
                    self.stream = Some(stream);
                    return Ok(());
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Sends as much as it can on one connection, and tells how many bytes the kernel took.
    fn send(&mut self, bytes: &[u8], give_up: &dyn Fn() -> bool) -> (usize, io::Result<()>) {
        if self.stream.is_none() {
            // Whoever is in a hurry has many buffers, and each would wait for an agent that does not answer.
            if give_up() {
                return (0, Err(io::ErrorKind::TimedOut.into()));
            }
            if let Err(error) = self.connect() {
                return (0, Err(error));
            }
        }
        let Some(stream) = &mut self.stream else { return (0, Ok(())) };
        if is_closed(stream) {
            return (0, Err(io::ErrorKind::ConnectionReset.into()));
        }
        let (mut sent, mut moved) = (0, self.clock.now());
        while sent < bytes.len() {
            match stream.write(&bytes[sent..]) {
                Ok(0) => return (sent, Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    sent += written;
                    moved = self.clock.now();
                }
                Err(error) if is_timeout(&error) => {
                    if give_up() || moved + STALL_TIMEOUT <= self.clock.now() {
                        return (sent, Err(io::ErrorKind::TimedOut.into()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (sent, Err(error)),
            }
        }
        (sent, Ok(()))
    }

    fn tell_failure(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_told, true) {
            let address = self.address.to_string();
            tracing::warn!(address, %error, "the CloudWatch agent does not take EMF lines, they wait");
        }
    }

    fn tell_success(&mut self) {
        self.back_off = FIRST_BACK_OFF;
        if std::mem::take(&mut self.is_told) {
            let address = self.address.to_string();
            tracing::info!(address, "the CloudWatch agent takes EMF lines again");
        }
    }

    fn wait(&mut self, give_up: &dyn Fn() -> bool) {
        let until: Tick = self.clock.now() + self.back_off;
        self.back_off = (self.back_off * 2).min(LONGEST_BACK_OFF);
        while !give_up() && self.clock.now() < until {
            std::thread::park_timeout(LOOK_EVERY);
        }
    }
}

impl Outlet for TcpAgent {
    fn put(&mut self, lines: &[u8], give_up: &dyn Fn() -> bool) -> Result<(), Lost> {
        let mut rest = lines;
        loop {
            let (sent, result) = self.send(rest, give_up);
            // The line that was cut is begun again.
            let whole = memchr::memrchr(b'\n', &rest[..sent]).map_or(0, |end| end + 1);
            rest = &rest[whole..];
            let Err(error) = result else {
                self.tell_success();
                return Ok(());
            };
            self.stream = None;
            self.tell_failure(&error);
            if give_up() {
                return Err(Lost { lines: count(rest), error });
            }
            self.wait(give_up);
        }
    }
}

/// Whether the agent has closed its side. It never sends anything.
fn is_closed(stream: &mut TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let read = stream.read(&mut [0; 64]);
    let blocking = stream.set_nonblocking(false);
    let open = match read {
        Ok(bytes) => bytes > 0,
        Err(error) => is_timeout(&error),
    };
    !open || blocking.is_err()
}

/// Nobody takes datagrams there.
fn is_of_the_address(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn addresses(address: &HostPort) -> io::Result<impl Iterator<Item = SocketAddr>> {
    (address.host.as_str(), address.port).to_socket_addrs()
}

/// The agent over UDP: a datagram a line. Whether one arrives nobody knows; where nobody takes them, the next are sent
/// to the next address of its name, which may have another one by now.
#[derive(Debug)]
pub struct UdpAgent {
    address: HostPort,
    socket: Option<UdpSocket>,
    /// Which of the addresses, counted round and round.
    turn: usize,
}

impl UdpAgent {
    /// Opens its socket with the first line.
    pub fn new(address: HostPort) -> UdpAgent {
        UdpAgent { address, socket: None, turn: 0 }
    }

    fn socket(&mut self) -> io::Result<&UdpSocket> {
        if self.socket.is_none() {
            let all: Vec<SocketAddr> = addresses(&self.address)?.collect();
            let address = self.turn.checked_rem(all.len()).and_then(|at| all.get(at).copied());
            let address = address.ok_or(io::Error::from(io::ErrorKind::AddrNotAvailable))?;
            let any: SocketAddr = match address {
                SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
                SocketAddr::V6(_) => ([0u16; 8], 0).into(),
            };
            let socket = UdpSocket::bind(any)?;
            socket.connect(address)?;
            self.socket = Some(socket);
        }
        self.socket.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Outlet for UdpAgent {
    fn put(&mut self, lines: &[u8], _: &dyn Fn() -> bool) -> Result<(), Lost> {
        let mut lost: Option<Lost> = None;
        let mut elsewhere = false;
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let sent = self.socket().and_then(|socket| socket.send(line));
            if let Err(error) = sent {
                let before = lost.map_or(0, |lost| lost.lines);
                elsewhere |= is_of_the_address(&error);
                lost = Some(Lost { lines: before + 1, error });
            }
        }
        if elsewhere {
            self.socket = None;
            self.turn = self.turn.wrapping_add(1);
        }
        lost.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn at(address: SocketAddr) -> HostPort {
        HostPort { host: address.ip().to_string(), port: address.port() }
    }

    #[test]
    fn whoever_gives_up_does_not_connect_first() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut agent = TcpAgent::new(at(listener.local_addr().unwrap()));
        let lost = agent.put(b"a\nb\n", &|| true).unwrap_err();
        assert_eq!(lost.lines, 2);
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        agent.put(b"a\nb\n", &|| false).unwrap();
        assert!(listener.accept().is_ok());
    }

    #[test]
    fn datagrams_that_nobody_takes_are_sent_elsewhere_next_time() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        drop(taken);
        let mut agent = UdpAgent::new(at(address));
        let lost = agent.put(b"a\nb\n", &|| false).unwrap_err();
        assert_eq!((lost.lines, lost.error.kind()), (1, io::ErrorKind::ConnectionRefused));
        assert!(agent.socket.is_none(), "its name is looked up again");
        let taken = UdpSocket::bind(address).unwrap();
        taken.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        agent.put(b"c\n", &|| false).unwrap();
        let mut datagram = [0; 9];
        assert_eq!(taken.recv(&mut datagram).unwrap(), 2);
    }

    #[test]
    fn a_line_that_is_too_long_for_a_datagram_is_lost_alone_and_changes_no_address() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut agent = UdpAgent::new(at(taken.local_addr().unwrap()));
        let lines = [&vec![b'a'; 70_000][..], b"\nb\n"].concat();
        assert_eq!(agent.put(&lines, &|| false).unwrap_err().lines, 1);
        assert!(agent.socket.is_some());
        let mut datagram = [0; 9];
        assert_eq!(taken.recv(&mut datagram).unwrap(), 2);
    }
}
