//! `tollgate check`

use std::process::ExitCode;

use crate::config;

use super::load::load;
use super::options::Check;
use super::{CONFIGURATION, USAGE, terminal};

/// Loads every file as `run` would, and stops before anything is opened.
pub(super) fn check(arguments: &Check) -> ExitCode {
    if arguments.print && arguments.files.len() > 1 {
        terminal::fail("`--print` takes one file", "check the others by a command of their own");
        return ExitCode::from(USAGE);
    }
    let overrides = arguments.overrides.to_overrides();
    let mut wrong = false;
    let mut told = String::new();
    for path in &arguments.files {
        let Some(loaded) = load(Some(path), &overrides) else {
            wrong = true;
            continue;
        };
        terminal::to_stderr(&loaded.warnings.render(terminal::color_on_stderr()));
        match arguments.print {
            true => told.push_str(&config::print(&loaded)),
            false => told.push_str(&format!("tollgate: `{}` is correct\n", path.display())),
        }
    }
    let written = terminal::to_stdout(told.as_bytes());
    if wrong { ExitCode::from(CONFIGURATION) } else { written }
}
