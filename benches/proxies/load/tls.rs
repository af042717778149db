//! TLS of the load generator and of the proxies it speaks to: one certificate, made for the run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, client::Resumption};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::trouble::{Fallible, Trouble};

/// A certificate in files, as the proxies want it.
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    /// Both in one, as HAProxy wants it.
    pub(crate) both: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    pub(crate) fn make(directory: &Path) -> Fallible<Certificate> {
        let made =
            rcgen::generate_simple_self_signed(["api.example.com".to_owned()]).map_err(Trouble::new)?;
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let certificate = Certificate {
            chain: directory.join("chain.pem"),
            key: directory.join("key.pem"),
            both: directory.join("both.pem"),
            der: made.cert.der().clone(),
        };
        for (path, text) in [
            (&certificate.chain, &chain),
            (&certificate.key, &key),
            (&certificate.both, &format!("{chain}{key}")),
        ] {
            fs::write(path, text).map_err(crate::trouble::io(path.display()))?;
            let only_ours = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(path, only_ours).map_err(crate::trouble::io(path.display()))?;
        }
        Ok(certificate)
    }

    /// Connections that trust it, agree on `protocol`, and never resume another.
    pub(crate) fn dialer(&self, protocol: &[u8]) -> Fallible<Dialer> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).map_err(Trouble::new)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(Trouble::new)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Dialer(TlsConnector::from(Arc::new(config))))
    }
}

/// Makes TLS connections.
#[derive(Clone)]
pub(crate) struct Dialer(TlsConnector);

impl Dialer {
    pub(crate) async fn greet(&self, stream: TcpStream) -> io::Result<Stream> {
        let name = ServerName::try_from("api.example.com").map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(self.0.connect(name, stream).await?)))
    }
}

/// A connection with or without TLS.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Plain($stream) => $call,
            Stream::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
