//! Lines in batches as PutLogEvents takes them.
//!
//! Invariant: each line is in one batch, or counted as too long; a batch keeps every rule of PutLogEvents: bytes,
//! events, order and span of time.

/// Bytes of a batch, reckoned as CloudWatch reckons.
pub const MAX_BYTES: usize = 1_048_576;
/// What is reckoned for each event besides its bytes.
pub const EVENT_BYTES: usize = 26;
/// Events of a batch.
pub const MAX_EVENTS: usize = 10_000;
/// From the first event of a batch to the last.
pub const MAX_SPAN_MS: i64 = 24 * 60 * 60 * 1_000;

/// How every EMF line begins.
const EMF_START: &[u8] = b"{\"_aws\":{\"Timestamp\":";
/// Digits of a time in milliseconds that cannot overflow.
const MAX_DIGITS: usize = 18;

/// One line with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Milliseconds since 1970.
    pub unix_ms: i64,
    /// Without the line end.
    pub message: String,
}

/// Lines cut into batches.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batches {
    /// In order of time, each within the rules.
    pub batches: Vec<Vec<Event>>,
    /// Lines that are longer than a batch may be.
    pub too_long: u64,
}

/// Cuts a buffer of lines; `now_ms` is the time of lines that tell none. What is no UTF-8 is replaced.
pub fn batches(lines: &[u8], now_ms: i64) -> Batches {
    let mut cut = Batches::default();
    let mut events = Vec::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message = String::from_utf8_lossy(line).into_owned();
        if message.len() + EVENT_BYTES > MAX_BYTES {
            cut.too_long += 1;
            continue;
        }
        events.push(Event { unix_ms: time_of(line).unwrap_or(now_ms), message });
    }
    events.sort_by_key(|event| event.unix_ms);
    let mut bytes = 0;
    for event in events {
        let more = event.message.len() + EVENT_BYTES;
        let fits = cut.batches.last().is_some_and(|batch: &Vec<Event>| {
            let first = batch.first().map_or(event.unix_ms, |first| first.unix_ms);
            batch.len() < MAX_EVENTS && bytes + more <= MAX_BYTES && event.unix_ms - first < MAX_SPAN_MS
        });
        match cut.batches.last_mut().filter(|_| fits) {
            Some(batch) => {
                batch.push(event);
                bytes += more;
            }
            None => {
                cut.batches.push(vec![event]);
                bytes = more;
            }
        }
    }
    cut
}

/// The time an EMF line tells.
fn time_of(line: &[u8]) -> Option<i64> {
    let rest = line.strip_prefix(EMF_START)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > MAX_DIGITS || !matches!(rest.get(digits), Some(b',' | b'}')) {
        return None;
    }
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(unix_ms: i64, filling: usize) -> String {
        format!("{{\"_aws\":{{\"Timestamp\":{unix_ms},\"a\":1}},\"b\":\"{}\"}}\n", "x".repeat(filling))
    }

    #[test]
    fn a_line_has_the_time_it_tells_or_the_one_given() {
        let lines = format!("{}no emf\n{{\"_aws\":{{\"Timestamp\":17.5}}}}\n", line(1_763_700_000_000, 1));
        let cut = batches(lines.as_bytes(), 5);
        let times: Vec<i64> = cut.batches.concat().iter().map(|event| event.unix_ms).collect();
        assert_eq!(times, [5, 5, 1_763_700_000_000]);
        assert_eq!(cut.batches.len(), 2, "5 ms after 1970 is more than a day before");
        assert_eq!(time_of(b"{\"_aws\":{\"Timestamp\":9999999999999999999,"), None);
        assert_eq!(time_of(b"{\"_aws\":{\"Timestamp\":"), None);
    }

    #[test]
    fn a_batch_ends_at_ten_thousand_events() {
        let lines: String = (0..20_001).map(|at| line(1_000 + at, 0)).collect();
        let cut = batches(lines.as_bytes(), 0);
        assert_eq!(cut.batches.iter().map(Vec::len).collect::<Vec<_>>(), [10_000, 10_000, 1]);
    }

    #[test]
    fn a_batch_ends_at_its_bytes_each_event_with_26_more() {
        let one = line(1, 1_000).trim_end().len() + EVENT_BYTES;
        let exactly = MAX_BYTES / one;
        let lines = line(1, 1_000).repeat(exactly + 1);
        let cut = batches(lines.as_bytes(), 0);
        assert_eq!(cut.batches.iter().map(Vec::len).collect::<Vec<_>>(), [exactly, 1]);
    }

    #[test]
    fn a_line_that_no_batch_can_hold_is_counted() {
        let most = "x".repeat(MAX_BYTES - EVENT_BYTES);
        let cut = batches(format!("{most}\n{most}x\n").as_bytes(), 0);
        assert_eq!((cut.batches.len(), cut.batches[0].len(), cut.too_long), (1, 1, 1));
    }

    #[test]
    fn bytes_are_reckoned_as_they_are_sent() {
        // Each byte becomes a replacement character of three.
        let broken = vec![0xff_u8; MAX_BYTES / 2];
        assert_eq!(batches(&broken, 0).too_long, 1);
    }

    proptest! {
        #[test]
        fn every_line_is_in_one_batch_and_every_rule_is_kept(
            lines in proptest::collection::vec((0..200_000_000_i64, 0..60_000_usize), 0..120),
        ) {
            let text: String = lines.iter().map(|(unix_ms, filling)| line(*unix_ms, *filling)).collect();
            let cut = batches(text.as_bytes(), 0);
            let mut sent: Vec<String> = cut.batches.concat().into_iter().map(|event| event.message).collect();
            let mut wanted: Vec<String> = text.lines().map(str::to_owned).collect();
            sent.sort();
            wanted.sort();
            prop_assert_eq!(sent, wanted);
            for batch in &cut.batches {
                prop_assert!(batch.is_sorted_by_key(|event| event.unix_ms));
                prop_assert!(batch.iter().map(|event| event.message.len() + 26).sum::<usize>() <= 1_048_576);
                prop_assert!(batch[batch.len() - 1].unix_ms - batch[0].unix_ms < MAX_SPAN_MS);
            }
        }
    }
}
