//! The proxies that are compared: how each is configured, started, checked and stopped.
//!
//! All do the same work. Keep-alive on both sides, one worker on one core; a limit keyed by
//! `X-API-Key` that never refuses; a request id made, forwarded and returned; X-Forwarded-For,
//! -Proto, -Host and -Port set; one JSON access line a request. [`Contender::verify`] sees to it.

mod haproxy;
mod nginx;
pub(crate) mod process;
mod sink;
mod tollgate;

use std::fs;
use std::io::{BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::load::fleet::Target;
use crate::load::tls::{Certificate, Dialer};
use crate::load::{requests, socket};
use crate::measure::cpu::CpuMeter;
use crate::origin::{INSPECTED_PATH, Origin};
use crate::plan::{AnswerSize, Exchange, Kind, Name, Over, Scenario};
use crate::trouble::{Fallible, Trouble, io};

use process::Supervised;
use sink::LineSink;

const READY_POLL: Duration = Duration::from_millis(10);
const READY_POLLS: u32 = 1_000;
const LINE_POLLS: u32 = 500;

/// A running proxy, or the origin itself.
pub(crate) struct Contender {
    pub(crate) name: Name,
    pub(crate) address: SocketAddr,
    /// Where it speaks TLS, with what connects there: HTTP/1, and HTTP/2.
    tls: Option<(SocketAddr, Dialer, Dialer)>,
    running: Option<Running>,
}

struct Running {
    process: Supervised,
    lines: Lines,
}

/// Where a proxy's access lines arrive.
enum Lines {
    File(PathBuf),
    Stream(LineSink),
}

/// How a proxy is started.
struct Launch {
    command: Command,
    lines: Lines,
}

/// What a configuration is written from.
struct Site<'a> {
    directory: &'a Path,
    listen: SocketAddr,
    /// With TLS, both HTTP/1.1 and HTTP/2.
    listen_tls: SocketAddr,
    certificate: &'a Certificate,
    origin: SocketAddr,
}

impl Contender {
    /// Starts it on `core` and returns when it accepts connections.
    pub(crate) async fn start(name: Name, core: usize, directory: &Path, origin: &Origin) -> Fallible<Self> {
        if name == Name::Direct {
            return Ok(Self { name, address: origin.address(), tls: None, running: None });
        }
        let directory = directory.join(name.text());
        fs::create_dir_all(&directory).map_err(io(directory.display()))?;
        let certificate = Certificate::make(&directory)?;
        let (listen, listen_tls) = (free_address()?, free_address()?);
        let site = Site {
            directory: &directory,
            listen,
            listen_tls,
            certificate: &certificate,
            origin: origin.address(),
        };
        let launch = match name {
            Name::Nginx => nginx::launch(&site)?,
            Name::Haproxy => haproxy::launch(&site)?,
            _ => tollgate::launch(name, &site)?,
        };
        let pinned = pinned(launch.command, core);
        let mut process = Supervised::start(name.text(), pinned, &directory.join("stderr"))?;
        wait_until_ready(site.listen, &mut process).await?;
        let tls = (listen_tls, certificate.dialer(b"http/1.1")?, certificate.dialer(b"h2")?);
        let running = Some(Running { process, lines: launch.lines });
        Ok(Self { name, address: listen, tls: Some(tls), running })
    }

    /// Where a scenario's connections go.
    pub(crate) fn target(&self, scenario: Scenario) -> Fallible<Target> {
        let over_streams = matches!(scenario.kind, Kind::Streams { .. });
        match (scenario.over, &self.tls) {
            (Over::Plain, _) => Ok(Target { address: self.address, dialer: None }),
            (Over::Tls, Some((address, http1, http2))) => {
                let dialer = if over_streams { http2 } else { http1 };
                Ok(Target { address: *address, dialer: Some(dialer.clone()) })
            }
            (Over::Tls, None) => Err(Trouble::new("it speaks no TLS")),
        }
    }

    pub(crate) fn is_proxy(&self) -> bool {
        self.running.is_some()
    }

