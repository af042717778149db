//! What requests, probes and time make of an app.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const CAP: Option<u32> = Some(4);
const REFUSED: Seen = Seen { refused: true, run: 0, last_answer: None };
const NOTHING: Seen = Seen { refused: false, run: 0, last_answer: None };

fn rules() -> Rules {
    Rules {
        has_path: true,
        is_watched: true,
        interval: Duration::from_secs(2),
        healthy_after: 2,
        unhealthy_after: 3,
        patience: Duration::from_secs(5),
    }
}

fn passive() -> Rules {
    Rules { has_path: false, is_watched: false, ..rules() }
}

fn at(millis: u64) -> Tick {
    Tick(1_000_000_000) + Duration::from_millis(millis)
}

fn answered(now: Tick) -> Seen {
    Seen { last_answer: Some(now), ..NOTHING }
}

fn states(change: Option<Change>) -> Option<(State, State)> {
    change.map(|change| (change.from, change.to))
}

fn up(rules: &Rules) -> Condition {
    let mut condition = Condition::new(rules, at(0));
    let change = condition.look(answered(at(0)), CAP, rules, at(0));
    assert_eq!(states(change), Some((State::Unknown, State::Up)));
    assert_eq!(condition.passage(), Passage::Open, "one that was never out needs no ramp");
    condition
}

fn down(rules: &Rules) -> Condition {
    let mut condition = Condition::new(rules, at(0));
    condition.look(REFUSED, CAP, rules, at(0));
    assert_eq!(condition.state(), State::Down);
    condition
}

fn probe(condition: &mut Condition, found: Finding, rules: &Rules, now: Tick) -> Option<Change> {
    assert!(condition.begin(rules, now).is_some(), "no probe is due: {condition:?}");
    condition.probed(found, NOTHING, rules, now)
}

#[test]
fn an_app_that_was_never_seen_up_is_not_waited_for() {
    let rules = passive();
    let mut condition = Condition::new(&rules, at(0));
    assert_eq!((condition.next(&rules), condition.passage()), (Tick::NEVER, Passage::Open));
    assert_eq!(states(condition.look(REFUSED, CAP, &rules, at(1))), Some((State::Unknown, State::Down)));
    assert_eq!(condition.passage(), Passage::Shut);
    let mut probed = Condition::new(&self::rules(), at(0));
    let change = probe(&mut probed, Finding::Refused, &self::rules(), at(0));
    assert_eq!(states(change), Some((State::Unknown, State::Down)));
}

#[test]
fn an_app_that_comes_back_at_once_loses_nobody() {
    let rules = passive();
    let mut condition = up(&rules);
    assert_eq!(states(condition.look(REFUSED, CAP, &rules, at(10))), Some((State::Up, State::Suspect)));
    assert_eq!(condition.passage(), Passage::Ramp(0));
    assert_eq!(condition.begin(&rules, at(10)), Some(Ask::Connect));
    assert_eq!(condition.begin(&rules, at(10)), None, "one at a time");
    assert_eq!(condition.probed(Finding::Refused, NOTHING, &rules, at(11)), None);
    assert_eq!(condition.next(&rules), at(111));
    let change = probe(&mut condition, Finding::Good, &rules, at(111));
    assert_eq!(states(change), Some((State::Suspect, State::Up)));
}

#[test]
fn one_that_comes_back_is_given_more_little_by_little() {
    let rules = passive();
    for (cap, ceilings) in [(Some(4), vec![1, 2]), (Some(5), vec![1, 2, 4]), (None, vec![1, 2, 4, 8])] {
        let mut condition = up(&rules);
        condition.look(REFUSED, cap, &rules, at(0));
        probe(&mut condition, Finding::Good, &rules, at(0));
        for (step, ceiling) in ceilings.iter().enumerate() {
            assert_eq!(condition.passage(), Passage::Ramp(*ceiling));
            let next = at(100 * (step as u64 + 1));
            assert_eq!(condition.next(&rules), next);
            assert_eq!(condition.look(NOTHING, cap, &rules, next), None);
        }
        if cap.is_some() {
            assert_eq!((condition.passage(), condition.next(&rules)), (Passage::Open, Tick::NEVER));
        }
    }
    let mut condition = up(&rules);
    condition.look(REFUSED, None, &rules, at(0));
    probe(&mut condition, Finding::Good, &rules, at(0));
    for step in 1..=10 {
        condition.look(NOTHING, None, &rules, at(100 * step));
    }
    assert_eq!(condition.passage(), Passage::Open, "it ends without a cap as well");
}

