//! `tollgate explain --live`: the same question, answered by a running tollgate with the levels of this moment.

use std::fmt::Write as _;
use std::process::ExitCode;

use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::columns::{shown, span};
use super::explain::request_of;
use super::live::{Admin, Failure};
use super::options::Explain;
use super::terminal;

/// What the admin listener answers.
#[derive(Debug, Deserialize)]
struct Explanation {
    route: Option<String>,
    user: Option<String>,
    tier: Option<String>,
    address: Option<String>,
    blocked: bool,
    exempt: bool,
    limits: Vec<ExplainedLimit>,
    answer: Answer,
}

#[derive(Debug, Deserialize)]
struct ExplainedLimit {
    limit: String,
    mode: String,
    lifted: bool,
    meters: Vec<Meter>,
}

#[derive(Debug, Deserialize)]
struct Meter {
    measure: String,
    cost: u64,
    remaining: u64,
    most: u64,
    reset_seconds: u64,
    would_refuse: bool,
}

#[derive(Debug, Deserialize)]
struct Answer {
    status: Option<u16>,
    code: String,
    limit: Option<String>,
    retry_after_seconds: Option<u64>,
}

/// Asks and tells.
pub(super) fn explain_live(arguments: &Explain) -> ExitCode {
    let told = || {
        let question = question(arguments)?;
        let admin = Admin::of(&arguments.asking, &arguments.config)?;
        let answer = admin.send(&Method::POST, "/explain", &question)?;
        let explanation = serde_json::from_value(answer).map_err(|_| admin.is_something_else())?;
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = tell(&mut text, &explanation);
        Ok(terminal::to_stdout(text.as_bytes()))
    };
    told().unwrap_or_else(|failure: Failure| failure.tell())
}

fn question(arguments: &Explain) -> Result<Value, Failure> {
    let (method, path, fields) = request_of(&arguments.request, &arguments.headers)
        .map_err(|(message, help)| Failure::usage(message, help))?;
    let mut headers = Map::new();
    for (name, value) in &fields {
        let text =
            value.to_str().map_err(|_| Failure::usage(format!("the value of `{name}` is not ASCII"), ""))?;
        if headers.insert(name.to_string(), json!(text)).is_some() {
            let help = "a running tollgate is asked with each field once; join the values by `, `";
            return Err(Failure::usage(format!("`{name}` is there twice"), help));
        }
    }
    let mut question = Map::new();
    question.insert("method".to_owned(), json!(method.as_str()));
    question.insert("path".to_owned(), json!(path.to_string()));
    question.insert("headers".to_owned(), Value::Object(headers));
    let given = [("user", &arguments.user), ("tier", &arguments.tier)];
    for (name, value) in given {
        if let Some(value) = value {
            question.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(address) = arguments.ip {
        question.insert("address".to_owned(), json!(address));
    }
    Ok(Value::Object(question))
}

fn tell(out: &mut String, explanation: &Explanation) -> std::fmt::Result {
    let named = |name: &Option<String>, none: &str| name.as_deref().map_or_else(|| none.to_owned(), shown);
    writeln!(out, "route    {}", named(&explanation.route, "none matches"))?;
    writeln!(out, "address  {}", named(&explanation.address, "none, a Unix peer nobody spoke for"))?;
    let user = explanation.user.as_deref().map(|user| format!("`{}`", shown(user)));
    let user = user.unwrap_or_else(|| "nobody: the caller is the address".to_owned());
    match &explanation.tier {
        Some(tier) => writeln!(out, "user     {user}, tier `{}`", shown(tier))?,
        None => writeln!(out, "user     {user}")?,
    }
    if explanation.blocked {
        writeln!(out, "blocked  by hand")?;
    }
    if explanation.exempt {
        writeln!(out, "limits   none: `[limiting] exempt` lets it through")?;
    } else if explanation.limits.is_empty() {
        writeln!(out, "limits   none")?;
    } else {
        explanation.limits.iter().try_for_each(|limit| tell_limit(out, limit))?;
    }
    tell_answer(out, &explanation.answer)
}

fn tell_limit(out: &mut String, limit: &ExplainedLimit) -> std::fmt::Result {
    let mode = match limit.mode.as_str() {
        "enforce" => "",
        "shadow" => ", shadow: decides and never refuses",
        _ => ", off",
    };
    let lifted = if limit.lifted { ", lifted by hand" } else { "" };
    writeln!(out, "limit    {}{mode}{lifted}", shown(&limit.limit))?;
    if limit.meters.is_empty() {
        return writeln!(out, "           not counted: it is off, or the request has nothing it counts by");
    }
    for meter in &limit.meters {
        let Meter { measure, cost, remaining, most, reset_seconds, .. } = meter;
        let full = if remaining < most {
            format!(", nothing spent any more in {}", span(*reset_seconds))
        } else {
            String::new()
        };
        let refuses = if meter.would_refuse { ": too little" } else { "" };
        writeln!(
            out,
            "           {}, costs {cost}, {remaining} of {most} left{refuses}{full}",
            shown(measure)
        )?;
    }
    Ok(())
}

fn tell_answer(out: &mut String, answer: &Answer) -> std::fmt::Result {
    let Some(status) = answer.status else { return writeln!(out, "\nanswer   the app's") };
    write!(out, "\nanswer   {status} {}", shown(&answer.code))?;
    if let Some(limit) = &answer.limit {
        write!(out, ", limit `{}`", shown(limit))?;
    }
    out.push('\n');
    match answer.retry_after_seconds {
        Some(seconds) => writeln!(out, "           Retry-After: {seconds}"),
        None => Ok(()),
    }
}
