//! Watches one app for as long as it is in the configuration: probes it, drives its gate, and finds its limit.
//!
//! Invariant: it sleeps until something is due or a worker saw something. At most one probe of an app is under way.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::app::{App, AppName};
use super::condition::{Ask, Change, Condition, Finding, Passage, Rules, Seen, State};
use super::gate::Slot;
use super::gradient::Gradient;
use super::probe::{Answer, Question};
use crate::clock::{Clock, Tick};
use crate::config::model::Upstream;
use crate::config::model::shield::InFlightCap;
use crate::message::local_reply::RetryAfter;

/// How often latencies are looked at while there are any.
const SEARCH_EVERY: Duration = Duration::from_millis(250);
/// Before the next sign of a request is looked at: a flood of them keeps nobody busy.
const REST: Duration = Duration::from_millis(1);
/// When to come again to an app that is down.
const WHILE_DOWN: RetryAfter = RetryAfter { seconds: 1 };

/// What the configuration in force says of an app.
#[derive(Debug, Clone)]
pub struct Orders {
    rules: Rules,
    path: Option<String>,
    expect: Vec<(u16, u16)>,
    timeout: Duration,
    cap: Option<InFlightCap>,
}

impl Orders {
    /// Of an app; `is_watched` if somebody asks for its readiness.
    pub fn of(name: AppName, upstream: &Upstream, is_watched: bool) -> Orders {
        let health = &upstream.health;
        let cap = match name {
            AppName::Main => upstream.max_in_flight,
            AppName::Canary => upstream.canary.as_ref().and_then(|canary| canary.max_in_flight),
        };
        Orders {
            rules: Rules {
                has_path: health.path.is_some(),
                is_watched,
                interval: health.interval,
                healthy_after: health.healthy_after,
                unhealthy_after: health.unhealthy_after,
                patience: upstream.queue.timeout,
            },
            path: health.path.clone(),
            expect: health.expect.clone(),
            timeout: health.timeout,
            cap,
        }
    }

    fn question(&self, ask: Ask) -> Question {
        Question { ask, path: self.path.clone(), expect: self.expect.clone(), timeout: self.timeout }
    }
}

type Probing = Pin<Box<dyn Future<Output = Answer>>>;

/// Who watches.
#[derive(Debug)]
struct Watcher {
    app: Arc<App>,
    clock: Clock,
    orders: Orders,
    condition: Condition,
    passage: Passage,
    search: Option<Gradient>,
    next_search: Tick,
}

/// Watches an app until its orders end with their sender.
pub async fn watch(app: Arc<App>, mut orders: watch::Receiver<Orders>, clock: Clock) {
    let first = orders.borrow_and_update().clone();
    let now = clock.now();
    let condition = Condition::new(&first.rules, now);
    let mut watcher = Watcher {
        app: Arc::clone(&app),
        clock,
        orders: first,
        condition,
        passage: Passage::Open,
        search: None,
        next_search: Tick::NEVER,
    };
    watcher.take_orders(now);
    let mut probing: Option<Probing> = None;
    loop {
        let now = watcher.clock.now();
        if !watcher.condition.is_probing() {
            probing = None;
        }
        if probing.is_none() {
            probing = watcher.begin(now);
        }
        let next = watcher.next();
        let sleep = async {
            match next {
                Tick::NEVER => pending().await,
                next => tokio::time::sleep(Duration::from_nanos(next.nanos_since(now))).await,
            }
        };
        let found = async {
            match probing.as_mut() {
                Some(probing) => probing.as_mut().await,
                None => pending().await,
            }
        };
        tokio::select! {
            answer = found => {
                probing = None;
                watcher.probed(answer);
            }
            () = app.signs.news() => {
                watcher.look();
                tokio::time::sleep(REST).await;
            }
            () = sleep => watcher.look(),
            changed = orders.changed() => {
                if changed.is_err() {
                    break;
                }
                watcher.orders = orders.borrow_and_update().clone();
                let now = watcher.clock.now();
                watcher.condition.ruled(&watcher.orders.rules, now);
                watcher.take_orders(now);
            }
        }
    }
    // Whoever still waits for it is answered by what it is.
    app.gate.set_ramp(None);
    app.gate.open();
}

impl Watcher {
    fn take_orders(&mut self, now: Tick) {
        let is_searched = match self.orders.cap {
            Some(InFlightCap::Auto { floor, ceiling }) => {
                let search = self
                    .search
                    .get_or_insert_with(|| Gradient::new(floor, ceiling, floor, fastrand::u64(..), now));
                search.set_bounds(floor, ceiling);
                self.app.gate.set_cap(Some(search.cap()));
                true
            }
            _ => {
                self.search = None;
                false
            }
        };
        self.app.signs.watch_for(self.orders.rules.unhealthy_after, is_searched);
    }

