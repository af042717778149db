//! Slots, waiting, and who is let in, over threads.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;

use super::*;

fn gate(cap: u32, size: usize) -> Arc<Gate> {
    let gate = Gate::new(size, true);
    gate.set_cap(Some(cap));
    gate
}

fn slot(gate: &Arc<Gate>) -> Slot {
    match gate.enter(|| 0, Priority::Normal) {
        Admission::In(slot) => slot,
        other => panic!("{other:?}"),
    }
}

fn waiting(gate: &Arc<Gate>, caller: u64, priority: Priority) -> Waiting {
    match gate.enter(|| caller, priority) {
        Admission::Waiting(waiting) => waiting,
        other => panic!("{other:?}"),
    }
}

fn refusal(gate: &Arc<Gate>, caller: u64, priority: Priority) -> Refusal {
    match gate.enter(|| caller, priority) {
        Admission::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn poll(waiting: &mut Waiting) -> Poll<Result<Slot, Refusal>> {
    Pin::new(waiting).poll(&mut Context::from_waker(Waker::noop()))
}

fn granted(waiting: &mut Waiting) -> Slot {
    match poll(waiting) {
        Poll::Ready(Ok(slot)) => slot,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_limit_nobody_is_counted() {
    let gate = Gate::new(1, true);
    let slots = [slot(&gate), slot(&gate)];
    assert!(slots.iter().all(|slot| !slot.is_counted()));
    assert_eq!((gate.in_flight(), gate.cap()), (0, None));
}

#[test]
fn a_slot_that_gets_free_goes_to_the_next_in_line() {
    let gate = gate(1, 10);
    let first = slot(&gate);
    let (mut second, mut third) = (waiting(&gate, 1, Priority::Normal), waiting(&gate, 1, Priority::Normal));
    assert!(poll(&mut second).is_pending());
    drop(first);
    assert!(poll(&mut third).is_pending());
    let second = granted(&mut second);
    assert_eq!((gate.in_flight(), gate.waiting()), (1, 1));
    drop(second);
    drop(granted(&mut third));
    assert_eq!((gate.in_flight(), gate.waiting()), (0, 0));
    drop(slot(&gate));
}

#[test]
fn who_leaves_the_queue_or_was_let_in_and_is_gone_leaves_nothing_behind() {
    let gate = gate(1, 10);
    let first = slot(&gate);
    let (gone, unpolled, mut last) = (
        waiting(&gate, 1, Priority::Normal),
        waiting(&gate, 2, Priority::Normal),
        waiting(&gate, 3, Priority::Normal),
    );
    drop(gone);
    drop(first);
    assert!(poll(&mut last).is_pending());
    drop(unpolled);
    drop(granted(&mut last));
    assert_eq!((gate.in_flight(), gate.waiting()), (0, 0));
}

#[test]
fn a_full_queue_refuses_the_flood_and_takes_the_quiet_caller() {
    let gate = gate(1, 2);
    let _first = slot(&gate);
    let mut flood = [waiting(&gate, 1, Priority::Normal), waiting(&gate, 1, Priority::Normal)];
    assert_eq!(refusal(&gate, 1, Priority::Normal), Refusal::Full);
    let _quiet = waiting(&gate, 2, Priority::Normal);
    assert!(poll(&mut flood[0]).is_pending());
    assert!(matches!(poll(&mut flood[1]), Poll::Ready(Err(Refusal::Shed))));
    assert_eq!(refusal(&gate, 3, Priority::Low), Refusal::Full);
    let GateFigures { queued, full, shed, .. } = gate.figures();
    assert_eq!((queued, full, shed), (3, 2, 1));
}

#[test]
fn the_least_urgent_make_room_first() {
    let gate = gate(1, 1);
    let _first = slot(&gate);
    let mut low = waiting(&gate, 1, Priority::Low);
    let mut high = waiting(&gate, 1, Priority::High);
    assert!(matches!(poll(&mut low), Poll::Ready(Err(Refusal::Shed))));
    assert!(poll(&mut high).is_pending());
}

#[test]
fn a_gate_that_is_shut_refuses_at_once_and_opens_again() {
    let gate = gate(1, 10);
    let first = slot(&gate);
    let mut waits = waiting(&gate, 1, Priority::Normal);
    let retry_after = RetryAfter { seconds: 3 };
    gate.shut(retry_after);
    assert!(matches!(poll(&mut waits), Poll::Ready(Err(Refusal::Down(after))) if after == retry_after));
    assert_eq!(refusal(&gate, 1, Priority::High), Refusal::Down(retry_after));
    drop(first);
    assert_eq!(refusal(&gate, 1, Priority::High), Refusal::Down(retry_after));
    gate.open();
    drop(slot(&gate));
    assert_eq!(gate.in_flight(), 0);
}

#[test]
fn a_ramp_keeps_all_waiting_and_lets_them_in_by_and_by() {
    let gate = Gate::new(10, true);
    gate.set_ramp(Some(0));
    let mut all: Vec<Waiting> = (0..4).map(|_| waiting(&gate, 1, Priority::Normal)).collect();
    assert!(all.iter_mut().all(|waiting| poll(waiting).is_pending()));
    gate.set_ramp(Some(1));
    let first = granted(&mut all[0]);
    assert!(first.is_counted() && poll(&mut all[1]).is_pending());
    gate.set_ramp(Some(2));
    let second = granted(&mut all[1]);
    gate.set_ramp(None);
    assert!(!granted(&mut all[2]).is_counted() && !granted(&mut all[3]).is_counted());
    drop((first, second));
    assert_eq!((gate.in_flight(), gate.cap()), (0, None));
    assert!(!slot(&gate).is_counted());
}

#[test]
fn a_higher_cap_lets_in_and_a_lower_one_waits_for_those_that_are_in() {
    let gate = gate(1, 10);
    let first = slot(&gate);
    let mut second = waiting(&gate, 1, Priority::Normal);
    gate.set_cap(Some(2));
    let second = granted(&mut second);
    gate.set_cap(Some(1));
    let mut third = waiting(&gate, 1, Priority::Normal);
    drop(first);
    assert!(poll(&mut third).is_pending());
    drop(second);
    drop(granted(&mut third));
    assert_eq!(gate.in_flight(), 0);
}

#[test]
fn over_threads_never_more_are_in_than_may_and_everybody_gets_in() {
    const CAP: u32 = 3;
    let gate = gate(CAP, 1000);
    let (inside, most, served) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for caller in 0..6 {
            let (gate, inside, most, served) = (&gate, &inside, &most, &served);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for round in 0..3000_u64 {
                    let slot = match gate.enter(|| caller, Priority::ALL[(round % 3) as usize]) {
                        Admission::In(slot) => slot,
                        Admission::Waiting(waiting) if round % 7 == 0 => {
                            drop(waiting);
                            continue;
                        }
                        Admission::Waiting(waiting) => runtime.block_on(waiting).unwrap(),
                        Admission::Refused(refusal) => panic!("{refusal:?}"),
                    };
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    if round % 50 == 0 {
                        thread::yield_now();
                    }
                    inside.fetch_sub(1, Ordering::SeqCst);
                    served.fetch_add(1, Ordering::Relaxed);
                    drop(slot);
                }
            });
        }
    });
    assert!(most.into_inner() <= CAP);
    assert_eq!((gate.in_flight(), gate.waiting()), (0, 0));
    drop((slot(&gate), slot(&gate), slot(&gate)));
}
