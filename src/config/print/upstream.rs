//! `[upstream]` as a file, and what a route says of how its requests are handled.

use crate::message::handling::{Handling, Spill};

use super::super::handling::ON_DISCONNECT;
use super::super::model::shield::{Buffers, Canary, HealthCheck, InFlightCap};
use super::super::model::{Model, Upstream};
use super::super::reader::bare_or_quoted;
use super::super::units::{duration_text, size_text};
use super::super::upstream::PRIORITIES;
use super::{Printer, name_of, one_or_list, quote};

pub(super) fn print(printer: &mut Printer<'_>, model: &Model) {
    let upstream = &model.upstream;
    printer.table("[upstream]", "upstream");
    printer.text("address", &upstream.address.to_string());
    printer.text("connect_timeout", &duration_text(upstream.connect_timeout));
    printer.text("response_timeout", &duration_text(upstream.response_timeout));
    printer.text("idle_timeout", &duration_text(upstream.idle_timeout));
    printer.key("retry.attempts", upstream.retry_attempts);
    print_queue(printer, upstream);
    print_buffers(printer, &upstream.buffers);
    print_health(printer, &upstream.health);
    super::tls::print_upstream(printer, &upstream.tls);
    if let Some(canary) = &upstream.canary {
        print_canary(printer, canary);
    }
}

/// A cap as it is written; `0` is the word for none.
fn cap_text(cap: Option<InFlightCap>) -> String {
    match cap {
        None => "0".to_owned(),
        Some(InFlightCap::Fixed(most)) => most.to_string(),
        Some(InFlightCap::Auto { .. }) => quote("auto"),
    }
}

fn print_queue(printer: &mut Printer<'_>, upstream: &Upstream) {
    printer.key("max_in_flight", cap_text(upstream.max_in_flight));
    let of_canary = upstream.canary.as_ref().and_then(|canary| canary.max_in_flight);
    let bounds = [upstream.max_in_flight, of_canary].into_iter().flatten().find_map(|cap| match cap {
        InFlightCap::Auto { floor, ceiling } => Some((floor, ceiling)),
        InFlightCap::Fixed(_) => None,
    });
    match bounds {
        Some((floor, ceiling)) => {
            printer.key("auto_limit.floor", floor);
            printer.key("auto_limit.ceiling", ceiling);
        }
        // It would have nothing to go with.
        None => printer.unset("auto_limit"),
    }
    let queue = &upstream.queue;
    printer.key("queue.size", queue.size);
    printer.text("queue.timeout", &duration_text(queue.timeout));
    printer.key("queue.fair", queue.fair);
    for (tier, priority) in &queue.tiers {
        printer.text(&format!("queue.tiers.{}", bare_or_quoted(tier)), name_of(&PRIORITIES, *priority));
    }
}

fn print_buffers(printer: &mut Printer<'_>, buffers: &Buffers) {
    printer.text("buffer_request", &size_text(buffers.request as u64));
    printer.text("buffer_response", &size_text(buffers.response as u64));
    printer.text("buffer_total", &size_text(buffers.total as u64));
    match &buffers.spill {
        Some(spill) => {
            printer.text("spill_dir", &spill.path.display().to_string());
            printer.text("spill_max", &size_text(spill.max));
        }
        None => printer.unset("spill_dir"),
    }
    printer.key("spill", spill_text(buffers.spill_by_default));
}

fn spill_text(spill: Spill) -> String {
    let both = [("requests", spill.requests), ("responses", spill.responses)];
    one_or_list(both.iter().filter(|(_, spills)| *spills).map(|(name, _)| quote(name)).collect())
}

fn print_health(printer: &mut Printer<'_>, health: &HealthCheck) {
    printer.table("[upstream.health]", "upstream.health");
    printer.optional("path", health.path.as_deref());
    printer.text("interval", &duration_text(health.interval));
    printer.text("timeout", &duration_text(health.timeout));
    printer.key("healthy_after", health.healthy_after);
    printer.key("unhealthy_after", health.unhealthy_after);
    let statuses = health.expect.iter().map(|(from, to)| match from == to {
        true => from.to_string(),
        false => quote(&format!("{from}-{to}")),
    });
    printer.key("expect", one_or_list(statuses.collect()));
}

fn print_canary(printer: &mut Printer<'_>, canary: &Canary) {
    printer.table("[upstream.canary]", "upstream.canary");
    printer.text("address", &canary.address.to_string());
    let (whole, hundredths) = (canary.weight_of_10_000 / 100, canary.weight_of_10_000 % 100);
    match hundredths {
        0 => printer.key("weight", whole),
        _ => printer.key("weight", format!("{whole}.{hundredths:02}")),
    }
    printer.key("max_in_flight", cap_text(canary.max_in_flight));
}

/// The keys of a route, below those that it has anyway.
pub(super) fn print_handling(printer: &mut Printer<'_>, handling: &Handling) {
    printer.optional("priority", handling.priority.map(|priority| name_of(&PRIORITIES, priority)));
    printer.key("stream", handling.stream);
    printer.key("spill", spill_text(handling.spill));
    printer.optional("on_disconnect", handling.on_disconnect.map(|action| name_of(&ON_DISCONNECT, action)));
    match &handling.breaker {
        Some(breaker) => {
            printer.text("breaker.errors", &format!("{}%", breaker.errors_percent));
            printer.text("breaker.over", &duration_text(breaker.over));
            printer.key("breaker.at_least", breaker.at_least);
            printer.text("breaker.open_for", &duration_text(breaker.open_for));
        }
        None => printer.unset("breaker"),
    }
}
