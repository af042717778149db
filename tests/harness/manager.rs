//! The end of a service manager: a real datagram socket that a process tells how it is.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// What `NOTIFY_SOCKET` leads to.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    /// Listens at this path.
    pub fn at(path: PathBuf) -> Manager {
        let socket = UnixDatagram::bind(&path).unwrap();
        Manager { socket, path }
    }

    /// For the variable.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The lines of the next datagram.
    #[track_caller]
    pub fn next(&self) -> Vec<String> {
        self.next_within(PATIENCE).expect("a word from the process")
    }

    /// The same, if one comes in time.
    pub fn next_within(&self, time: Duration) -> Option<Vec<String>> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut buffer = [0; 4096];
        let read = self.socket.recv(&mut buffer).ok()?;
        let text = std::str::from_utf8(&buffer[..read]).unwrap();
        Some(text.lines().map(str::to_owned).collect())
    }

    /// The first datagram with a line that begins so; those before it are dropped.
    #[track_caller]
    pub fn wait_for(&self, line: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.next();
            if told.iter().any(|told| told.starts_with(line)) {
                return told;
            }
            assert!(Instant::now() < deadline, "no `{line}`");
        }
    }

    /// Forgets what has been told so far.
    pub fn forget(&self) {
        while self.next_within(Duration::from_millis(1)).is_some() {}
    }
}
