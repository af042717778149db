//! The way of a request.
//!
//! ```text
//! listener ─► connection ─► handle ─► identify ─► screen ─► admit ─► forward ─► (answer) ─► record
//! ```
//!
//! [`handle`] accounts, [`serve`] does. A stage returns a typed value or a [`LocalReply`]; none writes a
//! response. The record is made exactly once, when the exchange is dropped.

pub mod admit;
pub mod ahead;
pub mod arrival;
mod ask;
mod backlog;
mod blocks;
pub mod body;
pub mod caller;
pub mod collect;
pub mod connection;
pub mod current;
pub mod downstream_io;
pub mod ended;
pub mod exchange;
pub mod forward;
pub mod health;
mod http2;
pub mod identify;
pub mod inbound;
pub mod interventions;
pub mod left_behind;
pub mod listener;
pub mod measure;
pub mod peers;
pub mod screen;
pub mod sending;
mod slot;
pub mod snapshot;
pub mod spilled_upload;
pub mod telling;
pub mod tunnel;
pub mod upload;
pub mod wire;
pub mod worker;

use std::rc::Rc;

use http::header::CONNECTION;
use http::{HeaderValue, StatusCode, Version};
use hyper::body::Incoming;
use hyper::{Request, Response};

use crate::message::local_reply::LocalReply;

use self::admit::admit;
use self::body::Body;
use self::connection::Connection;
use self::exchange::Exchange;
use self::forward::forward;
use self::health::health;
use self::identify::identify;
use self::inbound::Inbound;
use self::screen::screen;

/// One exchange, from the head we understood to the last byte we sent.
///
/// It is open when this returns: hyper reads on before it polls what it got, and may drop it unpolled.
pub fn handle(
    request: Request<Incoming>,
    conn: Rc<Connection>,
) -> impl Future<Output = Response<Body>> + 'static {
    let (parts, body) = request.into_parts();
    let has_connection_field = parts.version < Version::HTTP_2;
    let mut exchange = Exchange::open(parts, &conn);
    async move {
        let mut response = match serve(Inbound::Http1(body), &conn, &mut exchange).await {
            Ok(response) => exchange.attach(response),
            Err(reply) => exchange.answer(reply),
        };
        let is_last = conn.worker.is_draining() && response.status() != StatusCode::SWITCHING_PROTOCOLS;
        if is_last && has_connection_field {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

async fn serve(
    body: Inbound,
    conn: &Connection,
    exchange: &mut Exchange,
) -> Result<Response<forward::Answered>, LocalReply> {
    identify(exchange, conn);
    if let Some(response) = health(exchange, conn) {
        return Ok(response);
    }
    let passed = screen(exchange, conn)?;
    admit(exchange, conn)?;
    forward(body, passed, conn, exchange).await
}
