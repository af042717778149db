//! System calls of a proxy while it serves a known number of requests, counted by strace.
//!
//! strace makes every call slow, so nothing else is measured meanwhile. More calls are waiting
//! for each wake-up then: the share of `epoll_wait` is smaller than without it, the data calls
//! are the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::sleep;

use crate::contenders::process::Supervised;
use crate::trouble::{Fallible, Trouble, io};

/// Calls that move bytes of requests, answers or access lines.
const DATA_CALLS: [&str; 16] = [
    "read", "readv", "pread64", "recv", "recvfrom", "recvmsg", "recvmmsg", "write", "writev", "pwrite64",
    "send", "sendto", "sendmsg", "sendmmsg", "sendfile", "splice",
];
const ATTACH_POLL: Duration = Duration::from_millis(10);
const ATTACH_POLLS: u32 = 500;

/// One kind of system call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counted {
    pub(crate) name: String,
    pub(crate) calls: u64,
    pub(crate) errors: u64,
}

impl Counted {
    pub(crate) fn is_data(&self) -> bool {
        DATA_CALLS.contains(&self.name.as_str())
    }
}

/// strace attached to every thread of a proxy.
pub(crate) struct Trace {
    strace: Supervised,
    output: PathBuf,
}

impl Trace {
    /// Returns when every thread is traced.
    pub(crate) async fn attach(processes: &[u32], directory: &Path) -> Fallible<Self> {
        let output = directory.join("strace.out");
        let mut command = Command::new("strace");
        command.args(["-c", "-f", "-q", "-U", "calls,errors,name", "-o"]);
        command.arg(&output).stdin(Stdio::null());
        for process in processes {
            command.args(["-p", &process.to_string()]);
        }
        let mut strace = Supervised::start("strace", command, &directory.join("strace.stderr"))?;
        for _ in 0..ATTACH_POLLS {
            strace.check_running()?;
            if processes.iter().all(|process| is_traced(*process)) {
                return Ok(Self { strace, output });
            }
            sleep(ATTACH_POLL).await;
        }
        Err(Trouble::new("strace does not attach; it may need root or kernel.yama.ptrace_scope = 0"))
    }

    /// Detaches, and tells what was counted.
    pub(crate) fn finish(mut self) -> Fallible<Vec<Counted>> {
        self.strace.interrupt()?;
        let text = fs::read_to_string(&self.output).map_err(io(self.output.display()))?;
        let counted = parse(&text);
        if counted.is_empty() {
            return Err(Trouble::new(format!("strace counted nothing:\n{text}")));
        }
        Ok(counted)
    }
}

fn is_traced(process: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
        return false;
    };
    tasks.flatten().all(|task| {
        fs::read_to_string(task.path().join("status")).is_ok_and(|status| {
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        })
    })
}

/// Rows of `calls [errors] name`, between two rules of dashes.
fn parse(table: &str) -> Vec<Counted> {
    let mut counted: Vec<Counted> = table
        .lines()
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_ascii_whitespace().collect();
            let (calls, errors, name) = match columns.as_slice() {
                [calls, name] => (calls, "0", name),
                [calls, errors, name] => (calls, *errors, name),
                _ => return None,
            };
            Some(Counted {
                name: (*name).to_owned(),
                calls: calls.parse().ok()?,
                errors: errors.parse().ok()?,
            })
        })
        .filter(|row| row.name != "total")
        .collect();
    counted.sort_by_key(|row| std::cmp::Reverse(row.calls));
    counted
}
