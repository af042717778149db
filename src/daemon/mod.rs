//! The process: what is opened at start, the threads, the signals, the end.
//!
//! Everything that can fail is tried before the first worker starts: a process that says `ready` serves.

mod alerting;
mod background;
mod bind;
pub mod descriptors;
mod end;
mod error;
mod health;
mod intervals;
pub mod keys_file;
mod limits;
mod logging;
pub mod named_files;
mod passed;
mod predecessor;
mod reload;
mod run;
mod signals;
mod sinks;
mod snapshots;
mod spilling;
mod systemd;
mod take_over;
mod tls;
mod unix_name;
mod watchdog;
mod worker_thread;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

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
use self::bind::{AllBound, Binding, Bound, BoundSocket, Others};
pub use self::error::StartError;
use self::health::HealthThread;
use self::passed::Passed;
pub use self::reload::{Load, Reloaded};
pub use self::run::run;
use self::sinks::Sinks;
use self::snapshots::Snapshots;
use self::unix_name::UnixName;
use self::worker_thread::{Listeners, Phase, WorkerThread};

/// A running tollgate.
#[derive(Debug)]
pub struct Daemon {
    addresses: Vec<ListenAddress>,
    secure_addresses: Vec<ListenAddress>,
    admin_addresses: Vec<ListenAddress>,
    phase: watch::Sender<Phase>,
    threads: Vec<WorkerThread>,
    sinks: Sinks,
    intervals: Option<Background>,
    alerts: Alerts,
    push: Option<Push>,
    names: Vec<UnixName>,
    tending: Background,
    snapshots: Snapshots,
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
    /// Opens everything, starts the workers, one a core unless told otherwise, and serves.
    pub fn start(model: Arc<Model>, workers: Option<usize>) -> Result<Daemon, StartError> {
        let daemon = Daemon::open(model, workers, Others::Refused, &mut Passed::nothing())?;
        daemon.serve();
        Ok(daemon)
    }

