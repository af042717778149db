//! The bytes of a request head, looked at once before the HTTP parser sees them.
//!
//! The parser behind this is lenient where a proxy must not be: it accepts bare line feeds, hides a
//! `Content-Length` that stood beside `Transfer-Encoding`, and merges repeated lengths. Its service sees
//! none of that. So this scan walks the lines, judges only what the parser would hide or what has a limit of
//! its own, and leaves names, values and the target to the parser and to [`super::target`].
//!
//! Invariant: a head that passed has exactly one reading of where its body ends (RFC 9112 section 6.3).

use memchr::{memchr, memchr2};

use super::local_reply::BadRequest;

/// How large a request head may be.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Bytes of the request target.
    pub max_uri: usize,
    /// Field lines.
    pub max_headers: usize,
    /// Bytes of one field line without its line end.
    pub max_header_line: usize,
    /// Bytes of the whole head.
    pub max_header_bytes: usize,
}

/// Where the body of a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// `Content-Length`, never 0.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// A complete head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes up to and including the empty line.
    pub len: usize,
    /// Where the body ends.
    pub framing: Framing,
}

/// Why a head is refused before it is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadFault {
    /// Malformed or ambiguous.
    Bad(BadRequest),
    /// The target is longer than `max_uri`.
    UriTooLong,
    /// Too many fields, a line too long, or the whole too large.
    TooLarge,
    /// It did not arrive in time.
    TooSlow,
    /// It came in plain where TLS is spoken.
    NoTls,
}

impl From<BadRequest> for HeadFault {
    fn from(bad: BadRequest) -> HeadFault {
        HeadFault::Bad(bad)
    }
}

/// What the longest method and the version add to a request line.
const REQUEST_LINE_OVERHEAD: usize = 64;
/// Empty lines tolerated before a request line (RFC 9112 section 2.2).
const MAX_LEADING_EMPTY_LINES: usize = 4;

/// A scan over one head that may arrive in pieces.
///
/// Each byte is looked at a bounded number of times: finished lines are never read again.
#[derive(Debug, Clone)]
pub struct HeadScan {
    /// Start of the first unfinished line.
    line_start: usize,
    /// No line end before this.
    searched: usize,
    request_line_seen: bool,
    empty_lines: usize,
    fields: usize,
    http_10: bool,
    length: Option<u64>,
    chunked: bool,
}

impl HeadScan {
    /// A scan at the first byte of a head.
    pub fn new() -> HeadScan {
        HeadScan {
            line_start: 0,
            searched: 0,
            request_line_seen: false,
            empty_lines: 0,
            fields: 0,
            http_10: false,
            length: None,
            chunked: false,
        }
    }

    /// Goes on with the scan. `bytes` starts at the head's first byte and holds all that has arrived.
    ///
    /// `Ok(None)` means that the head is not complete yet.
    pub fn advance(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<Head>, HeadFault> {
        loop {
            let Some(found) = memchr2(b'\r', b'\n', &bytes[self.searched..]) else {
                self.searched = bytes.len();
                self.check_unfinished_line(bytes, limits)?;
                return Ok(None);
            };
            let end = self.searched + found;
            if bytes[end] == b'\n' {
                return Err(BadRequest::BareLineEnd.into());
            }
            match bytes.get(end + 1) {
                None => {
                    self.searched = end;
                    self.check_unfinished_line(bytes, limits)?;
                    return Ok(None);
                }
                Some(b'\n') => {}
                Some(_) => return Err(BadRequest::BareLineEnd.into()),
            }
            let line = &bytes[self.line_start..end];
            self.line_start = end + 2;
            self.searched = self.line_start;
            if line.is_empty() {
                if self.request_line_seen {
                    return self.complete().map(Some);
                }
                self.empty_lines += 1;
                if self.empty_lines > MAX_LEADING_EMPTY_LINES {
                    return Err(BadRequest::RequestLine.into());
                }
            } else if !self.request_line_seen {
                self.request_line(line, limits)?;
            } else {
                self.field_line(line, limits)?;
            }
            if self.line_start > limits.max_header_bytes {
                return Err(HeadFault::TooLarge);
            }
        }
    }

    /// Whether any byte of a request has arrived.
    pub fn begun(&self, arrived: usize) -> bool {
        arrived > self.empty_lines * 2
    }

    fn check_unfinished_line(&self, bytes: &[u8], limits: &HeadLimits) -> Result<(), HeadFault> {
        let arrived = bytes.len();
        let line = arrived - self.line_start;
        if !self.request_line_seen {
            // A TLS handshake on a plain port has no line end to wait for.
            if bytes.get(self.line_start).is_some_and(|first| first.is_ascii_control() && *first != b'\r') {
                return Err(BadRequest::RequestLine.into());
            }
            if line > limits.max_uri + REQUEST_LINE_OVERHEAD {
                return Err(HeadFault::UriTooLong);
            }
        } else if line > limits.max_header_line + 1 {
            return Err(HeadFault::TooLarge);
        }
        if arrived > limits.max_header_bytes {
            return Err(HeadFault::TooLarge);
        }
        Ok(())
    }

    fn request_line(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), HeadFault> {
        let malformed = HeadFault::Bad(BadRequest::RequestLine);
        let method_end = memchr(b' ', line).ok_or(malformed)?;
        let rest = &line[method_end + 1..];
        let target_end = memchr(b' ', rest).ok_or(if rest.len() > limits.max_uri {
            HeadFault::UriTooLong
        } else {
            malformed
        })?;
        if target_end > limits.max_uri {
            return Err(HeadFault::UriTooLong);
        }
        let target = &rest[..target_end];
        if method_end == 0 || method_end > 32 || target.is_empty() {
            return Err(malformed);
        }
        if !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
            return Err(BadRequest::Target.into());
        }
        self.http_10 = match &rest[target_end + 1..] {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(BadRequest::Version.into()),
        };
        self.request_line_seen = true;
        Ok(())
    }

