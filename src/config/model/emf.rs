//! `[emf]`: what CloudWatch learns by lines in its embedded metric format.
//!
//! Invariant: namespace, service, environment and dimensions are such as CloudWatch takes; so no line is refused for
//! them.

use std::path::PathBuf;
use std::time::Duration;

/// `[emf]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emf {
    /// Where lines go.
    pub sink: EmfSink,
    /// Of the metrics; letters, digits and `._-#:/`, at most 255.
    pub namespace: String,
    /// The dimension `Service`; ASCII, not blank.
    pub service: String,
    /// The dimension `Environment`; ASCII, not blank.
    pub environment: String,
    /// A line for what.
    pub per: EmfPer,
    /// The sets by which metrics can be looked up; at least one, each without repetitions.
    pub dimensions: Vec<Vec<Dimension>>,
    /// Each line is checked before it leaves; a wrong one is counted and told, and does not leave.
    pub validate: bool,
    /// Whether lines ask CloudWatch for metrics; without, they are plain log lines (`AWS_EMF_DISABLE_METRIC_EXTRACTION`).
    pub extraction: bool,
    /// Where the agent is to put lines that come over its socket, if not where it puts them by itself.
    pub log_group: Option<String>,
    /// As `log_group`.
    pub log_stream: Option<String>,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmfSink {
    /// `stdout`: bare lines, and nothing else goes there.
    Stdout,
    /// `file:PATH`, appended to, opened anew after it was renamed.
    File(PathBuf),
    /// `tcp://HOST:PORT`, the CloudWatch agent's.
    Tcp(HostPort),
    /// `udp://HOST:PORT`, the CloudWatch agent's.
    Udp(HostPort),
    /// `logs:GROUP` or `logs:GROUP:STREAM`, by PutLogEvents.
    Logs {
        /// The log group; may itself contain `/`.
        group: String,
        /// The stream; by default made of the host's name.
        stream: Option<String>,
    },
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

/// A line for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmfPer {
    /// For each exchange.
    Request,
    /// For each route and interval; 1 s to 1 h.
    Interval(Duration),
}

/// What a metric can be told apart by. Nothing unbounded is among it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// `[emf] service`
    Service,
    /// `[emf] environment`
    Environment,
    /// The route's name.
    Route,
}

impl Dimension {
    /// As CloudWatch shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Dimension::Service => "Service",
            Dimension::Environment => "Environment",
            Dimension::Route => "Route",
        }
    }
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl std::fmt::Display for EmfSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EmfSink::Stdout => f.write_str("stdout"),
            EmfSink::File(path) => write!(f, "file:{}", path.display()),
            EmfSink::Tcp(address) => write!(f, "tcp://{address}"),
            EmfSink::Udp(address) => write!(f, "udp://{address}"),
            EmfSink::Logs { group, stream: None } => write!(f, "logs:{group}"),
            EmfSink::Logs { group, stream: Some(stream) } => write!(f, "logs:{group}:{stream}"),
        }
    }
}
