//! The chunked coding (RFC 9112 section 7.1), read strictly and in pieces.
//!
//! Used on both sides: toward the client to know where a request ends, toward the app to decode its
//! answer. Invariant: whatever the pieces, the same bytes give the same content or the same fault, and
//! memory is bounded.

/// What stands at the front of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes of framing, to be dropped.
    Framing(usize),
    /// So many bytes of content.
    Data(usize),
    /// So many bytes of framing, the last of the message.
    End(usize),
}

/// Why a chunked body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkFault {
    /// The size is not hexadecimal, or too large.
    Size,
    /// A line end other than CR LF, or missing.
    LineEnd,
    /// Chunk extensions beyond any use.
    Extension,
    /// Trailers beyond [`MAX_TRAILERS`].
    Trailers,
}

impl std::fmt::Display for ChunkFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ChunkFault::Size => "invalid chunk size",
            ChunkFault::LineEnd => "invalid line end in a chunked body",
            ChunkFault::Extension => "chunk extensions are too long",
            ChunkFault::Trailers => "trailers are too long",
        })
    }
}

/// Bytes of all trailer lines together.
pub const MAX_TRAILERS: usize = 8 * 1024;
/// Bytes of all extensions of a body together.
const MAX_EXTENSIONS: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { digits: u8 },
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
    Over,
}

/// A decoder for one chunked body.
#[derive(Debug, Clone)]
pub struct Chunked {
    state: State,
    remaining: u64,
    extensions: usize,
    trailers: Vec<u8>,
}

impl Chunked {
    /// At the first byte of a body.
    pub fn new() -> Chunked {
        Chunked { state: State::Size { digits: 0 }, remaining: 0, extensions: 0, trailers: Vec::new() }
    }

    /// Tells what stands at the front of `input`, which must not be empty.
    ///
    /// `Piece::Framing(n)` may cover all of `input`: then more is needed.
    pub fn next(&mut self, input: &[u8]) -> Result<Piece, ChunkFault> {
        let mut at = 0;
        while at < input.len() {
            match self.state {
                State::Data => {
                    if at > 0 {
                        return Ok(Piece::Framing(at));
                    }
                    let len = self.remaining.min(input.len() as u64);
                    self.remaining -= len;
                    if self.remaining == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(Piece::Data(len as usize));
                }
                State::Over => break,
                _ => self.framing_byte(input[at])?,
            }
            at += 1;
        }
        Ok(if self.state == State::Over { Piece::End(at) } else { Piece::Framing(at) })
    }

    /// The trailer lines received, with their line ends and without the empty line.
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    fn framing_byte(&mut self, byte: u8) -> Result<(), ChunkFault> {
        let before = self.state;
        self.state = match (before, byte) {
            (State::Size { digits: 1.. }, b'\r') => State::SizeLf,
            (State::Size { digits: 1.. }, b';') => State::Extension,
            (State::Size { digits }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(ChunkFault::Size)?;
                if digits == 15 {
                    return Err(ChunkFault::Size);
                }
                self.remaining = self.remaining * 16 + u64::from(digit);
                State::Size { digits: digits + 1 }
            }
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b'\n') => return Err(ChunkFault::LineEnd),
            (State::Extension, _) => {
                self.extensions += 1;
                if self.extensions > MAX_EXTENSIONS {
                    return Err(ChunkFault::Extension);
                }
                State::Extension
            }
            (State::SizeLf, b'\n') if self.remaining == 0 => State::TrailerStart,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: 0 },
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::TrailerStart | State::Trailer, b'\n') => return Err(ChunkFault::LineEnd),
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerStart | State::Trailer, _) => State::Trailer,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::LastLf, b'\n') => State::Over,
            _ => return Err(ChunkFault::LineEnd),
        };
        if matches!(self.state, State::Trailer | State::TrailerLf) || before == State::TrailerLf {
            if self.trailers.len() >= MAX_TRAILERS {
                return Err(ChunkFault::Trailers);
            }
            self.trailers.push(byte);
        }
        Ok(())
    }
}

impl Default for Chunked {
    fn default() -> Chunked {
        Chunked::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Content, trailers and what is left over, with the input given `step` bytes at a time.
    fn decode(input: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>, usize), ChunkFault> {
        let mut chunked = Chunked::new();
        let mut content = Vec::new();
        let mut at = 0;
        loop {
            let end = (at + step).min(input.len());
            assert!(at < end, "ran out of input");
            match chunked.next(&input[at..end])? {
                Piece::Framing(len) => at += len,
                Piece::Data(len) => {
                    content.extend(&input[at..at + len]);
                    at += len;
                }
                Piece::End(len) => {
                    return Ok((content, chunked.trailers().to_vec(), input.len() - at - len));
                }
            }
        }
    }

    #[test]
    fn content_trailers_and_end_are_found_whatever_the_pieces() {
        let body = b"5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nT: 1\r\nU: 2\r\n\r\nNEXT";
        for step in 1..body.len() {
            let (content, trailers, left) = decode(body, step).unwrap();
            assert_eq!(content, b"hello0123456789");
            assert_eq!(trailers, b"T: 1\r\nU: 2\r\n");
            assert_eq!(left, 4);
        }
        assert_eq!(decode(b"0\r\n\r\n", 5).unwrap(), (vec![], vec![], 0));
    }

    #[test]
    fn whatever_is_not_the_grammar_is_a_fault() {
        for (body, fault) in [
            (&b"\r\n"[..], ChunkFault::Size),
            (b"x\r\n", ChunkFault::Size),
            (b"+5\r\nhello\r\n", ChunkFault::Size),
            (b"0x5\r\nhello\r\n", ChunkFault::Size),
            (b"5 \r\nhello\r\n", ChunkFault::Size),
            (b"5\nhello\r\n", ChunkFault::Size),
            (b"1000000000000000\r\n", ChunkFault::Size),
            (b"5\r\nhelloX\r\n", ChunkFault::LineEnd),
            (b"5\r\nhello\n0\r\n\r\n", ChunkFault::LineEnd),
            (b"5;a\nhello", ChunkFault::LineEnd),
            (b"5\rXhello", ChunkFault::LineEnd),
            (b"0\r\nT: 1\n\r\n", ChunkFault::LineEnd),
            (b"0\r\n\rX", ChunkFault::LineEnd),
        ] {
            assert_eq!(decode(body, 64), Err(fault), "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let long = vec![b'a'; 20_000];
        assert_eq!(decode(&[b"5;", &long[..]].concat(), 30_000), Err(ChunkFault::Extension));
        assert_eq!(decode(&[b"0\r\n", &long[..]].concat(), 30_000), Err(ChunkFault::Trailers));
    }
}
