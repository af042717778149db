//! The head of the app's answer, judged as strictly as a request's.
//!
//! Invariant: an [`AnswerHead`] has exactly one reading of where its body ends (RFC 9112 section 6.3), and holds no
//! field that ends at this hop.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use memchr::memchr2;

use super::fault::UpstreamFault;
use crate::config::model::memory::ANSWER_HEAD;
use crate::message::head::{parse_length, trim_whitespace};
use crate::message::hop_by_hop::ConnectionOptions;
use crate::message::websocket;

/// Bytes of a response head.
const MAX_HEAD: usize = ANSWER_HEAD;
/// Field lines of a response head.
const MAX_FIELDS: usize = 128;

/// How the body of an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFraming {
    /// There is none.
    None,
    /// After so many bytes, never 0.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// A judged head.
#[derive(Debug)]
pub struct AnswerHead {
    /// 101 or 200 to 599.
    pub status: StatusCode,
    /// Without hop-by-hop fields.
    pub headers: HeaderMap,
    /// Where the body ends.
    pub framing: AnswerFraming,
    /// Whether the connection can be used again after the body.
    pub keep_alive: bool,
    /// Whether each piece is to reach the client as it comes: events, or the app said `X-Accel-Buffering: no`.
    pub live: bool,
}

/// What the request was, as far as the answer depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// The method was HEAD.
    pub head: bool,
    /// A WebSocket was asked for.
    pub upgrade: bool,
}

impl Asked {
    /// Of a request.
    pub fn new(method: &Method, upgrade: bool) -> Asked {
        Asked { head: *method == Method::HEAD, upgrade }
    }
}

/// A scan for the end of a head that may arrive in pieces.
#[derive(Debug, Default)]
pub struct AnswerScan {
    line_start: usize,
    searched: usize,
}

