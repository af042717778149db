//! What would happen to a request now, by the code that would do it, with the levels of this moment. Nothing is
//! debited.

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limit::decide::{Meets, Met, look, meets};
use crate::limit::fields::whole_seconds;
use crate::limit::meter::Measure;
use crate::limit::rules::{Due, Limit, Mode};
use crate::limit::state::Now;
use crate::message::local_reply::{LocalReply, RetryAfter};
use crate::message::path;
use crate::proxy::caller::{Caller, Naming, User};
use crate::proxy::current::Prepared;
use crate::proxy::interventions::Interventions;

use super::live_limits::mode_text;
use super::reply::{Body, Failure, json};
use super::requests::{self, MAX_USER, bad, parse};
use super::server::Asked;

const MAX_METHOD: usize = 32;
const MAX_PATH: usize = 4_096;
const MAX_FIELDS: usize = 100;
const MAX_FIELD_NAME: usize = 64;
const MAX_VALUE: usize = 1_024;

/// A request, as it would come from a client.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// The method.
    #[schemars(regex(pattern = r"^[A-Z]{1,32}$"))]
    method: String,
    /// With its query, if it has one.
    #[schemars(regex(pattern = r"^/[A-Za-z0-9/._~!$&'()*+,;=:@%?-]*$"), length(max = 4096))]
    path: String,
    /// Instead of what the fields say.
    #[serde(default, deserialize_with = "requests::present")]
    #[schemars(with = "String", length(min = 1, max = 1024))]
    user: Option<String>,
    /// Instead of what the fields say.
    #[serde(default, deserialize_with = "requests::present")]
    #[schemars(with = "String", length(min = 1, max = 1024))]
    tier: Option<String>,
    /// The client's.
    #[serde(default, deserialize_with = "requests::present")]
    #[schemars(schema_with = "requests::address")]
    address: Option<IpAddr>,
    /// Request fields, as from a trusted proxy.
    #[serde(default)]
    #[schemars(schema_with = "fields_schema")]
    headers: BTreeMap<String, String>,
}

/// What would happen.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Explanation {
    /// The route's name; `null` if none matches.
    route: Option<String>,
    /// As identity names the user.
    user: Option<String>,
    /// The user's.
    tier: Option<String>,
    /// The client's.
    address: Option<String>,
    /// Whether an operator blocked the caller.
    blocked: bool,
    /// Whether the caller, or what it asks for, is never limited.
    exempt: bool,
    /// Of the route, in the order in which they are looked at.
    limits: Vec<ExplainedLimit>,
    /// What the client would get.
    answer: ExplainedAnswer,
}

/// A limit of the route.
#[derive(Debug, Serialize, JsonSchema)]
struct ExplainedLimit {
    /// Its name.
    limit: String,
    /// `enforce`, `shadow` or `off`, the kill switch considered.
    mode: &'static str,
    /// Whether an operator lifted it for this caller.
    lifted: bool,
    /// What it measures this caller by; empty if the request is not counted.
    meters: Vec<ExplainedMeter>,
}

/// Where the caller stands.
#[derive(Debug, Serialize, JsonSchema)]
struct ExplainedMeter {
    /// In words.
    measure: String,
    /// Tokens the request would take on entry.
    cost: u64,
    /// Tokens left.
    remaining: u64,
    /// The most there can be.
    most: u64,
    /// Until nothing is spent any more, rounded up.
    reset_seconds: u64,
    /// Whether this alone would refuse it.
    would_refuse: bool,
}

/// What the client would get.
#[derive(Debug, Serialize, JsonSchema)]
struct ExplainedAnswer {
    /// The status; `null` where it is the app's to say.
    status: Option<u16>,
    /// The code of a local reply, or `app`.
    code: &'static str,
    /// The limit that would refuse.
    limit: Option<String>,
    /// What the client would be told to wait.
    retry_after_seconds: Option<u64>,
}

fn fields_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": MAX_FIELDS,
        "propertyNames": { "pattern": "^[A-Za-z0-9_-]{1,64}$" },
        "additionalProperties": { "type": "string", "pattern": "^[ -~]*$", "maxLength": MAX_VALUE },
    })
}

