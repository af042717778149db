//! What can be asked: one table, by which requests are routed and the description at `/openapi.json` is written.

use http::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::changes::{Changed, Reset};
use super::explain::{Explanation, Question};
use super::readiness::{Alive, Ready};
use super::reply::ErrorBody;
use super::requests::{BlockRequest, LiftRequest, Nothing, Selector, Whose};
use super::status::Status;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Health,
    Ready,
    Metrics,
    Status,
    Events,
    OpenApi,
    Page,
    Reset,
    Lift,
    EndLift,
    Block,
    EndBlock,
    Reload,
    Explain,
}

/// One thing that can be asked.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) method: Method,
    /// `{name}` stands for one segment.
    pub(super) path: &'static str,
    pub(super) action: Action,
    /// Whether it is answered without the token, and whatever the `Host`.
    pub(super) is_open: bool,
    pub(super) summary: &'static str,
    /// The request's body, if it has one.
    pub(super) body: Option<SchemaOf>,
    /// Answers of its own; those that every one may have come on top.
    pub(super) answers: &'static [Answer],
}

/// The schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) when: &'static str,
    pub(super) content: Content,
}

/// What an answer holds.
#[derive(Debug)]
pub(super) enum Content {
    Json(SchemaOf),
    Text(&'static [&'static str]),
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const fn answer(status: StatusCode, when: &'static str, schema: SchemaOf) -> Answer {
    Answer { status, when, content: Content::Json(schema) }
}

const fn text(when: &'static str, types: &'static [&'static str]) -> Answer {
    Answer { status: StatusCode::OK, when, content: Content::Text(types) }
}

const fn get(
    path: &'static str,
    action: Action,
    is_open: bool,
    summary: &'static str,
    answers: &'static [Answer],
) -> Endpoint {
    Endpoint { method: Method::GET, path, action, is_open, summary, body: None, answers }
}

const fn change(
    method: Method,
    path: &'static str,
    action: Action,
    summary: &'static str,
    body: SchemaOf,
    answers: &'static [Answer],
) -> Endpoint {
    Endpoint { method, path, action, is_open: false, summary, body: Some(body), answers }
}

const TEXT_FORMATS: &[&str] = &["text/plain", "application/openmetrics-text"];
const NO_LIMIT: Answer =
    answer(StatusCode::NOT_FOUND, "There is no such limit, or nothing to end.", schema_of::<ErrorBody>);
const CONFLICT: Answer =
    answer(StatusCode::CONFLICT, "It cannot be done as things are.", schema_of::<ErrorBody>);

/// The table.
pub(super) static ENDPOINTS: [Endpoint; 14] = [
    get(
        "/healthz",
        Action::Health,
        true,
        "Whether the process lives: every worker gave a sign of life.",
        &[
            answer(StatusCode::OK, "It lives.", schema_of::<Alive>),
            answer(StatusCode::SERVICE_UNAVAILABLE, "A worker gives no sign of life.", schema_of::<Alive>),
        ],
    ),
    get(
        "/readyz",
        Action::Ready,
        true,
        "Whether requests should be sent here.",
        &[
            answer(StatusCode::OK, "It is ready.", schema_of::<Ready>),
            answer(
                StatusCode::SERVICE_UNAVAILABLE,
                "The app is down, or the process drains.",
                schema_of::<Ready>,
            ),
        ],
    ),
    get(
        "/metrics",
        Action::Metrics,
        false,
        "What is measured, for Prometheus.",
        &[
            text("All of it.", TEXT_FORMATS),
            answer(StatusCode::NOT_FOUND, "Metrics are off.", schema_of::<ErrorBody>),
        ],
    ),
    get(
        "/status",
        Action::Status,
        false,
        "The state of the process.",
        &[answer(StatusCode::OK, "All of it.", schema_of::<Status>)],
    ),
    get(
        "/events",
        Action::Events,
        false,
        "The state each second, as server-sent events named `status`.",
        &[text("It goes on until the process ends.", &["text/event-stream"])],
    ),
    get(
        "/openapi.json",
        Action::OpenApi,
        false,
        "This description.",
        &[answer(StatusCode::OK, "All of it.", |_| schemars::json_schema!({ "type": "object" }))],
    ),
    get("/", Action::Page, true, "A page for people.", &[text("The page.", &["text/html"])]),
    change(
        Method::POST,
        "/limits/{name}/reset",
        Action::Reset,
        "Makes the states of a limit as good as new: of one caller on every route, or of all keys.",
        schema_of::<Selector>,
        &[answer(StatusCode::OK, "What was dropped.", schema_of::<Reset>), NO_LIMIT, CONFLICT],
    ),
    change(
        Method::POST,
        "/limits/{name}/lift",
        Action::Lift,
        "Lifts a limit for a while: for one caller, or for everybody.",
        schema_of::<LiftRequest>,
        &[answer(StatusCode::OK, "It is lifted.", schema_of::<Changed>), NO_LIMIT, CONFLICT],
    ),
    change(
        Method::DELETE,
        "/limits/{name}/lift",
        Action::EndLift,
        "Ends a lift.",
        schema_of::<Selector>,
        &[answer(StatusCode::OK, "It is ended.", schema_of::<Changed>), NO_LIMIT],
    ),
    change(
        Method::POST,
        "/block",
        Action::Block,
        "Refuses every request of a caller for a while.",
        schema_of::<BlockRequest>,
        &[answer(StatusCode::OK, "The caller is blocked.", schema_of::<Changed>), CONFLICT],
    ),
    change(
        Method::DELETE,
        "/block",
        Action::EndBlock,
        "Ends a block.",
        schema_of::<Whose>,
        &[answer(StatusCode::OK, "It is ended.", schema_of::<Changed>), NO_LIMIT],
    ),
    change(
        Method::POST,
        "/reload",
        Action::Reload,
        "Reads the configuration again, and waits until it is in force or refused.",
        schema_of::<Nothing>,
        &[
            answer(StatusCode::OK, "It is in force.", schema_of::<super::changes::Reloaded>),
            CONFLICT,
            answer(
                StatusCode::UNPROCESSABLE_ENTITY,
                "Something is wrong with it; nothing was changed.",
                schema_of::<ErrorBody>,
            ),
        ],
    ),
    change(
        Method::POST,
        "/explain",
        Action::Explain,
        "What would happen to a request now. Nothing is debited.",
        schema_of::<Question>,
        &[answer(StatusCode::OK, "What would happen.", schema_of::<Explanation>)],
    ),
];

/// What a path and a method lead to.
#[derive(Debug)]
pub(super) enum Found<'a> {
    Here { endpoint: &'static Endpoint, name: &'a str },
    OtherMethod { allow: String, is_open: bool },
    Nowhere,
}

