//! The life of an alert: quiet, pending, firing, and quiet again.
//!
//! Invariant: of each rule, a firing is told once and its end once, in turn. Between the tellings of two firings
//! lies at least the rule's cooldown: what begins anew before waits in silence, and is counted.

use crate::clock::Tick;
use crate::config::model::admin::{AlertRule, Condition, Side};

use super::window::{Reading, Window};

/// An instant on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// To measure with.
    pub tick: Tick,
    /// To tell people: milliseconds since 1970.
    pub unix_ms: u64,
}

/// What somebody is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// The rule, as it was then.
    pub rule: AlertRule,
    /// What of it.
    pub kind: Kind,
    /// What was seen last.
    pub reading: Reading,
    /// Since when the condition holds, or held.
    pub since: Moment,
    /// Now.
    pub at: Moment,
}

/// What is told of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is so.
    Fired {
        /// How often it was so in silence since the last firing was told, this time included; 0 if it was not.
        times: u32,
    },
    /// It is still so, a cooldown later.
    StillFiring,
    /// It is so no more.
    Resolved(Ending),
}

/// Why a firing has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The condition does not hold.
    Over,
    /// The rule was taken away, or asks for something else.
    Withdrawn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Quiet,
    /// The condition holds, and nobody was told.
    Pending {
        since: Moment,
        /// Whether this time was counted as one that had to wait for the cooldown.
        muted: bool,
    },
    /// Somebody was told.
    Firing {
        since: Moment,
        told: Tick,
    },
}

/// A rule with what it has seen.
#[derive(Debug)]
pub struct Watch {
    rule: AlertRule,
    window: Window,
    state: State,
    /// When a firing was told last.
    fired: Option<Tick>,
    /// How often it was so in silence since.
    muted: u32,
    /// What was seen last.
    reading: Reading,
}

impl Watch {
    /// A rule that has seen nothing.
    pub fn new(rule: AlertRule) -> Watch {
        let window = Window::new(rule.over);
        Watch { rule, window, state: State::Quiet, fired: None, muted: 0, reading: Reading::Unknown }
    }

    /// The rule.
    pub fn rule(&self) -> &AlertRule {
        &self.rule
    }

    /// Its window.
    pub fn window_mut(&mut self) -> (&AlertRule, &mut Window) {
        (&self.rule, &mut self.window)
    }

    /// Whether somebody was told, and not yet of the end.
    pub fn is_firing(&self) -> bool {
        matches!(self.state, State::Firing { .. })
    }

    /// Whether another rule looks at the same, so that it can go on with what this one has seen.
    pub fn sees_as(&self, other: &AlertRule) -> bool {
        let rule = &self.rule;
        (&rule.name, rule.when, &rule.route, rule.over) == (&other.name, other.when, &other.route, other.over)
    }

    /// Goes on as another rule that [`Watch::sees_as`] this one.
    pub fn become_rule(&mut self, rule: AlertRule) {
        self.rule = rule;
    }

    /// Takes in what was seen; `now` does not go backwards.
    pub fn step(&mut self, now: Moment, reading: Reading) -> Option<Alert> {
        let holds = match &reading {
            Reading::Value { value, .. } => holds(&self.rule.when, *value),
            Reading::TooFew { .. } => false,
            Reading::Unknown => return None,
        };
        self.reading = reading;
        match (self.state, holds) {
            (State::Quiet, false) => None,
            (State::Quiet, true) => self.pend(now, now, false),
            (State::Pending { since, muted }, true) => self.pend(now, since, muted),
            (State::Pending { .. }, false) => {
                self.state = State::Quiet;
                None
            }
            (State::Firing { since, told }, true) => {
                if now.tick < told + self.rule.cooldown {
                    return None;
                }
                self.state = State::Firing { since, told: now.tick };
                Some(self.alert(Kind::StillFiring, since, now))
            }
            (State::Firing { since, .. }, false) => {
                self.state = State::Quiet;
                Some(self.alert(Kind::Resolved(Ending::Over), since, now))
            }
        }
    }

    /// The end of a rule that is no more.
    pub fn withdraw(self, now: Moment) -> Option<Alert> {
        match self.state {
            State::Firing { since, .. } => Some(self.alert(Kind::Resolved(Ending::Withdrawn), since, now)),
            State::Quiet | State::Pending { .. } => None,
        }
    }

    /// The condition holds since `since`: is it time to tell?
    fn pend(&mut self, now: Moment, since: Moment, mut muted: bool) -> Option<Alert> {
        if now.tick >= since.tick + self.rule.hold {
            let cooling = self.fired.is_some_and(|fired| now.tick < fired + self.rule.cooldown);
            if !cooling {
                let times = if self.muted > 0 { self.muted + u32::from(!muted) } else { 0 };
                (self.fired, self.muted) = (Some(now.tick), 0);
                self.state = State::Firing { since, told: now.tick };
                return Some(self.alert(Kind::Fired { times }, since, now));
            }
            if !muted {
                self.muted = self.muted.saturating_add(1);
                muted = true;
            }
        }
        self.state = State::Pending { since, muted };
        None
    }

    fn alert(&self, kind: Kind, since: Moment, at: Moment) -> Alert {
        Alert { rule: self.rule.clone(), kind, reading: self.reading.clone(), since, at }
    }
}

/// Whether a condition holds for a value; the threshold itself is on neither side.
fn holds(when: &Condition, value: f64) -> bool {
    match when.side {
        Side::Above => value > when.threshold,
        Side::Below => value < when.threshold,
    }
}

#[cfg(test)]
mod tests;
