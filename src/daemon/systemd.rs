//! What systemd is told, if it wants to know: sd_notify(3).
//!
//! Invariant: one datagram holds what belongs together, and no text that came from outside ends a line of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

/// Beyond what a drain may take: sinks that stall are waited for as well.
const CLOSING_TIME: Duration = Duration::from_secs(15);
/// Of a status, in characters; `systemctl status` shows it on one line.
const MAX_STATUS: usize = 200;

static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// It serves, or does so again.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// The configuration is read again. Whatever comes of it, [`ready`] follows.
pub(super) fn reloading() {
    // systemd tells by the time to which of its requests this belongs.
    let Ok(now) = NotifyState::monotonic_usec_now() else { return };
    tell(&[NotifyState::Reloading, now, NotifyState::Status("reading the configuration again")]);
}

/// The end has begun, and takes at most so long.
pub(super) fn stopping(at_most: Duration, status: &str) {
    let micros = u32::try_from((at_most + CLOSING_TIME).as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(micros),
        NotifyState::Status(&one_line(status)),
    ]);
}

/// What is going on.
pub(super) fn status(status: &str) {
    tell(&[NotifyState::Status(&one_line(status))]);
}

/// It moves.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(states: &[NotifyState<'_>]) {
    // Without a socket to tell it this does nothing.
    if let Err(error) = sd_notify::notify(states)
        && !HAS_FAILED.swap(true, Ordering::Relaxed)
    {
        tracing::warn!(%error, "systemd cannot be told how things are");
    }
}

fn one_line(text: &str) -> String {
    text.chars().take(MAX_STATUS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line() {
        assert_eq!(one_line("a\nREADY=1\tb"), "a READY=1 b");
        assert_eq!(one_line(&"é".repeat(500)).chars().count(), MAX_STATUS);
    }
}
