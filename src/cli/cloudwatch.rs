//! `tollgate cloudwatch`: plans and applies dashboard and alarms, and examines the way of a metric.
//!
//! Invariant: nothing is changed without having been shown and agreed to.

use std::env;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::cloudwatch::client::{Aws, Trouble};
use crate::cloudwatch::difference::{Change, Wanted, text};
use crate::cloudwatch::plan::Plan;
use crate::cloudwatch::{doctor, remote, template};
use crate::config::model::Model;
use crate::config::units::parse_duration;
use crate::config::{Loaded, Overrides};

use super::load::load;
use super::options::{ApplyCloudwatch, Cloudwatch, DoctorCloudwatch, PlanCloudwatch, PlanFormat};
use super::{CONFIGURATION, USAGE, steps, terminal};

/// CloudWatch keeps minutes for two weeks.
const SINCE: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(14 * 86_400);

/// What ends a command: a message, a help, and the exit code.
type Failure = (String, String, u8);

/// Does what is asked.
pub(super) fn cloudwatch(command: &Cloudwatch) -> ExitCode {
    let done = match command {
        Cloudwatch::Plan(arguments) => plan(arguments),
        Cloudwatch::Apply(arguments) => apply(arguments),
        Cloudwatch::Doctor(arguments) => examine(arguments),
    };
    match done {
        Ok(code) => code,
        Err((message, help, code)) => {
            if !message.is_empty() {
                terminal::fail(&message, &help);
            }
            ExitCode::from(code)
        }
    }
}

fn plan(arguments: &PlanCloudwatch) -> Result<ExitCode, Failure> {
    let model = model(&arguments.config)?;
    let aws = match arguments.format {
        PlanFormat::Text if !arguments.offline => Some(aws(&model)?),
        _ => None,
    };
    let region = match (&aws, arguments.format) {
        (_, PlanFormat::Cloudformation) => template::REGION.to_owned(),
        (Some(aws), _) => aws.region().to_owned(),
        (None, _) => region_without_asking(&model)?,
    };
    let plan = wanted(&model, &region)?;
    let written = match arguments.format {
        PlanFormat::Json => pretty(&plan.json()),
        PlanFormat::Cloudformation => pretty(&plan.template()),
        PlanFormat::Text => {
            let changes = match &aws {
                Some(aws) => plan.changes(aws).map_err(failed)?,
                None => plan.from_nothing(),
            };
            tell_notes(plan.wanted());
            match changes.is_empty() {
                true => "nothing to change\n".to_owned(),
                false => text(plan.wanted(), &changes, false),
            }
        }
    };
    Ok(terminal::to_stdout(written.as_bytes()))
}

fn apply(arguments: &ApplyCloudwatch) -> Result<ExitCode, Failure> {
    if !arguments.yes && !io::stdin().is_terminal() {
        return Err((
            "nobody can be asked: standard input is no terminal".to_owned(),
            "look at `tollgate cloudwatch plan`, then give `--yes`".to_owned(),
            USAGE,
        ));
    }
    let model = model(&arguments.config)?;
    let aws = aws(&model)?;
    let plan = wanted(&model, aws.region())?;
    let changes = plan.changes(&aws).map_err(failed)?;
    tell_notes(plan.wanted());
    let written = terminal::to_stdout(text(plan.wanted(), &changes, arguments.prune).as_bytes());
    let is_done = |change: &Change| arguments.prune || !matches!(change, Change::DeleteAlarm { .. });
    if !changes.iter().any(is_done) {
        terminal::to_stdout(b"nothing to change\n");
        return Ok(written);
    }
    if !arguments.yes && !agreed() {
        terminal::to_stdout(b"nothing was changed\n");
        return Ok(written);
    }
    let mut done = 0;
    for change in &changes {
        match remote::apply(&aws, plan.wanted(), change, arguments.prune) {
            Ok(did) => done += usize::from(did),
            Err(trouble) => {
                let (message, help, code) = failed(trouble);
                return Err((format!("{message} ({done} changes were made before)"), help, code));
            }
        }
    }
    terminal::to_stdout(format!("{done} changed\n").as_bytes());
    Ok(written)
}

fn examine(arguments: &DoctorCloudwatch) -> Result<ExitCode, Failure> {
    let usage =
        |message: String| (message, "write for example `15m`; 1m to 14d are looked at".to_owned(), USAGE);
    let since = parse_duration(&arguments.since)
        .map_err(|error| usage(format!("`--since` {}, found `{}`", error.fault, arguments.since)))?;
    if !SINCE.contains(&since) {
        return Err(usage(format!("`--since` must be from 1m to 14d, found `{}`", arguments.since)));
    }
    let options = doctor::Options {
        agent_config: arguments.agent_config.clone(),
        log_group: arguments.log_group.clone(),
        since,
    };
    let found = doctor::examine(&model(&arguments.config)?, &options);
    let written = match arguments.json {
        true => pretty(&serde_json::to_value(&found).unwrap_or_default()),
        false => {
            let rows: Vec<steps::Row<'_>> =
                found.iter().map(|step| (step.step, step.state.word(), &*step.found, &*step.help)).collect();
            steps::text(&rows)
        }
    };
    let written = terminal::to_stdout(written.as_bytes());
    Ok(if doctor::is_well(&found) { written } else { ExitCode::FAILURE })
}

/// The configuration; what is wrong with it has been told if there is none.
fn model(paths: &[PathBuf]) -> Result<Model, Failure> {
    let Some(Loaded { model, warnings, .. }) = load(paths, &Overrides::default()) else {
        return Err((String::new(), String::new(), CONFIGURATION));
    };
    terminal::to_stderr(&warnings.render(terminal::color_on_stderr()));
    Ok(model)
}

fn wanted(model: &Model, region: &str) -> Result<Plan, Failure> {
    Plan::of(model, region).ok_or_else(|| {
        (
            "this configuration sends no metrics to CloudWatch".to_owned(),
            "add a table `[emf]`, or `push = \"cloudwatch\"` to `[metrics]`".to_owned(),
            CONFIGURATION,
        )
    })
}

fn aws(model: &Model) -> Result<Aws, Failure> {
    Aws::new(model.cloudwatch.region.as_deref()).map_err(failed)
}

fn region_without_asking(model: &Model) -> Result<String, Failure> {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let found = model.cloudwatch.region.clone().or_else(|| variable("AWS_REGION"));
    found.or_else(|| variable("AWS_DEFAULT_REGION")).ok_or_else(|| failed(Trouble::NoRegion))
}

fn failed(trouble: Trouble) -> Failure {
    (trouble.to_string(), trouble.help(), 1)
}

fn tell_notes(wanted: &Wanted) {
    for note in &wanted.notes {
        terminal::to_stderr(&format!("note: {note}\n"));
    }
}

fn agreed() -> bool {
    terminal::to_stderr("Make these changes? [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}
