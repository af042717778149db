//! Binding the addresses, once for each worker.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::config::model::ListenAddress;

/// Completed connections the kernel keeps for us; it lowers this to its own maximum.
const BACKLOG: i32 = 4096;
/// Peers on a Unix socket are trusted proxies: owner and group only.
pub(super) const FOR_PROXIES: u32 = 0o660;
/// Who can open the admin listener's socket may do everything: the owner only.
pub(super) const FOR_OWNER: u32 = 0o600;

/// A bound address that no runtime has yet.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// All of them.
#[derive(Debug)]
pub(super) struct AllBound {
    /// With the ports that the kernel chose.
    pub(super) addresses: Vec<ListenAddress>,
    /// One set for each worker.
    pub(super) per_worker: Vec<Vec<Bound>>,
    /// The names to take back.
    pub(super) names: Vec<UnixName>,
}

/// The name of a Unix socket of ours; removed when dropped, unless somebody else has taken it over.
#[derive(Debug)]
pub(super) struct UnixName {
    path: PathBuf,
    inode: u64,
}

impl UnixName {
    fn of(path: &Path) -> io::Result<UnixName> {
        Ok(UnixName { path: path.to_owned(), inode: fs::symlink_metadata(path)?.ino() })
    }
}

impl Drop for UnixName {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|named| named.ino() == self.inode) {
            // Nothing can be done about a name that cannot be removed; the next start takes it over.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds every address `workers` times; Unix sockets get these permission bits.
pub(super) fn bind_all(
    addresses: &[ListenAddress],
    workers: usize,
    unix_mode: u32,
) -> Result<AllBound, (ListenAddress, io::Error)> {
    let mut all = AllBound {
        addresses: Vec::new(),
        per_worker: (0..workers).map(|_| Vec::new()).collect(),
        names: Vec::new(),
    };
    for address in addresses {
        let bound = match address {
            ListenAddress::Tcp(address) => bind_tcp(*address, &mut all.per_worker),
            ListenAddress::Unix(path) => bind_unix(path, unix_mode, &mut all),
        };
        all.addresses.push(bound.map_err(|error| (address.clone(), error))?);
    }
    Ok(all)
}

/// The kernel spreads connections over the sockets of one port. It would let another tollgate join in too, so a
/// socket that shares with nobody tries the address first.
fn bind_tcp(mut address: SocketAddr, per_worker: &mut [Vec<Bound>]) -> io::Result<ListenAddress> {
    tcp_socket(address)?.listen(1)?;
    for listeners in per_worker {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_port(true)?;
        let socket = bound(socket, address)?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        // Port 0 is chosen once and then shared.
        address = listener.local_addr()?;
        listeners.push(Bound::Tcp(listener));
    }
    Ok(ListenAddress::Tcp(address))
}

fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    bound(Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?, address)
}

fn bound(socket: Socket, address: SocketAddr) -> io::Result<Socket> {
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A Unix socket has one queue; the workers take turns.
fn bind_unix(path: &Path, mode: u32, all: &mut AllBound) -> io::Result<ListenAddress> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    all.names.push(UnixName::of(path)?);
    // Before it listens: until then nobody can connect, whatever the bits.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    let listener = UnixListener::from(socket);
    for listeners in &mut all.per_worker {
        listeners.push(Bound::Unix(listener.try_clone()?));
    }
    Ok(ListenAddress::Unix(path.to_owned()))
}

/// Removes a socket that nobody listens on any more; anything else is left alone and in the way.
fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    // Without waiting: a full queue has somebody behind it.
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}
