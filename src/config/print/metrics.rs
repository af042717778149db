//! `[metrics]` and `[cloudwatch]` as a file.

use std::time::Duration;

use super::super::metrics::PUSH;
use super::super::model::metrics::{CloudWatch, FromResponse, Metrics};
use super::super::units::duration_text;
use super::{Printer, list, name_of, one_or_list, quote};

pub(super) fn print(printer: &mut Printer<'_>, metrics: &Metrics) {
    printer.table("[metrics]", "metrics");
    printer.key("prometheus", metrics.prometheus);
    printer.text("push", name_of(&PUSH, metrics.push.is_some()));
    // Without a push it has no meaning, and would be warned of.
    if let Some(every) = metrics.push {
        printer.text("push_every", &duration_text(every));
    }
    let bound = |nanos: &u64| quote(&duration_text(Duration::from_nanos(*nanos)));
    printer.key("buckets", list(metrics.buckets.iter().map(bound).collect()));
    printer.key("max_routes", metrics.max_routes);
    printer.key("max_models", metrics.max_models);
    print_from_response(printer, &metrics.from_response);
}

fn print_from_response(printer: &mut Printer<'_>, from_response: &FromResponse) {
    printer.table("[metrics.from_response]", "metrics.from_response");
    match &from_response.cache_hit {
        Some(hit) => {
            printer.text("cache_hit.header", hit.header.as_str());
            printer.text("cache_hit.equals", &hit.equals);
        }
        None => printer.unset("cache_hit"),
    }
    match &from_response.analysis_latency {
        Some(entry) => printer.text("analysis_latency.server_timing", entry),
        None => printer.unset("analysis_latency"),
    }
    let entries = from_response.server_timing.iter().map(|entry| quote(entry));
    printer.key("server_timing", list(entries.collect()));
    match &from_response.llm {
        Some(llm) => {
            printer.text("llm.tokens", llm.tokens.as_str());
            printer.optional("llm.model", llm.model.as_ref().map(http::HeaderName::as_str));
            printer.optional("llm.operation", llm.operation.as_ref().map(http::HeaderName::as_str));
        }
        None => printer.unset("llm"),
    }
    printer.key("strip", from_response.strip);
}

pub(super) fn print_cloudwatch(printer: &mut Printer<'_>, cloudwatch: &CloudWatch) {
    printer.table("[cloudwatch]", "cloudwatch");
    printer.optional("region", cloudwatch.region.as_deref());
    printer.optional("dashboard", cloudwatch.dashboard.as_deref());
    // With a point even if it is a whole number.
    printer.key("metric_price", format!("{:?}", cloudwatch.metric_price));
    printer.key("log_price", format!("{:?}", cloudwatch.log_price));
    printer.key("metric_budget", cloudwatch.metric_budget);
    let alarms = &cloudwatch.alarms;
    let percent = |percent: u8| format!("{percent}%");
    printer.table("[cloudwatch.alarms]", "cloudwatch.alarms");
    printer.key("actions", one_or_list(alarms.actions.iter().map(|action| quote(action)).collect()));
    printer.text("error_rate", &percent(alarms.error_rate_percent));
    printer.key("min_requests", alarms.min_requests);
    printer.text("p99", &duration_text(alarms.p99));
    printer.text("cache_hit_rate", &percent(alarms.cache_hit_rate_percent));
    printer.text("throttled_rate", &percent(alarms.throttled_rate_percent));
    printer.text("no_traffic", &alarms.no_traffic.map_or("off".to_owned(), duration_text));
}
