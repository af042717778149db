//! What operators can have done: resets, lifts, blocks, reloads. Each is one line in the log, with who asked for it.

use std::time::Duration;

use http::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::diff::Change;
use crate::limit::reset::{Known, reset_all, reset_caller};
use crate::limit::rules::Limit;
use crate::proxy::interventions::{Full, MOST, Whom};

use super::control::{Control, ReloadOutcome};
use super::reply::{Body, Failure, json};
use super::requests::{BlockRequest, LiftRequest, Nothing, Selector, Whose, parse};
use super::server::Asked;

/// What a reset did.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Reset {
    /// The limit's name.
    limit: String,
    /// States that were dropped.
    dropped: u64,
}

/// What a lift or a block did, or its end.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Changed {
    /// The limit's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<String>,
    /// Until when it holds, milliseconds since 1970; not there if it was ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    until_ms: Option<u64>,
}

/// What a reload did.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Reloaded {
    /// Keys with other values, in their order.
    changes: Vec<ChangedKey>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ChangedKey {
    /// Dotted, as in `listen.max_body`.
    key: String,
    /// As it was; `null` if it was not there.
    from: Option<String>,
    /// As it is; `null` if it is gone.
    to: Option<String>,
}

pub(super) fn reset(asked: &Asked<'_>) -> Result<Response<Body>, Failure> {
    let whom = parse::<Selector>(asked.body)?.whom()?;
    let prepared = asked.control.prepared();
    let limits = &prepared.model.limits;
    let limit = known_limit(asked, &limits.limits)?;
    let (buckets, now) = (&prepared.buckets, asked.control.now());
    let dropped = match known(&whom) {
        None => reset_all(limit, buckets, now),
        Some(known) if known.finds_keys_of(limit) => {
            let routes: Vec<&str> = prepared.model.routes.routes().iter().map(|route| &*route.name).collect();
            reset_caller(limits, &routes, limit, &known, buckets, now)
        }
        Some(_) => {
            let message = "This limit does not count by that; reset it as a whole, or name the other of `user` and \
                           `address`.";
            return Err(Failure::new(StatusCode::CONFLICT, "not_counted_by", message));
        }
    };
    tracing::info!(peer = %asked.peer, limit = &*limit.name, whose = kind_of(&whom), caller = caller_of(&whom), dropped, "limit reset");
    Ok(json(StatusCode::OK, &Reset { limit: limit.name.to_string(), dropped }))
}

pub(super) fn lift(asked: &Asked<'_>) -> Result<Response<Body>, Failure> {
    let request = parse::<LiftRequest>(asked.body)?;
    let seconds = request.seconds;
    let whom = request.whom()?;
    let prepared = asked.control.prepared();
    let limit = known_limit(asked, &prepared.model.limits.limits)?;
    let now = asked.control.now().tick;
    let until = now + Duration::from_secs(seconds);
    asked.control.shared.interventions.lift(&limit.name, whom.clone(), now, until).map_err(full)?;
    tracing::info!(peer = %asked.peer, limit = &*limit.name, whose = kind_of(&whom), caller = caller_of(&whom), seconds, "limit lifted");
    let until_ms = Some(asked.control.unix_ms(until));
    Ok(json(StatusCode::OK, &Changed { limit: Some(limit.name.to_string()), until_ms }))
}

pub(super) fn end_lift(asked: &Asked<'_>) -> Result<Response<Body>, Failure> {
    let whom = parse::<Selector>(asked.body)?.whom()?;
    let now = asked.control.now().tick;
    // Of a limit that is gone since as well.
    if !asked.control.shared.interventions.end_lift(asked.name, &whom, now) {
        return Err(nothing("This limit is not lifted for that caller."));
    }
    tracing::info!(peer = %asked.peer, limit = asked.name, whose = kind_of(&whom), caller = caller_of(&whom), "lift ended");
    Ok(json(StatusCode::OK, &Changed { limit: Some(asked.name.to_owned()), until_ms: None }))
}

