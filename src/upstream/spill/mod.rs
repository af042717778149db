//! Where bodies go that are too large for memory: files without a name in one directory, bounded together.
//!
//! The directory is tried at start. While the process runs a full or broken disk costs speed, never an answer: whoever
//! spills keeps what could not be written, and the log says so, now and then.

mod queue;

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::budget::Budget;
use crate::clock::Tick;

pub use queue::{NoRoom, SpillQueue};

/// Between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// The directory, and how much of it may be used.
#[derive(Debug)]
pub struct Spill {
    directory: PathBuf,
    room: Arc<Budget>,
    /// Tick before which nothing is said.
    quiet_until: AtomicU64,
}

/// Why something could not be spilled.
#[derive(Debug)]
enum SpillFault {
    /// `spill_max` is used up.
    Full,
    /// The file could not be made or written.
    Disk(io::Error),
}

impl fmt::Display for SpillFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpillFault::Full => f.write_str("`spill_max` is used up"),
            SpillFault::Disk(error) => write!(f, "{error}"),
        }
    }
}

impl Spill {
    /// Tries a file in the directory. Fails if there is none, or none that can be written to.
    pub fn open(directory: &Path, max: u64) -> io::Result<Arc<Spill>> {
        tempfile::tempfile_in(directory)?.write_all(b"tollgate")?;
        let (directory, room) = (directory.to_owned(), Budget::new(max));
        Ok(Arc::new(Spill { directory, room, quiet_until: AtomicU64::new(0) }))
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The bytes that are spilled, and how many may be.
    pub fn room(&self) -> &Budget {
        &self.room
    }

    /// Says in the log what went wrong, unless something did a short time ago.
    fn warn(&self, fault: &SpillFault, now: Tick) {
        let until = self.quiet_until.load(Ordering::Relaxed);
        let next = (now + WARN_EVERY).0;
        let is_turn = until <= now.0
            && self.quiet_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_turn {
            let directory = self.directory.display();
            tracing::warn!(%directory, reason = %fault, "cannot spill, what is too large for memory waits or is refused");
        }
    }
}
