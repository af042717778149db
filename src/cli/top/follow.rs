//! The thread that listens to the running tollgate, and to signals, while the screen waits for keys.

use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::admin::status::Status;

use super::super::live::client::runtime;
use super::super::live::events::Events;
use super::super::live::{Admin, Failure};

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// What the screen is told.
pub(super) enum Update {
    /// A state came.
    State(Box<Status>),
    /// The connection was lost, and why; it is tried again.
    Lost(String),
    /// There is no point in trying again.
    Failed(Failure),
    /// A signal asked for the end.
    Ended,
}

/// Starts the thread. It ends when nobody receives any more.
pub(super) fn start(admin: Admin, updates: SyncSender<Update>) -> Result<(), Failure> {
    let runtime = runtime()?;
    let followed = move || {
        runtime.block_on(async {
            let ended = tokio::select! {
                failure = follow(&admin, &updates) => failure.map(Update::Failed),
                () = end() => Some(Update::Ended),
            };
            if let Some(update) = ended {
                // A screen that is gone needs no reason.
                let _ = updates.send(update);
            }
        });
    };
    let started = thread::Builder::new().name("follow".to_owned()).spawn(followed);
    started.map(drop).map_err(|error| Failure::new(format!("cannot start a thread: {error}"), ""))
}

/// Follows until the screen is gone, or until there is no point in it.
async fn follow(admin: &Admin, updates: &SyncSender<Update>) -> Option<Failure> {
    let mut was_there = false;
    let mut wait = FIRST_WAIT;
    loop {
        let failure = match Events::open(admin).await {
            Err(failure) => failure,
            Ok(mut events) => loop {
                match events.next().await {
                    Err(failure) => break failure,
                    Ok(status) => {
                        (was_there, wait) = (true, FIRST_WAIT);
                        updates.send(Update::State(Box::new(status))).ok()?;
                    }
                }
            },
        };
        if !was_there {
            return Some(failure);
        }
        updates.send(Update::Lost(failure.message)).ok()?;
        tokio::time::sleep(wait).await;
        wait = LONGEST_WAIT.min(wait * 2);
    }
}

/// Waits for a signal that asks for the end; for ever where signals cannot be had, as their default ends the process.
async fn end() {
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hang_up)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hang_up.recv() => {}
    }
}
