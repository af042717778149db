//! `tollgate check`: each file on its own, or the files of `--config` as one configuration.

use std::process::ExitCode;

use crate::config;
use crate::config::model::Model;
use crate::daemon::named_files;
use crate::telemetry::emf::catalog::custom_metrics;

use super::load::{load, name_of};
use super::options::Check;
use super::{CONFIGURATION, USAGE, terminal};

/// Loads every configuration as `run` would, and stops before anything is opened.
pub(super) fn check(arguments: &Check) -> ExitCode {
    if arguments.print && arguments.files.len() > 1 {
        terminal::fail(
            "`--print` takes one configuration",
            "check the others by a command of their own, or give files that belong together by `--config`",
        );
        return ExitCode::from(USAGE);
    }
    let overrides = arguments.overrides.to_overrides();
    let mut wrong = false;
    let mut told = String::new();
    let apart = arguments.files.iter().map(std::slice::from_ref);
    let together = Some(arguments.config.as_slice()).filter(|files| !files.is_empty());
    for paths in apart.chain(together) {
        let Some(loaded) = load(paths, &overrides) else {
            wrong = true;
            continue;
        };
        terminal::to_stderr(&loaded.warnings.render(terminal::color_on_stderr()));
        let problems = if arguments.named_files { named_files::problems(&loaded.model) } else { Vec::new() };
        if !problems.is_empty() {
            problems.iter().for_each(|problem| terminal::fail(problem, ""));
            wrong = true;
            continue;
        }
        match arguments.print {
            true => told.push_str(&config::print(&loaded)),
            false => {
                let name = name_of(paths);
                told.push_str(&format!("tollgate: {name} is correct\n"));
                told.extend(forecast(&loaded.model).map(|text| format!("tollgate: {name} {text}\n")));
            }
        }
        if let Some((message, help)) = above_budget(&loaded.model) {
            terminal::warn(&format!("{} {message}", name_of(paths)), &help);
        }
    }
    let written = terminal::to_stdout(told.as_bytes());
    if wrong { ExitCode::from(CONFIGURATION) } else { written }
}

/// How many custom metrics lines for CloudWatch make; `None` without such lines.
fn metrics(model: &Model) -> Option<u64> {
    let emf = model.emf.as_ref()?;
    Some(if emf.extraction { custom_metrics(model) } else { 0 })
}

/// What CloudWatch will bill at most.
fn forecast(model: &Model) -> Option<String> {
    let log_price = model.cloudwatch.log_price;
    let logs = format!("logs at {log_price:.2} USD a GB");
    Some(match metrics(model)? {
        0 => format!("makes no custom metrics in CloudWatch, and {logs}"),
        metrics => {
            let price = metrics as f64 * model.cloudwatch.metric_price;
            format!(
                "makes up to {metrics} custom metrics in CloudWatch, about {price:.2} USD a month, and {logs}"
            )
        }
    })
}

/// A warning of more custom metrics than are meant, and what to do.
fn above_budget(model: &Model) -> Option<(String, String)> {
    let budget = model.cloudwatch.metric_budget;
    let metrics = metrics(model).filter(|metrics| *metrics > budget)?;
    let message =
        format!("makes up to {metrics} custom metrics in CloudWatch, more than `metric_budget`, {budget}");
    let help = "drop the set with `Route` from `dimensions` of `[emf]`, name fewer routes, or raise `metric_budget` of `[cloudwatch]`";
    Some((message, help.to_owned()))
}
