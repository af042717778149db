//! The life of an alert, by hand and with any course of a value.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::model::admin::AlertMeasure;

const SECOND: u64 = 1_000_000_000;

fn rule(hold: u64, cooldown: u64) -> AlertRule {
    AlertRule {
        name: "errors".to_owned(),
        when: Condition { measure: AlertMeasure::ErrorRate, side: Side::Above, threshold: 0.05 },
        route: None,
        over: Duration::from_secs(60),
        hold: Duration::from_secs(hold),
        cooldown: Duration::from_secs(cooldown),
        min_requests: 1,
    }
}

fn at(second: u64) -> Moment {
    Moment { tick: Tick((1_000 + second) * SECOND), unix_ms: (1_700_000_000 + second) * 1_000 }
}

fn value(value: f64) -> Reading {
    Reading::Value { value, of: None }
}

/// What is told in each second, of values that are above (`#`) or not (`.`), or not known (`?`).
fn told(watch: &mut Watch, course: &str) -> Vec<(u64, Kind)> {
    let reading = |c| match c {
        '#' => value(0.5),
        '.' => value(0.01),
        ',' => Reading::TooFew { requests: 0 },
        _ => Reading::Unknown,
    };
    let steps = course.chars().enumerate();
    steps.filter_map(|(s, c)| Some((s as u64, watch.step(at(s as u64), reading(c))?.kind))).collect()
}

const FIRED: Kind = Kind::Fired { times: 0 };
const OVER: Kind = Kind::Resolved(Ending::Over);

#[test]
fn a_firing_and_its_end_are_told_once() {
    let mut watch = Watch::new(rule(0, 100));
    assert_eq!(told(&mut watch, "..####..."), [(2, FIRED), (6, OVER)]);
}

#[test]
fn nothing_is_told_before_it_has_held_long_enough() {
    let mut watch = Watch::new(rule(3, 100));
    assert_eq!(told(&mut watch, ".###.####."), [(8, FIRED), (9, OVER)]);
}

#[test]
fn too_few_requests_end_a_firing_and_not_knowing_does_not() {
    let mut watch = Watch::new(rule(0, 100));
    assert_eq!(told(&mut watch, "?#??#?,?"), [(1, FIRED), (6, OVER)]);
}

#[test]
fn what_stays_is_told_again_each_cooldown() {
    let mut watch = Watch::new(rule(0, 3));
    let expected = [(0, FIRED), (3, Kind::StillFiring), (6, Kind::StillFiring), (8, OVER)];
    assert_eq!(told(&mut watch, "########."), expected);
}

#[test]
fn flapping_waits_in_silence_and_is_counted() {
    let mut watch = Watch::new(rule(0, 10));
    // Told at 0; silent at 2, 4, and from 8 on, which is told when ten seconds are over.
    let expected = [(0, FIRED), (1, OVER), (10, Kind::Fired { times: 3 }), (12, OVER)];
    assert_eq!(told(&mut watch, "#.#.#...####."), expected);
}

#[test]
fn silence_that_is_over_is_told_with_the_next_firing() {
    let mut watch = Watch::new(rule(0, 5));
    let expected = [(0, FIRED), (1, OVER), (7, Kind::Fired { times: 2 }), (8, OVER)];
    assert_eq!(told(&mut watch, "#.#....#."), expected);
    let mut calm = Watch::new(rule(0, 5));
    assert_eq!(told(&mut calm, "#......#")[2], (7, FIRED));
}

#[test]
fn an_alert_tells_since_when_it_is_so() {
    let mut watch = Watch::new(rule(2, 10));
    assert_eq!(watch.step(at(0), value(0.5)), None);
    assert_eq!(watch.step(at(1), value(0.6)), None);
    let fired = watch.step(at(2), value(0.7)).unwrap();
    assert_eq!((fired.since, fired.at, fired.reading), (at(0), at(2), value(0.7)));
    let resolved = watch.step(at(9), value(0.0)).unwrap();
    assert_eq!((resolved.since, resolved.at, resolved.reading), (at(0), at(9), value(0.0)));
}

#[test]
fn a_threshold_itself_is_on_neither_side() {
    let above = Condition { measure: AlertMeasure::P99, side: Side::Above, threshold: 2.0 };
    let below = Condition { side: Side::Below, ..above };
    assert!(!holds(&above, 2.0) && holds(&above, 2.1) && !holds(&above, 1.9));
    assert!(!holds(&below, 2.0) && !holds(&below, 2.1) && holds(&below, 1.9));
}

#[test]
fn a_rule_that_goes_away_while_firing_is_resolved() {
    let mut watch = Watch::new(rule(0, 10));
    watch.step(at(0), value(0.5));
    assert_eq!(watch.withdraw(at(3)).unwrap().kind, Kind::Resolved(Ending::Withdrawn));
    assert_eq!(Watch::new(rule(0, 10)).withdraw(at(3)), None);
}

proptest! {
    #[test]
    fn tellings_take_turns_and_keep_their_distance(
        course in proptest::collection::vec((0u64..20, 0.0f64..0.1), 1..300),
        hold in 0u64..10,
        cooldown in 1u64..60,
    ) {
        let rule = rule(hold, cooldown);
        let mut watch = Watch::new(rule.clone());
        let (mut now, mut firing, mut last_told, mut last_fired) = (0, false, None, None);
        // Since when the value is above without a break.
        let mut above_since = None;
        for (pause, seen) in course {
            now += pause;
            above_since = if seen > 0.05 { above_since.or(Some(now)) } else { None };
            let Some(alert) = watch.step(at(now), value(seen)) else { continue };
            match alert.kind {
                Kind::Fired { .. } => {
                    prop_assert!(!firing, "two firings without an end between them");
                    prop_assert!(last_fired.is_none_or(|last| now - last >= cooldown));
                    prop_assert!(above_since.is_some_and(|since| now - since >= hold));
                    (firing, last_fired, last_told) = (true, Some(now), Some(now));
                }
                Kind::StillFiring => {
                    prop_assert!(firing && last_told.is_some_and(|last| now - last >= cooldown));
                    last_told = Some(now);
                }
                Kind::Resolved(_) => {
                    prop_assert!(firing && seen <= 0.05, "an end without a firing");
                    firing = false;
                }
            }
            prop_assert_eq!(watch.is_firing(), firing);
        }
    }

    #[test]
    fn a_value_that_is_never_above_is_never_told(course in proptest::collection::vec((0u64..20, 0.0f64..=0.05), 1..200)) {
        let mut watch = Watch::new(rule(0, 1));
        let mut now = 0;
        for (pause, seen) in course {
            now += pause;
            prop_assert_eq!(watch.step(at(now), value(seen)), None);
        }
    }

    #[test]
    fn what_stays_above_is_told_when_it_has_held(hold in 0u64..30, cooldown in 1u64..60, before in 0u64..30) {
        let mut watch = Watch::new(rule(hold, cooldown));
        let course = (0..=before + hold).map(|s| (s, if s < before { 0.0 } else { 1.0 }));
        let told: Vec<u64> = course.filter_map(|(s, seen)| watch.step(at(s), value(seen)).map(|_| s)).collect();
        prop_assert_eq!(told.first(), Some(&(before + hold)));
    }
}
