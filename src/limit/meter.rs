//! One thing a limit measures, and what the ways to measure have in common.

use std::sync::Arc;

use super::bucket::TokenBucket;
use super::quota::Quota;
use super::sliding::SlidingWindow;

/// What distinguishes the states of one meter from those of others in the table. Given by a
/// change of the rules, [`super::carry`], never 0 in use.
pub type Tag = u16;

/// A meter of a limit, for callers of one tier.
#[derive(Debug, Clone)]
pub struct Meter {
    /// Its states' mark.
    pub tag: Tag,
    /// How it measures.
    pub measure: Measure,
    /// The meter this one takes its states over from, after its numbers were changed.
    pub before: Option<Box<(Tag, TokenBucket)>>,
    /// The item of `RateLimit-Policy`, name and parameters.
    pub policy: Arc<str>,
}

/// How a meter measures.
#[derive(Debug, Clone)]
pub enum Measure {
    /// `rate`
    Bucket(TokenBucket),
    /// `rate` with `algorithm = "sliding_window"`
    Sliding(SlidingWindow),
    /// `quota`
    Quota(Quota),
    /// `in_flight`: so many requests at a time.
    InFlight(u64),
}

impl Meter {
    /// A meter that no register knows yet; `name` is the policy's.
    pub fn new(name: &str, measure: Measure) -> Meter {
        let policy = format!("\"{name}\";{}", measure.parameters());
        Meter { tag: 0, measure, before: None, policy: policy.into() }
    }

    /// The policy's name, in its quotes.
    pub fn policy_name(&self) -> &str {
        self.policy.split(';').next().unwrap_or_default()
    }
}

impl Measure {
    /// The most that can be had at once.
    pub fn most(&self) -> u64 {
        match self {
            Measure::Bucket(bucket) => bucket.burst(),
            Measure::Sliding(window) => window.rate().count(),
            Measure::Quota(quota) => quota.count(),
            Measure::InFlight(most) => *most,
        }
    }

    /// What one calls it next to others of the same limit: `60s`, `day`, `in_flight`.
    pub fn label(&self) -> String {
        match self {
            Measure::Bucket(bucket) => format!("{}s", bucket.rate().period_seconds()),
            Measure::Sliding(window) => format!("{}s", window.rate().period_seconds()),
            Measure::Quota(quota) => quota.calendar().unit().as_str().to_owned(),
            Measure::InFlight(_) => "in_flight".to_owned(),
        }
    }

    /// The parameters of a policy in draft-ietf-httpapi-ratelimit-headers-10.
    fn parameters(&self) -> String {
        match self {
            Measure::Bucket(bucket) => {
                let rate = bucket.rate();
                let own = format!("q={};w={}", rate.count(), rate.period_seconds());
                if bucket.burst() == rate.count() {
                    own
                } else {
                    format!("{own};tollgate-burst={}", bucket.burst())
                }
            }
            Measure::Sliding(window) => {
                format!("q={};w={}", window.rate().count(), window.rate().period_seconds())
            }
            Measure::Quota(quota) => {
                format!("q={};w={}", quota.count(), quota.calendar().unit().usual_seconds())
            }
            Measure::InFlight(most) => format!("q={most};qu=\"concurrent-requests\""),
        }
    }
}
