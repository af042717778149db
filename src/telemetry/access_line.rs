//! The record as one JSON line.
//!
//! Hand-rolled because it runs once a request. Invariant: whatever bytes the peer sent, a line is one valid
//! JSON object, ends in one line feed, and is bounded in length.

use std::io::Write as _;
use std::net::IpAddr;

use super::record::Record;
use crate::message::forwarded::write_address;

/// Bytes of a path or query that are kept.
const MAX_PATH: usize = 1024;
/// Bytes of any other value of the peer's that are kept.
const MAX_VALUE: usize = 256;

/// Writes records; keeps the second last written, because formatting a date is the dearest part.
#[derive(Debug, Default)]
pub struct AccessLine {
    second: u64,
    date_time: Vec<u8>,
}

impl AccessLine {
    /// Appends one line.
    pub fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        out.push(b'{');
        self.fields(record, out);
        out.extend_from_slice(b"}\n");
    }

    /// Appends the fields, as members of an object.
    pub fn fields(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"time\":\"");
        self.time(record.unix_nanos, out);
        out.extend_from_slice(b"\",\"request_id\":\"");
        out.extend_from_slice(record.request_id.as_bytes());
        out.extend_from_slice(b"\",\"client_addr\":\"");
        address(record.client_addr, out);
        out.push(b'"');
        if let Some(user) = record.user {
            text(b",\"user\":", user, MAX_VALUE, out);
        }
        if let Some(tier) = record.tier {
            text(b",\"tier\":", tier.as_bytes(), MAX_VALUE, out);
        }
        text(b",\"method\":", record.method, MAX_VALUE, out);
        text(b",\"path\":", record.path, MAX_PATH, out);
        if let Some(query) = record.query {
            text(b",\"query\":", query, MAX_PATH, out);
        }
        if let Some(route) = record.route {
            text(b",\"route\":", route.as_bytes(), MAX_VALUE, out);
        }
        for (key, limit) in
            [(&b",\"limit\":"[..], record.limit), (b",\"shadow_limit\":", record.shadow_limit)]
        {
            if let Some(limit) = limit {
                text(key, limit.as_bytes(), MAX_VALUE, out);
            }
        }
        integer(b",\"status\":", record.status.into(), out);
        if let Some(fault) = record.outcome.fault() {
            text(b",\"fault\":", fault.as_str().as_bytes(), MAX_VALUE, out);
        }
        text(b",\"outcome\":", record.outcome.as_str().as_bytes(), MAX_VALUE, out);
        if let Some(tls) = record.tls {
            text(b",\"tls\":", tls.as_bytes(), MAX_VALUE, out);
        }
        integer(b",\"bytes_in\":", record.bytes_in, out);
        integer(b",\"bytes_out\":", record.bytes_out, out);
        millis(b",\"duration_ms\":", record.duration_nanos, out);
        for (key, nanos) in [
            (&b",\"queue_ms\":"[..], record.queue_nanos),
            (b",\"connect_ms\":", record.connect_nanos),
            (b",\"response_head_ms\":", record.response_head_nanos),
        ] {
            if let Some(nanos) = nanos {
                millis(key, nanos, out);
            }
        }
        if let Some(upstream) = record.upstream {
            text(b",\"upstream\":", upstream.as_bytes(), MAX_VALUE, out);
        }
        if record.canary {
            out.extend_from_slice(b",\"canary\":true");
        }
        for (key, value) in [
            (&b",\"user_agent\":"[..], record.user_agent),
            (b",\"traceparent\":", record.traceparent),
            (b",\"amzn_trace_id\":", record.amzn_trace_id),
        ] {
            if let Some(value) = value {
                text(key, value.as_bytes(), MAX_VALUE, out);
            }
        }
        if !record.headers.is_empty() {
            headers(record, out);
        }
        if let Some(cause) = record.cause {
            text(b",\"cause\":", cause.as_bytes(), MAX_VALUE, out);
        }
    }

    fn time(&mut self, unix_nanos: u64, out: &mut Vec<u8>) {
        let second = unix_nanos / 1_000_000_000;
        if second != self.second || self.date_time.is_empty() {
            let instant =
                i64::try_from(second).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
            let civil = instant.unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC).datetime();
            self.second = second;
            self.date_time.clear();
            // Writing to a vector cannot fail.
            let _ = write!(self.date_time, "{civil}");
        }
        out.extend_from_slice(&self.date_time);
        let millis = (unix_nanos / 1_000_000 % 1000) as u16;
        out.push(b'.');
        three_digits(millis, out);
        out.push(b'Z');
    }
}

fn headers(record: &Record<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"headers\":{");
    for (at, (name, value)) in record.headers.iter().enumerate() {
        let comma: &[u8] = if at == 0 { b"" } else { b"," };
        text(comma, name.as_str().as_bytes(), MAX_VALUE, out);
        text(b":", value.as_bytes(), MAX_VALUE, out);
    }
    out.push(b'}');
}

fn address(address: Option<IpAddr>, out: &mut Vec<u8>) {
    match address {
        Some(address) => write_address(address, |text| out.extend_from_slice(text)),
        None => out.extend_from_slice(b"unix"),
    }
}

