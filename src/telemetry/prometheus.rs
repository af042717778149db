//! Totals as Prometheus reads them: the text format 0.0.4, and OpenMetrics 1.0.
//!
//! Invariant: every family is there from the first scrape on, with its help and type; samples come with what was
//! measured. Label values are escaped here, and bounded where they come from.

use std::fmt::{Display, Write as _};

use super::arrivals::{HANDSHAKE_FAILURES, PROXY_FAILURES};
use super::histogram::Histogram;
use super::totals::{CLASSES, METHODS, RouteTotals, Totals};

mod apps;

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`
    Text,
    /// `application/openmetrics-text; version=1.0.0`
    OpenMetrics,
}

impl Format {
    /// What a scraper that sends this `Accept` understands.
    pub fn of_accept(accept: Option<&str>) -> Format {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Format::OpenMetrics,
            _ => Format::Text,
        }
    }

    /// For `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes everything; `bounds` are the upper bounds of histograms, in nanoseconds.
pub fn encode(totals: &Totals, bounds: &[u64], format: Format) -> String {
    let bounds = bounds.iter().map(|nanos| bound(*nanos, format)).collect();
    let mut page = Page { out: String::with_capacity(16 * 1024), format, bounds, current: "" };
    of_routes(&mut page, totals);
    of_the_app(&mut page, totals);
    of_limits(&mut page, totals);
    of_traffic(&mut page, totals);
    of_upstream(&mut page, totals);
    apps::of_apps(&mut page, totals);
    of_the_process(&mut page, totals);
    if format == Format::OpenMetrics {
        page.out.push_str("# EOF\n");
    }
    page.out
}

fn of_routes(page: &mut Page, totals: &Totals) {
    page.family("http_requests_total", "counter", "Requests that have ended.");
    for (route, of) in &totals.routes {
        for (method, classes) in METHODS.iter().zip(&of.requests) {
            for (class, count) in CLASSES.iter().zip(classes).filter(|(_, count)| **count > 0) {
                page.sample(&[("method", method), ("route", route), ("status", class)], count);
            }
        }
    }
    let help = "From the head of the request to the last byte of the answer.";
    page.family("http_request_duration_seconds", "histogram", help);
    page.histograms(totals, |of| &of.duration);
    page.family("tollgate_exchanges_total", "counter", "Requests that have ended, by how they ended.");
    for (route, of) in &totals.routes {
        for (outcome, count) in &of.outcomes {
            page.sample(&[("outcome", outcome), ("route", route)], count);
        }
    }
    page.family("tollgate_throttled_requests_total", "counter", "Requests refused by limits.");
    page.by_route(totals, |of| of.throttled);
    page.family("tollgate_request_bytes_total", "counter", "Bytes from clients, heads included.");
    page.by_route(totals, |of| of.bytes_in);
    page.family("tollgate_response_bytes_total", "counter", "Bytes to clients, heads included.");
    page.by_route(totals, |of| of.bytes_out);
}

fn of_the_app(page: &mut Page, totals: &Totals) {
    let help = "From the first byte of the request to the app to the head of its answer.";
    page.family("tollgate_upstream_duration_seconds", "histogram", help);
    page.histograms(totals, |of| &of.upstream);
    let help = "What the app says its analysis took.";
    page.family("tollgate_analysis_duration_seconds", "histogram", help);
    page.histograms(totals, |of| &of.analysis);
    let help = "What the app says that parts of its work took.";
    page.family("tollgate_server_timing_seconds", "histogram", help);
    for (route, of) in &totals.routes {
        for (entry, histogram) in &of.timings {
            page.histogram(&[("entry", entry), ("route", route)], histogram);
        }
    }
    page.family("tollgate_cache_hits_total", "counter", "Answers that a cache of the app had.");
    page.by_route(totals, |of| of.cache_hits);
    page.family("tollgate_cache_misses_total", "counter", "Answers that a cache of the app had not.");
    page.by_route(totals, |of| of.cache_misses);
    page.family("llm_tokens_total", "counter", "Tokens of language models, as the app tells.");
    for (labels, model) in &totals.models {
        let labels = [("model", &*labels.model), ("operation", &*labels.operation)];
        page.sample(&labels, model.tokens);
    }
    page.family("llm_requests_total", "counter", "Answers that told tokens of a language model.");
    for (labels, model) in &totals.models {
        for (class, count) in CLASSES.iter().zip(model.requests).filter(|(_, count)| *count > 0) {
            let labels = [("model", &*labels.model), ("operation", &*labels.operation), ("status", class)];
            page.sample(&labels, count);
        }
    }
}

