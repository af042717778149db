//! tollgate as operators run it: the real binary, a configuration file, signals, its two outputs.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::PATIENCE;
use super::admin::Operator;
use super::client::Client;
use super::process::{Process, command};
use super::scratch::Scratch;
use super::socket::Socket;

/// The binary under test.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tollgate"))
}

/// A configuration in the making: one worker, a free port on the loopback, one upstream.
#[derive(Debug)]
pub struct Setup {
    address: String,
    listen: String,
    upstream_address: String,
    upstream: String,
    tables: String,
    layers: Vec<String>,
    workers: usize,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    passed: Option<(String, OwnedFd)>,
    under: Vec<String>,
    scratch: Scratch,
}

/// What a service manager does with a socket before it starts a program: here it comes as standard input.
const PASS: &str = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";

impl Setup {
    /// In front of this upstream address.
    pub fn before(upstream: &str) -> Setup {
        Setup {
            address: "\"127.0.0.1:0\"".to_owned(),
            listen: String::new(),
            upstream_address: upstream.to_owned(),
            upstream: String::new(),
            tables: String::new(),
            layers: Vec::new(),
            workers: 1,
            environment: Vec::new(),
            arguments: Vec::new(),
            passed: None,
            under: Vec::new(),
            scratch: Scratch::new(),
        }
    }

    /// The value of `[listen] address`, as TOML.
    pub fn address(mut self, value: impl Into<String>) -> Setup {
        self.address = value.into();
        self
    }

    /// Nothing is buffered, either way.
    pub fn streaming(self) -> Setup {
        self.table("[[routes]]\nname = \"all\"\nmatch = \"/*\"\nstream = true\n")
    }

    /// Further lines of `[listen]`.
    pub fn listen(mut self, lines: &str) -> Setup {
        self.listen.push_str(lines);
        self.listen.push('\n');
        self
    }

    /// Further lines of `[upstream]`.
    pub fn upstream(mut self, lines: &str) -> Setup {
        self.upstream.push_str(lines);
        self.upstream.push('\n');
        self
    }

    /// With an admin listener on a free port of the loopback, and further lines of `[admin]`.
    pub fn admin(self, lines: &str) -> Setup {
        self.table(&format!("[admin]\naddress = \"127.0.0.1:0\"\n{lines}"))
    }

    /// With `[listen.tls]` on a free port of the loopback, and these lines.
    pub fn tls(self, lines: &str) -> Setup {
        self.table(&format!("[listen.tls]\naddress = \"127.0.0.1:0\"\n{lines}"))
    }

    /// Further tables.
    pub fn table(mut self, lines: &str) -> Setup {
        self.tables.push_str(lines);
        self.tables.push('\n');
        self
    }

    /// One more file, over the configuration and the files before it.
    pub fn layer(mut self, text: &str) -> Setup {
        self.layers.push(text.to_owned());
        self
    }

    /// How many workers.
    pub fn workers(mut self, count: usize) -> Setup {
        self.workers = count;
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// An argument of `run`.
    pub fn argument(mut self, argument: impl Into<String>) -> Setup {
        self.arguments.push(argument.into());
        self
    }

    /// Another program starts it.
    pub fn under(mut self, command: &[&str]) -> Setup {
        self.under = command.iter().map(ToString::to_string).collect();
        self
    }

    /// This socket is passed to it under a name, as systemd does.
    pub fn passing(mut self, name: &str, socket: impl AsFd) -> Setup {
        self.passed = Some((name.to_owned(), socket.as_fd().try_clone_to_owned().unwrap()));
        self
    }

    /// The path of a file that lives as long as this tollgate.
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.file(name)
    }

    /// The configuration's text.
    pub fn text(&self) -> String {
        format!(
            "[listen]\naddress = {}\n{}\n[upstream]\naddress = \"{}\"\n{}\n{}",
            self.address, self.listen, self.upstream_address, self.upstream, self.tables
        )
    }

