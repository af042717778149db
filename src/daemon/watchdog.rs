//! systemd's watchdog: told at half of its time that the process moves, and only while every worker does.
//!
//! Invariant: a thread of its own tells, which waits for nothing else; what stalls a worker stalls no word of it but the
//! next.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::admin::control::Control;

use super::background::Background;
use super::systemd;
use super::worker_thread::Phase;

/// A worker that gave no sign of life for so long hangs; less where the watchdog is quicker.
const PATIENCE: Duration = Duration::from_secs(1);
/// How soon is looked again at workers that do not move.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The thread, if systemd wants to be told.
pub(super) fn start(control: Arc<Control>, phase: watch::Receiver<Phase>) -> io::Result<Option<Background>> {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else { return Ok(None) };
    let (half, patience) = (limit / 2, PATIENCE.min(limit / 2));
    let thread = Background::start("watchdog", move |owner| {
        let mut hangs = false;
        loop {
            let stalled = control.stalled_workers(patience);
            let feeds = feeds(stalled, *phase.borrow());
            if feeds {
                systemd::alive();
            }
            if feeds == hangs {
                hangs = !feeds;
                match hangs {
                    true => tracing::error!(stalled, "workers do not move, the watchdog is not told"),
                    false => tracing::warn!("all workers move again"),
                }
            }
            if !owner.waits(if feeds { half } else { LOOK_AGAIN }) {
                return;
            }
        }
    })?;
    Ok(Some(thread))
}

/// Whether the process moves as it should. Workers that have ended in a drain give no more signs, and the drain has a
/// deadline of its own.
fn feeds(stalled: usize, phase: Phase) -> bool {
    stalled == 0 || phase != Phase::Serving
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_that_hangs_is_enough() {
        assert!(feeds(0, Phase::Serving));
        assert!(!feeds(1, Phase::Serving));
        assert!(feeds(1, Phase::Draining) && feeds(2, Phase::Aborting));
    }
}