pub(super) fn integer(key: &[u8], value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Milliseconds with three decimals: microseconds, readable.
pub(super) fn millis(key: &[u8], nanos: u64, out: &mut Vec<u8>) {
    let micros = nanos / 1000;
    integer(key, micros / 1000, out);
    out.push(b'.');
    three_digits((micros % 1000) as u16, out);
}

fn three_digits(value: u16, out: &mut Vec<u8>) {
    for divisor in [100, 10, 1] {
        out.push(b'0' + (value / divisor % 10) as u8);
    }
}

/// `key` as it is, then `value` as a JSON string, cut after `max` bytes.
pub(super) fn text(key: &[u8], value: &[u8], max: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    out.push(b'"');
    let kept = &value[..value.len().min(max)];
    if kept.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        out.extend_from_slice(kept);
    } else {
        escaped(kept, out);
    }
    if value.len() > max {
        out.extend_from_slice("…".as_bytes());
    }
    out.push(b'"');
}

fn escaped(value: &[u8], out: &mut Vec<u8>) {
    for part in value.utf8_chunks() {
        for char in part.valid().chars() {
            match char {
                '"' | '\\' => out.extend_from_slice(&[b'\\', char as u8]),
                // C1 controls and line separators are valid JSON, but not fit for a terminal.
                '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                    unicode_escape(char as u32, out);
                }
                _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !part.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// `\uXXXX`, for what is below U+10000. Without a formatter: a peer can fill a line with these.
fn unicode_escape(code: u32, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(HEX[(code >> shift) as usize & 0xf]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::local_reply::LocalReply;
    use crate::telemetry::record::Outcome;
    use http::HeaderValue;
    use proptest::prelude::*;
    use serde_json::Value;

    fn record<'a>() -> Record<'a> {
        Record {
            unix_nanos: 1_795_251_661_042_000_000,
            request_id: "id-1",
            client_addr: Some("203.0.113.9".parse().unwrap()),
            user: None,
            tier: None,
            limit: None,
            shadow_limit: None,
            method: b"GET",
            path: b"/a",
            query: None,
            route: Some("rest"),
            status: 200,
            outcome: Outcome::Complete,
            tls: None,
            bytes_in: 10,
            bytes_out: 20,
            duration_nanos: 12_345_678,
            connect_nanos: None,
            response_head_nanos: Some(9_000),
            queue_nanos: None,
            upstream: Some("127.0.0.1:8000"),
            canary: false,
            user_agent: None,
            traceparent: None,
            amzn_trace_id: None,
            headers: &[],
            cause: None,
        }
    }

    fn line(record: &Record<'_>) -> String {
        let mut out = Vec::new();
        AccessLine::default().encode(record, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_tells_the_exchange() {
        assert_eq!(
            line(&record()),
            "{\"time\":\"2026-11-21T09:01:01.042Z\",\"request_id\":\"id-1\",\"client_addr\":\"203.0.113.9\",\
             \"method\":\"GET\",\"path\":\"/a\",\"route\":\"rest\",\"status\":200,\"outcome\":\"complete\",\
             \"bytes_in\":10,\"bytes_out\":20,\"duration_ms\":12.345,\"response_head_ms\":0.009,\
             \"upstream\":\"127.0.0.1:8000\"}\n"
        );
    }

    #[test]
    fn waiting_and_the_canary_are_told_only_where_they_were() {
        let told = Record { queue_nanos: Some(1_500_000), canary: true, ..record() };
        assert!(
            line(&told).contains(
                ",\"duration_ms\":12.345,\"queue_ms\":1.500,\"response_head_ms\":0.009,\
                 \"upstream\":\"127.0.0.1:8000\",\"canary\":true}"
            ),
            "{}",
            line(&told)
        );
    }

    #[test]
    fn a_local_reply_tells_code_fault_and_cause() {
        let told = Record {
            outcome: Outcome::Local(LocalReply::UpstreamUnavailable),
            cause: Some("connection refused"),
            ..record()
        };
        let value: Value = serde_json::from_str(&line(&told)).unwrap();
        assert_eq!(value["outcome"], "upstream_unavailable");
        assert_eq!(value["fault"], "upstream");
        assert_eq!(value["cause"], "connection refused");
    }

    #[test]
    fn control_characters_beyond_ascii_are_escaped() {
        let told = Record { path: "/\u{7f}\u{9b}31m\u{2028}".as_bytes(), ..record() };
        assert!(line(&told).contains(r#""path":"/\u007f\u009b31m\u2028""#));
    }

    #[test]
    fn every_line_of_one_writer_has_its_own_time() {
        let mut writer = AccessLine::default();
        let mut out = Vec::new();
        writer.encode(&record(), &mut out);
        writer.encode(&Record { unix_nanos: record().unix_nanos + 1_000_000_000, ..record() }, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().nth(1).unwrap().starts_with("{\"time\":\"2026-11-21T09:01:02.042Z\""), "{text}");
    }

    proptest! {
        #[test]
        fn whatever_the_peer_sent_a_line_is_one_bounded_json_object(
            method in proptest::collection::vec(any::<u8>(), 0..40),
            path in proptest::collection::vec(any::<u8>(), 0..2000),
            agent in proptest::collection::vec(0x20u8..=0xff, 0..600),
        ) {
            let agent = HeaderValue::from_bytes(&agent).ok();
            let told = Record { method: &method, path: &path, user_agent: agent.as_ref(), ..record() };
            let line = line(&told);
            prop_assert!(line.len() < 24_000);
            prop_assert_eq!(line.matches('\n').count(), 1);
            let value: Value = serde_json::from_str(&line).unwrap();
            if path.len() <= MAX_PATH {
                let text = value["path"].as_str().unwrap().to_owned();
                prop_assert_eq!(text, String::from_utf8_lossy(&path).into_owned());
            }
        }
    }
}