    /// Starts it without waiting for anything.
    pub fn spawn(self) -> Tollgate {
        let config = self.scratch.file("tollgate.toml");
        std::fs::write(&config, self.text()).unwrap();
        let mut files = vec![config];
        for (index, text) in self.layers.iter().enumerate() {
            files.push(layer_file(&self.scratch, index));
            std::fs::write(&files[index + 1], text).unwrap();
        }
        let mut command = match &self.passed {
            None if self.under.is_empty() => command(binary()),
            None => {
                let mut command = command(Path::new(&self.under[0]));
                command.args(&self.under[1..]).arg(binary());
                command
            }
            Some((name, _)) => {
                let mut command = command(Path::new("sh"));
                command.args(["-c", PASS, "sh"]).arg(binary()).env("LISTEN_FDNAMES", name);
                command
            }
        };
        run_with(&mut command, &files, self.workers);
        command.args(&self.arguments).envs(self.environment);
        let input = self.passed.map_or_else(Stdio::null, |(_, socket)| socket.into());
        Tollgate::spawn_as(command, input, files, self.scratch)
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Tollgate {
        let mut tollgate = self.spawn();
        tollgate.wait_until_ready();
        tollgate
    }
}

fn run_with(command: &mut Command, files: &[PathBuf], workers: usize) {
    command.arg("run");
    for file in files {
        command.arg("--config").arg(file);
    }
    command.args(["--workers", &workers.to_string()]);
}

/// A running tollgate.
#[derive(Debug)]
pub struct Tollgate {
    /// The process.
    pub process: Process,
    addresses: Vec<String>,
    admin: Vec<String>,
    secure: Vec<String>,
    config: PathBuf,
    scratch: Scratch,
}

fn layer_file(scratch: &Scratch, index: usize) -> PathBuf {
    scratch.file(&format!("layer-{index}.toml"))
}

impl Tollgate {
    fn spawn_as(mut command: Command, input: Stdio, mut files: Vec<PathBuf>, scratch: Scratch) -> Tollgate {
        command.env_remove("RUST_LOG").current_dir(scratch.path());
        let process = Process::start_with("tollgate", command, input);
        Tollgate {
            process,
            addresses: Vec::new(),
            admin: Vec::new(),
            secure: Vec::new(),
            config: files.swap_remove(0),
            scratch,
        }
    }

    /// With these files, of which later ones win, and waits until it is ready.
    pub fn with_files(files: Vec<PathBuf>, scratch: Scratch) -> Tollgate {
        let mut command = command(binary());
        run_with(&mut command, &files, 1);
        let mut tollgate = Tollgate::spawn_as(command, Stdio::null(), files, scratch);
        tollgate.wait_until_ready();
        tollgate
    }

    /// Replaces a file over the configuration.
    pub fn rewrite_layer(&self, index: usize, text: &str) {
        std::fs::write(layer_file(&self.scratch, index), text).unwrap();
    }

    /// With defaults, in front of this upstream address.
    pub fn before(upstream: &str) -> Tollgate {
        Setup::before(upstream).start()
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.happened("ready") {
            if let Some(status) = self.process.ended() {
                panic!("tollgate ended with {status} before it was ready:\n{}", self.process.said());
            }
            assert!(Instant::now() < deadline, "tollgate is not ready:\n{}", self.process.said());
            std::thread::sleep(Duration::from_millis(2));
        }
        let bound = |message: &str| {
            let bound = self.events().into_iter().filter(|event| event["message"] == message);
            bound.map(|event| event["address"].as_str().unwrap().to_owned()).collect::<Vec<String>>()
        };
        let (addresses, admin, secure) =
            (bound("listening"), bound("admin listening"), bound("TLS listening"));
        (self.addresses, self.admin, self.secure) = (addresses, admin, secure);
        self.addresses.sort();
        self.addresses.dedup();
        assert!(!self.addresses.is_empty(), "ready, and listens nowhere:\n{}", self.process.said());
    }

    /// The first address, `host:port` or `unix:/path`.
    pub fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// The first address of TLS.
    pub fn secure_address(&self) -> &str {
        &self.secure[0]
    }

    /// All addresses, sorted.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The first address of the admin listener.
    pub fn admin_address(&self) -> &str {
        &self.admin[0]
    }

