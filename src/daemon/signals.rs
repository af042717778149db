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
    /// Another process serves from now on.
    HandOver,
}

/// Handlers of ours for every signal whose default would end the process.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user_1: Signal,
    user_2: Signal,
}

impl Signals {
    /// Installs them.
    pub(super) fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for a signal that asks for something.
    pub(super) async fn next(&mut self) -> Asked {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Asked::End("SIGTERM"),
                _ = self.interrupt.recv() => return Asked::End("SIGINT"),
                _ = self.hang_up.recv() => return Asked::Reload,
                _ = self.user_2.recv() => return Asked::HandOver,
                _ = self.user_1.recv() => {
                    tracing::info!("SIGUSR1 is not needed: a renamed record file is reopened by itself");
                }
            }
        }
    }
}