impl AnswerScan {
    /// Takes a complete head off the front of `inbox`, if there is one; interim answers (1xx other than 101)
    /// are dropped on the way.
    pub fn take(&mut self, inbox: &mut BytesMut, asked: Asked) -> Result<Option<AnswerHead>, UpstreamFault> {
        while let Some(len) = self.advance(inbox)? {
            let head = inbox.split_to(len).freeze();
            *self = AnswerScan::default();
            if let Some(answer) = judge(&head, asked).map_err(UpstreamFault::Malformed)? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, UpstreamFault> {
        loop {
            let Some(found) = memchr2(b'\r', b'\n', &bytes[self.searched..]) else {
                self.searched = bytes.len();
                break;
            };
            let end = self.searched + found;
            match (bytes[end], bytes.get(end + 1)) {
                (b'\r', Some(b'\n')) => {
                    let empty = self.line_start == end;
                    self.line_start = end + 2;
                    self.searched = self.line_start;
                    if empty {
                        return Ok(Some(self.line_start));
                    }
                }
                (b'\r', None) => {
                    self.searched = end;
                    break;
                }
                _ => return Err(UpstreamFault::Malformed("a line does not end in CR LF")),
            }
        }
        if bytes.len() > MAX_HEAD {
            return Err(UpstreamFault::Malformed("the head is too large"));
        }
        Ok(None)
    }
}

/// Fields that are added later: the request's id, and five that tell of limits.
const OWN_FIELDS: usize = 6;

const X_ACCEL_BUFFERING: &str = "x-accel-buffering";
const CONTENT_TYPE: &str = "content-type";

/// Whether it is `text/event-stream`, whatever its parameters.
fn is_events(content_type: &[u8]) -> bool {
    let end = content_type.iter().position(|byte| *byte == b';').unwrap_or(content_type.len());
    trim_whitespace(&content_type[..end]).eq_ignore_ascii_case(b"text/event-stream")
}

/// `Ok(None)` is an interim answer.
fn judge(head: &Bytes, asked: Asked) -> Result<Option<AnswerHead>, &'static str> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let strict = httparse::ParserConfig::default();
    match strict.parse_response_with_uninit_headers(&mut parsed, head, &mut fields) {
        Ok(httparse::Status::Complete(len)) if len == head.len() => {}
        Ok(_) => return Err("the head is not one head"),
        Err(httparse::Error::TooManyHeaders) => return Err("too many fields"),
        Err(httparse::Error::Status | httparse::Error::Version) => {
            return Err("the status line is malformed");
        }
        Err(_) => return Err("a field is malformed"),
    }
    let http_11 = parsed.version == Some(1);
    let status = match parsed.code {
        Some(101) if asked.upgrade => StatusCode::SWITCHING_PROTOCOLS,
        Some(101) => return Err("an upgrade nobody asked for"),
        Some(100..=199) => return Ok(None),
        Some(code @ 200..=599) => StatusCode::from_u16(code).map_err(|_| "the status is invalid")?,
        _ => return Err("the status is invalid"),
    };
    let mut headers = HeaderMap::with_capacity(parsed.headers.len() + OWN_FIELDS);
    let mut live = false;
    for field in parsed.headers.iter() {
        if field.name.eq_ignore_ascii_case(X_ACCEL_BUFFERING) {
            live |= trim_whitespace(field.value).eq_ignore_ascii_case(b"no");
            // Said to us, not to the client.
            continue;
        }
        live |= field.name.eq_ignore_ascii_case(CONTENT_TYPE) && is_events(field.value);
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| "a field name is invalid")?;
        let value =
            HeaderValue::from_maybe_shared(head.slice_ref(field.value)).map_err(|_| "a field is invalid")?;
        headers.append(name, value);
    }
    let options = ConnectionOptions::read(&headers);
    if status == StatusCode::SWITCHING_PROTOCOLS && !(options.upgrade && websocket::is_named_alone(&headers))
    {
        return Err("an upgrade to something else");
    }
    let framing = framing(status, &headers, http_11, asked)?;
    let coded = headers.contains_key(header::TRANSFER_ENCODING);
    strip(&mut headers, &options, status);
    // An app that announces chunks where there is no body may send the last one late.
    let keep_alive = framing != AnswerFraming::UntilClose
        && !(framing == AnswerFraming::None && coded && !asked.head)
        && !options.close
        && (http_11 || options.keep_alive)
        && status != StatusCode::SWITCHING_PROTOCOLS;
    Ok(Some(AnswerHead { status, headers, framing, keep_alive, live }))
}

fn framing(
    status: StatusCode,
    headers: &HeaderMap,
    http_11: bool,
    asked: Asked,
) -> Result<AnswerFraming, &'static str> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(value), None) => {
            Some(parse_length(trim_whitespace(value.as_bytes())).ok_or("an invalid content-length")?)
        }
        _ => return Err("several content-lengths"),
    };
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"chunked") && http_11 => true,
        _ => return Err("a transfer-encoding other than chunked"),
    };
    if chunked && length.is_some() {
        return Err("both content-length and transfer-encoding");
    }
    let bodiless = asked.head
        || matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS
        );
    Ok(match (bodiless, chunked, length) {
        (true, _, _) | (_, _, Some(0)) => AnswerFraming::None,
        (_, true, _) => AnswerFraming::Chunked,
        (_, _, Some(length)) => AnswerFraming::Length(length),
        (_, _, None) => AnswerFraming::UntilClose,
    })
}

