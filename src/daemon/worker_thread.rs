//! One worker's thread: its runtime, and its part in the end of the process.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use super::bind::Bound;
use crate::config::model::Model;
use crate::proxy::listener::{self, Listener};
use crate::proxy::worker::{Seats, Worker};
use crate::telemetry::sink::Lines;
use crate::upstream::connect::Destination;

/// How often a draining worker looks whether its last connection has ended.
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(5);

/// What the process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Accepting and serving.
    Serving,
    /// Finishing what has begun.
    Draining,
    /// Dropping everything.
    Aborting,
}

/// A running worker, seen from the control thread.
#[derive(Debug)]
pub(super) struct WorkerThread {
    handle: JoinHandle<()>,
    ended: watch::Receiver<bool>,
}

impl WorkerThread {
    /// Resolves when the thread has nothing left to do.
    pub(super) async fn ended(&self) {
        // The sender goes with the thread, however it ends.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Waits for the thread.
    pub(super) fn join(self) {
        if self.handle.join().is_err() {
            tracing::error!("a worker panicked");
        }
    }
}

/// Starts a worker.
pub(super) fn spawn(
    number: usize,
    model: Arc<Model>,
    destination: Destination,
    lines: Lines,
    seats: Arc<Seats>,
    listeners: Vec<Bound>,
    phase: watch::Receiver<Phase>,
) -> io::Result<WorkerThread> {
    let runtime_builder = || Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let (end, ended) = watch::channel(false);
    let (started, start) = std::sync::mpsc::sync_channel(1);
    let handle = std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        let runtime = match runtime_builder() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        runtime.block_on(async move {
            let worker = Worker::new(&model, destination, lines, seats);
            let listeners = listeners.into_iter().map(register).collect::<io::Result<Vec<_>>>();
            let begun = listeners.map(|listeners| work(worker, listeners, phase));
            match begun {
                Ok(work) => {
                    let _ = started.send(Ok(()));
                    work.await;
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        });
        // Connections that are cut off are dropped, and recorded, with the runtime.
        drop(runtime);
        end.send_replace(true);
    })?;
    start.recv().unwrap_or_else(|_| Err(io::Error::other("a worker ended before it began")))?;
    Ok(WorkerThread { handle, ended })
}

fn register(bound: Bound) -> io::Result<Listener> {
    Ok(match bound {
        Bound::Tcp(listener) => Listener::Tcp(tokio::net::TcpListener::from_std(listener)?),
        Bound::Unix(listener) => Listener::Unix(tokio::net::UnixListener::from_std(listener)?),
    })
}

async fn work(worker: Rc<Worker>, listeners: Vec<Listener>, mut phase: watch::Receiver<Phase>) {
    let housekeeper = Rc::clone(&worker);
    tokio::task::spawn_local(async move { housekeeper.keep_house().await });
    let (stop, stopped) = watch::channel(false);
    let mut accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            tokio::task::spawn_local(listener::accept(listener, Rc::clone(&worker), stopped.clone()))
        })
        .collect();
    // A control thread that is gone wants no more work either.
    let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
    stop.send_replace(true);
    let drained = async {
        for task in &mut accepting {
            let _ = task.await;
        }
        worker.drain();
        while worker.connections() > 0 {
            tokio::time::sleep(DRAIN_LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = drained => {}
        _ = phase.wait_for(|phase| *phase == Phase::Aborting) => worker.abort(),
    }
    worker.flush();
}
