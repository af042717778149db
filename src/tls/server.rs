//! What clients are served with: certificates by name, tickets, and who must show a certificate.
//!
//! Invariant: a session that is taken up again was begun under the same authorities and the same rules; when those change,
//! so do the keys of tickets.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, Error, HandshakeKind, InconsistentKeys, ProtocolVersion, RootCertStore, ServerConfig,
};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::certificate::{self, Expiry};
use super::files::{self, FileFault, TlsFileError};
use super::sni::ByName;
use super::{provider, versions_from};
use crate::config::model::tls::{CertificateFiles, ClientCa, ListenTls, TlsVersion};
use crate::socket::{Carrier, Socket};

pub use super::certificate::client_name;

/// Offered before HTTP/1.1 where it is served.
const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// A prepared `[listen.tls]`.
pub struct ServerTls {
    config: Arc<ServerConfig>,
    /// When each certificate ends.
    pub expiries: Vec<Expiry>,
    tickets: Arc<dyn ProducesTickets>,
    /// Of what tickets vouch for.
    rules: [u8; 32],
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("expiries", &self.expiries).finish_non_exhaustive()
    }
}

/// Why there is nothing to serve with.
#[derive(Debug)]
pub enum ServerTlsError {
    /// A file cannot be used.
    File(TlsFileError),
    /// The kernel gives no random numbers, or the like.
    Other(String),
}

impl fmt::Display for ServerTlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerTlsError::File(error) => error.fmt(f),
            ServerTlsError::Other(error) => write!(f, "TLS cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for ServerTlsError {}

impl From<TlsFileError> for ServerTlsError {
    fn from(error: TlsFileError) -> ServerTlsError {
        ServerTlsError::File(error)
    }
}

impl From<Error> for ServerTlsError {
    fn from(error: Error) -> ServerTlsError {
        ServerTlsError::Other(error.to_string())
    }
}

impl ServerTls {
    /// Reads all files; sessions that were begun with `before` can go on.
    pub fn load(
        settings: &ListenTls,
        before: Option<&ServerTls>,
        unix_seconds: u64,
    ) -> Result<ServerTls, ServerTlsError> {
        let mut by_name = ByName::default();
        let mut expiries = Vec::new();
        for files in &settings.certificates {
            let (certified, names, expiry) = certified(files, unix_seconds)?;
            by_name.add(certified, names);
            expiries.push(expiry);
        }
        let (roots, rules) = match &settings.client_ca {
            Some(ca) => {
                let pem = files::read(&ca.path)?;
                (Some(authorities(&ca.path, &pem)?), fingerprint(&pem, ca.is_required))
            }
            None => (None, [0; 32]),
        };
        let tickets = match before.filter(|before| before.rules == rules) {
            Some(before) => Arc::clone(&before.tickets),
            None => rustls::crypto::ring::Ticketer::new()?,
        };
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions_from(settings.min_version))?;
        let builder = match (roots, &settings.client_ca) {
            (Some(roots), Some(ClientCa { path, is_required })) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = if *is_required { verifier } else { verifier.allow_unauthenticated() };
                let unusable = |error: &dyn fmt::Display| {
                    TlsFileError::of(path, FileFault::NoAuthority(error.to_string()))
                };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| unusable(&error))?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(by_name));
        config.ticketer = Arc::clone(&tickets);
        // All there is to a session is in its ticket: nothing is kept here, and no worker waits for another.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = match settings.http2 {
            true => vec![H2.to_vec(), HTTP_1_1.to_vec()],
            false => vec![HTTP_1_1.to_vec()],
        };
        Ok(ServerTls { config: Arc::new(config), expiries, tickets, rules })
    }
}

type Certified = (CertifiedKey, Vec<String>, Expiry);

fn certified(files: &CertificateFiles, unix_seconds: u64) -> Result<Certified, ServerTlsError> {
    let CertificateFiles { certificate: path, private_key } = files;
    let chain = files::chain(path, &files::read(path)?)?;
    let looked = match chain.first() {
        Some(first) => certificate::look(path, first, unix_seconds)?,
        None => return Err(TlsFileError::of(path, FileFault::NoCertificate).into()),
    };
    let certified = pair(files, chain)?;
    files::warn_if_open(private_key);
    let expiry =
        Expiry { certificate: path.display().to_string().into(), not_after_unix: looked.not_after_unix };
    Ok((certified, looked.dns_names, expiry))
}

/// A chain with its key.
pub(super) fn pair(
    files: &CertificateFiles,
    chain: Vec<CertificateDer<'static>>,
) -> Result<CertifiedKey, TlsFileError> {
    let CertificateFiles { certificate: path, private_key } = files;
    let key = files::key(private_key, &files::read(private_key)?)?;
    let key = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|_| TlsFileError::of(private_key, FileFault::UnusableKey))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => {
            Err(TlsFileError::of(path, FileFault::KeyMismatch(private_key.display().to_string())))
        }
        Err(_) => Err(TlsFileError::of(path, FileFault::Damaged)),
    }
}

/// The authorities in a file; each of them must be one.
pub(super) fn authorities(path: &Path, pem: &[u8]) -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    let mut known = HashSet::new();
    for der in files::chain(path, pem)? {
        if known.insert(der.clone()) {
            let unusable = |error: Error| TlsFileError::of(path, FileFault::NoAuthority(error.to_string()));
            roots.add(der).map_err(unusable)?;
        }
    }
    Ok(roots)
}

fn fingerprint(pem: &[u8], is_required: bool) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update([1, u8::from(is_required)]);
    hash.update(pem);
    hash.finalize().into()
}

/// A connection that speaks TLS from here on.
#[derive(Debug)]
pub struct Handshaken {
    /// In plaintext on our side.
    pub socket: Socket,
    /// HTTP/2 was agreed on.
    pub is_http2: bool,
    /// A session was taken up again.
    pub is_resumed: bool,
    /// The version that is spoken.
    pub version: TlsVersion,
    /// The client's certificate, verified and in its time.
    pub client: Option<CertificateDer<'static>>,
}

impl ServerTls {
    /// Shakes hands on a socket of which `early` was read. A client's certificate that ended since its session began is
    /// as good as a wrong one. With an error the socket is given back, whose client has been told.
    pub async fn handshake(
        &self,
        socket: TcpStream,
        early: Bytes,
        unix_seconds: u64,
    ) -> Result<Handshaken, (io::Error, Option<TcpStream>)> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        let accepting = acceptor.accept(Carrier::new(socket, early)).into_fallible();
        let stream = accepting.await.map_err(|(error, carrier)| (error, Some(carrier.into_tcp())))?;
        let session = stream.get_ref().1;
        let client =
            session.peer_certificates().and_then(|chain| chain.first()).map(|der| der.clone().into_owned());
        if client.as_ref().is_some_and(|der| certificate::has_ended(der, unix_seconds)) {
            let ended = Error::InvalidCertificate(CertificateError::Expired);
            return Err((io::Error::new(io::ErrorKind::InvalidData, ended), None));
        }
        Ok(Handshaken {
            is_http2: session.alpn_protocol() == Some(H2),
            is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => TlsVersion::V1_2,
                _ => TlsVersion::V1_3,
            },
            client,
            socket: Socket::Tls(Box::new(TlsStream::Server(stream))),
        })
    }
}
