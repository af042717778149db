//! EMF lines: one for an exchange, or some for a route and an interval.
//!
//! Invariant: a metric is defined in a line if and only if the line has its value; a line is one JSON object and ends
//! in one line feed; an array has at most 100 values.

use std::sync::LazyLock;

use super::super::access_line::{integer, millis};
use super::super::histogram::Histogram;
use super::super::series::Ended;
use super::super::totals::RouteTotals;
use super::catalog::{self, Unit};
use super::template::{Definition, Template};

/// Values of an array, by the specification.
const MAX_VALUES: usize = 100;
/// Durations that stand for those of one route in one interval; more of them only cost.
const MAX_REPRESENTATIVES: usize = 1_000;

/// The metrics that a configuration does not name.
struct Standard {
    counts: Vec<u8>,
    latency: Definition,
    upstream_latency: Definition,
    analysis_latency: Definition,
    cache: Vec<u8>,
    llm_tokens: Definition,
}

static STANDARD: LazyLock<Standard> = LazyLock::new(|| {
    let count = |name| Definition::new(name, Unit::Count).definition;
    let counts =
        [catalog::REQUEST_COUNT, catalog::ERROR_COUNT, catalog::CLIENT_ERROR_COUNT, catalog::THROTTLED_COUNT];
    Standard {
        counts: counts.map(count).join(&b','),
        latency: Definition::new(catalog::LATENCY, Unit::Milliseconds),
        upstream_latency: Definition::new(catalog::UPSTREAM_LATENCY, Unit::Milliseconds),
        analysis_latency: Definition::new(catalog::ANALYSIS_LATENCY, Unit::Milliseconds),
        cache: [catalog::CACHE_HIT, catalog::CACHE_MISS].map(count).join(&b','),
        llm_tokens: Definition::new(catalog::LLM_TOKENS, Unit::Count),
    }
});

impl Template {
    /// Appends the line of an exchange. `dimensions` are those of its route, `properties` writes further members.
    pub fn exchange(
        &self,
        unix_nanos: u64,
        dimensions: &[u8],
        ended: &Ended<'_>,
        properties: impl FnOnce(&mut Vec<u8>),
        out: &mut Vec<u8>,
    ) {
        let standard = &*STANDARD;
        let told = ended.told;
        let durations = || {
            let latency = (ended.status != 101).then_some((&standard.latency, ended.duration_nanos));
            let upstream = ended.response_head_nanos.map(|nanos| (&standard.upstream_latency, nanos));
            let queue = self.queue_time.as_ref().zip(ended.queue_nanos);
            let analysis = told.analysis_nanos.map(|nanos| (&standard.analysis_latency, nanos));
            let timing = |(index, nanos): &(u8, u64)| Some((self.timings.get(usize::from(*index))?, *nanos));
            [latency, upstream, queue, analysis]
                .into_iter()
                .flatten()
                .chain(told.timings.iter().filter_map(timing))
        };
        out.push(b'{');
        if self.extraction {
            self.begin(unix_nanos / 1_000_000, out);
            out.extend_from_slice(&standard.counts);
            for (metric, _) in durations() {
                define(metric, out);
            }
            if told.cache_hit.is_some() {
                out.push(b',');
                out.extend_from_slice(&standard.cache);
            }
            if told.llm_tokens.is_some() {
                define(&standard.llm_tokens, out);
            }
            out.extend_from_slice(&self.directive_end);
        }
        out.extend_from_slice(dimensions);
        let class = ended.status / 100;
        integer(b",\"RequestCount\":1,\"ErrorCount\":", u64::from(class == 5), out);
        integer(b",\"ClientErrorCount\":", u64::from(class == 4), out);
        integer(b",\"ThrottledCount\":", u64::from(ended.throttled), out);
        for (metric, nanos) in durations() {
            millis(&metric.member, nanos, out);
        }
        if let Some(hit) = told.cache_hit {
            integer(b",\"CacheHit\":", u64::from(hit), out);
            integer(b",\"CacheMiss\":", u64::from(!hit), out);
        }
        if let Some(tokens) = told.llm_tokens {
            integer(&standard.llm_tokens.member, tokens, out);
        }
        out.push(b',');
        properties(out);
        out.extend_from_slice(b"}\n");
    }

    /// Appends the lines of what a route did in an interval, and returns how many they are. Counts are in the first.
    pub fn interval(
        &self,
        unix_ms: u64,
        seconds: u64,
        dimensions: &[u8],
        did: &RouteTotals,
        entries: &[std::sync::Arc<str>],
        out: &mut Vec<u8>,
    ) -> u64 {
        let standard = &*STANDARD;
        let nothing = Histogram::default();
        let named = entries
            .iter()
            .zip(&self.timings)
            .map(|(entry, metric)| (metric, did.timings.get(entry).unwrap_or(&nothing)));
        let arrays: Vec<(&Definition, Vec<u64>)> = [
            (&standard.latency, &did.duration),
            (&standard.upstream_latency, &did.upstream),
            (&standard.analysis_latency, &did.analysis),
        ]
        .into_iter()
        .chain(self.queue_time.as_ref().map(|metric| (metric, &did.queue)))
        .chain(named)
        .map(|(metric, histogram)| (metric, histogram.representatives(MAX_REPRESENTATIVES)))
        .collect();
        let longest = arrays.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
        let lines = longest.div_ceil(MAX_VALUES).max(1);
        for line in 0..lines {
            let part = |values: &Vec<u64>| -> Vec<u64> {
                values.iter().skip(line * MAX_VALUES).take(MAX_VALUES).copied().collect()
            };
            let parts: Vec<(&Definition, Vec<u64>)> = arrays
                .iter()
                .map(|(metric, values)| (*metric, part(values)))
                .filter(|(_, values)| !values.is_empty())
                .collect();
            self.interval_line(unix_ms, seconds, dimensions, (line == 0).then_some(did), &parts, out);
        }
        lines as u64
    }

