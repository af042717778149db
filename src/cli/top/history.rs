//! The last minutes of a tollgate, from the states it told: what happened in each second, and rates.
//!
//! Invariant: a rate is never told over a gap, nor over a restart.

use std::collections::{BTreeMap, VecDeque};

use crate::admin::status::{Status, TrafficStatus};

/// As many seconds as the widest terminal has columns.
const KEPT: usize = 600;
/// What a rate is taken over.
const RECENT_MS: u64 = 5_600;
/// Above this, states are missing in between.
const GAP_MS: u64 = 3_000;

/// What is remembered of one state.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    at_ms: u64,
    started_ms: u64,
    /// The counts of all routes.
    pub(super) traffic: TrafficStatus,
    /// Requests by route.
    pub(super) routes: BTreeMap<String, u64>,
    /// Processor time.
    pub(super) cpu_seconds: f64,
}

/// The samples, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    samples: VecDeque<Sample>,
}

impl History {
    /// Remembers a state.
    pub(super) fn push(&mut self, status: &Status) {
        let begins_anew = |last: &Sample| last.started_ms != status.started_ms || status.now_ms <= last.at_ms;
        if self.samples.back().is_some_and(begins_anew) {
            self.samples.clear();
        }
        self.samples.push_back(Sample {
            at_ms: status.now_ms,
            started_ms: status.started_ms,
            traffic: status.traffic.clone(),
            routes: status.routes.iter().map(|route| (route.name.clone(), route.requests)).collect(),
            cpu_seconds: status.process.cpu_seconds,
        });
        if self.samples.len() > KEPT {
            self.samples.pop_front();
        }
    }

    /// How much a count grew a second, lately; `None` while there is nothing to compare.
    pub(super) fn per_second(&self, count: impl Fn(&Sample) -> f64) -> Option<f64> {
        let last = self.samples.back()?;
        let mut first = last;
        for sample in self.samples.iter().rev().skip(1) {
            let is_gap = first.at_ms - sample.at_ms > GAP_MS;
            if is_gap || last.at_ms - sample.at_ms > RECENT_MS {
                break;
            }
            first = sample;
        }
        let millis = last.at_ms - first.at_ms;
        (millis > 0).then(|| (count(last) - count(first)).max(0.0) * 1_000.0 / millis as f64)
    }

    /// How much a count grew in each second, the newest first; `None` where nothing is known.
    pub(super) fn by_second(&self, count: impl Fn(&Sample) -> u64) -> Vec<Option<u64>> {
        let mut seconds = Vec::new();
        let mut later: Option<&Sample> = None;
        for sample in self.samples.iter().rev() {
            if let Some(later) = later {
                let millis = later.at_ms - sample.at_ms;
                if millis > GAP_MS {
                    let missing = usize::try_from(millis / 1_000).unwrap_or(KEPT).min(KEPT);
                    seconds.extend(std::iter::repeat_n(None, missing));
                } else {
                    seconds.push(Some(count(later).saturating_sub(count(sample)) * 1_000 / millis.max(1)));
                }
            }
            later = Some(sample);
        }
        seconds.truncate(KEPT);
        seconds
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::status;
    use super::*;

    fn history(states: &[(u64, u64, u64)]) -> History {
        let mut history = History::default();
        for &(started_ms, now_ms, requests) in states {
            let mut status = status();
            (status.started_ms, status.now_ms, status.traffic.requests) = (started_ms, now_ms, requests);
            history.push(&status);
        }
        history
    }

    fn requests(sample: &Sample) -> f64 {
        sample.traffic.requests as f64
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let steady =
            history(&[(1, 1_000, 0), (1, 2_000, 900), (1, 7_000, 900), (1, 8_000, 930), (1, 9_000, 960)]);
        assert_eq!(steady.per_second(requests), Some(30.0));
        assert_eq!(steady.by_second(|sample| sample.traffic.requests)[..2], [Some(30), Some(30)]);
    }

    #[test]
    fn nothing_is_told_over_a_gap_or_a_restart() {
        let gap = history(&[(1, 1_000, 0), (1, 9_000, 960)]);
        assert_eq!(gap.per_second(requests), None);
        assert_eq!(gap.by_second(|sample| sample.traffic.requests), [None; 8]);
        let restart = history(&[(1, 1_000, 5_000), (2, 2_000, 3)]);
        assert_eq!(restart.per_second(requests), None);
        let again = history(&[(1, 1_000, 5_000), (2, 2_000, 3), (2, 3_000, 7)]);
        assert_eq!(again.per_second(requests), Some(4.0));
    }
}
