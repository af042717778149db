//! Running Gunicorns, read from `/proc`.
//!
//! Invariant: what cannot be read is not known; nothing is guessed for it, and reading on goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::arguments::{self, Command};
use super::literals;
use super::settings::{Setting, Settings, Source};
use super::sockets::{self, Listener};

/// What is read of one file. The kernel's tables have a line a socket; a longer file is not what it should be.
const MAX_BYTES: u64 = 64 << 20;
/// The file Gunicorn reads if none is named.
const USUAL_CONFIG: &str = "gunicorn.conf.py";

/// The first process of a Gunicorn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Master {
    /// Its process id.
    pub pid: u32,
    /// What it is set up to do.
    pub settings: Settings,
    /// Where it listens; empty if that cannot be seen.
    pub listeners: Vec<Listener>,
    /// Worker processes that run.
    pub workers: u64,
    /// The systemd service it runs in.
    pub unit: Option<String>,
    /// What could not be read, and what that means.
    pub unread: Vec<String>,
}

struct Process {
    parent: u32,
    command: Command,
}

/// All masters, by process id. `proc` is where the kernel's tables are, `/proc`.
pub fn find(proc: &Path) -> Vec<Master> {
    let Ok(entries) = fs::read_dir(proc) else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut parents = BTreeMap::new();
    let mut gunicorns = BTreeMap::new();
    for pid in ids {
        let home = proc.join(pid.to_string());
        let Some(parent) = parent(&home) else { continue };
        parents.insert(pid, parent);
        let cmdline = read(&home.join("cmdline")).unwrap_or_default();
        if let Some(command) = arguments::command(&cmdline) {
            gunicorns.insert(pid, Process { parent, command });
        }
    }
    // Workers have the command line of their master.
    let masters = gunicorns.iter().filter(|(_, process)| !gunicorns.contains_key(&process.parent));
    let children = |pid: u32| parents.values().filter(|parent| **parent == pid).count() as u64;
    masters.map(|(pid, process)| master(proc, *pid, &process.command, children(*pid))).collect()
}

fn master(proc: &Path, pid: u32, command: &Command, workers: u64) -> Master {
    let home = proc.join(pid.to_string());
    let mut unread = Vec::new();
    let environment = read(&home.join("environ"));
    if environment.is_none() {
        unread.push(
            "its environment and its directory cannot be read, so GUNICORN_CMD_ARGS and gunicorn.conf.py are not known: \
             run this as its user"
                .to_owned(),
        );
    }
    let variables = variables(environment.as_deref().unwrap_or_default());
    let said = match command {
        Command::Gunicorn(arguments) => arguments::read(arguments),
        Command::Titled => {
            unread
                .push("it has replaced its command line by a title, so its options are not known".to_owned());
            Vec::new()
        }
    };
    let by_variable = variables.get("GUNICORN_CMD_ARGS").map(|text| arguments::read(&arguments::words(text)));
    let mut settings = if *command == Command::Titled { Settings::unknown() } else { Settings::default() };
    if let Some(workers) = variables.get("WEB_CONCURRENCY").and_then(|text| text.parse().ok()) {
        settings.workers = Setting { value: Some(workers), source: Source::Variable("WEB_CONCURRENCY") };
    }
    if let Some(port) = variables.get("PORT") {
        settings.bind =
            Setting { value: Some(vec![format!("0.0.0.0:{port}")]), source: Source::Variable("PORT") };
    }
    // Which file it is, is said by the same options.
    let mut named = Settings::default();
    let by_variable = by_variable.unwrap_or_default();
    named.put(&by_variable, Source::CommandLine);
    named.put(&said, Source::CommandLine);
    settings.config = named.config;
    read_config(&home, &mut settings, &mut unread);
    let config = settings.config.take();
    settings.put(&by_variable, Source::Variable("GUNICORN_CMD_ARGS"));
    settings.put(&said, Source::CommandLine);
    settings.config = config;
    if settings.workers.value.is_none() && workers > 0 {
        settings.workers = Setting { value: Some(workers), source: Source::Seen };
    }
    let mut listeners = listeners(&home, &mut unread);
    listeners
        .retain(|listener| !matches!(listener, Listener::Unix(path) if settings.is_control_socket(path)));
    Master { pid, settings, listeners, workers, unit: unit(&home), unread }
}

