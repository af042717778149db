//! Whose turn it is.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn all(queue: &mut Queue<&'static str>) -> Vec<&'static str> {
    std::iter::from_fn(|| queue.pop()).collect()
}

#[test]
fn callers_are_served_in_turn_and_each_in_its_own_order() {
    let mut queue = Queue::default();
    for (caller, name) in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (3, "c1"), (3, "c2")] {
        queue.push(caller, Priority::Normal, name);
    }
    assert_eq!(all(&mut queue), ["a1", "b1", "c1", "a2", "c2", "a3"]);
    assert!(queue.is_empty());
}

#[test]
fn a_caller_that_comes_back_waits_for_one_of_each_other() {
    let mut queue = Queue::default();
    for name in ["a1", "a2", "a3"] {
        queue.push(1, Priority::Normal, name);
    }
    queue.push(2, Priority::Normal, "b1");
    assert_eq!(queue.pop(), Some("a1"));
    assert_eq!(queue.pop(), Some("b1"));
    queue.push(2, Priority::Normal, "b2");
    assert_eq!(all(&mut queue), ["a2", "b2", "a3"]);
}

#[test]
fn the_urgent_are_served_first() {
    let mut queue = Queue::default();
    queue.push(1, Priority::Low, "low");
    queue.push(1, Priority::Normal, "normal");
    queue.push(1, Priority::High, "high");
    assert_eq!(all(&mut queue), ["high", "normal", "low"]);
}

#[test]
fn who_leaves_takes_its_place_with_it() {
    let mut queue = Queue::default();
    let places: Vec<Place> =
        ["a1", "a2", "a3"].into_iter().map(|name| queue.push(1, Priority::Normal, name)).collect();
    let alone = queue.push(2, Priority::Normal, "b1");
    assert_eq!(queue.remove(places[1]), "a2");
    assert_eq!(queue.remove(alone), "b1");
    assert_eq!(queue.remove(places[0]), "a1");
    assert_eq!(all(&mut queue), ["a3"]);
}

#[test]
fn the_longest_line_makes_room_and_the_least_urgent_first() {
    let mut queue = Queue::default();
    for name in ["a1", "a2", "a3"] {
        queue.push(1, Priority::Normal, name);
    }
    queue.push(2, Priority::Normal, "b1");
    assert_eq!(queue.least_entitled(1, Priority::Normal), None, "the flood itself");
    assert_eq!(queue.least_entitled(1, Priority::Low), None, "less urgent than all");
    let place = queue.least_entitled(3, Priority::Normal).unwrap();
    assert_eq!(queue.remove(place), "a3");
    queue.push(4, Priority::Low, "d1");
    let place = queue.least_entitled(1, Priority::Normal).unwrap();
    assert_eq!(queue.remove(place), "d1");
}

#[derive(Debug, Clone)]
enum Step {
    Push(u64, Priority),
    Next,
    Leave(usize),
    MakeRoom(u64, Priority),
}

fn step() -> impl Strategy<Value = Step> {
    let priority = || prop::sample::select(Priority::ALL.to_vec());
    prop_oneof![
        4 => (0..5u64, priority()).prop_map(|(caller, priority)| Step::Push(caller, priority)),
        2 => Just(Step::Next),
        1 => (0..50usize).prop_map(Step::Leave),
        1 => (0..5u64, priority()).prop_map(|(caller, priority)| Step::MakeRoom(caller, priority)),
    ]
}

proptest! {
    /// Against a model that looks at everything each time: nobody is lost, nobody is served twice, nobody is passed by
    /// a less urgent one, and no caller is served again before each other that waited at that time was.
    #[test]
    fn nobody_is_lost_or_passed_by(steps in prop::collection::vec(step(), 1..200)) {
        let mut queue = Queue::default();
        let mut waiting: VecDeque<(u64, Priority, u64, Place)> = VecDeque::new();
        let mut passed: Vec<(u64, Priority, u64)> = Vec::new();
        let mut serial = 0;
        for step in steps {
            match step {
                Step::Push(caller, priority) => {
                    serial += 1;
                    let place = queue.push(caller, priority, (caller, priority, serial));
                    waiting.push_back((caller, priority, serial, place));
                }
                Step::Next => {
                    let Some((caller, priority, id)) = queue.pop() else {
                        prop_assert!(waiting.is_empty());
                        continue;
                    };
                    prop_assert!(waiting.iter().all(|(_, other, ..)| *other >= priority));
                    let first = waiting.iter().find(|(c, p, ..)| (*c, *p) == (caller, priority));
                    prop_assert_eq!(first.map(|found| found.2), Some(id));
                    waiting.retain(|found| found.2 != id);
                    // Served while these waited; each of them must come before this caller does again.
                    prop_assert!(!passed.iter().any(|(by, at, _)| (*by, *at) == (caller, priority)));
                    passed.retain(|(_, at, who)| (*at, *who) != (priority, caller));
                    let others: Vec<u64> = waiting.iter().filter(|(c, p, ..)| *p == priority && *c != caller)
                        .map(|found| found.0).collect();
                    passed.extend(others.into_iter().map(|who| (caller, priority, who)));
                }
                Step::Leave(index) if index < waiting.len() => {
                    let Some((caller, priority, id, place)) = waiting.remove(index) else { continue };
                    prop_assert_eq!(queue.remove(place).2, id);
                    if !waiting.iter().any(|(c, p, ..)| (*c, *p) == (caller, priority)) {
                        passed.retain(|(_, at, who)| (*at, *who) != (priority, caller));
                    }
                }
                Step::Leave(_) => {}
                Step::MakeRoom(caller, priority) => {
                    let Some(place) = queue.least_entitled(caller, priority) else { continue };
                    let (who, at, id) = queue.remove(place);
                    let longest = |p: Priority| (0..5).map(|c| waiting.iter().filter(|w| (w.0, w.1) == (c, p)).count()).max();
                    prop_assert!(at >= priority);
                    let of_victim = waiting.iter().filter(|w| (w.0, w.1) == (who, at)).count();
                    prop_assert_eq!(Some(of_victim), longest(at));
                    waiting.retain(|found| found.2 != id);
                    if !waiting.iter().any(|(c, p, ..)| (*c, *p) == (who, at)) {
                        passed.retain(|(_, p, c)| (*p, *c) != (at, who));
                    }
                }
            }
            prop_assert_eq!(queue.len(), waiting.len());
        }
    }
}
