//! The keys that are known, by their digest.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::digest::KeyDigest;

/// The keys file, resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    holders: BTreeMap<KeyDigest, Holder>,
}

/// Whose key it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The user it names.
    pub user: Arc<str>,
    /// The user's tier.
    pub tier: Option<Arc<str>>,
    /// For people.
    pub note: Option<String>,
    /// The second since 1970 from which on it names nobody.
    pub expires_unix_seconds: Option<u64>,
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// It names this holder.
    Known(&'a Holder),
    /// It named this holder.
    Expired(&'a Holder),
    /// Nothing.
    Unknown,
}

impl Keys {
    /// Adds a key; `false` if it is there already.
    pub fn insert(&mut self, digest: KeyDigest, holder: Holder) -> bool {
        if self.holders.contains_key(&digest) {
            return false;
        }
        self.holders.insert(digest, holder);
        true
    }

    /// What is known of a key at this time.
    pub fn find(&self, digest: &KeyDigest, unix_seconds: u64) -> Found<'_> {
        match self.holders.get(digest) {
            None => Found::Unknown,
            Some(holder) if holder.expires_unix_seconds.is_some_and(|end| end <= unix_seconds) => {
                Found::Expired(holder)
            }
            Some(holder) => Found::Known(holder),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.holders.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// All, in the order of their digests.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyDigest, &Holder)> {
        self.holders.iter()
    }
}
