//! Rates and quotas as they are written: `20/minute`, `5/15 minutes`, `100 per hour; 10/second`.
//!
//! The grammar is that of the Python package `limits`, which Flask-Limiter and slowapi read: what it accepts
//! means the same here. On purpose it accepts more: a count or a multiple of 0, and two rates of one period.
//!
//! Invariant: every rate of a list has a period of its own, and [`Rate`]'s text reads back to the same rate.

use std::ops::Range;

use super::quota::{CalendarUnit, MAX_COUNT};
use super::rate::Rate;

/// Why a text is no rate or quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotationError {
    /// The bytes of the text that are wrong.
    pub at: Range<usize>,
    /// What is wrong with them.
    pub message: String,
    /// What to write.
    pub help: String,
}

/// Units and their seconds. A month and a year are as long as `limits` takes them for.
const UNITS: [(&str, u64); 6] = [
    ("second", 1),
    ("minute", 60),
    ("hour", 3_600),
    ("day", 86_400),
    ("month", 30 * 86_400),
    ("year", 360 * 86_400),
];

/// What people write by habit, and how it is spelled here.
const HABITS: [(&str, u64, &str); 20] = [
    ("s", 1, "second"),
    ("sec", 1, "second"),
    ("secs", 1, "second"),
    ("m", 1, "minute"),
    ("min", 1, "minute"),
    ("mins", 1, "minute"),
    ("h", 1, "hour"),
    ("hr", 1, "hour"),
    ("hrs", 1, "hour"),
    ("hourly", 1, "hour"),
    ("d", 1, "day"),
    ("daily", 1, "day"),
    ("w", 7, "day"),
    ("week", 7, "day"),
    ("weeks", 7, "day"),
    ("mo", 1, "month"),
    ("mon", 1, "month"),
    ("y", 1, "year"),
    ("yr", 1, "year"),
    ("yrs", 1, "year"),
];

const UNIT_LIST: &str = "units are `second`, `minute`, `hour`, `day`, `month`, `year`";
const SEPARATORS: [char; 3] = [',', ';', '|'];

/// Reads one rate, or several that are joined by `;`, `,` or `|`.
pub fn parse(text: &str) -> Result<Vec<Rate>, NotationError> {
    let mut rates: Vec<Rate> = Vec::new();
    let mut start = 0;
    for part in text.split(SEPARATORS) {
        let at = start..start + part.len();
        start = at.end + 1;
        let amount = amount(text, at)?;
        let rate = amount.rate()?;
        if let Some(before) = rates.iter().find(|before| before.period_seconds() == rate.period_seconds()) {
            let message = format!("`{rate}` and `{before}` have the same period");
            let lower = if before.count() <= rate.count() { *before } else { rate };
            return refuse(amount.at, message, format!("keep the lower one, `{lower}`"));
        }
        rates.push(rate);
    }
    Ok(rates)
}

/// Reads a quota: a count, and the unit of the calendar's windows it holds for.
pub fn parse_quota(text: &str) -> Result<(u64, CalendarUnit), NotationError> {
    const LIST: &str = "a quota is for each `hour`, `day` or `month` of the calendar";
    if let Some(at) = text.find(SEPARATORS) {
        return refuse(at..text.len(), "a quota is one number and a unit", "write a limit for each quota");
    }
    let amount = amount(text, 0..text.len()).map_err(|error| {
        // What would be right for a rate may be none for a quota.
        let meant = error.help.split('"').nth(1);
        match meant.is_some_and(|meant| parse_quota(meant).is_err()) {
            true => NotationError { help: LIST.to_owned(), ..error },
            false => error,
        }
    })?;
    let unit = match amount.unit {
        "hour" => CalendarUnit::Hour,
        "day" => CalendarUnit::Day,
        "month" => CalendarUnit::Month,
        other => {
            let help = match other {
                "year" => LIST.to_owned(),
                _ => format!("{LIST}; write `rate = \"{}\"`", amount.spelled()),
            };
            return refuse(amount.unit_at, format!("a quota has no unit `{other}`"), help);
        }
    };
    if amount.multiple != 1 {
        let help = format!("{LIST}; for any {} {}s write a `rate`", amount.multiple, amount.unit);
        return refuse(amount.multiple_at, format!("a quota is for one {} at a time", amount.unit), help);
    }
    if amount.count > MAX_COUNT {
        let message = format!("a quota is at most {MAX_COUNT}");
        return refuse(amount.count_at, message, "write a smaller number");
    }
    Ok((amount.count, unit))
}

