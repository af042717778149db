//! What clients are told of limits in fields, and the wait in whole seconds.
//!
//! `RateLimit-Policy` and `RateLimit` follow draft-ietf-httpapi-ratelimit-headers-10: an item is appended to what
//! the app says itself, nothing of the app's is removed or relaxed. `X-RateLimit-*` have no room for two, so the
//! nearer to refusing of the app's and ours stands.

use bytes::BytesMut;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::buckets::Standing;
use super::meter::Meter;
use super::rate::NANOS_PER_SECOND;
use super::rules::{Limiting, Reset};

const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// What is told of one meter.
#[derive(Debug, Clone)]
pub struct Told {
    /// The item of `RateLimit-Policy`.
    pub policy: HeaderValue,
    /// The most that can be had at once.
    pub most: u64,
    /// Tokens left.
    pub remaining: u64,
    /// Of a refused request until it would pass, else until nothing is spent any more.
    pub reset_seconds: u64,
}

impl Told {
    /// Of a request that was admitted.
    pub fn admitted(meter: &Meter, standing: Standing) -> Told {
        Told {
            policy: meter.policy.clone(),
            most: meter.measure.most(),
            remaining: standing.remaining,
            reset_seconds: whole_seconds(standing.reset_nanos),
        }
    }

    /// Of a request that was refused.
    pub fn refused(meter: &Meter, standing: Standing, wait_nanos: u64) -> Told {
        Told { reset_seconds: whole_seconds(wait_nanos), ..Told::admitted(meter, standing) }
    }

    /// Adds the fields; `room` is where the text of values is written.
    pub fn write(
        &self,
        limiting: &Limiting,
        unix_seconds: u64,
        headers: &mut HeaderMap,
        room: &mut BytesMut,
    ) {
        if limiting.ietf_fields {
            headers.append(RATELIMIT_POLICY, self.policy.clone());
            headers.append(RATELIMIT, self.item(room));
        }
        if limiting.legacy_fields && !says_less_is_left(headers, self.remaining) {
            let reset = match limiting.reset {
                Reset::Delta => self.reset_seconds,
                Reset::Epoch => unix_seconds.saturating_add(self.reset_seconds),
            };
            headers.insert(X_RATELIMIT_LIMIT, HeaderValue::from(self.most));
            headers.insert(X_RATELIMIT_REMAINING, HeaderValue::from(self.remaining));
            headers.insert(X_RATELIMIT_RESET, HeaderValue::from(reset));
        }
    }

    /// `"default";r=29;t=2`
    fn item(&self, room: &mut BytesMut) -> HeaderValue {
        let name = self.policy.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        room.reserve(name.len() + 48);
        room.extend_from_slice(name);
        room.extend_from_slice(b";r=");
        room.extend_from_slice(itoa::Buffer::new().format(self.remaining).as_bytes());
        if self.reset_seconds > 0 {
            room.extend_from_slice(b";t=");
            room.extend_from_slice(itoa::Buffer::new().format(self.reset_seconds).as_bytes());
        }
        let value = HeaderValue::from_maybe_shared(room.split().freeze());
        value.unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// Seconds, rounded up: whoever waits so long has waited long enough.
pub fn whole_seconds(nanos: u64) -> u64 {
    nanos.div_ceil(NANOS_PER_SECOND)
}

/// Whether the app already tells of a limit that is nearer to refusing than ours.
fn says_less_is_left(headers: &HeaderMap, remaining: u64) -> bool {
    let Some(told) = headers.get(&X_RATELIMIT_REMAINING) else { return false };
    let told = told.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
    told.is_some_and(|told| told <= remaining)
}

/// `wait_nanos` and up to `percent` of it more; `random` is any number.
pub fn with_jitter(wait_nanos: u64, percent: u8, random: u32) -> u64 {
    let most = u128::from(wait_nanos) * u128::from(percent) / 100;
    let added = most * u128::from(random) / u128::from(u32::MAX);
    wait_nanos.saturating_add(u64::try_from(added).unwrap_or(u64::MAX))
}
