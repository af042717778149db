//! Lines on their way: a buffer per worker, a queue, one thread that puts them into an outlet, and one that tells how
//! many were dropped, also while the other hangs in a write.
//!
//! Invariant: a worker never waits for a sink. A sink that stalls fills its queue, then whole buffers are dropped and
//! their lines counted.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::model::memory::SINK_BUFFERS;

use super::outlet::Outlet;

/// A worker's buffer is handed over when it holds this much, or when the timer says so. Each time wakes a thread, which
/// costs more than the copy: a quarter of it costs a request with an EMF line 4% more.
const FLUSH_AT_BYTES: usize = SINK_BUFFERS.1;
/// Buffers that may wait for the writer.
const QUEUE_BUFFERS: usize = SINK_BUFFERS.0;
/// Written buffers that are kept for the workers: memory that is in the cache, not fresh from the kernel.
const SPARE_BUFFERS: usize = 4;
/// How often it is told that lines were dropped.
const DROP_REPORT_EVERY: Duration = Duration::from_secs(10);

/// The writing end, owned by the process.
#[derive(Debug)]
pub struct Sink {
    sender: SyncSender<Buffer>,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    reporter: Reporter,
}

/// How many lines a sink has dropped; counts on as long as anybody looks.
#[derive(Debug, Clone)]
pub struct Dropped(Arc<Shared>);

impl Dropped {
    /// Lines, since the start.
    pub fn lines(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

/// What the writer and the workers have in common besides the queue.
#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicU64,
    /// Of those that were dropped, how many the log knows of.
    told: AtomicU64,
    /// Lines that were handed over and are neither written nor dropped.
    under_way: AtomicU64,
    closing: AtomicBool,
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Shared {
    fn drop_lines(&self, lines: u64) -> u64 {
        self.dropped.fetch_add(lines, Ordering::Relaxed)
    }

    fn keep(&self, mut bytes: Vec<u8>) {
        bytes.clear();
        // A panic cannot happen while it is held; if it could, the spares were no loss.
        if let Ok(mut spare) = self.spare.lock()
            && spare.len() < SPARE_BUFFERS
        {
            spare.push(bytes);
        }
    }

    fn buffer(&self) -> Vec<u8> {
        self.spare.lock().ok().and_then(|mut spare| spare.pop()).unwrap_or_default()
    }
}

#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    lines: u64,
}

impl Sink {
    /// Starts the writer; `what` its lines are, `records` or `EMF lines`, names its thread and what it tells.
    pub fn start(what: &'static str, outlet: Box<dyn Outlet>) -> io::Result<Sink> {
        let (sender, receiver) = sync_channel(QUEUE_BUFFERS);
        let shared = Arc::new(Shared::default());
        let reporter = Reporter::start(what, Arc::clone(&shared))?;
        let writer = Writer { what, outlet, shared: Arc::clone(&shared) };
        let thread =
            std::thread::Builder::new().name(thread_name(what)).spawn(move || writer.run(&receiver))?;
        Ok(Sink { sender, shared, thread, reporter })
    }

    /// A worker's end.
    pub fn lines(&self) -> Lines {
        Lines {
            sender: Some(self.sender.clone()),
            shared: Arc::clone(&self.shared),
            bytes: Vec::new(),
            lines: 0,
        }
    }

    /// Counts what it drops.
    pub fn dropped(&self) -> Dropped {
        Dropped(Arc::clone(&self.shared))
    }

    /// Waits until all that was handed over is written, but no longer than `patience`: a stalled sink cannot hold
    /// up the process's end. What it never took is counted as dropped. Call it when every [`Lines`] is gone.
    pub fn close(self, patience: Duration) {
        drop(self.sender);
        let clock = Clock::start();
        let deadline = clock.now() + patience;
        // What tries again and again has half of the time to succeed, and the rest to tell what was lost.
        let give_up = clock.now() + patience / 2;
        while !self.thread.is_finished() && clock.now() < deadline {
            if give_up <= clock.now() {
                self.shared.closing.store(true, Ordering::Relaxed);
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        if !self.thread.is_finished() {
            self.shared.drop_lines(self.shared.under_way.load(Ordering::Relaxed));
        }
        self.reporter.end();
    }
}

fn thread_name(what: &str) -> String {
    what.to_lowercase().replace(' ', "-")
}

/// A worker's buffer of lines.
#[derive(Debug)]
pub struct Lines {
    sender: Option<SyncSender<Buffer>>,
    shared: Arc<Shared>,
    bytes: Vec<u8>,
    lines: u64,
}

impl Lines {
    /// Lines that go nowhere.
    pub fn off() -> Lines {
        Lines { sender: None, shared: Arc::default(), bytes: Vec::new(), lines: 0 }
    }

    /// Appends what `encode` writes, one line.
    pub fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.sender.is_none() {
            return;
        }
        encode(&mut self.bytes);
        self.lines += 1;
        if self.bytes.len() >= FLUSH_AT_BYTES {
            self.flush();
        }
    }

    /// Hands over what there is.
    pub fn flush(&mut self) {
        let Some(sender) = &self.sender else { return };
        if self.lines == 0 {
            return;
        }
        let bytes = std::mem::replace(&mut self.bytes, self.shared.buffer());
        let lines = std::mem::take(&mut self.lines);
        self.shared.under_way.fetch_add(lines, Ordering::Relaxed);
        if let Err(TrySendError::Full(buffer) | TrySendError::Disconnected(buffer)) =
            sender.try_send(Buffer { bytes, lines })
        {
            self.shared.under_way.fetch_sub(buffer.lines, Ordering::Relaxed);
            self.shared.drop_lines(buffer.lines);
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.flush();
    }
}

struct Writer {
    what: &'static str,
    outlet: Box<dyn Outlet>,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Buffer>) {
        while let Ok(Buffer { bytes, lines }) = receiver.recv() {
            self.put(&bytes);
            self.shared.under_way.fetch_sub(lines, Ordering::Relaxed);
            self.shared.keep(bytes);
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let shared = &self.shared;
        let give_up = || shared.closing.load(Ordering::Relaxed);
        let Err(lost) = self.outlet.put(bytes, &give_up) else { return };
        let before = shared.drop_lines(lost.lines);
        if before == shared.told.load(Ordering::Relaxed) {
            let error = lost.error;
            tracing::warn!(%error, "{} cannot be written and are dropped", self.what);
        }
    }
}

/// Tells the log of dropped lines, now and then and at the end.
#[derive(Debug)]
struct Reporter {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Reporter {
    fn start(what: &'static str, shared: Arc<Shared>) -> io::Result<Reporter> {
        let (stop, stopped) = channel();
        let name = format!("{}-drops", thread_name(what));
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            while stopped.recv_timeout(DROP_REPORT_EVERY) == Err(RecvTimeoutError::Timeout) {
                tell(what, &shared);
            }
            tell(what, &shared);
        })?;
        Ok(Reporter { stop, thread })
    }

    fn end(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that tells of dropped lines panicked");
        }
    }
}

fn tell(what: &str, shared: &Shared) {
    let dropped = shared.dropped.load(Ordering::Relaxed);
    let new = dropped - shared.told.swap(dropped, Ordering::Relaxed);
    if new > 0 {
        tracing::warn!(lines = new, total = dropped, "{what} were dropped");
    }
}
