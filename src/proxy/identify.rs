//! Who is calling: the request's id, the client's address behind the proxies we trust, and the user its
//! credentials name.

use std::rc::Rc;

use crate::config::model::InboundId;
use crate::message::forwarded;
use crate::message::request_id::RequestId;

use super::caller::Naming;
use super::connection::Connection;
use super::exchange::Exchange;

/// Gives the exchange its id, its client and its caller.
pub fn identify(exchange: &mut Exchange, conn: &Connection) {
    let snapshot = Rc::clone(&exchange.snapshot);
    let settings = &snapshot.model.request_id;
    let listen = &snapshot.model.listen;
    // Whoever can connect to a Unix socket is trusted.
    let peer_is_trusted = conn.peer.is_none_or(|peer| listen.trusts(peer));
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
    let client = if peer_is_trusted {
        forwarded::client_address(conn.peer, headers, |ip| listen.trusts(ip))
    } else {
        conn.peer
    };
    exchange.id = Some(id);
    exchange.client = client;
    exchange.caller.peer_is_trusted = peer_is_trusted;
    if !snapshot.model.identity.sources.is_empty() {
        let naming = Naming {
            identity: &snapshot.model.identity,
            keys: snapshot.keys.as_deref(),
            seed: &snapshot.buckets.seed,
            exempt: &snapshot.limits.limiting.exempt,
        };
        let unix_seconds = conn.worker.clock.unix_nanos(exchange.opened) / 1_000_000_000;
        exchange.caller.name(naming, &exchange.request, conn.certified.as_ref(), unix_seconds);
    }
}
