//! May this request come at all: its form, its route, its size. Cheapest first; nothing is read of the body.

use http::header;

use crate::message::head::parse_length;
use crate::message::local_reply::LocalReply;
use crate::message::routes::Route;
use crate::message::{path, target};

use super::caller::User;
use super::connection::Connection;
use super::exchange::Exchange;

/// What a screened request may do.
#[derive(Debug, Clone, Copy)]
pub struct Passed {
    /// Bytes of body it may send.
    pub max_body: u64,
}

/// Refuses what is malformed, comes from a blocked caller, has no route, or says that it is too large.
pub fn screen(exchange: &mut Exchange, conn: &Connection) -> Result<Passed, LocalReply> {
    let request = &exchange.request;
    target::check(&request.method, &request.uri, request.version, &request.headers)?;
    let user = exchange.caller.user.as_ref().map(User::as_bytes);
    if conn.worker.interventions.is_blocked(user, exchange.client, exchange.opened) {
        return Err(LocalReply::Forbidden);
    }
    let path = path::normalize(request.uri.path()).map_err(LocalReply::BadRequest)?;
    let routes = &exchange.snapshot.model.routes;
    let index = routes.find_index(&request.method, &path).ok_or(LocalReply::NotFound)?;
    let Route { timeout, max_body, .. } = *routes.routes()[index];
    let announced =
        request.headers.get(header::CONTENT_LENGTH).and_then(|value| parse_length(value.as_bytes()));
    exchange.route = Some(index);
    if let Some(timeout) = timeout {
        exchange.bound(timeout);
    }
    if announced.is_some_and(|length| length > max_body) {
        return Err(LocalReply::PayloadTooLarge);
    }
    Ok(Passed { max_body })
}
