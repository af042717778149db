//! A worker: one thread, and all that its exchanges share without a lock.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use http::HeaderValue;

use crate::alarms::{Alarms, SWEEP_EVERY};
use crate::clock::Clock;
use crate::config::model::IdFormat;
use crate::limit::state::Now;
use crate::message::request_id::RequestId;
use crate::telemetry::measurements::Measurements;
use crate::telemetry::record::Record;
use crate::telemetry::series::{Ended, WorkerSeries};
use crate::upstream::budget::Budget;

use super::current::Current;
use super::health::Health;
use super::interventions::Interventions;
use super::left_behind::AllLeftBehind;
use super::measure::{OfRoute, Series};
use super::peers::{Peers, Place, Refusals};
use super::snapshot::Snapshot;
use super::telling::{Telling, WorkerLines};

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
    /// Where request heads are written.
    pub scratch: RefCell<BytesMut>,
    snapshot: RefCell<Rc<Snapshot>>,
    current: Arc<Current>,
    generation: Cell<u64>,
    telling: RefCell<Telling>,
    random: RefCell<fastrand::Rng>,
    id_room: RefCell<BytesMut>,
    /// Where values of answers' fields are written.
    pub value_room: RefCell<BytesMut>,
    /// The last `Date`, and the second it is of.
    date: RefCell<(u64, HeaderValue)>,
    /// What operators decided by hand.
    pub interventions: Arc<Interventions>,
    /// What is told the load balancer.
    pub health: Arc<Health>,
    /// Memory for bodies that are kept so that the app does not wait for clients.
    pub buffers: Arc<Budget>,
    /// What this worker counts.
    pub series: Arc<WorkerSeries>,
    /// What all of them count.
    pub measurements: Arc<Measurements>,
    /// Requests at the app whose client has left.
    pub left_behind: AllLeftBehind,
    /// Connections of each address.
    pub peers: Arc<Peers>,
    /// Connections that did not begin as they should.
    pub unheaded: Arc<Refusals>,
    seats: Arc<Seats>,
    connections: Cell<usize>,
    draining: Cell<bool>,
    aborting: Cell<bool>,
}

/// What all workers have in common.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What they serve by.
    pub current: Arc<Current>,
    /// Room for connections.
    pub seats: Arc<Seats>,
    /// What operators decided by hand.
    pub interventions: Arc<Interventions>,
    /// What is told the load balancer.
    pub health: Arc<Health>,
    /// Memory for bodies that are kept so that the app does not wait for clients.
    pub buffers: Arc<Budget>,
    /// What is measured.
    pub measurements: Arc<Measurements>,
    /// Connections of each address.
    pub peers: Arc<Peers>,
    /// Connections that did not begin as they should.
    pub unheaded: Arc<Refusals>,
}

/// Accepted connections of all workers.
#[derive(Debug)]
pub struct Seats {
    /// By connections and streams.
    taken: AtomicUsize,
    by_streams: AtomicUsize,
    max: AtomicUsize,
}

impl Seats {
    /// Room for `max` connections.
    pub fn new(max: usize) -> Arc<Seats> {
        Arc::new(Seats {
            taken: AtomicUsize::new(0),
            by_streams: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
        })
    }

    /// Room for so many from now on; those that are seated stay.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Connections that are seated.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed).saturating_sub(self.by_streams.load(Ordering::Relaxed))
    }

    /// The most that may be.
    pub fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }
}

/// A connection's place among `max_connections`, and among those of its address.
#[derive(Debug)]
pub struct Seat {
    worker: Rc<Worker>,
    of_peer: Option<Place>,
}

impl Seat {
    /// With a place among those of the peer's address; `None` if they are all taken.
    pub fn with_peer(mut self, peer: Option<IpAddr>) -> Option<Seat> {
        let Some(peer) = peer else { return Some(self) };
        let snapshot = self.worker.snapshot();
        let listen = &snapshot.model.listen;
        if !listen.trusts(peer) {
            // Counted even without a limit: a reload may bring one.
            self.of_peer = Some(self.worker.peers.enter(peer, listen.max_connections_per_ip)?);
        }
        Some(self)
    }
}

/// A stream's place among `max_connections`: it takes as much memory as a connection with one request.
#[derive(Debug)]
pub struct StreamSeat {
    worker: Rc<Worker>,
}

impl Drop for StreamSeat {
    fn drop(&mut self) {
        self.worker.seats.by_streams.fetch_sub(1, Ordering::Relaxed);
        self.worker.seats.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.worker.seats.taken.fetch_sub(1, Ordering::Relaxed);
        self.worker.connections.set(self.worker.connections.get() - 1);
    }
}

