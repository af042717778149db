//! The grammar of a rule's condition: `error_rate > 5%`, `p99 > 2s`, `upstream_down`.
//!
//! Invariant: what [`Written`] shows, [`parse`] reads back to the same condition; and a condition can be so and can be
//! otherwise.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use super::super::model::admin::{AlertMeasure, Condition, Side};
use super::super::report::shown;
use super::super::suggest::nearest;
use super::super::units::{duration_text, parse_decimal, parse_duration};

/// Every measure by its name.
const MEASURES: [(&str, AlertMeasure); 9] = [
    ("error_rate", AlertMeasure::ErrorRate),
    ("throttled_rate", AlertMeasure::ThrottledRate),
    ("p50", AlertMeasure::P50),
    ("p95", AlertMeasure::P95),
    ("p99", AlertMeasure::P99),
    ("request_rate", AlertMeasure::RequestRate),
    ("upstream_down", AlertMeasure::UpstreamDown),
    ("sink_drops", AlertMeasure::SinkDrops),
    ("quota_used", AlertMeasure::QuotaUsed),
];

/// More requests a second, or lines, than there will be.
const MAX_NUMBER: f64 = 1e9;

/// What a measure is counted in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Share,
    Latency,
    Number,
    YesOrNo,
}

/// Why a text is no condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConditionError {
    /// The bytes of the text that are wrong.
    pub(crate) at: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: String,
}

/// A condition as it is written.
pub(crate) struct Written<'a>(pub(crate) &'a Condition);

pub(crate) fn name_of(measure: AlertMeasure) -> &'static str {
    MEASURES.iter().find(|(_, known)| *known == measure).map_or("", |(name, _)| name)
}

fn kind(measure: AlertMeasure) -> Kind {
    match measure {
        AlertMeasure::ErrorRate | AlertMeasure::ThrottledRate | AlertMeasure::QuotaUsed => Kind::Share,
        AlertMeasure::P50 | AlertMeasure::P95 | AlertMeasure::P99 => Kind::Latency,
        AlertMeasure::RequestRate | AlertMeasure::SinkDrops => Kind::Number,
        AlertMeasure::UpstreamDown => Kind::YesOrNo,
    }
}

/// Reads `MEASURE OP VALUE`, or `upstream_down` alone.
pub(crate) fn parse(text: &str) -> Result<Condition, ConditionError> {
    let start = text.len() - text.trim_start().len();
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let word_length = text[start..].find(|c| !is_word(c)).unwrap_or(text.len() - start);
    let word = start..start + word_length;
    let measure = measure(text, word.clone())?;
    let rest = skip_spaces(text, word.end);
    if kind(measure) == Kind::YesOrNo {
        if rest < text.len() {
            return wrong(rest..text.len(), "`upstream_down` stands alone", "remove what stands behind it");
        }
        return Ok(Condition { measure, side: Side::Above, threshold: 0.5 });
    }
    let (side, behind) = side(text, measure, rest)?;
    let from = skip_spaces(text, behind);
    let value = from..text.trim_end().len().max(from);
    if value.is_empty() {
        let message = format!("a value is missing behind `{}`", &text[rest..behind]);
        return wrong(rest..behind, message, example(measure));
    }
    let threshold = threshold(&text[value.clone()], measure).map_err(|(message, help)| ConditionError {
        at: value.clone(),
        message,
        help,
    })?;
    check_sense(measure, side, threshold).map_err(|message| ConditionError {
        at: rest..value.end,
        message,
        help: example(measure),
    })?;
    Ok(Condition { measure, side, threshold })
}

fn measure(text: &str, word: Range<usize>) -> Result<AlertMeasure, ConditionError> {
    let name = &text[word.clone()];
    if let Some((_, measure)) = MEASURES.iter().find(|(known, _)| *known == name) {
        return Ok(*measure);
    }
    let names = MEASURES.map(|(name, _)| name);
    if name.is_empty() {
        let help = "write for example `error_rate > 5%`";
        return wrong(
            word.start..text.len().max(word.start),
            "a condition begins with what is measured",
            help,
        );
    }
    let help = match nearest(name, names) {
        Some(meant) => format!("did you mean `{meant}`"),
        None => {
            let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("measured are {}", quoted.join(", "))
        }
    };
    wrong(word, format!("`{}` is not measured", shown(name)), help)
}

