//! What is measured: the scenarios, the contenders, and how long each round takes.
//!
//! Invariant: every count and every time of a plan is bounded, whatever the environment says.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use crate::trouble::{Fallible, Trouble};

/// Sends this many requests a second where latency is measured.
pub(crate) const FIXED_RATE_PER_SECOND: u32 = 9_000;
/// Keys the requests are spread over.
pub(crate) const DISTINCT_KEYS: usize = 1_000;
/// Connections that are left idle.
pub(crate) const IDLE_CONNECTIONS: usize = 5_000;
/// The same over TLS, of which each takes a handshake.
pub(crate) const IDLE_TLS_CONNECTIONS: usize = 2_000;
/// How long idle connections are left alone before memory is read.
pub(crate) const IDLE_SETTLE: Duration = Duration::from_secs(6);
/// Requests sent while system calls are counted.
pub(crate) const TRACED_REQUESTS: u64 = 4_000;

/// One kind of work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// What the command line calls it.
    pub(crate) name: &'static str,
    /// What the report calls it.
    pub(crate) title: &'static str,
    pub(crate) kind: Kind,
    pub(crate) over: Over,
    pub(crate) exchange: Exchange,
    /// The highest ratio to nginx tollgate is meant to have, where one was set.
    pub(crate) goal: Option<f64>,
    /// Whether tollgate with EMF lines is compared as well.
    pub(crate) with_emf: bool,
}

/// How the work is driven and what is read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As fast as answers come, on connections that are kept.
    KeepAlive { connections: usize },
    /// As fast as answers come, a connection for every request.
    NewConnection { clients: usize },
    /// At a fixed rate, on connections that are kept.
    FixedRate { connections: usize },
    /// Memory of connections that do nothing.
    Idle { connections: usize },
    /// System calls a request.
    SystemCalls { connections: usize },
    /// As fast as answers come, over streams of HTTP/2.
    Streams { connections: usize, streams: usize },
}

/// What a scenario's connections are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Plain,
    /// TLS 1.3, never resumed.
    Tls,
}

/// One request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// Bytes of the request's body; 0 makes it a GET.
    pub(crate) request_body_bytes: usize,
    pub(crate) answer: AnswerSize,
}

/// The answers the origin can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerSize {
    Small,
    Medium,
    Large,
    /// As small, where tollgate has no limit.
    Unlimited,
    /// As small, where tollgate has three limits and tells of them.
    Limited,
    /// The limit is used up: what comes back is a refusal.
    Refused,
}

impl AnswerSize {
    pub(crate) const ALL: [Self; 6] =
        [Self::Small, Self::Medium, Self::Large, Self::Unlimited, Self::Limited, Self::Refused];

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Small | Self::Unlimited | Self::Limited | Self::Refused => 200,
            Self::Medium => 16 * 1024,
            Self::Large => 1024 * 1024,
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Small => "/answers/small",
            Self::Medium => "/answers/medium",
            Self::Large => "/answers/large",
            Self::Unlimited => "/answers/unlimited",
            Self::Limited => "/answers/limited",
            Self::Refused => "/answers/refused",
        }
    }
}

const SMALL_GET: Exchange = Exchange { request_body_bytes: 0, answer: AnswerSize::Small };

