//! The resolved configuration: what every other module works with.
//!
//! Invariant: a value of these types cannot be wrong. Zero limits, unordered sizes and unknown
//! names were refused on the way here, so nobody downstream checks again.

pub mod admin;
pub mod emf;
pub mod memory;
pub mod metrics;
pub mod shield;
pub mod tls;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use crate::limit::rules::Limits;
use crate::message::routes::RouteTable;

/// The whole configuration of one process.
#[derive(Debug, Clone)]
pub struct Model {
    /// Where clients connect, and how much one of them may ask for.
    pub listen: Listen,
    /// The app behind.
    pub upstream: Upstream,
    /// Who is calling.
    pub identity: crate::identity::Identity,
    /// How requests are numbered.
    pub request_id: RequestId,
    /// What requests must pay, by route.
    pub limits: Limits,
    /// Which request belongs to which route.
    pub routes: RouteTable,
    /// Where limits are kept.
    pub store: Store,
    /// What is told, and where.
    pub log: Log,
    /// Lines for CloudWatch, if there are any.
    pub emf: Option<emf::Emf>,
    /// What is measured.
    pub metrics: metrics::Metrics,
    /// What CloudWatch is set up with.
    pub cloudwatch: metrics::CloudWatch,
    /// What operators ask, and where; nothing is there to ask if it is not set.
    pub admin: Option<admin::Admin>,
    /// What operators are told unasked.
    pub alerts: admin::Alerts,
    /// The shape of local replies.
    pub errors: ErrorFormat,
}

/// `[listen]`
#[derive(Debug, Clone)]
pub struct Listen {
    /// At least one.
    pub addresses: Vec<ListenAddress>,
    /// Peers whose forwarded fields are believed. A Unix socket's peer is always one of them.
    pub trusted_proxies: Vec<IpNet>,
    /// Accepted sockets at a time, over all workers.
    pub max_connections: usize,
    /// A whole request head, from its first byte.
    pub header_timeout: Duration,
    /// Between two reads of a request body.
    pub body_timeout: Duration,
    /// A connection without a request.
    pub keepalive_timeout: Duration,
    /// Without a byte of an answer that the client takes.
    pub send_timeout: Duration,
    /// Bytes of a request body a second that a client must send, on average; `None` for any.
    pub min_body_rate: Option<u64>,
    /// Bytes of an answer a second that a client must take, on average; `None` for any.
    pub min_send_rate: Option<u64>,
    /// Accepted sockets at a time of one address that is no trusted proxy; `None` for any number.
    pub max_connections_per_ip: Option<usize>,
    /// Bytes of a request target.
    pub max_uri: usize,
    /// Fields in a request head.
    pub max_headers: usize,
    /// Bytes of one field line, name and value, without the line end.
    pub max_header_line: usize,
    /// Bytes of a request head, request line included.
    pub max_header_bytes: usize,
    /// Bytes of a request body, where the route says nothing else.
    pub max_body: u64,
    /// How long everything is still served after SIGTERM while readiness is refused, before the drain begins.
    pub drain_delay: Duration,
    /// How long running exchanges may take to finish after SIGTERM.
    pub drain_timeout: Duration,
    /// Whether plain connections may speak HTTP/2 from their first byte.
    pub h2c: bool,
    /// How much one connection over HTTP/2 may ask for.
    pub http2: Http2,
    /// Whether every connection begins by telling whose it is, and only trusted proxies may connect.
    pub proxy_protocol: bool,
    /// What is served over TLS, if anything.
    pub tls: Option<tls::ListenTls>,
}

/// `[listen.http2]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2 {
    /// Streams that are open at a time.
    pub max_streams: u32,
    /// Bytes that a client may send on a stream before they are taken, 65535 at least.
    pub window: u32,
}

impl Listen {
    /// Whether the forwarded fields of this peer are believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }

    /// Those of TLS among them.
    pub fn all_addresses(&self) -> impl Iterator<Item = &ListenAddress> {
        self.addresses.iter().chain(self.tls.iter().flat_map(|tls| &tls.addresses))
    }
}

