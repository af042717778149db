//! The snapshot over the life of the process: read at start, written every interval and at the end.
//!
//! Invariant: whatever is wrong with the file, the process starts and serves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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

use super::background::Background;
use super::limits;

/// The states of the last process, as far as these limits carry them over; or none.
pub(super) fn restore(store: &Store, limits: &mut Limits, fresh: Seed, now: Now) -> Buckets {
    let restored = store.snapshot.as_deref().and_then(|path| read(path, store.max_keys, now));
    let (buckets, old) = restored.unwrap_or_else(|| (Buckets::new(fresh, store.max_keys), Limits::default()));
    carry_over(&old, limits).finish(&buckets, now);
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

/// Starts the thread that writes what was spent, and once more when its owner is gone; if there is a file to write.
pub(super) fn keep(store: &Store, current: Arc<Current>, clock: Clock) -> io::Result<Option<Background>> {
    let Some(path) = store.snapshot.clone() else { return Ok(None) };
    let interval = store.interval;
    let background = Background::start("snapshot", move |owner| {
        let mut writer = Writer { path, current, clock, failures: 0 };
        // At once: who cannot write is to know it at start.
        writer.write();
        while owner.waits(interval) {
            writer.write();
        }
        writer.write();
    })?;
    Ok(Some(background))
}

struct Writer {
    path: PathBuf,
    current: Arc<Current>,
    clock: Clock,
    failures: u64,
}

impl Writer {
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
