//! The frames a client sends over HTTP/2, by their headers alone (RFC 9113 section 4.1): enough to notice a flood of those
//! that cost the server work and the client next to nothing.
//!
//! PING, SETTINGS, RST_STREAM, CONTINUATION, empty DATA and unknown frames spend from an allowance that comes back with
//! time; WINDOW_UPDATE and PRIORITY from one that grows with requests and with what was sent. Invariant: the sum of such
//! frames in any time is bounded by these allowances, whatever the client does.

use crate::clock::Tick;

/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADER: usize = 9;
/// Frames that only cost, at once and by second. A client that cancels or pings this often has no good reason to.
const BURST: u32 = 1_000;
const PER_SECOND: u64 = 100;
/// Window updates at once, with each request, and for each so many bytes sent to the client.
const UPDATES: u32 = 2_000;
const UPDATES_A_REQUEST: u32 = 4;
const BYTES_AN_UPDATE: u64 = 1_024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// The client sends more frames that only cost than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flood;

/// What has come of a connection.
#[derive(Debug, Clone)]
pub struct Frames {
    preface_left: usize,
    header: [u8; HEADER],
    filled: usize,
    payload: usize,
    /// Between HEADERS and the end of its block.
    in_head: bool,
    costly: u32,
    updates: u32,
    sent: u64,
    since: Tick,
}

impl Frames {
    /// At the first byte of the preface.
    pub fn new(now: Tick) -> Frames {
        Frames {
            preface_left: PREFACE.len(),
            header: [0; HEADER],
            filled: 0,
            payload: 0,
            in_head: false,
            costly: BURST,
            updates: UPDATES,
            sent: 0,
            since: now,
        }
    }

    /// Goes past `bytes`, which came by `now`.
    pub fn advance(&mut self, mut bytes: &[u8], now: Tick) -> Result<(), Flood> {
        self.refill(now);
        while !bytes.is_empty() {
            let skipped = (self.preface_left + self.payload).min(bytes.len());
            if skipped > 0 {
                let of_preface = skipped.min(self.preface_left);
                self.preface_left -= of_preface;
                self.payload -= skipped - of_preface;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEADER - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEADER {
                self.filled = 0;
                self.frame()?;
            }
        }
        Ok(())
    }

    /// So many bytes were sent to the client, which may update its windows for them.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        let earned = self.sent / BYTES_AN_UPDATE;
        self.sent %= BYTES_AN_UPDATE;
        self.earn_updates(u32::try_from(earned).unwrap_or(u32::MAX));
    }

    /// Whether the client is in the middle of something that it could leave unfinished: the preface, a frame, a head. The
    /// payload of DATA is a matter of its request.
    pub fn is_in_the_middle(&self) -> bool {
        let of_frame = self.payload > 0 && self.header[3] != DATA;
        self.preface_left > 0 || self.filled > 0 || of_frame || self.in_head
    }

    fn refill(&mut self, now: Tick) {
        let earned = now.nanos_since(self.since) / (1_000_000_000 / PER_SECOND);
        if earned > 0 {
            self.since = now;
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.costly = self.costly.saturating_add(earned).min(BURST);
            self.earn_updates(earned);
        }
    }

    fn earn_updates(&mut self, earned: u32) {
        self.updates = self.updates.saturating_add(earned).min(UPDATES);
    }

    fn frame(&mut self) -> Result<(), Flood> {
        let [a, b, c, kind, flags, ..] = self.header;
        self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let allowance = match kind {
            HEADERS => {
                self.in_head = flags & END_HEADERS == 0;
                self.earn_updates(UPDATES_A_REQUEST);
                return Ok(());
            }
            DATA if self.payload > 0 || flags & END_STREAM != 0 => return Ok(()),
            PRIORITY | WINDOW_UPDATE => &mut self.updates,
            _ => &mut self.costly,
        };
        if kind == CONTINUATION {
            self.in_head = flags & END_HEADERS == 0;
        }
        *allowance = allowance.checked_sub(1).ok_or(Flood)?;
        Ok(())
    }
}

/// The frames that were sent to a client, by their headers: which streams have been sent whole.
#[derive(Debug, Clone, Default)]
pub struct SentFrames {
    header: [u8; HEADER],
    filled: usize,
    payload: usize,
}

