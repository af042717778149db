//! How a client takes an answer that it holds up. Nothing here runs while writes do not have to wait.

use std::fmt;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use crate::alarms::{Alarm, Alarms};
use crate::clock::Tick;
use crate::config::model::Listen;
use crate::message::pace::Pace;

/// How slowly answers may be taken.
#[derive(Debug, Clone, Copy)]
pub struct SendLimits {
    timeout: Duration,
    min_rate: Option<u64>,
}

impl SendLimits {
    /// As configured.
    pub fn of(listen: &Listen) -> SendLimits {
        SendLimits { timeout: listen.send_timeout, min_rate: listen.min_send_rate }
    }
}

/// How a client held an answer up until it was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slowness {
    /// Beyond what the route allows for the whole exchange.
    Route,
    /// It took nothing for `send_timeout`.
    Stopped,
    /// It took less than `min_send_rate`.
    Slow,
}

impl fmt::Display for Slowness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Slowness::Route => "route timeout",
            Slowness::Stopped => "client took nothing of the answer for send_timeout",
            Slowness::Slow => "client took the answer slower than min_send_rate",
        })
    }
}

/// One exchange whose answer had to wait for its client at least once.
#[derive(Debug)]
pub(super) struct Sending {
    alarm: Alarm,
    timeout: Duration,
    pace: Pace,
    /// Bytes the connection had written when this was looked at last.
    seen: u64,
    /// What the alarm will mean.
    next: Slowness,
}

impl Sending {
    /// Of an exchange that began when the connection had written so much. What the kernel holds of its answer counts as
    /// taken: the client has the time to take it at the least rate.
    pub(super) fn new(alarms: &Rc<Alarms>, limits: SendLimits, written: u64) -> Sending {
        let (timeout, pace) = (limits.timeout, Pace::new(limits.min_rate));
        Sending { alarm: Alarm::new(alarms), timeout, pace, seen: written, next: Slowness::Stopped }
    }

    /// A write has to wait, or still has to, when the connection has written so much.
    pub(super) fn poll_wait(&mut self, cx: &Context<'_>, written: u64) -> Option<Slowness> {
        if !self.alarm.is_set() {
            self.pace.moved(written - self.seen);
            self.seen = written;
            let now = self.alarm.recent();
            let (too_slow, stopped): (Tick, Tick) = (self.pace.wait(now), now + self.timeout);
            self.next = if too_slow < stopped { Slowness::Slow } else { Slowness::Stopped };
            self.alarm.set(too_slow.min(stopped));
        }
        self.alarm.poll(cx).is_ready().then_some(self.next)
    }

    /// The client took something.
    pub(super) fn go_on(&mut self) {
        self.pace.go_on(self.alarm.recent());
        self.alarm.clear();
    }
}
