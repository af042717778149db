//! The end of the process: what has begun is finished, or cut off, and the last words are written.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::Notify;

use crate::config::units::duration_text;

use super::signals::{Asked, Signals};
use super::worker_thread::Phase;
use super::{Daemon, systemd};

/// Why the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By this signal.
    Signal(&'static str),
    /// Another process takes over.
    Replaced,
}

/// Ends it; whether all that had begun was finished.
pub(super) async fn end(daemon: &mut Daemon, signals: &mut Signals, why: End) -> bool {
    let successor = Successor::default();
    if why == End::Replaced {
        // Operators find the other one.
        drop(daemon.admin.take());
        successor.comes(daemon);
    }
    let mut finished = pin!(finish(daemon, why, &successor));
    loop {
        let asked = tokio::select! {
            finished = &mut finished => {
                systemd::status(if finished { "drained" } else { "cut off what was not finished in time" });
                return finished;
            }
            asked = signals.next() => asked,
        };
        match asked {
            Asked::End(signal) => {
                tracing::warn!(signal, "ended at once");
                systemd::status("ended at once");
                daemon.abort();
                return false;
            }
            Asked::Reload => tracing::warn!("SIGHUP changes nothing: the process is about to end"),
            Asked::HandOver => successor.comes(daemon),
        }
    }
}

async fn finish(daemon: &Daemon, why: End, successor: &Successor) -> bool {
    let model = daemon.current.get().model.clone();
    let (delay, timeout) = (model.listen.drain_delay, model.listen.drain_timeout);
    let draining = format!("draining: what has begun is finished, within {}", duration_text(timeout));
    match why {
        End::Signal(signal) => {
            tracing::info!(signal, "asked to end");
            daemon.control.start_draining();
            if !delay.is_zero() {
                let status = format!("not ready, serving for {}", duration_text(delay));
                systemd::stopping(delay + timeout, &status);
                tracing::info!(?delay, "not ready anymore, serving on");
                // Where somebody takes over, nobody is to go elsewhere.
                let _ = tokio::time::timeout(delay, successor.came.notified()).await;
            }
            systemd::stopping(timeout, &draining);
        }
        // Readiness, of which both may be asked, is not refused.
        End::Replaced => systemd::stopping(timeout, &format!("replaced, {draining}")),
    }
    daemon.finish(timeout, || successor.may_read(daemon)).await
}

/// A process that takes over from one that is about to end.
#[derive(Debug, Default)]
struct Successor {
    is_there: Cell<bool>,
    came: Notify,
    nothing_is_accepted: Cell<bool>,
}

impl Successor {
    fn comes(&self, daemon: &Daemon) {
        tracing::info!("another process takes over");
        self.is_there.set(true);
        self.came.notify_one();
        self.write(daemon);
    }

    /// Nothing is accepted here anymore, so what was spent is what is to be read.
    fn may_read(&self, daemon: &Daemon) {
        self.nothing_is_accepted.set(true);
        self.write(daemon);
    }

    fn write(&self, daemon: &Daemon) {
        if self.is_there.get() && self.nothing_is_accepted.get() {
            daemon.snapshots.hand_over();
        }
    }
}

impl Daemon {
    /// Stops accepting, lets running exchanges finish, and tells whether they did in time. What is left after
    /// that is cut off.
    pub async fn drain(&self, timeout: Duration) -> bool {
        self.control.start_draining();
        self.finish(timeout, || {}).await
    }

    async fn finish(&self, timeout: Duration, accepts_no_more: impl FnOnce()) -> bool {
        self.phase.send_replace(Phase::Draining);
        let all_ended = async {
            for thread in &self.threads {
                thread.draining().await;
            }
            accepts_no_more();
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
