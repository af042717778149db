//! `tollgate run`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::config::Overrides;
use crate::daemon::{self, Load};

use super::load::{Failure, load, try_load};
use super::options::Run;
use super::{CONFIGURATION, USAGE, terminal};

/// Loads the configuration and serves.
pub(super) fn run(arguments: &Run) -> ExitCode {
    if arguments.config.is_empty() && !arguments.overrides.upstream_is_given() {
        terminal::fail(
            "nothing says where the app listens",
            "give a configuration, `tollgate run --config tollgate.toml`, or the app's address alone, \
             `tollgate run --upstream 127.0.0.1:8000`",
        );
        return ExitCode::from(USAGE);
    }
    let overrides = arguments.overrides.to_overrides();
    match load(&arguments.config, &overrides) {
        Some(loaded) => {
            let warnings = loaded.warnings.lines();
            let reload = (!arguments.config.is_empty()).then(|| again(arguments.config.clone(), overrides));
            let workers = arguments.workers.map(usize::from);
            daemon::run(Arc::new(loaded.model), workers, &warnings, reload, arguments.replaces)
        }
        None => ExitCode::from(CONFIGURATION),
    }
}

/// Reads the same files with the same options once more.
fn again(paths: Vec<PathBuf>, overrides: Overrides) -> Load {
    Box::new(move || try_load(&paths, &overrides).map_err(|failure: Failure| failure.lines()))
}
