//! The process behind the command line.

use std::process::ExitCode;
use std::sync::Arc;

use crate::config::model::Model;

/// Runs until told to stop.
pub fn run(_model: Arc<Model>, _workers: Option<usize>) -> ExitCode {
    ExitCode::FAILURE
}
