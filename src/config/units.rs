//! Durations and sizes as they are written: a whole number and a unit, `250ms`, `64KiB`.
//!
//! Invariant: what [`duration_text`] and [`size_text`] print, the parsers read back to the same
//! value. Nothing is rounded, so there are no fractions.

use std::time::Duration;

use super::report::shown;

/// Longest duration: far beyond any sense, far below where adding to an instant overflows.
pub const MAX_DURATION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Largest size: 1024 TiB, which every signed 64-bit reader of a record can hold.
pub const MAX_SIZE: u64 = 1 << 50;

const DURATION_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Why a text is no duration or size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitError {
    /// Goes behind the name of the key: "needs a unit".
    pub fault: String,
    /// What to write.
    pub help: String,
}

/// Reads `250ms`, `10s`, `5m`, `1h`.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let milliseconds = parse(text, &DURATION)?;
    Ok(Duration::from_millis(milliseconds))
}

/// Reads `4000B`, `64KiB`, `10MiB`, `1GiB`, `1TiB`.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    parse(text, &SIZE)
}

/// Reads a duration that may be zero: not at all.
pub(crate) fn parse_delay(text: &str) -> Result<Duration, UnitError> {
    if matches!(text, "0s" | "0ms" | "0m" | "0h") {
        return Ok(Duration::ZERO);
    }
    parse_duration(text)
        .map_err(|error| UnitError { help: format!("{}, or `\"0s\"` for not at all", error.help), ..error })
}

/// Reads `240B/s`, `1KiB/s`, bytes a second; `None` for `off`.
pub fn parse_byte_rate(text: &str) -> Result<Option<u64>, UnitError> {
    if text == "off" {
        return Ok(None);
    }
    const EXAMPLE: &str = "write for example `\"240B/s\"` or `\"1KiB/s\"`, or `\"off\"`";
    match text.strip_suffix("/s") {
        Some(size) => match parse_size(size) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(wrong) => Err(error(wrong.fault.replace("B`", "B/s`"), EXAMPLE)),
        },
        None => match parse_size(text) {
            Ok(_) => Err(error("is a size, not a size a second", format!("write `\"{text}/s\"`"))),
            Err(_) => Err(error("must be a size a second", EXAMPLE)),
        },
    }
}

/// Reads `10%`, from 0 to 100.
pub fn parse_percent(text: &str) -> Result<u8, UnitError> {
    const EXAMPLE: &str = "write for example `\"10%\"`";
    let number = text.strip_suffix('%').unwrap_or(text);
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    match number.parse::<u8>() {
        Ok(percent) if percent <= 100 && is_number && number.len() < text.len() => Ok(percent),
        _ if is_number && number.len() < text.len() => Err(error("must be at most `100%`", EXAMPLE)),
        _ if is_number => Err(error("needs a `%`", format!("write `\"{number}%\"`"))),
        _ => Err(error("must be a whole number and `%`", EXAMPLE)),
    }
}

/// Reads `0.05`, `5`, `1234.5`: digits, and a point within them.
pub fn parse_decimal(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A duration of whole milliseconds in the largest unit that divides it.
pub fn duration_text(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    largest_unit(milliseconds, &DURATION)
}

/// A size in the largest unit that divides it.
pub fn size_text(bytes: u64) -> String {
    largest_unit(bytes, &SIZE)
}

/// Bytes a second, or `off`.
pub fn byte_rate_text(rate: Option<u64>) -> String {
    rate.map_or_else(|| "off".to_owned(), |bytes| format!("{}/s", size_text(bytes)))
}

/// One kind of quantity.
struct Quantity {
    /// From the largest to the smallest.
    units: &'static [(&'static str, u64)],
    /// What somebody probably meant who wrote the number alone.
    usual_unit: &'static str,
    /// Units people write, in lower case, and ours for them.
    aliases: &'static [(&'static str, &'static str)],
    list: &'static str,
    max: u64,
}

