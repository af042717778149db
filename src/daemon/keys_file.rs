//! Reading the keys file: who may touch it, and what is in it.
//!
//! Invariant: keys that others could have written, or read, are not used.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::config::keys::{self, LoadedKeys};
use crate::identity::{Identity, Keys};

use super::error::describe;

/// Room for some hundred thousand keys.
const MAX_BYTES: u64 = 64 << 20;
/// Readable by others, or writable by anybody but the owner.
const TOO_OPEN: u32 = 0o026;

/// Why a keys file cannot be used.
#[derive(Debug)]
pub enum KeysFileError {
    /// It cannot be opened or read.
    Unreadable(io::Error),
    /// It is a directory, a pipe or a device, which may have no end.
    NoFile,
    /// Others may read or change it; its permission bits.
    TooOpen(u32),
    /// It is larger than 64 MiB.
    TooLarge,
    /// What is in it is wrong; a line for each problem.
    Damaged(Vec<String>),
}

impl fmt::Display for KeysFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeysFileError::Unreadable(error) => {
                write!(f, "it cannot be read: {}; check the path and whose it is", describe(error))
            }
            KeysFileError::NoFile => write!(f, "it is no regular file; check the path"),
            KeysFileError::TooOpen(mode) => {
                write!(f, "others may read or change it, its mode is {mode:04o}; `chmod 0640` it")
            }
            KeysFileError::TooLarge => write!(f, "it is larger than 64MiB"),
            KeysFileError::Damaged(lines) => write!(f, "{}", lines.join("; ")),
        }
    }
}

impl std::error::Error for KeysFileError {}

/// The keys the configuration asks for, if it does; warnings are told as events.
pub fn of(identity: &Identity, unix_seconds: u64) -> Result<Option<Keys>, (String, KeysFileError)> {
    let Some(path) = identity.api_key().and_then(|source| source.keys_file.as_deref()) else {
        return Ok(None);
    };
    let loaded = load(path, unix_seconds).map_err(|error| (path.display().to_string(), error))?;
    for warning in loaded.warnings.lines() {
        tracing::warn!("{warning}");
    }
    Ok(Some(loaded.keys))
}

/// Reads a keys file.
pub fn load(path: &Path, unix_seconds: u64) -> Result<LoadedKeys, KeysFileError> {
    // Asked before it is opened: opening a pipe waits until somebody writes.
    if !fs::metadata(path).map_err(KeysFileError::Unreadable)?.is_file() {
        return Err(KeysFileError::NoFile);
    }
    let mut file = File::open(path).map_err(KeysFileError::Unreadable)?;
    let metadata = file.metadata().map_err(KeysFileError::Unreadable)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & TOO_OPEN != 0 {
        return Err(KeysFileError::TooOpen(mode));
    }
    if metadata.size() > MAX_BYTES {
        return Err(KeysFileError::TooLarge);
    }
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(KeysFileError::Unreadable)?;
    // It grew while it was read, and a part of it would pass for a shorter file.
    if bytes.len() as u64 > MAX_BYTES {
        return Err(KeysFileError::TooLarge);
    }
    let name = path.display().to_string();
    let loaded = match String::from_utf8(bytes) {
        Ok(text) => keys::load(&text, &name, unix_seconds),
        Err(error) => match crate::config::not_utf8(error.as_bytes(), &name) {
            Some(report) => Err(report),
            None => keys::load("", &name, unix_seconds),
        },
    };
    loaded.map_err(|report| KeysFileError::Damaged(report.lines()))
}
