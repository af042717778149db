//! The answers tollgate gives itself: one closed list, one table.
//!
//! Invariant: nothing a client sent and no cause chain is in the text; the request id is the thread
//! that leads from an answer to its record.

use bytes::Bytes;
use http::{Response, StatusCode, header};

use super::head::HeadFault;
use super::request_id::RequestId;

/// Why tollgate answered instead of the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalReply {
    /// The request is malformed or has more than one reading.
    BadRequest(BadRequest),
    /// Plain HTTP where TLS is spoken.
    TlsRequired,
    /// `CONNECT` or `TRACE`.
    MethodNotAllowed,
    /// A limit says not now.
    RateLimited(RetryAfter),
    /// A quota is used up.
    QuotaExceeded(RetryAfter),
    /// An API key nobody knows.
    Unauthorized,
    /// An operator blocked the caller.
    Forbidden,
    /// No route matches.
    NotFound,
    /// The head or the body came too slowly.
    RequestTimeout,
    /// The body is larger than the route allows.
    PayloadTooLarge,
    /// The target is longer than `max_uri`.
    UriTooLong,
    /// An `Expect` other than `100-continue`.
    ExpectationFailed,
    /// Too many header fields, or too large ones.
    HeadersTooLarge,
    /// The app could not be reached, or left before it answered.
    UpstreamUnavailable,
    /// The app's answer was malformed.
    BadUpstreamResponse,
    /// The app did not answer in time.
    UpstreamTimeout,
    /// More requests wait for the app than may, or this one has waited long enough.
    Overloaded(RetryAfter),
    /// The app is known to be down: it was not asked.
    UpstreamDown(RetryAfter),
    /// The app fails on this route: it was not asked.
    CircuitOpen(RetryAfter),
}

/// When a refused request is worth another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter {
    /// At least 1.
    pub seconds: u64,
}

/// The limit that refused; of letters, digits and `_.-`, as names in the configuration are.
#[derive(Debug, Clone, Copy)]
pub struct Violated<'a> {
    /// The limit's name.
    pub limit: &'a str,
    /// The name of its policy in `RateLimit-Policy`.
    pub policy: &'a str,
}

/// What is wrong with a malformed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRequest {
    /// Not `METHOD SP target SP version`.
    RequestLine,
    /// A version other than 1.0 or 1.1.
    Version,
    /// A target that is neither a path nor an absolute `http` URI, or has bytes no URI has.
    Target,
    /// A path whose reading depends on the reader.
    Path,
    /// None, several, or an invalid one.
    Host,
    /// An absolute target with another host.
    HostMismatch,
    /// A line end other than CR LF.
    BareLineEnd,
    /// A field continued on the next line.
    FoldedLine,
    /// A field name or value with bytes that it must not have.
    Field,
    /// Malformed or repeated.
    ContentLength,
    /// Anything but a single `chunked` on HTTP/1.1.
    TransferEncoding,
    /// Both `Content-Length` and `Transfer-Encoding`.
    LengthAndEncoding,
    /// A chunked body that breaks its grammar.
    Chunk,
}

impl From<HeadFault> for LocalReply {
    fn from(fault: HeadFault) -> LocalReply {
        match fault {
            HeadFault::Bad(bad) => LocalReply::BadRequest(bad),
            HeadFault::UriTooLong => LocalReply::UriTooLong,
            HeadFault::TooLarge => LocalReply::HeadersTooLarge,
            HeadFault::TooSlow => LocalReply::RequestTimeout,
            HeadFault::NoTls => LocalReply::TlsRequired,
        }
    }
}

impl BadRequest {
    fn message(self) -> &'static str {
        match self {
            BadRequest::RequestLine => "The request line is malformed.",
            BadRequest::Version => "Only HTTP/1.0 and HTTP/1.1 are understood here.",
            BadRequest::Target => "The request target is not valid.",
            BadRequest::Path => "The path has an ambiguous encoding.",
            BadRequest::Host => "The request needs exactly one valid Host field.",
            BadRequest::HostMismatch => "The request target and the Host field disagree.",
            BadRequest::BareLineEnd => "A line does not end in CR LF.",
            BadRequest::FoldedLine => "A field is continued on a second line.",
            BadRequest::Field => "A field is malformed.",
            BadRequest::ContentLength => "The Content-Length is malformed or repeated.",
            BadRequest::TransferEncoding => "The Transfer-Encoding is not a single chunked.",
            BadRequest::LengthAndEncoding => "The request has both Content-Length and Transfer-Encoding.",
            BadRequest::Chunk => "The chunked body is malformed.",
        }
    }
}

