//! Compares tollgate with nginx and HAProxy at the same work, on this machine, over the loopback.
//!
//! One core runs the proxy, another the load generator and the origin, both in this process. Every
//! answer is checked. docs/benchmarking.md says how to run it and how to read what it prints.
#![forbid(unsafe_code)]

mod contenders;
mod load;
mod machine;
mod measure;
mod origin;
mod plan;
mod report;
mod rounds;
mod trouble;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use contenders::Contender;
use machine::Cores;
use origin::Origin;
use plan::{Asked, Kind, Name, Plan};
use trouble::{Fallible, Trouble};

fn main() -> ExitCode {
    match begin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            let _ = writeln!(io::stderr(), "bench: {trouble}");
            ExitCode::FAILURE
        }
    }
}

fn begin() -> Fallible<()> {
    let plan = match plan::ask(env::args().skip(1))? {
        Asked::Run(plan) => plan,
        Asked::Help => return say(plan::HELP),
        Asked::Nothing => return say("not measuring: run `cargo bench` or `make bench`\n"),
    };
    let traces = has(&plan, |kind| matches!(kind, Kind::SystemCalls { .. }));
    machine::check_tools(&plan.contenders, traces)?;
    if has(&plan, |kind| matches!(kind, Kind::Idle { .. })) {
        machine::check_open_files(2 * plan::IDLE_CONNECTIONS as u64 + 1_000)?;
    }
    let cores = Cores::choose()?;
    cores.pin_load()?;
    let directory = WorkDirectory::create()?;
    let runtime =
        runtime::Builder::new_current_thread().enable_all().build().map_err(trouble::io("cannot start"))?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        tokio::select! {
            result = compare(&plan, cores, &directory.0) => result,
            result = interrupted() => result,
        }
    })
}

fn has(plan: &Plan, wanted: impl Fn(Kind) -> bool) -> bool {
    plan.scenarios.iter().any(|scenario| wanted(scenario.kind))
}

async fn compare(plan: &Plan, cores: Cores, directory: &Path) -> Fallible<()> {
    for line in machine::describe(cores, &plan.contenders) {
        say(&format!("{line}\n"))?;
    }
    say(&format!(
        "{} rounds of {} s; ratios are of the medians, the spread is the least and the most of a round\n",
        plan.rounds,
        plan.measured.as_secs_f64()
    ))?;
    let origin = Origin::start().await?;
    let mut contenders = Vec::new();
    let takes_part = |name: &&Name| plan.scenarios.iter().any(|scenario| name.takes_part(scenario));
    for name in plan.contenders.iter().filter(takes_part) {
        let contender = Contender::start(*name, cores.proxy, directory, &origin).await?;
        let verified = contender.verify(&origin).await;
        verified.map_err(|trouble| contender.explain(trouble))?;
        contenders.push(contender);
    }
    let mut sent = vec![0; contenders.len()];
    for scenario in &plan.scenarios {
        let outcome = rounds::run(plan, *scenario, &contenders, directory, &mut sent)
            .await
            .map_err(|trouble| trouble.during(scenario.name))?;
        say(&report::table(*scenario, &outcome))?;
    }
    account_for_lines(contenders, &sent).await
}

/// Every exchange must have left an access line: a proxy that drops lines has done less work.
async fn account_for_lines(contenders: Vec<Contender>, sent: &[u64]) -> Fallible<()> {
    say("\naccess lines written, of requests sent\n")?;
    for (contender, sent) in contenders.into_iter().zip(sent) {
        let name = contender.name;
        let stopped = contender.stop().await;
        if let Some(lines) = stopped.map_err(|trouble| trouble.during(name.text()))? {
            let verified = 1;
            let sent = sent + verified;
            let note = if lines == sent { "" } else { ": not the same work" };
            say(&format!("  {:9} {lines} of {sent}{note}\n", name.text()))?;
        }
    }
    Ok(())
}

async fn interrupted() -> Fallible<()> {
    let listen = |kind| signal(kind).map_err(trouble::io("cannot listen for signals"));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => Err(Trouble::new("interrupted")),
        _ = terminate.recv() => Err(Trouble::new("terminated")),
    }
}

fn say(text: &str) -> Fallible<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(trouble::io("cannot print"))
}

const WORK_PREFIX: &str = "proxies-";

/// Directories of runs that were killed: access lines take hundreds of megabytes.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(WORK_PREFIX));
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Configurations and access lines of this run; removed with the value.
struct WorkDirectory(PathBuf);

impl WorkDirectory {
    fn create() -> Fallible<Self> {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        remove_abandoned(parent);
        let path = parent.join(format!("{WORK_PREFIX}{}", std::process::id()));
        fs::create_dir_all(&path).map_err(trouble::io(path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