fn of_limits(page: &mut Page, totals: &Totals) {
    page.family("tollgate_limit_refusals_total", "counter", "Requests that a limit refused.");
    for (limit, of) in &totals.limits {
        page.sample(&[("limit", limit)], of.refused);
    }
    let help = "Requests that a limit in shadow mode would have refused.";
    page.family("tollgate_limit_shadow_refusals_total", "counter", help);
    for (limit, of) in &totals.limits {
        page.sample(&[("limit", limit)], of.shadow_refused);
    }
    let process = &totals.process;
    page.gauge("tollgate_limit_states", "States of limits that are held.", process.buckets);
    page.gauge("tollgate_limit_states_max", "The most states that are held.", process.max_buckets);
    let help = "States that had to go before they were as good as new.";
    page.counter("tollgate_forced_evictions_total", help, process.forced_evictions);
}

fn of_traffic(page: &mut Page, totals: &Totals) {
    let traffic = &totals.traffic;
    page.gauge("tollgate_exchanges_in_flight", "Requests that have not ended.", traffic.in_flight);
    page.counter("tollgate_connections_total", "Connections of clients.", traffic.connections);
    let help = "Connections refused because their address had too many.";
    page.counter("tollgate_connections_refused_total", help, traffic.refused_connections);
    let help = "HTTP/2 connections ended because the client sent a flood of frames.";
    page.counter("tollgate_http2_floods_total", help, traffic.floods);
    let arrivals = &traffic.arrivals;
    page.family("tollgate_tls_handshakes_total", "counter", "TLS handshakes with clients.");
    page.sample(&[("kind", "full")], arrivals.full);
    page.sample(&[("kind", "resumed")], arrivals.resumed);
    page.family("tollgate_tls_handshake_failures_total", "counter", "TLS handshakes that failed.");
    for (reason, count) in HANDSHAKE_FAILURES.iter().zip(arrivals.failed) {
        page.sample(&[("reason", reason)], count);
    }
    let help = "When a certificate that clients are shown ends.";
    page.family("tollgate_tls_certificate_expiry_seconds", "gauge", help);
    for (certificate, not_after) in &totals.certificates {
        page.sample(&[("certificate", certificate)], not_after);
    }
    let help = "Connections refused for want of a header of the PROXY protocol.";
    page.family("tollgate_proxy_protocol_refusals_total", "counter", help);
    for (reason, count) in PROXY_FAILURES.iter().zip(arrivals.unheaded) {
        page.sample(&[("reason", reason)], count);
    }
    page.gauge("tollgate_connections_open", "Connections of clients now.", traffic.connections_open);
    page.gauge("tollgate_connections_max", "The most there may be.", traffic.max_connections);
    page.counter("tollgate_tunnels_total", "WebSockets.", traffic.tunnels);
    page.gauge("tollgate_tunnels_open", "WebSockets now.", traffic.tunnels_open);
}

fn of_upstream(page: &mut Page, totals: &Totals) {
    let upstream = &totals.upstream;
    page.counter("tollgate_upstream_connects_total", "Connections to the app.", upstream.connects);
    let help = "Connections to the app that could not be made.";
    page.counter("tollgate_upstream_connect_failures_total", help, upstream.connect_failures);
    let help = "Requests over a connection that had served one before.";
    page.counter("tollgate_upstream_reuses_total", help, upstream.reuses);
    page.counter("tollgate_upstream_repeats_total", "Requests that were sent again.", upstream.repeats);
    page.gauge("tollgate_upstream_idle_connections", "Idle connections to the app.", upstream.idle);
}

fn of_the_process(page: &mut Page, totals: &Totals) {
    let process = &totals.process;
    page.counter("tollgate_config_reloads_total", "Reloads that were put into force.", process.reloads);
    let help = "Reloads that changed nothing because something was wrong.";
    page.counter("tollgate_config_reloads_failed_total", help, process.failed_reloads);
    let help = "When the configuration was last reloaded; 0 if never.";
    page.family("tollgate_config_reloaded_timestamp_seconds", "gauge", help);
    page.sample(&[], millis(process.reloaded_unix_ms));
    page.family("tollgate_dropped_lines_total", "counter", "Lines that a sink did not take.");
    for (sink, lines) in &process.dropped_lines {
        page.sample(&[("sink", sink)], lines);
    }
    let help = "EMF lines that the validator kept back.";
    page.counter("tollgate_invalid_emf_lines_total", help, process.invalid_emf_lines);
    page.gauge("tollgate_workers", "Threads that serve.", process.workers);
    page.family("tollgate_build_info", "gauge", "Always 1.");
    page.sample(&[("version", process.version)], 1);
    page.family("process_cpu_seconds_total", "counter", "Processor time.");
    page.sample(&[], seconds(process.cpu_nanos));
    page.gauge("process_resident_memory_bytes", "Resident memory.", process.resident_bytes);
    page.gauge("process_open_fds", "Open descriptors.", process.open_files);
    page.gauge("process_max_fds", "The most that may be open.", process.max_open_files);
    page.gauge("process_threads", "Threads.", process.threads);
    page.family("process_start_time_seconds", "gauge", "When the process started.");
    page.sample(&[], millis(process.started_unix_ms));
}

