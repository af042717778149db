//! A new configuration while the process runs: loaded, prepared, then swapped as a whole.
//!
//! Invariant: what can fail, fails before the swap. A configuration that cannot be used, or that would need a
//! restart, changes nothing, and every reason is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::admin::control::ReloadOutcome;
use crate::config::Loaded;
use crate::config::diff::{self, Change};
use crate::config::model::Model;
use crate::limit::carry::{Carried, Fate, Impact, carry_over};
use crate::proxy::current::Prepared;
use crate::upstream::breaker::Breakers;

use super::{Daemon, StartError, descriptors, keys_file, limits, logging, spilling, tls};

/// Loads the configuration again as it was loaded at start; a line for each problem.
pub type Load = Box<dyn Fn() -> Result<Loaded, Vec<String>>>;

/// How long is waited for workers that are busy; the rest of a reload does not depend on them.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What a reload did.
#[derive(Debug)]
pub struct Reloaded {
    /// Keys with other values.
    pub changes: Vec<Change>,
    carried: Carried,
    impact: Impact,
}

/// Reloads, and tells how it went, in the log and to whoever asked.
pub(super) async fn reload(daemon: &Daemon, load: Option<&Load>) -> ReloadOutcome {
    let Some(load) = load else {
        tracing::warn!("SIGHUP changes nothing: there is no configuration file to read again");
        return ReloadOutcome::NoFile;
    };
    let outcome = match load() {
        Err(problems) => Err(problems),
        Ok(loaded) => {
            for warning in loaded.warnings.lines() {
                tracing::warn!("{warning}");
            }
            daemon.reload(loaded.model).await
        }
    };
    let unix_ms = limits::now(&daemon.clock.borrow()).unix_nanos / 1_000_000;
    match outcome {
        Ok(reloaded) => {
            daemon.control.reloads.was_done(unix_ms);
            tell(&reloaded);
            ReloadOutcome::Done(reloaded.changes)
        }
        Err(problems) => {
            for problem in &problems {
                tracing::error!("{problem}");
            }
            let failed_reloads = daemon.control.reloads.was_refused(unix_ms, &problems);
            tracing::error!(failed_reloads, "reload failed, the configuration in force is unchanged");
            ReloadOutcome::Refused(problems)
        }
    }
}

fn tell(reloaded: &Reloaded) {
    let Reloaded { changes, carried, impact } = reloaded;
    for Change { key, from, to } in changes {
        let (from, to) = (from.as_deref().unwrap_or("nothing"), to.as_deref().unwrap_or("nothing"));
        tracing::info!(key, from, to, "changed");
    }
    for (limit, fate) in &carried.fates {
        let limit = &**limit;
        match fate {
            Fate::Same => {}
            Fate::New => tracing::info!(limit, "limit begins"),
            Fate::Dropped => tracing::info!(limit, "limit is gone, and its states"),
            Fate::Fresh => {
                tracing::info!(
                    limit,
                    "limit counts by something else or in another way, its states begin anew"
                );
            }
            Fate::Converted => {
                let (known_keys, keys_over) = impact.limits.get(limit).copied().unwrap_or_default();
                tracing::info!(
                    limit,
                    known_keys,
                    keys_over,
                    "limit has other numbers, what was spent stays spent"
                );
            }
        }
    }
    tracing::info!(changed = changes.len(), "reloaded");
}

impl Daemon {
    /// Puts another configuration into force, or tells why not; then nothing was changed.
    pub async fn reload(&self, mut model: Model) -> Result<Reloaded, Vec<String>> {
        let old = self.current.get();
        let changes = diff::changes(&old.model, &model);
        let mut problems: Vec<String> = changes.iter().filter_map(restart_needed).collect();
        // Resolved even if the address is the same: a name may have moved.
        let destinations = super::resolve(&model.upstream);
        let unix_seconds = limits::now(&self.clock.borrow()).unix_nanos / 1_000_000_000;
        let keys = keys_file::of(&model.identity, unix_seconds)
            .map_err(|(path, error)| StartError::Keys(path, error));
        let spill = spilling::open(&model, old.spill.as_ref());
        // Read again even if the paths are the same: certificates are renewed in their place.
        let served = tls::load(&model, old.tls.as_deref(), unix_seconds);
        let (destinations, keys, spill, served) = match (destinations, keys, spill, served) {
            (Ok(destinations), Ok(keys), Ok(spill), Ok(served)) if problems.is_empty() => {
                (destinations, keys.map(Arc::new), spill, served)
            }
            (destinations, keys, spill, served) => {
                problems.extend(destinations.err().map(|error| error.to_string()));
                problems.extend(keys.err().map(|error| error.to_string()));
                problems.extend(spill.err().map(|error| error.to_string()));
                problems.extend(served.err().map(|error| error.to_string()));
                return Err(problems);
            }
        };
        let carried = carry_over(&old.model.limits, &mut model.limits);
        let impact = carried.measure(&old.buckets, limits::now(&self.clock.borrow()));
        if let Some(percent) = model.limits.limiting.reload_guard_percent
            && impact.exceeds(percent)
        {
            let (known, over) = impact.total();
            return Err(vec![format!(
                "{over} of {known} known keys could no longer pay, more than the {percent}% of `reload_guard`"
            )]);
        }
        let model = Arc::new(model);
        self.swap(Prepared {
            model: Arc::clone(&model),
            apps: destinations.apps(&model.upstream, Some(&old.apps)),
            breakers: Breakers::new(model.routes.routes(), Some(&old.breakers)),
            keys,
            tls: served,
            spill,
            buckets: Arc::clone(&old.buckets),
            taken_over: AtomicUsize::new(0),
        })
        .await;
        carried.finish(&old.buckets, limits::now(&self.clock.borrow()));
        self.alerts.replace(&model.alerts);
        Ok(Reloaded { changes, carried, impact })
    }

    async fn swap(&self, prepared: Prepared) {
        let prepared = Arc::new(prepared);
        let model = &prepared.model;
        self.buffers.set_max(model.upstream.buffers.total as u64);
        if let (Some(spill), Some(to)) = (&prepared.spill, &model.upstream.buffers.spill) {
            spill.room().set_max(to.max);
        }
        if model.listen.max_connections != self.seats.max() {
            descriptors::advise(model);
            self.seats.set_max(model.listen.max_connections);
        }
        logging::set_level(model.log.level);
        self.current.swap(Arc::clone(&prepared));
        let all = async {
            while prepared.taken_over.load(Ordering::Acquire) < self.threads.len() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        // A worker that is slower asks a bucket's predecessor itself for as long.
        let _ = tokio::time::timeout(PATIENCE, all).await;
    }
}

fn restart_needed(change: &Change) -> Option<String> {
    let reason = change.needs_restart()?;
    let to = change.to.as_deref().unwrap_or("nothing");
    Some(format!("`{}` cannot become {to} without a restart: {reason}", change.key))
}
