//! A growing list that several threads write and tests wait on.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use super::PATIENCE;

/// A list shared between the thread that fills it and the test that waits for an entry.
#[derive(Debug)]
pub struct Journal<T> {
    shared: Arc<(Mutex<Vec<T>>, Condvar)>,
}

impl<T> Clone for Journal<T> {
    fn clone(&self) -> Self {
        Journal { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Default for Journal<T> {
    fn default() -> Self {
        Journal { shared: Arc::new((Mutex::new(Vec::new()), Condvar::new())) }
    }
}

impl<T: Clone> Journal<T> {
    /// Adds an entry and wakes whoever waits.
    pub fn push(&self, entry: T) {
        let (entries, changed) = &*self.shared;
        entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        changed.notify_all();
    }

    /// Everything so far.
    pub fn all(&self) -> Vec<T> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What `find` sees in the entries, as soon as it sees something; `None` when patience ends.
    pub fn wait<R>(&self, mut find: impl FnMut(&[T]) -> Option<R>) -> Option<R> {
        let deadline = Instant::now() + PATIENCE;
        let (entries, changed) = &*self.shared;
        let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = find(&entries) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            entries = changed.wait_timeout(entries, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
