//! The chunked coding: the same content, trailers or fault whatever the pieces, and what is written by
//! the book is read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::message::chunked::{ChunkFault, Chunked, Piece};

/// Content, trailers, bytes used, and whether the end was reached.
type Decoded = (Vec<u8>, Vec<u8>, usize, bool);

fn decode(input: &[u8], step: usize) -> Result<Decoded, ChunkFault> {
    let mut decoder = Chunked::new();
    let (mut content, mut used) = (Vec::new(), 0);
    while used < input.len() {
        let end = (used + step).min(input.len());
        let window = &input[used..end];
        match decoder.next(window)? {
            Piece::Framing(count) => {
                assert!(count > 0 && count <= window.len());
                used += count;
            }
            Piece::Data(count) => {
                assert!(count > 0 && count <= window.len());
                content.extend_from_slice(&window[..count]);
                used += count;
            }
            Piece::End(count) => {
                assert!(count <= window.len());
                used += count;
                return Ok((content, decoder.trailers().to_vec(), used, true));
            }
        }
    }
    Ok((content, decoder.trailers().to_vec(), used, false))
}

fuzz_target!(|input: &[u8]| {
    let Some((step, bytes)) = input.split_first() else { return };
    let step = usize::from(*step % 32) + 1;
    let whole = decode(bytes, usize::MAX / 2);
    assert_eq!(whole, decode(bytes, step), "in pieces of {step}");

    let mut written = Vec::new();
    for piece in bytes.chunks(step) {
        written.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        written.extend_from_slice(piece);
        written.extend_from_slice(b"\r\n");
    }
    written.extend_from_slice(b"0\r\n\r\n");
    let length = written.len();
    written.extend_from_slice(b"GET / HTTP/1.1\r\n");
    assert_eq!(decode(&written, step), Ok((bytes.to_vec(), Vec::new(), length, true)));
});
