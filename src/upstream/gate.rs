//! How many requests the app has at a time, over all workers, and who is let in next.
//!
//! Coming and leaving is one compare-and-swap while nobody waits; without a limit it is one load. Who has to wait stands in
//! a fair [`Queue`] behind a lock, and a slot that gets free there goes to the next without being free in between.
//!
//! Invariant: slots that are given out and counted are never more than the limit was when they were given. A slot is given
//! back by its drop, exactly once.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use smallvec::SmallVec;

use super::queue::{Place, Queue};
use crate::message::handling::Priority;
use crate::message::local_reply::RetryAfter;

/// In [`Gate::word`]: there is no limit, and nobody is counted.
const FREE: u64 = 1 << 63;
/// In [`Gate::word`]: somebody waits, or nobody is let in; the lock must be taken.
const SLOW: u64 = 1 << 62;
/// In [`Gate::word`]: slots that are given out.
const COUNT: u64 = (1 << 32) - 1;
/// The longest wait that a refusal tells.
const LONGEST_RETRY_SECONDS: u64 = 60;

/// Why nobody was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The queue is full of those who have as much right to be there.
    Full,
    /// Somebody with more right took the place.
    Shed,
    /// The app is down.
    Down(RetryAfter),
}

/// What became of a request for a slot.
#[derive(Debug)]
pub enum Admission {
    /// It has one.
    In(Slot),
    /// It waits for one.
    Waiting(Waiting),
    /// It gets none.
    Refused(Refusal),
}

/// A request's place in the app, given back by its drop.
#[derive(Debug)]
#[must_use]
pub struct Slot(Option<Arc<Gate>>);

impl Slot {
    /// Whether it is counted: there is a limit.
    pub fn is_counted(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(gate) = &self.0 {
            gate.leave();
        }
    }
}

/// What was counted at a gate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateFigures {
    /// Requests that had to wait.
    pub queued: u64,
    /// That found the queue full.
    pub full: u64,
    /// That had to make room.
    pub shed: u64,
    /// That waited for too long.
    pub timed_out: u64,
}

#[derive(Debug)]
struct Counters {
    queued: AtomicU64,
    full: AtomicU64,
    shed: AtomicU64,
    timed_out: AtomicU64,
}

/// The gate.
#[derive(Debug)]
pub struct Gate {
    word: AtomicU64,
    limit: AtomicU32,
    inner: Mutex<Inner>,
    counters: Counters,
    /// How long those waited that were let in of late, in nanoseconds.
    usual_wait: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    queue: Queue<Arc<Waiter>>,
    size: usize,
    is_fair: bool,
    cap: Option<u32>,
    ramp: Option<u32>,
    shut: Option<RetryAfter>,
}

impl Inner {
    fn limit(&self) -> Option<u32> {
        match (self.cap, self.ramp) {
            (Some(cap), Some(ramp)) => Some(cap.min(ramp)),
            (cap, ramp) => cap.or(ramp),
        }
    }
}

/// One that waits.
#[derive(Debug)]
struct Waiter {
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Waiting(Option<Waker>),
    Granted { is_counted: bool },
    Refused(Refusal),
    Over,
}

impl Waiter {
    fn settle(&self, outcome: State) -> Option<Waker> {
        match std::mem::replace(&mut *lock(&self.state), outcome) {
            State::Waiting(waker) => waker,
            _ => None,
        }
    }
}

/// A place in the queue; left by its drop.
#[derive(Debug)]
#[must_use]
pub struct Waiting {
    gate: Arc<Gate>,
    waiter: Arc<Waiter>,
    place: Place,
}

/// Woken when the lock is no longer held.
type Wakers = SmallVec<[Waker; 4]>;

impl Gate {
    /// Without a limit; in a queue of `size`, callers are served in turn if it `is_fair`.
    pub fn new(size: usize, is_fair: bool) -> Arc<Gate> {
        Arc::new(Gate {
            word: AtomicU64::new(FREE),
            limit: AtomicU32::new(0),
            inner: Mutex::new(Inner {
                queue: Queue::default(),
                size,
                is_fair,
                cap: None,
                ramp: None,
                shut: None,
            }),
            counters: Counters {
                queued: AtomicU64::new(0),
                full: AtomicU64::new(0),
                shed: AtomicU64::new(0),
                timed_out: AtomicU64::new(0),
            },
            usual_wait: AtomicU64::new(0),
        })
    }

