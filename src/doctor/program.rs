//! Programs of the host that are asked, with an end to all patience.

use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

/// What a program writes to standard output; `None` if it is not there, fails, or takes too long.
pub(super) fn run(program: &'static str, arguments: &'static [&'static str]) -> Option<String> {
    run_with(program, arguments.iter().map(|argument| (*argument).to_owned()).collect())
}

/// As [`run`], with arguments that are known only now.
pub(super) fn run_with(program: &'static str, arguments: Vec<String>) -> Option<String> {
    let (said, heard) = mpsc::channel();
    // A program that hangs is left behind; it ends with the process at the latest.
    let started = thread::Builder::new().name("program".to_owned()).spawn(move || {
        let output =
            Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output();
        let _ = said.send(output);
    });
    started.ok()?;
    let output = heard.recv_timeout(PATIENCE).ok()?.ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8(output.stdout).ok()
}
