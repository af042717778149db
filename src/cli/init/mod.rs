//! `tollgate init`: looks at the Gunicorn that runs here, and writes what tollgate needs in front of it.
//!
//! Nothing is asked and nothing is overwritten: all files are written, or none.

mod files;
mod group;
mod plan;

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::gunicorn::{self, Master};

use super::options::Init;
use super::terminal;
use plan::Plan;

/// Looks and writes.
pub(super) fn init(arguments: &Init) -> ExitCode {
    let masters = gunicorn::find(&arguments.proc);
    let chosen = match arguments.pid {
        None => masters.first(),
        Some(pid) => match masters.iter().find(|master| master.pid == pid) {
            None => {
                let found =
                    masters.iter().map(|master| master.pid.to_string()).collect::<Vec<_>>().join(", ");
                let help =
                    if found.is_empty() { "none was found".to_owned() } else { format!("found: {found}") };
                terminal::fail(&format!("no Gunicorn has the process id {pid}"), &help);
                return ExitCode::FAILURE;
            }
            found => found,
        },
    };
    let plan = Plan::of(chosen, group::of);
    let mut told = String::new();
    tell_found(&mut told, chosen, &plan);
    for other in masters.iter().filter(|master| Some(master.pid) != chosen.map(|chosen| chosen.pid)) {
        let (pid, at) = (other.pid, places(other));
        told.push_str(&format!("also     Gunicorn {pid}{at}: `tollgate init --pid {pid}` is for it\n"));
    }
    for assumption in &plan.assumed {
        told.push_str(&format!("assumed  {assumption}\n"));
    }
    let files = files::all(&plan);
    let written = write(&arguments.dir, &files);
    match written {
        Ok(paths) => {
            for path in &paths {
                told.push_str(&format!("wrote    {}\n", path.display()));
            }
            let first = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
            told.push_str(&format!(
                "next     read what was written, then `tollgate doctor --config {first}`\n"
            ));
            terminal::to_stdout(told.as_bytes())
        }
        Err((message, help)) => {
            terminal::to_stdout(told.as_bytes());
            terminal::fail(&message, &help);
            ExitCode::FAILURE
        }
    }
}

fn tell_found(told: &mut String, chosen: Option<&Master>, plan: &Plan) {
    match chosen {
        None => told.push_str("found    no running Gunicorn: what is written is for one with its defaults\n"),
        Some(master) => {
            told.push_str(&format!("found    Gunicorn {}{}\n", master.pid, places(master)));
        }
    }
    for found in &plan.found {
        told.push_str(&format!("found    {found}\n"));
    }
    for unread in chosen.into_iter().flat_map(|master| &master.unread) {
        told.push_str(&format!("unread   {unread}\n"));
    }
}

fn places(master: &Master) -> String {
    let places: Vec<String> = master.listeners.iter().map(ToString::to_string).collect();
    let at = if places.is_empty() { String::new() } else { format!(" at {}", places.join(" and ")) };
    let unit = master.unit.as_ref().map(|unit| format!(", started by {unit}")).unwrap_or_default();
    format!("{at}{unit}")
}

/// Writes all files or none.
fn write(directory: &Path, files: &[(&str, String)]) -> Result<Vec<PathBuf>, (String, String)> {
    let paths: Vec<PathBuf> = files.iter().map(|(name, _)| directory.join(name)).collect();
    let there: Vec<String> = paths
        .iter()
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| format!("`{}`", path.display()))
        .collect();
    if !there.is_empty() {
        let verb = if there.len() == 1 { "is" } else { "are" };
        return Err((
            format!("{} {verb} there already, so nothing was written", there.join(" and ")),
            "write into another directory, `tollgate init DIR`, and compare".to_owned(),
        ));
    }
    for (at, (path, (_, text))) in paths.iter().zip(files).enumerate() {
        if let Err(error) = create(path, text) {
            // What was made just now is nobody else's.
            for made in paths.iter().take(at) {
                let _ = fs::remove_file(made);
            }
            let reason = match error.kind() {
                ErrorKind::PermissionDenied => "permission denied".to_owned(),
                _ => error.to_string(),
            };
            return Err((format!("cannot write `{}`: {reason}", path.display()), String::new()));
        }
    }
    Ok(paths)
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory)?;
    }
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}
