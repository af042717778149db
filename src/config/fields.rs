//! Names of HTTP fields as configuration values.

use http::HeaderName;

use super::reader::{Reader, Text};
use super::report::shown;

/// Fields whose value lets somebody else act as the client.
const CREDENTIALS: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];

/// Fields tollgate sets, removes or frames a message by.
const OWN: [&str; 12] = [
    "connection",
    "content-length",
    "content-type",
    "date",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// A field name, or `None` after a report.
pub(crate) fn parse(reader: &mut Reader<'_>, key: &str, text: &Text) -> Option<HeaderName> {
    let Ok(name) = HeaderName::from_bytes(text.text.as_bytes()) else {
        reader.error(
            text.place.clone(),
            format!("`{key}` holds `{}`, which is not a field name", shown(&text.text)),
            "use letters, digits and `-`, for example `X-Request-Id`",
        );
        return None;
    };
    if name.as_str().contains('_') {
        reader.error(
            text.place.clone(),
            format!("`{key}` holds `{}`, a name with `_`", shown(&text.text)),
            format!("tollgate and Gunicorn drop such fields; write `{}`", name.as_str().replace('_', "-")),
        );
        return None;
    }
    Some(name)
}

/// Whether the field holds a secret.
pub(crate) fn is_credential(name: &HeaderName) -> bool {
    CREDENTIALS.contains(&name.as_str())
}

/// Whether every record shows it.
pub(crate) fn is_recorded(name: &HeaderName) -> bool {
    matches!(name.as_str(), "user-agent" | "traceparent" | "x-amzn-trace-id")
}

/// Whether a request id in this field would break the message or the chain of proxies.
pub(crate) fn is_own(name: &HeaderName) -> bool {
    OWN.contains(&name.as_str()) || is_forwarded(name)
}

/// Whether proxies tell each other of the client in it.
pub(crate) fn is_forwarded(name: &HeaderName) -> bool {
    matches!(name.as_str(), "forwarded" | "x-real-ip") || name.as_str().starts_with("x-forwarded-")
}

/// Whether tollgate tells a client of its limits in it.
pub(crate) fn is_of_limits(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "retry-after" | "ratelimit" | "ratelimit-policy") || name.starts_with("x-ratelimit-")
}
