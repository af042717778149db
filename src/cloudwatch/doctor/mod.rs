//! The way a metric takes, step by step: where does it end?
//!
//! `local` looks at the line and its way off this host, `agent` at the configuration of the CloudWatch agent, `service`
//! at CloudWatch itself, by `group` and `metric`. Invariant: nothing is written anywhere, and every step is told, also one that was not taken.

mod agent;
mod answer_date;
mod group;
mod local;
mod metric;
mod service;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::client::Trouble;
use super::emitted::Emitted;
use crate::config::model::Model;

/// Where the CloudWatch agent has its configuration.
pub const AGENT_CONFIG: &str = "/opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.json";

/// What the caller says besides the configuration.
#[derive(Debug, Clone)]
pub struct Options {
    /// The agent's configuration, if not in [`AGENT_CONFIG`].
    pub agent_config: Option<PathBuf>,
    /// The log group, if it cannot be known or is another.
    pub log_group: Option<String>,
    /// How far back to look.
    pub since: Duration,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should.
    Ok,
    /// The way ends here.
    Failed,
    /// A right is missing to look.
    NotAllowed,
    /// It does not belong to this way, or something before it failed.
    Skipped,
}

impl State {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Failed => "failed",
            State::NotAllowed => "not allowed",
            State::Skipped => "skipped",
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its name.
    pub step: &'static str,
    /// How it went.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do; empty if there is nothing to do.
    pub help: String,
}

impl Step {
    fn ok(step: &'static str, found: impl Into<String>) -> Step {
        Step { step, state: State::Ok, found: found.into(), help: String::new() }
    }

    fn failed(step: &'static str, found: impl Into<String>, help: impl Into<String>) -> Step {
        Step { step, state: State::Failed, found: found.into(), help: help.into() }
    }

    fn skipped(step: &'static str, why: impl Into<String>) -> Step {
        Step { step, state: State::Skipped, found: why.into(), help: String::new() }
    }

    fn trouble(step: &'static str, trouble: &Trouble) -> Step {
        let state = if matches!(trouble, Trouble::Denied { .. }) { State::NotAllowed } else { State::Failed };
        Step { step, state, found: trouble.to_string(), help: trouble.help() }
    }
}

/// Takes every step.
pub fn examine(model: &Model, options: &Options) -> Vec<Step> {
    let Some(emitted) = Emitted::of(model) else {
        return vec![match &model.emf {
            Some(_) => Step::failed(
                "line",
                "EMF lines ask for no metric: AWS_EMF_DISABLE_METRIC_EXTRACTION is set",
                "unset the variable where tollgate is started",
            ),
            None => Step::failed(
                "line",
                "this configuration sends no metric to CloudWatch",
                "add a table `[emf]`, or `push = \"cloudwatch\"` to `[metrics]`",
            ),
        }];
    };
    let mut steps = local::steps(model, &emitted);
    let (agent, agents_group) = agent::step(model, options.agent_config.as_deref());
    steps.push(agent);
    let group = options.log_group.clone().or(agents_group).or_else(|| emitted.log_group.clone());
    let window = service::Window::of(options.since);
    steps.extend(service::steps(model, &emitted, group.as_deref(), &window));
    steps
}

/// Whether every step is well or was not to be taken.
pub fn is_well(steps: &[Step]) -> bool {
    steps.iter().all(|step| matches!(step.state, State::Ok | State::Skipped))
}
