//! A request to the admin listener: found in the table, allowed, read, answered in bounded time.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::clock::Tick;
use crate::telemetry::prometheus::{self, Format};

use super::auth;
use super::changes;
use super::control::Control;
use super::endpoints::{Action, Endpoint, Found, find};
use super::events::Streams;
use super::explain;
use super::listener::{PATIENCE, Peer};
use super::openapi;
use super::page;
use super::readiness::Watch;
use super::reply::{Body, Failure, json, whole};
use super::status_of::Teller;

const MAX_BODY: usize = 64 * 1024;
/// At most this often the same trouble is told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// What all connections share.
#[derive(Debug)]
pub(super) struct Server {
    control: Arc<Control>,
    watch: Rc<Watch>,
    teller: Rc<Teller>,
    streams: Rc<Streams>,
    refused_tokens: Cell<u64>,
    told_of_token: Cell<Option<Tick>>,
    told_of_accepting: Cell<Option<Tick>>,
}

/// A request that was found, allowed and read.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) control: &'a Control,
    pub(super) peer: Peer,
    /// The name in the path.
    pub(super) name: &'a str,
    pub(super) body: &'a [u8],
}

impl Server {
    /// With everything that is looked after in the background. Within the admin thread's runtime.
    pub(super) fn start(control: Arc<Control>) -> Rc<Server> {
        let watch = Watch::start(Arc::clone(&control));
        let teller = Teller::start(Arc::clone(&control), Rc::clone(&watch));
        let streams = Streams::start(Rc::clone(&teller), Arc::clone(&control));
        Rc::new(Server {
            control,
            watch,
            teller,
            streams,
            refused_tokens: Cell::new(0),
            told_of_token: Cell::new(None),
            told_of_accepting: Cell::new(None),
        })
    }

    /// The answer to a request.
    pub(super) async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let (head, body) = request.into_parts();
        self.allowed(&head, body, peer).await.unwrap_or_else(Failure::response)
    }

    async fn allowed(&self, head: &Parts, body: Incoming, peer: Peer) -> Result<Response<Body>, Failure> {
        let found = find(head.uri.path(), &head.method);
        let is_open = match &found {
            Found::Here { endpoint, .. } => endpoint.is_open,
            Found::OtherMethod { is_open, .. } => *is_open,
            Found::Nowhere => false,
        };
        let prepared = self.control.prepared();
        let token = prepared.model.admin.as_ref().and_then(|admin| admin.token.as_ref());
        if !is_open {
            if token.is_none() && peer != Peer::Unix {
                auth::check_host(&head.uri, head.version, &head.headers)?;
            }
            auth::check_token(token, &head.headers).inspect_err(|_| self.tell_of_token(peer))?;
        }
        let (endpoint, name) = match found {
            Found::Here { endpoint, name } => (endpoint, name),
            Found::OtherMethod { allow, .. } => {
                let message = "This path has other methods, see `Allow`.";
                let failure = Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
                return Err(Failure { allow: Some(allow), ..failure });
            }
            Found::Nowhere => {
                let message = "Nothing is at this path; `/openapi.json` lists what is.";
                return Err(Failure::new(StatusCode::NOT_FOUND, "not_found", message));
            }
        };
        let body = if endpoint.has_body() {
            auth::check_origin(&head.headers)?;
            auth::check_media_type(&head.headers)?;
            let late =
                |_| Failure::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "The body took too long.");
            tokio::time::timeout(PATIENCE, read(body)).await.map_err(late)??
        } else {
            Bytes::new()
        };
        let asked = Asked { control: &self.control, peer, name, body: &body };
        let late = |_| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "too_slow", "This took too long.");
        tokio::time::timeout(PATIENCE, self.act(endpoint, head, asked)).await.map_err(late)?
    }

    async fn act(
        &self,
        endpoint: &Endpoint,
        head: &Parts,
        asked: Asked<'_>,
    ) -> Result<Response<Body>, Failure> {
        match endpoint.action {
            Action::Health => Ok(self.watch.health()),
            Action::Ready => Ok(self.watch.ready()),
            Action::Metrics => self.metrics(head),
            Action::Status => Ok(json(StatusCode::OK, &self.teller.status(true))),
            Action::Events => self.streams.open(&self.teller),
            Action::OpenApi => {
                let prepared = self.control.prepared();
                let has_token = prepared.model.admin.as_ref().is_some_and(|admin| admin.token.is_some());
                Ok(json(StatusCode::OK, &openapi::document(has_token)))
            }
            Action::Page => Ok(live_page()),
            Action::Reset => {
                self.teller.forget_limits();
                changes::reset(&asked)
            }
            Action::Lift => changes::lift(&asked),
            Action::EndLift => changes::end_lift(&asked),
            Action::Block => changes::block(&asked),
            Action::EndBlock => changes::end_block(&asked),
            Action::Reload => changes::reload(&asked).await,
            Action::Explain => explain::explain(&asked),
        }
    }

    fn metrics(&self, head: &Parts) -> Result<Response<Body>, Failure> {
        if !self.control.prepared().model.metrics.prometheus {
            let message = "Metrics are off: `[metrics] prometheus` is `false`.";
            return Err(Failure::new(StatusCode::NOT_FOUND, "metrics_off", message));
        }
        let accept = head.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let format = Format::of_accept(accept);
        let bounds = self.control.shared.measurements.bounds();
        let text = prometheus::encode(&self.control.totals(), bounds, format);
        Ok(whole(StatusCode::OK, format.content_type(), text))
    }

    fn tell_of_token(&self, peer: Peer) {
        let refused = self.refused_tokens.get() + 1;
        self.refused_tokens.set(refused);
        if self.may_tell(&self.told_of_token) {
            tracing::warn!(%peer, refused, "somebody asked the admin listener without the right token");
        }
    }

    /// Tells that connections cannot be accepted.
    pub(super) fn tell_of_accepting(&self, error: &std::io::Error) {
        if self.may_tell(&self.told_of_accepting) {
            tracing::warn!(%error, "cannot accept connections for `[admin]`");
        }
    }

    fn may_tell(&self, told: &Cell<Option<Tick>>) -> bool {
        let now = self.control.now().tick;
        let may = told.get().is_none_or(|told| told + TELL_EVERY <= now);
        if may {
            told.set(Some(now));
        }
        may
    }
}

fn live_page() -> Response<Body> {
    let mut response = whole(StatusCode::OK, "text/html; charset=utf-8", page::PAGE);
    if let Ok(policy) = HeaderValue::try_from(page::POLICY.as_str()) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// All of a body, unless it is too large.
async fn read(mut body: Incoming) -> Result<Bytes, Failure> {
    let too_large = || {
        let message = "A body may have 64 KiB at most.";
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
    };
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let broken = |_| Failure::new(StatusCode::BAD_REQUEST, "bad_request", "The body broke off.");
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            if bytes.len() + data.len() > MAX_BODY {
                return Err(too_large());
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

impl Endpoint {
    /// Whether a body is read, and must be JSON.
    pub(super) fn has_body(&self) -> bool {
        self.method != Method::GET
    }
}
