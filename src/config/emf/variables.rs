//! The environment variables of the AWS libraries for this format, as defaults of what the file does not set.
//!
//! Invariant: none is looked at without a table `[emf]`, and a wrong value is an error that names its variable.

use super::super::model::emf::{EmfSink, HostPort};
use super::super::origin::Origin;
use super::super::report::{Place, shown};
use super::super::suggest::nearest;
use super::super::table::Table;
use super::sink::{AGENT_PORT, parse_socket};

const ENVIRONMENT: &str = "AWS_EMF_ENVIRONMENT";
const ENDPOINT: &str = "AWS_EMF_AGENT_ENDPOINT";
const DISABLE: &str = "AWS_EMF_DISABLE_METRIC_EXTRACTION";

/// The value of a variable; an empty one is as good as none.
pub(super) fn find(table: &Table<'_, '_>, name: &str) -> Option<String> {
    let value = if table.is_there() { (table.reader.env)(name) } else { None };
    value.filter(|value| !value.is_empty())
}

/// Notes that a key has its value from a variable.
pub(super) fn note(table: &mut Table<'_, '_>, key: &str, name: &'static str) {
    table.reader.origins.set(format!("emf.{key}"), Origin::Variable { name });
}

/// Reports a variable's value.
pub(super) fn refuse(
    table: &mut Table<'_, '_>,
    name: &str,
    fault: &str,
    value: &str,
    help: impl Into<String>,
) {
    let message = format!("`{name}` {fault}, found `{}`", shown(value));
    table.reader.error(Place::Environment, message, help);
}

/// The sink that the environment chooses.
pub(super) fn sink(table: &mut Table<'_, '_>) -> Option<EmfSink> {
    const NAMES: [&str; 4] = ["Local", "Lambda", "EC2", "Default"];
    let environment = find(table, ENVIRONMENT);
    let known =
        environment.as_deref().map(|value| NAMES.iter().find(|name| name.eq_ignore_ascii_case(value)));
    match (known, &environment) {
        (Some(Some(&("Local" | "Lambda"))), _) => {
            note(table, "sink", ENVIRONMENT);
            return Some(EmfSink::Stdout);
        }
        (Some(None), Some(value)) => {
            let help = match nearest(value, NAMES) {
                Some(meant) => format!("did you mean `{meant}`"),
                None => "`Local` and `Lambda` are standard output, `EC2` and `Default` the agent".to_owned(),
            };
            refuse(table, ENVIRONMENT, "must be `Local`, `Lambda`, `EC2` or `Default`", value, help);
        }
        _ => {}
    }
    if let Some(value) = find(table, ENDPOINT) {
        return endpoint(table, &value);
    }
    environment.and(known.flatten()).map(|_| {
        note(table, "sink", ENVIRONMENT);
        EmfSink::Tcp(HostPort { host: "127.0.0.1".to_owned(), port: AGENT_PORT })
    })
}

fn endpoint(table: &mut Table<'_, '_>, value: &str) -> Option<EmfSink> {
    match parse_socket(value) {
        Some(Ok(sink)) => {
            note(table, "sink", ENDPOINT);
            Some(sink)
        }
        Some(Err(error)) => {
            refuse(table, ENDPOINT, &error.fault, value, error.help);
            None
        }
        None => {
            let help = format!("the agent listens on `tcp://127.0.0.1:{AGENT_PORT}`");
            refuse(table, ENDPOINT, "must begin with `tcp://` or `udp://`", value, help);
            None
        }
    }
}

/// Whether lines are not to ask for metrics.
pub(super) fn extraction_is_disabled(table: &mut Table<'_, '_>) -> bool {
    let Some(value) = find(table, DISABLE) else {
        return false;
    };
    match value.to_ascii_lowercase().as_str() {
        "true" => {
            note(table, "extraction", DISABLE);
            true
        }
        "false" => false,
        _ => {
            refuse(table, DISABLE, "must be `true` or `false`", &value, "unset it for metrics");
            false
        }
    }
}
