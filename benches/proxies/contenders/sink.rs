//! A TCP listener that takes access lines away, counts them, and keeps the first few.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::load::socket;
use crate::trouble::{Fallible, io};

const KEPT_BYTES: usize = 64 * 1024;
const QUIET: Duration = Duration::from_millis(300);

/// Where HAProxy's ring is emptied.
pub(super) struct LineSink {
    address: SocketAddr,
    taken: Rc<Taken>,
}

#[derive(Default)]
struct Taken {
    lines: Cell<u64>,
    first: RefCell<Vec<u8>>,
}

impl LineSink {
    pub(super) fn start() -> Fallible<Self> {
        let listener = socket::listen().map_err(io("cannot listen for access lines"))?;
        let address = listener.local_addr().map_err(io("access lines"))?;
        let taken = Rc::new(Taken::default());
        spawn_local(accept(listener, Rc::clone(&taken)));
        Ok(Self { address, taken })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first lines, for a look at them.
    pub(super) fn first_lines(&self) -> String {
        String::from_utf8_lossy(&self.taken.first.borrow()).into_owned()
    }

    /// How many lines came.
    pub(super) fn count(&self) -> u64 {
        self.taken.lines.get()
    }

    /// Returns when no more lines come.
    pub(super) async fn wait_until_quiet(&self) {
        loop {
            let before = self.count();
            sleep(QUIET).await;
            if self.count() == before {
                return;
            }
        }
    }
}

async fn accept(listener: TcpListener, taken: Rc<Taken>) {
    while let Ok((stream, _)) = listener.accept().await {
        spawn_local(take(stream, Rc::clone(&taken)));
    }
}

async fn take(mut stream: TcpStream, taken: Rc<Taken>) {
    loop {
        let read = socket::read(&mut stream, |bytes| {
            let lines = memchr::memchr_iter(b'\n', bytes).count() as u64;
            taken.lines.set(taken.lines.get() + lines);
            let mut first = taken.first.borrow_mut();
            let room = KEPT_BYTES.saturating_sub(first.len()).min(bytes.len());
            first.extend_from_slice(&bytes[..room]);
            bytes.len()
        });
        if !matches!(read.await, Ok(count) if count > 0) {
            return;
        }
    }
}