/// Every scenario, in the order they run.
pub(crate) const SCENARIOS: [Scenario; 16] = [
    Scenario {
        name: "small",
        title: "GET, 200-byte answer, 64 keep-alive connections",
        kind: Kind::KeepAlive { connections: 64 },
        over: Over::Plain,
        exchange: SMALL_GET,
        goal: Some(0.80),
        with_emf: false,
    },
    Scenario {
        name: "medium",
        title: "GET, 16 KiB answer, 64 keep-alive connections",
        kind: Kind::KeepAlive { connections: 64 },
        over: Over::Plain,
        exchange: Exchange { request_body_bytes: 0, answer: AnswerSize::Medium },
        goal: Some(1.0),
        with_emf: false,
    },
    Scenario {
        name: "large",
        title: "GET, 1 MiB answer, 16 keep-alive connections",
        kind: Kind::KeepAlive { connections: 16 },
        over: Over::Plain,
        exchange: Exchange { request_body_bytes: 0, answer: AnswerSize::Large },
        goal: Some(1.0),
        with_emf: false,
    },
    Scenario {
        name: "post",
        title: "POST, 16 KiB body, 200-byte answer, 64 keep-alive connections",
        kind: Kind::KeepAlive { connections: 64 },
        over: Over::Plain,
        exchange: Exchange { request_body_bytes: 16 * 1024, answer: AnswerSize::Small },
        goal: Some(1.0),
        with_emf: false,
    },
    Scenario {
        name: "connect",
        title: "GET, 200-byte answer, a new connection for every request, 32 clients",
        kind: Kind::NewConnection { clients: 32 },
        over: Over::Plain,
        exchange: SMALL_GET,
        goal: Some(1.1),
        with_emf: false,
    },
    Scenario {
        name: "latency",
        title: "GET, 200-byte answer, 9,000 requests a second, 64 keep-alive connections",
        kind: Kind::FixedRate { connections: 64 },
        over: Over::Plain,
        exchange: SMALL_GET,
        goal: Some(1.0),
        with_emf: false,
    },
    Scenario {
        name: "unlimited",
        title: "as small; tollgate without a limit",
        kind: Kind::KeepAlive { connections: 64 },
        over: Over::Plain,
        exchange: Exchange { request_body_bytes: 0, answer: AnswerSize::Unlimited },
        goal: None,
        with_emf: false,
    },
    Scenario {
        name: "limits",
        title: "as small; tollgate with three limits and five fields that tell of them",
        kind: Kind::KeepAlive { connections: 64 },
        over: Over::Plain,
        exchange: Exchange { request_body_bytes: 0, answer: AnswerSize::Limited },
        goal: None,
        with_emf: false,
    },
    Scenario {
        name: "emf",
        title: "as small; tollgate without, with EMF lines of exchanges, with EMF lines of intervals",
        kind: Kind::KeepAlive { connections: 64 },
        over: Over::Plain,
        exchange: SMALL_GET,
        goal: None,
        with_emf: true,
    },
    Scenario {
        name: "refused",
        title: "GET, refused with 429 by a limit that is used up, 64 keep-alive connections",
        kind: Kind::KeepAlive { connections: 64 },
        over: Over::Plain,
        exchange: Exchange { request_body_bytes: 0, answer: AnswerSize::Refused },
        goal: Some(1.0),
        with_emf: false,
    },
    Scenario {
        name: "idle",
        title: "memory of an idle keep-alive connection that has served one request",
        kind: Kind::Idle { connections: IDLE_CONNECTIONS },
        over: Over::Plain,
        exchange: SMALL_GET,
        goal: None,
        with_emf: false,
    },
    Scenario {
        name: "syscalls",
        title: "system calls a request: GET, 200-byte answer, 64 keep-alive connections",
        kind: Kind::SystemCalls { connections: 64 },
        over: Over::Plain,
        exchange: SMALL_GET,
        goal: None,
        with_emf: false,
    },
    Scenario {
        name: "tls",
        title: "GET, 200-byte answer, 64 keep-alive connections over TLS 1.3",
        kind: Kind::KeepAlive { connections: 64 },
        over: Over::Tls,
        exchange: SMALL_GET,
        goal: Some(0.90),
        with_emf: false,
    },
    Scenario {
        name: "handshakes",
        title: "GET, 200-byte answer, a full TLS 1.3 handshake for every request, 16 clients",
        kind: Kind::NewConnection { clients: 16 },
        over: Over::Tls,
        exchange: SMALL_GET,
        goal: Some(1.0),
        with_emf: false,
    },
    Scenario {
        name: "http2",
        title: "GET, 200-byte answer, 4 connections of HTTP/2 over TLS 1.3 with 100 streams each",
        kind: Kind::Streams { connections: 4, streams: 100 },
        over: Over::Tls,
        exchange: SMALL_GET,
        goal: Some(0.90),
        with_emf: false,
    },
    Scenario {
        name: "idle-tls",
        title: "memory of an idle keep-alive connection over TLS 1.3 that has served one request",
        kind: Kind::Idle { connections: IDLE_TLS_CONNECTIONS },
        over: Over::Tls,
        exchange: SMALL_GET,
        goal: None,
        with_emf: false,
    },
];

/// The programs that are compared, in the order of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// No proxy: what the load generator and the origin reach by themselves.
    Direct,
    Nginx,
    Haproxy,
    Tollgate,
    /// tollgate with an EMF line an exchange, besides the access line.
    Emf,
    /// tollgate with EMF lines of intervals.
    EmfInterval,
    /// Another build of tollgate, named by `BENCH_BASELINE`.
    Baseline,
}

