//! The state of the process, put together for `/status` and `/events`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use crate::config;
use crate::limit::state::Now;
use crate::proxy::health::Readiness;
use crate::proxy::interventions::Whom;
use crate::telemetry::talkers::{CallerName, Rankings, RefusalNote};
use crate::telemetry::totals::{RouteTotals, Totals};

use super::control::Control;
use super::live_limits::LiveLimits;
use super::minute::{self, Minute};
use super::readiness::{Upstream, Watch};
use super::status::{
    Block, BucketStatus, CallerKind, Lift, ProcessStatus, Refusal, ReloadStatus, RouteStatus, SinkStatus,
    State, Status, Talker, Talkers, TrafficStatus, UpstreamStatus,
};
use super::status_of_apps;

/// Names in each ranking.
const MOST_TALKERS: usize = 20;

/// Who tells.
#[derive(Debug)]
pub(super) struct Teller {
    control: Arc<Control>,
    watch: Rc<Watch>,
    minute: RefCell<Minute>,
    limits: LiveLimits,
}

impl Teller {
    /// Begins to remember the last minute. Within the admin thread's runtime.
    pub(super) fn start(control: Arc<Control>, watch: Rc<Watch>) -> Rc<Teller> {
        let teller =
            Rc::new(Teller { control, watch, minute: RefCell::default(), limits: LiveLimits::default() });
        let keeper = Rc::clone(&teller);
        tokio::task::spawn_local(async move {
            loop {
                let totals = keeper.control.shared.measurements.totals();
                keeper.minute.borrow_mut().keep(&totals, keeper.control.now().tick);
                tokio::time::sleep(minute::EVERY).await;
            }
        });
        teller
    }

    /// Limits were changed by hand: the next look is a fresh one.
    pub(super) fn forget_limits(&self) {
        self.limits.forget();
    }

    /// The state now.
    pub(super) fn status(&self, with_configuration: bool) -> Status {
        let control = &self.control;
        let totals = control.totals();
        let now = control.now();
        let prepared = control.prepared();
        let rankings = control.shared.measurements.talkers(now.tick, MOST_TALKERS);
        let refusals = control.shared.measurements.refusals();
        let known = known(&rankings, &refusals);
        let readiness = self.watch.readiness();
        let process = &totals.process;
        Status {
            version: process.version.to_owned(),
            now_ms: process.now_unix_ms,
            started_ms: process.started_unix_ms,
            state: if control.is_draining() { State::Draining } else { State::Serving },
            ready: readiness == Readiness::Ready,
            workers: process.workers,
            traffic: traffic(&totals),
            routes: self.routes(&totals, now),
            limits: self.limits.status(&prepared, &known, &totals.limits, now),
            talkers: Talkers {
                requests: talkers(&rankings.requests),
                refusals: talkers(&rankings.refusals),
                bytes: talkers(&rankings.bytes),
                cost: talkers(&rankings.cost),
            },
            refusals: refusals.iter().map(refusal).collect(),
            upstream: upstream(&totals, &prepared.apps.main.destination.label, self.watch.upstream()),
            apps: status_of_apps::apps(&totals),
            queue: status_of_apps::queue(&totals),
            buffers: status_of_apps::buffers(&totals),
            breakers: status_of_apps::breakers(&totals),
            reloads: self.reloads(),
            sinks: process
                .dropped_lines
                .iter()
                .map(|(name, dropped)| SinkStatus { name: (*name).to_owned(), dropped: *dropped })
                .collect(),
            buckets: BucketStatus {
                held: process.buckets,
                most: process.max_buckets,
                evicted: process.forced_evictions,
            },
            lifts: self.lifts(now),
            blocks: self.blocks(now),
            process: ProcessStatus {
                resident_bytes: process.resident_bytes,
                cpu_seconds: process.cpu_nanos as f64 / 1e9,
                open_files: process.open_files,
                max_open_files: process.max_open_files,
                threads: process.threads,
            },
            configuration: with_configuration.then(|| config::print_plain(&prepared.model)),
        }
    }

