//! The header of the PROXY protocol, versions 1 and 2: what a proxy says of the connection behind it, before its first byte.
//!
//! Invariant: a header is taken whole or not at all, its length is told to the byte, and none is longer than
//! [`MAX_HEADER`].

use std::net::IpAddr;

use ppp::{PartialResult, v1, v2};

/// Bytes of a header that are waited for.
pub const MAX_HEADER: usize = MAX_V2;

/// What the second version may have, its own fields among it; those of AWS take some 80 bytes.
const MAX_V2: usize = 4 * 1024;
/// What every header of the second version begins with, and its length's end.
const V2_FIXED: usize = 16;
/// The longest of the first version, its line end included.
const MAX_V1: usize = 107;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Bytes of it; what follows is the connection's own.
    pub len: usize,
    /// Where the connection comes from; `None` where the proxy speaks for itself, as for its health checks, or does not
    /// know.
    pub source: Option<IpAddr>,
}

/// These bytes begin no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoHeader;

/// Reads a header from the first bytes of a connection; `None` if there are more of it to come.
pub fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoHeader> {
    let is_v2 = bytes.first() == v2::PROTOCOL_PREFIX.first();
    if is_v2 { parse_v2(bytes) } else { parse_v1(bytes) }
}

fn parse_v2(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoHeader> {
    if let Some([high, low]) = bytes.get(V2_FIXED - 2..V2_FIXED)
        && V2_FIXED + usize::from(u16::from_be_bytes([*high, *low])) > MAX_V2
    {
        return Err(NoHeader);
    }
    let header = match v2::Header::try_from(bytes) {
        Ok(header) => header,
        Err(error) if error.is_incomplete() => return Ok(None),
        Err(_) => return Err(NoHeader),
    };
    let source = match (header.command, header.protocol, header.addresses) {
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv4(ip)) => {
            Some(IpAddr::from(ip.source_address))
        }
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv6(ip)) => {
            Some(IpAddr::from(ip.source_address).to_canonical())
        }
        // A datagram is no connection.
        (v2::Command::Proxy, v2::Protocol::Datagram, _) => return Err(NoHeader),
        _ => None,
    };
    Ok(Some(ProxyHeader { len: header.len(), source }))
}

fn parse_v1(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoHeader> {
    const PREFIX: &[u8] = b"PROXY ";
    let begun = bytes.len().min(PREFIX.len());
    if bytes[..begun] != PREFIX[..begun] {
        return Err(NoHeader);
    }
    let line = &bytes[..bytes.len().min(MAX_V1)];
    let Some(end) = memchr::memchr(b'\n', line) else {
        return if line.len() < MAX_V1 { Ok(None) } else { Err(NoHeader) };
    };
    let header = v1::Header::try_from(&line[..=end]).map_err(|_| NoHeader)?;
    if header.header.len() != end + 1 {
        return Err(NoHeader);
    }
    let source = match header.addresses {
        v1::Addresses::Tcp4(ip) => Some(IpAddr::from(ip.source_address)),
        v1::Addresses::Tcp6(ip) => Some(IpAddr::from(ip.source_address).to_canonical()),
        v1::Addresses::Unknown => None,
    };
    Ok(Some(ProxyHeader { len: end + 1, source }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[0x20 | command, family], &length, body].concat()
    }

    fn v2_of_nlb() -> Vec<u8> {
        // The address of a VPC's endpoint, as an NLB sends it.
        let vpce = b"vpce-08d2bf15fac5001c9";
        let tlv = [&[0xea, 0, vpce.len() as u8 + 1, 0x01], &vpce[..]].concat();
        v2(1, 0x11, &[&[203, 0, 113, 7, 10, 0, 0, 1, 0xc0, 0, 0x1f, 0x90], &tlv[..]].concat())
    }

    #[test]
    fn the_source_of_both_versions_is_read() {
        let v6 = [&[0u8; 15][..], &[1], &[0; 15], &[2], &[0, 1, 0, 2]].concat();
        let mapped = [&[0u8; 10][..], &[0xff, 0xff, 192, 0, 2, 9], &[0; 16], &[0, 1, 0, 2]].concat();
        for (header, source) in [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 5000 80\r\n".to_vec(), Some(ip("192.0.2.1"))),
            (b"PROXY TCP6 2001:db8::1 ::1 5000 80\r\n".to_vec(), Some(ip("2001:db8::1"))),
            (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 5000 80\r\n".to_vec(), Some(ip("192.0.2.1"))),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2_of_nlb(), Some(ip("203.0.113.7"))),
            (v2(1, 0x21, &v6), Some(ip("::1"))),
            (v2(1, 0x21, &mapped), Some(ip("192.0.2.9"))),
            (v2(0, 0x00, &[]), None),
            (v2(0, 0x11, &[192, 0, 2, 1, 10, 0, 0, 1, 0, 1, 0, 2]), None),
            (v2(1, 0x00, &[]), None),
            (v2(1, 0x31, &[0; 216]), None),
        ] {
            let wanted = Ok(Some(ProxyHeader { len: header.len(), source }));
            assert_eq!(parse(&header), wanted, "{header:?}");
            let followed = [&header[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
            assert_eq!(parse(&followed), wanted, "not one byte more");
            for end in 0..header.len() {
                assert_eq!(parse(&header[..end]), Ok(None), "{:?}", &header[..end]);
            }
        }
    }

    #[test]
    fn what_is_no_header_is_told_at_once() {
        let too_long = v2(1, 0x11, &vec![0; MAX_V2 - V2_FIXED + 1]);
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"G",
            b"\x16\x03\x01",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 5000 80\n",
            b"PROXY TCP4 192.0.2.999 10.0.0.1 5000 80\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 5000\r\n",
            b"PROXY TCP4 192.0.2.1  10.0.0.1 5000 80\r\n",
            b"PROXY TCP5 192.0.2.1 10.0.0.1 5000 80\r\n",
            b"proxy TCP4 192.0.2.1 10.0.0.1 5000 80\r\n",
            b"PROXY \r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 5000 99999\r\n",
            &[&b"PROXY UNKNOWN "[..], &[b'a'; 200]].concat(),
            &too_long[..V2_FIXED],
            &v2(2, 0x11, &[0; 12]),
            &v2(1, 0x11, &[0; 11]),
            &v2(1, 0x12, &[0; 12]),
            &v2(1, 0x51, &[0; 12]),
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
            b"\r\nGET",
        ] {
            assert_eq!(parse(bytes), Err(NoHeader), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_of_bounded_length_or_none(
            start in prop_oneof![
                Just(Vec::new()),
                Just(b"PROXY ".to_vec()),
                Just(b"PROXY TCP4 ".to_vec()),
                Just(v2::PROTOCOL_PREFIX.to_vec()),
                Just(v2_of_nlb()),
            ],
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [start, bytes].concat();
            match parse(&bytes) {
                Ok(Some(header)) => {
                    prop_assert!(header.len <= bytes.len() && header.len <= MAX_HEADER);
                    // What follows changes nothing, and what is missing is waited for.
                    prop_assert_eq!(parse(&bytes[..header.len]), Ok(Some(header)));
                    prop_assert_eq!(parse(&bytes[..header.len - 1]), Ok(None));
                }
                Ok(None) => prop_assert!(bytes.len() < MAX_HEADER),
                Err(NoHeader) => {}
            }
        }
    }
}
