//! Binding the addresses, once for each worker; or taking what was passed.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::config::model::ListenAddress;
use crate::proxy::listener::Queue;

use super::passed::Passed;
use super::unix_name::UnixName;

/// Completed connections the kernel keeps for us; it lowers this to its own maximum.
const BACKLOG: i32 = 4096;
/// Peers on a Unix socket are trusted proxies: owner and group only.
pub(super) const FOR_PROXIES: u32 = 0o660;
/// Who can open the admin listener's socket may do everything: the owner only.
pub(super) const FOR_OWNER: u32 = 0o600;

/// A bound address that no runtime has yet.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) socket: BoundSocket,
    pub(super) queue: Queue,
}

/// Its socket.
#[derive(Debug)]
pub(super) enum BoundSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl BoundSocket {
    fn try_clone(&self) -> io::Result<BoundSocket> {
        Ok(match self {
            BoundSocket::Tcp(listener) => BoundSocket::Tcp(listener.try_clone()?),
            BoundSocket::Unix(listener) => BoundSocket::Unix(listener.try_clone()?),
        })
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            BoundSocket::Tcp(listener) => listener.set_nonblocking(true),
            BoundSocket::Unix(listener) => listener.set_nonblocking(true),
        }
    }

    fn address(&self) -> io::Result<ListenAddress> {
        Ok(match self {
            BoundSocket::Tcp(listener) => ListenAddress::Tcp(listener.local_addr()?),
            BoundSocket::Unix(listener) => {
                let address = listener.local_addr()?;
                ListenAddress::Unix(address.as_pathname().unwrap_or(Path::new("")).to_owned())
            }
        })
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct AllBound {
    /// With the ports that the kernel chose, and where passed sockets listen.
    pub(super) addresses: Vec<ListenAddress>,
    /// One set for each worker.
    pub(super) per_worker: Vec<Vec<Bound>>,
    /// The names to take back.
    pub(super) names: Vec<UnixName>,
}

/// Who is on the addresses already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    /// Nobody may be.
    Refused,
    /// One that is to be replaced: ports are shared with it, names are taken from it later.
    Replaced,
}

/// What binding needs to know.
#[derive(Debug)]
pub(super) struct Binding<'a> {
    /// Sets of sockets.
    pub(super) workers: usize,
    /// Permission bits of Unix sockets.
    pub(super) unix_mode: u32,
    pub(super) others: Others,
    pub(super) passed: &'a mut Passed,
}

/// Binds every address for each worker.
pub(super) fn bind_all(
    addresses: &[ListenAddress],
    binding: &mut Binding<'_>,
) -> Result<AllBound, (ListenAddress, io::Error)> {
    let mut all = AllBound {
        addresses: Vec::new(),
        per_worker: (0..binding.workers).map(|_| Vec::new()).collect(),
        names: Vec::new(),
    };
    for address in addresses {
        let bound = match address {
            ListenAddress::Tcp(address) => bind_tcp(*address, binding.others, &mut all),
            ListenAddress::Unix(path) => bind_unix(path, binding, &mut all),
            ListenAddress::Passed(name) => take_passed(name, binding.passed, &mut all),
        };
        bound.map_err(|error| (address.clone(), error))?;
    }
    Ok(all)
}

/// The kernel spreads connections over the sockets of one port. It would let another tollgate join in too, so a
/// socket that shares with nobody tries the address first, unless the other is to be replaced.
fn bind_tcp(mut address: SocketAddr, others: Others, all: &mut AllBound) -> io::Result<()> {
    if others == Others::Refused {
        tcp_socket(address)?.listen(1)?;
    }
    for listeners in &mut all.per_worker {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_port(true)?;
        let socket = bound(socket, address)?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        // Port 0 is chosen once and then shared.
        address = listener.local_addr()?;
        listeners.push(Bound { socket: BoundSocket::Tcp(listener), queue: Queue::Ours });
    }
    all.addresses.push(ListenAddress::Tcp(address));
    Ok(())
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

/// A Unix socket has one queue; the workers take turns. Where another process is to be replaced, the socket has
/// another name beside that process's until it takes its place.
fn bind_unix(path: &Path, binding: &Binding<'_>, all: &mut AllBound) -> io::Result<()> {
    let name = match binding.others {
        Others::Refused => {
            remove_stale(path)?;
            path.to_owned()
        }
        Others::Replaced => beside(path)?,
    };
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(&name)?)?;
    all.names.push(UnixName::of(&name, path)?);
    // Before it listens: until then nobody can connect, whatever the bits.
    fs::set_permissions(&name, fs::Permissions::from_mode(binding.unix_mode))?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    let socket = BoundSocket::Unix(UnixListener::from(socket));
    share(&socket, Queue::Ours, all)?;
    all.addresses.push(ListenAddress::Unix(path.to_owned()));
    Ok(())
}

/// A name for a while, which one of a process with this id may have left behind.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = path.with_file_name(format!(".{}.{name}", std::process::id()));
    match fs::remove_file(&name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(name),
    }
}

/// A passed socket has one queue, too, which outlives this process; several may have one name.
fn take_passed(name: &str, passed: &mut Passed, all: &mut AllBound) -> io::Result<()> {
    for socket in passed.take(name)? {
        socket.set_nonblocking()?;
        share(&socket, Queue::Kept, all)?;
        all.addresses.push(socket.address()?);
    }
    Ok(())
}

fn share(socket: &BoundSocket, queue: Queue, all: &mut AllBound) -> io::Result<()> {
    for listeners in &mut all.per_worker {
        listeners.push(Bound { socket: socket.try_clone()?, queue });
    }
    Ok(())
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
