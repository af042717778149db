//! Alerts over the life of the process: what their rules look at, and who tells.

use std::io;
use std::sync::Arc;

use crate::alerts::evaluation::Signs;
use crate::alerts::{Alerts, Ask};
use crate::clock::Clock;
use crate::limit::quota_use::fullest_quota;
use crate::proxy::current::Current;
use crate::telemetry::measurements::Measurements;
use crate::telemetry::sink::Dropped;
use crate::upstream::condition::State;

use super::limits;

/// Who tells if nobody has a name.
const NAMELESS: &str = "tollgate";

/// Starts them, with the rules that are in force.
pub(super) fn start(
    current: &Arc<Current>,
    measurements: &Arc<Measurements>,
    dropped: Vec<(&'static str, Dropped)>,
    clock: &Clock,
) -> io::Result<Alerts> {
    let model = Arc::clone(&current.get().model);
    let service = model.emf.as_ref().map_or_else(|| NAMELESS.to_owned(), |emf| emf.service.clone());
    let (current, measurements) = (Arc::clone(current), Arc::clone(measurements));
    let own_clock = clock.sibling();
    let look = move |ask: Ask| {
        let mut totals = measurements.totals();
        for (sink, dropped) in &dropped {
            totals.process.dropped_lines.insert(sink, dropped.lines());
        }
        let prepared = current.get();
        let upstream_up = match prepared.apps.main.state() {
            State::Unknown => None,
            State::Up | State::Suspect => Some(true),
            State::Down => Some(false),
        };
        let quota_used = ask.quotas.then(|| {
            own_clock.reanchor();
            let now = limits::now(&own_clock);
            fullest_quota(&prepared.model.limits, &prepared.buckets.table, now.unix_nanos)
        });
        (totals, Signs { upstream_up, quota_used: quota_used.flatten() })
    };
    Alerts::start(&model.alerts, service, host(), Box::new(look), clock.sibling())
}

/// The name of this machine.
fn host() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    if name.is_empty() { NAMELESS.to_owned() } else { name.into_owned() }
}
