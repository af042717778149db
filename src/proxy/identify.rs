//! Who is calling: the request's id, the client's address behind the proxies we trust, and the user its
//! credentials name.
//!
//! Invariant: a key stays in the request. What is kept of it here is a hash, and what is told of it a pseudonym.

use std::rc::Rc;
use std::sync::Arc;

use crate::config::model::InboundId;
use crate::limit::key::KeyId;
use crate::message::forwarded;
use crate::message::request_id::RequestId;

use super::connection::Connection;
use super::exchange::Exchange;

/// What later stages need to know of the caller.
#[derive(Debug, Default)]
pub struct Caller {
    /// Whether what the peer says of others is believed.
    pub peer_is_trusted: bool,
    /// By the first source that answered.
    pub user: Option<User>,
    /// The user's.
    pub tier: Option<Arc<str>>,
    /// What its API key is counted by.
    pub api_key: Option<KeyId>,
    /// The key's SHA-256, where somebody asks for it.
    pub digest: Option<[u8; 32]>,
    /// The key is unknown, and unknown keys are not served.
    pub is_rejected: bool,
}

/// A user's name.
#[derive(Debug)]
pub enum User {
    /// By the keys file.
    Named(Arc<str>),
    /// By a trusted proxy, in whatever bytes.
    Told(Box<[u8]>),
    /// Nobody knows; this stands for the key that was sent.
    Pseudonym([u8; PSEUDONYM]),
}

const PSEUDONYM: usize = "key:".len() + 12;

impl User {
    /// In records, and to count by.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            User::Named(name) => name.as_bytes(),
            User::Told(name) => name,
            User::Pseudonym(name) => name,
        }
    }
}

/// Gives the exchange its id, its client and its caller.
pub fn identify(exchange: &mut Exchange, conn: &Connection) {
    let snapshot = Rc::clone(&exchange.snapshot);
    let settings = &snapshot.model.request_id;
    let listen = &snapshot.model.listen;
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
    let client = if peer_is_trusted {
        forwarded::client_address(conn.peer, headers, |ip| listen.trusts(ip))
    } else {
        conn.peer
    };
    exchange.id = Some(id);
    exchange.client = client;
    exchange.caller.peer_is_trusted = peer_is_trusted;
}
