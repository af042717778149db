//! The states of limits over the life of the process: opened at start, looked after while it runs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Tick};
use crate::limit::key::Seed;
use crate::limit::state::Now;
use crate::proxy::current::Current;

use super::background::Background;

/// How often what is as good as new gives its memory back.
const TEND_EVERY: Duration = Duration::from_secs(10);
/// How often at most it is told that states had to go.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The time on both clocks.
pub(super) fn now(clock: &Clock) -> Now {
    let tick = clock.now();
    Now { tick, unix_nanos: clock.unix_nanos(tick) }
}

/// A secret nobody else knows.
pub(super) fn fresh_seed() -> Result<Seed, getrandom::Error> {
    Ok(Seed([getrandom::u64()?, getrandom::u64()?]))
}

/// Starts the thread that looks after the states.
pub(super) fn tend(current: Arc<Current>, clock: Clock) -> io::Result<Background> {
    Background::start("limits", move |owner| {
        let mut eviction = Eviction::default();
        while owner.waits(TEND_EVERY) {
            clock.reanchor();
            let now = now(&clock);
            let prepared = current.get();
            let (buckets, max_keys) = (&prepared.buckets, prepared.model.store.max_keys);
            buckets.tend(now);
            eviction.tell(buckets.forced_evictions(), max_keys, now.tick);
        }
    })
}

/// What was told of states that had to go.
#[derive(Debug, Default)]
struct Eviction {
    told: u64,
    last: Option<Tick>,
}

impl Eviction {
    fn tell(&mut self, forced: u64, max_keys: usize, now: Tick) {
        if forced == self.told || self.last.is_some_and(|last| now < last + TELL_EVERY) {
            return;
        }
        tracing::warn!(
            evicted = forced - self.told,
            max_keys,
            "the table of limits is full, states nearest to full had to go; raise `max_keys` of `[store]`, or look \
             who invents keys"
        );
        (self.told, self.last) = (forced, Some(now));
    }
}
