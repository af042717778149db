//! From the paths of configuration files to a configuration, for `run` and `check` alike.

use std::env;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::config::{self, Layer, Loaded, Overrides, Report};

use super::terminal;

/// Nobody writes more by hand; a mistaken path to a log or a device ends here.
const MAX_FILE: u64 = 16 << 20;

/// The variable by which systemd tells where they are.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// systemd takes no larger ones.
const MAX_CREDENTIAL: u64 = 1 << 20;

/// Why there is no configuration.
pub(super) enum Failure {
    /// Files cannot be read.
    Unreadable(Vec<String>),
    /// What is in them is wrong.
    Wrong(Report),
}

impl Failure {
    /// For a log: a line for each problem.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Failure::Unreadable(messages) => messages.clone(),
            Failure::Wrong(report) => report.lines(),
        }
    }
}

/// Loads files, of which later ones win key by key, or with no file the defaults.
pub(super) fn try_load(paths: &[PathBuf], overrides: &Overrides) -> Result<Loaded, Failure> {
    let (mut files, mut unreadable) = (Vec::new(), Vec::new());
    for path in paths {
        match read(path) {
            Ok(bytes) => files.push((path.display().to_string(), bytes)),
            Err(error) => {
                unreadable.push(format!("cannot read `{}`: {}", path.display(), reason(&error)));
            }
        }
    }
    if !unreadable.is_empty() {
        return Err(Failure::Unreadable(unreadable));
    }
    if files.is_empty() {
        files.push(("command line".to_owned(), Vec::new()));
    }
    let layers: Vec<Layer<'_>> = files.iter().map(|(file, bytes)| Layer { file, bytes }).collect();
    config::load_layers(&layers, &variable, overrides).map_err(Failure::Wrong)
}

/// The name of a configuration in a sentence.
pub(super) fn name_of(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    names.join(" + ")
}

/// As [`try_load`]; problems are told here, on standard error. `None` means that there were some. Warnings are the
/// caller's to tell.
pub(super) fn load(paths: &[PathBuf], overrides: &Overrides) -> Option<Loaded> {
    match try_load(paths, overrides) {
        Ok(loaded) => return Some(loaded),
        Err(Failure::Unreadable(messages)) => messages.iter().for_each(|message| terminal::fail(message, "")),
        Err(Failure::Wrong(report)) => terminal::to_stderr(&report.render(terminal::color_on_stderr())),
    }
    None
}

/// A variable of the environment; where it is not set, a credential that systemd put at the process's disposal. One
/// that is not Unicode could be part of no value, so it counts as not set.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().or_else(|| credential(Path::new(&env::var_os(CREDENTIALS)?), name))
}

/// `LoadCredential=NAME:…`; the line end behind it is none of it.
fn credential(directory: &Path, name: &str) -> Option<String> {
    let mut text = String::new();
    let file = File::open(directory.join(name)).ok()?;
    file.take(MAX_CREDENTIAL + 1).read_to_string(&mut text).ok()?;
    (text.len() as u64 <= MAX_CREDENTIAL).then(|| text.trim_end_matches(['\r', '\n']).to_owned())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::from(ErrorKind::FileTooLarge));
    }
    Ok(bytes)
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::IsADirectory => "it is a directory".to_owned(),
        ErrorKind::FileTooLarge => "it is larger than 16MiB".to_owned(),
        _ => error.to_string(),
    }
}
