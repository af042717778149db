//! What is written to the terminal, and whether in color.

use std::env;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

/// Whether standard error takes color: `NO_COLOR` forbids it, `CLICOLOR_FORCE` demands it, otherwise
/// a terminal that is not `dumb` has it.
pub(super) fn color_on_stderr() -> bool {
    let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    if set("NO_COLOR") {
        return false;
    }
    if env::var_os("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0") {
        return true;
    }
    io::stderr().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Writes what was asked for. A reader who left has what it wanted; a full disk is an error.
pub(super) fn to_stdout(bytes: &[u8]) -> ExitCode {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            fail(&format!("cannot write to standard output: {error}"), "");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Writes what went wrong; if even that fails there is nobody left to tell.
pub(super) fn to_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// One error without a place in a file.
pub(super) fn fail(message: &str, help: &str) {
    tell("error", "\u{1b}[1;31m", message, help);
}

/// One warning without a place in a file.
pub(super) fn warn(message: &str, help: &str) {
    tell("warning", "\u{1b}[1;33m", message, help);
}

fn tell(word: &str, color: &str, message: &str, help: &str) {
    let (color, green, plain) = match color_on_stderr() {
        true => (color, "\u{1b}[1;32m", "\u{1b}[0m"),
        false => ("", "", ""),
    };
    let mut text = format!("{color}{word}{plain}: {message}\n");
    if !help.is_empty() {
        text.push_str(&format!("{green}help{plain}: {help}\n"));
    }
    to_stderr(&text);
}
