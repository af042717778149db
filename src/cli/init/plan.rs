//! What a Gunicorn means for the tollgate in front of it.
//!
//! Invariant: what is planned is a configuration without problems and warnings; what had to be assumed is told.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::quote;
use crate::config::units::duration_text;
use crate::gunicorn::{Concurrency, Listener, Master, Settings};

use super::group::Access;

/// Where tollgate listens, if Gunicorn does not.
const LISTEN_PORTS: [u16; 2] = [8080, 8081];
/// What Gunicorn binds if nobody says otherwise.
const USUAL_BIND: &str = "127.0.0.1:8000";
const USUAL_IDLE: Duration = Duration::from_millis(1500);
/// What tollgate's own caps are.
const MAX_URI: u64 = 4000;
const MAX_HEADERS: u64 = 90;
const MAX_HEADER_LINE: u64 = 8000;

/// A key of the configuration, and why it has its value.
pub(super) struct Line {
    pub(super) key: &'static str,
    /// As TOML.
    pub(super) value: String,
    pub(super) why: String,
    /// Whether it is written as a comment, for somebody to fill in.
    pub(super) is_open: bool,
}

/// All that is written.
pub(super) struct Plan {
    pub(super) pid: Option<u32>,
    pub(super) listen: SocketAddr,
    pub(super) listen_lines: Vec<Line>,
    pub(super) upstream_lines: Vec<Line>,
    pub(super) upstream: String,
    pub(super) response_timeout: Duration,
    /// The service that tollgate is started after.
    pub(super) unit: String,
    /// Of Gunicorn's socket, if it is a Unix socket.
    pub(super) access: Option<Access>,
    pub(super) is_unix: bool,
    /// For people.
    pub(super) found: Vec<String>,
    pub(super) assumed: Vec<String>,
}

impl Plan {
    /// For a Gunicorn, or for one nobody has started yet.
    pub(super) fn of(master: Option<&Master>, access: impl Fn(&Path) -> Option<Access>) -> Plan {
        let settings = master.map_or_else(Settings::default, |master| master.settings.clone());
        let (mut found, mut assumed) = (Vec::new(), Vec::new());
        let listener = listener(master, &settings, &mut assumed);
        let (upstream, own_port) = match &listener {
            Listener::Tcp(address) => (local(*address).to_string(), Some(address.port())),
            Listener::Unix(path) => (format!("unix:{path}"), None),
        };
        if let Listener::Tcp(address) = &listener
            && !address.ip().is_loopback()
        {
            assumed.push(format!(
                "nobody else reaches {address}; bind Gunicorn to 127.0.0.1 or a Unix socket, or clients come past tollgate"
            ));
        }
        if settings.tls {
            assumed.push("Gunicorn speaks TLS; let it speak plain HTTP to tollgate, or see `[upstream]` in docs/configuration.md".to_owned());
        }
        let port = LISTEN_PORTS.into_iter().find(|port| Some(*port) != own_port).unwrap_or(LISTEN_PORTS[0]);
        let listen = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port);
        assumed.push(format!("the proxy in front runs on this host, and sends requests to {listen}"));
        let why = match master {
            Some(master) => format!("where Gunicorn, process {}, listens", master.pid),
            None => "where Gunicorn listens, its `--bind`".to_owned(),
        };
        let mut upstream_lines = vec![Line::new("address", quote(&upstream), why)];
        upstream_lines.push(in_flight(master.is_some(), &settings, &mut found, &mut assumed));
        upstream_lines.push(idle_timeout(&settings));
        let (line, response_timeout) = response_timeout(&settings);
        upstream_lines.push(line);
        let mut listen_lines = vec![Line::new(
            "address",
            quote(&listen.to_string()),
            "nginx or a load balancer sends requests here",
        )];
        listen_lines.extend(caps(&settings));
        let unit = master.and_then(|master| master.unit.clone()).unwrap_or_else(|| {
            assumed.push("Gunicorn is started by `gunicorn.service`".to_owned());
            "gunicorn.service".to_owned()
        });
        let path = match &listener {
            Listener::Unix(path) => Some(PathBuf::from(path)),
            Listener::Tcp(_) => None,
        };
        Plan {
            pid: master.map(|master| master.pid),
            listen,
            listen_lines,
            upstream_lines,
            upstream,
            response_timeout,
            unit,
            access: path.as_deref().and_then(access),
            is_unix: path.is_some(),
            found,
            assumed,
        }
    }
}

impl Line {
    fn new(key: &'static str, value: impl Into<String>, why: impl Into<String>) -> Line {
        Line { key, value: value.into(), why: why.into(), is_open: false }
    }
}

/// Where it listens: as the kernel says, else as its settings say. A Unix socket is nobody else's to reach.
fn listener(master: Option<&Master>, settings: &Settings, assumed: &mut Vec<String>) -> Listener {
    let seen = master.map(|master| master.listeners.as_slice()).unwrap_or_default();
    let rank = |listener: &&Listener| match listener {
        Listener::Unix(_) => 0,
        Listener::Tcp(address) if address.ip().is_loopback() => 1,
        Listener::Tcp(_) => 2,
    };
    if let Some(best) = seen.iter().min_by_key(rank) {
        return best.clone();
    }
    let said = settings.bind.value.as_deref().unwrap_or_default();
    if let Some(listener) = said.iter().find_map(|bind| parse_bind(bind)) {
        return listener;
    }
    assumed.push(format!("Gunicorn listens at {USUAL_BIND}"));
    Listener::Tcp(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 8000))
}