    fn field_line(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), HeadFault> {
        self.fields += 1;
        if self.fields > limits.max_headers || line.len() > limits.max_header_line {
            return Err(HeadFault::TooLarge);
        }
        match line[0] {
            b' ' | b'\t' => return Err(BadRequest::FoldedLine.into()),
            b'c' | b'C' => {
                if let Some(value) = value_of(line, b"content-length:") {
                    let length = parse_length(value).ok_or(BadRequest::ContentLength)?;
                    if self.length.replace(length).is_some() {
                        return Err(BadRequest::ContentLength.into());
                    }
                }
            }
            b't' | b'T' => {
                if let Some(value) = value_of(line, b"transfer-encoding:") {
                    if self.chunked || self.http_10 || !value.eq_ignore_ascii_case(b"chunked") {
                        return Err(BadRequest::TransferEncoding.into());
                    }
                    self.chunked = true;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn complete(&self) -> Result<Head, HeadFault> {
        let framing = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(BadRequest::LengthAndEncoding.into()),
            (true, None) => Framing::Chunked,
            (false, Some(0) | None) => Framing::None,
            (false, Some(length)) => Framing::Length(length),
        };
        Ok(Head { len: self.line_start, framing })
    }
}

impl Default for HeadScan {
    fn default() -> HeadScan {
        HeadScan::new()
    }
}

/// The value of a field line whose name, with its colon, is `name_colon` in lower case.
fn value_of<'a>(line: &'a [u8], name_colon: &[u8]) -> Option<&'a [u8]> {
    let (name, value) = line.split_at_checked(name_colon.len())?;
    name.eq_ignore_ascii_case(name_colon).then(|| trim_whitespace(value))
}

/// Without the optional white space (SP, HTAB) around a field value.
pub(crate) fn trim_whitespace(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// `1*DIGIT` that fits; no sign, no list, no white space.
pub fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value
        .iter()
        .try_fold(0u64, |length, byte| byte.is_ascii_digit().then(|| length * 10 + u64::from(byte - b'0')))
}

/// Whether each line of a head ends in CR LF and holds neither elsewhere.
pub fn lines_end_properly(head: &[u8]) -> bool {
    let mut rest = head;
    while let Some(found) = memchr2(b'\r', b'\n', rest) {
        if rest[found] != b'\r' || rest.get(found + 1) != Some(&b'\n') {
            return false;
        }
        rest = &rest[found + 2..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits =
        HeadLimits { max_uri: 20, max_headers: 3, max_header_line: 40, max_header_bytes: 160 };

    fn scan(bytes: &[u8]) -> Result<Option<Head>, HeadFault> {
        HeadScan::new().advance(bytes, &LIMITS)
    }

    fn framing(fields: &str) -> Result<Framing, HeadFault> {
        scan(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes()).map(|head| head.expect("complete").framing)
    }

    #[test]
    fn a_complete_head_tells_its_length_and_framing() {
        let bytes = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
        let head = scan(bytes).unwrap().unwrap();
        assert_eq!((head.len, head.framing), (bytes.len() - 5, Framing::Length(5)));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
        assert_eq!(framing("Content-Length: 0\r\n"), Ok(Framing::None));
    }

    #[test]
    fn a_head_in_single_bytes_reads_as_the_head_in_one_piece() {
        let bytes = b"\r\nGET / HTTP/1.1\r\nUpgrade: websocket\r\nHost: a\r\n\r\n";
        let mut scan = HeadScan::new();
        for end in 0..bytes.len() {
            assert_eq!(scan.advance(&bytes[..end], &LIMITS), Ok(None), "at {end}");
        }
        let head = scan.advance(bytes, &LIMITS).unwrap().unwrap();
        assert_eq!((head.len, head.framing), (bytes.len(), Framing::None));
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for (fields, fault) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", BadRequest::LengthAndEncoding),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", BadRequest::LengthAndEncoding),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", BadRequest::ContentLength),
            ("Content-Length: 5, 5\r\n", BadRequest::ContentLength),
            ("Content-Length: +5\r\n", BadRequest::ContentLength),
            ("Content-Length:\r\n", BadRequest::ContentLength),
            ("Content-Length: 0x5\r\n", BadRequest::ContentLength),
            ("Content-Length: 99999999999999999999\r\n", BadRequest::ContentLength),
            ("Transfer-Encoding: gzip, chunked\r\n", BadRequest::TransferEncoding),
            ("Transfer-Encoding: identity\r\n", BadRequest::TransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", BadRequest::TransferEncoding),
            ("A: b\r\n c\r\n", BadRequest::FoldedLine),
            ("A: b\nC: d\r\n", BadRequest::BareLineEnd),
            ("A: b\rC: d\r\n", BadRequest::BareLineEnd),
        ] {
            assert_eq!(framing(fields), Err(HeadFault::Bad(fault)), "{fields:?}");
        }
        assert_eq!(
            scan(b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Err(BadRequest::TransferEncoding.into())
        );
    }

    #[test]
    fn request_lines_other_than_three_words_are_refused() {
        for line in [
            "GET /",
            "GET  / HTTP/1.1",
            " GET / HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET / HTTP/2.0",
            "GET /#a HTTP/1.1",
        ] {
            assert!(matches!(scan(format!("{line}\r\n\r\n").as_bytes()), Err(HeadFault::Bad(_))), "{line:?}");
        }
    }

    #[test]
    fn each_limit_is_met_exactly() {
        let uri = |n: usize| scan(format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(n - 1)).as_bytes());
        assert!(uri(20).is_ok());
        assert_eq!(uri(21), Err(HeadFault::UriTooLong));
        let line = |n: usize| scan(format!("GET / HTTP/1.1\r\nA:{}\r\n\r\n", "b".repeat(n - 2)).as_bytes());
        assert!(line(40).is_ok());
        assert_eq!(line(41), Err(HeadFault::TooLarge));
        let count = |n: usize| scan(format!("GET / HTTP/1.1\r\n{}\r\n", "A:b\r\n".repeat(n)).as_bytes());
        assert!(count(3).is_ok());
        assert_eq!(count(4), Err(HeadFault::TooLarge));
    }

    #[test]
    fn an_unfinished_line_is_refused_before_it_grows() {
        assert_eq!(scan(&[b'a'; 100]), Err(HeadFault::UriTooLong));
        let mut head = b"GET / HTTP/1.1\r\n".to_vec();
        head.extend([b'a'; 42]);
        assert_eq!(scan(&head), Err(HeadFault::TooLarge));
    }

    #[test]
    fn empty_lines_begin_no_request_and_are_few() {
        let mut unbegun = HeadScan::new();
        assert_eq!(unbegun.advance(b"\r\n\r\n", &LIMITS), Ok(None));
        assert!(!unbegun.begun(4) && unbegun.begun(5));
        let after = |count: usize| scan(format!("{}GET / HTTP/1.1\r\n\r\n", "\r\n".repeat(count)).as_bytes());
        assert!(after(MAX_LEADING_EMPTY_LINES).is_ok());
        assert_eq!(after(MAX_LEADING_EMPTY_LINES + 1), Err(BadRequest::RequestLine.into()));
    }

    #[test]
    fn a_tls_handshake_is_refused_at_its_first_byte() {
        assert_eq!(scan(b"\x16\x03\x01"), Err(BadRequest::RequestLine.into()));
    }
}
