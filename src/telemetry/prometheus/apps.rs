//! The families of the app's slots, its queue, what is buffered, and breakers.

use super::super::apps::{APPS, AppTotals};
use super::super::totals::{CLASSES, Totals};
use super::Page;

pub(super) fn of_apps(page: &mut Page, totals: &Totals) {
    let help = "Requests that were sent to the app, by the status of the answer their clients got.";
    page.family("tollgate_upstream_requests_total", "counter", help);
    for (app, classes) in APPS.iter().zip(&totals.upstream.requests) {
        for (class, count) in CLASSES.iter().zip(classes).filter(|(_, count)| **count > 0) {
            page.sample(&[("upstream", app), ("status", class)], count);
        }
    }
    let help = "Whether the app takes requests.";
    page.family("tollgate_upstream_up", "gauge", help);
    by_app(page, totals, |app| app.state.is_up().map(u64::from));
    page.family("tollgate_upstream_in_flight", "gauge", "Requests that the app has.");
    by_app(page, totals, |app| app.in_flight);
    page.family("tollgate_upstream_max_in_flight", "gauge", "The most it may have, now.");
    by_app(page, totals, |app| app.max_in_flight.map(u64::from));
    let help = "Requests that waited for a slot of the app: for how long.";
    page.family("tollgate_queue_duration_seconds", "histogram", help);
    page.histograms(totals, |of| &of.queue);
    page.family("tollgate_queue_length", "gauge", "Requests that wait for a slot of the app.");
    by_app(page, totals, |app| Some(app.waiting));
    page.family("tollgate_queue_length_max", "gauge", "The most that may wait.");
    by_app(page, totals, |app| Some(app.queue_size));
    page.family("tollgate_queued_requests_total", "counter", "Requests that had to wait for a slot.");
    by_app(page, totals, |app| Some(app.queue.queued));
    page.family("tollgate_queue_refusals_total", "counter", "Requests that the queue refused.");
    for app in &totals.apps {
        let queue = &app.queue;
        for (reason, count) in [("full", queue.full), ("shed", queue.shed), ("timeout", queue.timed_out)] {
            page.sample(&[("reason", reason), ("upstream", app.name)], count);
        }
    }
    let buffers = &totals.buffers;
    page.gauge("tollgate_buffer_bytes", "Bodies kept in memory for slow clients.", buffers.used);
    page.gauge("tollgate_buffer_bytes_max", "The most there may be.", buffers.max);
    page.gauge("tollgate_spill_bytes", "Bodies kept in files for slow clients.", buffers.spilled);
    page.gauge("tollgate_spill_bytes_max", "The most there may be.", buffers.spill_max);
    page.family("tollgate_breaker_open", "gauge", "Whether the breaker of a route refuses requests.");
    for (route, state) in &totals.breakers {
        page.sample(&[("route", route)], u64::from(state.is_open()));
    }
}

/// What is not known of an app is left out.
fn by_app(page: &mut Page, totals: &Totals, pick: fn(&AppTotals) -> Option<u64>) {
    for app in &totals.apps {
        if let Some(value) = pick(app) {
            page.sample(&[("upstream", app.name)], value);
        }
    }
}
