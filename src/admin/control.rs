//! What the process lets its operators see and do: one handle, shared by whoever tells of it.
//!
//! The daemon fills it at start; it outlives reloads. Invariant: nothing in here waits for a worker.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::clock::{Clock, Tick};
use crate::config::diff::Change;
use crate::config::model::Upstream;
use crate::config::model::admin::Secret;
use crate::config::model::shield::InFlightCap;
use crate::limit::state::Now;
use crate::proxy::current::Prepared;
use crate::proxy::worker::Shared;
use crate::telemetry::apps::{AppState, AppTotals, BreakerState, QueueTotals};
use crate::telemetry::sink::Dropped;
use crate::telemetry::totals::{ProcessTotals, Totals};
use crate::tls::Expiry;
use crate::upstream::app::{App, AppName};
use crate::upstream::breaker::{Breaker, Stance};
use crate::upstream::condition::State;
use crate::upstream::gate::GateFigures;

use super::process_figures::ProcessFigures;

const NANOS_PER_MILLI: u64 = 1_000_000;
/// Reloads that may be asked for at a time.
const RELOADS_WAITING: usize = 4;

/// The handle.
#[derive(Debug)]
pub struct Control {
    /// What the workers share: the configuration in force, interventions, measurements.
    pub shared: Shared,
    /// Threads that serve.
    pub workers: usize,
    /// How reloads went.
    pub reloads: Reloads,
    sinks: Vec<(&'static str, Dropped)>,
    draining: AtomicBool,
    clock: Mutex<Clock>,
    started: Now,
    ask: mpsc::Sender<ReloadAsked>,
}

/// Somebody wants the configuration read again, and waits for the outcome.
#[derive(Debug)]
pub struct ReloadAsked {
    /// Where the outcome is told.
    pub answer: oneshot::Sender<ReloadOutcome>,
}

/// How a reload went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// Put into force; the keys with other values.
    Done(Vec<Change>),
    /// Nothing was changed; a line for each problem.
    Refused(Vec<String>),
    /// There is no file to read again.
    NoFile,
}

/// How reloads went since the start.
#[derive(Debug, Default)]
pub struct Reloads {
    done: AtomicU64,
    failed: AtomicU64,
    last: Mutex<LastReload>,
}

/// The last of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastReload {
    /// When it was put into force or refused, milliseconds since 1970.
    pub unix_ms: Option<u64>,
    /// When one was last put into force, milliseconds since 1970.
    pub done_unix_ms: Option<u64>,
    /// What was wrong with it.
    pub problems: Vec<String>,
}

impl Reloads {
    /// One was put into force.
    pub fn was_done(&self, unix_ms: u64) {
        self.done.fetch_add(1, Ordering::Relaxed);
        *lock(&self.last) =
            LastReload { unix_ms: Some(unix_ms), done_unix_ms: Some(unix_ms), problems: Vec::new() };
    }

