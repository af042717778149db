//! What all workers serve by right now, and the swap of it.
//!
//! Invariant: it is swapped as a whole. A worker looks at a counter once an exchange and takes the new one over
//! when it has changed; an exchange keeps the one it began with.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::config::model::Model;
use crate::identity::Keys;
use crate::limit::buckets::Buckets;
use crate::tls::server::ServerTls;
use crate::upstream::app::Apps;
use crate::upstream::breaker::Breakers;
use crate::upstream::spill::Spill;

/// A configuration with all that was prepared for it.
#[derive(Debug)]
pub struct Prepared {
    /// The configuration; its meters have their tags.
    pub model: Arc<Model>,
    /// The app, in all its versions.
    pub apps: Apps,
    /// The breakers of routes that have one.
    pub breakers: Breakers,
    /// The API keys that are known, if there is a keys file.
    pub keys: Option<Arc<Keys>>,
    /// What is served over TLS, if anything.
    pub tls: Option<Arc<ServerTls>>,
    /// Where bodies go that are too large for memory, if anywhere.
    pub spill: Option<Arc<Spill>>,
    /// The states of limits; the same over every swap.
    pub buckets: Arc<Buckets>,
    /// Workers that have taken it over.
    pub taken_over: AtomicUsize,
}

/// The place of the one in force.
#[derive(Debug)]
pub struct Current {
    generation: AtomicU64,
    prepared: Mutex<Arc<Prepared>>,
    swapped: Notify,
}

impl Current {
    /// With the first one.
    pub fn new(prepared: Prepared) -> Current {
        Current {
            generation: AtomicU64::new(0),
            prepared: Mutex::new(Arc::new(prepared)),
            swapped: Notify::new(),
        }
    }

    /// The one in force.
    pub fn get(&self) -> Arc<Prepared> {
        Arc::clone(&self.lock())
    }

    /// The one in force and its generation, unless that is `known`.
    pub fn newer_than(&self, known: u64) -> Option<(u64, Arc<Prepared>)> {
        if self.generation.load(Ordering::Acquire) == known {
            return None;
        }
        let prepared = self.lock();
        Some((self.generation.load(Ordering::Acquire), Arc::clone(&prepared)))
    }

    /// Puts another into force.
    pub fn swap(&self, prepared: Arc<Prepared>) {
        let mut place = self.lock();
        *place = prepared;
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.swapped.notify_one();
    }

    /// Resolves when another was put into force since the last time; for one who waits.
    pub async fn swapped(&self) {
        self.swapped.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Prepared>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
