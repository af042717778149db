//! Running the scenarios: every contender once a round, round after round, so that whatever
//! disturbs the machine for a while disturbs all of them.

use std::path::Path;

use tokio::time::sleep;

use crate::contenders::Contender;
use crate::load::fleet::{Fleet, Target};
use crate::load::requests::Requests;
use crate::load::{Sample, fresh, multiplexed, paced};
use crate::measure::memory;
use crate::measure::syscalls::{Counted, Trace};
use crate::plan::{FIXED_RATE_PER_SECOND, IDLE_SETTLE, Kind, Name, Plan, Scenario, TRACED_REQUESTS};
use crate::trouble::Fallible;

/// What a scenario gave.
pub(crate) enum Outcome {
    /// For each contender its sample of each round.
    Rounds(Vec<(Name, Vec<Sample>)>),
    /// For each proxy the bytes of an idle connection.
    Memory(Vec<(Name, f64)>),
    /// For each proxy its system calls over [`TRACED_REQUESTS`].
    SystemCalls(Vec<(Name, Vec<Counted>)>),
}

/// Runs one scenario; adds what each contender was sent to `sent`.
pub(crate) async fn run(
    plan: &Plan,
    scenario: Scenario,
    contenders: &[Contender],
    directory: &Path,
    sent: &mut [u64],
) -> Fallible<Outcome> {
    let close = matches!(scenario.kind, Kind::NewConnection { .. });
    let requests: Vec<Requests> = contenders
        .iter()
        .map(|contender| Requests::prepare(scenario.exchange, close, contender.is_proxy()))
        .collect();
    let taking_part = || {
        let with_requests = contenders.iter().zip(&requests);
        with_requests.filter(|(contender, _)| contender.name.takes_part(&scenario))
    };
    let proxies = || taking_part().filter(|(contender, _)| contender.is_proxy());
    let outcome = match scenario.kind {
        Kind::Idle { connections } => {
            let mut memory = Vec::new();
            for (proxy, requests) in proxies() {
                let bytes = idle_bytes(proxy, scenario, connections, requests)
                    .await
                    .map_err(|trouble| proxy.explain(trouble))?;
                memory.push((proxy.name, bytes));
            }
            Outcome::Memory(memory)
        }
        Kind::SystemCalls { connections } => {
            let mut calls = Vec::new();
            for (proxy, requests) in proxies() {
                let counted = system_calls(proxy, connections, requests, directory)
                    .await
                    .map_err(|trouble| proxy.explain(trouble))?;
                calls.push((proxy.name, counted));
            }
            Outcome::SystemCalls(calls)
        }
        Kind::KeepAlive { .. }
        | Kind::NewConnection { .. }
        | Kind::FixedRate { .. }
        | Kind::Streams { .. } => {
            let mut samples: Vec<(Name, Vec<Sample>)> = taking_part()
                .map(|(contender, _)| (contender.name, Vec::with_capacity(plan.rounds)))
                .collect();
            for _ in 0..plan.rounds {
                for (index, (contender, requests)) in taking_part().enumerate() {
                    let sample = round(plan, scenario, contender, requests)
                        .await
                        .map_err(|trouble| contender.explain(trouble))?;
                    samples[index].1.push(sample);
                }
            }
            Outcome::Rounds(samples)
        }
    };
    for (total, requests) in sent.iter_mut().zip(&requests) {
        *total += requests.sent();
    }
    Ok(outcome)
}

async fn round(
    plan: &Plan,
    scenario: Scenario,
    contender: &Contender,
    requests: &Requests,
) -> Fallible<Sample> {
    let cpu = contender.cpu();
    let (target, warm_up, measured) = (&contender.target(scenario)?, plan.warm_up, plan.measured);
    match scenario.kind {
        Kind::Streams { connections, streams } => {
            multiplexed::run_for(target, (connections, streams), requests, warm_up, measured, &cpu).await
        }
        Kind::NewConnection { clients } => {
            fresh::run_for(target, clients, requests, warm_up, measured, &cpu).await
        }
        Kind::FixedRate { connections } => {
            let fleet = Fleet::open(target, connections, requests.clone()).await?;
            paced::run_for(fleet, FIXED_RATE_PER_SECOND, warm_up, measured, &cpu).await
        }
        Kind::KeepAlive { connections } | Kind::Idle { connections } | Kind::SystemCalls { connections } => {
            let mut fleet = Fleet::open(target, connections, requests.clone()).await?;
            fleet.run_for(warm_up, measured, &cpu).await
        }
    }
}

/// What the proxy's memory grows by for each connection. Its caches are warm and every key is
/// known before, so that the growth is the connections'; afterwards every connection must still
/// answer.
async fn idle_bytes(
    proxy: &Contender,
    scenario: Scenario,
    connections: usize,
    requests: &Requests,
) -> Fallible<f64> {
    let target = &proxy.target(scenario)?;
    let mut warm = Fleet::open(target, 32, requests.clone()).await?;
    warm.run_count(4_000).await?;
    drop(warm);
    sleep(IDLE_SETTLE).await;
    let processes = proxy.processes();
    let before = memory::proportional_bytes(&processes)?;
    let mut idle = Fleet::open(target, connections, requests.clone()).await?;
    sleep(IDLE_SETTLE).await;
    let after = memory::proportional_bytes(&processes)?;
    idle.run_each_once().await?;
    Ok((after as f64 - before as f64) / connections as f64)
}

async fn system_calls(
    proxy: &Contender,
    connections: usize,
    requests: &Requests,
    directory: &Path,
) -> Fallible<Vec<Counted>> {
    let target = Target { address: proxy.address, dialer: None };
    let mut fleet = Fleet::open(&target, connections, requests.clone()).await?;
    let trace = Trace::attach(&proxy.processes(), directory).await?;
    fleet.run_count(TRACED_REQUESTS).await?;
    trace.finish()
}
