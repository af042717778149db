//! The kinds of values a key can have.
//!
//! Invariant: a value that cannot be used is reported, and its default takes its place, so that
//! reading goes on; a configuration with a report never becomes a model.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::reader::Text;
use super::report::{Place, shown};
use super::suggest::{alternatives, nearest};
use super::table::{Entry, Table};
use super::units::{self, UnitError};

/// A name of the file's own, and what it was given.
pub(crate) struct NamedChoice<T> {
    pub(crate) name: String,
    pub(crate) place: Range<usize>,
    pub(crate) value: T,
}

impl<'d> Table<'_, 'd> {
    /// `key = "10s"`
    pub(crate) fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        self.optional_duration(key).unwrap_or(default)
    }

    /// `key = "10s"`, or no such key.
    pub(crate) fn optional_duration(&mut self, key: &'static str) -> Option<Duration> {
        self.quantity(key, "a duration", "s", units::parse_duration)
    }

    /// `key = "5s"`, to `most`; `"0s"`, and no such key, for not at all.
    pub(crate) fn delay(&mut self, key: &'static str, most: Duration) -> Duration {
        let Some(text) = self.string(key, "a duration with a unit") else { return Duration::ZERO };
        if matches!(text.text.as_str(), "0s" | "0ms" | "0m" | "0h") {
            return Duration::ZERO;
        }
        match units::parse_duration(&text.text) {
            Ok(duration) => {
                self.check_within(key, duration, Duration::ZERO..=most, text.place).unwrap_or_default()
            }
            Err(error) => {
                let message = format!("`{key}` {}, found `{}`", error.fault, shown(&text.text));
                self.reader.error(text.place, message, format!("{}, or `\"0s\"` for not at all", error.help));
                Duration::ZERO
            }
        }
    }

    /// `key = "64KiB"`
    pub(crate) fn size(&mut self, key: &'static str, default: u64) -> u64 {
        self.optional_size(key).unwrap_or(default)
    }

    /// `key = "64KiB"`, or no such key.
    pub(crate) fn optional_size(&mut self, key: &'static str) -> Option<u64> {
        self.quantity(key, "a size", "B", units::parse_size)
    }

    /// `key = "240B/s"`, or `"off"` for none.
    pub(crate) fn byte_rate(&mut self, key: &'static str, default: Option<u64>) -> Option<u64> {
        self.quantity(key, "a size a second", "B/s", units::parse_byte_rate).unwrap_or(default)
    }

    fn quantity<T>(
        &mut self,
        key: &'static str,
        kind: &str,
        usual_unit: &str,
        parse: fn(&str) -> Result<T, UnitError>,
    ) -> Option<T> {
        let entry = self.entry(key)?;
        if let DeValue::Integer(number) = entry.value.get_ref() {
            let number = number.to_string();
            let message = format!("`{key}` needs a unit, found `{number}`");
            let help = format!("write `{key} = \"{}{usual_unit}\"`", number.trim_start_matches('-'));
            self.reader.error(Place::Bytes(entry.value.span()), message, help);
            return None;
        }
        let text = self.reader.text(&entry, entry.value, &format!("{kind} with a unit"))?;
        parse(&text.text)
            .map_err(|error| {
                let message = format!("`{key}` {}, found `{}`", error.fault, shown(&text.text));
                self.reader.error(text.place, message, error.help);
            })
            .ok()
    }

    /// `key = "10s"` within bounds.
    pub(crate) fn duration_within(
        &mut self,
        key: &'static str,
        default: Duration,
        allowed: RangeInclusive<Duration>,
    ) -> Duration {
        let duration = self.duration(key, default);
        match self.span(key) {
            Some(span) if !self.reader.has_error_in(&span) => {
                self.check_within(key, duration, allowed, Place::Bytes(span)).unwrap_or(default)
            }
            _ => default,
        }
    }

    /// A duration that is within bounds, or `None` after a report.
    pub(crate) fn check_within(
        &mut self,
        key: &str,
        duration: Duration,
        allowed: RangeInclusive<Duration>,
        place: Place,
    ) -> Option<Duration> {
        if allowed.contains(&duration) {
            return Some(duration);
        }
        let (least, most) = (units::duration_text(*allowed.start()), units::duration_text(*allowed.end()));
        let bound = match duration < *allowed.start() {
            true => format!("at least `{least}`"),
            false => format!("at most `{most}`"),
        };
        let message = format!("`{key}` must be {bound}, found `{}`", units::duration_text(duration));
        self.reader.error(place, message, format!("use a time from `{least}` to `{most}`"));
        None
    }

    /// `key = "10%"`, or the word that stands for none, or no such key.
    pub(crate) fn percent(&mut self, key: &'static str, least: u8, none: Option<&str>) -> Option<u8> {
        let text = self.string(key, "a percentage such as `\"10%\"`")?;
        if none == Some(text.text.as_str()) {
            return None;
        }
        let parsed = units::parse_percent(&text.text).and_then(|percent| match percent < least {
            true => Err(UnitError {
                fault: format!("must be at least `{least}%`"),
                help: "write for example `\"10%\"`".to_owned(),
            }),
            false => Ok(percent),
        });
        parsed
            .map_err(|error| {
                let message = format!("`{key}` {}, found `{}`", error.fault, shown(&text.text));
                let help = match none {
                    Some(none) => format!("{}, or `\"{none}\"`", error.help),
                    None => error.help,
                };
                self.reader.error(text.place, message, help);
            })
            .ok()
    }

    /// `key = 0.30`, from 0 to `most`; a whole number is one too.
    pub(crate) fn decimal(&mut self, key: &'static str, default: f64, most: f64) -> f64 {
        let Some(entry) = self.entry(key) else {
            return default;
        };
        let (number, found) = match entry.value.get_ref() {
            DeValue::Float(number) => (number.as_str().parse().ok(), number.to_string()),
            DeValue::Integer(number) if number.radix() == 10 => {
                (number.as_str().parse().ok(), number.to_string())
            }
            DeValue::String(raw) if raw.contains("${") => {
                match self.reader.text(&entry, entry.value, "a number") {
                    None => return default,
                    Some(text) => (units::parse_decimal(&text.text), text.text),
                }
            }
            _ => (None, self.reader.written(entry.value).trim_matches('`').to_owned()),
        };
        match number {
            Some(number) if (0.0..=most).contains(&number) => return number,
            Some(number) if number.is_finite() => {
                let message = format!("`{key}` must be from 0 to {most}, found `{}`", shown(&found));
                let help = format!("write for example `{key} = {default:?}`");
                self.reader.error(Place::Bytes(entry.value.span()), message, help);
            }
            _ => {
                let message = format!("`{key}` must be a number, found `{}`", shown(&found));
                let is_quoted = matches!(entry.value.get_ref(), DeValue::String(_));
                let what = if is_quoted { "it without quotes:" } else { "for example" };
                let help = format!("write {what} `{key} = {default:?}`");
                self.reader.error(Place::Bytes(entry.value.span()), message, help);
            }
        }
        default
    }

    /// `key = 90`
    pub(crate) fn count(&mut self, key: &'static str, default: u64, allowed: RangeInclusive<u64>) -> u64 {
        self.optional_count(key, allowed).unwrap_or(default)
    }

    /// `key = 90`, or no such key.
    pub(crate) fn optional_count(&mut self, key: &'static str, allowed: RangeInclusive<u64>) -> Option<u64> {
        let entry = self.entry(key)?;
        self.count_of(&entry, allowed)
    }

    /// The number of an entry.
    pub(crate) fn count_of(&mut self, entry: &Entry<'d>, allowed: RangeInclusive<u64>) -> Option<u64> {
        let key = entry.key;
        let (number, found) = match entry.value.get_ref() {
            DeValue::Integer(number) => {
                let parsed = i128::from_str_radix(number.as_str(), number.radix());
                // What does not fit is far above every bound.
                (parsed.unwrap_or(i128::MAX), number.to_string())
            }
            DeValue::String(raw) if raw.contains("${") => {
                let text = self.reader.text(entry, entry.value, "a whole number")?;
                match text.text.parse::<i128>() {
                    Ok(number) => (number, text.text),
                    Err(_) => {
                        return self.not_a_count(entry, &format!("`{}`", shown(&text.text)), "");
                    }
                }
            }
            DeValue::String(raw) if raw.parse::<u64>().is_ok() => {
                let help = format!("write it without quotes: `{key} = {raw}`");
                let found = self.reader.written(entry.value);
                return self.not_a_count(entry, &found, &help);
            }
            _ => {
                let found = self.reader.written(entry.value);
                return self.not_a_count(entry, &found, "");
            }
        };
        match u64::try_from(number).ok().filter(|number| allowed.contains(number)) {
            Some(number) => Some(number),
            None => {
                let low = number < i128::from(*allowed.start());
                let bound = match low {
                    true => format!("at least {}", allowed.start()),
                    false => format!("at most {}", allowed.end()),
                };
                let message = format!("`{key}` must be {bound}, found `{}`", shown(&found));
                let help = format!("use a number from {} to {}", allowed.start(), allowed.end());
                self.reader.error(Place::Bytes(entry.value.span()), message, help);
                None
            }
        }
    }

    fn not_a_count(&mut self, entry: &Entry<'d>, found: &str, help: &str) -> Option<u64> {
        let message = format!("`{}` must be a whole number, found {found}", entry.key);
        self.reader.error(Place::Bytes(entry.value.span()), message, help);
        None
    }

    /// `key = true`
    pub(crate) fn switch(&mut self, key: &'static str, default: bool) -> bool {
        let Some(entry) = self.entry(key) else {
            return default;
        };
        let found = match entry.value.get_ref() {
            DeValue::Boolean(value) => return *value,
            DeValue::String(raw) if raw.contains("${") => {
                match self.reader.text(&entry, entry.value, "`true` or `false`") {
                    None => return default,
                    Some(text) if text.text == "true" => return true,
                    Some(text) if text.text == "false" => return false,
                    Some(text) => format!("`{}`", shown(&text.text)),
                }
            }
            _ => self.reader.written(entry.value),
        };
        let message = format!("`{key}` must be `true` or `false`, found {found}");
        self.reader.error(Place::Bytes(entry.value.span()), message, "write it without quotes");
        default
    }

    /// `key = "one of these"`
    pub(crate) fn choice<T: Copy>(&mut self, key: &'static str, names: &[(&str, T)], default: T) -> T {
        let wanted: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        let wanted_text = alternatives(&wanted);
        let Some(text) = self.string(key, &wanted_text) else {
            return default;
        };
        if let Some((_, value)) = names.iter().find(|(name, _)| *name == text.text) {
            return *value;
        }
        let message = format!("`{key}` must be {wanted_text}, found `{}`", shown(&text.text));
        let help = match nearest(&text.text, wanted) {
            Some(meant) => format!("did you mean `{meant}`"),
            None => String::new(),
        };
        self.reader.error(text.place, message, help);
        default
    }

    /// `key = { any_name = "one of these" }`: the names are the file's own.
    pub(crate) fn named_choices<T: Copy>(
        &mut self,
        key: &'static str,
        example: &str,
        names: &[(&str, T)],
    ) -> Vec<NamedChoice<T>> {
        let wanted: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        let wanted_text = alternatives(&wanted);
        let mut found = Vec::new();
        for (name, place, entry) in self.free_entries(key, example) {
            let Some(text) = self.reader.text(&entry, entry.value, &wanted_text) else {
                continue;
            };
            if let Some((_, value)) = names.iter().find(|(known, _)| *known == text.text) {
                found.push(NamedChoice { name, place, value: *value });
                continue;
            }
            let message = format!("`{key}` must hold {wanted_text}, found `{}`", shown(&text.text));
            let help = match nearest(&text.text, wanted.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`"),
                None => format!("write for example `{key} = {example}`"),
            };
            self.reader.error(text.place, message, help);
        }
        found
    }

    /// `key = "text"`, or no such key.
    pub(crate) fn string(&mut self, key: &'static str, wanted: &str) -> Option<Text> {
        let entry = self.entry(key)?;
        self.reader.text(&entry, entry.value, wanted)
    }

    /// `key = ["text", …]` or `key = "text"`, or no such key.
    pub(crate) fn strings(&mut self, key: &'static str, wanted: &str) -> Option<Vec<Text>> {
        let entry = self.entry(key)?;
        let one;
        let values: &[Spanned<DeValue<'d>>] = match entry.value.get_ref() {
            DeValue::Array(values) => values,
            _ => {
                one = [entry.value.clone()];
                &one
            }
        };
        let texts = values.iter().map(|value| self.reader.text(&entry, value, wanted));
        Some(texts.collect::<Vec<_>>().into_iter().flatten().collect())
    }
}