fn strip(headers: &mut HeaderMap, options: &ConnectionOptions, status: StatusCode) {
    let dropped: Vec<HeaderName> = headers.keys().filter(|name| options.strips(name)).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
    if status == StatusCode::NO_CONTENT || status == StatusCode::SWITCHING_PROTOCOLS {
        headers.remove(header::CONTENT_LENGTH);
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Asked = Asked { head: false, upgrade: false };

    fn take(text: &str, asked: Asked) -> Result<Option<AnswerHead>, &'static str> {
        match AnswerScan::default().take(&mut BytesMut::from(text), asked) {
            Ok(answer) => Ok(answer),
            Err(UpstreamFault::Malformed(what)) => Err(what),
            Err(other) => panic!("{other}"),
        }
    }

    fn framing_of(fields: &str, asked: Asked) -> AnswerFraming {
        take(&format!("HTTP/1.1 {fields}\r\n\r\n"), asked).unwrap().unwrap().framing
    }

    #[test]
    fn the_end_of_a_body_follows_the_rules() {
        let head = Asked { head: true, upgrade: false };
        assert_eq!(framing_of("200 OK\r\nContent-Length: 5", GET), AnswerFraming::Length(5));
        assert_eq!(framing_of("200 OK\r\nContent-Length: 0", GET), AnswerFraming::None);
        assert_eq!(framing_of("200 OK\r\nTransfer-Encoding: chunked", GET), AnswerFraming::Chunked);
        assert_eq!(framing_of("200 OK", GET), AnswerFraming::UntilClose);
        assert_eq!(framing_of("200 OK\r\nContent-Length: 5", head), AnswerFraming::None);
        assert_eq!(framing_of("204 No Content", GET), AnswerFraming::None);
        assert_eq!(framing_of("304 Not Modified\r\nContent-Length: 5", GET), AnswerFraming::None);
    }

    #[test]
    fn malformed_answers_are_refused() {
        for answer in [
            "HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 99 Low\r\n\r\n",
            "HTTP/1.1 600 High\r\n\r\n",
            "HTTP/1.1 20x Odd\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        ] {
            assert!(take(answer, GET).is_err(), "{answer:?}");
        }
    }

    #[test]
    fn interim_answers_are_dropped() {
        let answer = take(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            GET,
        );
        assert_eq!(answer.unwrap().unwrap().status, 200);
    }

    #[test]
    fn an_upgrade_must_be_to_what_was_asked() {
        let asked = Asked { head: false, upgrade: true };
        let to = |upgrade: &str| {
            take(&format!("HTTP/1.1 101 S\r\nUpgrade: {upgrade}\r\nConnection: Upgrade\r\n\r\n"), asked)
        };
        assert_eq!(to("WebSocket").unwrap().unwrap().status, 101);
        assert!(to("h2c").is_err());
    }

    #[test]
    fn fields_of_this_hop_are_stripped() {
        let text = "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=2\r\nServer: gunicorn\r\n\r\n";
        let answer = take(text, GET).unwrap().unwrap();
        assert_eq!(answer.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["server"]);
        assert!(!answer.keep_alive);
    }

    #[test]
    fn a_head_in_single_bytes_is_found() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let mut scan = AnswerScan::default();
        let mut inbox = BytesMut::new();
        for byte in &text[..text.len() - 5] {
            assert!(scan.take(&mut inbox, GET).unwrap().is_none());
            inbox.extend_from_slice(&[*byte]);
        }
        assert!(scan.take(&mut inbox, GET).unwrap().is_some() && inbox.is_empty());
    }

    fn keeps_alive(text: &str, asked: Asked) -> bool {
        take(&format!("{text}\r\n\r\n"), asked).unwrap().unwrap().keep_alive
    }

    #[test]
    fn a_connection_is_kept_only_by_an_answer_that_says_so_and_ends_in_step() {
        let head = Asked { head: true, upgrade: false };
        assert!(keeps_alive("HTTP/1.1 204 No Content", GET));
        assert!(!keeps_alive("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked", GET));
        assert!(keeps_alive("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", head));
        assert!(!keeps_alive("HTTP/1.0 200 OK\r\nContent-Length: 5", GET));
        assert!(keeps_alive("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive", GET));
    }

    #[test]
    fn an_answer_that_cannot_have_a_body_loses_its_length() {
        let answer = take("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", GET).unwrap().unwrap();
        assert!(!answer.headers.contains_key(header::CONTENT_LENGTH));
    }

    #[test]
    fn a_length_said_twice_is_refused_even_when_both_agree() {
        assert!(take("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", GET).is_err());
    }
}
