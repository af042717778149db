//! Windows, trials, and what is carried over.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::message::handling::Handling;

const RULE: BreakerRule = BreakerRule {
    errors_percent: 50,
    over: Duration::from_secs(10),
    at_least: 4,
    open_for: Duration::from_secs(5),
};

fn at(millis: u64) -> Tick {
    Tick(7_000_000_000_000) + Duration::from_millis(millis)
}

fn breaker() -> Arc<Breaker> {
    Breaker::new("api".into(), RULE)
}

fn tell(breaker: &Arc<Breaker>, errors: &[bool], now: Tick) {
    for is_error in errors {
        let permit = breaker.ask(now).unwrap();
        if *is_error { permit.failed(now) } else { permit.succeeded(now) }
    }
}

fn opened() -> Arc<Breaker> {
    let breaker = breaker();
    tell(&breaker, &[true; 4], at(0));
    assert!(is_open(&breaker));
    breaker
}

fn is_open(breaker: &Breaker) -> bool {
    breaker.stance() != Stance::Closed
}

#[test]
fn it_opens_at_its_share_of_enough_requests() {
    let few = breaker();
    tell(&few, &[true; 3], at(0));
    assert!(!is_open(&few), "three are not enough");
    let mixed = breaker();
    tell(&mixed, &[false, false, false, true, true], at(0));
    assert!(!is_open(&mixed), "two of five are below half");
    tell(&mixed, &[true], at(0));
    assert!(is_open(&mixed), "three of six are half");
}

#[test]
fn the_window_slides() {
    let breaker = breaker();
    tell(&breaker, &[true; 3], at(0));
    tell(&breaker, &[false, false, false, false], at(5000));
    tell(&breaker, &[true], at(11_000));
    assert!(!is_open(&breaker), "the first three are forgotten");
    tell(&breaker, &[true; 3], at(11_000));
    assert!(is_open(&breaker));
    let quiet = self::breaker();
    tell(&quiet, &[true; 3], at(0));
    tell(&quiet, &[true], at(1_000_000));
    assert!(!is_open(&quiet), "so is everything after a long time");
}

#[test]
fn open_it_tells_how_long_it_stays_so() {
    let breaker = opened();
    assert_eq!(breaker.ask(at(0)).unwrap_err().seconds, 5);
    assert_eq!(breaker.ask(at(1)).unwrap_err().seconds, 5);
    assert_eq!(breaker.ask(at(4999)).unwrap_err().seconds, 1);
    assert!(breaker.ask(at(5000)).is_ok());
}

#[test]
fn one_trial_decides() {
    let breaker = opened();
    let trial = breaker.ask(at(5000)).unwrap();
    assert_eq!(breaker.ask(at(5000)).unwrap_err(), WHILE_TRIED);
    trial.failed(at(5100));
    assert_eq!(breaker.ask(at(5100)).unwrap_err().seconds, 5);
    breaker.ask(at(10_100)).unwrap().succeeded(at(10_200));
    assert!(!is_open(&breaker));
    tell(&breaker, &[true; 3], at(10_200));
    assert!(!is_open(&breaker), "what was before is forgotten");
}

#[test]
fn a_trial_without_news_lets_the_next_one_try() {
    let breaker = opened();
    drop(breaker.ask(at(5000)).unwrap());
    assert!(is_open(&breaker));
    breaker.ask(at(5000)).unwrap().succeeded(at(5000));
    assert!(!is_open(&breaker));
}

#[test]
fn answers_to_questions_of_before_do_not_count() {
    let breaker = breaker();
    let (good, bad) = (breaker.ask(at(0)).unwrap(), breaker.ask(at(0)).unwrap());
    tell(&breaker, &[true; 4], at(0));
    good.succeeded(at(6000));
    assert!(is_open(&breaker), "only a trial closes it");
    let trial = breaker.ask(at(6000)).unwrap();
    bad.failed(at(6000));
    trial.succeeded(at(6000));
    assert!(!is_open(&breaker));
}

#[test]
fn a_reload_keeps_what_has_the_same_rule() {
    let route = |name: &str, breaker| {
        let handling = Handling { breaker, ..Handling::default() };
        Arc::new(Route { name: name.into(), timeout: None, max_body: 1, handling })
    };
    let before = Breakers::new(&[route("a", Some(RULE)), route("b", Some(RULE)), route("c", None)], None);
    assert!(before.of("c").is_none());
    let other = BreakerRule { at_least: 9, ..RULE };
    let after = Breakers::new(&[route("a", Some(RULE)), route("b", Some(other))], Some(&before));
    assert!(Arc::ptr_eq(before.of("a").unwrap(), after.of("a").unwrap()));
    assert!(!Arc::ptr_eq(before.of("b").unwrap(), after.of("b").unwrap()));
    assert_eq!(after.each().count(), 2);
}

proptest! {
    /// Whatever happens, at most one trial is under way, and when all permits are gone it can be asked again after `open_for`.
    #[test]
    fn it_never_stays_shut(steps in vec((0u8..4, 0u64..3000), 0..300)) {
        let breaker = breaker();
        let (mut held, mut now) = (Vec::new(), 0);
        for (step, later) in steps {
            now += later;
            match step {
                0 => held.extend(breaker.ask(at(now)).ok()),
                1 => if let Some(permit) = held.pop() { Permit::failed(permit, at(now)) },
                2 => if let Some(permit) = held.pop() { Permit::succeeded(permit, at(now)) },
                _ => drop(held.pop()),
            }
            let era = breaker.lock().era;
            let trials = held.iter().filter(|permit| {
                permit.pass.is_some_and(|pass| pass.is_trial && pass.era == era)
            });
            prop_assert!(trials.count() <= 1);
        }
        held.clear();
        let again = breaker.ask(at(now + 5000));
        prop_assert!(again.is_ok());
    }
}
