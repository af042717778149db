//! The check of a request head: the same verdict whatever the pieces it arrives in, and for every head
//! that passes a framing that an independent reading agrees with.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::message::head::{Framing, Head, HeadFault, HeadLimits, HeadScan};

const LIMITS: HeadLimits =
    HeadLimits { max_uri: 100, max_headers: 12, max_header_line: 200, max_header_bytes: 600 };

fn whole(bytes: &[u8]) -> Result<Option<Head>, HeadFault> {
    HeadScan::new().advance(bytes, &LIMITS)
}

fn in_pieces(bytes: &[u8], step: usize) -> Result<Option<Head>, HeadFault> {
    let mut scan = HeadScan::new();
    let mut arrived = 0;
    while arrived < bytes.len() {
        arrived = (arrived + step).min(bytes.len());
        if let Some(head) = scan.advance(&bytes[..arrived], &LIMITS)? {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// The framing as the fields say it, read by another parser.
fn read_again(bytes: &[u8]) -> Option<Framing> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    if !request.parse(bytes).ok()?.is_complete() {
        return None;
    }
    let mut framing = Framing::None;
    for field in request.headers.iter() {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            assert_eq!(framing, Framing::None, "two framings passed");
            assert!(field.value.trim_ascii().eq_ignore_ascii_case(b"chunked"), "a coding passed");
            assert_eq!(request.version, Some(1), "a coding on HTTP/1.0 passed");
            framing = Framing::Chunked;
        } else if field.name.eq_ignore_ascii_case("content-length") {
            assert_eq!(framing, Framing::None, "two framings passed");
            let text = std::str::from_utf8(field.value.trim_ascii()).expect("digits");
            assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?} passed as a length");
            match text.parse().expect("a length") {
                0 => {}
                length => framing = Framing::Length(length),
            }
        }
    }
    Some(framing)
}

fuzz_target!(|input: &[u8]| {
    let Some((step, bytes)) = input.split_first() else { return };
    let verdict = whole(bytes);
    let pieces = in_pieces(bytes, usize::from(*step % 16) + 1);
    match (verdict, pieces) {
        (Ok(Some(one)), Ok(Some(other))) => assert_eq!(one, other),
        // What the parser behind would refuse may be refused at its first byte.
        (Ok(Some(head)), Err(_)) if read_again(&bytes[..head.len]).is_none() => {}
        (Ok(Some(_)), other) | (other, Ok(Some(_))) => panic!("in pieces it is {other:?}"),
        // Which of several faults comes first may depend on the pieces.
        _ => {}
    }
    if let Ok(Some(head)) = verdict {
        let text = &bytes[..head.len];
        assert!(text.ends_with(b"\r\n\r\n"));
        for (at, byte) in text.iter().enumerate() {
            assert!(*byte != b'\n' || text[at - 1] == b'\r', "a bare line feed passed");
            assert!(*byte != b'\r' || text[at + 1] == b'\n', "a bare carriage return passed");
        }
        if let Some(framing) = read_again(text) {
            assert_eq!(head.framing, framing);
        }
    }
});