pub(super) fn explain(asked: &Asked<'_>) -> Result<Response<Body>, Failure> {
    let question = parse::<Question>(asked.body)?;
    let prepared = asked.control.prepared();
    let now = asked.control.now();
    let (request, caller) = understood(&question, &prepared, now)?;
    let client = question.address.map(|address| address.to_canonical());
    let explained = Explained {
        prepared: &prepared,
        interventions: &asked.control.shared.interventions,
        request: &request,
        client,
        caller: &caller,
        now,
    };
    Ok(json(StatusCode::OK, &explained.tell()))
}

/// The request as it would stand behind `identify`.
fn understood(question: &Question, prepared: &Prepared, now: Now) -> Result<(Parts, Caller), Failure> {
    let Question { method, path, .. } = question;
    if !(1..=MAX_METHOD).contains(&method.len()) || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(bad("`method` is 1 to 32 capital letters."));
    }
    let in_path = |byte: u8| byte.is_ascii_alphanumeric() || b"/._~!$&'()*+,;=:@%?-".contains(&byte);
    if !path.starts_with('/') || path.len() > MAX_PATH || !path.bytes().all(in_path) {
        return Err(bad("`path` begins with `/` and has at most 4096 characters that a URI may have."));
    }
    for name in [&question.user, &question.tier].into_iter().flatten() {
        if name.is_empty() || name.chars().count() > MAX_USER {
            return Err(bad("`user` and `tier` have 1 to 1024 characters."));
        }
    }
    let method: Method = method.parse().map_err(|_| bad("`method` is not one."))?;
    let uri: Uri = path.parse().map_err(|_| bad("`path` is not one."))?;
    let (mut request, ()) = http::Request::new(()).into_parts();
    (request.method, request.uri) = (method, uri);
    request.headers = fields(&question.headers)?;
    let mut caller = Caller { peer_is_trusted: true, ..Caller::default() };
    let naming = Naming {
        identity: &prepared.model.identity,
        keys: prepared.keys.as_deref(),
        seed: &prepared.buckets.seed,
        exempt: &prepared.model.limits.limiting.exempt,
    };
    caller.name(naming, &request, None, now.unix_nanos / 1_000_000_000);
    if let Some(user) = &question.user {
        caller.user = Some(User::Named(user.as_str().into()));
    }
    if let Some(tier) = &question.tier {
        caller.tier = Some(tier.as_str().into());
    }
    Ok((request, caller))
}

fn fields(written: &BTreeMap<String, String>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    if written.len() > MAX_FIELDS {
        return Err(bad("`headers` has 100 fields at most."));
    }
    for (name, value) in written {
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if !(1..=MAX_FIELD_NAME).contains(&name.len()) || !name.bytes().all(in_name) {
            return Err(bad("A name in `headers` is 1 to 64 letters, digits, `_` and `-`."));
        }
        if value.len() > MAX_VALUE || !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(bad("A value in `headers` is printable ASCII, 1024 characters at most."));
        }
        let name = HeaderName::try_from(name).map_err(|_| bad("A name in `headers` is not one."))?;
        let value = HeaderValue::try_from(value).map_err(|_| bad("A value in `headers` is not one."))?;
        headers.append(name, value);
    }
    Ok(headers)
}

struct Explained<'a> {
    prepared: &'a Prepared,
    interventions: &'a Interventions,
    request: &'a Parts,
    client: Option<IpAddr>,
    caller: &'a Caller,
    now: Now,
}

