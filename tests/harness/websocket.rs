//! Just enough of RFC 6455 to look at a tunnel from both ends.

use super::wire::{Ending, Wire};

/// A client's opening handshake.
pub const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The app's agreement to [`HANDSHAKE`].
pub const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A whole text message.
pub const TEXT: u8 = 0x1;
/// The closing handshake.
pub const CLOSE: u8 = 0x8;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its kind.
    pub opcode: u8,
    /// Whether it came masked, as clients must.
    pub masked: bool,
    /// The payload, unmasked.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The status code of a Close.
    pub fn close_code(&self) -> u16 {
        assert_eq!(self.opcode, CLOSE, "not a Close: {self:?}");
        u16::from_be_bytes([self.payload[0], self.payload[1]])
    }
}

/// The bytes of a final frame as a client sends it.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = header(opcode, payload.len(), 0x80);
    bytes.extend_from_slice(&KEY);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// The bytes of a final frame as a server sends it.
pub fn unmasked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(opcode, payload.len(), 0);
    bytes.extend_from_slice(payload);
    bytes
}

fn header(opcode: u8, length: usize, mask: u8) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => bytes.push(mask | short),
        (_, Ok(middle)) => {
            bytes.push(mask | 126);
            bytes.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            bytes.push(mask | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes
}

/// Reads the next frame.
pub fn read(wire: &mut Wire) -> Result<Frame, Ending> {
    let start = wire.exactly(2)?;
    let length = match start[1] & 0x7f {
        126 => u64::from(u16::from_be_bytes(wire.exactly(2)?.try_into().unwrap())),
        127 => u64::from_be_bytes(wire.exactly(8)?.try_into().unwrap()),
        short => u64::from(short),
    };
    let masked = start[1] & 0x80 != 0;
    let key = if masked { wire.exactly(4)? } else { vec![0; 4] };
    let raw = wire.exactly(usize::try_from(length).unwrap())?;
    let payload = raw.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    Ok(Frame { opcode: start[0] & 0x0f, masked, payload })
}
