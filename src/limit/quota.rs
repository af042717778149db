//! Quotas: so many in a calendar's hour, day or month.
//!
//! The state is one integer, the end of its window and a count, marked as a quota's by the highest bits. In the
//! worst case twice the quota passes around the end of a window: all of the old one just before, all of the new
//! one just after.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::bucket::Wait;
use super::rate::NANOS_PER_SECOND;

/// The two highest bits of a quota's state.
pub(crate) const MARK: u64 = 0b10 << 62;
const COUNT_BITS: u32 = 36;
/// The most a quota can count.
pub const MAX_COUNT: u64 = (1 << COUNT_BITS) - 1;
const MAX_MINUTE: u64 = (1 << (62 - COUNT_BITS)) - 1;
const MINUTE: u64 = 60;

/// A quota's numbers.
#[derive(Debug, Clone)]
pub struct Quota {
    count: u64,
    calendar: Calendar,
}

/// The unit of a calendar's windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalendarUnit {
    /// From minute 0.
    Hour,
    /// From midnight.
    Day,
    /// From the first.
    Month,
}

impl CalendarUnit {
    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            CalendarUnit::Hour => "hour",
            CalendarUnit::Day => "day",
            CalendarUnit::Month => "month",
        }
    }

    /// Seconds of a window that nothing is special about.
    pub fn usual_seconds(self) -> u64 {
        match self {
            CalendarUnit::Hour => 3_600,
            CalendarUnit::Day => 86_400,
            CalendarUnit::Month => 30 * 86_400,
        }
    }
}

/// Windows of a unit in a zone.
#[derive(Debug)]
pub struct Calendar {
    unit: CalendarUnit,
    zone: TimeZone,
    /// The window that was asked for last, its first and its end minute since 1970: all requests of a day ask for
    /// the same one, and calendars are slow.
    last: AtomicU64,
}

impl Clone for Calendar {
    fn clone(&self) -> Calendar {
        Calendar::new(self.unit, self.zone.clone())
    }
}

impl Calendar {
    /// Windows of `unit` in `zone`.
    pub fn new(unit: CalendarUnit, zone: TimeZone) -> Calendar {
        Calendar { unit, zone, last: AtomicU64::new(0) }
    }

    /// The unit.
    pub fn unit(&self) -> CalendarUnit {
        self.unit
    }

    /// The zone's name; `None` for one without.
    pub fn zone_name(&self) -> Option<&str> {
        self.zone.iana_name()
    }

    /// The end of the window that holds this second since 1970, in minutes since 1970.
    fn end_minute(&self, unix_seconds: u64) -> u64 {
        let minute = unix_seconds / MINUTE;
        let last = self.last.load(Ordering::Relaxed);
        let (first, end) = (last >> 32, last & u64::from(u32::MAX));
        if (first..end).contains(&minute) {
            return end;
        }
        let (first, end) = self.window(unix_seconds).unwrap_or((0, MAX_MINUTE));
        self.last.store(first << 32 | end, Ordering::Relaxed);
        end
    }

    /// First minute and end minute; `None` beyond the years that calendars know.
    fn window(&self, unix_seconds: u64) -> Option<(u64, u64)> {
        let instant = Timestamp::from_second(i64::try_from(unix_seconds).ok()?).ok()?;
        let local = instant.to_zoned(self.zone.clone());
        let (first, end) = match self.unit {
            CalendarUnit::Hour => {
                let offset = i64::from(local.offset().seconds());
                let into_the_hour = (instant.as_second() + offset).rem_euclid(3_600);
                let first = instant.as_second() - into_the_hour;
                (first, first + 3_600)
            }
            CalendarUnit::Day => {
                let first = local.start_of_day().ok()?;
                let end = local.tomorrow().ok()?.start_of_day().ok()?;
                (first.timestamp().as_second(), end.timestamp().as_second())
            }
            CalendarUnit::Month => {
                let first = local.first_of_month().ok()?.start_of_day().ok()?;
                let end = local.last_of_month().ok()?.tomorrow().ok()?.start_of_day().ok()?;
                (first.timestamp().as_second(), end.timestamp().as_second())
            }
        };
        let minute = |seconds: i64| u64::try_from(seconds).ok().map(|seconds| seconds.div_ceil(MINUTE));
        Some((minute(first)?, minute(end)?.min(MAX_MINUTE)))
    }
}

impl Quota {
    /// A quota; `None` if the count is 0 or more than can be counted.
    pub fn new(count: u64, calendar: Calendar) -> Option<Quota> {
        (1..=MAX_COUNT).contains(&count).then_some(Quota { count, calendar })
    }

    /// How many a window.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Which windows.
    pub fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// Whether both count in the same windows.
    pub fn has_windows_of(&self, other: &Quota) -> bool {
        self.calendar.unit == other.calendar.unit && self.calendar.zone == other.calendar.zone
    }

    /// Takes `cost`: the new state, or how long until the window's end.
    pub fn debit(&self, state: u64, unix_nanos: u64, cost: u64) -> Result<u64, Wait> {
        let (end, spent) = self.window_of(state, unix_nanos);
        let spent = spent.saturating_add(cost);
        if spent > self.count {
            return Err(Wait { nanos: nanos_until(end, unix_nanos).max(1) });
        }
        Ok(pack(end, spent))
    }

    /// What is left, and the nanoseconds until there is more.
    pub fn standing(&self, state: u64, unix_nanos: u64) -> (u64, u64) {
        let (end, spent) = self.window_of(state, unix_nanos);
        (self.count.saturating_sub(spent), nanos_until(end, unix_nanos))
    }

    /// Gives `tokens` of a debit back that led to `debited`, if its window is still the state's.
    pub fn refund(&self, state: u64, debited: u64, tokens: u64) -> u64 {
        if end_of(state) != end_of(debited) {
            return state;
        }
        pack(end_of(state), spent_of(state).saturating_sub(tokens))
    }

    /// Takes `tokens` more for a debit that led to `debited`, whether there are any left or not.
    pub fn charge(&self, state: u64, debited: u64, tokens: u64) -> u64 {
        match end_of(state).cmp(&end_of(debited)) {
            // A new window owes nothing of the old one.
            std::cmp::Ordering::Greater => state,
            std::cmp::Ordering::Equal => pack(end_of(state), spent_of(state).saturating_add(tokens)),
            std::cmp::Ordering::Less => pack(end_of(debited), spent_of(debited).saturating_add(tokens)),
        }
    }

    /// A state of a later window than the time's stays in force: a clock that was set back opens no new window.
    fn window_of(&self, state: u64, unix_nanos: u64) -> (u64, u64) {
        let end = self.calendar.end_minute(unix_nanos / NANOS_PER_SECOND);
        if state & MARK == MARK && end_of(state) >= end { (end_of(state), spent_of(state)) } else { (end, 0) }
    }
}

/// Nanoseconds until this state's window ends.
pub(crate) fn nanos_until_end(state: u64, unix_nanos: u64) -> u64 {
    nanos_until(end_of(state), unix_nanos)
}

fn nanos_until(end_minute: u64, unix_nanos: u64) -> u64 {
    (end_minute * MINUTE).saturating_mul(NANOS_PER_SECOND).saturating_sub(unix_nanos)
}

fn pack(end_minute: u64, spent: u64) -> u64 {
    MARK | end_minute.min(MAX_MINUTE) << COUNT_BITS | spent.min(MAX_COUNT)
}

fn end_of(state: u64) -> u64 {
    (state & !MARK) >> COUNT_BITS
}

fn spent_of(state: u64) -> u64 {
    state & MAX_COUNT
}