fn refuse<T>(
    at: Range<usize>,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Result<T, NotationError> {
    Err(NotationError { at, message: message.into(), help: help.into() })
}

/// `5/15 minutes`, and where its parts are.
struct Amount {
    at: Range<usize>,
    count: u64,
    count_at: Range<usize>,
    multiple: u64,
    multiple_at: Range<usize>,
    unit: &'static str,
    unit_at: Range<usize>,
    unit_seconds: u64,
}

impl Amount {
    fn rate(&self) -> Result<Rate, NotationError> {
        let seconds = self.multiple.checked_mul(self.unit_seconds);
        match seconds.and_then(|seconds| Rate::new(self.count, seconds)) {
            Some(rate) => Ok(rate),
            None => {
                let help = "a period is at most 50 years, and a count one a nanosecond";
                refuse(self.at.clone(), "a rate cannot be so large", help)
            }
        }
    }

    fn spelled(&self) -> String {
        spelled(self.count, self.multiple, self.unit)
    }
}

fn spelled(count: u64, multiple: u64, unit: &str) -> String {
    match multiple {
        0 | 1 => format!("{count}/{unit}"),
        _ => format!("{count}/{multiple} {unit}s"),
    }
}

/// Reads one amount of `text`, which is at these bytes.
fn amount(text: &str, at: Range<usize>) -> Result<Amount, NotationError> {
    let mut rest = Rest::new(text, at.clone());
    if rest.is_empty() {
        let help = if text.trim().is_empty() {
            "write for example `\"120/minute\"`"
        } else {
            "remove the separator, or write a rate"
        };
        // An empty part has nothing to point at but its separator.
        let at = if at.is_empty() { at.start.saturating_sub(1)..at.end } else { at };
        return refuse(at, "a rate is missing", help);
    }
    let at = rest.at();
    let (count, count_at) = rest.number()?;
    let Some(count) = count else {
        return refuse(at, "a rate begins with a number", "write for example `\"120/minute\"`");
    };
    if !rest.take("/") && !rest.take("per") {
        return Err(no_period(count, &rest, at));
    }
    let (multiple, multiple_at) = rest.number()?;
    let (unit_at, word) = (rest.at(), rest.text().to_ascii_lowercase());
    let known = UNITS.iter().find(|(name, _)| *name == word || word.strip_suffix('s') == Some(name));
    let Some(&(unit, unit_seconds)) = known else {
        return Err(no_unit(count, multiple.unwrap_or(1), &word, unit_at, &at));
    };
    if count == 0 {
        let help = format!("write at least `1/{unit}`; `mode = \"off\"` lifts a limit");
        return refuse(count_at, "a rate of 0 would admit nothing", help);
    }
    if multiple == Some(0) {
        return refuse(multiple_at, "a period of 0 is none", format!("write `{}`", spelled(count, 1, unit)));
    }
    let multiple = multiple.unwrap_or(1);
    Ok(Amount { at, count, count_at, multiple, multiple_at, unit, unit_at, unit_seconds })
}

/// No `/` behind the count: `10r/s`, `10 minutes`, `10`.
fn no_period(count: u64, rest: &Rest<'_>, whole: Range<usize>) -> NotationError {
    let tail = rest.text();
    if tail.is_empty() {
        let help = format!("write for example `\"{count}/minute\"`");
        return NotationError { at: whole, message: "a rate needs a period".to_owned(), help };
    }
    let message = match tail.starts_with(['.', '_']) {
        true => "a rate begins with a whole number",
        false => "`/` or `per` must follow the number",
    };
    let help = match guess(count, tail) {
        Some(meant) => format!("write `\"{meant}\"`"),
        None => "write for example `\"120/minute\"` or `\"120 per minute\"`".to_owned(),
    };
    NotationError { at: rest.at(), message: message.to_owned(), help }
}

fn no_unit(count: u64, multiple: u64, word: &str, at: Range<usize>, whole: &Range<usize>) -> NotationError {
    if word.is_empty() {
        let help = format!("write for example `\"{}\"`", spelled(count, multiple, "second"));
        return NotationError { at: whole.clone(), message: "a rate needs a unit".to_owned(), help };
    }
    let help = match unit_by_habit(word) {
        Some((factor, unit)) => {
            format!("write `\"{}\"`", spelled(count, multiple.saturating_mul(factor), unit))
        }
        None => UNIT_LIST.to_owned(),
    };
    let short: String = word.chars().take(20).collect();
    NotationError { at, message: format!("unknown unit `{}`", short.escape_debug()), help }
}

fn unit_by_habit(word: &str) -> Option<(u64, &'static str)> {
    let name = word.trim_end_matches('s');
    let own = UNITS.iter().find(|(unit, _)| *unit == name).map(|(unit, _)| (1, *unit));
    let habit = || HABITS.iter().find(|(habit, ..)| *habit == word).map(|(_, factor, unit)| (*factor, *unit));
    own.or_else(habit)
}

/// What was probably meant by `r/s`, ` requests per 5 min`, ` minutes` behind a count.
fn guess(count: u64, tail: &str) -> Option<String> {
    let tail = tail.to_ascii_lowercase();
    if let Some((factor, unit)) = unit_by_habit(&tail) {
        return Some(spelled(count, factor, unit));
    }
    let behind = tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim_start();
    let behind = behind.strip_prefix('/').or_else(|| behind.strip_prefix("per"))?;
    let mut rest = Rest::new(behind, 0..behind.len());
    let (multiple, _) = rest.number().ok()?;
    let (factor, unit) = unit_by_habit(rest.text())?;
    Some(spelled(count, multiple.unwrap_or(1).saturating_mul(factor), unit))
}

/// What is not read yet, without the spaces around it.
struct Rest<'t> {
    whole: &'t str,
    start: usize,
    end: usize,
}

impl<'t> Rest<'t> {
    fn new(whole: &'t str, at: Range<usize>) -> Rest<'t> {
        let end = at.start + whole[at.clone()].trim_end().len();
        let mut rest = Rest { whole, start: at.start, end };
        rest.skip(0);
        rest
    }

    fn text(&self) -> &'t str {
        &self.whole[self.start..self.end]
    }

    fn at(&self) -> Range<usize> {
        self.start..self.end
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Goes over so many bytes and the spaces behind them.
    fn skip(&mut self, bytes: usize) {
        self.start += bytes;
        self.start = self.end - self.text().trim_start().len();
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.text().get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        if found {
            self.skip(word.len());
        }
        found
    }

    /// The number that stands here, if one does.
    fn number(&mut self) -> Result<(Option<u64>, Range<usize>), NotationError> {
        let digits = self.text().bytes().take_while(u8::is_ascii_digit).count();
        let at = self.start..self.start + digits;
        if digits == 0 {
            return Ok((None, at));
        }
        let Ok(number) = self.whole[at.clone()].parse() else {
            return refuse(at, "a number cannot be so large", "write a smaller one");
        };
        self.skip(digits);
        Ok((Some(number), at))
    }
}

#[cfg(test)]
mod tests;
