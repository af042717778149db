//! Whether the app is well: what requests and probes showed of it, and what follows for those who want in.
//!
//! Pure: the time, the signs and the findings of probes are arguments. What is to be done is told by [`Condition::passage`],
//! [`Condition::next`] and [`Condition::begin`]; what changed is returned, for the log.
//!
//! Invariant: an app that was seen up and refuses a connection is waited for, for a bounded time; nobody is let in
//! meanwhile. Only what probes found takes an app out, and only what probes found brings it back.

use std::time::Duration;

use crate::clock::Tick;

/// Between two connects while it is not known whether the app comes back at once.
const SUSPECT_EVERY: Duration = Duration::from_millis(100);
/// The longest wait between two probes of an app that is down, and between two connects for those who ask for readiness.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two steps of the ramp.
const RAMP_EVERY: Duration = Duration::from_millis(100);
/// Where the ramp ends if there is no cap.
const RAMP_TOP: u32 = 1024;

/// How the app is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Nothing was seen of it yet.
    Unknown = 0,
    /// It answers.
    Up = 1,
    /// It refused a connection just now: it may be restarting.
    Suspect = 2,
    /// It does not answer.
    Down = 3,
}

impl State {
    /// As in answers and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Up => "up",
            State::Suspect => "suspect",
            State::Down => "down",
        }
    }

    /// The state of this number; an unknown one is `Unknown`.
    pub fn of(number: u8) -> State {
        match number {
            1 => State::Up,
            2 => State::Suspect,
            3 => State::Down,
            _ => State::Unknown,
        }
    }
}

/// What a probe asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// A connection, and nothing on it.
    Connect,
    /// The path of the configuration, with a status that is expected.
    Path,
    /// Any answer at all, to `OPTIONS /`.
    Anything,
}

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// What it asked for.
    Good,
    /// No connection.
    Refused,
    /// Nothing in time.
    TimedOut,
    /// An answer of another status.
    Status(u16),
    /// No answer, or a malformed one.
    Broken,
}

/// What requests showed since it was last looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// A connection was refused.
    pub refused: bool,
    /// Requests in a row that timed out, were cut off, or were answered with 5xx.
    pub run: u32,
    /// When the app last answered a request.
    pub last_answer: Option<Tick>,
}

/// What the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Whether there is a path to ask for.
    pub has_path: bool,
    /// Whether somebody wants to know although no request comes.
    pub is_watched: bool,
    /// Between two probes.
    pub interval: Duration,
    /// Probes in a row that bring it back; at least 1.
    pub healthy_after: u32,
    /// Failed probes, or requests, in a row that count; at least 1.
    pub unhealthy_after: u32,
    /// How long requests wait for an app that is being restarted.
    pub patience: Duration,
}

impl Rules {
    /// What is asked for regularly, and how often.
    fn regular(&self) -> Option<(Ask, Duration)> {
        match (self.has_path, self.is_watched) {
            (true, _) => Some((Ask::Path, self.interval)),
            (false, true) => Some((Ask::Connect, LOOK_EVERY)),
            (false, false) => None,
        }
    }

    /// How long it may be suspect.
    fn suspect_for(&self) -> Duration {
        match self.has_path {
            true => self.patience.min(self.interval.saturating_mul(self.unhealthy_after)),
            false => self.patience,
        }
    }
}

/// Who is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// As many as the cap says.
    Open,
    /// So many at a time; with 0 everybody waits.
    Ramp(u32),
    /// Nobody, and nobody waits.
    Shut,
}

/// Another state than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub from: State,
    /// Now.
    pub to: State,
    /// What a probe found, if it was one.
    pub found: Option<Finding>,
}

/// The condition of one app.
#[derive(Debug, Clone)]
pub struct Condition {
    state: State,
    /// When it came to that.
    since: Tick,
    /// Probes in a row that were good, while it is down.
    good: u32,
    /// Probes in a row that were not.
    bad: u32,
    /// Requests failed in a row: a connection alone proves nothing.
    is_doubted: bool,
    /// The ceiling while it comes back, and when it is raised.
    ramp: Option<(u32, Tick)>,
    next_probe: Tick,
    begun: Option<(Ask, Tick)>,
}

impl Condition {
    /// Of an app of which nothing is known.
    pub fn new(rules: &Rules, now: Tick) -> Condition {
        Condition {
            state: State::Unknown,
            since: now,
            good: 0,
            bad: 0,
            is_doubted: false,
            ramp: None,
            next_probe: if rules.regular().is_some() { now } else { Tick::NEVER },
            begun: None,
        }
    }

    /// How it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether a probe is under way whose finding still matters.
    pub fn is_probing(&self) -> bool {
        self.begun.is_some()
    }

    /// Who is let in.
    pub fn passage(&self) -> Passage {
        match (self.state, self.ramp) {
            (State::Down, _) => Passage::Shut,
            (State::Suspect, _) => Passage::Ramp(0),
            (_, Some((ceiling, _))) => Passage::Ramp(ceiling),
            (_, None) => Passage::Open,
        }
    }

    /// When there is something to do next, if nothing is seen before.
    pub fn next(&self, rules: &Rules) -> Tick {
        let probe = if self.begun.is_some() { Tick::NEVER } else { self.next_probe };
        let ramp = self.ramp.map_or(Tick::NEVER, |(_, at)| at);
        let given_up = match self.state {
            State::Suspect => self.since + rules.suspect_for(),
            _ => Tick::NEVER,
        };
        probe.min(ramp).min(given_up)
    }

