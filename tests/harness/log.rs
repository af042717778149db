//! What the test process itself logs, for tests that use tollgate as a library.
//!
//! There is one log a process, and whoever asks first installs it: every test that starts tollgate in this process
//! asks for it before.

use std::io;
use std::sync::LazyLock;

use serde_json::Value;
use tracing_subscriber::filter::LevelFilter;

use super::journal::Journal;

static LOG: LazyLock<Journal<String>> = LazyLock::new(|| {
    let log = Journal::default();
    let lines = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || Lines(lines.clone()))
        .finish();
    tracing::subscriber::set_global_default(subscriber).expect("a log that nobody has installed before");
    log
});

/// Everything this process logs from the first call on, of whatever level, a JSON object each.
pub fn lines() -> &'static Journal<String> {
    &LOG
}

/// Waits for an event that `matches`.
pub fn wait_for(what: &str, matches: impl Fn(&Value) -> bool) -> Value {
    let found = lines().wait(|lines| {
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).find(|event| matches(event))
    });
    found.unwrap_or_else(|| panic!("not in the log: {what}\n{}", lines().all().join("")))
}

struct Lines(Journal<String>);

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(String::from_utf8_lossy(line).into_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