impl Explained<'_> {
    fn tell(&self) -> Explanation {
        let caller = self.caller;
        let user = self.user();
        let blocked = self.interventions.is_blocked(user, self.client, self.now.tick);
        let mut explanation = Explanation {
            route: None,
            user: user.map(|user| String::from_utf8_lossy(user).into_owned()),
            tier: caller.tier.as_deref().map(str::to_owned),
            address: self.client.map(|address| address.to_string()),
            blocked,
            exempt: caller.is_exempt(&self.prepared.model.limits.limiting.exempt, self.client, self.request),
            limits: Vec::new(),
            answer: ExplainedAnswer { status: None, code: "app", limit: None, retry_after_seconds: None },
        };
        explanation.answer = match self.decide(&mut explanation) {
            None => explanation.answer,
            Some((reply, limit)) => ExplainedAnswer {
                status: Some(reply.row().status.as_u16()),
                code: reply.row().code,
                limit,
                retry_after_seconds: reply.retry_after().map(|RetryAfter { seconds }| seconds),
            },
        };
        explanation
    }

    /// In the order of the request path; what refuses, and the limit if it is one.
    fn decide(&self, explanation: &mut Explanation) -> Option<(LocalReply, Option<String>)> {
        if matches!(self.request.method, Method::CONNECT | Method::TRACE) {
            return Some((LocalReply::MethodNotAllowed, None));
        }
        let model = &self.prepared.model;
        let path = path::normalize(self.request.uri.path());
        let route = path.as_ref().ok().and_then(|path| model.routes.find_index(&self.request.method, path));
        if let Some(route) = route {
            explanation.route = Some(model.routes.routes()[route].name.to_string());
        }
        if explanation.blocked {
            return Some((LocalReply::Forbidden, None));
        }
        if let Err(bad) = path {
            return Some((LocalReply::BadRequest(bad), None));
        }
        let Some(route) = route else { return Some((LocalReply::NotFound, None)) };
        let refused = self.limits(route, explanation);
        let rejected = self.caller.is_rejected.then_some((LocalReply::Unauthorized, None));
        refused.or(rejected)
    }

    fn limits(&self, route: usize, explanation: &mut Explanation) -> Option<(LocalReply, Option<String>)> {
        let limits = &self.prepared.model.limits;
        let due = limits.by_route.get(route).map(Vec::as_slice).unwrap_or_default();
        let name = explanation.route.clone().unwrap_or_default();
        let payer = self.caller.payer(self.client, self.request, &name);
        let tier = self.caller.tier.as_deref();
        let mut met = meets(due, &limits.limiting, &payer, tier, &self.prepared.buckets);
        for Due { limit, .. } in due {
            explanation.limits.push(self.limit(limit, &met));
        }
        if explanation.exempt || limits.limiting.mode == Mode::Off {
            return None;
        }
        self.interventions.leave_out_lifted(&mut met, self.user(), self.client, self.now.tick);
        let (by, wait_nanos) = look(&met, &self.prepared.buckets, self.now)?;
        let retry_after = RetryAfter { seconds: whole_seconds(wait_nanos).max(1) };
        let reply = match by.meter.measure {
            Measure::Quota(_) => LocalReply::QuotaExceeded(retry_after),
            _ => LocalReply::RateLimited(retry_after),
        };
        Some((reply, Some(by.limit.name.to_string())))
    }

    fn limit(&self, limit: &Limit, met: &Meets<'_>) -> ExplainedLimit {
        let (buckets, now) = (&self.prepared.buckets, self.now);
        let meter = |met: &Met<'_>| {
            let standing = buckets.standing(met.meter, met.payer, now);
            ExplainedMeter {
                measure: met.meter.measure.words(),
                cost: met.cost,
                remaining: standing.remaining,
                most: met.meter.measure.most(),
                reset_seconds: whole_seconds(standing.reset_nanos),
                would_refuse: buckets.look(met.meter, met.payer, now, met.cost).is_err(),
            }
        };
        ExplainedLimit {
            limit: limit.name.to_string(),
            mode: mode_text(limit.mode.min(self.prepared.model.limits.limiting.mode)),
            lifted: self.interventions.is_lifted(&limit.name, self.user(), self.client, now.tick),
            meters: met.iter().filter(|met| met.limit.name == limit.name).map(meter).collect(),
        }
    }

    fn user(&self) -> Option<&[u8]> {
        self.caller.user.as_ref().map(User::as_bytes)
    }
}
