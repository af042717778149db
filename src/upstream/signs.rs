//! What requests of all workers show of an app, for the thread that watches it.
//!
//! An answer that is not 5xx costs two relaxed loads, and a store now and then. Whatever is worth a look wakes the watcher.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::condition::{Seen, State};
use super::fault::UpstreamFault;
use super::gradient::Tally;
use crate::clock::Tick;

/// In [`Signs::run`]: nobody has looked yet, the first answer is news.
const UNSEEN: u32 = 1 << 31;
/// How exactly the time of the last answer is known.
const ANSWER_EVERY: Duration = Duration::from_millis(50);

/// What one request showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The app took no connection.
    ConnectRefused,
    /// No connection in time.
    ConnectTimeout,
    /// No answer in time.
    ResponseTimeout,
    /// The connection was lost before the answer was whole.
    Died,
    /// The head of an answer came.
    Status(u16),
}

impl Sign {
    /// What a fault shows of the app; `None` if it shows nothing.
    pub fn of(fault: &UpstreamFault) -> Option<Sign> {
        match fault {
            UpstreamFault::Connect(error) => is_refusal(error).then_some(Sign::ConnectRefused),
            UpstreamFault::ConnectTimeout => Some(Sign::ConnectTimeout),
            UpstreamFault::Timeout => Some(Sign::ResponseTimeout),
            UpstreamFault::Died(_) | UpstreamFault::Cut(_) | UpstreamFault::Malformed(_) => Some(Sign::Died),
            // Routes are as impatient as they like, clients leave, and the disk is ours.
            UpstreamFault::RouteTimeout | UpstreamFault::Upload(_) | UpstreamFault::Spill(_) => None,
        }
    }
}

/// Whether it is the app that refuses, and not this process that has no descriptors left.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, NotFound,
        PermissionDenied,
    };
    matches!(
        error.kind(),
        ConnectionRefused
            | ConnectionReset
            | ConnectionAborted
            | NotFound
            | PermissionDenied
            | HostUnreachable
            | NetworkUnreachable
    )
}

/// The signs of one app, and what the watcher makes of them.
#[derive(Debug)]
pub struct Signs {
    /// Failures in a row.
    run: AtomicU32,
    last_answer: AtomicU64,
    refused: AtomicBool,
    /// So many failures in a row are worth a look.
    worth: AtomicU32,
    state: AtomicU8,
    connect_nanos: AtomicU64,
    is_searched: AtomicBool,
    answered: AtomicU64,
    sum_nanos: AtomicU64,
    failed: AtomicU64,
    news: Notify,
}

impl Default for Signs {
    fn default() -> Signs {
        Signs {
            run: AtomicU32::new(UNSEEN),
            last_answer: AtomicU64::new(0),
            refused: AtomicBool::new(false),
            worth: AtomicU32::new(u32::MAX),
            state: AtomicU8::new(State::Unknown as u8),
            connect_nanos: AtomicU64::new(u64::MAX),
            is_searched: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            sum_nanos: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            news: Notify::new(),
        }
    }
}

impl Signs {
    /// A request showed this.
    pub fn saw(&self, sign: Sign, now: Tick) {
        match sign {
            Sign::Status(status) => {
                let last = self.last_answer.load(Ordering::Relaxed);
                if last.saturating_add(ANSWER_EVERY.as_nanos() as u64) < now.0 {
                    self.last_answer.store(now.0, Ordering::Relaxed);
                }
                if status >= 500 {
                    self.failed_once();
                } else if self.run.load(Ordering::Relaxed) != 0
                    && self.run.swap(0, Ordering::Relaxed) >= UNSEEN
                {
                    self.news.notify_one();
                }
            }
            Sign::ConnectRefused => {
                self.count_failure();
                if !self.refused.swap(true, Ordering::AcqRel) {
                    self.news.notify_one();
                }
            }
            Sign::ConnectTimeout | Sign::ResponseTimeout => {
                self.count_failure();
                self.failed_once();
            }
            Sign::Died => self.failed_once(),
        }
    }

    fn failed_once(&self) {
        let before = self.run.fetch_add(1, Ordering::Relaxed);
        // With the first of all the mark is still there, and it is news as well.
        if before.saturating_add(1) >= self.worth.load(Ordering::Relaxed) || before >= UNSEEN {
            self.news.notify_one();
        }
    }

    /// An answer's head took so long. Counted only while the limit is searched for.
    pub fn sample(&self, nanos: u64) {
        if self.is_searched.load(Ordering::Relaxed) {
            self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
            if self.answered.fetch_add(1, Ordering::Relaxed) == 0 {
                self.news.notify_one();
            }
        }
    }

