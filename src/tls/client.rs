//! How an app is spoken with over TLS: who vouches for it, and what we show.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection, Error, RootCertStore, StreamOwned};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::files::{self, FileFault, TlsFileError};
use super::server::{authorities, pair};
use super::{provider, versions_from};
use crate::config::model::tls::{CertificateFiles, TlsVersion, UpstreamTls};
use crate::socket::{Carrier, Socket};

/// Sessions that are remembered, for each app.
const SESSIONS: usize = 64;

/// A prepared `[upstream.tls]`. Two are the same if they were made of the same files and settings.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    made_of: [u8; 32],
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &ClientTls) -> bool {
        self.name == other.name && self.made_of == other.made_of
    }
}

impl Eq for ClientTls {}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ClientTls {
    /// Reads all files, for an app at this host.
    pub fn load(settings: &UpstreamTls, host: &str) -> Result<ClientTls, TlsFileError> {
        let mut made_of = Sha256::new();
        let roots = match &settings.ca {
            Some(path) => {
                let pem = files::read(path)?;
                made_of.update(&pem);
                authorities(path, &pem)?
            }
            None => host_authorities(&mut made_of)?,
        };
        let unusable = |error: Error| TlsFileError {
            path: settings.ca.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
            fault: FileFault::NoAuthority(error.to_string()),
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions_from(TlsVersion::V1_2))
            .map_err(unusable)?
            .with_root_certificates(roots);
        let mut config = match &settings.client {
            Some(files) => {
                let shown = shown(files, &mut made_of)?;
                builder.with_client_cert_resolver(Arc::new(shown))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        let name = settings.server_name.as_deref().unwrap_or(host);
        // The configuration was checked to hold a name or an address.
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| unusable(Error::General(error.to_string())))?;
        Ok(ClientTls { config: Arc::new(config), name, made_of: made_of.finalize().into() })
    }

    /// Speaks TLS on a blocking socket from here on; it shakes hands with the first bytes.
    pub fn stream(&self, socket: std::net::TcpStream) -> io::Result<impl io::Read + io::Write> {
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        Ok(StreamOwned::new(connection.map_err(io::Error::other)?, socket))
    }

    /// Speaks TLS on a socket from here on.
    pub async fn connect(&self, socket: TcpStream) -> io::Result<Socket> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let carrier = Carrier::new(socket, bytes::Bytes::new());
        let stream = connector.connect(self.name.clone(), carrier).await.map_err(in_words)?;
        Ok(Socket::Tls(Box::new(TlsStream::Client(stream))))
    }
}

/// What the library calls by the names of its errors alone.
fn in_words(error: io::Error) -> io::Error {
    let named = error.get_ref().map(ToString::to_string).unwrap_or_default();
    let words = if named.contains("CaUsedAsEndEntity") {
        "the app's certificate is one of an authority; make one with `basicConstraints=CA:FALSE`"
    } else if named.contains("UnsupportedCertVersion") {
        "the app's certificate is of version 1; make one with extensions"
    } else {
        return error;
    };
    io::Error::new(error.kind(), words)
}

/// Those that this host trusts. Certificates that cannot be used are left out, as everybody does.
fn host_authorities(made_of: &mut Sha256) -> Result<RootCertStore, TlsFileError> {
    let found = rustls_native_certs::load_native_certs().certs;
    let mut roots = RootCertStore::empty();
    found.iter().for_each(|der| made_of.update(der));
    roots.add_parsable_certificates(found);
    if roots.is_empty() {
        return Err(TlsFileError { path: String::new(), fault: FileFault::NoHostAuthorities });
    }
    Ok(roots)
}

fn shown(files: &CertificateFiles, made_of: &mut Sha256) -> Result<SingleCertAndKey, TlsFileError> {
    let pem = files::read(&files.certificate)?;
    made_of.update(&pem);
    let chain: Vec<CertificateDer<'static>> = files::chain(&files.certificate, &pem)?;
    let certified = pair(files, chain)?;
    files::warn_if_open(&files.private_key);
    Ok(SingleCertAndKey::from(certified))
}
