//! A child process that never outlives the benchmark.
//!
//! Invariant: the whole process group ends with the value, on return, error, panic or Ctrl-C; the
//! kernel ends the leader when the benchmark is killed outright.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::trouble::{Fallible, Trouble, io};

const POLL: Duration = Duration::from_millis(10);
const TERMINATE_LIMIT: Duration = Duration::from_secs(5);
const SHOWN_OUTPUT_BYTES: usize = 2_000;

/// A running child and its process group.
pub(crate) struct Supervised {
    child: Child,
    name: &'static str,
    stderr: PathBuf,
}

impl Supervised {
    /// Starts `command` in a process group of its own; its standard error goes to a file.
    pub(crate) fn start(name: &'static str, command: Command, stderr: &Path) -> Fallible<Self> {
        let file = File::create(stderr).map_err(io(stderr.display()))?;
        let child =
            ending_with_us(command).stderr(file).spawn().map_err(io(format!("cannot start `{name}`")))?;
        Ok(Self { child, name, stderr: stderr.to_owned() })
    }

    /// All processes of the group that live.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|process| group_of(*process) == Some(self.child.id()))
            .collect()
    }

    /// An error, with what it printed, when the child has ended.
    pub(crate) fn check_running(&mut self) -> Fallible<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                Err(Trouble::new(format!("`{}` ended ({status}):\n{}", self.name, self.printed())))
            }
            Err(error) => Err(io(self.name)(error)),
        }
    }

    /// SIGTERM, and an error when the child does not end.
    pub(crate) fn terminate(&mut self) -> Fallible<()> {
        self.end("TERM")
    }

    /// SIGINT, and an error when the child does not end.
    pub(crate) fn interrupt(&mut self) -> Fallible<()> {
        self.end("INT")
    }

    fn end(&mut self, signal: &str) -> Fallible<()> {
        send(signal, &self.child.id().to_string());
        let limit = Instant::now() + TERMINATE_LIMIT;
        while Instant::now() < limit {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return Ok(());
            }
            std::thread::park_timeout(POLL);
        }
        Err(Trouble::new(format!("`{}` does not end on SIG{signal}", self.name)))
    }

    /// The last of what it wrote to its standard error.
    pub(crate) fn printed(&self) -> String {
        let bytes = fs::read(&self.stderr).unwrap_or_default();
        let start = bytes.len().saturating_sub(SHOWN_OUTPUT_BYTES);
        String::from_utf8_lossy(&bytes[start..]).into_owned()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.terminate().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if !self.processes().is_empty() {
            send("KILL", &format!("-{}", self.child.id()));
        }
    }
}

/// The same command, ended by the kernel when the benchmark dies, in a process group of its own.
fn ending_with_us(command: Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped
        .args(["--pdeathsig", "TERM", "--"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0);
    wrapped
}

fn group_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    (state != "Z").then_some(group)
}

fn send(signal: &str, target: &str) {
    let _ = Command::new("kill").args(["-s", signal, "--", target]).stderr(Stdio::null()).status();
}
