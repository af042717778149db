//! Laws of the message rules, over arbitrary input.

use std::net::IpAddr;

use bytes::BytesMut;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use proptest::collection::vec;
use proptest::prelude::*;
use tollgate::message::chunked::{Chunked, Piece};
use tollgate::message::forwarded::{Forwarded, Scheme, X_FORWARDED_FOR, client_address};
use tollgate::message::head::{HeadLimits, HeadScan};
use tollgate::message::hop_by_hop::ConnectionOptions;
use tollgate::message::path;
use tollgate::message::request_id::{MAX_LEN, RequestId};

fn value() -> impl Strategy<Value = HeaderValue> {
    vec(prop_oneof![32u8..127, Just(b'\t'), 128u8..], 0..80)
        .prop_map(|bytes| HeaderValue::from_bytes(&bytes).expect("visible bytes"))
}

fn addresses() -> impl Strategy<Value = Vec<IpAddr>> {
    vec(any::<IpAddr>().prop_map(|address| address.to_canonical()), 1..12)
}

proptest! {
    /// Whatever a peer writes, nobody it cannot speak for becomes the client.
    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_claims(peer: IpAddr, lines in vec(value(), 0..4)) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, line);
        }
        let client = client_address(Some(peer), &headers, |address| address == peer);
        prop_assert!(client.is_some());
        let read = Forwarded::read(Scheme::Http, b"own", &headers, false);
        prop_assert_eq!(read, Forwarded { scheme: Scheme::Http, host: b"own", port: 80 });
    }

    /// The client is the nearest hop that is not trusted, or the farthest if all are, however the list is cut
    /// into lines.
    #[test]
    fn the_client_is_the_nearest_untrusted_hop(
        hops in addresses(),
        trusted in vec(any::<bool>(), 12),
        ends in vec(any::<bool>(), 12),
        peer: IpAddr,
    ) {
        let trusts = |address: IpAddr| {
            address == peer || hops.iter().zip(&trusted).any(|(hop, trusted)| *trusted && *hop == address)
        };
        let mut headers = HeaderMap::new();
        let mut line = String::new();
        for (at, hop) in hops.iter().enumerate() {
            line.push_str(&hop.to_string());
            if ends[at] || at + 1 == hops.len() {
                headers.append(X_FORWARDED_FOR, std::mem::take(&mut line).parse().unwrap());
            } else {
                line.push_str(", ");
            }
        }
        let expected = hops.iter().rev().find(|hop| !trusts(**hop)).or(hops.first());
        prop_assert_eq!(client_address(Some(peer), &headers, trusts), expected.copied());
    }

    /// No `Connection` line, however written, takes away what the next hop needs.
    #[test]
    fn no_nomination_strips_what_is_needed(lines in vec("[ a-zA-Z,-]{0,40}", 0..4)) {
        const NEEDED: [&str; 7] =
            ["host", "content-length", "x-request-id", "x-forwarded-for", "x-forwarded-proto", "via", "cookie"];
        let mut headers = HeaderMap::new();
        let all = lines.iter().map(String::as_str).chain(NEEDED);
        for line in all {
            headers.append("connection", line.parse().unwrap());
        }
        let options = ConnectionOptions::read(&headers);
        for needed in NEEDED {
            prop_assert!(!options.strips(&HeaderName::from_static(needed)), "{}", needed);
        }
        for always in ["connection", "te", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection"] {
            prop_assert!(options.strips(&HeaderName::from_static(always)), "{}", always);
        }
    }

    /// A field is stripped if and only if it is named, in any case, on any line.
    #[test]
    fn what_is_nominated_is_stripped(name in "x-[a-z]{1,12}", other in "y-[a-z]{1,12}", upper: bool) {
        let written = if upper { name.to_uppercase() } else { name.clone() };
        let mut headers = HeaderMap::new();
        headers.append("connection", HeaderValue::from_static("close"));
        headers.append("connection", format!(" keep-alive ,{written}").parse().unwrap());
        let options = ConnectionOptions::read(&headers);
        let protected = name == "x-request-id" || name == "x-real-ip";
        prop_assert_eq!(options.strips(&name.parse().unwrap()), !protected);
        prop_assert!(!options.strips(&other.parse().unwrap()));
    }

    /// An id that is kept cannot end a line, a string or a header.
    #[test]
    fn an_inbound_id_is_kept_if_and_only_if_it_is_harmless(value in value()) {
        let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:+/=@-".contains(byte);
        let bytes = value.as_bytes();
        let fits = (1..=MAX_LEN).contains(&bytes.len()) && bytes.iter().all(harmless);
        prop_assert_eq!(RequestId::parse(&value).is_some(), fits);
    }

    /// Our own ids would be kept by another tollgate.
    #[test]
    fn an_id_of_ours_is_one(nanos: u64, random: u128) {
        let mut room = BytesMut::new();
        for id in [RequestId::uuid7(nanos, random, &mut room), RequestId::uuid4(random, &mut room)] {
            prop_assert_eq!(RequestId::parse(id.as_header()), Some(id.clone()));
            prop_assert_eq!(id.as_str().len(), 36);
        }
    }

    /// However a head is cut into pieces, it is judged alike.
    #[test]
    fn a_head_in_pieces_is_the_head_in_one(
        line in "(GET|POST) /[a-z%]{0,30} HTTP/1\\.[01]",
        fields in vec("(Host|Content-Length|Transfer-Encoding|A|B ): ?(chunked|5|x|\\t)?", 0..5),
        end in "(\r\n|\n|\r)\r?\n?",
        cut in 0usize..200,
    ) {
        let limits = HeadLimits { max_uri: 24, max_headers: 4, max_header_line: 40, max_header_bytes: 160 };
        let text = format!("{line}\r\n{}{end}", fields.iter().map(|field| format!("{field}\r\n")).collect::<String>());
        let whole = HeadScan::new().advance(text.as_bytes(), &limits);
        let mut scan = HeadScan::new();
        let cut = cut.min(text.len());
        let pieces = match scan.advance(&text.as_bytes()[..cut], &limits) {
            Ok(None) => scan.advance(text.as_bytes(), &limits),
            told => told,
        };
        prop_assert_eq!(whole, pieces);
    }

    /// What was encoded is what is decoded, and what follows is left alone.
    #[test]
    fn chunks_decode_to_what_was_encoded(chunks in vec(vec(any::<u8>(), 1..50), 0..6), step in 1usize..20) {
        let mut body = Vec::new();
        for chunk in &chunks {
            body.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            body.extend(chunk);
            body.extend(b"\r\n");
        }
        body.extend(b"0\r\n\r\n");
        let message = body.len();
        body.extend(b"GET /next");
        let (mut decoder, mut content, mut at) = (Chunked::new(), Vec::<u8>::new(), 0);
        loop {
            let piece = decoder.next(&body[at..(at + step).min(body.len())]).unwrap();
            match piece {
                Piece::Framing(len) => at += len,
                Piece::Data(len) => {
                    content.extend(&body[at..at + len]);
                    at += len;
                }
                Piece::End(len) => {
                    at += len;
                    break;
                }
            }
        }
        prop_assert_eq!(content, chunks.concat());
        prop_assert_eq!(at, message);
    }

    /// Reading a path twice changes nothing that is not an escaped escape, and never panics.
    #[test]
    fn a_normal_path_has_no_dot_segments(path in "/[a-zA-Z0-9/.%\\\\]{0,40}") {
        if let Ok(normal) = path::normalize(&path) {
            prop_assert!(normal.starts_with(b"/"));
            let mut segments = normal.split(|byte| *byte == b'/').skip(1);
            prop_assert!(segments.all(|segment| segment != b"." && segment != b".."));
            prop_assert!(!normal.windows(2).any(|pair| pair == b"//"));
        }
    }
}
