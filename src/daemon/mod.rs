//! The process: what is opened at start, the threads, the signals, the end.
//!
//! Everything that can fail is tried before the first worker starts: a process that says `ready` serves.

mod alerting;
mod background;
mod bind;
mod error;
mod health;
mod intervals;
pub mod keys_file;
mod limits;
mod logging;
mod reload;
mod signals;
mod sinks;
mod snapshots;
mod spilling;
mod tls;
mod worker_thread;

use std::cell::RefCell;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::admin::control::{Control, ReloadAsked};
use crate::admin::listener::{AdminThread, Bound as AdminBound};
use crate::alerts::Alerts;
use crate::clock::Clock;
use crate::cloudwatch::push::Push;
use crate::config::model::{ListenAddress, Model, Upstream, UpstreamAddress};
use crate::proxy::current::{Current, Prepared};
use crate::proxy::worker::{Seats, Shared};
use crate::telemetry::emf::catalog;
use crate::telemetry::measurements::Measurements;
use crate::upstream::app::Apps;
use crate::upstream::breaker::Breakers;
use crate::upstream::budget::Budget;
use crate::upstream::connect::{Destination, Unresolved};

use self::background::Background;
use self::bind::{AllBound, Bound, UnixName};
pub use self::error::StartError;
use self::health::HealthThread;
pub use self::reload::{Load, Reloaded};
use self::signals::{Asked, Signals};
use self::sinks::Sinks;
use self::worker_thread::{Listeners, Phase, WorkerThread};