impl Worker {
    /// A worker without connections.
    pub fn new(shared: Shared, lines: WorkerLines, clock: Clock) -> Rc<Worker> {
        let Shared { current, seats, measurements, interventions, health, buffers, peers, unheaded } = shared;
        let series = measurements.worker();
        let prepared = current.get();
        let clock = Rc::new(clock);
        let worker = Rc::new(Worker {
            alarms: Alarms::new(Rc::clone(&clock)),
            clock,
            scratch: RefCell::new(BytesMut::new()),
            snapshot: RefCell::new(Snapshot::new(&prepared, None, &series)),
            current,
            // Looked at again at once: it may have been swapped meanwhile.
            generation: Cell::new(u64::MAX),
            telling: RefCell::new(Telling::new(lines)),
            random: RefCell::new(fastrand::Rng::with_seed(RandomState::new().hash_one(0u8))),
            id_room: RefCell::new(BytesMut::new()),
            value_room: RefCell::new(BytesMut::new()),
            date: RefCell::new((0, HeaderValue::from_static(""))),
            interventions,
            health,
            buffers,
            series,
            measurements,
            left_behind: AllLeftBehind::default(),
            peers,
            unheaded,
            seats,
            connections: Cell::new(0),
            draining: Cell::new(false),
            aborting: Cell::new(false),
        });
        worker.take_over();
        worker
    }

    /// The configuration for one exchange.
    pub fn snapshot(&self) -> Rc<Snapshot> {
        self.take_over();
        Rc::clone(&self.snapshot.borrow())
    }

    /// Takes a swapped configuration over.
    fn take_over(&self) {
        let Some((generation, prepared)) = self.current.newer_than(self.generation.get()) else { return };
        self.generation.set(generation);
        let snapshot = Snapshot::new(&prepared, Some(&self.snapshot.borrow()), &self.series);
        self.snapshot.replace(snapshot);
        prepared.taken_over.fetch_add(1, Ordering::Release);
    }

    /// Whether one more connection could be served.
    pub fn has_seat(&self) -> bool {
        self.seats.taken.load(Ordering::Relaxed) < self.seats.max()
    }

    /// A place for one more connection, if there is one.
    pub fn take_seat(self: &Rc<Worker>) -> Option<Seat> {
        let taken = self.seats.taken.fetch_add(1, Ordering::Relaxed);
        if taken >= self.seats.max() {
            self.seats.taken.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        self.connections.set(self.connections.get() + 1);
        Some(Seat { worker: Rc::clone(self), of_peer: None })
    }

    /// A place for one more stream, if there is one.
    pub fn take_stream_seat(self: &Rc<Worker>) -> Option<StreamSeat> {
        let seats = &self.seats;
        if seats.taken.fetch_add(1, Ordering::Relaxed) >= seats.max() {
            seats.taken.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        seats.by_streams.fetch_add(1, Ordering::Relaxed);
        Some(StreamSeat { worker: Rc::clone(self) })
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

    /// For a WebSocket's handshake: 16 bytes in Base64, of which nothing is to be guessed but that they are some
    /// (RFC 6455 section 4.1).
    pub fn new_websocket_key(&self) -> HeaderValue {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let random = &mut *self.random.borrow_mut();
        let mut key = [b'='; 24];
        key[..21].fill_with(|| DIGITS[random.usize(..DIGITS.len())]);
        // The last digit stands for two bits.
        key[21] = DIGITS[random.usize(..4) * 16];
        HeaderValue::from_bytes(&key).unwrap_or_else(|_| HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
    }

    /// The time as in `Date`, made once a second.
    pub fn date(&self) -> HeaderValue {
        let second = self.clock.unix_nanos(self.clock.recent()) / 1_000_000_000;
        let mut date = self.date.borrow_mut();
        if date.0 != second {
            let text = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(second));
            if let Ok(value) = HeaderValue::try_from(text) {
                *date = (second, value);
            }
        }
        date.1.clone()
    }

    /// A key to mask a WebSocket frame with.
    pub fn new_mask(&self) -> [u8; 4] {
        self.random.borrow_mut().u32(..).to_ne_bytes()
    }

    /// Writes what is told of an exchange that is measured.
    pub fn tell(&self, record: &Record<'_>, ended: &Ended<'_>, of: &Series, route: &OfRoute) {
        self.telling.borrow_mut().tell(record, ended, of, route, &self.series);
    }

    /// Writes a record.
    pub fn record(&self, record: &Record<'_>) {
        self.telling.borrow_mut().record(record);
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
        self.left_behind.clear();
    }

    /// Lets every connection end at the next opportunity.
    pub fn drain(&self) {
        self.draining.set(true);
        self.alarms.wake_all();
    }

    /// Looks after deadlines, buffers and idle connections for as long as the worker lives.
    pub async fn keep_house(&self) {
        let mut last_flush = self.clock.now();
        self.series.beat(last_flush);
        let mut last_quiet = last_flush;
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            self.take_over();
            self.alarms.sweep();
            let now = self.clock.recent();
            self.series.beat(now);
            self.series.idle.set(self.snapshot.borrow().pools.idle() as u64);
            if last_flush + FLUSH_EVERY <= now {
                last_flush = now;
                self.flush();
            }
            if last_quiet + QUIET_SWEEP_EVERY <= now {
                last_quiet = now;
                self.clock.reanchor();
                self.snapshot.borrow().pools.sweep(now);
            }
        }
    }

    /// Hands over the last lines.
    pub fn flush(&self) {
        self.telling.borrow_mut().flush();
    }
}
