//! One worker's thread: its runtime, and its part in the end of the process.

use std::io;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use super::bind::{Bound, BoundSocket};
use crate::clock::Clock;
use crate::proxy::left_behind;
use crate::proxy::listener::{self, Accepting, Listener};
use crate::proxy::telling::WorkerLines;
use crate::proxy::worker::{Shared, Worker};

/// How often a draining worker looks whether its last connection has ended.
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(5);

/// Threads of a worker that read and write spilled bodies; there while there is something to do.
const DISK_THREADS: usize = 4;

/// What the process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// All is there, and nothing is accepted yet.
    Waiting,
    /// Accepting and serving.
    Serving,
    /// Finishing what has begun.
    Draining,
    /// Dropping everything.
    Aborting,
}

/// How far a worker has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    /// It accepts.
    Serving,
    /// Its listeners are closed, and every connection knows.
    Draining,
    /// It has nothing left to do.
    Ended,
}

/// A running worker, seen from the control thread.
#[derive(Debug)]
pub(super) struct WorkerThread {
    handle: JoinHandle<()>,
    progress: watch::Receiver<Progress>,
}

impl WorkerThread {
    /// Resolves when its listeners are closed.
    pub(super) async fn draining(&self) {
        self.reached(Progress::Draining).await;
    }

    /// Resolves when it has nothing left to do.
    pub(super) async fn ended(&self) {
        self.reached(Progress::Ended).await;
    }

    async fn reached(&self, goal: Progress) {
        // The sender goes with the thread, however it ends.
        let _ = self.progress.clone().wait_for(|progress| *progress >= goal).await;
    }

    /// Waits for the thread.
    pub(super) fn join(self) {
        if self.handle.join().is_err() {
            tracing::error!("a worker panicked");
        }
    }
}

/// What a worker accepts on.
#[derive(Debug)]
pub(super) struct Listeners {
    /// HTTP is spoken at once.
    pub(super) plain: Vec<Bound>,
    /// TLS is spoken first.
    pub(super) tls: Vec<Bound>,
}

/// Starts a worker.
pub(super) fn spawn(
    number: usize,
    shared: Shared,
    lines: WorkerLines,
    clock: Clock,
    listeners: Listeners,
    phase: watch::Receiver<Phase>,
) -> io::Result<WorkerThread> {
    let runtime_builder = move || {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().max_blocking_threads(DISK_THREADS).thread_name(format!("disk-{number}"));
        builder.build_local(LocalOptions::default())
    };
    let (tell, progress) = watch::channel(Progress::Serving);
    let (started, start) = std::sync::mpsc::sync_channel(1);
    let handle = std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        let runtime = match runtime_builder() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        runtime.block_on(async {
            let worker = Worker::new(shared, lines, clock);
            let Listeners { plain, tls } = listeners;
            let all = plain
                .into_iter()
                .map(|bound| (bound, false))
                .chain(tls.into_iter().map(|bound| (bound, true)));
            let listeners = all.map(|(bound, is_tls)| register(bound, is_tls));
            let listeners = listeners.collect::<io::Result<Vec<_>>>();
            let begun = listeners.map(|listeners| work(worker, listeners, phase, &tell));
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
        tell.send_replace(Progress::Ended);
    })?;
    start.recv().unwrap_or_else(|_| Err(io::Error::other("a worker ended before it began")))?;
    Ok(WorkerThread { handle, progress })
}

fn register(Bound { socket, queue }: Bound, is_tls: bool) -> io::Result<(Listener, Accepting)> {
    let listener = match socket {
        BoundSocket::Tcp(listener) => Listener::Tcp(tokio::net::TcpListener::from_std(listener)?),
        BoundSocket::Unix(listener) => Listener::Unix(tokio::net::UnixListener::from_std(listener)?),
    };
    Ok((listener, Accepting { is_tls, queue }))
}

async fn work(
    worker: Rc<Worker>,
    listeners: Vec<(Listener, Accepting)>,
    mut phase: watch::Receiver<Phase>,
    tell: &watch::Sender<Progress>,
) {
    let housekeeper = Rc::clone(&worker);
    tokio::task::spawn_local(async move { housekeeper.keep_house().await });
    tokio::task::spawn_local(left_behind::stay(Rc::clone(&worker)));
    // A control thread that is gone wants no more work either.
    let _ = phase.wait_for(|phase| *phase != Phase::Waiting).await;
    let (stop, stopped) = watch::channel(false);
    let mut accepting: Vec<_> = listeners
        .into_iter()
        .map(|(listener, accepting)| {
            let accept = listener::accept(listener, accepting, Rc::clone(&worker), stopped.clone());
            tokio::task::spawn_local(accept)
        })
        .collect();
    let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
    stop.send_replace(true);
    let drained = async {
        for task in &mut accepting {
            let _ = task.await;
        }
        worker.drain();
        tell.send_replace(Progress::Draining);
        while worker.connections() + worker.left_behind.finishing() > 0 {
            tokio::time::sleep(DRAIN_LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = drained => {}
        _ = phase.wait_for(|phase| *phase == Phase::Aborting) => worker.abort(),
    }
    worker.flush();
}
