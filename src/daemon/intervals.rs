//! EMF lines of intervals: what every route did in it, told by a thread that wakes once an interval.
//!
//! Invariant: what was measured is told once. The last lines come when the workers have ended.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Tick};
use crate::config::model::emf::{Emf, EmfPer};
use crate::proxy::current::Current;
use crate::telemetry::emf::catalog::has_queue_time;
use crate::telemetry::emf::check::check;
use crate::telemetry::emf::template::Template;
use crate::telemetry::measurements::Measurements;
use crate::telemetry::sink::Lines;
use crate::telemetry::totals::Totals;

use super::background::Background;

struct Teller {
    emf: Emf,
    measurements: Arc<Measurements>,
    current: Arc<Current>,
    lines: Lines,
    clock: Clock,
    told: Totals,
    told_at: Tick,
    invalid: u64,
}

/// Starts the thread, if lines are for intervals.
pub(super) fn start(
    emf: Option<&Emf>,
    lines: Option<Lines>,
    measurements: &Arc<Measurements>,
    current: &Arc<Current>,
    clock: Clock,
) -> io::Result<Option<Background>> {
    let (Some(emf), Some(lines)) = (emf, lines) else { return Ok(None) };
    let EmfPer::Interval(every) = emf.per else { return Ok(None) };
    let told_at = clock.now();
    let mut teller = Teller {
        emf: emf.clone(),
        measurements: Arc::clone(measurements),
        current: Arc::clone(current),
        lines,
        clock,
        told: Totals::default(),
        told_at,
        invalid: 0,
    };
    let background = Background::start("intervals", move |owner| {
        let mut next = told_at + every;
        while owner.waits(teller.until(next)) {
            teller.tell();
            next = after(next, every, teller.clock.now());
        }
        teller.tell();
    })?;
    Ok(Some(background))
}

/// When the next interval ends. Intervals that nobody was awake for are left out: what they had is in the one just
/// told.
fn after(last: Tick, every: Duration, now: Tick) -> Tick {
    let next = last + every;
    if now < next { next } else { now + every }
}

impl Teller {
    fn until(&self, next: Tick) -> Duration {
        Duration::from_nanos(next.nanos_since(self.clock.now()))
    }

    fn tell(&mut self) {
        self.clock.reanchor();
        let now = self.clock.now();
        let (unix_ms, lasted) = (self.clock.unix_nanos(now) / 1_000_000, now.nanos_since(self.told_at));
        let totals = self.measurements.totals();
        let model = &self.current.get().model;
        let from = &model.metrics.from_response;
        let template = Template::new(&self.emf, from, has_queue_time(model));
        let seconds = (lasted + 500_000_000) / 1_000_000_000;
        let mut text = Vec::new();
        for (route, did) in totals.routes_since(&self.told) {
            let dimensions = template.dimensions(&route);
            template.interval(unix_ms, seconds, &dimensions, &did, &from.server_timing, &mut text);
        }
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            self.push(line);
        }
        self.lines.flush();
        (self.told, self.told_at) = (totals, now);
    }

    fn push(&mut self, line: &[u8]) {
        if self.emf.validate
            && let Err(problems) = check(line)
        {
            if self.invalid == 0 {
                tracing::warn!(
                    problem = problems[0],
                    "CloudWatch would not take an EMF line, it is kept back"
                );
            }
            self.invalid += 1;
            self.measurements.count_invalid_emf_line();
            return;
        }
        self.lines.push(|out| out.extend_from_slice(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_keep_their_pace_and_none_is_empty_after_a_pause() {
        let (every, second) = (Duration::from_secs(10), 1_000_000_000);
        assert_eq!(after(Tick(10 * second), every, Tick(11 * second)), Tick(20 * second), "late by a second");
        assert_eq!(after(Tick(10 * second), every, Tick(95 * second)), Tick(105 * second));
    }
}