#[test]
fn a_wait_that_was_too_long_ends_in_refusals() {
    let rules = passive();
    let mut condition = up(&rules);
    condition.look(REFUSED, CAP, &rules, at(0));
    assert_eq!(condition.begin(&rules, at(0)), Some(Ask::Connect));
    assert_eq!(condition.next(&rules), at(5000), "a probe is under way");
    assert_eq!(condition.look(NOTHING, CAP, &rules, at(4999)), None);
    let change = condition.look(NOTHING, CAP, &rules, at(5000));
    assert_eq!(states(change), Some((State::Suspect, State::Down)));
    assert!(!condition.is_probing(), "it is not waited for either");
    assert_eq!(condition.passage(), Passage::Shut);
    assert_eq!(condition.next(&rules), at(6000), "looked for each second");
    let with_path = self::rules();
    let quick = Rules { interval: Duration::from_millis(500), ..with_path };
    let mut condition = up(&quick);
    condition.look(REFUSED, CAP, &quick, at(0));
    assert_eq!(condition.next(&quick), at(0));
    let change = condition.look(NOTHING, CAP, &quick, at(1500));
    assert_eq!(states(change), Some((State::Suspect, State::Down)), "three intervals are enough");
}

#[test]
fn it_comes_back_after_so_many_good_probes_in_a_row() {
    let rules = rules();
    let mut condition = down(&rules);
    assert_eq!(condition.next(&rules), at(1000), "more often than the interval");
    assert_eq!(probe(&mut condition, Finding::Good, &rules, at(1000)), None);
    assert_eq!(probe(&mut condition, Finding::Status(500), &rules, at(2000)), None);
    assert_eq!(probe(&mut condition, Finding::Good, &rules, at(3000)), None);
    let change = probe(&mut condition, Finding::Good, &rules, at(4000));
    assert_eq!(states(change), Some((State::Down, State::Up)));
    assert_eq!(condition.passage(), Passage::Ramp(1));
}

#[test]
fn failed_probes_count_in_a_row_only() {
    let rules = rules();
    let mut condition = up(&rules);
    let mut now = 0;
    let mut next = |condition: &mut Condition, found| {
        now += 2000;
        states(probe(condition, found, &rules, at(now)))
    };
    assert_eq!(next(&mut condition, Finding::Status(503)), None);
    assert_eq!(next(&mut condition, Finding::Broken), None);
    assert_eq!(next(&mut condition, Finding::Good), None);
    assert_eq!(next(&mut condition, Finding::Status(503)), None);
    assert_eq!(next(&mut condition, Finding::TimedOut), None);
    assert_eq!(next(&mut condition, Finding::Status(404)), Some((State::Up, State::Down)));
}

#[test]
fn saturated_is_not_down() {
    let rules = rules();
    let mut condition = up(&rules);
    for round in 1..10 {
        let now = at(round * 4000);
        assert_eq!(condition.begin(&rules, now), Some(Ask::Path));
        let later = now + Duration::from_secs(1);
        let seen = answered(now + Duration::from_millis(200));
        assert_eq!(condition.probed(Finding::TimedOut, seen, &rules, later), None);
    }
    assert_eq!(condition.state(), State::Up);
}

#[test]
fn requests_that_fail_in_a_row_ask_for_a_probe_and_decide_nothing() {
    let rules = passive();
    let run = Seen { run: 3, ..NOTHING };
    let mut condition = up(&rules);
    assert_eq!(condition.look(Seen { run: 2, ..NOTHING }, CAP, &rules, at(1)), None);
    assert_eq!(condition.next(&rules), Tick::NEVER);
    assert_eq!(condition.look(run, CAP, &rules, at(2)), None);
    assert_eq!(condition.begin(&rules, at(2)), Some(Ask::Anything));
    assert_eq!(condition.probed(Finding::Good, NOTHING, &rules, at(3)), None);
    assert_eq!((condition.state(), condition.next(&rules)), (State::Up, Tick::NEVER));

    condition.look(run, CAP, &rules, at(10));
    assert_eq!(probe(&mut condition, Finding::TimedOut, &rules, at(10)), None);
    assert_eq!(probe(&mut condition, Finding::TimedOut, &rules, at(2010)), None);
    let change = probe(&mut condition, Finding::TimedOut, &rules, at(4010));
    assert_eq!(states(change), Some((State::Up, State::Down)));
    assert_eq!(condition.begin(&rules, at(5010)), Some(Ask::Anything), "a connection proves nothing");
}

