//! Whether a peer that is waited for keeps up with the least rate it may have.
//!
//! Patience is a bucket of time: waiting takes from it, every byte gives back what it may take at the least rate. So a
//! pause is forgiven, and a peer that is always a little too slow is not. Only time in which the peer is waited for
//! counts; while nobody wants anything of it, none passes.

use std::time::Duration;

use crate::clock::Tick;

/// How long a peer may be behind; also what it begins with.
pub const GRACE: Duration = Duration::from_secs(5);
/// What quick bytes save up for slow ones later, at most: else a large beginning would pay for hours.
const MOST: Duration = Duration::from_secs(60);

/// The pace of a peer in one direction.
#[derive(Debug, Clone)]
pub struct Pace {
    /// What a byte may take at the least rate; 0 if there is none.
    nanos_per_byte: u64,
    left_nanos: u64,
    waiting_since: Option<Tick>,
}

impl Pace {
    /// With a least rate in bytes a second; `None` for any pace.
    pub fn new(rate: Option<u64>) -> Pace {
        // Rounded up: a peer at exactly the rate is never too slow.
        let nanos_per_byte = rate.map_or(0, |rate| 1_000_000_000u64.div_ceil(rate.max(1)));
        Pace { nanos_per_byte, left_nanos: nanos(GRACE), waiting_since: None }
    }

    /// The peer is waited for from now on, or still. The instant at which it will have been too slow if nothing comes.
    pub fn wait(&mut self, now: Tick) -> Tick {
        let since = *self.waiting_since.get_or_insert(now);
        match self.nanos_per_byte {
            0 => Tick::NEVER,
            _ => since + Duration::from_nanos(self.left_nanos),
        }
    }

    /// It is no longer waited for.
    pub fn go_on(&mut self, now: Tick) {
        if let Some(since) = self.waiting_since.take() {
            self.left_nanos = self.left_nanos.saturating_sub(now.nanos_since(since));
        }
    }

    /// So many bytes came, or were taken.
    pub fn moved(&mut self, bytes: u64) {
        let earned = bytes.saturating_mul(self.nanos_per_byte);
        self.left_nanos = self.left_nanos.saturating_add(earned).min(nanos(MOST));
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Seconds until it is too slow, when `bytes` come after each `pause` of seconds.
    fn lasts(rate: u64, pause: u64, bytes: u64) -> Option<u64> {
        let mut pace = Pace::new(Some(rate));
        for round in 0..10_000 {
            let began = round * pause * SECOND;
            let deadline = pace.wait(Tick(began));
            if deadline < Tick(began + pause * SECOND) {
                return Some(deadline.0 / SECOND);
            }
            pace.go_on(Tick(began + pause * SECOND));
            pace.moved(bytes);
        }
        None
    }

    #[test]
    fn a_peer_that_sends_nothing_has_the_grace_and_no_more() {
        assert_eq!(lasts(240, 100, 0), Some(5));
    }

    #[test]
    fn a_peer_at_the_rate_is_never_too_slow_and_one_below_it_is() {
        assert_eq!(lasts(240, 1, 240), None);
        assert_eq!(lasts(240, 4, 960), None);
        assert_eq!(lasts(1, 1, 1), None);
        assert_eq!(lasts(999_999_937, 1, 999_999_937), None, "whatever the rounding");
        assert_eq!(lasts(240, 1, 120), Some(10), "half the rate spends half a second of grace each second");
        assert!(lasts(240, 1, 239).is_some());
    }

    #[test]
    fn a_quick_beginning_pays_for_a_minute_at_most() {
        let mut pace = Pace::new(Some(240));
        pace.moved(1 << 40);
        assert_eq!(pace.wait(Tick(7)), Tick(7 + 60 * SECOND));
    }

    #[test]
    fn time_in_which_nobody_waits_does_not_count() {
        let mut pace = Pace::new(Some(240));
        assert_eq!(pace.wait(Tick(0)), Tick(5 * SECOND));
        assert_eq!(pace.wait(Tick(SECOND)), Tick(5 * SECOND), "still the same wait");
        pace.go_on(Tick(2 * SECOND));
        assert_eq!(pace.wait(Tick(100 * SECOND)), Tick(103 * SECOND));
    }

    #[test]
    fn without_a_rate_no_pace_is_too_slow() {
        let mut pace = Pace::new(None);
        assert_eq!(pace.wait(Tick(0)), Tick::NEVER);
        pace.go_on(Tick(u64::MAX));
        pace.moved(u64::MAX);
        assert_eq!(pace.wait(Tick(0)), Tick::NEVER);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let mut pace = Pace::new(Some(u64::MAX));
        pace.moved(u64::MAX);
        assert_eq!(pace.wait(Tick(u64::MAX)), Tick::NEVER);
        pace.go_on(Tick(0));
        Pace::new(Some(1)).moved(u64::MAX);
    }
}