    fn interval_line(
        &self,
        unix_ms: u64,
        seconds: u64,
        dimensions: &[u8],
        counts: Option<&RouteTotals>,
        arrays: &[(&Definition, Vec<u64>)],
        out: &mut Vec<u8>,
    ) {
        let standard = &*STANDARD;
        let cache = counts.filter(|did| did.cache_hits + did.cache_misses > 0);
        let llm = counts.filter(|did| did.llm_tokens > 0);
        out.push(b'{');
        if self.extraction {
            self.begin(unix_ms, out);
            let mut definitions: Vec<&[u8]> = Vec::new();
            definitions.extend(counts.map(|_| &standard.counts[..]));
            definitions.extend(arrays.iter().map(|(metric, _)| &metric.definition[..]));
            definitions.extend(cache.map(|_| &standard.cache[..]));
            definitions.extend(llm.map(|_| &standard.llm_tokens.definition[..]));
            out.extend_from_slice(&definitions.join(&b','));
            out.extend_from_slice(&self.directive_end);
        }
        out.extend_from_slice(dimensions);
        if let Some(did) = counts {
            integer(b",\"RequestCount\":", did.count(), out);
            integer(b",\"ErrorCount\":", did.errors(), out);
            integer(b",\"ClientErrorCount\":", did.client_errors(), out);
            integer(b",\"ThrottledCount\":", did.throttled, out);
            integer(b",\"bytes_in\":", did.bytes_in, out);
            integer(b",\"bytes_out\":", did.bytes_out, out);
        }
        for (metric, values) in arrays {
            out.extend_from_slice(&metric.member);
            for (at, nanos) in values.iter().enumerate() {
                millis(if at == 0 { b"[" } else { b"," }, *nanos, out);
            }
            out.push(b']');
        }
        if let Some(did) = cache {
            integer(b",\"CacheHit\":", did.cache_hits, out);
            integer(b",\"CacheMiss\":", did.cache_misses, out);
        }
        if let Some(did) = llm {
            integer(&standard.llm_tokens.member, did.llm_tokens, out);
        }
        integer(b",\"interval_seconds\":", seconds, out);
        out.extend_from_slice(b"}\n");
    }

    fn begin(&self, unix_ms: u64, out: &mut Vec<u8>) {
        integer(b"\"_aws\":{\"Timestamp\":", unix_ms, out);
        out.extend_from_slice(&self.directive);
    }
}

