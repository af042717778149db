//! Where a sink's thread puts lines: a file, an output of the process, the CloudWatch agent, or what others bring.

pub mod agent;
pub mod local;

use std::io;

/// A place that takes lines. It may take its time: only its sink's thread waits.
pub trait Outlet: Send {
    /// Puts whole lines, each with its line feed. Where it tries again and again, it gives up when `give_up` says so.
    fn put(&mut self, lines: &[u8], give_up: &dyn Fn() -> bool) -> Result<(), Lost>;
}

/// Lines that did not arrive.
#[derive(Debug)]
pub struct Lost {
    /// How many.
    pub lines: u64,
    /// Why.
    pub error: io::Error,
}

impl Lost {
    /// All of them.
    pub fn all(lines: &[u8], error: io::Error) -> Lost {
        Lost { lines: count(lines), error }
    }
}

/// Line feeds.
pub(crate) fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}
