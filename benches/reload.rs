//! Starting and reloading with a thousand routes and a hundred limits, and what requests notice of a reload.
//!
//! Run by `make bench-reload`. An app of this process answers; one client asks as fast as it is answered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const ROUTES: usize = 1_000;
const LIMITS: usize = 100;
const STARTS: usize = 11;
const RELOADS: u32 = 20;
const REQUESTS: usize = 20_000;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    // `cargo test` runs benchmarks without meaning to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("reload-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let measured = measure(&directory);
    std::fs::remove_dir_all(&directory)?;
    measured
}

fn measure(directory: &Path) -> Result<(), Failure> {
    let app = app()?;
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let file = directory.join("tollgate.toml");
    write(&file, &listen, &app, 0)?;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let tollgate = Tollgate::start(&file)?;
        starts.push(begun.elapsed());
        drop(tollgate);
    }
    starts.sort();
    say("start to ready, median", &millis(starts[STARTS / 2]))?;

    let mut tollgate = Tollgate::start(&file)?;
    let mut client = Client { stream: TcpStream::connect(&listen)? };
    client.stream.set_nodelay(true)?;
    client.ask(2_000)?;
    let before = client.ask(REQUESTS)?;
    let (told, asked) = std::sync::mpsc::channel::<Result<Vec<Duration>, String>>();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let asking = std::thread::spawn(move || {
        let mut all = Vec::new();
        while stopped.try_recv().is_err() {
            match client.ask(200) {
                Ok(durations) => all.extend(durations),
                Err(error) => {
                    let _ = told.send(Err(error.to_string()));
                    return;
                }
            }
        }
        let _ = told.send(Ok(all));
    });
    let mut reloads = Vec::new();
    for number in 1..=RELOADS {
        write(&file, &listen, &app, number)?;
        let begun = Instant::now();
        tollgate.signal(Signal::HUP)?;
        tollgate.wait_for("\"reloaded\"")?;
        reloads.push(begun.elapsed());
    }
    let _ = stop.send(());
    let mut during = asked.recv()??;
    let _ = asking.join();
    reloads.sort();
    say("reload, median", &millis(reloads[reloads.len() / 2]))?;
    say("reload, slowest", &millis(reloads[reloads.len() - 1]))?;
    let (before, during) = (p99(before), p99(std::mem::take(&mut during)));
    say("p99 of requests before", &micros(before))?;
    say("p99 of requests while one reload follows the other", &micros(during))?;
    say("ratio", &format!("{:.2}", during.as_secs_f64() / before.as_secs_f64()))?;
    Ok(())
}

fn say(what: &str, figure: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{what:52} {figure}")
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn micros(duration: Duration) -> String {
    format!("{:.0} us", duration.as_secs_f64() * 1e6)
}

fn p99(mut durations: Vec<Duration>) -> Duration {
    durations.sort();
    durations.get(durations.len() * 99 / 100).copied().unwrap_or_default()
}

/// Each number makes all limits others, so that every bucket is carried over.
fn write(file: &Path, listen: &str, app: &str, number: u32) -> std::io::Result<()> {
    use std::fmt::Write as _;
    let mut text = format!(
        "[listen]\naddress = \"{listen}\"\n[upstream]\naddress = \"{app}\"\n[log]\naccess = \"off\"\n\
         [metrics]\nmax_routes = 2000\n"
    );
    for limit in 0..LIMITS {
        let rate = 1_000_000 + number;
        let _ = writeln!(text, "[limits.limit_{limit}]\nkey = \"ip\"\nrate = \"{rate}/second\"");
    }
    for route in 0..ROUTES {
        let limit = route % LIMITS;
        let _ = writeln!(
            text,
            "[[routes]]\nname = \"route_{route}\"\nmatch = \"/api/v{route}/*\"\nlimits = [\"limit_{limit}\"]"
        );
    }
    std::fs::write(file, text)
}

/// An app that answers everything, one thread a connection.
fn app() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    Ok(address)
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 16 * 1024];
    // Requests come one at a time, each in one piece.
    while stream.read(&mut buffer)? > 0 {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
    }
    Ok(())
}

struct Client {
    stream: TcpStream,
}

impl Client {
    /// How long each of so many requests took.
    fn ask(&mut self, requests: usize) -> std::io::Result<Vec<Duration>> {
        let mut durations = Vec::with_capacity(requests);
        let mut buffer = vec![0; 16 * 1024];
        for request in 0..requests {
            let head = format!("GET /api/v{}/x HTTP/1.1\r\nHost: a\r\n\r\n", request % ROUTES);
            let begun = Instant::now();
            self.stream.write_all(head.as_bytes())?;
            let mut received = 0;
            while !buffer[..received].ends_with(b"\r\n\r\nok") {
                match self.stream.read(&mut buffer[received..])? {
                    0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                    read => received += read,
                }
            }
            durations.push(begun.elapsed());
        }
        Ok(durations)
    }
}

struct Tollgate {
    process: Child,
    events: BufReader<ChildStderr>,
}

impl Tollgate {
    fn start(file: &Path) -> Result<Tollgate, Failure> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(["run", "--workers", "2", "--config"]).arg(file);
        let mut process = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let events = process.stderr.take().ok_or("no standard error")?;
        let mut tollgate = Tollgate { process, events: BufReader::new(events) };
        tollgate.wait_for("\"ready\"")?;
        Ok(tollgate)
    }

    fn wait_for(&mut self, event: &str) -> Result<(), Failure> {
        let mut line = String::new();
        while self.events.read_line(&mut line)? > 0 {
            if line.contains(event) {
                return Ok(());
            }
            if line.contains("failed") {
                return Err(line.into());
            }
            line.clear();
        }
        Err("tollgate ended".into())
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let pid = Pid::from_child(&self.process);
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for Tollgate {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