    fn count_failure(&self) {
        if self.is_searched.load(Ordering::Relaxed) && self.failed.fetch_add(1, Ordering::Relaxed) == 0 {
            self.news.notify_one();
        }
    }

    /// What the watcher says of the app.
    pub fn state(&self) -> State {
        State::of(self.state.load(Ordering::Relaxed))
    }

    /// How long the last good probe took to connect, nanoseconds.
    pub fn connect_nanos(&self) -> Option<u64> {
        Some(self.connect_nanos.load(Ordering::Relaxed)).filter(|nanos| *nanos != u64::MAX)
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn set_connect_nanos(&self, nanos: Option<u64>) {
        self.connect_nanos.store(nanos.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many failures in a row wake the watcher, and whether latencies are collected.
    pub(super) fn watch_for(&self, worth: u32, is_searched: bool) {
        self.worth.store(worth, Ordering::Relaxed);
        self.is_searched.store(is_searched, Ordering::Relaxed);
    }

    /// What was seen; a refused connection and a run that was worth a look are told once.
    pub(super) fn take(&self) -> Seen {
        let run = self.run.load(Ordering::Relaxed) & !UNSEEN;
        if run >= self.worth.load(Ordering::Relaxed) {
            self.run.fetch_and(UNSEEN, Ordering::Relaxed);
        }
        let last_answer = self.last_answer.load(Ordering::Relaxed);
        Seen {
            refused: self.refused.swap(false, Ordering::AcqRel),
            run,
            last_answer: (last_answer != 0).then_some(Tick(last_answer)),
        }
    }

    /// What was seen, left as it is.
    pub(super) fn peek(&self) -> Seen {
        let last_answer = self.last_answer.load(Ordering::Relaxed);
        Seen { last_answer: (last_answer != 0).then_some(Tick(last_answer)), ..Seen::default() }
    }

    /// Latencies since this was last asked. The parts are read one after the other: a request more or less in one of them
    /// changes no mean that is worth anything.
    pub(super) fn take_tally(&self) -> Tally {
        Tally {
            sum_nanos: self.sum_nanos.swap(0, Ordering::Relaxed),
            answered: self.answered.swap(0, Ordering::Relaxed),
            failed: self.failed.swap(0, Ordering::Relaxed),
        }
    }

    /// Whether there are latencies to look at.
    pub(super) fn has_tally(&self) -> bool {
        self.answered.load(Ordering::Relaxed) > 0 || self.failed.load(Ordering::Relaxed) > 0
    }

    /// Resolves when there is something to look at.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick(1_000_000_000) + Duration::from_millis(millis)
    }

    #[test]
    fn failures_count_in_a_row_and_are_told_once() {
        let signs = Signs::default();
        signs.watch_for(3, false);
        for sign in
            [Sign::Status(500), Sign::ResponseTimeout, Sign::Status(404), Sign::Died, Sign::Status(503)]
        {
            signs.saw(sign, at(0));
        }
        assert_eq!(signs.take().run, 2, "404 is an answer like any other");
        signs.saw(Sign::ConnectTimeout, at(0));
        assert_eq!((signs.take().run, signs.take().run), (3, 0));
    }

    #[test]
    fn a_refused_connection_is_told_once_and_a_lack_of_descriptors_is_none() {
        let signs = Signs::default();
        let refused = UpstreamFault::Connect(io::ErrorKind::ConnectionRefused.into());
        signs.saw(Sign::of(&refused).unwrap(), at(0));
        assert!(signs.take().refused && !signs.take().refused);
        let too_many_open_files = io::Error::from_raw_os_error(24);
        assert_eq!(Sign::of(&UpstreamFault::Connect(too_many_open_files)), None);
        assert_eq!(Sign::of(&UpstreamFault::RouteTimeout), None);
    }

    #[test]
    fn the_last_answer_is_known_to_fifty_milliseconds() {
        let signs = Signs::default();
        assert_eq!(signs.peek().last_answer, None);
        for (millis, known) in [(0, 0), (50, 0), (51, 51), (90, 51)] {
            signs.saw(Sign::Status(500), at(millis));
            assert_eq!(signs.peek().last_answer, Some(at(known)));
        }
    }

    #[test]
    fn latencies_are_collected_only_while_they_are_wanted() {
        let signs = Signs::default();
        signs.sample(5);
        signs.saw(Sign::ResponseTimeout, at(0));
        assert!(!signs.has_tally());
        signs.watch_for(3, true);
        signs.sample(5);
        signs.sample(7);
        signs.saw(Sign::ResponseTimeout, at(0));
        assert_eq!(signs.take_tally(), Tally { answered: 2, sum_nanos: 12, failed: 1 });
        assert!(!signs.has_tally());
    }
}
