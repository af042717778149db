//! The caller of a request: what credentials name, what limits count by, who is exempt.
//!
//! Pure, so that `tollgate explain` tells what the request path does. Invariant: a key stays in the request. What is
//! kept of it here is a hash, and what is told of it a pseudonym.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;

use crate::identity::{Claim, Identity, KeyDigest, Keys, Peer, claim};
use crate::limit::key::{KeyId, Payer, Seed};
use crate::limit::rules::Exempt;
use crate::message::path;

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
    pub digest: Option<KeyDigest>,
    /// The key is unknown, and unknown keys are not served.
    pub is_rejected: bool,
}

/// A user's name.
#[derive(Debug)]
pub enum User {
    /// By the keys file, or a certificate.
    Named(Arc<str>),
    /// By a trusted proxy, in whatever bytes.
    Told(Box<[u8]>),
    /// Nobody knows; this stands for the key that was sent.
    Pseudonym([u8; PSEUDONYM]),
}

const PSEUDONYM: usize = "key:".len() + 12;

/// What callers are named by.
#[derive(Debug, Clone, Copy)]
pub struct Naming<'a> {
    /// Where to look.
    pub identity: &'a Identity,
    /// The keys that are known.
    pub keys: Option<&'a Keys>,
    /// The secret of pseudonyms and of what is counted by.
    pub seed: &'a Seed,
    /// Who is exempt.
    pub exempt: &'a Exempt,
}

impl Caller {
    /// Looks for credentials, in the order of the sources; `certified` is whom the connection's certificate names.
    pub fn name(
        &mut self,
        naming: Naming<'_>,
        request: &Parts,
        certified: Option<&Arc<str>>,
        unix_seconds: u64,
    ) {
        let Naming { identity, keys, seed, exempt } = naming;
        let query = request.uri.query();
        let peer = Peer { is_trusted: self.peer_is_trusted, certified };
        match claim(identity, keys, &request.headers, query, peer, unix_seconds) {
            Claim::None => {}
            Claim::Known { digest, holder } => {
                self.user = Some(User::Named(Arc::clone(&holder.user)));
                self.tier = holder.tier.clone();
                self.api_key = Some(seed.key_id(digest.as_bytes()));
                self.digest = Some(digest);
            }
            Claim::Opaque { key } => {
                self.user = Some(User::pseudonym(seed, &key));
                self.api_key = Some(seed.key_id(&key));
                // A hash that only exemptions ask for.
                self.digest = (!exempt.keys.is_empty()).then(|| KeyDigest::of(&key));
            }
            Claim::Certified { user } => self.user = Some(User::Named(Arc::clone(user))),
            Claim::Proxy { user } => self.user = Some(User::Told(user.into())),
            Claim::Rejected => self.is_rejected = true,
        }
    }

    /// As limits see it.
    pub fn payer<'a>(&'a self, client: Option<IpAddr>, request: &'a Parts, route: &'a str) -> Payer<'a> {
        Payer {
            user: self.user.as_ref().map(User::as_bytes),
            api_key: self.api_key.as_ref().map(KeyId::as_bytes),
            address: client,
            headers: &request.headers,
            route,
        }
    }

    /// Whether this caller, or what it asks for, is never limited.
    pub fn is_exempt(&self, exempt: &Exempt, client: Option<IpAddr>, request: &Parts) -> bool {
        let by_path = || {
            let Some(paths) = &exempt.paths else { return false };
            let path = path::normalize(request.uri.path());
            path.is_ok_and(|path| paths.find(&request.method, &path).is_some())
        };
        let user = self.user.as_ref().map(User::as_bytes);
        client.is_some_and(|address| exempt.has_address(address))
            || user.is_some_and(|user| exempt.users.iter().any(|name| name.as_bytes() == user))
            || self.digest.is_some_and(|digest| exempt.keys.contains(digest.as_bytes()))
            || by_path()
    }
}

impl User {
    /// In records, and to count by.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            User::Named(name) => name.as_bytes(),
            User::Told(name) => name,
            User::Pseudonym(name) => name,
        }
    }

    fn pseudonym(seed: &Seed, key: &[u8]) -> User {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut name = *b"key:000000000000";
        let bits = seed.pseudonym(key);
        for (at, digit) in name[4..].iter_mut().rev().enumerate() {
            *digit = HEX[(bits >> (4 * at)) as usize & 0xf];
        }
        User::Pseudonym(name)
    }
}