static DURATION: Quantity = Quantity {
    units: &DURATION_UNITS,
    usual_unit: "s",
    aliases: &[
        ("msec", "ms"),
        ("msecs", "ms"),
        ("millis", "ms"),
        ("milliseconds", "ms"),
        ("sec", "s"),
        ("secs", "s"),
        ("second", "s"),
        ("seconds", "s"),
        ("min", "m"),
        ("mins", "m"),
        ("minute", "m"),
        ("minutes", "m"),
        ("hr", "h"),
        ("hrs", "h"),
        ("hour", "h"),
        ("hours", "h"),
    ],
    list: "`ms`, `s`, `m`, `h`",
    max: 7 * 24 * 3_600_000,
};

static SIZE: Quantity = Quantity {
    units: &SIZE_UNITS,
    usual_unit: "B",
    aliases: &[
        ("bytes", "B"),
        ("byte", "B"),
        ("k", "KiB"),
        ("kb", "KiB"),
        ("ki", "KiB"),
        ("m", "MiB"),
        ("mb", "MiB"),
        ("mi", "MiB"),
        ("g", "GiB"),
        ("gb", "GiB"),
        ("gi", "GiB"),
        ("t", "TiB"),
        ("tb", "TiB"),
        ("ti", "TiB"),
    ],
    list: "`B`, `KiB`, `MiB`, `GiB`, `TiB`",
    max: MAX_SIZE,
};

fn parse(text: &str, quantity: &Quantity) -> Result<u64, UnitError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(error("must be a whole number and a unit", example(quantity)));
    }
    let Some(&(_, factor)) = quantity.units.iter().find(|(name, _)| *name == unit) else {
        return Err(wrong_unit(number, unit, quantity));
    };
    let value = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|value| *value <= quantity.max);
    match value {
        Some(0) => {
            let (smallest, _) = quantity.units[quantity.units.len() - 1];
            Err(error(format!("must be at least `1{smallest}`"), example(quantity)))
        }
        Some(value) => Ok(value),
        None => {
            let max = largest_unit(quantity.max, quantity);
            Err(error(format!("must be at most `{max}`"), example(quantity)))
        }
    }
}

fn wrong_unit(number: &str, unit: &str, quantity: &Quantity) -> UnitError {
    let bare = unit.trim();
    if bare.is_empty() {
        let help = format!("write `\"{number}{}\"`; units are {}", quantity.usual_unit, quantity.list);
        return error("needs a unit", help);
    }
    if let Some(rest) = bare.strip_prefix(['.', ','])
        && rest.starts_with(|c: char| c.is_ascii_digit())
    {
        let help = "use a smaller unit: `1500ms` for one and a half seconds, `512KiB` for half a MiB";
        return error("must be a whole number", help);
    }
    let lower = bare.to_ascii_lowercase();
    let ours =
        quantity.units.iter().map(|(name, _)| *name).find(|name| name.eq_ignore_ascii_case(bare)).or_else(
            || {
                let alias = quantity.aliases.iter().find(|(alias, _)| *alias == lower)?;
                Some(alias.1)
            },
        );
    match ours {
        Some(ours) => {
            error(format!("has the unknown unit `{}`", shown(unit)), format!("write `\"{number}{ours}\"`"))
        }
        None => error(
            format!("has the unknown unit `{}`", shown(unit)),
            format!("units are {}, without a space before them", quantity.list),
        ),
    }
}

fn example(quantity: &Quantity) -> String {
    let example = if quantity.usual_unit == "s" {
        "`\"250ms\"`, `\"10s\"`, `\"5m\"`"
    } else {
        "`\"4000B\"`, `\"64KiB\"`, `\"10MiB\"`"
    };
    format!("write for example {example}")
}

fn error(fault: impl Into<String>, help: impl Into<String>) -> UnitError {
    UnitError { fault: fault.into(), help: help.into() }
}

fn largest_unit(value: u64, quantity: &Quantity) -> String {
    let fits = quantity.units.iter().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor));
    let (unit, factor) = fits.copied().unwrap_or((quantity.usual_unit, 1));
    format!("{}{unit}", value / factor)
}

#[cfg(test)]
mod tests;
