//! What a limit measures: `rate`, `burst`, `quota`, `in_flight`, of the limit itself or of a tier.
//!
//! Invariant: every meter has a period of its own within its limit, so that its name is its own too.

use std::ops::Range;

use jiff::tz::TimeZone;

use crate::limit::bucket::TokenBucket;
use crate::limit::meter::{Measure, Meter};
use crate::limit::notation::{self, NotationError};
use crate::limit::quota::{Calendar, CalendarUnit, Quota};
use crate::limit::rate::Rate;
use crate::limit::sliding::SlidingWindow;

use super::super::reader::{Reader, Text};
use super::super::report::{Place, Severity};
use super::super::table::Table;

const MAX_BURST: u64 = 1_000_000_000;
const MAX_IN_FLIGHT: u64 = 1_000_000;

/// How a rate is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    TokenBucket,
    SlidingWindow,
}

/// A value, and where the file has it; a preset's is nowhere.
#[derive(Debug, Clone)]
struct Sited<T> {
    value: T,
    place: Option<Range<usize>>,
}

/// The numbers of a limit or a tier, as written.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    rates: Option<Sited<Vec<Rate>>>,
    /// A rate is written that could not be read, and has its own report.
    rate_is_wrong: bool,
    burst: Option<Sited<u64>>,
    quota: Option<Sited<(u64, CalendarUnit)>>,
    in_flight: Option<Sited<u64>>,
}

/// What a meter holds at most, for costs to be compared with.
#[derive(Debug, Clone)]
pub(super) struct Holds {
    pub(super) most: u64,
    pub(super) place: Option<Range<usize>>,
}

impl Numbers {
    pub(super) fn of_preset(rate: Option<Rate>) -> Numbers {
        let rates = rate.map(|rate| Sited { value: vec![rate], place: None });
        Numbers { rates, ..Numbers::default() }
    }

    pub(super) fn read(table: &mut Table<'_, '_>) -> Numbers {
        let rate = table.string("rate", "a rate such as `\"120/minute\"`");
        let rates = rate.and_then(|text| sited(table.reader, &text, notation::parse));
        let burst = table.optional_count("burst", 1..=MAX_BURST);
        let burst = burst.map(|value| Sited { value, place: table.span("burst") });
        let quota = table.string("quota", "a quota such as `\"1000/day\"`");
        let quota = quota.and_then(|text| sited(table.reader, &text, notation::parse_quota));
        let in_flight = table.optional_count("in_flight", 1..=MAX_IN_FLIGHT);
        let in_flight = in_flight.map(|value| Sited { value, place: table.span("in_flight") });
        Numbers { rate_is_wrong: rates.is_none() && table.has("rate"), rates, burst, quota, in_flight }
    }

    /// These, and of `base` what is not among them.
    pub(super) fn or(self, base: &Numbers) -> Numbers {
        Numbers {
            rate_is_wrong: self.rate_is_wrong || base.rate_is_wrong,
            rates: self.rates.or_else(|| base.rates.clone()),
            burst: self.burst.or_else(|| base.burst.clone()),
            quota: self.quota.or_else(|| base.quota.clone()),
            in_flight: self.in_flight.or_else(|| base.in_flight.clone()),
        }
    }

    pub(super) fn has_rate(&self) -> bool {
        self.rates.is_some()
    }

    pub(super) fn has_quota(&self) -> bool {
        self.quota.is_some()
    }

    pub(super) fn measures(&self) -> bool {
        self.has_rate() || self.has_quota() || self.in_flight.is_some()
    }

    /// The meters of these numbers; what they hold is added to `holds`.
    pub(super) fn meters(
        &self,
        reader: &mut Reader<'_>,
        limit: &str,
        algorithm: Algorithm,
        zone: &TimeZone,
        holds: &mut Vec<Holds>,
    ) -> Vec<Meter> {
        self.check_burst(reader, algorithm);
        let mut measures: Vec<Measure> = Vec::new();
        for (measure, place) in
            self.rate_measures(reader, algorithm).into_iter().chain(self.quota_measure(zone))
        {
            holds.push(Holds { most: measure.most(), place });
            measures.push(measure);
        }
        measures.extend(self.in_flight.as_ref().map(|most| Measure::InFlight(most.value)));
        let single = measures.len() == 1;
        let meter = |measure: Measure| match single {
            true => Meter::new(limit, measure),
            false => Meter::new(&format!("{limit}_{}", measure.label()), measure),
        };
        measures.into_iter().map(meter).collect()
    }

    fn rate_measures(
        &self,
        reader: &mut Reader<'_>,
        algorithm: Algorithm,
    ) -> Vec<(Measure, Option<Range<usize>>)> {
        let Some(rates) = &self.rates else {
            return Vec::new();
        };
        let mut measures = Vec::new();
        for rate in &rates.value {
            if algorithm == Algorithm::SlidingWindow {
                measures.push((Measure::Sliding(SlidingWindow::new(*rate)), rates.place.clone()));
                continue;
            }
            let (burst, place) = match &self.burst {
                Some(burst) if rates.value.len() == 1 => (burst.value, &burst.place),
                _ => (rate.count(), &rates.place),
            };
            match TokenBucket::new(*rate, burst) {
                Some(bucket) => measures.push((Measure::Bucket(bucket), place.clone())),
                None => reader.error(
                    place.clone().map_or(Place::File, Place::Bytes),
                    format!("a bucket of {burst} at `{rate}` takes more than 50 years to fill"),
                    "lower `burst`, or raise `rate`",
                ),
            }
        }
        measures
    }

    fn quota_measure(&self, zone: &TimeZone) -> Option<(Measure, Option<Range<usize>>)> {
        let quota = self.quota.as_ref()?;
        let (count, unit) = quota.value;
        let measure = Quota::new(count, Calendar::new(unit, zone.clone())).map(Measure::Quota)?;
        Some((measure, quota.place.clone()))
    }

    /// A burst is the capacity of the one bucket there is.
    fn check_burst(&self, reader: &mut Reader<'_>, algorithm: Algorithm) {
        let Some(place) = self.burst.as_ref().and_then(|burst| burst.place.clone()) else {
            return;
        };
        let rates = self.rates.as_ref();
        let count = rates.map_or(0, |rates| rates.value.len());
        let note = rates.and_then(|rates| rates.place.clone());
        let (message, help, note) = match algorithm {
            _ if self.rate_is_wrong => return,
            _ if count == 0 => {
                ("`burst` has no `rate` to go with", "write a `rate` too, or remove `burst`", None)
            }
            Algorithm::SlidingWindow => (
                "`burst` has no meaning for a sliding window",
                "remove it: a sliding window admits the rate's number at once, and never more in any window",
                None,
            ),
            Algorithm::TokenBucket if count > 1 => (
                "`burst` cannot be told for joined rates",
                "remove it, each rate then has its own number as burst; or write a limit for each rate",
                note.map(|place| (format!("here are {count} rates"), place)),
            ),
            Algorithm::TokenBucket => return,
        };
        reader.find(Severity::Error, Place::Bytes(place), message.to_owned(), help.to_owned(), note);
    }
}

fn sited<T>(
    reader: &mut Reader<'_>,
    text: &Text,
    parse: fn(&str) -> Result<T, NotationError>,
) -> Option<Sited<T>> {
    match parse(&text.text) {
        Ok(value) => {
            let place = match &text.place {
                Place::Bytes(span) => Some(span.clone()),
                _ => None,
            };
            Some(Sited { value, place })
        }
        Err(error) => {
            reader.error(text.part(&error.at), error.message, error.help);
            None
        }
    }
}