    /// One was refused; how many that were so far.
    pub fn was_refused(&self, unix_ms: u64, problems: &[String]) -> u64 {
        let mut last = lock(&self.last);
        last.unix_ms = Some(unix_ms);
        problems.clone_into(&mut last.problems);
        self.failed.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Put into force, and refused.
    pub fn counts(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// The last of them.
    pub fn last(&self) -> LastReload {
        lock(&self.last).clone()
    }
}

impl Control {
    /// A handle, and where reloads are asked for; `clock` has the same beginning as the
    /// workers', `sinks` are told by their names.
    pub fn new(
        shared: Shared,
        workers: usize,
        clock: Clock,
        sinks: Vec<(&'static str, Dropped)>,
    ) -> (Arc<Control>, mpsc::Receiver<ReloadAsked>) {
        let (ask, asked) = mpsc::channel(RELOADS_WAITING);
        let started = read(&clock);
        let control = Control {
            shared,
            workers,
            reloads: Reloads::default(),
            sinks,
            draining: AtomicBool::new(false),
            clock: Mutex::new(clock),
            started,
            ask,
        };
        (Arc::new(control), asked)
    }

    /// The time on both clocks, corrections of the system's clock included.
    pub fn now(&self) -> Now {
        let clock = lock(&self.clock);
        clock.reanchor();
        read(&clock)
    }

    /// Milliseconds since 1970 at a tick.
    pub fn unix_ms(&self, tick: Tick) -> u64 {
        lock(&self.clock).unix_nanos(tick) / NANOS_PER_MILLI
    }

    /// When the process started.
    pub fn started(&self) -> Now {
        self.started
    }

    /// From now on the process only finishes what has begun.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.shared.health.start_draining();
    }

    /// Whether the process only finishes what has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// How many workers gave no sign of life for `patience`.
    pub fn stalled_workers(&self, patience: Duration) -> usize {
        stalled(&self.shared.measurements.beats(), self.started.tick, self.now().tick, patience)
    }

    /// Reads the configuration again, and waits for the outcome; `None` if nobody is there to do it.
    pub async fn reload(&self) -> Option<ReloadOutcome> {
        let (answer, outcome) = oneshot::channel();
        self.ask.try_send(ReloadAsked { answer }).ok()?;
        outcome.await.ok()
    }

    /// Everything that is measured, the process included.
    pub fn totals(&self) -> Totals {
        let mut totals = self.shared.measurements.totals();
        totals.traffic.connections_open = self.shared.seats.taken() as u64;
        totals.traffic.max_connections = self.shared.seats.max() as u64;
        self.read_apps(&mut totals);
        if let Some(tls) = &self.prepared().tls {
            let end = |expiry: &Expiry| (Arc::clone(&expiry.certificate), expiry.not_after_unix);
            totals.certificates = tls.expiries.iter().map(end).collect();
        }
        totals.process = self.process(totals.process.invalid_emf_lines);
        totals
    }

    /// The configuration in force with all that was prepared for it.
    pub fn prepared(&self) -> Arc<Prepared> {
        self.shared.current.get()
    }

    /// What callers must show now.
    pub(super) fn token(&self) -> Option<Secret> {
        self.prepared().model.admin.as_ref().and_then(|admin| admin.token.clone())
    }

    fn read_apps(&self, totals: &mut Totals) {
        let prepared = self.prepared();
        let upstream = &prepared.model.upstream;
        totals.apps = prepared.apps.each().map(|app| app_totals(app, upstream)).collect();
        let buffers = &self.shared.buffers;
        totals.buffers.used = buffers.used();
        totals.buffers.max = buffers.max();
        if let Some(spill) = &prepared.spill {
            totals.buffers.spilled = spill.room().used();
            totals.buffers.spill_max = spill.room().max();
        }
        let state = |breaker: &Breaker| match breaker.stance() {
            Stance::Closed => BreakerState::Closed,
            Stance::Open => BreakerState::Open,
            Stance::HalfOpen => BreakerState::HalfOpen,
        };
        totals.breakers =
            prepared.breakers.each().map(|(route, it)| (Arc::clone(route), state(it))).collect();
    }

    fn process(&self, invalid_emf_lines: u64) -> ProcessTotals {
        let figures = ProcessFigures::read();
        let prepared = self.prepared();
        let (reloads, failed_reloads) = self.reloads.counts();
        ProcessTotals {
            version: env!("CARGO_PKG_VERSION"),
            started_unix_ms: self.started.unix_nanos / NANOS_PER_MILLI,
            now_unix_ms: self.now().unix_nanos / NANOS_PER_MILLI,
            workers: self.workers as u64,
            buckets: prepared.buckets.len() as u64,
            max_buckets: prepared.model.store.max_keys as u64,
            forced_evictions: prepared.buckets.forced_evictions(),
            reloads,
            failed_reloads,
            reloaded_unix_ms: self.reloads.last().done_unix_ms.unwrap_or(0),
            dropped_lines: self.dropped_lines(),
            invalid_emf_lines,
            resident_bytes: figures.resident_bytes,
            cpu_nanos: figures.cpu_nanos,
            open_files: figures.open_files,
            max_open_files: figures.max_open_files,
            threads: figures.threads,
        }
    }

    fn dropped_lines(&self) -> BTreeMap<&'static str, u64> {
        self.sinks.iter().map(|(name, dropped)| (*name, dropped.lines())).collect()
    }
}

/// A worker that has just been started may not have come to its first sign yet.
fn stalled(beats: &[Tick], started: Tick, now: Tick, patience: Duration) -> usize {
    beats.iter().filter(|beat| (**beat).max(started) + patience < now).count()
}

fn app_totals(app: &App, upstream: &Upstream) -> AppTotals {
    let cap = match (app.name, &upstream.canary) {
        (AppName::Canary, Some(canary)) => canary.max_in_flight,
        _ => upstream.max_in_flight,
    };
    let gate = &app.gate;
    let GateFigures { queued, full, shed, timed_out } = gate.figures();
    let max_in_flight = gate.cap();
    AppTotals {
        name: app.name.as_str(),
        address: (&*app.destination.label).into(),
        state: match app.state() {
            State::Unknown => AppState::Unknown,
            State::Up => AppState::Up,
            State::Suspect => AppState::Suspect,
            State::Down => AppState::Down,
        },
        in_flight: max_in_flight.map(|_| gate.in_flight().into()),
        waiting: gate.waiting() as u64,
        max_in_flight,
        is_auto: matches!(cap, Some(InFlightCap::Auto { .. })),
        queue_size: gate.size() as u64,
        queue: QueueTotals { queued, full, timed_out, shed },
    }
}

fn read(clock: &Clock) -> Now {
    let tick = clock.now();
    Now { tick, unix_nanos: clock.unix_nanos(tick) }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_without_a_sign_of_life_is_stalled() {
        let (second, patience) = (1_000_000_000, Duration::from_secs(1));
        let at = |seconds: u64| Tick(seconds * second);
        assert_eq!(stalled(&[at(9), at(10)], at(1), at(10), patience), 0);
        assert_eq!(stalled(&[at(8), at(10)], at(1), at(10), patience), 1);
        assert_eq!(stalled(&[Tick(0)], at(10), at(11), patience), 0, "it has just been started");
        assert_eq!(stalled(&[Tick(0)], at(10), at(12), patience), 1);
    }
}
