//! Whether the process lives, and whether requests should be sent to it.
//!
//! One probe of the app at a time, each second; everybody who asks is told what it found. Invariant: no question makes
//! a connection to the app.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Tick;
use crate::proxy::health::Readiness;

use super::control::Control;
use super::reply::{Body, json, whole};

/// How often the app is probed, and how long an answer is told again.
const EVERY: Duration = Duration::from_secs(1);
/// How long a connection to the app may take.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);
/// A worker that gave no sign of life for so long hangs.
const BEAT_PATIENCE: Duration = Duration::from_secs(1);

/// What is known of the app.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Upstream {
    /// Whether it takes connections; `None` if it was not tried yet.
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
    upstream: Cell<Upstream>,
    told: RefCell<Option<(Tick, Readiness, Bytes)>>,
}

impl Watch {
    /// Begins to probe. Within the admin thread's runtime.
    pub(super) fn start(control: Arc<Control>) -> Rc<Watch> {
        let watch = Rc::new(Watch { control, upstream: Cell::default(), told: RefCell::default() });
        let prober = Rc::clone(&watch);
        tokio::task::spawn_local(async move {
            loop {
                prober.probe().await;
                let now = prober.control.now().tick;
                prober.control.shared.interventions.expire(now);
                tokio::time::sleep(EVERY).await;
            }
        });
        watch
    }

    async fn probe(&self) {
        let prepared = self.control.prepared();
        let begun = self.control.now().tick;
        let connected = tokio::time::timeout(PROBE_PATIENCE, prepared.apps.main.destination.connect()).await;
        let took = self.control.now().tick.nanos_since(begun);
        let up = matches!(connected, Ok(Ok(_)));
        let before =
            self.upstream.replace(Upstream { up: Some(up), connect_ms: up.then_some(took as f64 / 1e6) });
        let upstream = &*prepared.apps.main.destination.label;
        match (before.up, up) {
            (Some(true) | None, false) => tracing::warn!(upstream, "the app takes no connections"),
            (Some(false), true) => tracing::info!(upstream, "the app takes connections again"),
            _ => {}
        }
        self.control.shared.health.set(self.readiness());
    }

    /// What is known of the app.
    pub(super) fn upstream(&self) -> Upstream {
        self.upstream.get()
    }

    /// Whether requests should be sent here.
    pub(super) fn readiness(&self) -> Readiness {
        match self.upstream.get().up {
            _ if self.control.is_draining() => Readiness::Draining,
            None => Readiness::Starting,
            Some(true) => Readiness::Ready,
            Some(false) => Readiness::UpstreamDown,
        }
    }

    /// The answer to `/healthz`.
    pub(super) fn health(&self) -> Response<Body> {
        let now = self.control.now().tick;
        let started = self.control.started().tick;
        let beats = self.control.shared.measurements.beats();
        // A worker that has just been started may not have come to it yet.
        let is_stalled = |beat: &&Tick| (**beat).max(started) + BEAT_PATIENCE < now;
        let stalled = beats.iter().filter(is_stalled).count();
        // Workers that have ended in a drain beat no more, and that is as it should be.
        let lives = stalled == 0 || self.control.is_draining();
        let (status, word) =
            if lives { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "stalled") };
        json(status, &Alive { status: word, workers: beats.len(), stalled })
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
        let Upstream { up, connect_ms } = self.upstream.get();
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