pub(super) fn block(asked: &Asked<'_>) -> Result<Response<Body>, Failure> {
    let request = parse::<BlockRequest>(asked.body)?;
    let seconds = request.seconds;
    let whom = request.whom()?;
    let now = asked.control.now().tick;
    let until = now + Duration::from_secs(seconds);
    asked.control.shared.interventions.block(whom.clone(), now, until).map_err(full)?;
    tracing::info!(peer = %asked.peer, whose = kind_of(&whom), caller = caller_of(&whom), seconds, "caller blocked");
    Ok(json(StatusCode::OK, &Changed { limit: None, until_ms: Some(asked.control.unix_ms(until)) }))
}

pub(super) fn end_block(asked: &Asked<'_>) -> Result<Response<Body>, Failure> {
    let whom = parse::<Whose>(asked.body)?.whom()?;
    let now = asked.control.now().tick;
    if !asked.control.shared.interventions.end_block(&whom, now) {
        return Err(nothing("This caller is not blocked."));
    }
    tracing::info!(peer = %asked.peer, whose = kind_of(&whom), caller = caller_of(&whom), "block ended");
    Ok(json(StatusCode::OK, &Changed { limit: None, until_ms: None }))
}

pub(super) async fn reload(asked: &Asked<'_>) -> Result<Response<Body>, Failure> {
    parse::<Nothing>(asked.body)?;
    let outcome = ask_for_reload(asked.control).await?;
    let outcome_text = match &outcome {
        ReloadOutcome::Done(_) => "done",
        ReloadOutcome::Refused(_) => "refused",
        ReloadOutcome::NoFile => "no file",
    };
    tracing::info!(peer = %asked.peer, outcome = outcome_text, "reload asked for");
    match outcome {
        ReloadOutcome::Done(changes) => {
            let changed = |Change { key, from, to }| ChangedKey { key, from, to };
            Ok(json(StatusCode::OK, &Reloaded { changes: changes.into_iter().map(changed).collect() }))
        }
        ReloadOutcome::Refused(problems) => {
            let message = "The configuration in force is unchanged.";
            let failure = Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "reload_refused", message);
            Err(Failure { problems, ..failure })
        }
        ReloadOutcome::NoFile => {
            let message = "It was started without a configuration file, there is none to read again.";
            Err(Failure::new(StatusCode::CONFLICT, "no_file", message))
        }
    }
}

async fn ask_for_reload(control: &Control) -> Result<ReloadOutcome, Failure> {
    if control.is_draining() {
        return Err(Failure::new(StatusCode::CONFLICT, "draining", "The process is about to end."));
    }
    let busy = || {
        let message = "Other reloads are under way; try again.";
        Failure::new(StatusCode::CONFLICT, "busy", message)
    };
    control.reload().await.ok_or_else(busy)
}

fn known_limit<'a>(asked: &Asked<'_>, limits: &'a [std::sync::Arc<Limit>]) -> Result<&'a Limit, Failure> {
    let found = limits.iter().find(|limit| *limit.name == *asked.name);
    found.map(AsRef::as_ref).ok_or_else(|| {
        let message = "No limit of the configuration in force has this name.";
        Failure::new(StatusCode::NOT_FOUND, "no_such_limit", message)
    })
}

fn nothing(message: &str) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "nothing_to_end", message)
}

fn full(Full: Full) -> Failure {
    let message = format!("There are {MOST} of them, more there are not; end one first.");
    Failure::new(StatusCode::CONFLICT, "too_many", message)
}

fn known(whom: &Whom) -> Option<Known<'_>> {
    match whom {
        Whom::Everybody => None,
        Whom::User(user) => Some(Known::User(user.as_bytes())),
        Whom::Address(address) => Some(Known::Address(*address)),
    }
}

/// For the log: a user may have the name of an address, or be called `everybody`.
fn kind_of(whom: &Whom) -> &'static str {
    match whom {
        Whom::Everybody => "everybody",
        Whom::User(_) => "user",
        Whom::Address(_) => "address",
    }
}

/// For the log; what a request said in it cannot end the line.
fn caller_of(whom: &Whom) -> String {
    match whom {
        Whom::Everybody => "everybody".to_owned(),
        Whom::User(user) => user.escape_debug().to_string(),
        Whom::Address(address) => address.to_string(),
    }
}
