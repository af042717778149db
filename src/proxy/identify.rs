//! Who is calling: the request's id, and the client's address behind the proxies we trust.

use crate::config::model::InboundId;
use crate::message::forwarded;
use crate::message::request_id::RequestId;

use super::connection::Connection;
use super::exchange::Exchange;

/// What later stages need to know of the caller.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// Whether what the peer says of others is believed.
    pub peer_is_trusted: bool,
}

/// Gives the exchange its id and its client.
pub fn identify(exchange: &mut Exchange, conn: &Connection) -> Caller {
    let settings = &exchange.snapshot.model.request_id;
    let peer_is_trusted = conn.peer_is_trusted;
    let believed = match settings.inbound {
        InboundId::Always => true,
        InboundId::Trusted => peer_is_trusted,
        InboundId::Never => false,
    };
    let headers = &exchange.request.headers;
    let mut ids = headers.get_all(&settings.header).iter().filter(|_| believed);
    // Two ids are two claims: none is believed.
    let inbound = ids.next().filter(|_| ids.next().is_none()).and_then(RequestId::parse);
    let id = inbound.unwrap_or_else(|| conn.worker.new_id(settings.format));
    let listen = &exchange.snapshot.model.listen;
    let client = if peer_is_trusted {
        forwarded::client_address(conn.peer, headers, |ip| listen.trusts(ip))
    } else {
        conn.peer
    };
    exchange.id = Some(id);
    exchange.client = client;
    Caller { peer_is_trusted }
}
