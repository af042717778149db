//! CPU time of all processes and threads of a proxy, as the scheduler accounts for it.
//!
//! On the loopback the kernel's receive work for a segment runs in the sender's context: a proxy
//! pays for what it sends, on both sides, and not for what it is sent. That holds for all alike.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::trouble::{Fallible, io};

/// CPU time since the processes began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CpuTime(Duration);

impl CpuTime {
    pub(crate) fn since(self, before: Self) -> Self {
        Self(self.0.saturating_sub(before.0))
    }

    pub(crate) fn micros_per(self, requests: u64) -> f64 {
        self.0.as_secs_f64() * 1e6 / requests as f64
    }

    /// Share of one core over `elapsed`.
    pub(crate) fn share_of(self, elapsed: Duration) -> f64 {
        self.0.as_secs_f64() / elapsed.as_secs_f64()
    }
}

/// Reads the CPU time of a set of processes.
#[derive(Debug, Clone)]
pub(crate) struct CpuMeter {
    processes: Vec<u32>,
}

impl CpuMeter {
    /// No processes make a meter that stands still: that of going without a proxy.
    pub(crate) fn new(processes: Vec<u32>) -> Self {
        Self { processes }
    }

    pub(crate) fn read(&self) -> Fallible<CpuTime> {
        let mut nanos = 0;
        for task in self.tasks()? {
            let path = task.join("schedstat");
            match fs::read_to_string(&path) {
                Ok(text) => nanos += running_nanos(&text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(io(path.display())(error)),
            }
        }
        Ok(CpuTime(Duration::from_nanos(nanos)))
    }

    fn tasks(&self) -> Fallible<Vec<PathBuf>> {
        let mut tasks = Vec::new();
        for process in &self.processes {
            let path = format!("/proc/{process}/task");
            for entry in fs::read_dir(&path).map_err(io(&path))? {
                tasks.push(entry.map_err(io(&path))?.path());
            }
        }
        Ok(tasks)
    }
}

/// The first number of a `schedstat` file: nanoseconds on a CPU.
fn running_nanos(schedstat: &str) -> u64 {
    schedstat.split_ascii_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
