//! Where a process listens, by the kernel's tables of sockets.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listener {
    /// An address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(String),
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Tcp(address) => write!(f, "{address}"),
            Listener::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

/// The state LISTEN of a TCP socket.
const LISTEN: &str = "0A";
/// The flag of a Unix socket that accepts.
const ACCEPTS: u32 = 0x1_0000;

/// The number of a socket behind a descriptor: `socket:[4711]`.
pub fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Listeners among `inodes` in `/proc/net/tcp` or `/proc/net/tcp6`.
pub fn tcp(table: &str, inodes: &BTreeSet<u64>) -> Vec<Listener> {
    let listener = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = columns[..] else { return None };
        let is_ours = state == LISTEN && inodes.contains(&inode.parse().ok()?);
        is_ours.then(|| address(local)).flatten().map(Listener::Tcp)
    };
    table.lines().skip(1).filter_map(listener).collect()
}

/// `0100007F:1F90`: words of four bytes as this machine has them in memory, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Listeners among `inodes` in `/proc/net/unix`, as they were bound: a path may be relative to a directory.
pub fn unix(table: &str, inodes: &BTreeSet<u64>) -> Vec<Listener> {
    let listener = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, _, _, flags, _, _, inode, path, ..] = columns[..] else { return None };
        let accepts = u32::from_str_radix(flags, 16).ok()? & ACCEPTS != 0;
        let is_ours = accepts && inodes.contains(&inode.parse().ok()?);
        // A path may hold spaces; it is the rest of the line. An abstract name begins with `@`.
        let path = line.get(line.find(&format!(" {path}"))? + 1..)?;
        (is_ours && !path.starts_with('@')).then(|| Listener::Unix(path.to_owned()))
    };
    table.lines().skip(1).filter_map(listener).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inodes(numbers: &[u64]) -> BTreeSet<u64> {
        numbers.iter().copied().collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn tcp_listeners_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0\n\
            \x20  1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0 100 0\n\
            \x20  2: 0100007F:1F40 0100007F:9000 01 00000000:00000000 00:00000000 00000000     0        0 13 1 0 100 0\n";
        assert_eq!(tcp(table, &inodes(&[11, 13])), [Listener::Tcp("127.0.0.1:8000".parse().unwrap())]);
        let v6 = "head\n 0: 00000000000000000000000001000000:1F40 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 14 1\n";
        assert_eq!(tcp(v6, &inodes(&[14])), [Listener::Tcp("[::1]:8000".parse().unwrap())]);
    }

    #[test]
    fn unix_listeners_are_read() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            ffff: 00000002 00000000 00010000 0001 01 21 /run/app/my app.sock\n\
            ffff: 00000003 00000000 00000000 0001 03 22 /run/app/my app.sock\n\
            ffff: 00000003 00000000 00010000 0001 03 23 @abstract\n\
            ffff: 00000003 00000000 00010000 0001 03 24\n";
        assert_eq!(
            unix(table, &inodes(&[21, 22, 23, 24])),
            [Listener::Unix("/run/app/my app.sock".to_owned())]
        );
        assert_eq!(unix(table, &inodes(&[])), []);
    }

    #[test]
    fn links_of_descriptors_are_told_apart() {
        assert_eq!(inode("socket:[42]"), Some(42));
        assert_eq!(inode("pipe:[42]"), None);
        assert_eq!(inode("/dev/null"), None);
    }
}