    /// Its processes; none for the origin itself.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.running.as_ref().map(|running| running.process.processes()).unwrap_or_default()
    }

    /// `trouble` with what the proxy itself has to say about it.
    pub(crate) fn explain(&self, trouble: Trouble) -> Trouble {
        let printed = self.running.as_ref().map(|running| running.process.printed()).unwrap_or_default();
        let state = match &self.running {
            Some(running) if running.process.processes().is_empty() => "it has ended; ",
            _ => "",
        };
        Trouble::new(format!("{trouble}\n{state}its standard error:\n{printed}")).during(self.name.text())
    }

    pub(crate) fn cpu(&self) -> CpuMeter {
        CpuMeter::new(self.processes())
    }

    /// Sends one request and checks that the proxy did the work it is compared for.
    pub(crate) async fn verify(&self, origin: &Origin) -> Fallible<()> {
        let Some(running) = &self.running else {
            return Ok(());
        };
        let answer = self.ask_inspected().await?;
        let Some(head) = origin.take_inspected_head() else {
            return Err(Trouble::new(format!(
                "a request did not reach the origin; the client saw:
{answer}"
            )));
        };
        let id = field(&head, "x-request-id").unwrap_or_default();
        let checks = [
            (!id.is_empty(), "a request id is forwarded"),
            (field(&answer, "x-request-id") == Some(id), "the same request id is returned"),
            (field(&head, "x-forwarded-for") == Some("127.0.0.1"), "X-Forwarded-For is the client's address"),
            (field(&head, "x-forwarded-proto") == Some("http"), "X-Forwarded-Proto is set"),
            (field(&head, "x-api-key").is_some(), "X-API-Key is forwarded"),
            (field(&head, "connection") != Some("close"), "the upstream connection is kept"),
        ];
        for (holds, what) in checks {
            if !holds {
                return Err(Trouble::new(format!(
                    "not so: {what}\nthe origin saw:\n{head}\nthe client saw:\n{answer}"
                )));
            }
        }
        running.lines.wait_for(id).await
    }

    async fn ask_inspected(&self) -> Fallible<String> {
        let exchange = Exchange { request_body_bytes: 0, answer: AnswerSize::Small };
        let mut stream = socket::connect(self.address).await.map_err(io("cannot connect"))?;
        let head = requests::head(exchange, INSPECTED_PATH, 0, true);
        socket::write(&mut stream, &head, b"").await.map_err(io("cannot send"))?;
        let mut answer = String::new();
        loop {
            let before = answer.len();
            socket::read(&mut stream, |bytes| {
                answer.push_str(&String::from_utf8_lossy(bytes));
            })
            .await
            .map_err(io("cannot read"))?;
            if answer.len() == before {
                return Ok(answer);
            }
        }
    }

    /// Stops it and tells how many access lines it wrote; `None` for the origin itself.
    pub(crate) async fn stop(mut self) -> Fallible<Option<u64>> {
        let Some(mut running) = self.running.take() else {
            return Ok(None);
        };
        running.lines.settle().await;
        running.process.terminate()?;
        running.lines.count().map(Some)
    }
}

impl Lines {
    /// Waits for the line of one exchange and checks that it is JSON.
    async fn wait_for(&self, request_id: &str) -> Fallible<()> {
        for _ in 0..LINE_POLLS {
            let text = match self {
                Self::File(path) => fs::read_to_string(path).unwrap_or_default(),
                Self::Stream(sink) => sink.first_lines(),
            };
            if let Some(line) = text.lines().find(|line| line.contains(request_id)) {
                return match serde_json::from_str::<serde_json::Value>(line) {
                    Ok(value) if value.is_object() => Ok(()),
                    _ => Err(Trouble::new(format!("an access line is not JSON: {line}"))),
                };
            }
            sleep(READY_POLL).await;
        }
        Err(Trouble::new(format!("no access line has the request id `{request_id}`")))
    }

    /// Lets lines arrive that the proxy would lose when it ends; files are flushed then.
    async fn settle(&self) {
        if let Self::Stream(sink) = self {
            sink.wait_until_quiet().await;
        }
    }

    fn count(&self) -> Fallible<u64> {
        match self {
            Self::File(path) => count_lines(path),
            Self::Stream(sink) => Ok(sink.count()),
        }
    }
}

fn count_lines(path: &Path) -> Fallible<u64> {
    let file = fs::File::open(path).map_err(io(path.display()))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut piece = vec![0; 1 << 20];
    let mut lines = 0;
    loop {
        match reader.read(&mut piece).map_err(io(path.display()))? {
            0 => return Ok(lines),
            count => lines += memchr::memchr_iter(b'\n', &piece[..count]).count() as u64,
        }
    }
}

/// An address nobody listens on at the moment.
fn free_address() -> Fallible<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(io("no free port"))
}

fn pinned(command: Command, core: usize) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", &core.to_string()]).arg(command.get_program()).args(command.get_args());
    pinned
}

async fn wait_until_ready(address: SocketAddr, process: &mut Supervised) -> Fallible<()> {
    for _ in 0..READY_POLLS {
        process.check_running()?;
        if TcpStream::connect(address).await.is_ok() {
            return Ok(());
        }
        sleep(READY_POLL).await;
    }
    Err(Trouble::new(format!("the proxy does not accept connections on {address}")))
}

/// A field's value in a head as text, when it is there exactly once.
fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut values = head.lines().filter_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    });
    let value = values.next()?;
    values.next().is_none().then_some(value)
}
