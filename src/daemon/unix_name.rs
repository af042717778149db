//! The names of our Unix sockets: taken, and taken back.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The name of a Unix socket of ours; removed when dropped, unless somebody else has taken it over.
#[derive(Debug)]
pub(super) struct UnixName {
    path: PathBuf,
    /// Where it is to be, if it is not there yet.
    wanted: Option<PathBuf>,
    inode: u64,
}

impl UnixName {
    /// Of a socket that is bound to `path` and to be found at `wanted`.
    pub(super) fn of(path: &Path, wanted: &Path) -> io::Result<UnixName> {
        let inode = fs::symlink_metadata(path)?.ino();
        Ok(UnixName { path: path.to_owned(), wanted: (path != wanted).then(|| wanted.to_owned()), inode })
    }

    /// Takes the place of whoever has the name: from now on clients come here, and what had it keeps its queue.
    pub(super) fn take_place(&mut self) -> Result<(), (PathBuf, io::Error)> {
        if let Some(wanted) = self.wanted.take() {
            fs::rename(&self.path, &wanted).map_err(|error| (wanted.clone(), error))?;
            self.path = wanted;
        }
        Ok(())
    }
}

impl Drop for UnixName {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|named| named.ino() == self.inode) {
            // Nothing can be done about a name that cannot be removed; the next start takes it over.
            let _ = fs::remove_file(&self.path);
        }
    }
}
