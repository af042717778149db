//! Whether the process lives, and whether requests should be sent to it.
//!
//! Everybody who asks is told what the thread that watches the app knows. Invariant: no question makes a connection to
//! the app.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Tick;
use crate::proxy::health::Readiness;
use crate::upstream::condition::State;

use super::control::Control;
use super::reply::{Body, json, whole};

/// How long an answer is told again, and how often lifts and blocks are looked at that have ended.
const EVERY: Duration = Duration::from_secs(1);
/// A worker that gave no sign of life for so long hangs.
const BEAT_PATIENCE: Duration = Duration::from_secs(1);

/// What is known of the app.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Upstream {
    /// Whether it is up; `None` if nothing was seen of it yet.
    pub(super) up: Option<bool>,
    /// How long it took to connect.
    pub(super) connect_ms: Option<f64>,
}

/// Whether the process lives.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Alive {
    /// `ok` or `stalled`.
    status: &'static str,
    /// Threads that serve.
    workers: usize,
    /// Those without a sign of life.
    stalled: usize,
}

/// Whether requests should be sent here.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Ready {
    /// `ok`, `starting`, `upstream_down` or `draining`.
    status: &'static str,
    /// Since the start.
    uptime_seconds: u64,
    /// Of tollgate.
    version: &'static str,
    /// What it needs.
    services: Services,
    /// Since the start.
    metrics: Figures,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Services {
    /// The app.
    upstream: Service,
    /// Where limits are kept: this process.
    store: Service,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Service {
    /// `up`, `down` or `unknown`.
    status: &'static str,
    /// Until it answered.
    latency_ms: Option<f64>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Figures {
    /// That have ended.
    requests: u64,
    /// 5xx among them.
    errors: u64,
    /// That have begun and not ended.
    in_flight: u64,
    /// Open connections of clients.
    connections: u64,
}

/// Who looks after it.
#[derive(Debug)]
pub(super) struct Watch {
    control: Arc<Control>,
    told: RefCell<Option<(Tick, Readiness, Bytes)>>,
}

impl Watch {
    /// Begins. Within the admin thread's runtime.
    pub(super) fn start(control: Arc<Control>) -> Rc<Watch> {
        let watch = Rc::new(Watch { control, told: RefCell::default() });
        let own = Rc::clone(&watch);
        tokio::task::spawn_local(async move {
            loop {
                own.control.shared.interventions.expire(own.control.now().tick);
                tokio::time::sleep(EVERY).await;
            }
        });
        watch
    }

    /// What is known of the app.
    pub(super) fn upstream(&self) -> Upstream {
        let app = &self.control.prepared().apps.main;
        let up = match app.state() {
            State::Unknown => None,
            State::Up | State::Suspect => Some(true),
            State::Down => Some(false),
        };
        Upstream { up, connect_ms: app.signs.connect_nanos().map(|nanos| nanos as f64 / 1e6) }
    }

    /// Whether requests should be sent here.
    pub(super) fn readiness(&self) -> Readiness {
        self.control.shared.health.readiness(&self.control.prepared().apps.main)
    }

    /// The answer to `/healthz`.
    pub(super) fn health(&self) -> Response<Body> {
        let stalled = self.control.stalled_workers(BEAT_PATIENCE);
        // Workers that have ended in a drain beat no more, and that is as it should be.
        let lives = stalled == 0 || self.control.is_draining();
        let (status, word) =
            if lives { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "stalled") };
        json(status, &Alive { status: word, workers: self.control.workers, stalled })
    }

    /// The answer to `/readyz`; at most a second old, and never of another state.
    pub(super) fn ready(&self) -> Response<Body> {
        let (now, readiness) = (self.control.now(), self.readiness());
        let mut told = self.told.borrow_mut();
        let bytes = match &*told {
            Some((at, of, bytes)) if *of == readiness && now.tick < *at + EVERY => bytes.clone(),
            _ => {
                let mut bytes = serde_json::to_vec(&self.look(readiness, now.tick)).unwrap_or_default();
                bytes.push(b'\n');
                let bytes = Bytes::from(bytes);
                *told = Some((now.tick, readiness, bytes.clone()));
                bytes
            }
        };
        whole(readiness.status(), "application/json", bytes)
    }

    fn look(&self, readiness: Readiness, now: Tick) -> Ready {
        let totals = self.control.totals();
        let all = totals.all_routes();
        let Upstream { up, connect_ms } = self.upstream();
        let status = match up {
            None => "unknown",
            Some(true) => "up",
            Some(false) => "down",
        };
        Ready {
            status: readiness.as_str(),
            uptime_seconds: now.nanos_since(self.control.started().tick) / 1_000_000_000,
            version: totals.process.version,
            services: Services {
                upstream: Service { status, latency_ms: connect_ms },
                store: Service { status: "up", latency_ms: None },
            },
            metrics: Figures {
                requests: all.count(),
                errors: all.errors(),
                in_flight: totals.traffic.in_flight,
                connections: totals.traffic.connections_open,
            },
        }
    }
}
