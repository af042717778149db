//! One request over a connection of its own, and the head of its answer.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::tls::client::ClientTls;
use crate::tls::files::TlsFileError;

/// To a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// For each piece of an answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// Of an answer.
const MAX_BYTES: usize = 64 << 10;
const MAX_FIELDS: usize = 100;

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Tcp { host: String, port: u16 },
    Tls { host: String, port: u16, tls: ClientTls },
    Unix(PathBuf),
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) server: Option<String>,
    pub(super) date: Option<String>,
    /// The beginning of it.
    pub(super) body: String,
}

/// Why nothing did.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The name has no address.
    NoAddress(io::Error),
    /// Nobody accepts.
    NotThere(io::Error),
    /// What TLS needs cannot be used.
    Tls(TlsFileError),
    /// The connection is there, an answer is not.
    Silent(io::Error),
    /// It is no HTTP.
    SomethingElse,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::NoAddress(error) => write!(f, "the name has no address: {error}"),
            Trouble::NotThere(error) => write!(f, "nobody can be reached: {error}"),
            Trouble::Tls(error) => write!(f, "`[upstream.tls]`: {error}"),
            Trouble::Silent(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                write!(f, "it accepts, and does not answer within {} s", ANSWER_PATIENCE.as_secs())
            }
            Trouble::Silent(error) => write!(f, "it accepts, and does not answer: {error}"),
            Trouble::SomethingElse => f.write_str("what it answers is no HTTP"),
        }
    }
}

/// Asks for a path.
pub(super) fn ask(place: &Place, method: &str, path: &str) -> Result<Answer, Trouble> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: tollgate-doctor\r\nConnection: close\r\n\r\n"
    );
    let bytes = match place {
        Place::Unix(path) => {
            let socket = UnixStream::connect(path).map_err(Trouble::NotThere)?;
            let limits = socket
                .set_read_timeout(Some(ANSWER_PATIENCE))
                .and(socket.set_write_timeout(Some(ANSWER_PATIENCE)));
            limits.and_then(|()| exchange(socket, &request, method == "HEAD"))
        }
        Place::Tcp { host, port } => {
            let socket = connect(host, *port)?;
            let limits = socket
                .set_read_timeout(Some(ANSWER_PATIENCE))
                .and(socket.set_write_timeout(Some(ANSWER_PATIENCE)));
            limits.and_then(|()| exchange(socket, &request, method == "HEAD"))
        }
        Place::Tls { host, port, tls } => {
            let socket = connect(host, *port)?;
            let limits = socket
                .set_read_timeout(Some(ANSWER_PATIENCE))
                .and(socket.set_write_timeout(Some(ANSWER_PATIENCE)));
            limits.and_then(|()| exchange(tls.stream(socket)?, &request, method == "HEAD"))
        }
    };
    parse(&bytes.map_err(Trouble::Silent)?)
}

/// Whether somebody accepts connections.
pub(super) fn connect(host: &str, port: u16) -> Result<TcpStream, Trouble> {
    let mut last = io::Error::from(ErrorKind::NotFound);
    for address in (host, port).to_socket_addrs().map_err(Trouble::NoAddress)? {
        match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(Trouble::NotThere(last))
}

/// Writes a request and reads until the other side closes, or to the end of the head where no more is to come.
fn exchange(mut socket: impl Read + Write, request: &str, is_head_all: bool) -> io::Result<Vec<u8>> {
    socket.write_all(request.as_bytes())?;
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    while bytes.len() < MAX_BYTES && !(is_head_all && memchr::memmem::find(&bytes, b"\r\n\r\n").is_some()) {
        match socket.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(piece.get(..read).unwrap_or_default()),
            // What came is enough, however the connection ended.
            Err(_) if !bytes.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    if bytes.is_empty() { Err(io::Error::from(ErrorKind::UnexpectedEof)) } else { Ok(bytes) }
}

fn parse(bytes: &[u8]) -> Result<Answer, Trouble> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(head)) = response.parse(bytes) else {
        return Err(Trouble::SomethingElse);
    };
    let field = |name: &str| {
        let found = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(found.value).into_owned())
    };
    Ok(Answer {
        status: response.code.unwrap_or_default(),
        server: field("server"),
        date: field("date"),
        body: String::from_utf8_lossy(bytes.get(head..).unwrap_or_default()).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_from_something_else() {
        let answer = parse(b"HTTP/1.1 200 OK\r\nserver: gunicorn\r\nDate: now\r\n\r\nhi").unwrap();
        assert_eq!((answer.status, answer.server.as_deref(), &*answer.body), (200, Some("gunicorn"), "hi"));
        assert!(matches!(parse(b"SSH-2.0-OpenSSH\r\n"), Err(Trouble::SomethingElse)));
    }
}
