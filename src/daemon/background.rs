//! A thread that does something now and then, and ends with its owner.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The thread, seen from its owner. When this is dropped the thread is told, and waited for.
#[derive(Debug)]
pub(super) struct Background {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The owner, seen from the thread.
#[derive(Debug)]
pub(super) struct Owner(mpsc::Receiver<()>);

impl Owner {
    /// Waits for so long; whether the owner is still there, so that the work goes on.
    pub(super) fn waits(&self, time: Duration) -> bool {
        self.0.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
    }
}

impl Background {
    /// Starts a thread of this name. `work` returns soon after its owner is gone.
    pub(super) fn start(name: &str, work: impl FnOnce(Owner) + Send + 'static) -> io::Result<Background> {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(Owner(stopped)))?;
        Ok(Background { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
