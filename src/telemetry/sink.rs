//! Where record lines go: a buffer per worker, a queue, and one thread that writes.
//!
//! Invariant: a worker never waits for the sink. A sink that stalls fills its queue, then whole buffers are
//! dropped and their lines counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::Clock;

/// A worker's buffer is handed over when it holds this much, or when the timer says so.
const FLUSH_AT_BYTES: usize = 64 * 1024;
/// Buffers that may wait for the writer.
const QUEUE_BUFFERS: usize = 32;
/// Written buffers that are kept for the workers: memory that is in the cache, not fresh from the kernel.
const SPARE_BUFFERS: usize = 4;
/// How often the writer looks whether it should say that lines were dropped.
const DROP_REPORT_EVERY: Duration = Duration::from_secs(10);

/// Where lines are written.
#[derive(Debug)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to a file, which is opened again when another one has its name.
    File(PathBuf),
}

/// The writing end, owned by the process.
#[derive(Debug)]
pub struct Sink {
    sender: SyncSender<Buffer>,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// What the writer and the workers have in common besides the queue.
#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicU64,
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Shared {
    fn drop_lines(&self, buffer: &Buffer) -> u64 {
        self.dropped.fetch_add(buffer.lines, Ordering::Relaxed)
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
    /// Starts the writer. A file that cannot be opened is an error now rather than a surprise later; a named
    /// pipe is opened by the writer, because opening waits for its reader.
    pub fn start(output: Output) -> io::Result<Sink> {
        if let Output::File(path) = &output
            && !is_pipe(path)
        {
            open(path)?;
        }
        let (sender, receiver) = sync_channel(QUEUE_BUFFERS);
        let shared = Arc::new(Shared::default());
        let writer = Writer { output, file: None, shared: Arc::clone(&shared), reported: 0 };
        let thread =
            std::thread::Builder::new().name("records".into()).spawn(move || writer.run(&receiver))?;
        Ok(Sink { sender, shared, thread })
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

    /// A way to ask, from any thread, how many lines were dropped.
    pub fn dropped(&self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all that was handed over is written, but no longer than `patience`: a stalled sink cannot hold
    /// up the process's end. Call it when every [`Lines`] is gone.
    pub fn close(self, patience: Duration) {
        drop(self.sender);
        let clock = Clock::start();
        let deadline = clock.now() + patience;
        while !self.thread.is_finished() && clock.now() < deadline {
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
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
        if let Err(TrySendError::Full(buffer) | TrySendError::Disconnected(buffer)) =
            sender.try_send(Buffer { bytes, lines })
        {
            self.shared.drop_lines(&buffer);
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.flush();
    }
}

struct Writer {
    output: Output,
    file: Option<File>,
    shared: Arc<Shared>,
    reported: u64,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Buffer>) {
        let clock = Clock::start();
        let mut next_report = clock.now() + DROP_REPORT_EVERY;
        loop {
            if next_report <= clock.now() {
                next_report = clock.now() + DROP_REPORT_EVERY;
                self.report_dropped();
            }
            match receiver.recv_timeout(DROP_REPORT_EVERY) {
                Ok(buffer) => {
                    if let Err(error) = self.write(&buffer.bytes) {
                        let before = self.shared.drop_lines(&buffer);
                        if before == self.reported {
                            tracing::warn!(%error, "records cannot be written and are dropped");
                        }
                        self.file = None;
                    }
                    self.shared.keep(buffer.bytes);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.report_dropped();
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &self.output {
            Output::Stdout => write_and_flush(&mut io::stdout().lock(), bytes),
            Output::Stderr => write_and_flush(&mut io::stderr().lock(), bytes),
            Output::File(path) => {
                if self.file.as_ref().is_none_or(|file| was_rotated(file, path)) {
                    self.file = Some(open(path)?);
                }
                self.file.as_mut().map_or(Ok(()), |file| append(file, bytes))
            }
        }
    }

    fn report_dropped(&mut self) {
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        if dropped > self.reported {
            tracing::warn!(records = dropped - self.reported, total = dropped, "records were dropped");
            self.reported = dropped;
        }
    }
}

/// All of it or, as far as the file allows, nothing: a line that a full disk cut in half would spoil the next.
fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let before = file.metadata()?;
    file.write_all(bytes).inspect_err(|_| {
        if before.is_file() {
            let _ = file.set_len(before.len());
        }
    })
}

fn write_and_flush(output: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    output.write_all(bytes)?;
    output.flush()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Whether the name leads to another file than the one that is open, or to none.
fn was_rotated(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => open.dev() != named.dev() || open.ino() != named.ino(),
        _ => true,
    }
}