impl SentFrames {
    /// Goes past `bytes`, which were written; calls `ended` with each stream whose last byte is among them.
    pub fn advance(&mut self, mut bytes: &[u8], mut ended: impl FnMut(u32)) {
        while !bytes.is_empty() {
            if self.filled < HEADER {
                let taken = (HEADER - self.filled).min(bytes.len());
                self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
                self.filled += taken;
                bytes = &bytes[taken..];
                if self.filled < HEADER {
                    return;
                }
                let [a, b, c, ..] = self.header;
                self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            }
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            if self.payload == 0 {
                self.filled = 0;
                let [_, _, _, kind, flags, stream @ ..] = self.header;
                if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                    ended(u32::from_be_bytes(stream));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let len = payload.to_be_bytes();
        let mut frame = vec![len[5], len[6], len[7], kind, flags, 0, 0, 0, 1];
        frame.resize(HEADER + payload, 0);
        frame
    }

    fn begun() -> Frames {
        let mut frames = Frames::new(Tick(0));
        frames.advance(PREFACE, Tick(0)).unwrap();
        frames
    }

    /// How many of them pass at one moment.
    fn passing(mut frames: Frames, frame: &[u8]) -> u32 {
        (0..100_000).find(|_| frames.advance(frame, Tick(0)).is_err()).unwrap_or(u32::MAX)
    }

    #[test]
    fn frames_that_only_cost_are_bounded() {
        for (kind, payload) in
            [(PING, 8), (SETTINGS, 0), (RST_STREAM, 4), (CONTINUATION, 0), (DATA, 0), (200, 3)]
        {
            assert_eq!(passing(begun(), &frame(kind, 0, payload)), BURST, "{kind}");
        }
        assert_eq!(passing(begun(), &frame(WINDOW_UPDATE, 0, 4)), UPDATES);
        assert_eq!(passing(begun(), &frame(PRIORITY, 0, 5)), UPDATES);
    }

    #[test]
    fn requests_and_their_data_are_not() {
        let request =
            [frame(HEADERS, END_HEADERS, 30), frame(DATA, 0, 100), frame(DATA, END_STREAM, 0)].concat();
        assert_eq!(passing(begun(), &request), u32::MAX);
        let updated = [frame(HEADERS, END_HEADERS, 30), frame(WINDOW_UPDATE, 0, 4).repeat(4)].concat();
        assert_eq!(passing(begun(), &updated), u32::MAX);
    }

    #[test]
    fn what_was_sent_may_be_acknowledged() {
        let mut frames = begun();
        for _ in 0..100_000 {
            frames.sent(16 * 1024);
            frames.advance(&frame(WINDOW_UPDATE, 0, 4).repeat(2), Tick(0)).unwrap();
        }
    }

    #[test]
    fn time_gives_back() {
        let mut frames = begun();
        let ping = frame(PING, 0, 8);
        for second in 0..100u64 {
            for _ in 0..PER_SECOND {
                frames.advance(&ping, Tick(second * 1_000_000_000)).unwrap();
            }
        }
    }

    #[test]
    fn pieces_of_any_size_are_read_alike() {
        let bytes = [
            &PREFACE[..],
            &frame(SETTINGS, 0, 18),
            &frame(HEADERS, 0, 20),
            &frame(CONTINUATION, END_HEADERS, 7),
        ]
        .concat();
        let mut frames = Frames::new(Tick(0));
        for (at, byte) in bytes.iter().enumerate() {
            let between_frames = at == PREFACE.len() || at == PREFACE.len() + HEADER + 18;
            assert_eq!(frames.is_in_the_middle(), !between_frames, "{at}");
            frames.advance(&[*byte], Tick(0)).unwrap();
        }
        assert!(!frames.is_in_the_middle());
        assert_eq!((frames.costly, frames.updates), (BURST - 2, UPDATES));
    }

    #[test]
    fn a_stream_is_sent_with_the_last_byte_of_its_last_frame() {
        let mut bytes = [frame(SETTINGS, 0, 6), frame(HEADERS, END_HEADERS, 10), frame(DATA, 0, 5)].concat();
        bytes.extend(frame(DATA, END_STREAM, 4));
        let end = bytes.len();
        bytes.extend(frame(DATA, END_STREAM, 0));
        let mut sent = SentFrames::default();
        let mut seen = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            sent.advance(&[*byte], |stream| seen.push((at + 1, stream)));
        }
        assert_eq!(seen, [(end, 1), (end + HEADER, 1)]);
        let mut at_once = Vec::new();
        SentFrames::default().advance(&bytes, |stream| at_once.push(stream));
        assert_eq!(at_once, [1, 1]);
    }

    #[test]
    fn a_head_without_its_end_is_in_the_middle() {
        let mut frames = begun();
        assert!(!frames.is_in_the_middle());
        frames.advance(&frame(DATA, 0, 5)[..12], Tick(0)).unwrap();
        assert!(!frames.is_in_the_middle());
        frames.advance(&[0, 0], Tick(0)).unwrap();
        frames.advance(&frame(HEADERS, 0, 5), Tick(0)).unwrap();
        assert!(frames.is_in_the_middle());
    }
}
