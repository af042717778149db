//! Taking over from a process that still serves.
//!
//! Both have the ports, and this one accepts nothing yet: what the kernel gives it waits. The other is told, stops
//! accepting, writes what was spent, and finishes what it has begun; then this one reads that and serves. What the other
//! spends afterward, for requests of connections it had accepted, is what is forgotten.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::proxy::current::Prepared;
use crate::store::file;

use super::predecessor::Predecessor;
use super::{Daemon, StartError, limits, snapshots};

/// Within which the other has stopped accepting and written what was spent; clients wait for it.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(2);

impl Daemon {
    /// Takes the names of Unix sockets, has the other hand over, and takes over what was spent.
    pub(super) async fn take_over(&mut self, from: &Predecessor) -> Result<(), StartError> {
        let store = self.current.get().model.store.clone();
        if let Some(path) = &store.snapshot {
            file::remove_note(path);
        }
        for name in &mut self.names {
            name.take_place()
                .map_err(|(path, error)| StartError::Listen(format!("unix:{}", path.display()), error))?;
        }
        let id = from.id();
        match from.hand_over() {
            Err(error) if !from.has_ended() => return Err(StartError::Replaces(id, error.to_string())),
            // Whoever has ended meanwhile has left what was spent.
            _ => tracing::info!(id, "takes over"),
        }
        match &store.snapshot {
            Some(path) => {
                let written = async {
                    while !file::has_note(path, id.unsigned_abs()) && !from.has_ended() {
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                };
                if tokio::time::timeout(PATIENCE, written).await.is_err() {
                    tracing::warn!(
                        id,
                        file = %path.display(),
                        "the process that is replaced has not written what was spent; some of it is forgotten"
                    );
                }
                file::remove_note(path);
                self.restore();
            }
            None if self.current.get().model.limits.limits.is_empty() => {}
            None => {
                tracing::warn!("limits begin anew: only `snapshot` of `[store]` carries over what was spent")
            }
        }
        Ok(())
    }

    /// Puts the states of the snapshot in place of those that nobody has asked for yet.
    fn restore(&self) {
        let old = self.current.get();
        let Ok(seed) = limits::fresh_seed() else { return };
        let mut model = (*old.model).clone();
        let now = limits::now(&self.clock.borrow());
        let buckets = snapshots::restore(&old.model.store, &mut model.limits, seed, now);
        self.current.swap(Arc::new(Prepared {
            model: Arc::new(model),
            apps: old.apps.clone(),
            breakers: old.breakers.clone(),
            keys: old.keys.clone(),
            tls: old.tls.clone(),
            spill: old.spill.clone(),
            buckets: Arc::new(buckets),
            taken_over: AtomicUsize::new(0),
        }));
    }
}
