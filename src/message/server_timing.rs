//! `Server-Timing` (W3C Server Timing): how long an app says that parts of its work took.

/// The most that is believed, an hour; whatever is above is no measurement.
const MAX_NANOS: f64 = 3_600_000_000_000.0;
const NANOS_PER_MILLI: f64 = 1_000_000.0;

/// Entries of one field line: a name and its `dur`, in nanoseconds. What has no `dur`, or none that makes sense, is
/// left out.
pub fn entries(line: &str) -> impl Iterator<Item = (&str, u64)> {
    split_unquoted(line, b',').filter_map(|entry| {
        let mut parts = split_unquoted(entry, b';');
        let name = parts.next()?.trim();
        let duration = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case("dur").then(|| value.trim().trim_matches('"'))
        })?;
        let plain = duration.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let nanos = duration.parse::<f64>().ok().filter(|_| plain)? * NANOS_PER_MILLI;
        (!name.is_empty() && nanos <= MAX_NANOS).then_some((name, nanos as u64))
    })
}

/// Parts between separators that stand outside of quoted strings (RFC 9110 section 5.6.4).
fn split_unquoted(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if byte == separator && !quoted => {
                    rest = Some(&text[at + 1..]);
                    return Some(&text[..at]);
                }
                _ => {}
            }
        }
        rest = None;
        Some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(line: &str) -> Vec<(&str, u64)> {
        entries(line).collect()
    }

    #[test]
    fn names_and_durations_are_told() {
        assert_eq!(
            told("miss, db;dur=53.2, app;desc=\"a, b;dur=9\";dur=47, cache;DUR=\"0.5\""),
            [("db", 53_200_000), ("app", 47_000_000), ("cache", 500_000)]
        );
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        for line in [
            "",
            ",",
            ";dur=1",
            "a;dur",
            "a;dur=",
            "a;dur=-1",
            "a;dur=1e3",
            "a;dur=inf",
            "a;dur=NaN",
            "a;dur=9999999999",
        ] {
            assert_eq!(told(line), [], "{line}");
        }
        assert_eq!(told("a;dur=1, b;dur=x, c;dur=2").len(), 2);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_nothing_is_longer_than_an_hour(line in ".{0,200}") {
            for (name, nanos) in entries(&line) {
                prop_assert!(!name.is_empty() && nanos <= MAX_NANOS as u64);
            }
        }
    }
}
