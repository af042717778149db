//! Answers of the admin listener: their bodies, and what went wrong as JSON with a stable code.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::mpsc;

/// What is sent.
#[derive(Debug)]
pub(super) enum Body {
    /// All of it.
    Whole(Option<Bytes>),
    /// As it comes, until nobody sends any more.
    Events(mpsc::Receiver<Bytes>),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Body::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Events(events) => {
                events.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Body::Events(_) => SizeHint::default(),
        }
    }
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    /// Stable.
    pub(super) code: &'static str,
    /// For people.
    pub(super) message: String,
    /// The methods there are, for a 405.
    pub(super) allow: Option<String>,
    /// Several things at once, for a 422.
    pub(super) problems: Vec<String>,
}

/// Why something was not done.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(super) struct ErrorBody {
    /// Stable, to branch on.
    error: &'static str,
    /// For people.
    message: String,
    /// What is wrong with the configuration, where a reload was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Failure {
        Failure { status, code, message: message.into(), allow: None, problems: Vec::new() }
    }

    pub(super) fn response(self) -> Response<Body> {
        let Failure { status, code, message, allow, problems } = self;
        let mut response = json(status, &ErrorBody { error: code, message, problems });
        let headers = response.headers_mut();
        if let Some(allow) = allow.and_then(|allow| HeaderValue::try_from(allow).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A value as JSON, a line.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    // What is told here has no keys but strings, and nothing that JSON cannot say.
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    whole(status, "application/json", bytes)
}

/// An answer that is there as a whole.
pub(super) fn whole(status: StatusCode, media_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    of(status, media_type, Body::Whole(Some(bytes.into())))
}

/// An answer that goes on.
pub(super) fn events(receiver: mpsc::Receiver<Bytes>) -> Response<Body> {
    of(StatusCode::OK, "text/event-stream", Body::Events(receiver))
}

fn of(status: StatusCode, media_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