/// Whose fault an exchange's end was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client's.
    Downstream,
    /// The app's.
    Upstream,
    /// Ours.
    Tollgate,
}

impl Fault {
    /// As it stands in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Downstream => "downstream",
            Fault::Upstream => "upstream",
            Fault::Tollgate => "tollgate",
        }
    }
}

/// All there is to say about one kind of reply.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The status.
    pub status: StatusCode,
    /// The stable code, in bodies and records.
    pub code: &'static str,
    /// The sentence for the client.
    pub message: &'static str,
    /// Whose fault it is.
    pub fault: Fault,
    /// Whether the connection ends with it, because what follows cannot be read.
    pub closes: bool,
}

impl LocalReply {
    /// The table.
    pub fn row(self) -> Row {
        use Fault::{Downstream, Upstream};
        use LocalReply as L;
        use StatusCode as S;
        let (status, code, message, fault, closes) = match self {
            L::BadRequest(bad) => (S::BAD_REQUEST, "bad_request", bad.message(), Downstream, true),
            L::TlsRequired => {
                (S::BAD_REQUEST, "tls_required", "This port speaks HTTPS only.", Downstream, true)
            }
            L::MethodNotAllowed => {
                (S::METHOD_NOT_ALLOWED, "method_not_allowed", "This method is not allowed.", Downstream, true)
            }
            L::RateLimited(_) => {
                (S::TOO_MANY_REQUESTS, "rate_limited", "Rate limit exceeded.", Downstream, false)
            }
            L::QuotaExceeded(_) => {
                (S::TOO_MANY_REQUESTS, "quota_exceeded", "Quota exceeded.", Downstream, false)
            }
            L::Unauthorized => {
                (S::UNAUTHORIZED, "unauthorized", "The API key is not valid.", Downstream, false)
            }
            L::Forbidden => (S::FORBIDDEN, "forbidden", "Access is not allowed.", Downstream, false),
            L::NotFound => (S::NOT_FOUND, "not_found", "Nothing is served at this path.", Downstream, false),
            L::RequestTimeout => (
                S::REQUEST_TIMEOUT,
                "request_timeout",
                "The request took too long to arrive.",
                Downstream,
                true,
            ),
            L::PayloadTooLarge => (
                S::PAYLOAD_TOO_LARGE,
                "payload_too_large",
                "The request body is too large.",
                Downstream,
                true,
            ),
            L::UriTooLong => {
                (S::URI_TOO_LONG, "uri_too_long", "The request target is too long.", Downstream, true)
            }
            L::ExpectationFailed => (
                S::EXPECTATION_FAILED,
                "expectation_failed",
                "Only 100-continue can be expected.",
                Downstream,
                true,
            ),
            L::HeadersTooLarge => (
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
                "The request header fields are too large or too many.",
                Downstream,
                true,
            ),
            L::UpstreamUnavailable => {
                (S::BAD_GATEWAY, "upstream_unavailable", "The application is not available.", Upstream, false)
            }
            L::BadUpstreamResponse => (
                S::BAD_GATEWAY,
                "bad_upstream_response",
                "The application gave an invalid answer.",
                Upstream,
                false,
            ),
            L::UpstreamTimeout => (
                S::GATEWAY_TIMEOUT,
                "upstream_timeout",
                "The application did not answer in time.",
                Upstream,
                false,
            ),
            L::Overloaded(_) => {
                (S::SERVICE_UNAVAILABLE, "overloaded", "The application is overloaded.", Upstream, false)
            }
            L::UpstreamDown(_) => (
                S::SERVICE_UNAVAILABLE,
                "upstream_unavailable",
                "The application is not available.",
                Upstream,
                false,
            ),
            L::CircuitOpen(_) => (
                S::SERVICE_UNAVAILABLE,
                "circuit_open",
                "The application fails on this route.",
                Upstream,
                false,
            ),
        };
        Row { status, code, message, fault, closes }
    }

