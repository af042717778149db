//! Deadlines of a worker: cheap to set, cheap to clear, late by one sweep at most.
//!
//! A proxy sets several deadlines a request and almost none of them is ever reached. So setting one
//! writes an integer, and one sweep every [`SWEEP_EVERY`] looks for those that have passed. Invariant: a task that
//! polled an alarm is woken by the first sweep after it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

use crate::clock::{Clock, Tick};

/// How late an alarm may be.
pub const SWEEP_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Entry {
    at: Tick,
    waker: Option<Waker>,
}

/// All alarms of a worker.
#[derive(Debug)]
pub struct Alarms {
    clock: Rc<Clock>,
    entries: RefCell<Slab<Entry>>,
}

impl Alarms {
    /// None yet.
    pub fn new(clock: Rc<Clock>) -> Rc<Alarms> {
        Rc::new(Alarms { clock, entries: RefCell::new(Slab::new()) })
    }

    /// Wakes the tasks whose alarms have passed.
    pub fn sweep(&self) {
        let now = self.clock.now();
        self.wake(|entry| entry.at <= now);
    }

    /// Wakes every task that polled an alarm, so that it looks around.
    pub fn wake_all(&self) {
        self.wake(|_| true);
    }

    fn wake(&self, due: impl Fn(&Entry) -> bool) {
        let mut wakers = Vec::new();
        for (_, entry) in self.entries.borrow_mut().iter_mut() {
            if due(entry) {
                wakers.extend(entry.waker.take());
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// One deadline, unset at first. Gone with its owner.
#[derive(Debug)]
pub struct Alarm {
    alarms: Rc<Alarms>,
    key: usize,
}

impl Alarm {
    /// An alarm that is not set.
    pub fn new(alarms: &Rc<Alarms>) -> Alarm {
        let key = alarms.entries.borrow_mut().insert(Entry { at: Tick::NEVER, waker: None });
        Alarm { alarms: Rc::clone(alarms), key }
    }

    /// Sets it, or moves it.
    pub fn set(&self, at: Tick) {
        self.alarms.entries.borrow_mut()[self.key].at = at;
    }

    /// Sets it to `after` the most recent reading of the clock, which is one sweep old at most.
    pub fn set_after(&self, after: Duration) {
        self.set(self.alarms.clock.recent() + after);
    }

    /// Unsets it.
    pub fn clear(&self) {
        self.set(Tick::NEVER);
    }

    /// The most recent reading of the clock it goes by.
    pub fn recent(&self) -> Tick {
        self.alarms.clock.recent()
    }

    /// Whether it is set, passed or not.
    pub fn is_set(&self) -> bool {
        self.alarms.entries.borrow()[self.key].at != Tick::NEVER
    }

    /// Ready once it has passed; the task is woken then.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut entries = self.alarms.entries.borrow_mut();
        let entry = &mut entries[self.key];
        if entry.at <= self.alarms.clock.recent() {
            return Poll::Ready(());
        }
        if !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            entry.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.alarms.entries.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_passes_when_the_clock_does() {
        let clock = Rc::new(Clock::start());
        let alarms = Alarms::new(Rc::clone(&clock));
        let alarm = Alarm::new(&alarms);
        let cx = Context::from_waker(Waker::noop());
        assert!(alarm.poll(&cx).is_pending() && !alarm.is_set());
        alarm.set(clock.now());
        assert!(alarm.poll(&cx).is_ready());
        alarm.set(clock.now() + Duration::from_secs(3600));
        assert!(alarm.poll(&cx).is_pending());
    }

    struct Woken(std::sync::atomic::AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[test]
    fn the_task_that_polled_last_is_the_one_woken() {
        let alarms = Alarms::new(Rc::new(Clock::start()));
        let alarm = Alarm::new(&alarms);
        assert!(alarm.poll(&Context::from_waker(Waker::noop())).is_pending());
        let woken = std::sync::Arc::new(Woken(false.into()));
        let waker = Waker::from(std::sync::Arc::clone(&woken));
        assert!(alarm.poll(&Context::from_waker(&waker)).is_pending());
        alarms.wake_all();
        assert!(woken.0.load(std::sync::atomic::Ordering::Relaxed));
    }
}
