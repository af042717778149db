//! Order, pace, bounds and retries.

use super::*;
use crate::alerts::rule::Ending;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const FIRED: Kind = Kind::Fired { times: 0 };
const OVER: Kind = Kind::Resolved(Ending::Over);
const WHY: Fault = Fault::Status(503);

fn at(seconds: u64) -> Tick {
    Tick((1_000 + seconds) * SECOND)
}

fn message(id: usize, kind: Kind, now: Tick) -> Message {
    Message { rule: "errors".to_owned(), kind, id: id.to_string(), body: String::new(), queued: now }
}

fn slack() -> Outbox {
    Outbox::new(Duration::from_secs(1))
}

fn sent(outbox: &mut Outbox, now: Tick) -> Message {
    match outbox.next(now) {
        Step::Send(message) => message,
        other => panic!("{other:?}"),
    }
}

fn failed(after: Option<u64>) -> Outcome {
    Outcome::Failed { why: WHY, after: after.map(Duration::from_secs) }
}

#[test]
fn messages_go_in_order_and_at_their_pace() {
    let mut outbox = slack();
    for id in 0..3 {
        outbox.push(message(id, FIRED, at(0)));
    }
    for id in 0..3u64 {
        let message = sent(&mut outbox, at(id));
        assert_eq!(message.id, id.to_string());
        outbox.settle(message, Outcome::Delivered, at(id), 0.5);
        if id < 2 {
            assert_eq!(outbox.next(Tick(at(id).0 + SECOND / 2)), Step::WaitUntil(at(id + 1)));
        }
    }
    assert_eq!(outbox.next(at(9)), Step::Idle);
}

#[test]
fn a_full_queue_lets_ends_go_first_and_keeps_firings() {
    let mut outbox = slack();
    for id in 0..CAPACITY {
        let kind = if id == 5 || id == 9 { OVER } else { FIRED };
        assert_eq!(outbox.push(message(id, kind, at(0))), None);
    }
    let displaced: Vec<_> = (100..103).map(|id| outbox.push(message(id, FIRED, at(1))).unwrap().id).collect();
    assert_eq!(displaced, ["5", "9", "0"]);
    assert_eq!(outbox.len(), CAPACITY);
}

#[test]
fn a_message_that_is_known_is_not_sent_twice() {
    let mut outbox = slack();
    outbox.push(message(1, FIRED, at(0)));
    outbox.push(message(1, FIRED, at(0)));
    outbox.push(message(1, OVER, at(0)));
    assert_eq!(outbox.len(), 2);
    let first = sent(&mut outbox, at(0));
    outbox.settle(first, Outcome::Delivered, at(0), 0.5);
    outbox.push(message(1, FIRED, at(1)));
    assert_eq!(outbox.len(), 1);
    // Of "still firing" the newest is enough.
    for body in ["old", "new"] {
        outbox.push(Message { body: body.to_owned(), ..message(2, Kind::StillFiring, at(2)) });
    }
    assert_eq!(outbox.waiting.iter().map(|m| &*m.body).collect::<Vec<_>>(), ["", "new"]);
}

#[test]
fn the_other_sides_wait_is_kept() {
    let mut outbox = slack();
    outbox.push(message(1, FIRED, at(0)));
    let first = sent(&mut outbox, at(0));
    assert!(matches!(outbox.settle(first, failed(Some(30)), at(0), 0.0), Settled::Again { .. }));
    assert_eq!(outbox.next(at(29)), Step::WaitUntil(at(30)));
    assert_eq!(sent(&mut outbox, at(30)).id, "1");
}

#[test]
fn waits_grow_by_themselves_and_end_with_a_success() {
    let mut outbox = slack();
    outbox.push(message(1, FIRED, at(0)));
    outbox.push(message(2, FIRED, at(0)));
    let mut now = at(0);
    let mut waits = Vec::new();
    for _ in 0..6 {
        let message = sent(&mut outbox, now);
        outbox.settle(message, failed(None), now, 1.0);
        let Step::WaitUntil(next) = outbox.next(now) else { panic!() };
        waits.push(next.nanos_since(now) / SECOND);
        now = next;
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 60]);
    let first = sent(&mut outbox, now);
    assert_eq!(outbox.settle(first, Outcome::Delivered, now, 0.5), Settled::Delivered { failures: 6 });
    assert_eq!(outbox.next(now), Step::WaitUntil(now + Duration::from_secs(1)));
}