/// Looks in the table.
pub(super) fn find<'a>(path: &'a str, method: &Method) -> Found<'a> {
    let here = || ENDPOINTS.iter().filter_map(|endpoint| Some((endpoint, matched(endpoint.path, path)?)));
    let wanted = if *method == Method::HEAD { &Method::GET } else { method };
    if let Some((endpoint, name)) = here().find(|(endpoint, _)| endpoint.method == *wanted) {
        return Found::Here { endpoint, name };
    }
    let mut allow = Vec::new();
    for (endpoint, _) in here() {
        allow.push(endpoint.method.as_str());
        if endpoint.method == Method::GET {
            allow.push("HEAD");
        }
    }
    match here().next() {
        Some((endpoint, _)) => Found::OtherMethod { allow: allow.join(", "), is_open: endpoint.is_open },
        None => Found::Nowhere,
    }
}

/// What stands in place of `{name}`; empty if the pattern has none.
fn matched<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let Some((before, behind)) = pattern.split_once("{name}") else {
        return (pattern == path).then_some("");
    };
    let name = path.strip_prefix(before)?.strip_suffix(behind)?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(method: &Method, path: &str) -> Option<Action> {
        match find(path, method) {
            Found::Here { endpoint, .. } => Some(endpoint.action),
            _ => None,
        }
    }

    #[test]
    fn every_endpoint_is_found_by_its_own_path() {
        for endpoint in &ENDPOINTS {
            let path = endpoint.path.replace("{name}", "default");
            assert_eq!(action(&endpoint.method, &path), Some(endpoint.action), "{path}");
        }
        assert_eq!(action(&Method::HEAD, "/status"), Some(Action::Status));
    }

    #[test]
    fn a_name_is_one_segment() {
        let Found::Here { name, .. } = find("/limits/per_ip.v2/lift", &Method::POST) else { panic!() };
        assert_eq!(name, "per_ip.v2");
        for path in ["/limits//lift", "/limits/a/b/lift", "/limits/a/lift/", "/limits/lift", "/nothing", ""] {
            assert!(matches!(find(path, &Method::POST), Found::Nowhere), "{path}");
        }
    }

    #[test]
    fn another_method_is_told_which_there_are() {
        let Found::OtherMethod { allow, .. } = find("/limits/a/lift", &Method::GET) else { panic!() };
        assert_eq!(allow, "POST, DELETE");
        let Found::OtherMethod { allow, .. } = find("/healthz", &Method::POST) else { panic!() };
        assert_eq!(allow, "GET, HEAD");
    }
}
