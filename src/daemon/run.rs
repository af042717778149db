//! The life of the process: start, signals, end.

use std::process::ExitCode;
use std::sync::Arc;

use crate::admin::control::{ReloadAsked, ReloadOutcome};
use crate::config::model::Model;

use super::background::Background;
use super::bind::Others;
use super::end::{End, end};
use super::passed::Passed;
use super::predecessor::Predecessor;
use super::reload::{self, Load};
use super::signals::{Asked, Signals};
use super::{Daemon, StartError, descriptors, error, logging, systemd, watchdog};

/// Runs until a signal ends it; `warnings` are told among the first events, `load` reads the configuration again
/// on SIGHUP, `replaces` is the process this one takes over from. Exit codes: 0 drained; 1 could not start, or the drain
/// ran out of time; 78 the keys file is wrong.
pub fn run(
    model: Arc<Model>,
    workers: Option<usize>,
    warnings: &[String],
    load: Option<Load>,
    replaces: Option<i32>,
) -> ExitCode {
    logging::init(&model.log);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    descriptors::raise_limit();
    let mut passed = Passed::to_us();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return error::tell(&StartError::Threads(error)),
    };
    runtime.block_on(async {
        let mut signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => return error::tell(&StartError::Threads(error)),
        };
        let (mut daemon, watchdog) = match start(model, workers, &mut passed, replaces).await {
            Ok(started) => started,
            Err(error) => return error::tell(&error),
        };
        systemd::ready(&serving(&daemon));
        let asked = until_the_end(&mut daemon, &mut signals, load.as_ref()).await;
        let drained = end(&mut daemon, &mut signals, asked).await;
        daemon.close();
        drop(watchdog);
        if drained { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}

async fn start(
    model: Arc<Model>,
    workers: Option<usize>,
    passed: &mut Passed,
    replaces: Option<i32>,
) -> Result<(Daemon, Option<Background>), StartError> {
    let predecessor = replaces.map(Predecessor::find).transpose()?;
    let others = if predecessor.is_some() { Others::Replaced } else { Others::Refused };
    let mut daemon = Daemon::open(model, workers, others, passed)?;
    passed.tell_unused();
    let watchdog = watchdog::start(Arc::clone(&daemon.control), daemon.phase.subscribe())
        .map_err(StartError::Threads)?;
    if let Some(predecessor) = predecessor {
        daemon.take_over(&predecessor).await?;
    }
    daemon.serve();
    Ok((daemon, watchdog))
}

async fn until_the_end(daemon: &mut Daemon, signals: &mut Signals, load: Option<&Load>) -> End {
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::End(signal) => return End::Signal(signal),
                Asked::HandOver => return End::Replaced,
                Asked::Reload => drop(reload(daemon, load).await),
            },
            Some(ReloadAsked { answer }) = daemon.reloads_asked.recv() => {
                let outcome = reload(daemon, load).await;
                // Whoever asked may have left.
                let _ = answer.send(outcome);
            }
        }
    }
}

async fn reload(daemon: &Daemon, load: Option<&Load>) -> ReloadOutcome {
    systemd::reloading();
    let outcome = reload::reload(daemon, load).await;
    match &outcome {
        ReloadOutcome::Refused(problems) => {
            let first = problems.first().map_or("", String::as_str);
            systemd::ready(&format!("configuration rejected, the one before is in force: {first}"));
        }
        ReloadOutcome::Done(_) | ReloadOutcome::NoFile => systemd::ready(&serving(daemon)),
    }
    outcome
}

fn serving(daemon: &Daemon) -> String {
    let all = daemon.addresses.iter().chain(&daemon.secure_addresses);
    let addresses: Vec<String> = all.map(ToString::to_string).collect();
    let workers = daemon.threads.len();
    format!(
        "serving with {workers} worker{} on {}",
        if workers == 1 { "" } else { "s" },
        addresses.join(", ")
    )
}
