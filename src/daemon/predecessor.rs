//! The process that this one replaces: found, looked at, and told to hand over.
//!
//! Invariant: nothing is sent to a process that is not a tollgate which knows what is meant.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, test_kill_process};

use super::StartError;

/// Of the name under which a program runs, which the kernel cuts.
const NAME: &str = "tollgate";
/// SIGUSR2 in a mask of signals.
const HAND_OVER_BIT: u64 = 1 << 11;

/// A running tollgate.
#[derive(Debug)]
pub(super) struct Predecessor {
    id: Pid,
    /// The process, whatever becomes of its number.
    process: OwnedFd,
}

impl Predecessor {
    /// Looks whether the process with this id can hand over.
    pub(super) fn find(id: i32) -> Result<Predecessor, StartError> {
        let refuse = |why: String| StartError::Replaces(id, why);
        let id = Pid::from_raw(id).ok_or_else(|| refuse("this is no process id".to_owned()))?;
        if id == rustix::process::getpid() {
            return Err(refuse("this is the process itself".to_owned()));
        }
        let process = pidfd_open(id, PidfdFlags::empty()).map_err(|error| {
            refuse(match error {
                Errno::SRCH => "there is no such process; start without `--replaces`".to_owned(),
                error => io::Error::from(error).to_string(),
            })
        })?;
        let of_process = |file: &str| fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
        let name = of_process("comm");
        let name = name.trim();
        if !name.starts_with(NAME) {
            return Err(refuse(format!("it is no tollgate, its name is `{}`", name.escape_debug())));
        }
        if !takes_hand_over(&of_process("status")) {
            return Err(refuse(
                "it does not know how to hand over: another version, or it has only just begun; \
                 stop it and start without `--replaces`"
                    .to_owned(),
            ));
        }
        test_kill_process(id).map_err(|error| {
            refuse(match error {
                Errno::PERM => "it belongs to another user; run this as the same".to_owned(),
                error => io::Error::from(error).to_string(),
            })
        })?;
        Ok(Predecessor { id, process })
    }

    /// Its number.
    pub(super) fn id(&self) -> i32 {
        self.id.as_raw_nonzero().get()
    }

    /// Has it write what was spent and finish what it has begun.
    pub(super) fn hand_over(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.process, Signal::USR2)?)
    }

    /// Whether it is gone.
    pub(super) fn has_ended(&self) -> bool {
        test_kill_process(self.id).is_err()
    }
}

/// Whether a process handles the signal that asks it to hand over, by its `/proc/PID/status`. To one that does not it
/// would be the end.
fn takes_hand_over(status: &str) -> bool {
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & HAND_OVER_BIT != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_would_die_of_the_signal_is_not_asked() {
        assert!(takes_hand_over("Name:\ttollgate\nSigCgt:\t0000000000000a00\n"), "SIGUSR1 and SIGUSR2");
        assert!(!takes_hand_over("SigCgt:\t0000000000000200\n"), "SIGUSR1 alone");
        assert!(!takes_hand_over("SigIgn:\t0000000000000800\n") && !takes_hand_over(""));
    }

    #[test]
    fn only_a_tollgate_is_replaced() {
        let refused = |id: i32| Predecessor::find(id).unwrap_err().to_string();
        let own = rustix::process::getpid().as_raw_nonzero().get();
        assert!(refused(own).contains("itself"));
        assert!(refused(1).contains("no tollgate"), "{}", refused(1));
        assert!(refused(i32::MAX).contains("no such process"), "{}", refused(i32::MAX));
    }
}
