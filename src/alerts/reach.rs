//! Whether the app can be reached, as far as requests show it.

use crate::telemetry::totals::UpstreamTotals;

/// What was seen of connections to the app.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reach {
    before: Option<UpstreamTotals>,
    is_up: Option<bool>,
}

impl Reach {
    /// Looks at the counters: the app is up when requests went over a connection since the last look, down when
    /// connecting failed and none did, and else what it was. `None` before either was seen.
    pub fn look(&mut self, now: UpstreamTotals) -> Option<bool> {
        let before = self.before.replace(now).unwrap_or_default();
        let reached = |of: UpstreamTotals| of.connects + of.reuses;
        if reached(now) > reached(before) {
            self.is_up = Some(true);
        } else if now.connect_failures > before.connect_failures {
            self.is_up = Some(false);
        }
        self.is_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_show_whether_the_app_is_up() {
        let mut reach = Reach::default();
        let mut look = |connects, connect_failures, reuses| {
            reach.look(UpstreamTotals { connects, connect_failures, reuses, ..UpstreamTotals::default() })
        };
        assert_eq!(look(0, 0, 0), None);
        assert_eq!(look(0, 1, 0), Some(false));
        assert_eq!(look(0, 1, 0), Some(false), "nothing new was seen");
        assert_eq!(look(1, 2, 0), Some(true), "one that was reached outweighs one that was not");
        assert_eq!(look(1, 2, 0), Some(true));
        assert_eq!(look(1, 2, 9), Some(true));
        assert_eq!(look(1, 3, 9), Some(false));
        assert_eq!(look(1, 3, 10), Some(true));
    }
}
