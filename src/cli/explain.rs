//! `tollgate explain`: what would happen to a request, told step by step by the code that would do it.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::ExitCode;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Uri};

use crate::clock::Clock;
use crate::config::Loaded;
use crate::daemon::keys_file;
use crate::limit::buckets::Buckets;
use crate::limit::carry::carry_over;
use crate::limit::decide::{Meets, Met, Verdict, decide, meets};
use crate::limit::fields::{Told, whole_seconds};
use crate::limit::key::Seed;
use crate::limit::meter::Measure;
use crate::limit::rules::{Cost, KeyPart, Limit, Limits, Mode, Scope};
use crate::limit::state::Now;
use crate::message::path;
use crate::proxy::caller::{Caller, Naming, User};

use super::load::load;
use super::options::Explain;
use super::{CONFIGURATION, USAGE, terminal};

/// States of a tollgate that has just started.
const FEW_KEYS: usize = 1_024;

/// What was asked about.
struct Question {
    request: Parts,
    client: Option<IpAddr>,
    caller: Caller,
    /// The user was named by an option.
    is_told: bool,
}

/// Explains a request.
pub(super) fn explain(arguments: &Explain) -> ExitCode {
    if arguments.asking.token_file.is_some() {
        terminal::fail("`--token-file` is for a running tollgate", "ask it with `--live`");
        return ExitCode::from(USAGE);
    }
    let overrides = arguments.overrides.to_overrides();
    let Some(mut loaded) = load(&arguments.config, &overrides) else {
        return ExitCode::from(CONFIGURATION);
    };
    carry_over(&Limits::default(), &mut loaded.model.limits);
    let clock = Clock::start();
    let tick = clock.now();
    let now = Now { tick, unix_nanos: clock.unix_nanos(tick) };
    let seed = Seed([0, 0]);
    let question = match ask(arguments, &loaded, &seed, now) {
        Ok(question) => question,
        Err((message, help)) => {
            terminal::fail(&message, help);
            return ExitCode::from(USAGE);
        }
    };
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = tell(&mut text, &question, &loaded, &Buckets::new(seed, FEW_KEYS), now);
    terminal::to_stdout(text.as_bytes())
}

