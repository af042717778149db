//! Certificates made for a test, and clients that speak TLS.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned};

use super::PATIENCE;
use super::client::Client;
use super::scratch::Scratch;
use super::socket::Socket;

/// Who vouches for the certificates of a test. Its files live as long as it does.
#[derive(Debug)]
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
    scratch: Scratch,
}

/// A certificate and its key, in files.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The chain.
    pub certificate: PathBuf,
    /// The key.
    pub private_key: PathBuf,
}

impl Issued {
    /// As lines of a configuration.
    pub fn lines(&self) -> String {
        format!(
            "certificate = \"{}\"\nprivate_key = \"{}\"\n",
            self.certificate.display(),
            self.private_key.display()
        )
    }

    /// As an entry of `certificates`.
    pub fn entry(&self) -> String {
        format!("{{ {} }}", self.lines().trim().replace('\n', ", "))
    }

    /// Puts another certificate and its key in the place of these.
    pub fn replace(&self, other: &Issued) {
        std::fs::copy(&other.private_key, &self.private_key).unwrap();
        std::fs::copy(&other.certificate, &self.certificate).unwrap();
    }
}

/// What stands in a certificate.
#[derive(Debug, Clone)]
pub struct Wanted {
    names: Vec<SanType>,
    common_name: String,
    days: (i64, i64),
}

impl Wanted {
    /// For a server, or a client, with these names of hosts; valid now.
    pub fn of(names: &[&str]) -> Wanted {
        let names: Vec<SanType> = names.iter().map(|name| san(name)).collect();
        Wanted { names, common_name: "server".to_owned(), days: (-1, 90) }
    }

    /// With this common name.
    pub fn common_name(mut self, name: &str) -> Wanted {
        name.clone_into(&mut self.common_name);
        self
    }

    /// With this name of another kind.
    pub fn name(mut self, name: SanType) -> Wanted {
        self.names.push(name);
        self
    }

    /// Valid from and to, in days from now.
    pub fn days(mut self, from: i64, to: i64) -> Wanted {
        self.days = (from, to);
        self
    }
}

fn san(name: &str) -> SanType {
    match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into().unwrap()),
    }
}

impl Authority {
    /// A new one.
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let scratch = Scratch::new();
        std::fs::write(scratch.file("ca.pem"), &pem).unwrap();
        Authority { params, key, pem, scratch }
    }

    /// The file of its own certificate.
    pub fn file(&self) -> PathBuf {
        self.scratch.file("ca.pem")
    }

    /// A file beside its own.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.scratch.file(name)
    }

    /// A certificate for these hosts, in files of this name.
    pub fn issue(&self, file: &str, hosts: &[&str]) -> Issued {
        self.issue_as(file, &Wanted::of(hosts))
    }

    /// A certificate as it is wanted.
    pub fn issue_as(&self, file: &str, wanted: &Wanted) -> Issued {
        let mut params = CertificateParams::default();
        params.subject_alt_names.clone_from(&wanted.names);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, wanted.common_name.as_str());
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let day = Duration::from_secs(24 * 60 * 60);
        let at = |days: i64| match u32::try_from(days) {
            Ok(days) => SystemTime::now() + day * days,
            Err(_) => SystemTime::now() - day * u32::try_from(-days).unwrap(),
        };
        params.not_before = at(wanted.days.0).into();
        params.not_after = at(wanted.days.1).into();
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let issued = Issued {
            certificate: self.scratch.file(&format!("{file}.pem")),
            private_key: self.scratch.file(&format!("{file}.key")),
        };
        std::fs::write(&issued.certificate, format!("{}{}", certificate.pem(), self.pem)).unwrap();
        write_key(&issued.private_key, &key.serialize_pem());
        issued
    }

    /// Who trusts this authority, and connects.
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::trusting(&self.file(), None)
    }
}

/// Writes a key as operators are told to.
pub fn write_key(path: &Path, pem: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, pem).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Connects over TLS, and remembers sessions.
#[derive(Debug, Clone)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
}

impl TlsConnector {
    /// Trusts whom this authority vouches for, and shows a certificate of its own.
    pub fn trusting(ca: &Path, shown: Option<&Issued>) -> TlsConnector {
        TlsConnector::speaking(ca, shown, rustls::ALL_VERSIONS)
    }

    /// The same, in some versions alone.
    pub fn speaking(
        ca: &Path,
        shown: Option<&Issued>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        for der in CertificateDer::pem_file_iter(ca).unwrap() {
            roots.add(der.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let chain = CertificateDer::pem_file_iter(&issued.certificate).unwrap();
                let key = PrivateKeyDer::from_pem_file(&issued.private_key).unwrap();
                builder.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
            }
        };
        TlsConnector { config: Arc::new(config) }
    }

    /// Connects to `host:port`, asking for this name.
    pub fn connect(&self, address: &str, name: &str) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        self.over(stream, name).unwrap_or_else(|error| panic!("no handshake: {error}")).client()
    }

    /// Shakes hands on a socket.
    pub fn over(&self, mut stream: TcpStream, name: &str) -> std::io::Result<Shaken> {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut connection = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(Shaken(StreamOwned::new(connection, stream)))
    }
}

/// A connection with the handshake done.
#[derive(Debug)]
pub struct Shaken(StreamOwned<ClientConnection, TcpStream>);

impl Shaken {
    /// Whether a session was taken up again.
    pub fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// What is spoken.
    pub fn version(&self) -> ProtocolVersion {
        self.0.conn.protocol_version().unwrap()
    }

    /// The server's own certificate.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.0.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// As a client.
    pub fn client(self) -> Client {
        Client::over(Socket::Tls(Box::new(self.0)))
    }
}