impl Name {
    pub(crate) const ALL: [Self; 7] = [
        Self::Direct,
        Self::Nginx,
        Self::Haproxy,
        Self::Tollgate,
        Self::Emf,
        Self::EmfInterval,
        Self::Baseline,
    ];

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Tollgate => "tollgate",
            Self::Emf => "emf",
            Self::EmfInterval => "emf-10s",
            Self::Baseline => "baseline",
        }
    }

    /// Whether it takes part in a scenario.
    pub(crate) fn takes_part(self, scenario: &Scenario) -> bool {
        match self {
            Self::Emf | Self::EmfInterval => scenario.with_emf,
            // The origin speaks neither TLS nor HTTP/2, nor need an older build.
            Self::Direct | Self::Baseline => scenario.over == Over::Plain,
            _ => true,
        }
    }
}

/// The build to compare with, if there is one.
pub(crate) fn baseline() -> Option<PathBuf> {
    env::var_os("BENCH_BASELINE").map(PathBuf::from)
}

/// What one run does.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) contenders: Vec<Name>,
    pub(crate) rounds: usize,
    /// The measured part of a round.
    pub(crate) measured: Duration,
    /// The part of a round before it.
    pub(crate) warm_up: Duration,
}

/// What the command line asks for.
pub(crate) enum Asked {
    Run(Plan),
    Help,
    /// Started by `cargo test`, which runs benchmarks without meaning to measure.
    Nothing,
}

/// Reads the command line and the environment.
pub(crate) fn ask(arguments: impl Iterator<Item = String>) -> Fallible<Asked> {
    let mut plan = Plan {
        scenarios: Vec::new(),
        contenders: Name::ALL
            .into_iter()
            .filter(|name| *name != Name::Baseline || baseline().is_some())
            .collect(),
        rounds: from_environment("BENCH_ROUNDS", 1..=100)?.unwrap_or(5),
        measured: Duration::from_secs(from_environment("BENCH_SECONDS", 1..=60)?.unwrap_or(2) as u64),
        warm_up: Duration::from_millis(300),
    };
    let mut by_cargo_bench = false;
    for argument in arguments {
        match argument.as_str() {
            "--bench" => by_cargo_bench = true,
            "--help" | "-h" => return Ok(Asked::Help),
            "--quick" => {
                plan.rounds = 2;
                plan.measured = Duration::from_millis(500);
            }
            other => match other.strip_prefix("--without=") {
                Some(name) => plan.leave_out(name)?,
                None => plan.add_scenario(other)?,
            },
        }
    }
    if !by_cargo_bench {
        return Ok(Asked::Nothing);
    }
    if plan.scenarios.is_empty() {
        plan.scenarios = SCENARIOS.to_vec();
    }
    Ok(Asked::Run(plan))
}

impl Plan {
    fn leave_out(&mut self, name: &str) -> Fallible<()> {
        let before = self.contenders.len();
        self.contenders.retain(|contender| contender.text() != name);
        if self.contenders.len() == before {
            let known = Name::ALL.map(Name::text).join("`, `");
            return Err(Trouble::new(format!("no contender `{name}`, there are `{known}`")));
        }
        Ok(())
    }

    fn add_scenario(&mut self, name: &str) -> Fallible<()> {
        let Some(scenario) = SCENARIOS.iter().find(|scenario| scenario.name == name) else {
            let known = SCENARIOS.map(|scenario| scenario.name).join("`, `");
            return Err(Trouble::new(format!("no scenario `{name}`, there are `{known}`")));
        };
        self.scenarios.push(*scenario);
        Ok(())
    }
}

fn from_environment(name: &str, allowed: std::ops::RangeInclusive<usize>) -> Fallible<Option<usize>> {
    let Ok(text) = env::var(name) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(number) if allowed.contains(&number) => Ok(Some(number)),
        _ => Err(Trouble::new(format!(
            "`{name}` must be a number from {} to {}, found `{text}`",
            allowed.start(),
            allowed.end()
        ))),
    }
}

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Compares tollgate with nginx and HAProxy: CPU a request, throughput, latency, memory, system calls

usage: cargo bench --bench proxies -- [--quick] [--without=CONTENDER]... [SCENARIO]...

  SCENARIO             small, medium, large, post, connect, latency,
                       unlimited, limits, emf, refused, idle, syscalls,
                       tls, handshakes, http2, idle-tls; all by default
  --without=CONTENDER  leave out direct, nginx, haproxy, tollgate, emf or emf-10s
  --quick              two rounds of half a second, to see that it works; not for figures

  BENCH_ROUNDS         rounds of each scenario, 5 by default
  BENCH_SECONDS        measured seconds of a round, 2 by default
  BENCH_BASELINE       path of another build of tollgate that takes part, as `baseline`
";