    /// An operator at the first address of the admin listener, without a token.
    pub fn operator(&self) -> Operator {
        Operator::at(&self.admin[0])
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// Lifecycle events so far. What `run` says about its configuration is text, for people.
    pub fn events(&self) -> Vec<Value> {
        let parse =
            |line: &String| serde_json::from_str(line).unwrap_or_else(|_| panic!("not a JSON event: {line}"));
        self.process.stderr.all().iter().filter(|line| line.starts_with('{')).map(parse).collect()
    }

    fn happened(&self, message: &str) -> bool {
        self.process.stderr.all().iter().any(|line| is_event(line, message))
    }

    /// Waits for a lifecycle event.
    pub fn wait_for_event(&self, message: &str) -> Value {
        let found = self.process.stderr.wait(|lines| {
            lines.iter().find(|line| is_event(line, message)).map(|line| serde_json::from_str(line))
        });
        let found = found.unwrap_or_else(|| panic!("no event `{message}`:\n{}", self.process.said()));
        found.unwrap()
    }

    /// Records so far; a line that is not one JSON object is a panic.
    pub fn records(&self) -> Vec<Value> {
        self.process.stdout.all().iter().map(|line| parse_record(line)).collect()
    }

    /// Waits for a record that `matches`.
    pub fn wait_for_record(&self, matches: impl Fn(&Value) -> bool) -> Value {
        let found = self
            .process
            .stdout
            .wait(|lines| lines.iter().map(|line| parse_record(line)).find(|record| matches(record)));
        found.unwrap_or_else(|| panic!("no such record among:\n{:#?}", self.records()))
    }

    /// Waits for the record of the request with this path.
    pub fn record_of(&self, path: &str) -> Value {
        self.wait_for_record(|record| record["path"] == path)
    }

    /// Waits until there are this many records.
    pub fn wait_for_records(&self, count: usize) -> Vec<Value> {
        let found = self.process.stdout.wait(|lines| (lines.len() >= count).then_some(()));
        assert!(found.is_some(), "waited in vain for {count} records: {:#?}", self.records());
        self.records()
    }

    /// Waits until new connections are refused: every worker knows of the drain.
    pub fn wait_until_refusing(&self) {
        let deadline = Instant::now() + PATIENCE;
        while Socket::connect(self.address()).is_ok() {
            assert!(Instant::now() < deadline, "the listener is still open");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The configuration's path.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The configuration's file.
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// The configuration's text.
    pub fn config_text(&self) -> String {
        std::fs::read_to_string(&self.config).unwrap()
    }

    /// Replaces the configuration, sends SIGHUP, and waits until it was taken over or refused; the events since.
    pub fn reload(&self, text: &str) -> Vec<Value> {
        self.rewrite(text);
        self.hang_up()
    }

    /// Replaces the configuration as a whole, as editors and deployments do.
    pub fn rewrite(&self, text: &str) {
        let new = self.scratch.file("tollgate.toml.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &self.config).unwrap();
    }

    /// Sends SIGHUP, and waits until the configuration was taken over or refused; the events since.
    pub fn hang_up(&self) -> Vec<Value> {
        let before = self.events().len();
        self.process.signal(Signal::HUP);
        let is_end = |event: &Value| {
            let message = event["message"].as_str().unwrap_or_default();
            message == "reloaded" || message.starts_with("reload failed") || message.starts_with("SIGHUP")
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let events = self.events().split_off(before);
            if events.iter().any(is_end) {
                return events;
            }
            assert!(Instant::now() < deadline, "no end of the reload:\n{}", self.process.said());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Sends SIGTERM, waits for the end, returns the exit code.
    pub fn stop(&mut self) -> i32 {
        self.terminate();
        self.process.wait()
    }

    /// Stops it and returns all its records: none can come later.
    pub fn final_records(mut self) -> Vec<Value> {
        assert_eq!(self.stop(), 0, "the drain failed:\n{}", self.process.said());
        self.process.wait_for_output();
        self.records()
    }

    /// The most memory it ever had resident, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        self.process.memory_kib("VmHWM")
    }
}

fn is_event(line: &str, message: &str) -> bool {
    serde_json::from_str::<Value>(line).is_ok_and(|event| event["message"] == message)
}

fn parse_record(line: &str) -> Value {
    let record: Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("not a JSON record ({error}): {line}"));
    assert!(record.is_object(), "not an object: {line}");
    record
}
