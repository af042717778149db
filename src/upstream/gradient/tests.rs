//! The limit that is found for a simulated app of so many workers, under a crowd that never ends.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const STEP_MICROS: u64 = 500;

/// Workers that take the next request of a queue when they have answered one; clients that keep the app as full as the
/// limit allows.
struct App {
    workers: usize,
    service_micros: u64,
    clients: u32,
    now_micros: u64,
    waiting: VecDeque<u64>,
    /// When it came, and when it is answered.
    served: Vec<(u64, u64)>,
    random: fastrand::Rng,
    gradient: Gradient,
    looked_micros: u64,
    tally: Tally,
}

fn at(micros: u64) -> Tick {
    Tick(1_000_000_000_000) + Duration::from_micros(micros)
}

impl App {
    fn new(workers: usize, service_micros: u64, ceiling: u32) -> App {
        App {
            workers,
            service_micros,
            clients: 1000,
            now_micros: 0,
            waiting: VecDeque::new(),
            served: Vec::new(),
            random: fastrand::Rng::with_seed(7),
            gradient: Gradient::new(1, ceiling, 1, 7, at(0)),
            looked_micros: 0,
            tally: Tally::default(),
        }
    }

    fn in_flight(&self) -> u32 {
        (self.waiting.len() + self.served.len()) as u32
    }

    fn run(&mut self, seconds: u64) {
        let end = self.now_micros + seconds * 1_000_000;
        while self.now_micros < end {
            self.now_micros += STEP_MICROS;
            let now = self.now_micros;
            for (came, answered) in self.served.extract_if(.., |(_, answered)| *answered <= now) {
                self.tally.answered += 1;
                self.tally.sum_nanos += (answered - came) * 1000;
            }
            while self.in_flight() < self.gradient.cap().min(self.clients) {
                self.waiting.push_back(now);
            }
            while self.served.len() < self.workers
                && let Some(came) = self.waiting.pop_front()
            {
                // Nine tenths to eleven tenths of the usual.
                let takes = self.service_micros * self.random.u64(900..1100) / 1000;
                self.served.push((came, now + takes));
            }
            if self.looked_micros + 250_000 <= now {
                self.looked_micros = now;
                let (tally, in_flight) = (std::mem::take(&mut self.tally), self.in_flight());
                self.gradient.look(tally, in_flight, at(now));
            }
        }
    }

    /// The limit most of the time: the middle of many looks.
    fn settled(&mut self) -> u32 {
        let mut caps: Vec<u32> = (0..40)
            .map(|_| {
                self.run(1);
                self.gradient.cap()
            })
            .collect();
        caps.sort_unstable();
        caps[caps.len() / 2]
    }

    fn assert_settled(&mut self) {
        let (found, workers) = (self.settled(), self.workers as u32);
        assert!(
            (workers..=2 * workers).contains(&found),
            "{found} for {workers} workers: {:?}",
            self.gradient
        );
    }
}

#[test]
fn it_ends_between_the_number_of_workers_and_twice_that() {
    for workers in [1, 2, 4, 8, 16, 48] {
        let mut app = App::new(workers, 50_000, 200);
        app.run(60);
        app.assert_settled();
    }
}

#[test]
fn it_follows_when_workers_come_and_go() {
    let mut app = App::new(4, 20_000, 200);
    for workers in [4, 16, 3, 8] {
        app.workers = workers;
        app.run(90);
        app.assert_settled();
    }
}

#[test]
fn it_follows_when_requests_become_slower_or_faster() {
    let mut app = App::new(8, 20_000, 200);
    for service_micros in [20_000, 100_000, 10_000, 40_000] {
        app.service_micros = service_micros;
        app.run(150);
        app.assert_settled();
    }
}

#[test]
fn a_limit_that_is_not_reached_stays_as_it_is() {
    let mut app = App::new(8, 20_000, 200);
    app.run(60);
    let found = app.settled();
    app.clients = 1;
    app.run(1);
    let before = app.gradient.cap();
    app.run(300);
    assert_eq!(app.gradient.cap(), before, "{found} was found before");
}

#[test]
fn timeouts_make_it_smaller() {
    let mut gradient = Gradient::new(1, 100, 50, 1, at(0));
    let failed = Tally { failed: 1, ..Tally::default() };
    gradient.look(failed, 50, at(100_000));
    assert_eq!(gradient.cap(), 50, "the window is too short");
    gradient.look(failed, 50, at(250_000));
    assert_eq!(gradient.cap(), 45, "once a window");
}

#[test]
fn the_least_latency_is_measured_anew_at_half_of_the_limit() {
    let mut app = App::new(4, 20_000, 200);
    app.run(20);
    let before = app.settled();
    let mut halves = 0;
    for _ in 0..400 {
        app.run(1);
        halves += u32::from(app.gradient.cap() <= before / 2);
        assert!(app.gradient.cap() >= 1);
    }
    assert!((1..=60).contains(&halves), "{halves} of 400 seconds");
}

proptest! {
    /// Whatever is seen, the limit stays within its bounds.
    #[test]
    fn it_stays_within_its_bounds(
        floor in 1u32..50,
        more in 0u32..200,
        start: u32,
        looks in vec((0u64..1000, any::<u64>(), 0u64..5, 0u32..500, 0u64..5_000_000), 0..200),
    ) {
        let mut gradient = Gradient::new(floor, floor + more, start, 3, at(0));
        let mut now = 0;
        for (answered, sum_nanos, failed, in_flight, later) in looks {
            now += later;
            gradient.look(Tally { answered, sum_nanos, failed }, in_flight, at(now));
            prop_assert!((floor..=floor + more).contains(&gradient.cap()));
        }
        gradient.set_bounds(floor + 3, floor + 5);
        prop_assert!((floor + 3..=floor + 5).contains(&gradient.cap()));
    }
}
