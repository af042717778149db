//! Does this configuration fit this host, its Gunicorn and what runs here?
//!
//! [`CHECKS`] is the one table of what is looked at; a new check is a line in it. `app` looks at the app and the
//! Gunicorn it runs in, `host` at limits and the clock, `files` at what is written and read, `certificates` at what clients are shown, `service` at systemd,
//! `running` at the tollgate that runs. Invariant: nothing is changed or written, nothing waits without an end, and
//! what cannot be seen is told as not seen rather than as well.

mod app;
mod ask;
mod certificates;
mod files;
mod host;
mod program;
mod running;
mod service;

use std::path::PathBuf;

use serde::Serialize;

use crate::config::Loaded;
use crate::config::model::Model;
use crate::gunicorn::{self, Master};

/// What the caller says besides the configuration.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the kernel tells of processes.
    pub proc: PathBuf,
    /// The systemd service.
    pub unit: String,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should.
    Ok,
    /// It works, and may not go well.
    Warning,
    /// It does not work, or requests will fail.
    Problem,
    /// It is not there, or cannot be seen from here.
    NotSeen,
}

impl State {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Problem => "problem",
            State::NotSeen => "not seen",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do; empty if there is nothing to do.
    pub help: String,
}

/// All that checks look at.
struct Subject<'a> {
    model: &'a Model,
    options: &'a Options,
    /// The Gunicorn of this host that listens where the app is.
    gunicorn: Option<Master>,
    /// What the app answered.
    answer: Result<ask::Answer, ask::Trouble>,
    service: service::Seen,
}

/// What one check finds.
struct Findings {
    check: &'static str,
    all: Vec<Finding>,
}

impl Findings {
    fn say(&mut self, state: State, found: impl Into<String>, help: impl Into<String>) {
        self.all.push(Finding { check: self.check, state, found: found.into(), help: help.into() });
    }

    fn ok(&mut self, found: impl Into<String>) {
        self.say(State::Ok, found, "");
    }

    fn warning(&mut self, found: impl Into<String>, help: impl Into<String>) {
        self.say(State::Warning, found, help);
    }

    fn problem(&mut self, found: impl Into<String>, help: impl Into<String>) {
        self.say(State::Problem, found, help);
    }

    fn not_seen(&mut self, found: impl Into<String>) {
        self.say(State::NotSeen, found, "");
    }
}

type Check = fn(&Subject<'_>, &mut Findings);

/// Every check, in the order they are told.
const CHECKS: [(&str, Check); 13] = [
    ("app", app::answers),
    ("gunicorn", app::capacity),
    ("idle", app::idle),
    ("heads", app::heads),
    ("keep-alive", host::keep_alive),
    ("descriptors", host::descriptors),
    ("clock", host::clock),
    ("sinks", files::sinks),
    ("files", files::files),
    ("listen", files::sockets),
    ("certificates", certificates::certificates),
    ("service", service::service),
    ("running", running::running),
];

/// Looks at everything. `loaded` is the configuration, or what is wrong with it.
pub fn examine(loaded: &Result<Loaded, Vec<String>>, options: &Options) -> Vec<Finding> {
    let mut findings = Findings { check: "configuration", all: Vec::new() };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            for problem in problems {
                findings.problem(problem, "");
            }
            return findings.all;
        }
    };
    for warning in loaded.warnings.lines() {
        findings.warning(warning, "");
    }
    if findings.all.is_empty() {
        findings.ok("it is correct");
    }
    let model = &loaded.model;
    let subject = Subject {
        model,
        options,
        gunicorn: gunicorn::find(&options.proc)
            .into_iter()
            .find(|master| app::listens_at(master, &model.upstream.address)),
        answer: app::ask(model),
        service: service::look(&options.unit),
    };
    for (name, check) in CHECKS {
        findings.check = name;
        check(&subject, &mut findings);
    }
    findings.all
}

/// Whether nothing is a problem.
pub fn is_well(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.state != State::Problem)
}
