//! What names a WebSocket, and its frames by their headers alone (RFC 6455 section 5.2): enough to know where one message
//! ends, so that a Close can be put between two and never into one.

use http::header::{self, HeaderMap};

/// Whether a message's `Upgrade` lines name a WebSocket and nothing else.
pub fn is_named_alone(headers: &HeaderMap) -> bool {
    let mut upgrades = headers.get_all(header::UPGRADE).iter();
    let named = upgrades.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    named && upgrades.next().is_none()
}

/// Where a direction of a tunnel stands.
#[derive(Debug, Clone, Default)]
pub struct FrameScan {
    header: [u8; 14],
    filled: usize,
    payload: u64,
    in_message: bool,
    closed: bool,
}

impl FrameScan {
    /// At the first byte after the handshake.
    pub fn new() -> FrameScan {
        FrameScan::default()
    }

    /// Goes past `bytes`.
    pub fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let skipped = self.payload.min(bytes.len() as u64);
                self.payload -= skipped;
                bytes = &bytes[skipped as usize..];
                continue;
            }
            self.header[self.filled] = bytes[0];
            self.filled += 1;
            bytes = &bytes[1..];
            if self.filled >= 2 && self.filled == header_len(self.header[1]) {
                self.frame();
            }
        }
    }

    /// Whether the next byte would begin a frame, outside a fragmented message, before any Close: the only
    /// place for a frame of our own.
    pub fn at_boundary(&self) -> bool {
        self.filled == 0 && self.payload == 0 && !self.in_message && !self.closed
    }

    /// Whether a Close frame has passed.
    pub fn closed(&self) -> bool {
        self.closed
    }

    fn frame(&mut self) {
        let fin = self.header[0] & 0x80 != 0;
        let opcode = self.header[0] & 0x0f;
        self.payload = match self.header[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            127 => self.header[2..10].iter().fold(0, |len, byte| len << 8 | u64::from(*byte)),
            short => u64::from(short),
        };
        if opcode < 8 {
            self.in_message = !fin;
        } else if opcode == 8 {
            self.closed = true;
        }
        self.filled = 0;
    }
}

fn header_len(second: u8) -> usize {
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + extended + if second & 0x80 != 0 { 4 } else { 0 }
}

/// Going away (RFC 6455 section 7.4.1), as a server sends it.
pub const CLOSE_GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// The same as a client must send it: masked, with a key that the peer cannot foresee.
pub fn masked_close_going_away(key: [u8; 4]) -> [u8; 8] {
    [0x88, 0x82, key[0], key[1], key[2], key[3], 0x03 ^ key[0], 0xe9 ^ key[1]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_is_only_between_messages() {
        let mut scan = FrameScan::new();
        assert!(scan.at_boundary());
        scan.advance(&[0x01, 3, b'a', b'b']);
        assert!(!scan.at_boundary(), "inside a payload");
        scan.advance(b"c");
        assert!(!scan.at_boundary(), "inside a fragmented message");
        scan.advance(&[0x89, 0]);
        assert!(!scan.at_boundary(), "a ping between fragments ends nothing");
        scan.advance(&[0x80, 0]);
        assert!(scan.at_boundary());
    }

    #[test]
    fn long_and_masked_headers_are_skipped_whole() {
        for step in 1..9 {
            let mut frame = vec![0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4];
            frame.extend(vec![0x88; 65_536]);
            frame.extend([0x82, 126, 0, 200]);
            frame.extend(vec![0x88; 200]);
            let mut scan = FrameScan::new();
            for piece in frame.chunks(step) {
                scan.advance(piece);
            }
            assert!(scan.at_boundary(), "step {step}");
        }
    }

    #[test]
    fn nothing_may_follow_a_close() {
        let mut scan = FrameScan::new();
        scan.advance(&CLOSE_GOING_AWAY);
        assert!(scan.closed() && !scan.at_boundary());
        let mut scan = FrameScan::new();
        scan.advance(&masked_close_going_away([9, 8, 7, 6]));
        assert!(scan.closed());
    }

    #[test]
    fn a_websocket_among_other_upgrades_is_not_named_alone() {
        let named = |lines: &[&'static str]| {
            let values = lines.iter().map(|line| (header::UPGRADE, http::HeaderValue::from_static(line)));
            let mut headers = HeaderMap::new();
            headers.extend(values);
            is_named_alone(&headers)
        };
        assert!(named(&["WebSocket"]));
        assert!(!named(&["websocket", "h2c"]) && !named(&["websocket, h2c"]) && !named(&[]));
    }
}