fn define(metric: &Definition, out: &mut Vec<u8>) {
    out.push(b',');
    out.extend_from_slice(&metric.definition);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::check::check;
    use super::*;
    use crate::config::model::emf::{Dimension, Emf, EmfPer, EmfSink};
    use crate::config::model::metrics::FromResponse;
    use crate::telemetry::record::Outcome;
    use crate::telemetry::series::Told;
    use proptest::prelude::*;
    use serde_json::Value;

    fn template(extraction: bool) -> Template {
        template_of(extraction, true)
    }

    fn template_of(extraction: bool, has_queue_time: bool) -> Template {
        let emf = Emf {
            sink: EmfSink::Stdout,
            namespace: "Tollgate".to_owned(),
            service: "api".to_owned(),
            environment: "production".to_owned(),
            per: EmfPer::Request,
            dimensions: vec![vec![Dimension::Service], vec![Dimension::Service, Dimension::Route]],
            validate: false,
            extraction,
            log_group: Some("/tollgate/api".to_owned()),
            log_stream: None,
        };
        let from =
            FromResponse { server_timing: vec!["db".into(), "render".into()], ..FromResponse::default() };
        Template::new(&emf, &from, has_queue_time)
    }

    fn ended(told: &Told) -> Ended<'_> {
        Ended {
            method: &http::Method::GET,
            status: 200,
            outcome: Outcome::Complete,
            throttled: false,
            shadow_throttled: false,
            bytes_in: 1,
            bytes_out: 2,
            duration_nanos: 12_345_678,
            response_head_nanos: Some(11_000_000),
            queue_nanos: None,
            told,
        }
    }

    fn line(template: &Template, ended: &Ended<'_>) -> Value {
        let mut out = Vec::new();
        let dimensions = template.dimensions("query");
        let properties = |out: &mut Vec<u8>| out.extend_from_slice(b"\"request_id\":\"id-1\"");
        template.exchange(1_763_700_000_123_456_789, &dimensions, ended, properties, &mut out);
        if template.extraction {
            assert_eq!(check(&out), Ok(()), "{}", String::from_utf8_lossy(&out));
        }
        assert!(out.ends_with(b"}\n"));
        serde_json::from_slice(&out).unwrap()
    }

    fn names(line: &Value) -> Vec<&str> {
        let metrics = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
        metrics.iter().map(|metric| metric["Name"].as_str().unwrap()).collect()
    }

    #[test]
    fn the_line_of_an_exchange_defines_what_it_has() {
        let value = line(&template(true), &ended(&Told::default()));
        assert_eq!(value["_aws"]["Timestamp"], 1_763_700_000_123u64);
        assert_eq!(value["_aws"]["LogGroupName"], "/tollgate/api");
        assert_eq!(
            names(&value),
            [
                "RequestCount",
                "ErrorCount",
                "ClientErrorCount",
                "ThrottledCount",
                "Latency",
                "UpstreamLatency"
            ]
        );
        assert_eq!(value["Latency"], 12.345);
        assert_eq!((&value["Service"], &value["Route"]), (&"api".into(), &"query".into()));
        assert_eq!(value["request_id"], "id-1");
    }

    #[test]
    fn what_the_app_tells_is_defined_only_where_it_does() {
        let told = Told {
            cache_hit: Some(false),
            analysis_nanos: Some(1_000_000),
            timings: [(1, 2_000_000)].into_iter().collect(),
            llm_tokens: Some(42),
        };
        let refused = Ended { status: 429, throttled: true, response_head_nanos: None, ..ended(&told) };
        let value = line(&template(true), &refused);
        assert_eq!(
            names(&value)[4..],
            ["Latency", "AnalysisLatency", "ServerTiming.render", "CacheHit", "CacheMiss", "LlmTokens"]
        );
        let told = ["CacheHit", "CacheMiss", "LlmTokens", "ThrottledCount", "ClientErrorCount", "ErrorCount"];
        assert_eq!(told.map(|name| value[name].as_u64().unwrap()), [0, 1, 42, 1, 1, 0]);
        assert_eq!(value["ServerTiming.render"], 2.0);
    }

    #[test]
    fn how_long_it_waited_is_defined_where_it_did_and_is_a_metric() {
        let told = Told::default();
        let waited = Ended { queue_nanos: Some(7_000_000), ..ended(&told) };
        let value = line(&template(true), &waited);
        assert_eq!(names(&value)[5..], ["UpstreamLatency", "QueueTime"]);
        assert_eq!(value["QueueTime"], 7.0);
        assert!(!names(&line(&template_of(true, false), &waited)).contains(&"QueueTime"));
    }

    #[test]
    fn a_tunnel_has_no_latency_and_no_extraction_has_no_directive() {
        let told = Told::default();
        let tunnel = Ended { status: 101, ..ended(&told) };
        assert!(!names(&line(&template(true), &tunnel)).contains(&"Latency"));
        let plain = line(&template(false), &ended(&told));
        assert!(plain.get("_aws").is_none());
        assert_eq!(plain["RequestCount"], 1);
    }

    proptest! {
        #[test]
        fn lines_of_an_interval_are_valid_and_add_up(
            durations in proptest::collection::vec(1_000u64..90_000_000_000, 0..2_500),
            upstream in proptest::collection::vec(1_000u64..90_000_000_000, 0..300),
            (hits, tokens) in (0u64..3, 0u64..3),
        ) {
            let has_queue_time = durations.len() % 2 == 0;
            let mut did = RouteTotals { cache_hits: hits, llm_tokens: tokens, ..RouteTotals::default() };
            did.requests[0][1] = durations.len() as u64;
            durations.iter().for_each(|nanos| did.duration.record(*nanos));
            upstream.iter().for_each(|nanos| did.upstream.record(*nanos));
            upstream.iter().for_each(|nanos| did.queue.record(*nanos));
            let db: Arc<str> = "db".into();
            did.timings.entry(Arc::clone(&db)).or_default().record(5);
            let template = template_of(true, has_queue_time);
            let mut out = Vec::new();
            let lines = template.interval(1_763_700_000_123, 10, &template.dimensions("q"), &did, &[db, "render".into()], &mut out);
            let text = String::from_utf8(out).unwrap();
            prop_assert_eq!(text.lines().count() as u64, lines);
            let (mut requests, mut latencies, mut waits) = (0, 0, 0);
            for line in text.lines() {
                prop_assert_eq!(check(line.as_bytes()), Ok(()));
                let value: Value = serde_json::from_str(line).unwrap();
                requests += value["RequestCount"].as_u64().unwrap_or(0);
                latencies += value["Latency"].as_array().map_or(0, Vec::len);
                waits += value["QueueTime"].as_array().map_or(0, Vec::len);
            }
            prop_assert_eq!(requests, durations.len() as u64);
            prop_assert_eq!(latencies, durations.len().min(MAX_REPRESENTATIVES));
            prop_assert_eq!(waits, if has_queue_time { upstream.len() } else { 0 });
        }
    }
}
