//! The notation, word by word.

use proptest::prelude::*;

use super::*;

fn rates(text: &str) -> Vec<(u64, u64)> {
    let rates = parse(text).unwrap_or_else(|error| panic!("`{text}`: {error:?}"));
    rates.iter().map(|rate| (rate.count(), rate.period_seconds())).collect()
}

/// The marked part of the text, and the help.
fn refused(text: &str) -> (&str, String) {
    let error = parse(text).map(|rates| panic!("`{text}` is {rates:?}")).unwrap_err();
    (&text[error.at], error.help)
}

#[test]
fn a_rate_is_a_count_and_a_period() {
    assert_eq!(rates("20/minute"), [(20, 60)]);
    assert_eq!(rates("5/15 minutes"), [(5, 900)]);
    assert_eq!(rates("5/2minutes"), [(5, 120)]);
    assert_eq!(rates("1 per 3 hour"), [(1, 3 * 3_600)]);
    assert_eq!(rates(" 7PERday "), [(7, 86_400)]);
    assert_eq!(rates("1/month"), [(1, 30 * 86_400)]);
    assert_eq!(rates("1/2 YEARS"), [(1, 720 * 86_400)]);
}

#[test]
fn joined_rates_keep_their_order() {
    assert_eq!(rates("100 per hour; 10/second"), [(100, 3_600), (10, 1)]);
    assert_eq!(rates("1/second,2/minute|3/hour"), [(1, 1), (2, 60), (3, 3_600)]);
}

#[test]
fn habits_are_told_the_right_spelling() {
    for (text, marked, meant) in [
        ("10r/s", "r/s", "10/second"),
        ("10r/m", "r/m", "10/minute"),
        ("10 requests per 5 min", "requests per 5 min", "10/5 minutes"),
        ("10/s", "s", "10/second"),
        ("10/sec", "sec", "10/second"),
        ("10/min", "min", "10/minute"),
        ("10/5 m", "m", "10/5 minutes"),
        ("10/h", "h", "10/hour"),
        ("10/hr", "hr", "10/hour"),
        ("10/week", "week", "10/7 days"),
        ("10 minutes", "minutes", "10/minute"),
        ("10/minutess", "minutess", "10/minute"),
        ("1/hour; 10/S", "S", "10/second"),
    ] {
        assert_eq!(refused(text), (marked, format!("write `\"{meant}\"`")), "{text}");
    }
}

#[test]
fn what_is_no_rate_is_refused_where_it_is_wrong() {
    for (text, marked) in [
        ("", ""),
        ("  ", "  "),
        ("0/minute", "0"),
        ("5/0 minutes", "0"),
        ("10", "10"),
        ("10/", "10/"),
        ("10/5", "10/5"),
        ("-1/minute", "-1/minute"),
        ("1.5/minute", ".5/minute"),
        ("ten/minute", "ten/minute"),
        ("10/fortnight", "fortnight"),
        ("10/minute;", ";"),
        ("10/minute;;1/day", ";"),
        ("10/minute 5", "minute 5"),
        ("10/é", "é"),
        ("99999999999999999999/day", "99999999999999999999"),
        ("1/51 years", "1/51 years"),
        ("10/second; 600/60 seconds; 5/minute", "5/minute"),
    ] {
        assert_eq!(refused(text).0, marked, "{text}");
    }
}

#[test]
fn a_quota_is_for_a_unit_of_the_calendar() {
    assert_eq!(parse_quota("1000/day"), Ok((1000, CalendarUnit::Day)));
    assert_eq!(parse_quota("10 per Hours"), Ok((10, CalendarUnit::Hour)));
    assert_eq!(parse_quota("5/1 month"), Ok((5, CalendarUnit::Month)));
    for (text, marked) in [
        ("10/minute", "minute"),
        ("10/year", "year"),
        ("10/2 days", "2"),
        ("10/day; 1/hour", "; 1/hour"),
        ("0/day", "0"),
        ("10/d", "d"),
        ("99999999999999/day", "99999999999999"),
    ] {
        let error = parse_quota(text).unwrap_err();
        assert_eq!(&text[error.at], marked, "{text}");
    }
}

proptest! {
    #[test]
    fn what_a_rate_prints_reads_back_to_it(count in 1u64..1_000_000_000, seconds in 1u64..1_500_000_000) {
        let rate = Rate::new(count, seconds).unwrap();
        prop_assert_eq!(parse(&rate.to_string()), Ok(vec![rate]));
    }

    #[test]
    fn no_text_panics_and_every_mark_is_inside(text in "(\\PC|[0-9/;, ]|per|minute|s)*") {
        for error in [parse(&text).err(), parse_quota(&text).err()].into_iter().flatten() {
            prop_assert!(text.get(error.at.clone()).is_some(), "{:?}", error);
        }
    }
}
