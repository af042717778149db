//! `[listen.tls]` and `[upstream.tls]`: who is spoken with over TLS, and by which files.
//!
//! Only paths are in here. What the files hold is read elsewhere, anew at each reload.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::ListenAddress;

pub use crate::identity::CertificateName;

/// `[listen.tls]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenTls {
    /// At least one, all of them TCP; none is among the plain ones.
    pub addresses: Vec<ListenAddress>,
    /// At least one; clients that ask for no name, or for one that is unknown, get the first.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients may choose HTTP/2.
    pub http2: bool,
    /// The authorities whose clients are known.
    pub client_ca: Option<ClientCa>,
    /// Older versions are refused.
    pub min_version: TlsVersion,
    /// From the first byte to the end of the handshake.
    pub handshake_timeout: Duration,
}

/// A chain of certificates and the key of the first one, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain.
    pub certificate: PathBuf,
    /// The key.
    pub private_key: PathBuf,
}

/// Who must, or may, show a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCa {
    /// The authorities' certificates, PEM.
    pub path: PathBuf,
    /// Whether clients without a certificate are refused.
    pub is_required: bool,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2
    V1_2,
    /// 1.3
    V1_3,
}

impl TlsVersion {
    /// In records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            TlsVersion::V1_2 => "TLSv1.2",
            TlsVersion::V1_3 => "TLSv1.3",
        }
    }
}

/// `[upstream.tls]`: how an app with an address of `https://` is spoken with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamTls {
    /// The authorities that vouch for the app, PEM; `None` for those of the host.
    pub ca: Option<PathBuf>,
    /// The name its certificate must have; `None` for the host of its address.
    pub server_name: Option<Arc<str>>,
    /// What is shown to an app that asks who we are.
    pub client: Option<CertificateFiles>,
}
