//! The snapshot as a file: written beside its place and renamed, so that it is whole or not there.
//!
//! Invariant: nobody but the owner can read it, for it holds the secret of the buckets' keys.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::limit::buckets::Buckets;
use crate::limit::rules::Limits;
use crate::limit::state::Now;

use super::encoding::{self, Damage, END, Snapshot};

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Of the file.
    pub bytes: u64,
}

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// There is no file.
    Nothing,
    /// A snapshot.
    Snapshot(Box<Snapshot>),
    /// Something that is none, set aside under this name if that was possible.
    Damaged(Damage, Option<PathBuf>),
}

/// Writes all states. Requests wait at most for the copy of one shard.
pub fn write(path: &Path, buckets: &Buckets, limits: &Limits, now: Now) -> io::Result<Written> {
    let temporary = beside(path, "new");
    // One that a crash left behind.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let mut sink = Summed { file: BufWriter::new(file), sum: crc32fast::Hasher::new(), bytes: 0 };
    sink.write(&encoding::head(buckets.seed, limits, now.unix_nanos))?;
    for shard in buckets.table.shards() {
        sink.write(&encoding::states(&shard, now))?;
    }
    sink.write(&END)?;
    for shard in buckets.logs.shards() {
        sink.write(&encoding::logs(&shard, now))?;
    }
    sink.write(&END)?;
    let written = sink.finish()?;
    fs::rename(&temporary, path)?;
    // The rename itself is to outlive a crash of the host.
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        File::open(directory)?.sync_all()?;
    }
    Ok(written)
}

/// Reads the file. One that cannot be used is set aside, so that the next writing does not replace it.
pub fn read(path: &Path) -> io::Result<Found> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    match encoding::decode(&bytes) {
        Ok(snapshot) => Ok(Found::Snapshot(Box::new(snapshot))),
        Err(damage) => {
            let aside = beside(path, "damaged");
            let moved = fs::rename(path, &aside).is_ok();
            Ok(Found::Damaged(damage, moved.then_some(aside)))
        }
    }
}

/// Leaves a note beside the snapshot that a process has written it for the last time.
pub fn leave_note(path: &Path, process: u32) -> io::Result<()> {
    fs::write(note(path), process.to_string())
}

/// Whether a process has left its note.
pub fn has_note(path: &Path, process: u32) -> bool {
    fs::read_to_string(note(path)).is_ok_and(|text| text == process.to_string())
}

/// Removes a note, if there is one.
pub fn remove_note(path: &Path) {
    // One that stays names a process that is gone.
    let _ = fs::remove_file(note(path));
}

fn note(path: &Path) -> PathBuf {
    beside(path, "handed-over")
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    PathBuf::from(name)
}

struct Summed {
    file: BufWriter<File>,
    sum: crc32fast::Hasher,
    bytes: u64,
}

impl Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    fn finish(mut self) -> io::Result<Written> {
        let sum = self.sum.finalize();
        self.file.write_all(&sum.to_le_bytes())?;
        self.file.into_inner()?.sync_all()?;
        Ok(Written { bytes: self.bytes + 4 })
    }
}
