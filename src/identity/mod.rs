//! Who a request's credentials name.
//!
//! Pure: the keys file is read elsewhere, the time is an argument. Invariant: a key that was sent is never kept,
//! printed or compared as it is; it is hashed, and the hash is looked up.

mod claim;
mod digest;
mod keys;

use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderName;

pub use claim::{Claim, claim, redact};
pub use digest::KeyDigest;
pub use keys::{Found, Holder, Keys};

/// `[identity]`
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// In the order they are asked; the first that answers names the user.
    pub sources: Vec<Source>,
}

impl Identity {
    /// The source that looks for API keys.
    pub fn api_key(&self) -> Option<&ApiKey> {
        self.sources.iter().find_map(|source| match source {
            Source::ApiKey(api_key) => Some(api_key),
            Source::Header(_) => None,
        })
    }
}

/// A place where a user is named.
#[derive(Debug, Clone)]
pub enum Source {
    /// `[identity.api_key]`
    ApiKey(ApiKey),
    /// `[identity.header]`: a field that a trusted proxy sets.
    Header(HeaderName),
}

/// `[identity.api_key]`
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// The field it is in; of `Authorization` what stands behind `Bearer`.
    pub header: HeaderName,
    /// The parameter of the query it may be in instead.
    pub query: Option<Arc<str>>,
    /// The file of the keys that are known; without it none is, and none is refused.
    pub keys_file: Option<PathBuf>,
    /// What becomes of others.
    pub unknown: UnknownKey,
}

/// What becomes of a request with a key that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownKey {
    /// It is served as one without a key.
    Anonymous,
    /// It is answered with 401.
    Reject,
}

#[cfg(test)]
mod tests;
