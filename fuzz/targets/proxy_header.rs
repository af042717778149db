//! Headers of the PROXY protocol: taken whole or not at all, of bounded length, and whatever follows changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::message::proxy_header::{MAX_HEADER, parse};

fuzz_target!(|input: &[u8]| {
    match parse(input) {
        Ok(Some(header)) => {
            assert!(header.len <= input.len() && header.len <= MAX_HEADER);
            assert_eq!(parse(&input[..header.len]), Ok(Some(header)));
            assert_eq!(parse(&input[..header.len - 1]), Ok(None));
            if let Some(source) = header.source {
                assert_eq!(source, source.to_canonical());
            }
        }
        // A connection is never waited for without an end.
        Ok(None) => assert!(input.len() < MAX_HEADER),
        Err(_) => {}
    }
});
