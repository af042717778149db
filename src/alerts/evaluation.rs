//! All rules together: what they are told once a second, and what they tell.

use crate::config::model::admin::{AlertMeasure, AlertRule};
use crate::limit::quota_use::QuotaUse;
use crate::telemetry::totals::Totals;

use super::rule::{Alert, Moment, Watch};

/// What is not counted, but is so or not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Signs {
    /// Whether the app can be reached, once that is known.
    pub upstream_up: Option<bool>,
    /// The calendar quota that one caller has used most of; `None` if there are no quotas.
    pub quota_used: Option<QuotaUse>,
}

/// The rules in force, each with what it has seen.
#[derive(Debug, Default)]
pub struct Evaluation {
    watches: Vec<Watch>,
}

impl Evaluation {
    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// Whether a rule looks at calendar quotas.
    pub fn asks_for_quotas(&self) -> bool {
        self.watches.iter().any(|watch| watch.rule().when.measure == AlertMeasure::QuotaUsed)
    }

    /// Puts rules into force. One that looks at the same as one of its name before goes on with what that one has
    /// seen. The ends of firings whose rules are no more are returned.
    pub fn replace(&mut self, rules: &[AlertRule], now: Moment) -> Vec<Alert> {
        let mut before = std::mem::take(&mut self.watches);
        for rule in rules {
            let known = before.iter().position(|watch| watch.sees_as(rule));
            let watch = known.map(|at| before.swap_remove(at)).map_or_else(
                || Watch::new(rule.clone()),
                |mut watch| {
                    watch.become_rule(rule.clone());
                    watch
                },
            );
            self.watches.push(watch);
        }
        before.into_iter().filter_map(|watch| watch.withdraw(now)).collect()
    }

    /// Lets the windows of all rules begin with this state of the counters.
    pub fn begin(&mut self, now: Moment, totals: &Totals) {
        for watch in &mut self.watches {
            let (rule, window) = watch.window_mut();
            window.look(rule, now.tick, totals, &Signs::default());
        }
    }

    /// Looks at every rule, once a second; what is to be told, in the order of the rules.
    pub fn look(&mut self, now: Moment, totals: &Totals, signs: &Signs) -> Vec<Alert> {
        let look = |watch: &mut Watch| {
            let (rule, window) = watch.window_mut();
            let reading = window.look(rule, now.tick, totals, signs);
            watch.step(now, reading)
        };
        self.watches.iter_mut().filter_map(look).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::alerts::rule::{Ending, Kind};
    use crate::clock::Tick;
    use crate::config::model::admin::{Condition, Side};

    fn rule(name: &str, measure: AlertMeasure) -> AlertRule {
        AlertRule {
            name: name.to_owned(),
            when: Condition { measure, side: Side::Above, threshold: 0.5 },
            route: None,
            over: Duration::from_secs(60),
            hold: Duration::ZERO,
            cooldown: Duration::from_secs(600),
            min_requests: 1,
        }
    }

    fn at(second: u64) -> Moment {
        Moment { tick: Tick(second * 1_000_000_000), unix_ms: second * 1_000 }
    }

    fn failing(requests: u64) -> Totals {
        let mut totals = Totals::default();
        totals.routes.entry(Arc::from("query")).or_default().requests[0][4] = requests;
        totals
    }

    fn down() -> Signs {
        Signs { upstream_up: Some(false), quota_used: None }
    }

    fn told(alerts: &[Alert]) -> Vec<(&str, Kind)> {
        alerts.iter().map(|alert| (&*alert.rule.name, alert.kind)).collect()
    }

    const FIRED: Kind = Kind::Fired { times: 0 };

    #[test]
    fn every_rule_is_looked_at() {
        let mut all = Evaluation::default();
        assert!(all.is_empty() && !all.asks_for_quotas());
        let rules = [rule("errors", AlertMeasure::ErrorRate), rule("down", AlertMeasure::UpstreamDown)];
        all.replace(&rules, at(0));
        assert_eq!(told(&all.look(at(0), &failing(0), &down())), [("down", FIRED)]);
        assert_eq!(told(&all.look(at(1), &failing(5), &down())), [("errors", FIRED)]);
        assert_eq!(told(&all.look(at(2), &failing(9), &down())), []);
    }

    #[test]
    fn a_reload_keeps_what_the_same_rule_has_seen() {
        let mut all = Evaluation::default();
        let errors = rule("errors", AlertMeasure::ErrorRate);
        all.replace(std::slice::from_ref(&errors), at(0));
        all.look(at(0), &failing(0), &down());
        assert_eq!(told(&all.look(at(1), &failing(5), &down())), [("errors", FIRED)]);
        // Another cooldown, another place, another neighbor: the same rule still.
        let calmer = AlertRule { cooldown: Duration::from_secs(5), ..errors.clone() };
        assert_eq!(all.replace(&[rule("down", AlertMeasure::UpstreamDown), calmer], at(2)), []);
        assert_eq!(told(&all.look(at(2), &failing(9), &down())), [("down", FIRED)]);
        assert_eq!(told(&all.look(at(6), &failing(9), &down())), [("errors", Kind::StillFiring)]);
    }

    #[test]
    fn a_rule_that_asks_for_something_else_begins_anew_and_the_old_firing_ends() {
        let mut all = Evaluation::default();
        let errors = rule("errors", AlertMeasure::ErrorRate);
        all.replace(std::slice::from_ref(&errors), at(0));
        all.look(at(0), &failing(0), &down());
        all.look(at(1), &failing(5), &down());
        let changes = [
            AlertRule { over: Duration::from_secs(30), ..errors.clone() },
            AlertRule { route: Some("query".to_owned()), ..errors.clone() },
            rule("errors", AlertMeasure::ThrottledRate),
        ];
        let mut second = 2;
        for other in changes {
            let ends = all.replace(std::slice::from_ref(&other), at(second));
            assert_eq!(told(&ends), [("errors", Kind::Resolved(Ending::Withdrawn))]);
            all.replace(&[], at(second));
            all.replace(std::slice::from_ref(&errors), at(second));
            all.look(at(second), &failing(5), &down());
            second += 1;
            assert_eq!(told(&all.look(at(second), &failing(5 + second), &down())), [("errors", FIRED)]);
        }
        assert_eq!(told(&all.replace(&[], at(second))), [("errors", Kind::Resolved(Ending::Withdrawn))]);
    }

    #[test]
    fn what_came_before_the_first_look_counts_if_windows_began_before() {
        let mut all = Evaluation::default();
        all.replace(&[rule("errors", AlertMeasure::ErrorRate)], at(0));
        all.begin(at(0), &failing(0));
        assert_eq!(told(&all.look(at(1), &failing(5), &down())), [("errors", FIRED)]);
    }

    #[test]
    fn quotas_are_asked_for_if_a_rule_is_about_them() {
        let mut all = Evaluation::default();
        all.replace(&[rule("quota", AlertMeasure::QuotaUsed)], at(0));
        assert!(all.asks_for_quotas());
    }
}
