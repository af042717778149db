//! Numbers as people read them at a glance.

/// Times a second.
pub(super) fn rate(per_second: Option<f64>) -> String {
    match per_second {
        None => "-".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(rate) if rate < 0.1 => "<0.1".to_owned(),
        Some(rate) if rate < 100.0 => format!("{rate:.1}"),
        Some(rate) => format!("{rate:.0}"),
    }
}

/// Milliseconds.
pub(super) fn millis(millis: Option<f64>) -> String {
    match millis {
        None => "-".to_owned(),
        Some(millis) if millis < 1.0 => format!("{millis:.2}"),
        Some(millis) if millis < 100.0 => format!("{millis:.1}"),
        Some(millis) => format!("{millis:.0}"),
    }
}

/// Bytes, in the largest unit that leaves a whole one.
pub(super) fn bytes(mut bytes: f64) -> String {
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while bytes >= 1_024.0 {
        let Some(larger) = units.next() else { break };
        (bytes, unit) = (bytes / 1_024.0, larger);
    }
    if unit == "B" || bytes >= 100.0 { format!("{bytes:.0} {unit}") } else { format!("{bytes:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_keep_a_digit_and_large_ones_lose_it() {
        assert_eq!(
            [0.0, 0.04, 1.25, 99.94, 1_234.5].map(|n| rate(Some(n))),
            ["0", "<0.1", "1.2", "99.9", "1234"]
        );
        assert_eq!([0.084, 6.21, 684.9].map(|n| millis(Some(n))), ["0.08", "6.2", "685"]);
        assert_eq!([0.0, 1_023.0, 1_024.0, 4.812e9].map(bytes), ["0 B", "1023 B", "1.0 KiB", "4.5 GiB"]);
        assert_eq!((rate(None), millis(None)), ("-".to_owned(), "-".to_owned()));
    }
}
