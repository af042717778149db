//! May this request come at all: its form, its route, its size. Cheapest first; nothing is read of the body.

use http::header;

use crate::alarms::Alarm;
use crate::message::head::parse_length;
use crate::message::local_reply::LocalReply;
use crate::message::{path, target};

use super::exchange::Exchange;

/// What a screened request may do.
#[derive(Debug, Clone, Copy)]
pub struct Passed {
    /// Bytes of body it may send.
    pub max_body: u64,
}

/// Refuses what is malformed, has no route, or says that it is too large.
pub fn screen(exchange: &mut Exchange) -> Result<Passed, LocalReply> {
    let snapshot = std::rc::Rc::clone(&exchange.snapshot);
    // Only parsed requests reach a stage; a refused head was answered before.
    let parts = exchange.request.parts().ok_or(LocalReply::UpstreamUnavailable)?;
    target::check(&parts.method, &parts.uri, parts.version, &parts.headers)?;
    let path = path::normalize(parts.uri.path()).map_err(LocalReply::BadRequest)?;
    let routes = &snapshot.model.routes;
    let index = routes.find(&parts.method, &path).ok_or(LocalReply::NotFound)?;
    let route = routes.route(index);
    exchange.route = Some(index);
    if let Some(timeout) = route.timeout {
        let total = Alarm::new(exchange.alarms());
        total.set(exchange.opened + timeout);
        exchange.total = Some(total);
    }
    let parts = exchange.request.parts().ok_or(LocalReply::UpstreamUnavailable)?;
    let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| parse_length(value.as_bytes()));
    if announced.is_some_and(|length| length > route.max_body) {
        return Err(LocalReply::PayloadTooLarge);
    }
    Ok(Passed { max_body: route.max_body })
}
