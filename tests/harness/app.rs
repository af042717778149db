//! The real app: Gunicorn and Flask from the virtual environment that `make test` makes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::PATIENCE;
use super::origin::unix_address;
use super::process::{Process, command};
use super::scratch::Scratch;
use super::socket::Socket;

/// How Gunicorn runs the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerClass {
    /// One request a process, never keeps a connection.
    Sync,
    /// Threads, with keep-alive.
    Gthread,
    /// Greenlets, with keep-alive.
    Gevent,
}

/// Where Gunicorn listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// A free port of the loopback.
    Tcp,
    /// A Unix socket.
    Unix,
}

/// A running Gunicorn with the demo app.
#[derive(Debug)]
pub struct Gunicorn {
    process: Process,
    address: String,
    class: WorkerClass,
    arguments: Vec<String>,
    scratch: Scratch,
}

impl Gunicorn {
    /// Starts it and waits until the app answers.
    pub fn start(class: WorkerClass, binding: Binding) -> Gunicorn {
        Gunicorn::start_with(class, binding, &[])
    }

    /// With further arguments.
    pub fn start_with(class: WorkerClass, binding: Binding, arguments: &[&str]) -> Gunicorn {
        let scratch = Scratch::new();
        let bind = match binding {
            Binding::Tcp => "127.0.0.1:0".to_owned(),
            Binding::Unix => unix_address(&scratch.file("app.sock")),
        };
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let process = spawn(class, &bind, &arguments, &scratch);
        let address = wait_for_address(&process);
        wait_for_answer(&process, &address);
        Gunicorn { process, address, class, arguments, scratch }
    }

    /// Stops it in peace, and starts it again at the same address.
    pub fn restart(&mut self) {
        self.process.signal(Signal::TERM);
        assert!(self.has_ended(), "gunicorn does not end:\n{}", self.process.said());
        self.process = spawn(self.class, &self.address, &self.arguments, &self.scratch);
        wait_for_answer(&self.process, &self.address);
    }

    /// Sends its master a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Sends its workers a signal, all of them at once.
    pub fn signal_workers(&self, signal: Signal) {
        for worker in self.workers() {
            // One that has ended since has nothing to be told.
            let _ = rustix::process::kill_process(worker, signal);
        }
    }

    /// Ends the worker that was started first, the hard way.
    pub fn kill_a_worker(&self) {
        rustix::process::kill_process(self.workers()[0], Signal::KILL).unwrap();
    }

    fn workers(&self) -> Vec<rustix::process::Pid> {
        let master = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap();
        let ids = children.split_whitespace().map(|id| id.parse().unwrap());
        ids.map(|id| rustix::process::Pid::from_raw(id).unwrap()).collect()
    }

    fn has_ended(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while self.process.ended().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.process.ended().is_some()
    }

    /// The process id of its master.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// As `[upstream] address` wants it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The lines Gunicorn wrote.
    pub fn said(&self) -> String {
        self.process.said()
    }
}

impl Drop for Gunicorn {
    fn drop(&mut self) {
        // The workers die with their master only if it is asked to end.
        if self.process.ended().is_none() {
            self.process.signal(Signal::QUIT);
            self.has_ended();
        }
    }
}

fn spawn(class: WorkerClass, bind: &str, arguments: &[String], scratch: &Scratch) -> Process {
    let mut command = command(&executable());
    command.args(["--bind", bind, "--chdir"]).arg(root().join("tests/app"));
    command.args(["--log-level", "info", "--no-control-socket", "demo:app"]);
    command.args(match class {
        WorkerClass::Sync => ["--worker-class", "sync", "--workers", "2"],
        WorkerClass::Gthread => ["--worker-class", "gthread", "--threads", "4"],
        WorkerClass::Gevent => ["--worker-class", "gevent", "--workers", "1"],
    });
    command.args(arguments).env("PYTHONDONTWRITEBYTECODE", "1").current_dir(scratch.path());
    Process::start("gunicorn", command)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn executable() -> PathBuf {
    let path = root().join("target/venv/bin/gunicorn");
    assert!(path.exists(), "{} is missing: run `make test`", path.display());
    path
}

fn wait_for_address(process: &Process) -> String {
    let found = process.stderr.wait(|lines| {
        lines.iter().find_map(|line| {
            let bound = line.split("Listening at: ").nth(1)?.split(' ').next()?;
            Some(bound.strip_prefix("http://").unwrap_or(bound).to_owned())
        })
    });
    found.unwrap_or_else(|| panic!("gunicorn does not listen:\n{}", process.said()))
}

fn wait_for_answer(process: &Process, address: &str) {
    use std::io::{Read, Write};
    // Over TLS there is nobody to ask with: whoever connects waits in its queue.
    if let Some(address) = address.strip_prefix("https://") {
        assert!(Socket::connect(address).is_ok(), "gunicorn does not listen:\n{}", process.said());
        return;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = Socket::connect(address).and_then(|mut socket| {
            socket.set_timeout(Some(PATIENCE));
            socket.write_all(b"GET /health HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n")?;
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).map(|_| answer)
        });
        if answer.is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200 ")) {
            return;
        }
        assert!(Instant::now() < deadline, "gunicorn does not answer:\n{}", process.said());
        std::thread::sleep(Duration::from_millis(10));
    }
}
