//! The snapshot over the life of the process: read at start, written every interval and at the end; by a process that
//! hands over for the last time when it accepts no more, so that it never writes over what its successor wrote.
//!
//! Invariant: whatever is wrong with the file, the process starts and serves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::Clock;
use crate::config::model::Store;
use crate::limit::buckets::Buckets;
use crate::limit::carry::carry_over;
use crate::limit::key::Seed;
use crate::limit::rules::Limits;
use crate::limit::state::Now;
use crate::proxy::current::Current;
use crate::store::file::{self, Found};

use super::limits;

/// The states of the last process, as far as these limits carry them over; or none.
pub(super) fn restore(store: &Store, limits: &mut Limits, seed: Seed, now: Now) -> Buckets {
    match store.snapshot.as_deref().and_then(|path| read(path, store.max_keys, now)) {
        Some((buckets, old)) => {
            carry_over(&old, limits).finish(&buckets, now);
            buckets
        }
        None => fresh(store, limits, seed, now),
    }
}

/// No states at all.
pub(super) fn fresh(store: &Store, limits: &mut Limits, seed: Seed, now: Now) -> Buckets {
    let buckets = Buckets::new(seed, store.max_keys);
    carry_over(&Limits::default(), limits).finish(&buckets, now);
    buckets
}

fn read(path: &Path, max_keys: usize, now: Now) -> Option<(Buckets, Limits)> {
    let shown = path.display();
    match file::read(path) {
        Ok(Found::Nothing) => None,
        Ok(Found::Snapshot(snapshot)) => {
            if snapshot.unix_nanos > now.unix_nanos {
                tracing::warn!(file = %shown, "the snapshot is from the future; no time is taken off");
            }
            let away_seconds = now.unix_nanos.saturating_sub(snapshot.unix_nanos) / 1_000_000_000;
            let limits = snapshot.limits.clone();
            let buckets = snapshot.restore(max_keys, now);
            tracing::info!(file = %shown, keys = buckets.len(), away_seconds, "restored what was spent");
            Some((buckets, limits))
        }
        Ok(Found::Damaged(damage, aside)) => {
            let aside = aside.map_or_else(|| "nowhere".to_owned(), |aside| aside.display().to_string());
            tracing::warn!(file = %shown, %damage, aside, "the snapshot is damaged and set aside; limits begin anew");
            None
        }
        Err(error) => {
            tracing::warn!(file = %shown, %error, "the snapshot cannot be read; limits begin anew");
            None
        }
    }
}

/// The thread that writes what was spent, if there is a file to write; once more when this is dropped.
#[derive(Debug)]
pub(super) struct Snapshots {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Write now, then every interval.
    Begin,
    /// Write now, and never again.
    HandOver,
}

impl Snapshots {
    /// Starts the thread; it writes nothing before [`Snapshots::begin`].
    pub(super) fn start(store: &Store, current: Arc<Current>, clock: Clock) -> io::Result<Snapshots> {
        let Some(path) = store.snapshot.clone() else { return Ok(Snapshots { orders: None, thread: None }) };
        let interval = store.interval;
        let (orders, ordered) = mpsc::channel();
        let thread = thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            let mut writer = Writer { path, current, clock, failures: 0 };
            // What never began has nothing to write.
            let Ok(mut order) = ordered.recv() else { return };
            loop {
                writer.write();
                if order == Order::HandOver {
                    writer.leave_note();
                    return;
                }
                match ordered.recv_timeout(interval) {
                    Ok(next) => order = next,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            writer.write();
        })?;
        Ok(Snapshots { orders: Some(orders), thread: Some(thread) })
    }

    /// From now on it writes; at once, for who cannot write is to know it at start.
    pub(super) fn begin(&self) {
        self.tell(Order::Begin);
    }

    /// Another process reads what is written now; this one writes nothing after it.
    pub(super) fn hand_over(&self) {
        self.tell(Order::HandOver);
    }

    fn tell(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // A thread that has handed over wants no more orders.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Writer {
    path: PathBuf,
    current: Arc<Current>,
    clock: Clock,
    failures: u64,
}

impl Writer {
    /// Also where nothing could be written: it will not be.
    fn leave_note(&self) {
        if let Err(error) = file::leave_note(&self.path, std::process::id()) {
            tracing::warn!(file = %self.path.display(), %error, "the successor cannot be told what was written");
        }
    }

    fn write(&mut self) {
        self.clock.reanchor();
        let now = limits::now(&self.clock);
        let prepared = self.current.get();
        let begun = self.clock.now();
        let written = file::write(&self.path, &prepared.buckets, &prepared.model.limits, now);
        let shown = self.path.display();
        match written {
            Ok(written) => {
                let took = Duration::from_nanos(self.clock.now().nanos_since(begun));
                tracing::debug!(file = %shown, bytes = written.bytes, ?took, "snapshot written");
                if self.failures > 0 {
                    tracing::info!(file = %shown, failures = self.failures, "the snapshot can be written again");
                }
                self.failures = 0;
            }
            Err(error) => {
                if self.failures == 0 {
                    tracing::warn!(
                        file = %shown, %error,
                        "the snapshot cannot be written; a restart would forget what was spent since the last one"
                    );
                }
                self.failures += 1;
            }
        }
    }
}
