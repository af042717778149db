//! New connections to the app.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use crate::config::model::UpstreamAddress;
use crate::socket::Socket;

/// Waits between attempts while a Unix socket's backlog is full.
const FIRST_BACKLOG_WAIT: Duration = Duration::from_millis(1);
const LONGEST_BACKLOG_WAIT: Duration = Duration::from_millis(50);

/// Where the app listens, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// As in records and messages.
    pub label: String,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Tcp(Vec<SocketAddr>),
    Unix(PathBuf),
}

impl Destination {
    /// Resolves an address. Blocks on the resolver for a name: start-up only.
    pub fn resolve(address: &UpstreamAddress) -> io::Result<Destination> {
        Ok(match address {
            UpstreamAddress::Tcp { host, port } => {
                let addresses: Vec<SocketAddr> = (host.as_str(), *port).to_socket_addrs()?.collect();
                if addresses.is_empty() {
                    return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
                }
                let label =
                    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
                Destination { label, place: Place::Tcp(addresses) }
            }
            UpstreamAddress::Unix(path) => {
                Destination { label: format!("unix:{}", path.display()), place: Place::Unix(path.clone()) }
            }
        })
    }

    /// Connects; to the first address that answers.
    pub async fn connect(&self) -> io::Result<Socket> {
        match &self.place {
            Place::Tcp(addresses) => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for address in addresses {
                    match TcpStream::connect(address).await {
                        Ok(socket) => {
                            socket.set_nodelay(true)?;
                            return Ok(Socket::Tcp(socket));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
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
