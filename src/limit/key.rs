//! What a bucket is found by: a keyed hash of what its limit counts by.
//!
//! Invariant: whatever bytes a client sends, they only go into the hash. Parts are told apart by their kind and
//! length, so that no two callers can be made to look like one, and the seed is secret, so that nobody can look
//! for two that collide.

use std::hash::{BuildHasher as _, Hasher};
use std::net::IpAddr;

use foldhash::fast::FixedState;
use http::HeaderMap;
use siphasher::sip128::{Hasher128, SipHasher13};

use super::meter::Tag;
use super::rules::{KeyPart, Limit, Scope};

/// The secret of the hash; random, and kept with the buckets over a restart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub [u64; 2]);

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(***)")
    }
}

/// A keyed hash of an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// To count by.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Who pays, and where.
#[derive(Debug, Clone, Copy)]
pub struct Payer<'a> {
    /// As identity names it.
    pub user: Option<&'a [u8]>,
    /// A hash of the key.
    pub api_key: Option<&'a [u8]>,
    /// `None` for a Unix peer nobody spoke for; all of them are one.
    pub address: Option<IpAddr>,
    /// Of the request.
    pub headers: &'a HeaderMap,
    /// The route's name.
    pub route: &'a str,
}

/// A hash of a payer as one limit sees it: 112 bits, and room for a meter's tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u64; 2]);

/// The place of one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub(crate) [u64; 2]);

const TAG_BITS: u64 = 0xffff;

impl Digest {
    /// The key of this payer's state at a meter.
    pub fn tagged(self, tag: Tag) -> Key {
        Key([self.0[0], self.0[1] & !TAG_BITS | u64::from(tag)])
    }
}

impl Key {
    /// As two words, for a file.
    pub fn words(self) -> [u64; 2] {
        self.0
    }

    /// From [`Key::words`].
    pub fn from_words(words: [u64; 2]) -> Key {
        Key(words)
    }

    /// The meter's mark; 0 for a key that is none.
    pub fn tag(self) -> Tag {
        (self.0[1] & TAG_BITS) as Tag
    }

    /// The same payer's key at another meter.
    pub fn retagged(self, tag: Tag) -> Key {
        Digest(self.0).tagged(tag)
    }
}

impl Seed {
    /// What a limit counts this payer by; `None` if the payer has nothing of what the limit counts by.
    pub fn digest(&self, limit: &Limit, payer: &Payer<'_>) -> Option<Digest> {
        let mut parts = Parts { hasher: SipHasher13::new_with_keys(self.0[0], self.0[1]), any: false };
        for part in &limit.key {
            parts.add(part, payer, limit.ipv6_prefix);
        }
        if !parts.any {
            return None;
        }
        if limit.per == Scope::Route {
            parts.write(b'r', payer.route.as_bytes());
        }
        let hash = parts.hasher.finish128();
        Some(Digest([hash.h1, hash.h2]))
    }

    /// What an API key is counted by, instead of the key.
    pub fn key_id(&self, key: &[u8]) -> KeyId {
        let mut hasher = SipHasher13::new_with_keys(self.0[1], self.0[0]);
        hasher.write(key);
        KeyId(hasher.finish128().as_bytes())
    }

    /// A hash of a caller's name, for tables in memory in which a collision costs nobody anything.
    pub fn name_hash(&self, user: Option<&[u8]>, address: Option<IpAddr>) -> u64 {
        let mut hasher = FixedState::with_seed(self.0[0]).build_hasher();
        match (user, address) {
            (Some(user), _) => {
                hasher.write_u8(b'u');
                hasher.write(user);
            }
            (None, Some(IpAddr::V4(v4))) => hasher.write_u32(v4.to_bits()),
            (None, Some(IpAddr::V6(v6))) => hasher.write_u128(v6.to_bits()),
            (None, None) => hasher.write_u8(b'x'),
        }
        hasher.finish()
    }

    /// A short name for a secret, for records: 48 bits, of no use to find the secret.
    pub fn pseudonym(&self, secret: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0[1], self.0[0]);
        hasher.write(secret);
        hasher.finish128().h1 & 0xffff_ffff_ffff
    }
}

struct Parts {
    hasher: SipHasher13,
    /// Whether the payer has one of the parts.
    any: bool,
}

impl Parts {
    fn add(&mut self, part: &KeyPart, payer: &Payer<'_>, ipv6_prefix: u8) {
        let found = match part {
            KeyPart::Caller => match payer.user {
                Some(user) => self.write(b'u', user),
                None => self.address(payer.address, ipv6_prefix),
            },
            KeyPart::User => self.optional(b'u', payer.user),
            KeyPart::Ip => self.address(payer.address, ipv6_prefix),
            KeyPart::ApiKey => self.optional(b'k', payer.api_key),
            KeyPart::Header(name) => {
                let mut lines = payer.headers.get_all(name).iter().peekable();
                let found = lines.peek().is_some();
                self.hasher.write(b"h");
                for line in lines {
                    self.write(b'l', line.as_bytes());
                }
                found
            }
            KeyPart::Global => self.write(b'g', b""),
        };
        self.any |= found;
    }

    fn optional(&mut self, kind: u8, value: Option<&[u8]>) -> bool {
        match value {
            Some(value) => self.write(kind, value),
            None => {
                self.write(b'-', b"");
                false
            }
        }
    }

    fn address(&mut self, address: Option<IpAddr>, ipv6_prefix: u8) -> bool {
        match address {
            Some(IpAddr::V4(v4)) => self.write(b'4', &v4.octets()),
            Some(IpAddr::V6(v6)) => {
                let kept = u128::MAX.checked_shl(128 - u32::from(ipv6_prefix.min(128))).unwrap_or(0);
                self.write(b'6', &(v6.to_bits() & kept).to_be_bytes())
            }
            None => self.write(b'x', b""),
        }
    }

    fn write(&mut self, kind: u8, value: &[u8]) -> bool {
        let mut head = [kind; 5];
        head[1..].copy_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.hasher.write(&head);
        self.hasher.write(value);
        true
    }
}