/// What is written so far.
struct Page {
    out: String,
    format: Format,
    /// Upper bounds of histograms as labels have them.
    bounds: Vec<String>,
    /// The name of samples of the family that is being written.
    current: &'static str,
}

impl Page {
    /// Begins a family; its samples follow.
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        let of_counter = name.strip_suffix("_total").filter(|_| self.format == Format::OpenMetrics);
        let told = of_counter.unwrap_or(name);
        // Writing to a string cannot fail.
        let _ = write!(self.out, "# HELP {told} {help}\n# TYPE {told} {kind}\n");
        self.current = name;
    }

    fn counter(&mut self, name: &'static str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(&[], value);
    }

    fn gauge(&mut self, name: &'static str, help: &str, value: u64) {
        self.family(name, "gauge", help);
        self.sample(&[], value);
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, None, value);
    }

    fn by_route(&mut self, totals: &Totals, pick: fn(&RouteTotals) -> u64) {
        for (route, of) in &totals.routes {
            self.sample(&[("route", route)], pick(of));
        }
    }

    fn histograms(&mut self, totals: &Totals, pick: fn(&RouteTotals) -> &Histogram) {
        for (route, of) in &totals.routes {
            self.histogram(&[("route", route)], pick(of));
        }
    }

    /// One without a value is left out.
    fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let count = histogram.count();
        if count == 0 {
            return;
        }
        let mut within = 0;
        for at in 0..self.bounds.len() {
            within += histogram.within.get(at).copied().unwrap_or(0);
            let bound = std::mem::take(&mut self.bounds[at]);
            // Workers count on while they are read.
            self.line("_bucket", labels, Some(&bound), within.min(count));
            self.bounds[at] = bound;
        }
        self.line("_bucket", labels, Some("+Inf"), count);
        self.line("_sum", labels, None, seconds(histogram.sum_nanos));
        self.line("_count", labels, None, count);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], bound: Option<&str>, value: impl Display) {
        self.out.push_str(self.current);
        self.out.push_str(suffix);
        let labels = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        let mut opening = '{';
        for (name, value) in labels {
            self.out.push(opening);
            opening = ',';
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(value, &mut self.out);
            self.out.push('"');
        }
        if opening == ',' {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }
}

fn escape(value: &str, out: &mut String) {
    for char in value.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(char),
        }
    }
}

/// An upper bound as the label of its bucket; in OpenMetrics it is a float even if it is whole.
fn bound(nanos: u64, format: Format) -> String {
    let mut text = seconds(nanos);
    if format == Format::OpenMetrics && !text.contains('.') {
        text.push_str(".0");
    }
    text
}

/// Nanoseconds as seconds, exactly.
fn seconds(nanos: u64) -> String {
    decimal(nanos, 1_000_000_000)
}

/// Milliseconds as seconds, exactly.
fn millis(millis: u64) -> String {
    decimal(millis, 1_000)
}