/// What is wrong with the arguments, and what to do.
pub(super) type Wrong = (String, &'static str);

/// The request the arguments describe, as it would stand behind `identify`.
fn ask(arguments: &Explain, loaded: &Loaded, seed: &Seed, now: Now) -> Result<Question, Wrong> {
    let (method, uri, headers) = request_of(&arguments.request, &arguments.headers)?;
    let (mut request, ()) = http::Request::new(()).into_parts();
    (request.method, request.uri) = (method, uri);
    request.headers = headers;
    let unix_seconds = now.unix_nanos / 1_000_000_000;
    let mut caller = Caller { peer_is_trusted: true, ..Caller::default() };
    let keys = keys_file::of(&loaded.model.identity, unix_seconds)
        .map_err(|(path, error)| (format!("cannot use the keys file `{path}`: {error}"), ""))?;
    let naming = Naming {
        identity: &loaded.model.identity,
        keys: keys.as_ref(),
        seed,
        exempt: &loaded.model.limits.limiting.exempt,
    };
    caller.name(naming, &request, None, unix_seconds);
    if let Some(user) = &arguments.user {
        caller.user = Some(User::Named(user.as_str().into()));
    }
    if let Some(tier) = &arguments.tier {
        caller.tier = Some(tier.as_str().into());
    }
    Ok(Question { request, client: arguments.ip, caller, is_told: arguments.user.is_some() })
}

/// Method, target and fields of a request that is written as "POST /path".
pub(super) fn request_of(written: &str, headers: &[String]) -> Result<(Method, Uri, HeaderMap), Wrong> {
    let (method, target) = match written.split_once(' ') {
        Some((method, target)) => (method, target.trim()),
        None => ("GET", written),
    };
    let help = "write a method and a path, for example \"POST /api/v1/query\"";
    let method: Method = method.parse().map_err(|_| (format!("`{method}` is not a method"), help))?;
    let uri: Uri = target.parse().map_err(|_| (format!("`{target}` is not a path"), help))?;
    if !target.starts_with('/') {
        return Err((format!("`{target}` is not a path"), help));
    }
    Ok((method, uri, fields(headers)?))
}

fn fields(written: &[String]) -> Result<HeaderMap, Wrong> {
    let mut headers = HeaderMap::new();
    for field in written {
        let help = "write a name and a value, for example `--header \"X-Tenant: 7\"`";
        let (name, value) = field.split_once(':').ok_or((format!("`{field}` is not a field"), help))?;
        let name =
            HeaderName::try_from(name.trim()).map_err(|_| (format!("`{name}` is not a field name"), help))?;
        let value = HeaderValue::try_from(value.trim())
            .map_err(|_| (format!("the value of `{name}` is not one"), help))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn tell(
    out: &mut String,
    question: &Question,
    loaded: &Loaded,
    buckets: &Buckets,
    now: Now,
) -> std::fmt::Result {
    let Question { request, client, caller, .. } = question;
    let model = &loaded.model;
    let Ok(normal) = path::normalize(request.uri.path()) else {
        return writeln!(out, "answer   400 bad_request: the path has an ambiguous encoding");
    };
    let Some(route) = model.routes.find_index(&request.method, &normal) else {
        return writeln!(out, "answer   404 not_found: no route matches");
    };
    let name = &model.routes.routes()[route].name;
    let patterns: Vec<String> = model.routes.patterns(route).map(|pattern| format!("`{pattern}`")).collect();
    writeln!(out, "route    {name}, by {}", patterns.join(", "))?;
    tell_caller(out, question)?;
    if caller.is_exempt(&model.limits.limiting.exempt, *client, request) {
        return writeln!(out, "limits   none: `[limiting] exempt` lets it through");
    }
    let due = model.limits.by_route.get(route).map(Vec::as_slice).unwrap_or_default();
    let payer = caller.payer(*client, request, name);
    let met = meets(due, &model.limits.limiting, &payer, caller.tier.as_deref(), buckets);
    if due.is_empty() {
        writeln!(out, "limits   none: the route names no limit")?;
    }
    for due in due {
        tell_limit(out, &due.limit, &met, question, model.limits.limiting.mode)?;
    }
    if caller.is_rejected {
        return writeln!(out, "\nanswer   401 unauthorized: nobody knows this API key");
    }
    tell_answer(out, &met, loaded, buckets, now)
}

fn tell_caller(out: &mut String, question: &Question) -> std::fmt::Result {
    let Question { client, caller, .. } = question;
    let address = client.map_or_else(|| "none, a Unix peer nobody spoke for".to_owned(), |ip| ip.to_string());
    writeln!(out, "address  {address}")?;
    let user = match &caller.user {
        _ if caller.is_rejected => "refused: the keys file does not know this API key".to_owned(),
        None => "nobody: the caller is the address".to_owned(),
        Some(user) => {
            let why = match user {
                _ if question.is_told => "by --user",
                User::Named(_) => "by its API key in the keys file",
                User::Told(_) => "by the field a trusted proxy sets",
                User::Pseudonym(_) => "an API key that nobody vouches for",
            };
            format!("`{}`, {why}", String::from_utf8_lossy(user.as_bytes()).escape_debug())
        }
    };
    match &caller.tier {
        Some(tier) => writeln!(out, "user     {user}, tier `{tier}`"),
        None => writeln!(out, "user     {user}"),
    }
}

fn tell_limit(
    out: &mut String,
    limit: &Limit,
    met: &Meets<'_>,
    question: &Question,
    over_all: Mode,
) -> std::fmt::Result {
    let counted: Vec<&Met<'_>> = met.iter().filter(|met| met.limit.name == limit.name).collect();
    let mode = match limit.mode.min(over_all) {
        Mode::Enforce => "",
        Mode::Shadow => ", shadow: decides and never refuses",
        Mode::Off => ", off",
    };
    let scope = match limit.per {
        Scope::Route => "a bucket for this route",
        Scope::Service => "one bucket for all routes that name it",
    };
    let key: Vec<String> = limit.key.iter().map(|part| key_text(part, question, limit.ipv6_prefix)).collect();
    writeln!(out, "limit    {}: by {}; {scope}{mode}", limit.name, key.join(" and "))?;
    if counted.is_empty() && limit.mode.min(over_all) != Mode::Off {
        return writeln!(out, "           not counted: the request has nothing it counts by");
    }
    for met in counted {
        let cost = match (&met.meter.measure, &limit.cost) {
            (Measure::InFlight(_), _) => "a place until the answer ends".to_owned(),
            (_, Cost::Fixed(_)) => format!("costs {}", met.cost),
            (_, Cost::Answer { header, .. }) => {
                format!("reserves {}, settled by `{header}` of the answer", met.cost)
            }
        };
        writeln!(out, "           {}, {cost}", met.meter.measure.words())?;
    }
    Ok(())
}

fn key_text(part: &KeyPart, question: &Question, ipv6_prefix: u8) -> String {
    let Question { request, client, caller, .. } = question;
    let address = || match client {
        Some(IpAddr::V6(ip)) => format!("the address {ip}/{ipv6_prefix}"),
        Some(ip) => format!("the address {ip}"),
        None => "the Unix peer".to_owned(),
    };
    let user =
        caller.user.as_ref().map(|user| String::from_utf8_lossy(user.as_bytes()).escape_debug().to_string());
    match part {
        KeyPart::Caller => user.map_or_else(address, |user| format!("the user `{user}`")),
        KeyPart::User => {
            user.map_or_else(|| "the user, there is none".to_owned(), |user| format!("the user `{user}`"))
        }
        KeyPart::Ip => address(),
        KeyPart::ApiKey if caller.api_key.is_some() => "the API key".to_owned(),
        KeyPart::ApiKey => "the API key, there is none".to_owned(),
        KeyPart::Header(name) if request.headers.contains_key(name) => format!("the field `{name}`"),
        KeyPart::Header(name) => format!("the field `{name}`, which is not there"),
        KeyPart::Global => "nothing, all share it".to_owned(),
    }
}

/// The first answer, and the refusal once the tightest limit is used up.
fn tell_answer(
    out: &mut String,
    met: &Meets<'_>,
    loaded: &Loaded,
    buckets: &Buckets,
    now: Now,
) -> std::fmt::Result {
    let limiting = &loaded.model.limits.limiting;
    let unix_seconds = now.unix_nanos / 1_000_000_000;
    let mut most = 0u64;
    // Enough of them to use up any limit that a person has patience for.
    const MOST_TRIED: u64 = 1_000_000;
    loop {
        match decide(met, buckets, now).verdict {
            Verdict::Admitted { tightest, .. } => {
                most += 1;
                if most == 1 {
                    writeln!(out, "\nanswer   the app's")?;
                    if let Some((met, standing)) = tightest {
                        tell_fields(out, &Told::admitted(met.meter, standing), loaded, unix_seconds)?;
                    } else {
                        return Ok(());
                    }
                }
                if most == MOST_TRIED {
                    return writeln!(out, "\nthen     not refused within {MOST_TRIED} requests at once");
                }
            }
            Verdict::Refused { by, wait_nanos } => {
                let code = if matches!(by.meter.measure, Measure::Quota(_)) {
                    "quota_exceeded"
                } else {
                    "rate_limited"
                };
                writeln!(out, "\nafter {most} at once   429 {code}, limit `{}`", by.limit.name)?;
                let seconds = whole_seconds(wait_nanos).max(1);
                writeln!(out, "           Retry-After: {seconds}")?;
                let standing = buckets.standing(by.meter, by.payer, now);
                let told = Told::refused(by.meter, standing, wait_nanos);
                if limiting.jitter_percent > 0 {
                    writeln!(out, "           and up to {}% more", limiting.jitter_percent)?;
                }
                return tell_fields(out, &told, loaded, unix_seconds);
            }
        }
    }
}

fn tell_fields(out: &mut String, told: &Told, loaded: &Loaded, unix_seconds: u64) -> std::fmt::Result {
    let mut headers = HeaderMap::new();
    told.write(&loaded.model.limits.limiting, unix_seconds, &mut headers, &mut bytes::BytesMut::new());
    for (name, value) in &headers {
        writeln!(out, "           {name}: {}", value.to_str().unwrap_or_default())?;
    }
    Ok(())
}
