//! Distributions of durations: log-linear buckets of whole microseconds, as in HdrHistogram.
//!
//! Sixteen buckets for each power of two: a value is known to within 1/16 of itself, its bucket's middle to within
//! 1/32. Invariant: buckets are the same everywhere, so distributions can be added, and subtracted from later ones.

/// Buckets of one power of two.
const PARTS: u64 = 16;
const PARTS_BITS: u32 = PARTS.trailing_zeros();
/// Powers of two that are told apart; what is longer than 71 minutes is in the last bucket.
const HIGHEST_BIT: u32 = 31;
/// Buckets of a distribution.
pub const BUCKETS: usize = ((HIGHEST_BIT - PARTS_BITS + 2) as usize) * PARTS as usize;

const NANOS_PER_MICRO: u64 = 1_000;

/// The bucket of a duration.
pub fn bucket_of(nanos: u64) -> usize {
    let micros = nanos / NANOS_PER_MICRO;
    if micros < PARTS {
        return micros as usize;
    }
    let bit = micros.ilog2().min(HIGHEST_BIT);
    let part = (micros >> (bit - PARTS_BITS)).min(2 * PARTS - 1) & (PARTS - 1);
    (u64::from(bit - PARTS_BITS + 1) * PARTS + part) as usize
}

/// The first duration, in nanoseconds, that belongs to a bucket.
pub fn lower_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let micros = match bucket / PARTS {
        0 => bucket,
        power => (PARTS + bucket % PARTS) << (power - 1),
    };
    micros * NANOS_PER_MICRO
}

/// The duration that stands for a bucket's values, in nanoseconds.
pub fn middle(bucket: usize) -> u64 {
    u64::midpoint(lower_bound(bucket), lower_bound(bucket + 1))
}

/// How often durations of each bucket were seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    /// By bucket; empty if there was none.
    counts: Vec<u64>,
    /// Of all durations, in nanoseconds.
    pub sum_nanos: u64,
    /// By the upper bounds of `[metrics] buckets`: how many took at most so long, and more than the bound before. What
    /// took longer than the last bound is not among it. Empty where nobody keeps it.
    pub within: Vec<u64>,
}

impl Histogram {
    /// Of counts by bucket, in order.
    pub fn new(counts: Vec<u64>, sum_nanos: u64, within: Vec<u64>) -> Histogram {
        Histogram { counts, sum_nanos, within }
    }

    /// Counts one duration.
    pub fn record(&mut self, nanos: u64) {
        self.counts.resize(BUCKETS, 0);
        self.counts[bucket_of(nanos)] += 1;
        self.sum_nanos = self.sum_nanos.saturating_add(nanos);
    }

    /// Durations there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds another distribution.
    pub fn add(&mut self, other: &Histogram) {
        add(&mut self.counts, &other.counts);
        add(&mut self.within, &other.within);
        self.sum_nanos = self.sum_nanos.saturating_add(other.sum_nanos);
    }

    /// What came since an earlier state of this distribution.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        Histogram {
            counts: since(&self.counts, &earlier.counts),
            sum_nanos: self.sum_nanos.saturating_sub(earlier.sum_nanos),
            within: since(&self.within, &earlier.within),
        }
    }

    /// The duration that a share of all, from 0 to 1, did not exceed, in nanoseconds; `None` without any.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((share * count as f64).ceil() as u64).clamp(1, count.max(1));
        self.at_rank(rank)
    }

    /// At most `most` durations, ascending, that stand for all: each value as often as it was seen if there is room,
    /// else the least, the greatest, and evenly spaced ranks between, so that percentiles stay.
    pub fn representatives(&self, most: usize) -> Vec<u64> {
        let count = self.count();
        if count <= most as u64 {
            return self.filled().flat_map(|(at, count)| (0..count).map(move |_| middle(at))).collect();
        }
        let last = (most as u64).saturating_sub(1).max(1);
        let ranks =
            (0..most as u64).map(|at| 1 + (u128::from(at) * u128::from(count - 1) / u128::from(last)) as u64);
        ranks.filter_map(|rank| self.at_rank(rank)).collect()
    }

    /// Buckets that are not empty, ascending, with their counts.
    pub fn filled(&self) -> impl Iterator<Item = (usize, u64)> {
        self.counts.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }

    fn at_rank(&self, rank: u64) -> Option<u64> {
        let mut seen = 0;
        self.filled()
            .find(|(_, count)| {
                seen += count;
                seen >= rank
            })
            .map(|(at, _)| middle(at))
    }
}