#[test]
fn a_message_is_given_up_when_it_is_refused_or_old() {
    let mut outbox = slack();
    outbox.push(message(1, FIRED, at(0)));
    let first = sent(&mut outbox, at(0));
    let refused = outbox.settle(first, Outcome::Refused { why: Fault::Status(404) }, at(0), 0.5);
    assert!(matches!(refused, Settled::Dropped { why: Fault::Status(404), .. }));
    outbox.push(message(2, FIRED, at(1)));
    let mut now = at(1);
    let dropped = loop {
        let message = sent(&mut outbox, now);
        match outbox.settle(message, failed(None), now, 0.5) {
            Settled::Again { .. } => {}
            other => break other,
        }
        let Step::WaitUntil(next) = outbox.next(now) else { panic!() };
        assert!(next <= at(1) + LIFE);
        now = next;
    };
    assert!(matches!(dropped, Settled::Dropped { why: WHY, .. }));
    assert_eq!(outbox.next(at(10_000)), Step::Idle);
}

#[test]
fn a_closed_queue_tries_once_more_and_ends() {
    let mut outbox = Outbox::new(Duration::ZERO);
    for id in 0..3 {
        outbox.push(message(id, FIRED, at(0)));
    }
    let first = sent(&mut outbox, at(0));
    outbox.settle(first, failed(None), at(0), 1.0);
    outbox.close(at(1), at(3));
    let first = sent(&mut outbox, at(1));
    outbox.settle(first, Outcome::Delivered, at(1), 0.5);
    let second = sent(&mut outbox, at(1));
    assert!(matches!(outbox.settle(second, failed(None), at(1), 0.5), Settled::Dropped { .. }));
    outbox.close(at(2), at(9));
    assert_eq!(outbox.next(at(3)), Step::End);
    assert_eq!(outbox.leave().count(), 1);
}

#[test]
fn a_closed_queue_does_not_go_back_on_a_wait_it_was_asked_for() {
    let mut outbox = slack();
    outbox.push(message(1, FIRED, at(0)));
    let first = sent(&mut outbox, at(0));
    outbox.settle(first, failed(Some(30)), at(0), 0.5);
    outbox.close(at(1), at(3));
    assert_eq!(outbox.next(at(1)), Step::End);
}

#[test]
fn another_address_is_not_kept_waiting() {
    let mut outbox = slack();
    outbox.push(message(1, FIRED, at(0)));
    let first = sent(&mut outbox, at(0));
    outbox.settle(first, failed(Some(300)), at(0), 0.5);
    outbox.begin_anew();
    assert_eq!(sent(&mut outbox, at(1)).id, "1");
}

proptest! {
    #[test]
    fn the_queue_is_bounded_and_loses_nothing_in_silence(
        steps in proptest::collection::vec((0u8..6, 0u64..90, 0.0f64..1.0), 1..400)
    ) {
        let mut outbox = slack();
        let (mut now, mut pushed, mut gone, mut last_sent) = (at(0), 0usize, 0usize, None);
        for (what, pause, random) in steps {
            match what {
                0..=2 => {
                    let kind = if what == 0 { OVER } else { FIRED };
                    pushed += 1;
                    gone += usize::from(outbox.push(message(pushed, kind, now)).is_some());
                }
                _ => {
                    now = now + Duration::from_secs(pause);
                    let Step::Send(message) = outbox.next(now) else { continue };
                    prop_assert!(last_sent.is_none_or(|last| now >= last + Duration::from_secs(1)));
                    last_sent = Some(now);
                    let outcome = match what {
                        3 => Outcome::Delivered,
                        4 => failed(None),
                        _ => failed(Some(pause * 20)),
                    };
                    let settled = outbox.settle(message, outcome, now, random);
                    gone += usize::from(!matches!(settled, Settled::Again { .. }));
                }
            }
            prop_assert!(outbox.len() <= CAPACITY);
            prop_assert_eq!(outbox.len() + gone, pushed);
        }
    }
}
