//! HTTP/1.1 as bytes: heads and bodies read from a socket, nothing forgiven, nothing hidden.
//!
//! Written for the tests alone, so that a mistake in the library tollgate uses is not repeated
//! in what checks it.

use std::io::{self, Read, Write};

use super::PATIENCE;
use super::socket::Socket;

/// How a peer's side of a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// An orderly close.
    Closed,
    /// A reset.
    Reset,
    /// Over TLS: a close that was not said, which may be anybody's, or an alert.
    Torn,
}

/// How the length of a body was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none by the rules.
    Empty,
    /// `Content-Length`
    Length(u64),
    /// `Transfer-Encoding: chunked`
    Chunked,
    /// Until the connection closes.
    UntilClose,
}

/// Field lines as received: names in lower case, values with outer blanks removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, Vec<u8>)>);

impl Headers {
    /// The only value of a field; `None` without one, a panic with several.
    pub fn get(&self, name: &str) -> Option<String> {
        let mut values = self.all(name);
        assert!(values.len() <= 1, "several lines of `{name}`: {values:?}");
        values.pop()
    }

    /// All values of a field, in order.
    pub fn all(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(held, _)| held == name);
        values.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// Whether there is at least one such line.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(held, _)| held == name)
    }
}

/// Splits a raw head into its first line and its fields. Panics on anything malformed: neither
/// tollgate nor a test may produce such a head where this is called.
pub fn parse_head(raw: &[u8]) -> (String, Headers) {
    let text = String::from_utf8_lossy(raw).into_owned();
    let body = raw.strip_suffix(b"\r\n\r\n").unwrap_or_else(|| panic!("no end of head: {text}"));
    let mut lines = split_lines(body).into_iter();
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let fields = lines.map(|line| {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or_else(|| panic!("no colon in: {text}")));
        let value = value[1..].trim_ascii().to_vec();
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n')), "bare line end: {text}");
        (String::from_utf8_lossy(name).to_ascii_lowercase(), value)
    });
    (first, Headers(fields.collect()))
}

fn split_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    lines
}

/// A body as read, and whether its end was where it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body {
    /// The content, chunk framing removed.
    pub bytes: Vec<u8>,
    /// Fields after the last chunk.
    pub trailers: Headers,
    /// Set when the connection ended before the body did.
    pub cut: Option<Ending>,
}

/// A socket with what was read from it and not yet used.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
    unread: Vec<u8>,
    ended: Option<Ending>,
}

impl Wire {
    /// Wraps a connected socket.
    pub fn new(socket: Socket) -> Wire {
        socket.set_timeout(Some(PATIENCE));
        Wire { socket, unread: Vec::new(), ended: None }
    }

    /// The socket itself.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The socket, without what was read ahead.
    pub fn into_socket(self) -> Socket {
        self.socket
    }

    /// Sends everything, or panics.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// Sends everything, or tells why not.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)?;
        self.socket.flush()
    }

    /// Reads once. `Err` is the end of the peer's side; a peer that stays silent is a panic.
    pub fn read_more(&mut self) -> Result<(), Ending> {
        if let Some(ending) = self.ended {
            return Err(ending);
        }
        let mut buffer = [0; 64 * 1024];
        let ending = match self.socket.read(&mut buffer) {
            Ok(0) => Ending::Closed,
            Ok(count) => {
                self.unread.extend_from_slice(&buffer[..count]);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) if reset(&error) => Ending::Reset,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
            {
                Ending::Torn
            }
            Err(error) => panic!(
                "waited in vain for more bytes ({error}); unread so far: {:?}",
                String::from_utf8_lossy(&self.unread)
            ),
        };
        self.ended = Some(ending);
        Err(ending)
    }

    /// Bytes read and not yet used.
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// A whole head, its empty line included.
    pub fn head(&mut self) -> Result<Vec<u8>, Ending> {
        self.until(b"\r\n\r\n")
    }

    /// Everything up to and with `mark`.
    pub fn until(&mut self, mark: &[u8]) -> Result<Vec<u8>, Ending> {
        let mut searched = 0;
        loop {
            let found = self.unread[searched..].windows(mark.len()).position(|part| part == mark);
            if let Some(at) = found {
                return Ok(self.unread.drain(..searched + at + mark.len()).collect());
            }
            searched = self.unread.len().saturating_sub(mark.len() - 1);
            self.read_more()?;
        }
    }

    /// Exactly this many bytes.
    pub fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Ending> {
        while self.unread.len() < count {
            self.read_more()?;
        }
        Ok(self.unread.drain(..count).collect())
    }

    /// Whatever comes next, at least one byte.
    pub fn some(&mut self) -> Result<Vec<u8>, Ending> {
        if self.unread.is_empty() {
            self.read_more()?;
        }
        Ok(std::mem::take(&mut self.unread))
    }

    /// Everything until the peer ends, and how it ended.
    pub fn rest(&mut self) -> (Vec<u8>, Ending) {
        loop {
            if let Err(ending) = self.read_more() {
                return (std::mem::take(&mut self.unread), ending);
            }
        }
    }

    /// How the peer ended; a panic if it sends anything before.
    pub fn end(&mut self) -> Ending {
        let (rest, ending) = self.rest();
        assert!(rest.is_empty(), "bytes after the end: {:?}", String::from_utf8_lossy(&rest));
        ending
    }

    /// The next chunk; an empty one is the last, and its trailers are the second value.
    pub fn chunk(&mut self) -> Result<(Vec<u8>, Headers), Ending> {
        let line = self.until(b"\r\n")?;
        let text = String::from_utf8(line).expect("a chunk size");
        let digits = text.trim_end().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("not a chunk size: {text:?}"));
        if size == 0 {
            let mut fields = Vec::new();
            loop {
                let line = self.until(b"\r\n")?;
                if line == b"\r\n" {
                    return Ok((Vec::new(), Headers(fields)));
                }
                let mut block = b"\r\n".to_vec();
                block.extend_from_slice(&line);
                block.extend_from_slice(b"\r\n");
                fields.append(&mut parse_head(&block).1.0);
            }
        }
        let content = self.exactly(size)?;
        assert_eq!(self.exactly(2)?, b"\r\n", "a chunk's end");
        Ok((content, Headers::default()))
    }

    /// A whole body, as far as it came.
    pub fn body(&mut self, framing: Framing) -> Body {
        let mut body = Body::default();
        match framing {
            Framing::Empty => {}
            Framing::Length(length) => {
                let length = usize::try_from(length).unwrap();
                while self.unread.len() < length {
                    if let Err(ending) = self.read_more() {
                        body.cut = Some(ending);
                        break;
                    }
                }
                let held = length.min(self.unread.len());
                body.bytes = self.unread.drain(..held).collect();
            }
            Framing::Chunked => loop {
                match self.chunk() {
                    Ok((content, trailers)) if content.is_empty() => {
                        body.trailers = trailers;
                        break;
                    }
                    Ok((mut content, _)) => body.bytes.append(&mut content),
                    Err(ending) => {
                        body.cut = Some(ending);
                        break;
                    }
                }
            },
            Framing::UntilClose => {
                let (bytes, ending) = self.rest();
                body.bytes = bytes;
                body.cut = (ending != Ending::Closed).then_some(ending);
            }
        }
        body
    }
}

/// Whether an error means that the peer threw the connection away.
pub fn reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe
    )
}