/// The operator at this place, and where it ends.
fn side(text: &str, measure: AlertMeasure, at: usize) -> Result<(Side, usize), ConditionError> {
    let is_sign = |c: char| matches!(c, '<' | '>' | '=' | '!' | '≥' | '≤' | '≠');
    let end = at + text[at..].find(|c| !is_sign(c)).unwrap_or(text.len() - at);
    match &text[at..end] {
        ">" => Ok((Side::Above, end)),
        "<" => Ok((Side::Below, end)),
        "" if at == text.len() => {
            let name = name_of(measure);
            let begin = text.len() - text.trim_start().len();
            wrong(begin..begin + name.len(), format!("`{name}` is compared with nothing"), example(measure))
        }
        "" => {
            let word = text[at..].split_whitespace().next().unwrap_or_default();
            let message = format!("`{}` is no comparison", shown(word));
            wrong(at..at + word.len(), message, "compare with `>` or `<`")
        }
        ">=" | "=>" | "≥" => {
            wrong(at..end, format!("`{}` is no comparison here", &text[at..end]), "write `>`")
        }
        "<=" | "=<" | "≤" => {
            wrong(at..end, format!("`{}` is no comparison here", &text[at..end]), "write `<`")
        }
        sign => wrong(at..end, format!("`{sign}` is no comparison here"), "compare with `>` or `<`"),
    }
}

fn threshold(value: &str, measure: AlertMeasure) -> Result<f64, (String, String)> {
    match kind(measure) {
        Kind::Share => share(value),
        Kind::Latency => match parse_duration(value) {
            Ok(duration) => Ok(duration.as_secs_f64()),
            Err(error) => {
                let message = format!("`{}` {}, found `{}`", name_of(measure), error.fault, shown(value));
                Err((message, error.help.replace('"', "")))
            }
        },
        Kind::Number | Kind::YesOrNo => match parse_decimal(value) {
            Some(number) if number <= MAX_NUMBER => Ok(number),
            Some(_) => Err((format!("`{}` is never above 1000000000", name_of(measure)), example(measure))),
            None => {
                let message =
                    format!("`{}` is a number without a unit, found `{}`", name_of(measure), shown(value));
                Err((message, example(measure)))
            }
        },
    }
}

/// `5%` or `0.05`.
fn share(value: &str) -> Result<f64, (String, String)> {
    let percent = value.strip_suffix('%').map(str::trim_end);
    let Some(number) = parse_decimal(percent.unwrap_or(value)) else {
        let message = format!("a share is a number from 0 to 1 or a percentage, found `{}`", shown(value));
        return Err((message, "write for example `0.05` or `5%`".to_owned()));
    };
    let share = if percent.is_some() { number / 100.0 } else { number };
    if share > 1.0 {
        let message = format!("a share is at most 1, or 100%, found `{}`", shown(value));
        let help = match percent.is_none() && number <= 100.0 {
            true => format!("write `{value}%`"),
            false => "write for example `0.05` or `5%`".to_owned(),
        };
        return Err((message, help));
    }
    Ok(share)
}

/// Refuses what is never so.
fn check_sense(measure: AlertMeasure, side: Side, threshold: f64) -> Result<(), String> {
    let name = name_of(measure);
    match side {
        Side::Below if threshold <= 0.0 => Err(format!("`{name}` is never below 0")),
        Side::Above if kind(measure) == Kind::Share && threshold >= 1.0 => {
            Err(format!("`{name}` is never above 1, or 100%"))
        }
        _ => Ok(()),
    }
}

fn example(measure: AlertMeasure) -> String {
    let value = match kind(measure) {
        Kind::Share => "5%",
        Kind::Latency => "2s",
        Kind::Number => "100",
        Kind::YesOrNo => return format!("write `{}`", name_of(measure)),
    };
    format!("write for example `{} > {value}`", name_of(measure))
}

fn skip_spaces(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start().len()
}