    /// Asks for a slot; `caller` tells whose line it would wait in.
    pub fn enter(self: &Arc<Gate>, caller: impl FnOnce() -> u64, priority: Priority) -> Admission {
        match self.try_enter() {
            Some(slot) => Admission::In(slot),
            None => self.enter_slowly(caller(), priority),
        }
    }

    /// A slot, if one is free and nobody waits for it.
    pub fn try_enter(self: &Arc<Gate>) -> Option<Slot> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if word & FREE != 0 {
                return Some(Slot(None));
            }
            if word & SLOW != 0 || word & COUNT >= u64::from(self.limit.load(Ordering::Relaxed)) {
                return None;
            }
            match self.word.compare_exchange_weak(word, word + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(Slot(Some(Arc::clone(self)))),
                Err(now) => word = now,
            }
        }
    }

    fn enter_slowly(self: &Arc<Gate>, caller: u64, priority: Priority) -> Admission {
        let mut inner = self.lock();
        // From here on whoever leaves looks behind the lock, and finds what is put there.
        let word = self.word.fetch_or(SLOW, Ordering::AcqRel);
        if let Some(retry_after) = inner.shut {
            return Admission::Refused(Refusal::Down(retry_after));
        }
        let Some(limit) = inner.limit() else {
            self.settle_flags(&inner);
            return Admission::In(Slot(None));
        };
        // Only leaving is possible without the lock now, so the count can only have become less.
        if inner.queue.is_empty() && word & COUNT < u64::from(limit) {
            self.word.fetch_add(1, Ordering::AcqRel);
            self.settle_flags(&inner);
            return Admission::In(Slot(Some(Arc::clone(self))));
        }
        let caller = if inner.is_fair { caller } else { 0 };
        let mut shed = None;
        if inner.queue.len() >= inner.size {
            let Some(place) = inner.queue.least_entitled(caller, priority) else {
                self.counters.full.fetch_add(1, Ordering::Relaxed);
                self.settle_flags(&inner);
                return Admission::Refused(Refusal::Full);
            };
            self.counters.shed.fetch_add(1, Ordering::Relaxed);
            shed = inner.queue.remove(place).settle(State::Refused(Refusal::Shed));
        }
        self.counters.queued.fetch_add(1, Ordering::Relaxed);
        let waiter = Arc::new(Waiter { state: Mutex::new(State::Waiting(None)) });
        let place = inner.queue.push(caller, priority, Arc::clone(&waiter));
        drop(inner);
        if let Some(waker) = shed {
            waker.wake();
        }
        Admission::Waiting(Waiting { gate: Arc::clone(self), waiter, place })
    }

    /// A counted slot is given back.
    fn leave(&self) {
        let mut word = self.word.load(Ordering::Acquire);
        while word & SLOW == 0 {
            match self.word.compare_exchange_weak(word, word - 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
        let mut inner = self.lock();
        self.word.fetch_sub(1, Ordering::AcqRel);
        let wakers = self.let_in(&mut inner);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Lets in whoever may come now.
    fn let_in(&self, inner: &mut Inner) -> Wakers {
        let mut wakers = Wakers::new();
        let limit = inner.limit();
        while inner.shut.is_none() {
            let is_counted = match limit {
                None => false,
                Some(limit) if self.word.load(Ordering::Acquire) & COUNT < u64::from(limit) => true,
                Some(_) => break,
            };
            let Some(waiter) = inner.queue.pop() else { break };
            if is_counted {
                self.word.fetch_add(1, Ordering::AcqRel);
            }
            wakers.extend(waiter.settle(State::Granted { is_counted }));
        }
        self.settle_flags(inner);
        wakers
    }

    fn settle_flags(&self, inner: &Inner) {
        let is_free = inner.limit().is_none() && inner.shut.is_none() && inner.queue.is_empty();
        if is_free {
            self.word.fetch_or(FREE, Ordering::AcqRel);
        } else {
            self.word.fetch_and(!FREE, Ordering::AcqRel);
        }
        if inner.shut.is_none() && inner.queue.is_empty() {
            self.word.fetch_and(!SLOW, Ordering::AcqRel);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.lock();
        // Nobody passes without the lock while the limit changes.
        self.word.fetch_or(SLOW, Ordering::AcqRel);
        change(&mut inner);
        self.limit.store(inner.limit().unwrap_or(u32::MAX), Ordering::Relaxed);
        let wakers = self.let_in(&mut inner);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// So many at a time from now on; those that are in stay.
    pub fn set_cap(&self, cap: Option<u32>) {
        self.change(|inner| inner.cap = cap);
    }

    /// Fewer than the cap while the app comes back; 0 lets nobody in, everybody waits.
    pub fn set_ramp(&self, ramp: Option<u32>) {
        self.change(|inner| inner.ramp = ramp);
    }

    /// How the queue is from now on; those that wait stay.
    pub fn set_queue(&self, size: usize, is_fair: bool) {
        self.change(|inner| (inner.size, inner.is_fair) = (size, is_fair));
    }

    /// Refuses everybody who waits and who comes.
    pub fn shut(&self, retry_after: RetryAfter) {
        let mut wakers = Wakers::new();
        self.change(|inner| {
            inner.shut = Some(retry_after);
            while let Some(waiter) = inner.queue.pop() {
                wakers.extend(waiter.settle(State::Refused(Refusal::Down(retry_after))));
            }
        });
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Refuses nobody any longer for being down.
    pub fn open(&self) {
        self.change(|inner| inner.shut = None);
    }

    /// Slots that are given out; 0 without a limit.
    pub fn in_flight(&self) -> u32 {
        (self.word.load(Ordering::Relaxed) & COUNT) as u32
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.lock().queue.len()
    }

    /// The most that may wait.
    pub fn size(&self) -> usize {
        self.lock().size
    }

    /// The most that are let in now.
    pub fn cap(&self) -> Option<u32> {
        self.lock().limit()
    }

    /// What was counted.
    pub fn figures(&self) -> GateFigures {
        let Counters { queued, full, shed, timed_out } = &self.counters;
        let [queued, full, shed, timed_out] =
            [queued, full, shed, timed_out].map(|counter| counter.load(Ordering::Relaxed));
        GateFigures { queued, full, shed, timed_out }
    }

    /// One that was let in had waited so long.
    pub fn waited(&self, nanos: u64) {
        // Several at a time may lose each other's; what stays is as true.
        let usual = self.usual_wait.load(Ordering::Relaxed);
        self.usual_wait.store(usual - usual / 8 + nanos / 8, Ordering::Relaxed);
    }

    /// One gave up after so long.
    pub fn timed_out(&self, nanos: u64) {
        self.counters.timed_out.fetch_add(1, Ordering::Relaxed);
        self.waited(nanos);
    }

    /// When it is worth to try again: after as long as those waited that were let in of late.
    pub fn retry_after(&self) -> RetryAfter {
        let nanos = self.usual_wait.load(Ordering::Relaxed);
        RetryAfter { seconds: nanos.div_ceil(1_000_000_000).clamp(1, LONGEST_RETRY_SECONDS) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Future for Waiting {
    type Output = Result<Slot, Refusal>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Slot, Refusal>> {
        let mut state = lock(&self.waiter.state);
        match &mut *state {
            State::Waiting(waker) => {
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            State::Granted { is_counted } => {
                let slot = Slot(is_counted.then(|| Arc::clone(&self.gate)));
                *state = State::Over;
                Poll::Ready(Ok(slot))
            }
            State::Refused(refusal) => {
                let refusal = *refusal;
                *state = State::Over;
                Poll::Ready(Err(refusal))
            }
            // Polled again after its end: there is nothing left to wait for.
            State::Over => Poll::Ready(Err(Refusal::Full)),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut inner = self.gate.lock();
        // Behind the lock nobody settles it anymore.
        let state = std::mem::replace(&mut *lock(&self.waiter.state), State::Over);
        match state {
            State::Waiting(_) => {
                inner.queue.remove(self.place);
                self.gate.settle_flags(&inner);
            }
            State::Granted { is_counted: true } => {
                drop(inner);
                drop(Slot(Some(Arc::clone(&self.gate))));
            }
            State::Granted { is_counted: false } | State::Refused(_) | State::Over => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