    fn routes(&self, totals: &Totals, now: Now) -> Vec<RouteStatus> {
        let minute = self.minute.borrow();
        let status = |(name, route): (&Arc<str>, &RouteTotals)| {
            let latencies = minute.latencies(name, route, now.tick);
            RouteStatus {
                name: name.to_string(),
                requests: route.count(),
                errors: route.errors(),
                client_errors: route.client_errors(),
                throttled: route.throttled,
                bytes_in: route.bytes_in,
                bytes_out: route.bytes_out,
                latency: latencies.whole,
                upstream_latency: latencies.upstream,
                queue_time: latencies.queue,
                cache_hits: route.cache_hits,
                cache_misses: route.cache_misses,
                llm_tokens: route.llm_tokens,
            }
        };
        let mut routes: Vec<RouteStatus> = totals.routes.iter().map(status).collect();
        routes.sort_by_key(|route| std::cmp::Reverse(route.requests));
        routes
    }

    fn reloads(&self) -> ReloadStatus {
        let (done, failed) = self.control.reloads.counts();
        let last = self.control.reloads.last();
        ReloadStatus { done, failed, last_ms: last.unix_ms, problems: last.problems }
    }

    fn lifts(&self, now: Now) -> Vec<Lift> {
        let lift = |lift: crate::proxy::interventions::Lift| {
            let (caller, kind) = whom(&lift.whom).unzip();
            Lift { limit: lift.limit.into(), caller, kind, until_ms: self.control.unix_ms(lift.until) }
        };
        self.control.shared.interventions.lifts(now.tick).into_iter().map(lift).collect()
    }

    fn blocks(&self, now: Now) -> Vec<Block> {
        let block = |block: crate::proxy::interventions::Block| {
            let (caller, kind) = whom(&block.whom)?;
            Some(Block { caller, kind, until_ms: self.control.unix_ms(block.until) })
        };
        self.control.shared.interventions.blocks(now.tick).into_iter().filter_map(block).collect()
    }
}

fn traffic(totals: &Totals) -> TrafficStatus {
    let all = totals.all_routes();
    let traffic = &totals.traffic;
    TrafficStatus {
        requests: all.count(),
        errors: all.errors(),
        client_errors: all.client_errors(),
        throttled: all.throttled,
        shadow_throttled: all.shadow_throttled,
        bytes_in: all.bytes_in,
        bytes_out: all.bytes_out,
        in_flight: traffic.in_flight,
        connections: traffic.connections_open,
        refused_connections: traffic.refused_connections,
        http2_floods: traffic.floods,
        max_connections: traffic.max_connections,
        tunnels: traffic.tunnels_open,
    }
}

fn upstream(totals: &Totals, address: &str, found: Upstream) -> UpstreamStatus {
    let counted = &totals.upstream;
    UpstreamStatus {
        address: address.to_owned(),
        up: found.up,
        connect_ms: found.connect_ms,
        idle: counted.idle,
        connects: counted.connects,
        connect_failures: counted.connect_failures,
        reuses: counted.reuses,
        repeats: counted.repeats,
    }
}

/// Everybody whose name is told anyway.
fn known(rankings: &Rankings, refusals: &[RefusalNote]) -> BTreeSet<CallerName> {
    let rankings = [&rankings.requests, &rankings.refusals, &rankings.bytes, &rankings.cost];
    let ranked = rankings.into_iter().flatten().map(|(caller, _)| caller);
    ranked.chain(refusals.iter().map(|refusal| &refusal.caller)).cloned().collect()
}

fn talkers(ranking: &[(CallerName, u64)]) -> Vec<Talker> {
    let talker = |(name, count): &(CallerName, u64)| {
        let (caller, kind) = caller(name);
        Talker { caller, kind, count: *count }
    };
    ranking.iter().map(talker).collect()
}

fn refusal(note: &RefusalNote) -> Refusal {
    let (caller, kind) = caller(&note.caller);
    Refusal {
        time_ms: note.unix_nanos / 1_000_000,
        request_id: note.request_id.to_string(),
        caller,
        kind,
        route: note.route.to_string(),
        limit: note.limit.to_string(),
        retry_after_seconds: note.retry_after_seconds,
    }
}

fn caller(name: &CallerName) -> (String, CallerKind) {
    match name {
        CallerName::User(user) => (String::from_utf8_lossy(user).into_owned(), CallerKind::User),
        CallerName::Address(Some(address)) => (address.to_string(), CallerKind::Address),
        // A Unix peer nobody spoke for.
        CallerName::Address(None) => ("unix".to_owned(), CallerKind::Address),
    }
}

fn whom(whom: &Whom) -> Option<(String, CallerKind)> {
    match whom {
        Whom::Everybody => None,
        Whom::User(user) => Some((user.to_string(), CallerKind::User)),
        Whom::Address(address) => Some((address.to_string(), CallerKind::Address)),
    }
}