    /// Other rules hold from now on.
    pub fn ruled(&mut self, rules: &Rules, now: Tick) {
        self.next_probe = match self.state {
            State::Unknown | State::Up => self.after(rules, now),
            // What is due soon comes soon.
            State::Suspect | State::Down => self.next_probe.min(self.after(rules, now)),
        };
        if self.state == State::Unknown && rules.regular().is_some() {
            self.next_probe = now;
        }
    }

    /// Looks at what requests showed and at the time; `cap` is where the ramp ends.
    pub fn look(&mut self, seen: Seen, cap: Option<u32>, rules: &Rules, now: Tick) -> Option<Change> {
        self.climb(cap, now);
        match self.state {
            State::Unknown if seen.refused => return self.turn(State::Down, None, rules, now),
            State::Unknown if seen.last_answer.is_some() => return self.turn(State::Up, None, rules, now),
            State::Up if seen.refused => return self.turn(State::Suspect, None, rules, now),
            State::Suspect if self.since + rules.suspect_for() <= now => {
                return self.turn(State::Down, None, rules, now);
            }
            State::Unknown | State::Up if seen.run >= rules.unhealthy_after && !self.is_doubted => {
                self.is_doubted = true;
                self.next_probe = now;
            }
            _ => {}
        }
        None
    }

    /// Begins the probe that is due, if one is. Until [`Condition::probed`] there is no other.
    pub fn begin(&mut self, rules: &Rules, now: Tick) -> Option<Ask> {
        if self.begun.is_some() || now < self.next_probe {
            return None;
        }
        let ask = match self.state {
            State::Suspect => Ask::Connect,
            _ if rules.has_path => Ask::Path,
            _ if self.is_doubted => Ask::Anything,
            _ => Ask::Connect,
        };
        self.begun = Some((ask, now));
        Some(ask)
    }

    /// The probe that was begun was not made after all: there is no room for it in an app that answers.
    pub fn skipped(&mut self, rules: &Rules, now: Tick) {
        self.begun = None;
        // It answered requests; that is what a doubt is about.
        self.is_doubted = false;
        self.next_probe = self.after(rules, now);
    }

    /// The probe that was begun has ended.
    pub fn probed(&mut self, found: Finding, seen: Seen, rules: &Rules, now: Tick) -> Option<Change> {
        let (ask, begun) = self.begun.take()?;
        let is_saturated =
            found == Finding::TimedOut && seen.last_answer.is_some_and(|answered| begun < answered);
        let change = match (self.state, found) {
            (State::Unknown | State::Up, _) if is_saturated => None,
            (State::Suspect, Finding::Good) => self.turn(State::Up, Some(found), rules, now),
            (State::Suspect, _) => None,
            (State::Unknown, Finding::Refused) => self.turn(State::Down, Some(found), rules, now),
            (State::Up, Finding::Refused) => self.turn(State::Suspect, Some(found), rules, now),
            (State::Unknown, Finding::Good) => self.turn(State::Up, Some(found), rules, now),
            (State::Up, Finding::Good) => {
                self.bad = 0;
                self.is_doubted &= ask == Ask::Connect;
                None
            }
            (State::Unknown | State::Up, _) => {
                self.bad += 1;
                (self.bad >= rules.unhealthy_after)
                    .then(|| self.turn(State::Down, Some(found), rules, now))
                    .flatten()
            }
            (State::Down, Finding::Good) => {
                self.good += 1;
                (self.good >= rules.healthy_after)
                    .then(|| self.turn(State::Up, Some(found), rules, now))
                    .flatten()
            }
            (State::Down, _) => {
                self.good = 0;
                None
            }
        };
        if change.is_none() {
            self.next_probe = self.after(rules, now);
        }
        change
    }

    /// When the next probe is due after one now.
    fn after(&self, rules: &Rules, now: Tick) -> Tick {
        match self.state {
            State::Suspect => now + SUSPECT_EVERY,
            State::Down => now + rules.interval.min(LOOK_EVERY),
            // One that failed is followed by others until it is clear.
            State::Unknown | State::Up if self.is_doubted || self.bad > 0 => now + rules.interval,
            State::Unknown | State::Up => match rules.regular() {
                Some((_, every)) => now + every,
                None => Tick::NEVER,
            },
        }
    }

    fn turn(&mut self, to: State, found: Option<Finding>, rules: &Rules, now: Tick) -> Option<Change> {
        let from = std::mem::replace(&mut self.state, to);
        let was_out = matches!(from, State::Suspect | State::Down);
        (self.since, self.good, self.bad, self.begun) = (now, 0, 0, None);
        self.ramp = (to == State::Up && was_out).then_some((1, now + RAMP_EVERY));
        if to == State::Up || to == State::Suspect {
            self.is_doubted = false;
        }
        self.next_probe = match to {
            State::Suspect => now,
            _ => self.after(rules, now),
        };
        Some(Change { from, to, found })
    }

    fn climb(&mut self, cap: Option<u32>, now: Tick) {
        if let Some((ceiling, at)) = self.ramp
            && at <= now
        {
            let higher = ceiling.saturating_mul(2);
            self.ramp = (higher < cap.unwrap_or(RAMP_TOP).min(RAMP_TOP)).then(|| (higher, now + RAMP_EVERY));
        }
    }
}

#[cfg(test)]
mod tests;