/// One bound address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// `127.0.0.1:8080`, `[::]:8080`
    Tcp(SocketAddr),
    /// `unix:/run/tollgate/http.sock`
    Unix(PathBuf),
    /// `systemd:http`: what was passed under this name, TCP or Unix, by whoever started the process.
    Passed(String),
}

/// `[upstream]`
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Where the app listens.
    pub address: UpstreamAddress,
    /// To an established connection.
    pub connect_timeout: Duration,
    /// From the last request byte sent to the whole response head.
    pub response_timeout: Duration,
    /// Of a pooled connection; below the app's own keep-alive.
    pub idle_timeout: Duration,
    /// How often an idempotent request without a body is sent again when its connection died
    /// before a response byte.
    pub retry_attempts: u32,
    /// How many requests it gets at a time; `None` for any number.
    pub max_in_flight: Option<shield::InFlightCap>,
    /// Who waits, and for how long: for `max_in_flight`, and for an app that is being restarted.
    pub queue: shield::Queue,
    /// What is kept for clients that are slower than the app.
    pub buffers: shield::Buffers,
    /// How it is found out whether the app is well.
    pub health: shield::HealthCheck,
    /// A second version of it.
    pub canary: Option<shield::Canary>,
    /// How it is spoken with where its address says `https://`.
    pub tls: tls::UpstreamTls,
}

/// Where the app listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// A name or an address, and a port; resolved at start-up.
    Tcp {
        /// A host name, an IPv4 address, or an IPv6 address without brackets.
        host: String,
        /// Never 0.
        port: u16,
        /// Over TLS.
        tls: bool,
    },
    /// A Unix socket's path.
    Unix(PathBuf),
}

/// `[request_id]`
#[derive(Debug, Clone)]
pub struct RequestId {
    /// The field it travels in, both ways.
    pub header: HeaderName,
    /// Whose ids are kept.
    pub inbound: InboundId,
    /// How our own look.
    pub format: IdFormat,
}

/// Whose request ids are kept instead of replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboundId {
    /// Everybody's.
    Always,
    /// Those of trusted proxies.
    Trusted,
    /// Nobody's.
    Never,
}

/// The form of the ids tollgate makes (RFC 9562).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdFormat {
    /// Random.
    Uuid4,
    /// Sorts by time.
    Uuid7,
}

/// `[store]`
#[derive(Debug, Clone)]
pub struct Store {
    /// The file that carries limits over a restart.
    pub snapshot: Option<PathBuf>,
    /// Between two writings of it.
    pub interval: Duration,
    /// Keys that are remembered at a time.
    pub max_keys: usize,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// Form of lifecycle events, which go to standard error.
    pub format: LogFormat,
    /// The least severe lifecycle event that is written.
    pub level: LogLevel,
    /// Where the records go.
    pub access: AccessSink,
    /// Whether a record holds the query string.
    pub query: bool,
    /// Request fields a record holds besides the standard ones.
    pub headers: Vec<HeaderName>,
}

/// Form of lifecycle events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text when standard error is a terminal, JSON otherwise.
    Auto,
    /// One object a line.
    Json,
    /// For eyes.
    Text,
}

/// Severity of lifecycle events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// A person is needed.
    Error,
    /// Degraded.
    Warn,
    /// Lifecycle.
    Info,
    /// A connection.
    Debug,
}

/// Where the records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessSink {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Nowhere.
    Off,
    /// Appended to a file, which is reopened when it was renamed.
    File(PathBuf),
}

/// The shape of local replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorFormat {
    /// `{"error":…,"code":…,"message":…,"request_id":…}`
    Json,
    /// RFC 9457.
    Problem,
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            ListenAddress::Passed(name) => write!(f, "systemd:{name}"),
        }
    }
}

impl std::fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            UpstreamAddress::Tcp { host, port, tls } => {
                let scheme = if *tls { "https://" } else { "" };
                match host.contains(':') {
                    true => write!(f, "{scheme}[{host}]:{port}"),
                    false => write!(f, "{scheme}{host}:{port}"),
                }
            }
            UpstreamAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
