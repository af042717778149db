//! Messages on their way to one address: the queue, the pace, and what is tried again when.
//!
//! Invariant: at most [`CAPACITY`] messages wait. A message that is given up was tried at least once, or had to
//! make room, and is returned to whoever asks, so that it can be told.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Tick;

use super::answer::{Fault, Outcome};
use super::rule::Kind;

/// The most messages that wait.
pub const CAPACITY: usize = 64;
/// How long a message is tried.
pub const LIFE: Duration = Duration::from_secs(600);
/// Between two attempts at least, whatever the other side says.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// Between two attempts at most, unless the other side asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The rule, for the log.
    pub rule: String,
    /// What it tells.
    pub kind: Kind,
    /// Of the firing it is about.
    pub id: String,
    /// What is sent.
    pub body: String,
    /// When it came in.
    pub queued: Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this, then [`Outbox::settle`] it.
    Send(Message),
    /// Nothing before then.
    WaitUntil(Tick),
    /// Nothing until a message comes.
    Idle,
    /// Nothing any more: it was closed.
    End,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It was taken, after so many failed attempts in a row, of this and other messages.
    Delivered {
        /// 0 if all is well.
        failures: u32,
    },
    /// It waits for another attempt.
    Again {
        /// What went wrong.
        why: Fault,
        /// Failed attempts in a row.
        failures: u32,
    },
    /// It is given up.
    Dropped {
        /// Which.
        message: Message,
        /// What went wrong last.
        why: Fault,
    },
}

/// The queue.
#[derive(Debug)]
pub struct Outbox {
    waiting: VecDeque<Message>,
    /// Between two messages at least.
    pace: Duration,
    /// No attempt before.
    not_before: Tick,
    /// Whether `not_before` was our own choice and not the other side's.
    is_our_wait: bool,
    /// Failed attempts in a row.
    failures: u32,
    /// Firings and ends that were taken in last.
    known: VecDeque<(String, bool)>,
    closed: Option<Tick>,
}

impl Outbox {
    /// An empty queue that sends no faster than one message each `pace`.
    pub fn new(pace: Duration) -> Outbox {
        Outbox {
            waiting: VecDeque::new(),
            pace,
            not_before: Tick(0),
            is_our_wait: true,
            failures: 0,
            known: VecDeque::new(),
            closed: None,
        }
    }

    /// Takes a message in, unless it is one that was taken in already; returns the one that had to go for it.
    ///
    /// A newer "still firing" replaces one that waits. In a full queue the oldest message goes that is no firing's
    /// first, or the oldest if all are.
    pub fn push(&mut self, message: Message) -> Option<Message> {
        match message.kind {
            Kind::StillFiring => {
                let is_same = |w: &Message| w.kind == Kind::StillFiring && w.id == message.id;
                self.waiting.retain(|waiting| !is_same(waiting));
            }
            Kind::Fired { .. } | Kind::Resolved(_) => {
                let name = (message.id.clone(), is_first(&message));
                if self.known.contains(&name) {
                    return None;
                }
                if self.known.len() == CAPACITY {
                    self.known.pop_front();
                }
                self.known.push_back(name);
            }
        }
        let displaced = if self.waiting.len() >= CAPACITY { self.displace() } else { None };
        self.waiting.push_back(message);
        displaced
    }

    /// No message comes any more; what waits is tried once more, until `deadline`.
    pub fn close(&mut self, now: Tick, deadline: Tick) {
        self.closed = Some(self.closed.map_or(deadline, |closed| closed.min(deadline)));
        if self.is_our_wait && self.failures > 0 {
            self.not_before = now;
        }
    }

    /// Forgets what the other side asked for, as it is another one now.
    pub fn begin_anew(&mut self) {
        (self.not_before, self.failures) = (Tick(0), 0);
    }

    /// What is to be done now.
    pub fn next(&mut self, now: Tick) -> Step {
        if let Some(deadline) = self.closed
            && (self.waiting.is_empty() || now.max(self.not_before) >= deadline)
        {
            return Step::End;
        }
        if self.waiting.is_empty() {
            return Step::Idle;
        }
        if now < self.not_before {
            return Step::WaitUntil(self.not_before);
        }
        self.waiting.pop_front().map_or(Step::Idle, Step::Send)
    }

    /// How an attempt ended; `random` is from 0 to 1.
    pub fn settle(&mut self, message: Message, outcome: Outcome, now: Tick, random: f64) -> Settled {
        let failures = self.failures;
        (self.is_our_wait, self.not_before) = (true, now + self.pace);
        match outcome {
            Outcome::Delivered => {
                self.failures = 0;
                Settled::Delivered { failures }
            }
            Outcome::Refused { why } => Settled::Dropped { message, why },
            Outcome::Failed { why, after } => {
                self.failures = failures.saturating_add(1);
                self.is_our_wait = after.is_none();
                let wait = after.unwrap_or_else(|| back_off(self.failures, random));
                self.not_before = now + wait.max(SHORTEST_WAIT).max(self.pace);
                if self.closed.is_some() || self.not_before > message.queued + LIFE {
                    return Settled::Dropped { message, why };
                }
                self.waiting.push_front(message);
                Settled::Again { why, failures: self.failures }
            }
        }
    }

    /// What nobody will send any more.
    pub fn leave(&mut self) -> impl Iterator<Item = Message> {
        self.waiting.drain(..)
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn displace(&mut self) -> Option<Message> {
        let at = self.waiting.iter().position(|waiting| !is_first(waiting)).unwrap_or(0);
        self.waiting.remove(at)
    }
}

fn is_first(message: &Message) -> bool {
    matches!(message.kind, Kind::Fired { .. })
}

/// Doubles with each failure; half of it is left to chance, so that many hosts do not come back as one.
fn back_off(failures: u32, random: f64) -> Duration {
    let doubled = SHORTEST_WAIT * 2_u32.saturating_pow(failures.min(10));
    doubled.min(LONGEST_WAIT).mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests;