    /// Opens everything and starts all threads; accepts nothing before [`Daemon::serve`].
    fn open(
        model: Arc<Model>,
        workers: Option<usize>,
        others: Others,
        passed: &mut Passed,
    ) -> Result<Daemon, StartError> {
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
        let buckets = match others {
            Others::Refused => snapshots::restore(&store, &mut model.limits, seed, limits::now(&clock)),
            // What was spent is known when the other accepts no more.
            Others::Replaced => snapshots::fresh(&store, &mut model.limits, seed, limits::now(&clock)),
        };
        let model = Arc::new(model);
        let sinks = Sinks::open(&model)?;
        let mut binding = Binding { workers, unix_mode: bind::FOR_PROXIES, others, passed };
        let bound = bind::bind_all(&model.listen.addresses, &mut binding)
            .map_err(|(address, error)| StartError::Listen(address.to_string(), error))?;
        let secure = model.listen.tls.as_ref().map_or(&[][..], |tls| &tls.addresses);
        let secure = bind::bind_all(secure, &mut binding)
            .map_err(|(address, error)| StartError::Listen(address.to_string(), error))?;
        if let Some(unix) = secure.addresses.iter().find(|address| matches!(address, ListenAddress::Unix(_)))
        {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "TLS is spoken over TCP only");
            return Err(StartError::Listen(unix.to_string(), error));
        }
        let mut names = bound.names;
        let mut binding = Binding { workers: 1, unix_mode: bind::FOR_OWNER, others, passed };
        let (admin_addresses, admin_listeners) = bind_admin(&model, &mut binding, &mut names)?;
        let measurements = Arc::new(Measurements::new(&model.metrics));
        let shared = Shared {
            seats: Seats::new(model.listen.max_connections),
            measurements: Arc::clone(&measurements),
            interventions: Arc::default(),
            health: Arc::default(),
            buffers: Budget::new(model.upstream.buffers.total as u64),
            peers: Arc::default(),
            unheaded: Arc::default(),
            current: Arc::new(Current::new(Prepared {
                apps: destinations.apps(&model.upstream, None),
                breakers: Breakers::new(model.routes.routes(), None),
                keys,
                tls: served,
                spill: spilling::open(&model, None)?,
                buckets: Arc::new(buckets),
                taken_over: AtomicUsize::new(0),
                model,
            })),
        };
        let (control, reloads_asked) =
            Control::new(shared.clone(), workers, clock.sibling(), sinks.dropped());
        let current = Arc::clone(&shared.current);
        let health =
            HealthThread::start(Arc::clone(&current), clock.sibling()).map_err(StartError::Threads)?;
        let (phase, _) = watch::channel(Phase::Waiting);
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
        let tending = limits::tend(Arc::clone(&current), clock.sibling()).map_err(StartError::Threads)?;
        let snapshots =
            Snapshots::start(&store, Arc::clone(&current), clock.sibling()).map_err(StartError::Threads)?;
        let emf = current.get().model.emf.clone();
        let intervals =
            intervals::start(emf.as_ref(), sinks.emf_lines(), &measurements, &current, clock.sibling())
                .map_err(StartError::Threads)?;
        let admin = match admin_listeners.is_empty() {
            true => None,
            false => Some(AdminThread::start(admin_listeners, Arc::clone(&control)))
                .transpose()
                .map_err(StartError::Threads)?,
        };
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
        Ok(Daemon {
            addresses: bound.addresses,
            secure_addresses: secure.addresses,
            admin_addresses,
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
            seats: shared.seats,
            buffers: shared.buffers,
            clock: RefCell::new(clock),
            control,
            reloads_asked,
            admin,
            health,
        })
    }

    /// From now on it accepts.
    fn serve(&self) {
        self.phase.send_replace(Phase::Serving);
        self.snapshots.begin();
        for address in &self.addresses {
            tracing::info!(%address, "listening");
        }
        for address in &self.secure_addresses {
            tracing::info!(%address, "TLS listening");
        }
        for address in &self.admin_addresses {
            tracing::info!(%address, "admin listening");
        }
        let prepared = self.current.get();
        descriptors::advise(&prepared.model);
        tracing::info!(
            workers = self.threads.len(),
            upstream = prepared.apps.main.destination.label,
            "ready"
        );
    }

    /// Where it listens; ports that were chosen by the kernel are filled in.
    pub fn addresses(&self) -> &[ListenAddress] {
        &self.addresses
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

/// The admin listener's addresses, with the ports that the kernel chose, and its sockets; none where there is no
/// `[admin]`.
fn bind_admin(
    model: &Model,
    binding: &mut Binding<'_>,
    names: &mut Vec<UnixName>,
) -> Result<(Vec<ListenAddress>, Vec<AdminBound>), StartError> {
    let Some(admin) = &model.admin else { return Ok((Vec::new(), Vec::new())) };
    let bound = bind::bind_all(&admin.addresses, binding)
        .map_err(|(address, error)| StartError::Admin(address.to_string(), error))?;
    let AllBound { addresses, per_worker, names: more } = bound;
    names.extend(more);
    // Where passed sockets listen was not known when the configuration was read.
    let is_open = |address: &&ListenAddress| match address {
        ListenAddress::Tcp(address) => !address.ip().to_canonical().is_loopback(),
        ListenAddress::Unix(_) | ListenAddress::Passed(_) => false,
    };
    if let Some(open) = addresses.iter().find(is_open).filter(|_| admin.token.is_none()) {
        return Err(StartError::OpenAdmin(open.to_string()));
    }
    let listener = |bound: Bound| match bound.socket {
        BoundSocket::Tcp(listener) => AdminBound::Tcp(listener),
        BoundSocket::Unix(listener) => AdminBound::Unix(listener),
    };
    Ok((addresses, per_worker.into_iter().flatten().map(listener).collect()))
}
