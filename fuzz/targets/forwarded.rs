//! The client's address from `X-Forwarded-For`: never an address nobody named, and never one to the left of
//! an address that is not trusted.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tollgate::message::forwarded::{Forwarded, Scheme, client_address, parse_hop};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

fn trusts(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.octets()[0] == 10,
        IpAddr::V6(v6) => v6.is_loopback(),
    }
}

fuzz_target!(|input: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(FORWARDED_FOR, value.clone());
            for name in ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"] {
                headers.append(HeaderName::from_static(name), value.clone());
            }
        }
    }

    let named: Vec<IpAddr> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(parse_hop)
        .collect();
    let client = client_address(Some(PEER), &headers, trusts).expect("at least the peer");
    assert!(client == PEER || named.contains(&client), "{client} was named by nobody");
    for address in named {
        assert_eq!(parse_hop(address.to_string().as_bytes()), Some(address));
    }

    let untrusted = Forwarded::read(Scheme::Http, b"app.test", &headers, false);
    assert_eq!((untrusted.scheme, untrusted.host, untrusted.port), (Scheme::Http, &b"app.test"[..], 80));
    let told = Forwarded::read(Scheme::Http, b"app.test", &headers, true);
    assert!(tollgate::message::target::is_valid_host(told.host));

    headers.append(FORWARDED_FOR, HeaderValue::from_static("192.0.2.1, 10.0.0.1"));
    assert_eq!(client_address(Some(PEER), &headers, trusts), Some(STRANGER));
});
