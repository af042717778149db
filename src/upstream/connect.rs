//! New connections to the app.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use crate::config::model::UpstreamAddress;
use crate::config::model::tls::UpstreamTls;
use crate::socket::Socket;
use crate::tls::TlsFileError;
use crate::tls::client::ClientTls;

/// Waits between attempts while a Unix socket's backlog is full.
const FIRST_BACKLOG_WAIT: Duration = Duration::from_millis(1);
const LONGEST_BACKLOG_WAIT: Duration = Duration::from_millis(50);

/// Where the app listens, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// As in records and messages.
    pub label: String,
    place: Place,
    /// Over a plain connection, if not.
    tls: Option<ClientTls>,
}

/// Why it is not known how to get there.
#[derive(Debug)]
pub enum Unresolved {
    /// The name has no address.
    Name(io::Error),
    /// A file of `[upstream.tls]` cannot be used.
    Tls(TlsFileError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Tcp(Vec<SocketAddr>),
    Unix(PathBuf),
}

impl Destination {
    /// Resolves an address, and reads what TLS needs. Blocks on the resolver for a name: start-up only.
    pub fn resolve(address: &UpstreamAddress, tls: &UpstreamTls) -> Result<Destination, Unresolved> {
        Ok(match address {
            UpstreamAddress::Tcp { host, port, tls: is_tls } => {
                let found = (host.as_str(), *port).to_socket_addrs().map_err(Unresolved::Name)?;
                let addresses: Vec<SocketAddr> = found.collect();
                if addresses.is_empty() {
                    let error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                    return Err(Unresolved::Name(error));
                }
                let tls = is_tls.then(|| ClientTls::load(tls, host)).transpose().map_err(Unresolved::Tls)?;
                let label =
                    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
                Destination { label, place: Place::Tcp(addresses), tls }
            }
            UpstreamAddress::Unix(path) => {
                let label = format!("unix:{}", path.display());
                Destination { label, place: Place::Unix(path.clone()), tls: None }
            }
        })
    }

    /// Connects, to the first address that answers; over TLS, once the app has shown who it is.
    pub async fn connect(&self) -> io::Result<Socket> {
        match &self.place {
            Place::Tcp(addresses) => {
                let socket = connect_to_first(addresses).await?;
                match &self.tls {
                    None => Ok(Socket::Tcp(socket)),
                    Some(tls) => Box::pin(tls.connect(socket)).await,
                }
            }
            Place::Unix(path) => {
                let mut wait = FIRST_BACKLOG_WAIT;
                loop {
                    match UnixStream::connect(path).await {
                        Ok(socket) => return Ok(Socket::Unix(socket)),
                        // A full backlog refuses a Unix connect at once where TCP would wait.
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            tokio::time::sleep(wait).await;
                            wait = (wait * 2).min(LONGEST_BACKLOG_WAIT);
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }
}

async fn connect_to_first(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
