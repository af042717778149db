//! Health on the traffic's own addresses, for the load balancer in front: answered by the worker from what is known,
//! never limited, never counted.
//!
//! Invariant: an answer waits for nothing. The thread that watches the app finds out how it is.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};

use crate::upstream::app::App;
use crate::upstream::condition::State;

use super::connection::Connection;
use super::exchange::Exchange;
use super::forward::Answered;

/// Whether requests should be sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Nobody has looked yet.
    Starting,
    /// Yes.
    Ready,
    /// The app is down.
    UpstreamDown,
    /// What has begun is finished, then the process ends.
    Draining,
}

impl Readiness {
    /// In answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Readiness::Starting => "starting",
            Readiness::Ready => "ok",
            Readiness::UpstreamDown => "upstream_down",
            Readiness::Draining => "draining",
        }
    }

    /// The status of an answer.
    pub fn status(self) -> StatusCode {
        match self {
            Readiness::Ready => StatusCode::OK,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What all workers know of the process.
#[derive(Debug, Default)]
pub struct Health {
    is_draining: AtomicBool,
}

impl Health {
    /// How things are, with this app.
    pub fn readiness(&self, app: &App) -> Readiness {
        if self.is_draining.load(Ordering::Relaxed) {
            return Readiness::Draining;
        }
        match app.signs.state() {
            State::Unknown => Readiness::Starting,
            // Whoever comes while the app is restarted is served when it is back.
            State::Up | State::Suspect => Readiness::Ready,
            State::Down => Readiness::UpstreamDown,
        }
    }

    /// From now on the process only finishes what has begun.
    pub fn start_draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }
}

/// The answer, if this is a question about health.
pub fn health(exchange: &mut Exchange, conn: &Connection) -> Option<Response<Answered>> {
    let admin = exchange.snapshot.model.admin.as_ref()?;
    let request = &exchange.request;
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return None;
    }
    let readiness = match request.uri.path() {
        path if is(path, &admin.live_path) => Readiness::Ready,
        path if is(path, &admin.ready_path) => {
            conn.worker.health.readiness(&exchange.snapshot.pools.main.app)
        }
        _ => return None,
    };
    exchange.is_measured = false;
    let mut response = Response::new(Answered::Local(text_of(readiness)));
    *response.status_mut() = readiness.status();
    let id = exchange.id().as_header().clone();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(exchange.snapshot.id_header.clone(), id);
    Some(response)
}

/// Compared as it came: who asks for health writes the path as it is configured.
fn is(path: &str, configured: &Option<String>) -> bool {
    configured.as_deref() == Some(path)
}

fn text_of(readiness: Readiness) -> Bytes {
    Bytes::from_static(match readiness {
        Readiness::Starting => b"{\"status\":\"starting\"}\n",
        Readiness::Ready => b"{\"status\":\"ok\"}\n",
        Readiness::UpstreamDown => b"{\"status\":\"upstream_down\"}\n",
        Readiness::Draining => b"{\"status\":\"draining\"}\n",
    })
}
