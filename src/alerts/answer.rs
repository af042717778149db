//! What the answer to a message means: delivered, refused, or not now.

use std::time::Duration;

/// The longest wait that is believed: an endpoint that asks for more would never hear of anything again.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Delivered,
    /// It will never be taken; another attempt would change nothing.
    Refused {
        /// For people; holds nothing of the URL.
        why: Fault,
    },
    /// Another attempt may help.
    Failed {
        /// For people; holds nothing of the URL.
        why: Fault,
        /// Not before, if the other side said so.
        after: Option<Duration>,
    },
}

/// What went wrong, from a closed list, so that no text of the other side gets into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The answer's status.
    Status(u16),
    /// A status, and what Slack says it means.
    Slack(u16, &'static str),
    /// There was no answer.
    NoAnswer(&'static str),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Status(status) if (300..400).contains(status) => {
                write!(f, "{status}, a redirect, which is not followed")
            }
            Fault::Status(status) => write!(f, "{status}"),
            Fault::Slack(status, word) => write!(f, "{status} {word}"),
            Fault::NoAnswer(what) => f.write_str(what),
        }
    }
}

/// Words of Slack's incoming webhooks.
const SLACK_WORDS: [&str; 16] = [
    "action_prohibited",
    "channel_is_archived",
    "channel_not_found",
    "invalid_payload",
    "invalid_token",
    "no_active_hooks",
    "no_service",
    "no_service_id",
    "no_team",
    "no_text",
    "posting_to_general_channel_denied",
    "rate_limited",
    "rollup_error",
    "team_disabled",
    "too_many_attachments",
    "user_not_found",
];

/// Judges an answer; `body` is its begin, `unix_seconds` the time for a `Retry-After` that is a date.
pub fn judge(status: u16, retry_after: Option<&str>, body: &[u8], unix_seconds: u64) -> Outcome {
    let word = SLACK_WORDS.iter().find(|word| word.as_bytes() == body.trim_ascii());
    let why = word.map_or(Fault::Status(status), |word| Fault::Slack(status, word));
    match status {
        200..300 => Outcome::Delivered,
        408 | 429 | 500.. => {
            Outcome::Failed { why, after: retry_after.and_then(|value| wait(value, unix_seconds)) }
        }
        _ => Outcome::Refused { why },
    }
}

/// Seconds, or a date.
fn wait(value: &str, unix_seconds: u64) -> Option<Duration> {
    let value = value.trim();
    let seconds = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        value.parse().unwrap_or(u64::MAX)
    } else {
        let date = httpdate::parse_http_date(value).ok()?;
        let date = date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
        date.saturating_sub(unix_seconds)
    };
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(value: &str) -> Option<Duration> {
        match judge(429, Some(value), b"", 784_111_777) {
            Outcome::Failed { after, .. } => after,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_nothing_else() {
        for status in [408, 429, 500, 502, 503, 504, 599] {
            let expected = Outcome::Failed { why: Fault::Status(status), after: None };
            assert_eq!(judge(status, None, b"", 0), expected);
        }
        for status in [300, 301, 302, 307, 308, 400, 401, 403, 404, 405, 410, 413] {
            assert_eq!(judge(status, None, b"", 0), Outcome::Refused { why: Fault::Status(status) });
        }
        for status in [200, 201, 202, 204] {
            assert_eq!(judge(status, None, b"", 0), Outcome::Delivered);
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        assert_eq!(after("30"), Some(Duration::from_secs(30)));
        assert_eq!(after(" 0 "), Some(Duration::ZERO));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:27 GMT"), Some(Duration::ZERO));
        assert_eq!(after("99999999999999999999999"), Some(MAX_RETRY_AFTER));
        for nonsense in ["", "soon", "-1", "1.5", "+3"] {
            assert_eq!(after(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn only_words_of_slack_are_repeated() {
        let told = |body: &[u8]| match judge(404, None, body, 0) {
            Outcome::Refused { why } => why.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(b"no_service\n"), "404 no_service");
        assert_eq!(told(b"Cannot POST /services/T0/B0/secret"), "404");
        assert_eq!(judge(302, None, b"", 0), Outcome::Refused { why: Fault::Status(302) });
        assert_eq!(Fault::Status(302).to_string(), "302, a redirect, which is not followed");
    }
}
