//! Request ids: which inbound ones are believed, and how our own are written (RFC 9562).

use bytes::BytesMut;
use http::HeaderValue;

/// Longest inbound id that is kept.
pub const MAX_LEN: usize = 128;

/// An id of 1 to 128 characters of `[A-Za-z0-9._:+/=@-]`: safe in a header, a JSON string and a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// An inbound id, if it is one.
    pub fn parse(value: &HeaderValue) -> Option<RequestId> {
        let bytes = value.as_bytes();
        let fits = !bytes.is_empty() && bytes.len() <= MAX_LEN;
        (fits && bytes.iter().all(|byte| is_id_byte(*byte))).then(|| RequestId(value.clone()))
    }

    /// A version 4 UUID: `random` but for the six bits that say so. Written into `room`, which many ids may share.
    pub fn uuid4(random: u128, room: &mut BytesMut) -> RequestId {
        RequestId::from_bits((random & !VERSION_AND_VARIANT) | (0x4 << 76) | (0b10 << 62), room)
    }

    /// A version 7 UUID: 48 bits of milliseconds, then 12 bits of the millisecond's fraction (method 3 of
    /// RFC 9562 section 6.2, so that ids of one worker sort), then random bits.
    pub fn uuid7(unix_nanos: u64, random: u128, room: &mut BytesMut) -> RequestId {
        let millis = u128::from(unix_nanos / 1_000_000);
        let fraction = u128::from(unix_nanos % 1_000_000 * 4096 / 1_000_000);
        let random = random & ((1 << 62) - 1);
        let bits =
            ((millis & 0xffff_ffff_ffff) << 80) | (0x7 << 76) | (fraction << 64) | (0b10 << 62) | random;
        RequestId::from_bits(bits, room)
    }

    /// For headers.
    pub fn as_header(&self) -> &HeaderValue {
        &self.0
    }

    /// For bodies and records.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    fn from_bits(bits: u128, room: &mut BytesMut) -> RequestId {
        let mut text = [b'-'; 36];
        for (byte, at) in bits.to_be_bytes().into_iter().zip(HEX_PLACES) {
            text[at..at + 2].copy_from_slice(&HEX_PAIRS[usize::from(byte)]);
        }
        if room.capacity() < text.len() {
            room.reserve(ROOM);
        }
        room.extend_from_slice(&text);
        let value = HeaderValue::from_maybe_shared(room.split().freeze());
        RequestId(value.unwrap_or_else(|_| HeaderValue::from_static("invalid")))
    }
}

/// Ids that share one allocation take so much of it together.
const ROOM: usize = 4096;

/// Where each byte of a UUID stands in its text form.
const HEX_PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/// Every byte in lower-case hexadecimal.
const HEX_PAIRS: [[u8; 2]; 256] = {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [HEX[byte >> 4], HEX[byte & 0xf]];
        byte += 1;
    }
    pairs
};

const VERSION_AND_VARIANT: u128 = (0xf << 76) | (0b11 << 62);

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'+' | b'/' | b'=' | b'@' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_ids_have_the_form_of_their_version() {
        let mut room = BytesMut::new();
        assert_eq!(RequestId::uuid4(0, &mut room).as_str(), "00000000-0000-4000-8000-000000000000");
        assert_eq!(RequestId::uuid4(u128::MAX, &mut room).as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(
            RequestId::uuid7(1_645_557_742_000_000_000, 0x18C4DC0C0C07398F, &mut room).as_str(),
            "017f22e2-79b0-7000-98c4-dc0c0c07398f"
        );
    }

    #[test]
    fn version_7_ids_sort_by_time_within_a_millisecond() {
        let mut room = BytesMut::new();
        let earlier = RequestId::uuid7(1_000_000_000_000, u128::MAX, &mut room);
        let later = RequestId::uuid7(1_000_000_000_500, 0, &mut room);
        assert!(earlier.as_str() < later.as_str());
    }

    #[test]
    fn only_safe_inbound_ids_are_kept() {
        for good in ["a", "Root=1-67891233-abcdef012345678912345678", "A.b_c:d+e/f=g@h-1"] {
            assert!(RequestId::parse(&HeaderValue::from_static(good)).is_some(), "{good}");
        }
        for bad in ["", "a b", "a\"", "a;b", "a,b", "a{b}"] {
            assert!(RequestId::parse(&HeaderValue::from_static(bad)).is_none(), "{bad}");
        }
        let long = HeaderValue::from_str(&"a".repeat(MAX_LEN)).unwrap();
        assert!(RequestId::parse(&long).is_some());
        let longer = HeaderValue::from_str(&"a".repeat(MAX_LEN + 1)).unwrap();
        assert!(RequestId::parse(&longer).is_none());
    }
}