/// A `bind` as it is written, where it is an address of this host.
fn parse_bind(bind: &str) -> Option<Listener> {
    if let Some(path) = bind.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return path.starts_with('/').then(|| Listener::Unix(path.to_owned()));
    }
    let (host, port) = bind.rsplit_once(':')?;
    let ip = match host.trim_matches(['[', ']']) {
        "" => IpAddr::from([0, 0, 0, 0]),
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        host => host.parse().ok()?,
    };
    Some(Listener::Tcp(SocketAddr::new(ip, port.parse().ok()?)))
}

/// How this host reaches an address.
fn local(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn in_flight(
    is_running: bool,
    settings: &Settings,
    found: &mut Vec<String>,
    assumed: &mut Vec<String>,
) -> Line {
    let open = |why: String| Line { is_open: true, ..Line::new("max_in_flight", "8", why) };
    if !is_running {
        return open(
            "workers × threads of Gunicorn: more requests wait here, in a queue that is fair".to_owned(),
        );
    }
    let class = settings.worker_class.value.as_deref().unwrap_or("unknown");
    let number = |value: Option<u64>| value.map_or_else(|| "unknown".to_owned(), |value| value.to_string());
    let (workers, threads) = (number(settings.workers.value), number(settings.threads.value));
    let from = format!("workers: {}, threads: {}", settings.workers.source, settings.threads.source);
    match (settings.concurrency(), settings.capacity()) {
        (Some(kind), Some(capacity)) if capacity > 0 => {
            let product = match kind {
                Concurrency::Sync => format!("{workers} workers of the class {class}, one request each"),
                _ => format!("{workers} workers × {threads} threads of the class {class}"),
            };
            found.push(format!("{product} ({from})"));
            Line::new(
                "max_in_flight",
                capacity.to_string(),
                format!("{product}: what is more waits here, in a fair queue"),
            )
        }
        (Some(Concurrency::Async), _) => {
            found.push(format!("{workers} workers of the class {class}, which take any number of requests"));
            open(format!(
                "workers of the class {class} take any number; a cap would protect what they call, such as a database"
            ))
        }
        _ => {
            assumed.push(format!(
                "nothing of how many requests Gunicorn takes at once: workers {workers}, threads {threads}, class {class}"
            ));
            open("workers × threads of Gunicorn, which could not be seen".to_owned())
        }
    }
}

fn idle_timeout(settings: &Settings) -> Line {
    let key = "idle_timeout";
    if settings.concurrency() == Some(Concurrency::Sync) {
        let why = "sync workers close every connection, so nothing stays idle";
        return Line::new(key, quote(&duration_text(USUAL_IDLE)), why);
    }
    let Some(keepalive) = settings.keepalive.value else {
        let why = "below the 2 s that Gunicorn keeps idle connections by default; its own `keepalive` could not be seen";
        return Line::new(key, quote(&duration_text(USUAL_IDLE)), why);
    };
    let below = Duration::from_secs(keepalive).saturating_sub(Duration::from_millis(500));
    let idle = below.clamp(Duration::from_millis(100), USUAL_IDLE);
    let more =
        if below > idle { format!("; up to {} would do", duration_text(below)) } else { String::new() };
    let why = match keepalive {
        0 => "Gunicorn keeps no idle connection".to_owned(),
        _ => format!("below the {keepalive} s that Gunicorn keeps idle connections{more}"),
    };
    Line::new(key, quote(&duration_text(idle)), why)
}

fn response_timeout(settings: &Settings) -> (Line, Duration) {
    let usual = Duration::from_secs(30);
    let (timeout, why) = match (settings.timeout.value, settings.concurrency()) {
        (None, _) => (usual, "Gunicorn's `timeout` could not be seen".to_owned()),
        (Some(0), _) => (
            Duration::from_secs(60),
            "Gunicorn waits for ever (`timeout` 0); say what is too long".to_owned(),
        ),
        (Some(seconds), Some(Concurrency::Sync)) => (
            Duration::from_secs(seconds.saturating_sub(1).max(1)),
            format!("below the {seconds} s after which Gunicorn kills a busy sync worker"),
        ),
        (Some(seconds), _) => (
            Duration::from_secs(seconds),
            format!("Gunicorn's `timeout`, {seconds} s; it does not end a request of this class, this does"),
        ),
    };
    (Line::new("response_timeout", quote(&duration_text(timeout)), why), timeout)
}

/// Caps of heads, where Gunicorn's are lower than usual.
fn caps(settings: &Settings) -> Vec<Line> {
    let mut lines = Vec::new();
    // A request line has the method and the protocol beside the target.
    let below = |most: u64, by: u64| if most > 2 * by { most - by } else { (most / 2).max(1) };
    let lower = |most: Option<u64>, by: u64, ours: u64| {
        most.filter(|most| *most > 0).map(|most| below(most, by)).filter(|most| *most < ours)
    };
    if let Some(most) = lower(settings.request_line.value, 94, MAX_URI) {
        let why = "below Gunicorn's `limit_request_line`, which counts the method too";
        lines.push(Line::new("max_uri", quote(&format!("{most}B")), why));
    }
    if let Some(most) = lower(settings.request_fields.value, 10, MAX_HEADERS) {
        let why = "below Gunicorn's `limit_request_fields`: tollgate adds some";
        lines.push(Line::new("max_headers", most.to_string(), why));
    }
    if let Some(most) = lower(settings.field_size.value, 190, MAX_HEADER_LINE) {
        let why = "below Gunicorn's `limit_request_field_size`";
        lines.push(Line::new("max_header_line", quote(&format!("{most}B")), why));
    }
    lines
}

#[cfg(test)]
mod tests;
