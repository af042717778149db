//! The signals of the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The end, by the signal of this name.
    End(&'static str),
    /// The configuration is to be read again.
    Reload,
}

/// Handlers of ours for every signal whose default would end the process.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user_1: Signal,
}

impl Signals {
    /// Installs them.
    pub(super) fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits for a signal that asks for something.
    pub(super) async fn next(&mut self) -> Asked {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Asked::End("SIGTERM"),
                _ = self.interrupt.recv() => return Asked::End("SIGINT"),
                _ = self.hang_up.recv() => return Asked::Reload,
                _ = self.user_1.recv() => {
                    tracing::info!("SIGUSR1 is not needed: a renamed record file is reopened by itself");
                }
            }
        }
    }

    /// Waits for a signal that asks for the end, and names it.
    pub(super) async fn end(&mut self) -> &'static str {
        loop {
            match self.next().await {
                Asked::End(signal) => return signal,
                Asked::Reload => tracing::warn!("SIGHUP changes nothing: the process is about to end"),
            }
        }
    }
}