    /// When to try again, if that is known.
    pub fn retry_after(self) -> Option<RetryAfter> {
        match self {
            LocalReply::RateLimited(retry_after)
            | LocalReply::QuotaExceeded(retry_after)
            | LocalReply::Overloaded(retry_after)
            | LocalReply::UpstreamDown(retry_after)
            | LocalReply::CircuitOpen(retry_after) => Some(retry_after),
            _ => None,
        }
    }

    /// The reply as a response, its body in the configured shape.
    pub fn response(
        self,
        shape: ReplyShape,
        id: &RequestId,
        violated: Option<Violated<'_>>,
    ) -> Response<Bytes> {
        let row = self.row();
        let mut response = Response::new(body(self, &row, shape, id, violated));
        *response.status_mut() = row.status;
        let headers = response.headers_mut();
        // Those below, the request's id, and what is told of limits: no second table is made.
        headers.reserve(10);
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(shape.content_type()));
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        if let Some(RetryAfter { seconds }) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
        }
        if self == LocalReply::MethodNotAllowed {
            headers.insert(
                header::ALLOW,
                header::HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            );
        }
        if self == LocalReply::Unauthorized {
            // RFC 9110 section 15.5.2 wants a challenge; there is no registered scheme for API keys.
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("ApiKey"));
        }
        if row.closes {
            headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        }
        response
    }
}

/// The shape of a reply's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyShape {
    /// `{"error":…,"code":…,"message":…,"request_id":…}`
    Json,
    /// RFC 9457.
    Problem,
}

impl ReplyShape {
    fn content_type(self) -> &'static str {
        match self {
            ReplyShape::Json => "application/json",
            ReplyShape::Problem => "application/problem+json",
        }
    }
}

/// The registered problem type of refusals by a quota policy (draft-ietf-httpapi-ratelimit-headers-10).
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// Nothing in it needs escaping: codes, messages and names are ours, an id has only safe characters.
fn body(
    reply: LocalReply,
    row: &Row,
    shape: ReplyShape,
    id: &RequestId,
    violated: Option<Violated<'_>>,
) -> Bytes {
    let (code, id) = (row.code, id.as_str());
    let mut text = String::with_capacity(384);
    // Pushed piece by piece, without a formatter: a flood of refusals writes many of these.
    let mut push = |pieces: &[&str]| pieces.iter().for_each(|piece| text.push_str(piece));
    match shape {
        ReplyShape::Json => push(&["{\"error\":\"", code, "\",\"code\":\"", code, "\",\"message\":\""]),
        ReplyShape::Problem => {
            let (kind, title) = match violated {
                Some(_) => (QUOTA_EXCEEDED, "Quota Exceeded"),
                None => ("about:blank", row.status.canonical_reason().unwrap_or("Error")),
            };
            push(&["{\"type\":\"", kind, "\",\"title\":\"", title, "\",\"status\":", row.status.as_str()]);
            push(&[",\"detail\":\""]);
        }
    }
    push(&[row.message]);
    match reply.retry_after() {
        None => push(&["\""]),
        Some(RetryAfter { seconds }) => {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(seconds);
            let unit = if seconds == 1 { " second" } else { " seconds" };
            push(&[" Try again in ", digits, unit, ".\",\"retry_after\":", digits]);
        }
    }
    if let Some(Violated { limit, policy }) = violated {
        push(&[",\"limit\":\"", limit, "\""]);
        if shape == ReplyShape::Problem {
            push(&[",\"violated-policies\":[\"", policy, "\"]"]);
        }
    }
    if shape == ReplyShape::Problem {
        push(&[",\"code\":\"", code, "\""]);
    }
    push(&[",\"request_id\":\"", id, "\"}\n"]);
    Bytes::from(text)
}
