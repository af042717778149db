//! Lifecycle events: to standard error, for people as text, for machines as JSON.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use crate::config::model::{Log, LogFormat, LogLevel};

/// The place of the level, once a writer is installed.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Installs the writer. Where one is installed already, as in tests, that one stays.
pub(super) fn init(log: &Log) {
    let terminal = io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    let (filter, handle) = reload::Layer::new(filter(log.level));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false);
    let installed = if json {
        let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
        registry.with(layer).try_init()
    } else {
        let colored = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        registry.with(layer.with_ansi(colored)).try_init()
    };
    if installed.is_ok() {
        let _ = LEVEL.set(handle);
    }
}

/// Writes events of this severity from now on.
pub(super) fn set_level(level: LogLevel) {
    if let Some(handle) = LEVEL.get() {
        let _ = handle.reload(filter(level));
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    }
}
