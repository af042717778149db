//! What is asked of the admin listener, as JSON: strict, so that a mistyped name does nothing rather than something
//! else.

use std::net::IpAddr;

use http::StatusCode;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::proxy::interventions::Whom;

use super::reply::Failure;

/// The longest a lift or a block may last: 30 days.
const MAX_SECONDS: u64 = 30 * 86_400;
/// Characters of a user's name.
pub(super) const MAX_USER: usize = 1_024;

/// One caller, or everybody if neither is there.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("not" = { "required": ["user", "address"] }))]
pub(super) struct Selector {
    /// As identity names it.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String", length(min = 1, max = 1024))]
    user: Option<String>,
    /// A client's address; of IPv6 its network.
    #[serde(default, deserialize_with = "present")]
    #[schemars(schema_with = "address")]
    address: Option<IpAddr>,
}

/// One caller.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["user"] }, { "required": ["address"] }]))]
pub(super) struct Whose {
    /// As identity names it.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String", length(min = 1, max = 1024))]
    user: Option<String>,
    /// A client's address; of IPv6 its /64.
    #[serde(default, deserialize_with = "present")]
    #[schemars(schema_with = "address")]
    address: Option<IpAddr>,
}

/// For whom a limit is lifted, everybody if neither is there, and for how long.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("not" = { "required": ["user", "address"] }))]
pub(super) struct LiftRequest {
    /// As identity names it.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String", length(min = 1, max = 1024))]
    user: Option<String>,
    /// A client's address; of IPv6 its /64.
    #[serde(default, deserialize_with = "present")]
    #[schemars(schema_with = "address")]
    address: Option<IpAddr>,
    /// At most 30 days.
    #[serde(deserialize_with = "whole_number")]
    #[schemars(range(min = 1, max = 2_592_000))]
    pub(super) seconds: u64,
}

/// Who is blocked, and for how long.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["user"] }, { "required": ["address"] }]))]
pub(super) struct BlockRequest {
    /// As identity names it.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String", length(min = 1, max = 1024))]
    user: Option<String>,
    /// A client's address; of IPv6 its /64.
    #[serde(default, deserialize_with = "present")]
    #[schemars(schema_with = "address")]
    address: Option<IpAddr>,
    /// At most 30 days.
    #[serde(deserialize_with = "whole_number")]
    #[schemars(range(min = 1, max = 2_592_000))]
    pub(super) seconds: u64,
}

/// Nothing to say.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

impl Selector {
    pub(super) fn whom(self) -> Result<Whom, Failure> {
        whom(self.user, self.address)
    }
}

impl Whose {
    pub(super) fn whom(self) -> Result<Whom, Failure> {
        one(whom(self.user, self.address)?)
    }
}

impl LiftRequest {
    pub(super) fn whom(self) -> Result<Whom, Failure> {
        in_range(self.seconds)?;
        whom(self.user, self.address)
    }
}

impl BlockRequest {
    pub(super) fn whom(self) -> Result<Whom, Failure> {
        in_range(self.seconds)?;
        one(whom(self.user, self.address)?)
    }
}

/// Reads a body.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    // What is derived would take a list of the values as well.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(bad("The body is no JSON object."));
    }
    // The parser's words tell what is wrong and where; of the body they hold names of its fields at most.
    serde_json::from_slice(body).map_err(|error| bad(format!("The body is not what is wanted: {error}.")))
}

pub(super) fn bad(message: impl Into<String>) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "bad_request", message)
}

fn whom(user: Option<String>, address: Option<IpAddr>) -> Result<Whom, Failure> {
    match (user, address) {
        (Some(_), Some(_)) => Err(bad("Name a `user` or an `address`, not both.")),
        (Some(user), None) if user.is_empty() || user.chars().count() > MAX_USER => {
            Err(bad("A `user` has 1 to 1024 characters."))
        }
        (Some(user), None) => Ok(Whom::User(user.into())),
        (None, Some(address)) => Ok(Whom::Address(address.to_canonical())),
        (None, None) => Ok(Whom::Everybody),
    }
}

fn one(whom: Whom) -> Result<Whom, Failure> {
    match whom {
        Whom::Everybody => Err(bad("Name a `user` or an `address`.")),
        whom => Ok(whom),
    }
}

fn in_range(seconds: u64) -> Result<(), Failure> {
    if (1..=MAX_SECONDS).contains(&seconds) {
        return Ok(());
    }
    Err(bad("`seconds` is from 1 to 2592000, which are 30 days."))
}

/// A field that is there has a value: `null` is none.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// JSON does not tell `5` from `5.0`.
fn whole_number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number = f64::deserialize(from)?;
    if number.fract() == 0.0 && (0.0..EXACT).contains(&number) {
        return Ok(number as u64);
    }
    Err(serde::de::Error::custom("this is no whole number"))
}

/// The schema of an address.
pub(super) fn address(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(body: &str) -> Result<Whom, Failure> {
        parse::<Selector>(body.as_bytes())?.whom()
    }

    #[test]
    fn a_caller_is_a_user_or_an_address_or_everybody() {
        assert_eq!(selected("{}"), Ok(Whom::Everybody));
        assert_eq!(selected(r#"{"user":"ann"}"#), Ok(Whom::User("ann".into())));
        assert_eq!(selected(r#"{"address":"::ffff:192.0.2.1"}"#), Ok(Whom::Address([192, 0, 2, 1].into())));
    }

    #[test]
    fn what_is_not_meant_is_refused() {
        let long = format!(r#"{{"user":"{}"}}"#, "a".repeat(1_025));
        for wrong in [
            "",
            r#"["ann"]"#,
            "null",
            "[]",
            "7",
            r#"{"usr":"ann"}"#,
            r#"{"user":null}"#,
            r#"{"user":""}"#,
            r#"{"user":7}"#,
            r#"{"address":"192.0.2.0/24"}"#,
            r#"{"user":"a","address":"192.0.2.1"}"#,
            &long,
        ] {
            let failure = selected(wrong).unwrap_err();
            assert_eq!((failure.status.as_u16(), failure.code), (400, "bad_request"), "{wrong}");
        }
        for wrong in [
            r#"{"seconds":9}"#,
            r#"{"user":"a"}"#,
            r#"{"user":"a","seconds":0}"#,
            r#"{"user":"a","seconds":2592001}"#,
            r#"{"user":"a","seconds":-1}"#,
            r#"{"user":"a","seconds":1.5}"#,
        ] {
            assert!(parse::<BlockRequest>(wrong.as_bytes()).and_then(BlockRequest::whom).is_err(), "{wrong}");
        }
    }
}
