//! Durations and sizes: what is read, what is told, and that both directions agree.

use proptest::prelude::*;

use super::*;

#[test]
fn numbers_with_units_are_read() {
    assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
    assert_eq!(parse_size("64KiB"), Ok(65_536));
    assert_eq!(parse_size("4000B"), Ok(4000));
    assert_eq!(parse_size("1024TiB"), Ok(MAX_SIZE));
    assert_eq!(parse_duration("168h"), Ok(MAX_DURATION));
}

#[track_caller]
fn refused(result: Result<impl std::fmt::Debug, UnitError>, fault: &str, help: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.fault, fault);
    assert!(error.help.contains(help), "{}", error.help);
}

#[test]
fn a_number_alone_is_told_its_form() {
    refused(parse_duration("10"), "needs a unit", "`\"10s\"`");
    refused(parse_size("4000 "), "needs a unit", "`\"4000B\"`");
}

#[test]
fn units_of_other_programs_are_translated() {
    refused(parse_duration("10 s"), "has the unknown unit ` s`", "`\"10s\"`");
    refused(parse_duration("10sec"), "has the unknown unit `sec`", "`\"10s\"`");
    refused(parse_size("10mb"), "has the unknown unit `mb`", "`\"10MiB\"`");
    refused(parse_size("10kib"), "has the unknown unit `kib`", "`\"10KiB\"`");
    refused(parse_size("1x"), "has the unknown unit `x`", "units are");
}

#[test]
fn fractions_zero_and_what_is_too_large_are_refused() {
    refused(parse_duration("1.5s"), "must be a whole number", "1500ms");
    refused(parse_duration("0s"), "must be at least `1ms`", "10s");
    refused(parse_size("0KiB"), "must be at least `1B`", "64KiB");
    refused(parse_duration("169h"), "must be at most `168h`", "10s");
    refused(parse_size("99999999999999999999999B"), "must be at most `1024TiB`", "");
    refused(parse_size("18446744073709551615TiB"), "must be at most `1024TiB`", "");
    refused(parse_duration("-1s"), "must be a whole number and a unit", "10s");
    refused(parse_duration(""), "must be a whole number and a unit", "10s");
}

#[test]
fn percentages_are_whole_and_at_most_a_hundred() {
    assert_eq!(parse_percent("0%"), Ok(0));
    assert_eq!(parse_percent("100%"), Ok(100));
    for (text, fault) in [
        ("101%", "must be at most `100%`"),
        ("99999999999%", "must be at most `100%`"),
        ("10", "needs a `%`"),
        ("-1%", "must be a whole number and `%`"),
        ("+1%", "must be a whole number and `%`"),
        ("1.5%", "must be a whole number and `%`"),
        ("%", "must be a whole number and `%`"),
        ("", "must be a whole number and `%`"),
    ] {
        assert_eq!(parse_percent(text).unwrap_err().fault, fault, "{text}");
    }
}

proptest! {
    #[test]
    fn a_printed_duration_reads_back(milliseconds in 1..=7 * 24 * 3_600_000_u64) {
        let duration = Duration::from_millis(milliseconds);
        prop_assert_eq!(parse_duration(&duration_text(duration)), Ok(duration));
    }

    #[test]
    fn a_printed_size_reads_back(bytes in 1..=MAX_SIZE, shift in 0..50_u32) {
        let bytes = (bytes >> shift << shift).max(1);
        prop_assert_eq!(parse_size(&size_text(bytes)), Ok(bytes));
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in "\\PC*|[0-9]{0,25}[a-zA-Z.]{0,4}") {
        let _ = parse_duration(&text);
        let _ = parse_size(&text);
    }
}