#[test]
fn the_regular_probe_is_what_the_configuration_wants() {
    let watched = Rules { is_watched: true, ..passive() };
    let mut condition = Condition::new(&watched, at(0));
    assert_eq!(condition.begin(&watched, at(0)), Some(Ask::Connect));
    condition.probed(Finding::Good, NOTHING, &watched, at(1));
    assert_eq!(condition.next(&watched), at(1001));
    condition.ruled(&passive(), at(500));
    assert_eq!(condition.next(&passive()), Tick::NEVER, "nobody asks any longer");
    condition.ruled(&rules(), at(600));
    assert_eq!(condition.next(&rules()), at(2600));
    assert_eq!(condition.begin(&rules(), at(2600)), Some(Ask::Path));
    condition.skipped(&rules(), at(2600));
    assert_eq!(condition.next(&rules()), at(4600));
}

#[test]
fn a_probe_that_is_under_way_when_a_connection_is_refused_is_given_up() {
    let rules = rules();
    let mut condition = up(&rules);
    assert_eq!(condition.begin(&rules, at(2000)), Some(Ask::Path));
    condition.look(REFUSED, CAP, &rules, at(2100));
    assert!(!condition.is_probing());
    assert_eq!(condition.begin(&rules, at(2100)), Some(Ask::Connect));
}

#[derive(Debug, Clone)]
enum Event {
    Look(bool, u32, bool),
    Begin,
    Probed(Finding),
    Ruled(bool, bool),
}

fn events() -> impl Strategy<Value = Event> {
    let finding = prop_oneof![
        Just(Finding::Good),
        Just(Finding::Refused),
        Just(Finding::TimedOut),
        Just(Finding::Broken),
        (200u16..600).prop_map(Finding::Status),
    ];
    prop_oneof![
        (any::<bool>(), 0u32..6, any::<bool>()).prop_map(|(a, b, c)| Event::Look(a, b, c)),
        Just(Event::Begin),
        finding.prop_map(Event::Probed),
        (any::<bool>(), any::<bool>()).prop_map(|(a, b)| Event::Ruled(a, b)),
    ]
}

proptest! {
    /// Whatever happens: the gate is shut exactly while the app is down, an app that is out is always looked for again,
    /// waiting ends, and the ramp ends.
    #[test]
    fn nobody_waits_forever(steps in vec((events(), 0u64..3000), 0..200), has_path: bool) {
        let mut rules = Rules { has_path, ..rules() };
        let mut condition = Condition::new(&rules, at(0));
        let mut now = 0;
        for (event, later) in steps {
            now += later;
            let before = condition.state();
            let change = match event {
                Event::Look(refused, run, answered) => {
                    let seen = Seen { refused, run, last_answer: answered.then_some(at(now)) };
                    condition.look(seen, CAP, &rules, at(now))
                }
                Event::Begin => { condition.begin(&rules, at(now)); None }
                Event::Probed(found) => condition.probed(found, NOTHING, &rules, at(now)),
                Event::Ruled(has_path, is_watched) => {
                    rules = Rules { has_path, is_watched, ..rules };
                    condition.ruled(&rules, at(now));
                    None
                }
            };
            let told = (before != condition.state()).then(|| (before, condition.state()));
            prop_assert_eq!(states(change), told, "every change is told");
            prop_assert_eq!(condition.passage() == Passage::Shut, condition.state() == State::Down);
            prop_assert_eq!(condition.passage() == Passage::Ramp(0), condition.state() == State::Suspect);
            if condition.state() == State::Down && !condition.is_probing() {
                prop_assert!(condition.next(&rules) <= at(now + 1000));
            }
            if condition.state() == State::Suspect {
                prop_assert!(condition.next(&rules) <= at(now) + rules.suspect_for());
            }
        }
        // Left alone with an app that answers, it ends up and open.
        for _ in 0..100 {
            now += 1000;
            condition.look(NOTHING, CAP, &rules, at(now));
            if condition.is_probing() || condition.begin(&rules, at(now)).is_some() {
                condition.probed(Finding::Good, NOTHING, &rules, at(now));
            }
        }
        let is_open = condition.passage() == Passage::Open;
        prop_assert!(is_open, "{condition:?}");
    }
}
