//! What `/status` tells of the app's slots, from what was measured.

use crate::telemetry::apps::{APPS, AppState, AppTotals, BreakerState};
use crate::telemetry::totals::Totals;

use super::status::{AppStatus, Breaker, BreakerStatus, BufferStatus, Condition, QueueStatus};

/// The app, then the canary if there is one.
pub(super) fn apps(totals: &Totals) -> Vec<AppStatus> {
    let status = |app: &AppTotals| {
        let requests = APPS
            .iter()
            .position(|name| *name == app.name)
            .map(|at| totals.upstream.requests[at])
            .unwrap_or_default();
        AppStatus {
            name: app.name.to_owned(),
            address: app.address.to_string(),
            state: condition(app.state),
            in_flight: app.in_flight,
            max_in_flight: app.max_in_flight,
            auto: app.is_auto,
            waiting: app.waiting,
            queue_size: app.queue_size,
            requests: requests.iter().sum(),
            errors: requests[4],
        }
    };
    totals.apps.iter().map(status).collect()
}

fn condition(state: AppState) -> Condition {
    match state {
        AppState::Up => Condition::Up,
        AppState::Suspect => Condition::Suspect,
        AppState::Down => Condition::Down,
        AppState::Unknown => Condition::Unknown,
    }
}

/// Of the app and the canary together.
pub(super) fn queue(totals: &Totals) -> QueueStatus {
    let mut all = QueueStatus::default();
    for queue in totals.apps.iter().map(|app| &app.queue) {
        all.queued += queue.queued;
        all.full += queue.full;
        all.timed_out += queue.timed_out;
        all.shed += queue.shed;
    }
    all
}

pub(super) fn buffers(totals: &Totals) -> BufferStatus {
    let buffers = &totals.buffers;
    BufferStatus {
        used_bytes: buffers.used,
        max_bytes: buffers.max,
        spilled_bytes: buffers.spilled,
        max_spilled_bytes: buffers.spill_max,
    }
}

/// In the order of the routes' names.
pub(super) fn breakers(totals: &Totals) -> Vec<BreakerStatus> {
    let state = |state: BreakerState| match state {
        BreakerState::Closed => Breaker::Closed,
        BreakerState::Open => Breaker::Open,
        BreakerState::HalfOpen => Breaker::HalfOpen,
    };
    let breakers = totals.breakers.iter();
    breakers.map(|(route, now)| BreakerStatus { route: route.to_string(), state: state(*now) }).collect()
}
