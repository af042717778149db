//! Lifecycle events: to standard error, for people as text, for machines as JSON.

use std::io::{self, IsTerminal};

use tracing::Level;

use crate::config::model::{Log, LogFormat, LogLevel};

/// Installs the writer. Where one is installed already, as in tests, that one stays.
pub(super) fn init(log: &Log) {
    let level = match log.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
    let terminal = io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    let builder = tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(level).with_target(false);
    let installed = if json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        let colored = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        builder.with_ansi(colored).try_init()
    };
    drop(installed);
}
