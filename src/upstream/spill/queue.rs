//! Bytes on their way through a file: what comes goes behind, what is wanted is taken from the front.
//!
//! Files are read and written on the runtime's threads for blocking work, a piece at a time; a worker never waits for a
//! disk. Invariants: bytes come out once and in order, whatever the disk does; what a piece could not be written of
//! stays in memory; a file has no name, and is closed, and its room given back, when its queue is dropped.

use std::fs::File;
use std::future::Future;
use std::io;
use std::mem;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{Spill, SpillFault};
use crate::clock::Tick;
use crate::upstream::budget::Lease;

/// Written and read at a time. One is in memory on its way in, one on its way out.
const PIECE: usize = 64 * 1024;

/// The disk, or what may be used of it, is full or broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// A queue of bytes in a file. Made and polled inside a runtime.
#[derive(Debug)]
pub struct SpillQueue {
    spill: Arc<Spill>,
    lease: Lease,
    file: Option<Arc<File>>,
    /// Up to here the file was read.
    read: u64,
    /// Up to here it was written.
    written: u64,
    /// Behind what is written, or being written.
    tail: BytesMut,
    writing: Option<JoinHandle<Written>>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    /// A piece is lost.
    broken: bool,
}

#[derive(Debug)]
struct Written {
    piece: BytesMut,
    result: io::Result<Arc<File>>,
}

impl SpillQueue {
    /// An empty one, without a file yet.
    pub fn new(spill: &Arc<Spill>) -> SpillQueue {
        SpillQueue {
            spill: Arc::clone(spill),
            lease: spill.room.lease(),
            file: None,
            read: 0,
            written: 0,
            tail: BytesMut::new(),
            writing: None,
            reading: None,
            broken: false,
        }
    }

    /// Ready when at least a byte more can be kept. An error, which the log is told of, says that there is no room at
    /// present; asked again, it is tried again.
    pub fn poll_room(&mut self, cx: &mut Context<'_>, now: Tick) -> Poll<Result<(), NoRoom>> {
        loop {
            ready!(self.poll_written(cx, now))?;
            if self.tail.len() < PIECE {
                return Poll::Ready(Ok(()));
            }
            if !self.lease.grow(PIECE as u64) {
                self.spill.warn(&SpillFault::Full, now);
                return Poll::Ready(Err(NoRoom));
            }
            self.write();
        }
    }

    /// Takes as much off the front of `bytes` as there is room for.
    pub fn keep(&mut self, bytes: &mut Bytes) {
        if self.tail.capacity() == 0 {
            self.tail.reserve(PIECE);
        }
        let len = bytes.len().min(PIECE.saturating_sub(self.tail.len()));
        self.tail.extend_from_slice(&bytes.split_to(len));
    }

    /// The oldest bytes; `None` when there are none. An error means that they are lost.
    pub fn poll_next(&mut self, cx: &mut Context<'_>, now: Tick) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            if self.broken {
                return Poll::Ready(Err(io::Error::other("a piece is lost")));
            }
            if let Some(reading) = &mut self.reading {
                let piece = ready!(Pin::new(reading).poll(cx));
                self.reading = None;
                let piece = piece.unwrap_or_else(|error| Err(io::Error::other(error)))?;
                self.read += piece.len() as u64;
                return Poll::Ready(Ok(Some(piece)));
            }
            if self.read < self.written
                && let Some(file) = &self.file
            {
                let (file, at) = (Arc::clone(file), self.read);
                let len = (self.written - self.read).min(PIECE as u64) as usize;
                self.reading = Some(tokio::task::spawn_blocking(move || {
                    let mut piece = vec![0; len];
                    file.read_exact_at(&mut piece, at).map(|()| Bytes::from(piece))
                }));
                continue;
            }
            if self.writing.is_some() {
                // A piece that could not be written is in the tail again.
                let _ = ready!(self.poll_written(cx, now));
                continue;
            }
            let tail = mem::take(&mut self.tail).freeze();
            return Poll::Ready(Ok((!tail.is_empty()).then_some(tail)));
        }
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.read == self.written && self.tail.is_empty() && self.writing.is_none() && !self.broken
    }

    fn write(&mut self) {
        let (piece, at) = (mem::take(&mut self.tail), self.written);
        let (file, spill) = (self.file.clone(), Arc::clone(&self.spill));
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let file = file.map_or_else(|| tempfile::tempfile_in(&spill.directory).map(Arc::new), Ok);
            let result = file.and_then(|file| file.write_all_at(&piece, at).map(|()| file));
            Written { piece, result }
        }));
    }

    /// Ready when no piece is being written.
    fn poll_written(&mut self, cx: &mut Context<'_>, now: Tick) -> Poll<Result<(), NoRoom>> {
        let Some(writing) = &mut self.writing else { return Poll::Ready(Ok(())) };
        let written = ready!(Pin::new(writing).poll(cx));
        self.writing = None;
        let Ok(Written { mut piece, result }) = written else {
            self.broken = true;
            return Poll::Ready(Err(NoRoom));
        };
        Poll::Ready(match result {
            Ok(file) => {
                self.file = Some(file);
                self.written += piece.len() as u64;
                piece.clear();
                self.tail = piece;
                Ok(())
            }
            Err(error) => {
                self.lease.shrink(piece.len() as u64);
                self.tail = piece;
                self.spill.warn(&SpillFault::Disk(error), now);
                Err(NoRoom)
            }
        })
    }
}

impl Drop for SpillQueue {
    /// Closing a large file takes a while as well.
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        let nothing = self.spill.room.lease();
        let lease = mem::replace(&mut self.lease, nothing);
        let close = move || {
            drop(file);
            drop(lease);
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(close)),
            Err(_) => close(),
        }
    }
}

#[cfg(test)]
mod tests;
