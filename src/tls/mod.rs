//! TLS on both sides: files to what rustls serves and asks with.
//!
//! `files` reads chains and keys, `certificate` looks into them, `server` and `client` make of them what connections are
//! served and made with, `failure` tells why a handshake failed. Invariant: whatever is in force was checked as a whole
//! before: a chain with its key, in its time.

mod certificate;
pub mod client;
pub mod failure;
pub mod files;
pub mod server;
mod sni;

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

use crate::config::model::tls::TlsVersion;

pub use certificate::Expiry;
pub use files::{FileFault, TlsFileError};

/// The one implementation of ciphers. Its suites are those that nobody advises against.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

static ONLY_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

fn versions_from(least: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match least {
        TlsVersion::V1_2 => rustls::ALL_VERSIONS,
        TlsVersion::V1_3 => ONLY_1_3,
    }
}
