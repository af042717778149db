//! A child process that cannot outlive its test: killed on drop, and by the kernel when the
//! thread that started it is gone.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;
use super::journal::Journal;

/// A running program and the lines it wrote.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    readers: Vec<JoinHandle<()>>,
    /// Lines of standard output.
    pub stdout: Journal<String>,
    /// Lines of standard error.
    pub stderr: Journal<String>,
}

/// A command under `setpriv`, which asks the kernel to kill it with its parent.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

impl Process {
    /// Starts a command, its output captured line by line.
    pub fn start(name: &str, command: Command) -> Process {
        Process::start_with(name, command, Stdio::null())
    }

    /// The same, with this as its standard input.
    pub fn start_with(name: &str, mut command: Command, input: impl Into<Stdio>) -> Process {
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let (stdout, stderr) = (Journal::default(), Journal::default());
        let readers = vec![
            follow(child.stdout.take().unwrap(), stdout.clone()),
            follow(child.stderr.take().unwrap(), stderr.clone()),
        ];
        Process { name: name.to_owned(), child, readers, stdout, stderr }
    }

    /// Waits until both outputs are at their end; only after [`Process::wait`].
    pub fn wait_for_output(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end and returns the exit code.
    pub fn wait(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.ended() {
                return status.code().unwrap_or_else(|| panic!("{} ended with {status}", self.name));
            }
            assert!(Instant::now() < deadline, "{} did not end; it wrote:\n{}", self.name, self.said());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Everything it wrote to standard error.
    pub fn said(&self) -> String {
        self.stderr.all().join("\n")
    }

    /// A field of `/proc/PID/status` in KiB.
    pub fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
        let figure = line.and_then(|line| line.trim().strip_suffix(" kB"));
        figure.and_then(|figure| figure.trim().parse().ok()).unwrap()
    }

    /// How many descriptors it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    /// Sets the number of descriptors it may have open.
    pub fn limit_open_files(&self, limit: usize) {
        let id = format!("--pid={}", self.id());
        let limit = format!("--nofile={limit}:");
        let done = Command::new("prlimit").args([id, limit]).status().unwrap();
        assert!(done.success(), "prlimit failed");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{} wrote to standard error:\n{}", self.name, self.said());
        }
    }
}

fn follow(source: impl Read + Send + 'static, target: Journal<String>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while source.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            target.push(String::from_utf8_lossy(text).into_owned());
            line.clear();
        }
    })
}

/// Runs a program to its end: exit code, standard output, standard error.
pub fn run(program: &Path, arguments: &[impl AsRef<OsStr>]) -> (i32, String, String) {
    let output = command(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output in UTF-8");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}
