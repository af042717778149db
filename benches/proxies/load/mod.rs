//! The load generator: raw sockets and prepared bytes on one thread, every answer checked.
//!
//! Invariant: a run ends by its clock or by its count, and a proxy that stops answering ends it
//! with an error instead of hanging it.

pub(crate) mod answer;
pub(crate) mod fleet;
pub(crate) mod fresh;
pub(crate) mod multiplexed;
pub(crate) mod paced;
pub(crate) mod requests;
pub(crate) mod socket;
pub(crate) mod tls;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::measure::cpu::{CpuMeter, CpuTime};
use crate::trouble::{Fallible, Trouble};

/// How long a proxy may take for what is already under way when a run ends.
const STRAGGLER_LIMIT: Duration = Duration::from_secs(10);

/// What the tasks of a run share.
#[derive(Default)]
pub(crate) struct Progress {
    completed: Cell<u64>,
    stopped: Cell<bool>,
}

impl Progress {
    fn complete_one(&self) {
        self.completed.set(self.completed.get() + 1);
    }
}

/// What was measured in one round.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
    /// Of the proxy; zero when there is none.
    pub(crate) proxy_cpu: CpuTime,
    /// From the intended send time to the last byte; only at a fixed rate. Sorted.
    pub(crate) latencies: Vec<Duration>,
}

/// Lets `workers` run, and measures the part after the warm-up. The workers are told to stop and
/// give back what they hold.
async fn measure<T: 'static>(
    mut workers: JoinSet<Fallible<T>>,
    progress: &Rc<Progress>,
    cpu: &CpuMeter,
    warm_up: Duration,
    measured: Duration,
) -> Fallible<(Sample, Vec<T>)> {
    undisturbed(&mut workers, warm_up).await?;
    let cpu_before = cpu.read()?;
    let requests_before = progress.completed.get();
    let started = Instant::now();
    undisturbed(&mut workers, measured).await?;
    let elapsed = started.elapsed();
    let requests = progress.completed.get() - requests_before;
    let proxy_cpu = cpu.read()?.since(cpu_before);
    progress.stopped.set(true);
    let held = all(workers).await?;
    if requests == 0 {
        return Err(Trouble::new("no answer at all in the measured time"));
    }
    let sample = Sample { requests, elapsed, proxy_cpu, latencies: Vec::new() };
    Ok((sample, held))
}

/// Waits, unless a worker ends: then something is wrong.
async fn undisturbed<T: 'static>(workers: &mut JoinSet<Fallible<T>>, duration: Duration) -> Fallible<()> {
    tokio::select! {
        () = sleep(duration) => Ok(()),
        Some(ended) = workers.join_next() => match ended {
            Ok(Ok(_)) => Err(Trouble::new("a client ended before its time")),
            Ok(Err(trouble)) => Err(trouble),
            Err(error) => Err(Trouble::new(error)),
        },
    }
}

/// Waits for every worker.
async fn all<T: 'static>(mut workers: JoinSet<Fallible<T>>) -> Fallible<Vec<T>> {
    let mut held = Vec::with_capacity(workers.len());
    let joined = timeout(STRAGGLER_LIMIT, async {
        while let Some(ended) = workers.join_next().await {
            held.push(ended.map_err(Trouble::new)??);
        }
        Ok(())
    });
    match joined.await {
        Ok(result) => result.map(|()| held),
        Err(_) => {
            Err(Trouble::new(format!("requests without an answer after {} s", STRAGGLER_LIMIT.as_secs())))
        }
    }
}
