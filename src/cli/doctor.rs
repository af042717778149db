//! `tollgate doctor`: whether a configuration fits this host.

use std::process::ExitCode;

use crate::config::Overrides;
use crate::doctor::{Finding, Options, State, examine, is_well};

use super::load::{Failure, try_load};
use super::options::Doctor;
use super::{steps, terminal};

/// Looks at everything and tells it; a problem is exit code 1.
pub(super) fn doctor(arguments: &Doctor) -> ExitCode {
    let loaded =
        try_load(&arguments.config, &Overrides::default()).map_err(|failure: Failure| failure.lines());
    let options = Options { proc: arguments.proc.clone(), unit: arguments.unit.clone() };
    let findings = examine(&loaded, &options);
    let written = match arguments.json {
        true => format!("{:#}\n", serde_json::to_value(&findings).unwrap_or_default()),
        false => text(&findings),
    };
    let written = terminal::to_stdout(written.as_bytes());
    if is_well(&findings) { written } else { ExitCode::FAILURE }
}

fn text(findings: &[Finding]) -> String {
    let mut rows = Vec::new();
    let mut last = "";
    for finding in findings {
        // A check that found several things is named once.
        let name = if finding.check == last { "" } else { finding.check };
        last = finding.check;
        rows.push((name, finding.state.word(), &*finding.found, &*finding.help));
    }
    let count = |state: State| findings.iter().filter(|finding| finding.state == state).count();
    let counted =
        |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    format!(
        "{}\n{}, {}\n",
        steps::text(&rows),
        counted(count(State::Problem), "problem"),
        counted(count(State::Warning), "warning")
    )
}
