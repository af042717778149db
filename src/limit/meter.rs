//! One thing a limit measures, and what the ways to measure have in common.

use http::HeaderValue;

use super::bucket::TokenBucket;
use super::buckets::Standing;
use super::quota::Quota;
use super::sliding::{Log, SlidingWindow};
use super::state::{self, Now};

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
    pub policy: HeaderValue,
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
    /// A meter without states yet; `name` is the policy's.
    pub fn new(name: &str, measure: Measure) -> Meter {
        let policy = format!("\"{name}\";{}", measure.parameters());
        // Names are letters, digits and `_.-`.
        let policy = HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static(""));
        Meter { tag: 0, measure, before: None, policy }
    }

    /// The policy's name.
    pub fn policy_name(&self) -> &str {
        Meter::name_of_policy(&self.policy)
    }

    /// The name in an item of `RateLimit-Policy`.
    pub fn name_of_policy(policy: &HeaderValue) -> &str {
        policy.to_str().unwrap_or_default().split('"').nth(1).unwrap_or_default()
    }

    /// A copy that shares nothing with this one, so that workers do not count on one cache line.
    pub fn own_copy(&self) -> Meter {
        let policy = HeaderValue::from_bytes(self.policy.as_bytes());
        Meter { policy: policy.unwrap_or_else(|_| self.policy.clone()), ..self.clone() }
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

    /// In words, as people are told of it.
    pub fn words(&self) -> String {
        match self {
            Measure::Bucket(bucket) => format!("{}, burst {}", bucket.rate(), bucket.burst()),
            Measure::Sliding(window) => format!("{} in any window", window.rate()),
            Measure::Quota(quota) => {
                let zone = quota.calendar().zone_name().unwrap_or("UTC");
                format!("{} a calendar {} in {zone}", quota.count(), quota.calendar().unit().as_str())
            }
            Measure::InFlight(most) => format!("{most} at a time"),
        }
    }

    /// Where an integer state stands; as new for measures whose states are none.
    pub fn standing_of_state(&self, state: u64, now: Now) -> Standing {
        let (remaining, reset_nanos) = match self {
            Measure::Bucket(bucket) => (bucket.remaining(state, now.tick), state.saturating_sub(now.tick.0)),
            Measure::Quota(quota) => quota.standing(state, now.unix_nanos),
            Measure::InFlight(most) => (most.saturating_sub(state::in_flight(state)), 0),
            Measure::Sliding(_) => (self.most(), 0),
        };
        Standing { remaining, reset_nanos }
    }

    /// Where a log stands; as new for measures whose states are none.
    pub fn standing_of_log(&self, log: &Log, now: Now) -> Standing {
        let (remaining, reset_nanos) = match self {
            Measure::Sliding(window) => window.standing(log, now.tick),
            _ => (self.most(), 0),
        };
        Standing { remaining, reset_nanos }
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
