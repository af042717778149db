//! Windows against a plain model that remembers every second.

use proptest::prelude::*;

use super::*;
use crate::config::model::admin::{Condition, Side};
use crate::limit::quota_use::QuotaUse;

const SECOND: u64 = 1_000_000_000;
const SERVER_ERROR: usize = 4;

fn rule(measure: AlertMeasure, over: u64) -> AlertRule {
    AlertRule {
        name: "rule".to_owned(),
        when: Condition { measure, side: Side::Above, threshold: 0.0 },
        route: None,
        over: Duration::from_secs(over),
        hold: Duration::ZERO,
        cooldown: Duration::from_secs(60),
        min_requests: 1,
    }
}

fn at(second: u64) -> Tick {
    Tick((1_000 + second) * SECOND)
}

/// Requests and errors of two routes.
fn totals(query: (u64, u64), rest: (u64, u64)) -> Totals {
    let mut totals = Totals::default();
    for (name, (requests, errors)) in [("query", query), ("rest", rest)] {
        let route = totals.routes.entry(Arc::from(name)).or_default();
        route.requests[0][1] = requests - errors;
        route.requests[2][SERVER_ERROR] = errors;
        route.throttled = errors * 2;
    }
    totals
}

fn look(window: &mut Window, rule: &AlertRule, second: u64, totals: &Totals) -> Reading {
    window.look(rule, at(second), totals, &Signs::default())
}

#[test]
fn what_was_before_the_first_look_does_not_count() {
    let rule = rule(AlertMeasure::ErrorRate, 60);
    let mut window = Window::new(rule.over);
    assert_eq!(look(&mut window, &rule, 0, &totals((1_000, 1_000), (0, 0))), Reading::TooFew { requests: 0 });
    assert_eq!(look(&mut window, &rule, 1, &totals((1_010, 1_005), (10, 0))), value(0.25));
}

#[test]
fn a_rule_of_a_route_sees_that_route_alone() {
    let mut rule = rule(AlertMeasure::ErrorRate, 60);
    rule.route = Some("rest".to_owned());
    let mut window = Window::new(rule.over);
    look(&mut window, &rule, 0, &Totals::default());
    assert_eq!(look(&mut window, &rule, 1, &totals((100, 100), (4, 1))), value(0.25));
    rule.when.measure = AlertMeasure::ThrottledRate;
    let mut window = Window::new(rule.over);
    look(&mut window, &rule, 0, &Totals::default());
    assert_eq!(look(&mut window, &rule, 1, &totals((100, 100), (4, 1))), value(0.5));
}

#[test]
fn fewer_requests_than_asked_for_are_too_few() {
    let mut rule = rule(AlertMeasure::ErrorRate, 60);
    rule.min_requests = 20;
    let mut window = Window::new(rule.over);
    look(&mut window, &rule, 0, &Totals::default());
    assert_eq!(look(&mut window, &rule, 1, &totals((19, 19), (0, 0))), Reading::TooFew { requests: 19 });
    assert_eq!(look(&mut window, &rule, 2, &totals((20, 20), (0, 0))), value(1.0));
}

#[test]
fn no_request_is_no_share_even_if_none_is_enough() {
    let mut rule = rule(AlertMeasure::P99, 60);
    rule.min_requests = 0;
    let mut window = Window::new(rule.over);
    assert_eq!(look(&mut window, &rule, 0, &Totals::default()), Reading::TooFew { requests: 0 });
}

#[test]
fn percentiles_are_those_of_the_window() {
    let rule = rule(AlertMeasure::P95, 10);
    let mut window = Window::new(rule.over);
    let mut totals = Totals::default();
    let mut seen = Reading::Unknown;
    for second in 0..40 {
        let route = totals.routes.entry(Arc::from("query")).or_default();
        // Slow for twenty seconds, then fast.
        route.duration.record(if second < 20 { 2 * SECOND } else { SECOND / 100 });
        seen = look(&mut window, &rule, second, &totals);
        if second == 19 {
            assert!(matches!(seen, Reading::Value { value, .. } if (1.9..2.2).contains(&value)), "{seen:?}");
        }
    }
    assert!(matches!(seen, Reading::Value { value, .. } if value < 0.02), "{seen:?}");
}