fn decimal(parts: u64, parts_of_one: u64) -> String {
    let digits = parts_of_one.ilog10() as usize;
    let text = format!("{}.{:0digits$}", parts / parts_of_one, parts % parts_of_one);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::apps::{AppState, AppTotals, BreakerState, BufferTotals, QueueTotals};
    use crate::telemetry::totals::{LimitTotals, ModelLabels, ModelTotals};

    fn totals() -> Totals {
        let mut totals = Totals::default();
        let mut route = RouteTotals::default();
        route.requests[0][1] = 3;
        route.requests[2][4] = 1;
        route.outcomes.insert("complete", 4);
        for nanos in [3_000_000, 40_000_000, 9_000_000_000] {
            route.duration.record(nanos);
        }
        route.duration.within = vec![1, 1];
        totals.routes.insert("query".into(), route);
        totals.limits.insert("default".into(), LimitTotals { refused: 2, shadow_refused: 0 });
        let labels = ModelLabels { model: "a\"b\\c".into(), operation: "".into() };
        totals.models.insert(labels, ModelTotals { tokens: 7, requests: [0, 1, 0, 0, 0] });
        totals.process.dropped_lines.insert("emf", 5);
        totals.process.started_unix_ms = 1_763_700_000_250;
        totals
    }

    #[test]
    fn samples_have_their_labels_and_histograms_are_cumulative() {
        let text = encode(&totals(), &[5_000_000, 250_000_000], Format::Text);
        for line in [
            "# TYPE http_requests_total counter",
            "http_requests_total{method=\"GET\",route=\"query\",status=\"2xx\"} 3",
            "http_requests_total{method=\"POST\",route=\"query\",status=\"5xx\"} 1",
            "http_request_duration_seconds_bucket{route=\"query\",le=\"0.005\"} 1",
            "http_request_duration_seconds_bucket{route=\"query\",le=\"0.25\"} 2",
            "http_request_duration_seconds_bucket{route=\"query\",le=\"+Inf\"} 3",
            "http_request_duration_seconds_sum{route=\"query\"} 9.043",
            "http_request_duration_seconds_count{route=\"query\"} 3",
            "tollgate_limit_refusals_total{limit=\"default\"} 2",
            "llm_tokens_total{model=\"a\\\"b\\\\c\",operation=\"\"} 7",
            "tollgate_dropped_lines_total{sink=\"emf\"} 5",
            "process_start_time_seconds 1763700000.25",
        ] {
            assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
        }
        assert!(!text.contains("# EOF"));
    }

    #[test]
    fn the_canary_and_breakers_are_there_only_where_there_are_some() {
        let app = |name, state| AppTotals {
            name,
            address: "127.0.0.1:8000".into(),
            state,
            in_flight: Some(4),
            waiting: 7,
            max_in_flight: Some(4),
            is_auto: false,
            queue_size: 64,
            queue: QueueTotals { queued: 9, full: 1, timed_out: 2, shed: 0 },
        };
        let mut totals = totals();
        totals.apps = vec![app("main", AppState::Up)];
        totals.upstream.requests[0][1] = 3;
        let alone = encode(&totals, &[], Format::Text);
        assert!(!alone.contains("canary") && !alone.contains("tollgate_breaker_open{"), "{alone}");
        let unknown = AppTotals { max_in_flight: None, in_flight: None, ..app("canary", AppState::Unknown) };
        totals.apps.push(unknown);
        totals.upstream.requests[1][4] = 2;
        totals.buffers = BufferTotals { used: 10, max: 20, spilled: 0, spill_max: 0 };
        totals.breakers.insert("a".into(), BreakerState::HalfOpen);
        totals.breakers.insert("b".into(), BreakerState::Closed);
        let text = encode(&totals, &[], Format::Text);
        for line in [
            "tollgate_upstream_requests_total{upstream=\"main\",status=\"2xx\"} 3",
            "tollgate_upstream_requests_total{upstream=\"canary\",status=\"5xx\"} 2",
            "tollgate_upstream_up{upstream=\"main\"} 1",
            "tollgate_upstream_in_flight{upstream=\"main\"} 4",
            "tollgate_upstream_max_in_flight{upstream=\"main\"} 4",
            "tollgate_queue_length{upstream=\"main\"} 7",
            "tollgate_queue_refusals_total{reason=\"timeout\",upstream=\"main\"} 2",
            "tollgate_buffer_bytes_max 20",
            "tollgate_breaker_open{route=\"a\"} 1",
            "tollgate_breaker_open{route=\"b\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
        }
        assert!(!text.contains("tollgate_upstream_up{upstream=\"canary\"}"), "{text}");
        assert!(!text.contains("tollgate_upstream_max_in_flight{upstream=\"canary\"}"), "{text}");
    }

    #[test]
    fn open_metrics_names_counters_without_total_and_ends() {
        let text = encode(
            &totals(),
            &[5_000_000, 1_000_000_000],
            Format::of_accept(Some("application/openmetrics-text;version=1.0.0")),
        );
        assert!(text.contains(",le=\"0.005\"} 1\n") && text.contains(",le=\"1.0\"} 2\n"), "{text}");
        assert!(text.contains("# TYPE http_requests counter\nhttp_requests_total{"), "{text}");
        assert!(text.contains("# TYPE process_cpu_seconds counter\nprocess_cpu_seconds_total 0\n"), "{text}");
        assert!(text.ends_with("\n# EOF\n"));
        assert_eq!(Format::of_accept(Some("text/plain")), Format::Text);
        assert_eq!(Format::of_accept(None), Format::Text);
    }

    #[test]
    fn fractions_are_exact() {
        assert_eq!(seconds(0), "0");
        assert_eq!(seconds(1), "0.000000001");
        assert_eq!(seconds(2_500_000_000), "2.5");
        assert_eq!(seconds(30_000_000_000), "30");
    }
}