fn wrong<T>(
    at: Range<usize>,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Result<T, ConditionError> {
    Err(ConditionError { at, message: message.into(), help: help.into() })
}

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Condition { measure, side, threshold } = *self.0;
        let name = name_of(measure);
        let side = match side {
            Side::Above => '>',
            Side::Below => '<',
        };
        match kind(measure) {
            Kind::YesOrNo => f.write_str(name),
            Kind::Share | Kind::Number => write!(f, "{name} {side} {threshold}"),
            Kind::Latency => {
                let seconds = Duration::try_from_secs_f64(threshold).unwrap_or_default();
                // Written are whole milliseconds; what a float lost of them comes back.
                let millis = (seconds + Duration::from_micros(1)).as_millis();
                let whole = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
                write!(f, "{name} {side} {}", duration_text(whole))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (AlertMeasure, Side, f64) {
        let Condition { measure, side, threshold } =
            parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        (measure, side, threshold)
    }

    /// The part of a text that is wrong, and the message.
    fn refused(text: &str) -> (&str, String) {
        let error = parse(text).expect_err(text);
        (&text[error.at], error.message)
    }

    #[test]
    fn conditions_are_read() {
        assert_eq!(read("error_rate > 0.05"), (AlertMeasure::ErrorRate, Side::Above, 0.05));
        assert_eq!(read("throttled_rate>5%"), (AlertMeasure::ThrottledRate, Side::Above, 0.05));
        assert_eq!(read(" quota_used  >  90 % "), (AlertMeasure::QuotaUsed, Side::Above, 0.9));
        assert_eq!(read("p99 > 1500ms"), (AlertMeasure::P99, Side::Above, 1.5));
        assert_eq!(read("p50 < 1m"), (AlertMeasure::P50, Side::Below, 60.0));
        assert_eq!(read("request_rate < 0.5"), (AlertMeasure::RequestRate, Side::Below, 0.5));
        assert_eq!(read("sink_drops > 0"), (AlertMeasure::SinkDrops, Side::Above, 0.0));
        assert_eq!(read("upstream_down"), (AlertMeasure::UpstreamDown, Side::Above, 0.5));
    }

    #[test]
    fn the_part_that_is_wrong_is_told() {
        for (text, part) in [
            ("eror_rate > 5%", "eror_rate"),
            ("> 5%", "> 5%"),
            ("", ""),
            ("error_rate", "error_rate"),
            (" error_rate ", "error_rate"),
            ("error_rate >", ">"),
            ("error_rate >= 5%", ">="),
            ("error_rate == 5%", "=="),
            ("error_rate above 5%", "above"),
            ("error_rate > 5", "5"),
            ("error_rate > 101%", "101%"),
            ("error_rate > -1%", "-1%"),
            ("error_rate > 5% and p99 > 2s", "5% and p99 > 2s"),
            ("error_rate > 1", "> 1"),
            ("error_rate < 0", "< 0"),
            ("p99 > 2", "2"),
            ("p99 > 1.5s", "1.5s"),
            ("request_rate > 100/s", "100/s"),
            ("request_rate > 1e3", "1e3"),
            ("sink_drops > 2000000000", "2000000000"),
            ("upstream_down > 1", "> 1"),
            ("é > 1", "é"),
        ] {
            assert_eq!(refused(text).0, part, "{text}");
        }
    }

    #[test]
    fn what_is_meant_is_suggested() {
        let help = |text: &str| parse(text).expect_err(text).help;
        assert_eq!(help("eror_rate > 5%"), "did you mean `error_rate`");
        assert_eq!(help("error_rate > 5"), "write `5%`");
        assert_eq!(help("error_rate >= 5%"), "write `>`");
        assert!(help("p99 > 2").contains("`2s`"), "{}", help("p99 > 2"));
        assert!(help("latency > 2s").contains("`p99`"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            measure in 0..MEASURES.len(),
            below in any::<bool>(),
            millis in 1..600_000_000_u64,
        ) {
            let (name, measure) = MEASURES[measure];
            let side = if below { '<' } else { '>' };
            let text = match kind(measure) {
                Kind::YesOrNo => name.to_owned(),
                Kind::Latency => format!("{name} {side} {millis}ms"),
                Kind::Share => format!("{name} {side} {}%", millis as f64 / 6_000_001.0),
                Kind::Number => format!("{name} {side} {}", millis as f64 / 1000.0),
            };
            let condition = parse(&text).expect(&text);
            prop_assert_eq!(parse(&Written(&condition).to_string()).unwrap(), condition);
        }

        #[test]
        fn no_text_makes_it_panic(text in "(error_rate|p99|upstream_down| |>|<|=|5%|2s|\\PC){0,6}") {
            if let Err(error) = parse(&text) {
                prop_assert!(text.get(error.at).is_some());
            }
        }
    }
}
