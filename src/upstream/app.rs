//! The app as all workers share it: where it is, and how many requests it has at a time. One, or two with a canary.

use std::sync::Arc;

use super::condition::State;
use super::connect::Destination;
use super::fault::UpstreamFault;
use super::gate::Gate;
use super::signs::{Sign, Signs};
use crate::clock::Tick;
use crate::config::model::Upstream;
use crate::config::model::shield::InFlightCap;

/// Which version of the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppName {
    /// The one that everybody has.
    Main,
    /// The one that some callers have.
    Canary,
}

impl AppName {
    /// In records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            AppName::Main => "main",
            AppName::Canary => "canary",
        }
    }
}

/// One version of the app.
#[derive(Debug)]
pub struct App {
    /// Which.
    pub name: AppName,
    /// Where it listens.
    pub destination: Destination,
    /// Who is let in.
    pub gate: Arc<Gate>,
    /// What requests show of it.
    pub signs: Signs,
}

/// All versions.
#[derive(Debug, Clone)]
pub struct Apps {
    /// The one that everybody has.
    pub main: Arc<App>,
    /// Another, and how many callers out of ten thousand have it.
    pub canary: Option<(Arc<App>, u32)>,
}

impl Apps {
    /// Those of a configuration, at these addresses. What `before` knows of an app that stays where it is, stays known.
    pub fn new(
        upstream: &Upstream,
        main: Destination,
        canary: Option<Destination>,
        before: Option<&Apps>,
    ) -> Apps {
        let known = before.map(|before| &before.main).filter(|app| app.destination == main);
        let main = App::of(AppName::Main, main, known, upstream, upstream.max_in_flight);
        let canary = upstream.canary.as_ref().zip(canary).map(|(canary, destination)| {
            let known = before.and_then(|before| Some(&before.canary.as_ref()?.0));
            let known = known.filter(|app| app.destination == destination);
            (
                App::of(AppName::Canary, destination, known, upstream, canary.max_in_flight),
                canary.weight_of_10_000,
            )
        });
        Apps { main, canary }
    }

    /// Each of them.
    pub fn each(&self) -> impl Iterator<Item = &Arc<App>> {
        std::iter::once(&self.main).chain(self.canary.as_ref().map(|(app, _)| app))
    }
}

impl App {
    /// How it is, as far as requests and probes show.
    pub fn state(&self) -> State {
        self.signs.state()
    }

    /// Whether it is known to be out of service.
    pub fn is_down(&self) -> bool {
        self.state() == State::Down
    }

    /// The head of an answer came: with this status, so long after the request was sent.
    pub fn answered(&self, status: u16, latency_nanos: u64, now: Tick) {
        self.signs.saw(Sign::Status(status), now);
        self.signs.sample(latency_nanos);
    }

    /// A request failed. After a refused connection nobody is let in until the app was looked at.
    pub fn failed(&self, fault: &UpstreamFault, now: Tick) {
        if let Some(sign) = Sign::of(fault) {
            if sign == Sign::ConnectRefused && matches!(self.state(), State::Unknown | State::Up) {
                // At once, so that whoever enters again waits for what is found out. Before the sign, so that who looks at
                // the sign has the last word.
                self.gate.set_ramp(Some(0));
            }
            self.signs.saw(sign, now);
        }
    }

    fn of(
        name: AppName,
        destination: Destination,
        known: Option<&Arc<App>>,
        upstream: &Upstream,
        cap: Option<InFlightCap>,
    ) -> Arc<App> {
        let queue = &upstream.queue;
        let gate = match known {
            Some(known) => Arc::clone(&known.gate),
            None => Gate::new(queue.size, queue.fair),
        };
        gate.set_queue(queue.size, queue.fair);
        match cap {
            None => gate.set_cap(None),
            Some(InFlightCap::Fixed(cap)) => gate.set_cap(Some(cap)),
            Some(InFlightCap::Auto { floor, ceiling }) => {
                let now = gate.cap().unwrap_or(floor);
                gate.set_cap(Some(now.clamp(floor, ceiling)));
            }
        }
        match known {
            Some(known) => Arc::clone(known),
            None => Arc::new(App { name, destination, gate, signs: Signs::default() }),
        }
    }
}
