//! Lines to a file or an output of the process.
//!
//! Invariant: a line that a full disk cuts in half is taken back, so that it does not spoil the next.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{Lost, Outlet};

/// Where lines are written.
#[derive(Debug)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to a file, which is opened again when another one has its name.
    File(PathBuf),
}

/// A file or an output.
#[derive(Debug)]
pub struct Local {
    output: Output,
    file: Option<File>,
}

impl Local {
    /// A file that cannot be opened is an error now rather than a surprise later; a named pipe is opened with its
    /// first line, because opening waits for its reader.
    pub fn open(output: Output) -> io::Result<Local> {
        if let Output::File(path) = &output
            && !is_pipe(path)
        {
            open(path)?;
        }
        Ok(Local { output, file: None })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &self.output {
            Output::Stdout => write_and_flush(&mut io::stdout().lock(), bytes),
            Output::Stderr => write_and_flush(&mut io::stderr().lock(), bytes),
            Output::File(path) => {
                if self.file.as_ref().is_none_or(|file| was_rotated(file, path)) {
                    self.file = Some(open(path)?);
                }
                self.file.as_mut().map_or(Ok(()), |file| append(file, bytes))
            }
        }
    }
}

impl Outlet for Local {
    fn put(&mut self, lines: &[u8], _: &dyn Fn() -> bool) -> Result<(), Lost> {
        self.write(lines).map_err(|error| {
            self.file = None;
            Lost::all(lines, error)
        })
    }
}

/// All of it or, as far as the file allows, nothing.
fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let before = file.metadata()?;
    file.write_all(bytes).inspect_err(|_| {
        if before.is_file() {
            let _ = file.set_len(before.len());
        }
    })
}

fn write_and_flush(output: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    output.write_all(bytes)?;
    output.flush()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Whether the name leads to another file than the one that is open, or to none.
fn was_rotated(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => open.dev() != named.dev() || open.ino() != named.ino(),
        _ => true,
    }
}
