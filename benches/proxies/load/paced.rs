//! A fixed rate, whatever the proxy does (an open loop).
//!
//! Each request has an intended send time. Latency counts from it, so a proxy that stalls pays for
//! everything that had to wait meanwhile. The clock is watched without sleeping, because a timer of
//! a millisecond would be coarser than what is measured; that takes the whole load core.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::{JoinSet, yield_now};

use crate::measure::cpu::CpuMeter;
use crate::trouble::{Fallible, Trouble, io};

use super::answer::Answer;
use super::fleet::Fleet;
use super::requests::Requests;
use super::tls::Stream;
use super::{STRAGGLER_LIMIT, Sample, socket};

/// What the pacer and the readers share.
struct Pace {
    requests: Requests,
    writers: Vec<OwnedWriteHalf>,
    /// Connections without a request, the last used on top.
    free: RefCell<Vec<usize>>,
    /// Intended times of requests that found no free connection.
    waiting: RefCell<VecDeque<Instant>>,
    /// Intended time of the request on each connection.
    intended: Vec<Cell<Instant>>,
    latencies: RefCell<Vec<Duration>>,
    /// Requests intended before this are warm-up.
    measured_from: Cell<Instant>,
    unanswered: Cell<u64>,
    answered: Cell<u64>,
}

/// Sends `rate_per_second` over the connections of `fleet`, which end with it.
pub(crate) async fn run_for(
    fleet: Fleet,
    rate_per_second: u32,
    warm_up: Duration,
    measured: Duration,
    cpu: &CpuMeter,
) -> Fallible<Sample> {
    let (connections, requests) = fleet.into_connections();
    let mut writers = Vec::with_capacity(connections.len());
    let mut readers = Vec::with_capacity(connections.len());
    for connection in connections {
        let (stream, answer) = connection.into_parts();
        let Stream::Plain(stream) = stream else {
            return Err(Trouble::new("a fixed rate is kept without TLS only"));
        };
        let (reader, writer) = stream.into_split();
        writers.push(writer);
        readers.push((reader, answer));
    }
    let started = Instant::now();
    let pace = Rc::new(Pace {
        requests,
        free: RefCell::new((0..writers.len()).collect()),
        intended: writers.iter().map(|_| Cell::new(started)).collect(),
        writers,
        waiting: RefCell::default(),
        latencies: RefCell::default(),
        measured_from: Cell::new(started + warm_up),
        unanswered: Cell::new(0),
        answered: Cell::new(0),
    });
    let mut workers = JoinSet::new();
    for (index, (reader, answer)) in readers.into_iter().enumerate() {
        workers.spawn_local(read_answers(reader, answer, index, Rc::clone(&pace)));
    }
    let interval = Duration::from_secs(1) / rate_per_second;
    let mut next = started;
    next = send_until(&pace, next, interval, started + warm_up, &mut workers).await?;
    let cpu_before = cpu.read()?;
    let answered_before = pace.answered.get();
    let measured_from = Instant::now();
    let end = measured_from + measured;
    send_until(&pace, next, interval, end, &mut workers).await?;
    let elapsed = measured_from.elapsed();
    let requests = pace.answered.get() - answered_before;
    let proxy_cpu = cpu.read()?.since(cpu_before);
    settle(&pace, &mut workers).await?;
    let mut latencies = pace.latencies.take();
    latencies.sort_unstable();
    Ok(Sample { requests, elapsed, proxy_cpu, latencies })
}

/// Sends what is due until `end`, and tells when the next would have been.
async fn send_until(
    pace: &Pace,
    mut next: Instant,
    interval: Duration,
    end: Instant,
    readers: &mut JoinSet<Trouble>,
) -> Fallible<Instant> {
    loop {
        let now = Instant::now();
        while next <= now && next < end {
            pace.send_or_wait(next)?;
            next += interval;
        }
        if now >= end {
            return Ok(next);
        }
        if let Some(ended) = readers.try_join_next() {
            return Err(ended.unwrap_or_else(Trouble::new));
        }
        yield_now().await;
    }
}

/// Waits for the last answers.
async fn settle(pace: &Pace, readers: &mut JoinSet<Trouble>) -> Fallible<()> {
    let limit = Instant::now() + STRAGGLER_LIMIT;
    while pace.unanswered.get() > 0 {
        if let Some(ended) = readers.try_join_next() {
            return Err(ended.unwrap_or_else(Trouble::new));
        }
        if Instant::now() > limit {
            return Err(Trouble::new("requests without an answer at a fixed rate"));
        }
        yield_now().await;
    }
    Ok(())
}

/// Reads one connection's answers until something goes wrong or the run is over.
async fn read_answers(
    mut reader: OwnedReadHalf,
    mut answer: Answer,
    index: usize,
    pace: Rc<Pace>,
) -> Trouble {
    loop {
        match socket::read(&mut reader, |bytes| answer.feed(bytes)).await {
            Ok(Ok(true)) => {
                if let Err(trouble) = pace.answered(index) {
                    return trouble;
                }
            }
            Ok(Ok(false)) => {}
            Ok(Err(trouble)) => return trouble,
            Err(error) => return io("cannot read an answer")(error),
        }
    }
}

impl Pace {
    fn send_or_wait(&self, intended: Instant) -> Fallible<()> {
        self.unanswered.set(self.unanswered.get() + 1);
        let free = self.free.borrow_mut().pop();
        match free {
            Some(index) => self.send(index, intended),
            None => {
                self.waiting.borrow_mut().push_back(intended);
                Ok(())
            }
        }
    }

    fn send(&self, index: usize, intended: Instant) -> Fallible<()> {
        let head = self.requests.next_head();
        self.intended[index].set(intended);
        let written = self.writers[index].try_write(head).map_err(io("cannot send a request"))?;
        if written < head.len() {
            return Err(Trouble::new("the proxy does not read a small request"));
        }
        Ok(())
    }

    fn answered(&self, index: usize) -> Fallible<()> {
        let intended = self.intended[index].get();
        if intended >= self.measured_from.get() {
            self.latencies.borrow_mut().push(intended.elapsed());
        }
        self.unanswered.set(self.unanswered.get() - 1);
        self.answered.set(self.answered.get() + 1);
        let waiting = self.waiting.borrow_mut().pop_front();
        match waiting {
            Some(intended) => self.send(index, intended),
            None => {
                self.free.borrow_mut().push(index);
                Ok(())
            }
        }
    }
}
