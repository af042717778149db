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

pub use claim::{Claim, Peer, claim, redact};
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
            Source::Header(_) | Source::Certificate(_) => None,
        })
    }

    /// What of a client's certificate names it; the subject where nobody asks for it yet, so that a reload that asks finds
    /// connections that are open already.
    pub fn certificate_name(&self) -> CertificateName {
        let asked = self.sources.iter().find_map(|source| match source {
            Source::Certificate(name) => Some(*name),
            Source::Header(_) | Source::ApiKey(_) => None,
        });
        asked.unwrap_or_default()
    }
}

/// A place where a user is named.
#[derive(Debug, Clone)]
pub enum Source {
    /// `[identity.api_key]`
    ApiKey(ApiKey),
    /// `[identity.header]`: a field that a trusted proxy sets.
    Header(HeaderName),
    /// `[identity.certificate]`: the certificate that the client's connection was made with.
    Certificate(CertificateName),
}

/// What of a client's certificate names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CertificateName {
    /// The common name of its subject.
    #[default]
    SubjectCn,
    /// Its alternative name that is a host's.
    SanDns,
    /// Its alternative name that is a mail address.
    SanEmail,
    /// Its alternative name that is a URI, as SPIFFE has it.
    SanUri,
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