/// Reads the configuration file as far as it is plain; none is named in `settings.config` if there is none.
fn read_config(home: &Path, settings: &mut Settings, unread: &mut Vec<String>) {
    let named = settings.config.clone();
    let name = named.as_deref().unwrap_or(USUAL_CONFIG);
    if let Some(module) = name.strip_prefix("python:") {
        unread.push(format!("its settings are in the Python module `{module}`, which is not run: not known"));
        return;
    }
    let name = name.strip_prefix("file:").unwrap_or(name);
    // By the process's own root and directory, so that a container's file is found.
    let path = match name.strip_prefix('/') {
        Some(rest) => home.join("root").join(rest),
        None => home.join("cwd").join(name),
    };
    match read(&path) {
        Some(text) => {
            settings.put_file(&literals::read(&String::from_utf8_lossy(&text)));
            settings.config = Some(name.to_owned());
        }
        None if named.is_some() => unread.push(format!("its configuration file `{name}` cannot be read")),
        None => {}
    }
}

fn listeners(home: &Path, unread: &mut Vec<String>) -> Vec<Listener> {
    let Ok(descriptors) = fs::read_dir(home.join("fd")) else {
        unread.push("its sockets cannot be seen: run this as its user, or as root".to_owned());
        return Vec::new();
    };
    let link = |entry: fs::DirEntry| fs::read_link(entry.path()).ok();
    let links: Vec<PathBuf> = descriptors.flatten().filter_map(link).collect();
    let inodes: BTreeSet<u64> = links.iter().filter_map(|link| sockets::inode(link.to_str()?)).collect();
    let table = |name: &str| {
        String::from_utf8_lossy(&read(&home.join("net").join(name)).unwrap_or_default()).into_owned()
    };
    let mut found = sockets::tcp(&table("tcp"), &inodes);
    found.extend(sockets::tcp(&table("tcp6"), &inodes));
    let directory = fs::read_link(home.join("cwd")).unwrap_or_default();
    for listener in sockets::unix(&table("unix"), &inodes) {
        found.push(match listener {
            Listener::Unix(path) => Listener::Unix(directory.join(path).to_string_lossy().into_owned()),
            listener => listener,
        });
    }
    found.dedup();
    found
}

/// The parent in `/proc/PID/stat`, behind a name that may hold anything.
fn parent(home: &Path) -> Option<u32> {
    let stat = read(&home.join("stat"))?;
    let text = String::from_utf8_lossy(&stat);
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn variables(environment: &[u8]) -> BTreeMap<String, String> {
    let pair = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let (name, value) = text.split_once('=')?;
        // Whatever else is there is none of our business.
        matches!(name, "GUNICORN_CMD_ARGS" | "WEB_CONCURRENCY" | "PORT")
            .then(|| (name.to_owned(), value.to_owned()))
    };
    environment.split(|byte| *byte == 0).filter_map(pair).collect()
}

fn unit(home: &Path) -> Option<String> {
    let groups = read(&home.join("cgroup"))?;
    let text = String::from_utf8_lossy(&groups).into_owned();
    let last =
        |line: &str| line.rsplit('/').next().filter(|name| name.ends_with(".service")).map(str::to_owned);
    text.lines().find_map(last).filter(|name| !name.starts_with("user@"))
}

fn read(path: &Path) -> Option<Vec<u8>> {
    // Opening a pipe would wait until somebody writes.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_BYTES + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MAX_BYTES).then_some(bytes)
}
