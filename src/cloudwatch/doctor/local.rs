//! The line, and its way off this host.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::net::{TcpStream, ToSocketAddrs as _, UdpSocket};
use std::path::Path;
use std::time::Duration;

use super::Step;
use crate::clock::Clock;
use crate::cloudwatch::emitted::Emitted;
use crate::config::model::Model;
use crate::config::model::emf::{Emf, EmfSink, HostPort};
use crate::telemetry::emf::catalog::has_queue_time;
use crate::telemetry::emf::check::check;
use crate::telemetry::emf::template::Template;
use crate::telemetry::totals::{NO_ROUTE, RouteTotals};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a refusal of a datagram is waited for.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(300);
/// The end of a file that is looked at.
const TAIL_BYTES: u64 = 256 * 1024;
const MAX_LINES: usize = 200;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// Line, sink, and what is in the file.
pub(super) fn steps(model: &Model, emitted: &Emitted) -> Vec<Step> {
    let Some(emf) = model.emf.as_ref().filter(|_| emitted.by_lines) else {
        let why = "metrics are pushed, not written as lines";
        return ["line", "sink"].map(|step| Step::skipped(step, why)).to_vec();
    };
    let mut steps = vec![line(model, emf)];
    if emitted.by_push {
        steps.push(Step::failed(
            "once",
            "both `[emf]` and `push` of `[metrics]` send these metrics, so everything counts twice",
            "remove one of them",
        ));
    }
    match &emf.sink {
        EmfSink::Stdout => steps.push(Step::skipped(
            "sink",
            "what reads standard output must ship bare lines: no prefix, no wrapping, nothing cut; that cannot be \
             seen from here",
        )),
        EmfSink::File(path) => steps.extend(file(path)),
        EmfSink::Tcp(address) => steps.push(tcp(address)),
        EmfSink::Udp(address) => steps.push(udp(address)),
        EmfSink::Logs { .. } => {
            steps.push(Step::skipped("sink", "lines go to CloudWatch Logs by its API: see `log group` below"));
        }
    }
    steps
}

/// What the encoder makes of this configuration must be valid.
fn line(model: &Model, emf: &Emf) -> Step {
    let template = Template::new(emf, &model.metrics.from_response, has_queue_time(model));
    let did = example(model);
    let clock = Clock::start();
    let unix_ms = clock.unix_nanos(clock.now()) / NANOS_PER_MILLI;
    let entries = &model.metrics.from_response.server_timing;
    let names = model.routes.routes().iter().map(|route| &*route.name).chain([NO_ROUTE]);
    let mut lines = Vec::new();
    for name in names {
        template.interval(unix_ms, 60, &template.dimensions(name), &did, entries, &mut lines);
    }
    let wrong = lines.split_inclusive(|byte| *byte == b'\n').find_map(|line| check(line).err());
    match wrong {
        None => Step::ok("line", "lines of this configuration are valid EMF"),
        Some(problems) => Step::failed(
            "line",
            format!("a line of this configuration is not valid EMF: {}", problems.join("; ")),
            "look at names of routes and entries in the configuration; CloudWatch takes ASCII alone",
        ),
    }
}

/// One of everything that can be measured.
fn example(model: &Model) -> RouteTotals {
    let mut did = RouteTotals::default();
    did.requests[0][1] = 1;
    (did.cache_hits, did.llm_tokens) = (1, 1);
    did.duration.record(1_000_000);
    did.upstream.record(1_000_000);
    did.queue.record(1_000_000);
    did.analysis.record(1_000_000);
    for entry in &model.metrics.from_response.server_timing {
        did.timings.entry(std::sync::Arc::clone(entry)).or_default().record(1_000_000);
    }
    did
}

fn file(path: &Path) -> Vec<Step> {
    let shown = path.display();
    let opened = File::options().append(true).read(true).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) => {
            let (found, help) = match error.kind() {
                ErrorKind::NotFound => (
                    format!("there is no file `{shown}`: nothing was written yet"),
                    "start tollgate with this configuration; the directory must be there".to_owned(),
                ),
                ErrorKind::PermissionDenied => (
                    format!("`{shown}` cannot be written by this user"),
                    "run this as tollgate's user, or let that user write the file".to_owned(),
                ),
                _ => {
                    (format!("`{shown}` cannot be opened: {error}"), "give the sink another file".to_owned())
                }
            };
            return vec![
                Step::failed("sink", found, help),
                Step::skipped("file", "there is nothing to read"),
            ];
        }
    };
    let sink = Step::ok("sink", format!("`{shown}` can be written"));
    vec![sink, contents(&mut file, path)]
}

/// The last lines of the file: something else may write to it.
fn contents(file: &mut File, path: &Path) -> Step {
    let tail = match tail(file) {
        Ok(tail) => tail,
        Err(error) => return Step::failed("file", format!("`{}`: {error}", path.display()), ""),
    };
    let lines: Vec<&[u8]> = tail.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(MAX_LINES)..];
    if last.is_empty() {
        return Step::skipped("file", "it has no line yet: send a request");
    }
    let wrong: Vec<Vec<String>> = last.iter().filter_map(|line| check(line).err()).collect();
    match wrong.last() {
        None => Step::ok("file", format!("its last {} lines are valid EMF", last.len())),
        Some(problems) => Step::failed(
            "file",
            format!(
                "{} of its last {} lines are not valid EMF, the last of them: {}",
                wrong.len(),
                last.len(),
                problems.join("; ")
            ),
            "nothing but tollgate may write to this file, and nothing may rewrite its lines",
        ),
    }
}

/// The end of a file from the first whole line on, up to the last line feed.
fn tail(file: &mut File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    bytes.truncate(end);
    if from > 0 {
        let start = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        bytes.drain(..start);
    }
    Ok(bytes)
}

const AGENT_HELP: &str = "start the CloudWatch agent with a section `emf` at this address, or change `sink`";

fn tcp(address: &HostPort) -> Step {
    let resolved = match (address.host.as_str(), address.port).to_socket_addrs() {
        Ok(resolved) => resolved,
        Err(error) => {
            return Step::failed("sink", format!("`{address}` has no address: {error}"), AGENT_HELP);
        }
    };
    let mut reason = "the name has no address".to_owned();
    for candidate in resolved {
        match TcpStream::connect_timeout(&candidate, CONNECT_TIMEOUT) {
            Ok(_) => return Step::ok("sink", format!("`tcp://{address}` accepts connections")),
            Err(error) => reason = error.to_string(),
        }
    }
    Step::failed("sink", format!("nobody listens at `tcp://{address}`: {reason}"), AGENT_HELP)
}

/// A host that has no such port says so; silence is all that a listener gives.
fn udp(address: &HostPort) -> Step {
    match datagram(address) {
        Ok(()) => Step::ok("sink", format!("`udp://{address}` refuses nothing")),
        Err(error) => {
            Step::failed("sink", format!("`udp://{address}` cannot be sent to: {error}"), AGENT_HELP)
        }
    }
}

fn datagram(address: &HostPort) -> io::Result<()> {
    let target = (address.host.as_str(), address.port).to_socket_addrs()?.next();
    let target = target.ok_or_else(|| io::Error::other("the name has no address"))?;
    let any = if target.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(REFUSAL_TIMEOUT))?;
    socket.send(b"\n")?;
    match socket.recv(&mut [0; 1]) {
        Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(error),
        _ => Ok(()),
    }
}