#[test]
fn a_request_rate_is_told_when_its_window_is_full() {
    let rule = rule(AlertMeasure::RequestRate, 10);
    let mut window = Window::new(rule.over);
    for second in 0..10 {
        let reading = look(&mut window, &rule, second, &totals((second * 3, 0), (0, 0)));
        assert_eq!(reading, Reading::TooFew { requests: second * 3 });
    }
    assert_eq!(look(&mut window, &rule, 10, &totals((30, 0), (0, 0))), value(3.0));
    for second in 11..=20 {
        look(&mut window, &rule, second, &totals((30, 0), (0, 0)));
    }
    assert_eq!(look(&mut window, &rule, 21, &totals((30, 0), (0, 0))), value(0.0));
}

#[test]
fn drops_are_those_of_all_sinks_in_the_window() {
    let rule = rule(AlertMeasure::SinkDrops, 10);
    let mut window = Window::new(rule.over);
    let mut totals = Totals::default();
    totals.process.dropped_lines.insert("records", 100);
    assert_eq!(look(&mut window, &rule, 0, &totals), value(0.0));
    totals.process.dropped_lines.insert("records", 103);
    totals.process.dropped_lines.insert("emf", 4);
    assert_eq!(look(&mut window, &rule, 1, &totals), value(7.0));
    assert_eq!(look(&mut window, &rule, 10, &totals), value(7.0));
    assert_eq!(look(&mut window, &rule, 11, &totals), value(0.0));
}

#[test]
fn signs_are_taken_as_they_are() {
    let down = rule(AlertMeasure::UpstreamDown, 10);
    let mut window = Window::new(down.over);
    for (up, expected) in [(Some(false), value(1.0)), (Some(true), value(0.0)), (None, Reading::Unknown)] {
        let signs = Signs { upstream_up: up, quota_used: None };
        assert_eq!(window.look(&down, at(0), &Totals::default(), &signs), expected);
    }
    let quota = rule(AlertMeasure::QuotaUsed, 10);
    let used = Some(QuotaUse { limit: Arc::from("daily"), share: 0.93 });
    let signs = Signs { upstream_up: None, quota_used: used };
    let expected = Reading::Value { value: 0.93, of: Some(Arc::from("daily")) };
    assert_eq!(window.look(&quota, at(0), &Totals::default(), &signs), expected);
    let none = window.look(&quota, at(0), &Totals::default(), &Signs::default());
    assert_eq!(none, Reading::TooFew { requests: 0 });
}

proptest! {
    /// The share told is that of a window that begins at `over` before now, or earlier by less than a step and a
    /// look; and little is kept, however long it takes.
    #[test]
    fn a_window_is_as_long_as_it_says(
        over in 10u64..400,
        seconds in proptest::collection::vec((1u64..4, 0u64..30, 0u64..30), 2..900),
    ) {
        let rule = rule(AlertMeasure::ErrorRate, over);
        let mut window = Window::new(rule.over);
        // Of every look: when, requests and errors since the start.
        let mut all: Vec<(u64, u64, u64)> = Vec::new();
        let (mut now, mut requests, mut errors) = (0, 0, 0);
        for (pause, good, bad) in seconds {
            (now, requests, errors) = (now + pause, requests + good + bad, errors + bad);
            all.push((now, requests, errors));
            let reading = look(&mut window, &rule, now, &totals((requests, errors), (0, 0)));
            prop_assert!(window.samples() <= SAMPLES, "{}", window.samples());
            let share = |(_, before, failed): &(u64, u64, u64)| {
                let new = requests - before;
                if new == 0 { Reading::TooFew { requests: 0 } } else { value((errors - failed) as f64 / new as f64) }
            };
            // Looks are up to 3 s apart here, which a step is rounded up to.
            let longest = over + over / u64::from(STEPS) + 1 + 3;
            let may_begin = |(then, ..): &&(u64, u64, u64)| {
                (now - then >= over && now - then <= longest) || (*then == all[0].0 && now - then < over)
            };
            prop_assert!(all.iter().filter(may_begin).any(|begin| share(begin) == reading), "{reading:?} at {now}");
        }
    }
}
