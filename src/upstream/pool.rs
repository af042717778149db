//! Idle connections of one worker to the app: last in, first out, no lock.
//!
//! Invariant: a connection taken out was idle for less than `idle_timeout`, and neither closed nor spoken on by the
//! app, as far as the runtime knew at that moment.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

use super::app::App;
use crate::clock::Tick;
use crate::socket::Socket;

/// A connection to the app between two requests, or in one.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub socket: Socket,
    /// What was read and not yet used; empty between requests.
    pub inbox: BytesMut,
}

impl Connection {
    /// A new one.
    pub fn new(socket: Socket) -> Connection {
        Connection { socket, inbox: BytesMut::new() }
    }

    /// Whether nothing came while nobody asked. An idle connection with something to read was closed, or is
    /// out of step.
    fn is_quiet(&mut self) -> bool {
        let mut byte = [0; 1];
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.socket).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }
}

/// The idle connections, and where to make new ones.
#[derive(Debug)]
pub struct Pool {
    /// The app.
    pub app: Arc<App>,
    idle_timeout: Cell<Duration>,
    retired: Cell<bool>,
    idle: RefCell<Vec<(Tick, Connection)>>,
}

impl Pool {
    /// An empty pool.
    pub fn new(app: Arc<App>, idle_timeout: Duration) -> Pool {
        Pool {
            app,
            idle_timeout: Cell::new(idle_timeout),
            retired: Cell::new(false),
            idle: RefCell::new(Vec::new()),
        }
    }

    /// How long a connection may be idle from now on.
    pub fn set_idle_timeout(&self, idle_timeout: Duration) {
        self.idle_timeout.set(idle_timeout);
    }

    /// Closes what is idle, and what comes back from now on: the app is elsewhere.
    pub fn retire(&self) {
        self.retired.set(true);
        self.idle.borrow_mut().clear();
    }

    /// The connection that was used last, if it is still good.
    pub fn take(&self, now: Tick) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some((since, mut connection)) = idle.pop() {
            if since + self.idle_timeout.get() <= now {
                // All others have been idle for longer.
                idle.clear();
                return None;
            }
            if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Puts a connection back after an exchange that ended in step.
    pub fn put(&self, mut connection: Connection, now: Tick) {
        debug_assert!(connection.inbox.is_empty());
        if self.retired.get() {
            return;
        }
        if connection.inbox.capacity() > MAX_IDLE_BUFFER {
            connection.inbox = BytesMut::new();
        }
        self.idle.borrow_mut().push((now, connection));
    }

    /// Idle connections.
    pub fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Whether none is idle.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes what has been idle for too long.
    pub fn sweep(&self, now: Tick) {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.partition_point(|(since, _)| *since + self.idle_timeout.get() <= now);
        idle.drain(..kept);
    }
}

/// Buffer that an idle connection may keep.
const MAX_IDLE_BUFFER: usize = 16 * 1024;