/// Runs until a signal ends it; `warnings` are told among the first events, `load` reads the configuration again
/// on SIGHUP. Exit codes: 0 drained; 1 could not start, or the drain ran out of time; 78 the keys file, a certificate or
/// a private key is wrong.
pub fn run(model: Arc<Model>, workers: Option<usize>, warnings: &[String], load: Option<Load>) -> ExitCode {
    logging::init(&model.log);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return error::tell(&StartError::Threads(error)),
    };
    runtime.block_on(async {
        let mut signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => return error::tell(&StartError::Threads(error)),
        };
        let mut daemon = match Daemon::start(model, workers) {
            Ok(daemon) => daemon,
            Err(error) => return error::tell(&error),
        };
        let signal = loop {
            let asked = tokio::select! {
                asked = signals.next() => asked,
                Some(ReloadAsked { answer }) = daemon.reloads_asked.recv() => {
                    // Whoever asked may have left.
                    let _ = answer.send(reload::reload(&daemon, load.as_ref()).await);
                    continue;
                }
            };
            match asked {
                Asked::End(signal) => break signal,
                Asked::Reload => drop(reload::reload(&daemon, load.as_ref()).await),
            }
        };
        let drain_timeout = daemon.current.get().model.listen.drain_timeout;
        tracing::info!(signal, "asked to end");
        let drained = tokio::select! {
            drained = daemon.drain(drain_timeout) => drained,
            signal = signals.end() => {
                tracing::warn!(signal, "ended at once");
                daemon.abort();
                false
            }
        };
        daemon.close();
        if drained { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}

/// A running tollgate.
#[derive(Debug)]
pub struct Daemon {
    addresses: Vec<ListenAddress>,
    phase: watch::Sender<Phase>,
    threads: Vec<WorkerThread>,
    sinks: Sinks,
    intervals: Option<Background>,
    alerts: Alerts,
    push: Option<Push>,
    names: Vec<UnixName>,
    tending: Background,
    snapshots: Option<Background>,
    certificates: Option<Background>,
    current: Arc<Current>,
    seats: Arc<Seats>,
    buffers: Arc<Budget>,
    clock: RefCell<Clock>,
    control: Arc<Control>,
    reloads_asked: mpsc::Receiver<ReloadAsked>,
    admin: Option<AdminThread>,
    health: HealthThread,
}

impl Daemon {
    /// Opens everything and starts the workers; one a core unless told otherwise.
    pub fn start(model: Arc<Model>, workers: Option<usize>) -> Result<Daemon, StartError> {
        let mut model = Arc::unwrap_or_clone(model);
        let workers = workers
            .or_else(|| std::thread::available_parallelism().ok().map(std::num::NonZero::get))
            .unwrap_or(1);
        let destinations = resolve(&model.upstream)?;
        let clock = Clock::start();
        let unix_seconds = limits::now(&clock).unix_nanos / 1_000_000_000;
        let keys = keys_file::of(&model.identity, unix_seconds)
            .map_err(|(path, error)| StartError::Keys(path, error))?
            .map(Arc::new);
        let served = tls::load(&model, None, unix_seconds)?;
        let seed = limits::fresh_seed().map_err(|error| StartError::Threads(error.into()))?;
        let store = model.store.clone();
        let buckets = snapshots::restore(&store, &mut model.limits, seed, limits::now(&clock));
        let buckets = Arc::new(buckets);
        let model = Arc::new(model);
        let sinks = Sinks::open(&model)?;
        let bound = bind::bind_all(&model.listen.addresses, workers, bind::FOR_PROXIES)
            .map_err(|(address, error)| StartError::Listen(address.to_string(), error))?;
        let secure = model.listen.tls.as_ref().map_or(&[][..], |tls| &tls.addresses);
        let secure = bind::bind_all(secure, workers, bind::FOR_PROXIES)
            .map_err(|(address, error)| StartError::Listen(address.to_string(), error))?;
        let mut names = bound.names;
        let admin_bound = bind_admin(&model, &mut names)?;
        let seats = Seats::new(model.listen.max_connections);
        let buffers = Budget::new(model.upstream.buffers.total as u64);
        let max_keys = model.store.max_keys;
        let measurements = Arc::new(Measurements::new(&model.metrics));
        let apps = destinations.apps(&model.upstream, None);
        let upstream = apps.main.destination.label.clone();
        let taken_over = AtomicUsize::new(0);
        let breakers = Breakers::new(model.routes.routes(), None);
        let spill = spilling::open(&model, None)?;
        let prepared = Prepared {
            model,
            apps,
            breakers,
            keys,
            tls: served,
            spill,
            buckets: Arc::clone(&buckets),
            taken_over,
        };
        let shared = Shared {
            current: Arc::new(Current::new(prepared)),
            seats,
            measurements,
            interventions: Arc::default(),
            health: Arc::default(),
            buffers,
            peers: Arc::default(),
            unheaded: Arc::default(),
        };
        let (control, reloads_asked) =
            Control::new(shared.clone(), workers, clock.sibling(), sinks.dropped());
        let health =
            HealthThread::start(Arc::clone(&shared.current), clock.sibling()).map_err(StartError::Threads)?;
        let (phase, _) = watch::channel(Phase::Serving);
        let mut threads = Vec::new();
        for (plain, tls) in bound.per_worker.into_iter().zip(secure.per_worker) {
            let thread = worker_thread::spawn(
                threads.len(),
                shared.clone(),
                sinks.of_worker(),
                clock.sibling(),
                Listeners { plain, tls },
                phase.subscribe(),
            );
            threads.push(thread.map_err(StartError::Threads)?);
        }
        let tending = limits::tend(buckets, max_keys, clock.sibling()).map_err(StartError::Threads)?;
        let snapshots = snapshots::keep(&store, Arc::clone(&shared.current), clock.sibling())
            .map_err(StartError::Threads)?;
        let Shared { current, seats, measurements, buffers, .. } = shared;
        let emf = current.get().model.emf.clone();
        let intervals =
            intervals::start(emf.as_ref(), sinks.emf_lines(), &measurements, &current, clock.sibling())
                .map_err(StartError::Threads)?;
        let admin = admin_bound.map(|bound| start_admin(bound, &control)).transpose()?;
        let alerts =
            alerting::start(&current, &measurements, sinks.dropped(), &clock).map_err(StartError::Threads)?;
        let push = {
            let (measurements, in_force) = (Arc::clone(&measurements), Arc::clone(&current));
            let read = move || {
                let model = &in_force.get().model;
                (measurements.totals(), catalog::metrics(model))
            };
            Push::start(&current.get().model, Box::new(read)).map_err(StartError::Threads)?
        };
        let certificates = tls::watch(Arc::clone(&current), clock.sibling()).map_err(StartError::Threads)?;
        for address in &bound.addresses {
            tracing::info!(%address, "listening");
        }
        for address in &secure.addresses {
            tracing::info!(%address, "TLS listening");
        }
        tracing::info!(workers, upstream, "ready");
        Ok(Daemon {
            addresses: bound.addresses,
            phase,
            threads,
            sinks,
            intervals,
            alerts,
            push,
            names,
            tending,
            snapshots,
            certificates,
            current,
            seats,
            buffers,
            clock: RefCell::new(clock),
            control,
            reloads_asked,
            admin,
            health,
        })
    }

    /// Where it listens; ports that were chosen by the kernel are filled in.
    pub fn addresses(&self) -> &[ListenAddress] {
        &self.addresses
    }

    /// Stops accepting, lets running exchanges finish, and tells whether they did in time. What is left after
    /// that is cut off.
    pub async fn drain(&self, timeout: Duration) -> bool {
        self.control.start_draining();
        self.phase.send_replace(Phase::Draining);
        let all_ended = async {
            for thread in &self.threads {
                thread.draining().await;
            }
            tracing::info!(?timeout, "draining");
            for thread in &self.threads {
                thread.ended().await;
            }
        };
        let drained = tokio::time::timeout(timeout, all_ended).await.is_ok();
        if drained {
            tracing::info!("drained");
        } else {
            tracing::error!("the drain ran out of time, what was left is cut off");
            self.abort();
        }
        drained
    }

    /// Cuts off whatever is under way.
    pub fn abort(&self) {
        self.control.start_draining();
        self.phase.send_replace(Phase::Aborting);
    }

    /// Waits for the threads, removes Unix sockets, writes the last records. After [`Daemon::drain`] or
    /// [`Daemon::abort`].
    pub fn close(self) {
        for thread in self.threads {
            thread.join();
        }
        // It answers to the last.
        drop(self.admin);
        // Requests waited for it.
        drop(self.health);
        drop(self.names);
        drop(self.tending);
        // The last one, with all that was spent.
        drop(self.snapshots);
        drop(self.certificates);
        drop(self.intervals);
        drop(self.alerts);
        drop(self.push);
        self.sinks.close();
    }
}

/// Where each version of the app is.
#[derive(Debug)]
struct Destinations {
    main: Destination,
    canary: Option<Destination>,
}

/// Resolves all names of the app. Blocks on the resolver.
fn resolve(upstream: &Upstream) -> Result<Destinations, StartError> {
    let resolve = |address: &UpstreamAddress| {
        Destination::resolve(address, &upstream.tls).map_err(|error| match error {
            Unresolved::Name(error) => StartError::Upstream(address.to_string(), error),
            Unresolved::Tls(error) => StartError::UpstreamTls(error),
        })
    };
    let main = resolve(&upstream.address)?;
    let canary = upstream.canary.as_ref().map(|canary| resolve(&canary.address)).transpose()?;
    Ok(Destinations { main, canary })
}

impl Destinations {
    fn apps(self, upstream: &Upstream, before: Option<&Apps>) -> Apps {
        Apps::new(upstream, self.main, self.canary, before)
    }
}

/// The admin listener's addresses, with the ports that the kernel chose, and its sockets.
type ForAdmin = (Vec<ListenAddress>, Vec<AdminBound>);

fn bind_admin(model: &Model, names: &mut Vec<UnixName>) -> Result<Option<ForAdmin>, StartError> {
    let Some(admin) = &model.admin else { return Ok(None) };
    let bound = bind::bind_all(&admin.addresses, 1, bind::FOR_OWNER)
        .map_err(|(address, error)| StartError::Admin(address.to_string(), error))?;
    let AllBound { addresses, per_worker, names: more } = bound;
    names.extend(more);
    let listener = |bound| match bound {
        Bound::Tcp(listener) => AdminBound::Tcp(listener),
        Bound::Unix(listener) => AdminBound::Unix(listener),
    };
    Ok(Some((addresses, per_worker.into_iter().flatten().map(listener).collect())))
}

fn start_admin((addresses, listeners): ForAdmin, control: &Arc<Control>) -> Result<AdminThread, StartError> {
    let thread = AdminThread::start(listeners, Arc::clone(control)).map_err(StartError::Threads)?;
    for address in addresses {
        tracing::info!(%address, "admin listening");
    }
    Ok(thread)
}