fn add(mine: &mut Vec<u64>, theirs: &[u64]) {
    if mine.len() < theirs.len() {
        mine.resize(theirs.len(), 0);
    }
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine += theirs;
    }
}

fn since(now: &[u64], earlier: &[u64]) -> Vec<u64> {
    let before = |at: usize| earlier.get(at).copied().unwrap_or(0);
    now.iter().enumerate().map(|(at, now)| now.saturating_sub(before(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_follow_each_other_without_gap() {
        for bucket in 0..BUCKETS - 1 {
            assert_eq!(bucket_of(lower_bound(bucket)), bucket);
            assert_eq!(bucket_of(lower_bound(bucket + 1) - 1), bucket);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    proptest! {
        #[test]
        fn the_middle_is_near(nanos in 16_000u64..4_000_000_000_000) {
            let error = middle(bucket_of(nanos)).abs_diff(nanos) as f64 / nanos as f64;
            prop_assert!(error <= 1.0 / 16.0, "{error}");
        }

        #[test]
        fn quantiles_are_near_those_of_the_values(mut values in proptest::collection::vec(1_000u64..60_000_000_000, 1..500), share in 0.0f64..=1.0) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|nanos| histogram.record(*nanos));
            values.sort_unstable();
            let rank = ((share * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let (told, exact) = (histogram.quantile(share).unwrap(), values[rank - 1]);
            prop_assert!(told.abs_diff(exact) as f64 <= exact as f64 / 16.0 + 1_000.0);
        }

        #[test]
        fn what_came_since_is_what_was_added(first in proptest::collection::vec(0u64..9_000_000_000, 0..50), then in proptest::collection::vec(0u64..9_000_000_000, 0..50)) {
            let (mut all, mut later) = (Histogram::default(), Histogram::default());
            first.iter().for_each(|nanos| all.record(*nanos));
            let earlier = all.clone();
            then.iter().for_each(|nanos| { all.record(*nanos); later.record(*nanos); });
            let since = all.since(&earlier);
            prop_assert_eq!(since.count(), later.count());
            prop_assert_eq!(since.filled().collect::<Vec<_>>(), later.filled().collect::<Vec<_>>());
            let mut sum = earlier.clone();
            sum.add(&since);
            prop_assert_eq!(sum.filled().collect::<Vec<_>>(), all.filled().collect::<Vec<_>>());
        }

        #[test]
        fn representatives_keep_count_or_percentiles(values in proptest::collection::vec(1_000u64..60_000_000_000, 1..3_000)) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|nanos| histogram.record(*nanos));
            let chosen = histogram.representatives(1_000);
            prop_assert_eq!(chosen.len(), values.len().min(1_000));
            prop_assert!(chosen.is_sorted());
            prop_assert_eq!(chosen.first().copied(), histogram.quantile(0.0));
            prop_assert_eq!(chosen.last().copied(), histogram.quantile(1.0));
            let p99 = chosen[(chosen.len() * 99).div_ceil(100) - 1];
            let exact = histogram.quantile(0.99).unwrap();
            let near = bucket_of(p99).abs_diff(bucket_of(exact));
            let between = histogram.filled().filter(|(at, _)| *at > bucket_of(p99).min(bucket_of(exact)) && *at < bucket_of(p99).max(bucket_of(exact))).count();
            prop_assert!(near == 0 || between <= 1, "{p99} {exact}");
        }
    }
}
