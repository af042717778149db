//! A worker: one thread, and all that its exchanges share without a lock.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;

use crate::alarms::{Alarms, SWEEP_EVERY};
use crate::clock::Clock;
use crate::config::model::{IdFormat, Model};
use crate::identity::Keys;
use crate::limit::buckets::Buckets;
use crate::limit::state::Now;
use crate::message::request_id::RequestId;
use crate::telemetry::access_line::AccessLine;
use crate::telemetry::record::Record;
use crate::telemetry::sink::Lines;
use crate::upstream::connect::Destination;
use crate::upstream::pool::Pool;

use super::snapshot::Snapshot;

/// How long a line may wait in a worker's buffer.
const FLUSH_EVERY: Duration = Duration::from_millis(200);
/// How often idle upstream connections and the clock are looked after when nothing else happens.
const QUIET_SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What one worker's connections share.
#[derive(Debug)]
pub struct Worker {
    /// The worker's reader of time.
    pub clock: Rc<Clock>,
    /// The worker's deadlines.
    pub alarms: Rc<Alarms>,
    /// Idle connections to the app.
    pub pool: Rc<Pool>,
    /// Where request heads are written.
    pub scratch: RefCell<BytesMut>,
    snapshot: Rc<Snapshot>,
    lines: RefCell<(AccessLine, Lines)>,
    random: RefCell<fastrand::Rng>,
    id_room: RefCell<BytesMut>,
    /// Where values of answers' fields are written.
    pub value_room: RefCell<BytesMut>,
    seats: Arc<Seats>,
    connections: Cell<usize>,
    draining: Cell<bool>,
    aborting: Cell<bool>,
}

/// What all workers have in common.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The configuration.
    pub model: Arc<Model>,
    /// The app.
    pub destination: Destination,
    /// The API keys that are known, if there is a keys file.
    pub keys: Option<Arc<Keys>>,
    /// The states of limits.
    pub buckets: Arc<Buckets>,
    /// Room for connections.
    pub seats: Arc<Seats>,
}

/// Accepted connections of all workers.
#[derive(Debug)]
pub struct Seats {
    taken: AtomicUsize,
    max: usize,
}

impl Seats {
    /// Room for `max` connections.
    pub fn new(max: usize) -> Arc<Seats> {
        Arc::new(Seats { taken: AtomicUsize::new(0), max })
    }
}

/// A connection's place among `max_connections`.
#[derive(Debug)]
pub struct Seat(Rc<Worker>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.seats.taken.fetch_sub(1, Ordering::Relaxed);
        self.0.connections.set(self.0.connections.get() - 1);
    }
}

impl Worker {
    /// A worker without connections.
    pub fn new(shared: Shared, lines: Lines, clock: Clock) -> Rc<Worker> {
        let Shared { model, destination, keys, buckets, seats } = shared;
        let clock = Rc::new(clock);
        Rc::new(Worker {
            alarms: Alarms::new(Rc::clone(&clock)),
            clock,
            pool: Rc::new(Pool::new(destination, model.upstream.idle_timeout)),
            scratch: RefCell::new(BytesMut::new()),
            snapshot: Snapshot::new(Arc::clone(&model), buckets, keys),
            lines: RefCell::new((AccessLine::default(), lines)),
            random: RefCell::new(fastrand::Rng::with_seed(RandomState::new().hash_one(0u8))),
            id_room: RefCell::new(BytesMut::new()),
            value_room: RefCell::new(BytesMut::new()),
            seats,
            connections: Cell::new(0),
            draining: Cell::new(false),
            aborting: Cell::new(false),
        })
    }

    /// The configuration for one exchange.
    pub fn snapshot(&self) -> Rc<Snapshot> {
        Rc::clone(&self.snapshot)
    }

    /// Whether one more connection could be served.
    pub fn has_seat(&self) -> bool {
        self.seats.taken.load(Ordering::Relaxed) < self.seats.max
    }

    /// A place for one more connection, if there is one.
    pub fn take_seat(self: &Rc<Worker>) -> Option<Seat> {
        let taken = self.seats.taken.fetch_add(1, Ordering::Relaxed);
        if taken >= self.seats.max {
            self.seats.taken.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        self.connections.set(self.connections.get() + 1);
        Some(Seat(Rc::clone(self)))
    }

    /// Connections of this worker.
    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    /// A new request id.
    pub fn new_id(&self, format: IdFormat) -> RequestId {
        let random = self.random.borrow_mut().u128(..);
        let room = &mut *self.id_room.borrow_mut();
        match format {
            IdFormat::Uuid4 => RequestId::uuid4(random, room),
            IdFormat::Uuid7 => RequestId::uuid7(self.clock.unix_nanos(self.clock.recent()), random, room),
        }
    }

    /// Any number.
    pub fn random(&self) -> u32 {
        self.random.borrow_mut().u32(..)
    }

    /// The time on both clocks, as limits want it.
    pub fn now(&self) -> Now {
        let tick = self.clock.now();
        Now { tick, unix_nanos: self.clock.unix_nanos(tick) }
    }

    /// A key to mask a WebSocket frame with.
    pub fn new_mask(&self) -> [u8; 4] {
        self.random.borrow_mut().u32(..).to_ne_bytes()
    }

    /// Writes a record.
    pub fn record(&self, record: &Record<'_>) {
        let (line, lines) = &mut *self.lines.borrow_mut();
        lines.push(|out| line.encode(record, out));
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Whether exchanges are being cut off.
    pub fn is_aborting(&self) -> bool {
        self.aborting.get()
    }

    /// What ends from now on was cut off by us.
    pub fn abort(&self) {
        self.aborting.set(true);
    }

    /// Lets every connection end at the next opportunity.
    pub fn drain(&self) {
        self.draining.set(true);
        self.alarms.wake_all();
    }

    /// Looks after deadlines, buffers and idle connections for as long as the worker lives.
    pub async fn keep_house(&self) {
        let mut last_flush = self.clock.now();
        let mut last_quiet = last_flush;
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            self.alarms.sweep();
            let now = self.clock.recent();
            if last_flush + FLUSH_EVERY <= now {
                last_flush = now;
                self.lines.borrow_mut().1.flush();
            }
            if last_quiet + QUIET_SWEEP_EVERY <= now {
                last_quiet = now;
                self.clock.reanchor();
                self.pool.sweep(now);
            }
        }
    }

    /// Hands over the last lines.
    pub fn flush(&self) {
        self.lines.borrow_mut().1.flush();
    }
}
