//! What tollgate writes and reads on this host.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::ask;
use super::{Findings, Subject};
use crate::clock::Clock;
use crate::config::model::emf::EmfSink;
use crate::config::model::{AccessSink, ListenAddress};
use crate::daemon::keys_file;

/// Where lines go.
pub(super) fn sinks(subject: &Subject<'_>, findings: &mut Findings) {
    match &subject.model.log.access {
        AccessSink::File(path) => to_write(findings, "records", path),
        AccessSink::Stdout | AccessSink::Stderr => findings.ok("records go to an output of the process"),
        AccessSink::Off => findings.ok("records are off"),
    }
    let Some(emf) = &subject.model.emf else { return };
    match &emf.sink {
        EmfSink::File(path) => to_write(findings, "EMF lines", path),
        EmfSink::Stdout => findings.ok("EMF lines go to standard output"),
        EmfSink::Tcp(address) => match ask::connect(&address.host, address.port) {
            Ok(_) => findings.ok(format!("the agent at tcp://{address} takes connections")),
            Err(trouble) => findings.problem(
                format!("the agent at tcp://{address}: {trouble}"),
                "start the CloudWatch agent, or correct `sink` of `[emf]`; `tollgate cloudwatch doctor` tells more",
            ),
        },
        EmfSink::Udp(address) => {
            findings.not_seen(format!("whether anybody listens at udp://{address}; `tollgate cloudwatch doctor` tells more"));
        }
        EmfSink::Logs { .. } => {
            findings.not_seen("lines go to AWS by its API; `tollgate cloudwatch doctor` tells more");
        }
    }
}

/// Files that keep something, and those that hold secrets.
pub(super) fn files(subject: &Subject<'_>, findings: &mut Findings) {
    let before = findings.all.len();
    if let Some(path) = &subject.model.store.snapshot {
        // It is written anew beside the old one.
        to_write_in(findings, "the snapshot of limits", path);
    }
    if let Some(spill) = &subject.model.upstream.buffers.spill {
        directory(findings, "spilled bodies", &spill.path);
    }
    if let Some(path) = subject.model.identity.api_key().and_then(|source| source.keys_file.as_deref()) {
        let clock = Clock::start();
        match keys_file::load(path, clock.unix_nanos(clock.now()) / 1_000_000_000) {
            Ok(loaded) => findings.ok(format!(
                "`{}` has {} API keys, and only its owner writes it",
                path.display(),
                loaded.headers.len()
            )),
            Err(error) => findings.problem(format!("`{}`: {error}", path.display()), ""),
        }
    }
    if findings.all.len() == before {
        findings.ok("nothing is kept in files");
    }
}

/// Unix sockets that tollgate makes.
pub(super) fn sockets(subject: &Subject<'_>, findings: &mut Findings) {
    let admin = subject.model.admin.as_ref().map(|admin| admin.addresses.as_slice()).unwrap_or_default();
    let before = findings.all.len();
    for address in subject.model.listen.addresses.iter().chain(admin) {
        let ListenAddress::Unix(path) = address else { continue };
        let is_taken = fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket());
        match is_taken {
            true => findings.problem(
                format!("`{}` is there, and no socket", path.display()),
                "name another path, or remove it",
            ),
            false => to_write_in(findings, "a Unix socket", path),
        }
    }
    if findings.all.len() == before {
        findings.ok("no Unix socket is made");
    }
}

/// A file that is appended to, or made.
fn to_write(findings: &mut Findings, what: &str, path: &Path) {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            findings.problem(format!("{what}: `{}` is a directory", path.display()), "name a file");
        }
        Ok(_) => match access(path, Access::WRITE_OK) {
            Ok(()) => findings.ok(format!("{what}: {} can write `{}`", who(), path.display())),
            Err(error) => findings
                .problem(format!("{what}: {} cannot write `{}`: {error}", who(), path.display()), OWNER),
        },
        Err(_) => to_write_in(findings, what, path),
    }
}

/// A file that is made in its directory.
fn to_write_in(findings: &mut Findings, what: &str, path: &Path) {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    directory(findings, what, parent.unwrap_or(Path::new(".")));
}

const OWNER: &str = "let tollgate's user write it: `LogsDirectory=`, `StateDirectory=` and `RuntimeDirectory=` of the service make such directories";

fn directory(findings: &mut Findings, what: &str, path: &Path) {
    let shown = PathBuf::from(path);
    let shown = shown.display();
    match fs::metadata(path) {
        Err(error) => findings.problem(format!("{what}: the directory `{shown}` cannot be used: {error}"), OWNER),
        Ok(found) if !found.is_dir() => findings.problem(format!("{what}: `{shown}` is no directory"), "name another path"),
        Ok(found) => match access(path, Access::WRITE_OK | Access::EXEC_OK) {
            Err(error) => findings.problem(format!("{what}: {} cannot write into `{shown}`: {error}", who()), OWNER),
            Ok(()) if found.permissions().mode() & 0o1002 == 0o002 => findings.warning(
                format!("{what}: everybody can write into `{shown}`, and put other files in the place of tollgate's"),
                format!("`chmod o-w {shown}`"),
            ),
            Ok(()) => findings.ok(format!("{what}: {} can write into `{shown}`", who())),
        },
    }
}

/// On whose behalf it was looked; root may do what tollgate's user may not.
fn who() -> &'static str {
    if rustix::process::geteuid().is_root() { "root, as which this runs," } else { "this user" }
}