    fn next(&self) -> Tick {
        self.condition.next(&self.orders.rules).min(self.next_search)
    }

    /// The probe that is due, if there is one and the app has room for it.
    fn begin(&mut self, now: Tick) -> Option<Probing> {
        let rules = &self.orders.rules;
        let ask = self.condition.begin(rules, now)?;
        let slot = (ask != Ask::Connect).then(|| self.app.gate.try_enter()).flatten();
        let answers = |seen: Seen| seen.last_answer.is_some_and(|last| now < last + rules.interval);
        if ask != Ask::Connect
            && slot.is_none()
            && self.condition.state() == State::Up
            && answers(self.app.signs.peek())
        {
            self.condition.skipped(rules, now);
            return None;
        }
        Some(Box::pin(ask_in(slot, self.orders.question(ask), Arc::clone(&self.app), self.clock.sibling())))
    }

    fn look(&mut self) {
        let now = self.clock.now();
        let seen = self.app.signs.take();
        let change = self.condition.look(seen, self.cap(), &self.orders.rules, now);
        self.follow(change);
        self.search(now);
    }

    fn probed(&mut self, Answer { found, connect_nanos }: Answer) {
        let now = self.clock.now();
        self.app.signs.set_connect_nanos(connect_nanos);
        let change = self.condition.probed(found, self.app.signs.peek(), &self.orders.rules, now);
        self.follow(change);
    }

    /// Where the ramp ends.
    fn cap(&self) -> Option<u32> {
        match self.orders.cap? {
            InFlightCap::Fixed(cap) => Some(cap),
            InFlightCap::Auto { .. } => self.search.as_ref().map(Gradient::cap),
        }
    }

    /// Tells the gate and the log what the condition is.
    fn follow(&mut self, change: Option<Change>) {
        let passage = self.condition.passage();
        if passage != self.passage {
            self.drive(passage);
            self.passage = passage;
        }
        if let Some(change) = change {
            self.app.signs.set_state(change.to);
            self.tell(change);
        }
    }

    fn drive(&self, passage: Passage) {
        let gate = &self.app.gate;
        let before = self.passage;
        match passage {
            Passage::Shut => gate.shut(WHILE_DOWN),
            Passage::Open => gate.set_ramp(None),
            Passage::Ramp(ceiling) => gate.set_ramp(Some(ceiling)),
        }
        if before == Passage::Shut && passage != Passage::Shut {
            gate.open();
        }
    }

    fn tell(&self, Change { from, to, found }: Change) {
        let (app, upstream) = (self.app.name.as_str(), &*self.app.destination.label);
        let found = found.map_or_else(|| "no connection".to_owned(), describe);
        match (from, to) {
            (_, State::Suspect) => {
                tracing::warn!(app, upstream, found, "the app takes no connections, requests wait for it");
            }
            (_, State::Down) => tracing::warn!(app, upstream, found, "the app is down, requests are refused"),
            (State::Unknown, _) => tracing::debug!(app, upstream, "the app is up"),
            (_, _) => tracing::info!(app, upstream, "the app is up again"),
        }
    }

    fn search(&mut self, now: Tick) {
        let Some(search) = &mut self.search else {
            self.next_search = Tick::NEVER;
            return;
        };
        if self.next_search <= now {
            let before = search.cap();
            search.look(self.app.signs.take_tally(), self.app.gate.in_flight(), now);
            if search.cap() != before {
                self.app.gate.set_cap(Some(search.cap()));
            }
            // Without requests there is nothing to look at, until one comes.
            self.next_search = if self.app.gate.in_flight() > 0 { now + SEARCH_EVERY } else { Tick::NEVER };
        }
        if self.next_search == Tick::NEVER && self.app.signs.has_tally() {
            self.next_search = now + SEARCH_EVERY;
        }
    }
}

async fn ask_in(slot: Option<Slot>, question: Question, app: Arc<App>, clock: Clock) -> Answer {
    let answer = question.put(&app.destination, &clock).await;
    drop(slot);
    answer
}

fn describe(found: Finding) -> String {
    match found {
        Finding::Good => "an answer".to_owned(),
        Finding::Refused => "no connection".to_owned(),
        Finding::TimedOut => "nothing in time".to_owned(),
        Finding::Status(status) => format!("status {status}"),
        Finding::Broken => "no whole answer".to_owned(),
    }
}
