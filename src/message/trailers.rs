//! Trailers: fields behind a body, which nobody may believe about the message they end.

use http::header::{self, HeaderName};

use super::hop_by_hop::{is_hearsay, is_replaced};

/// Whether a field may come as a trailer. What frames, routes, identifies or controls a message may not: it
/// would be read after it was needed (RFC 9110 section 6.5.1).
pub fn may_trail(name: &HeaderName) -> bool {
    const NEVER: [HeaderName; 16] = [
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
        header::HOST,
        header::CONNECTION,
        header::TRAILER,
        header::TE,
        header::UPGRADE,
        header::EXPECT,
        header::CONTENT_ENCODING,
        header::CONTENT_TYPE,
        header::CONTENT_RANGE,
        header::AUTHORIZATION,
        header::COOKIE,
        header::SET_COOKIE,
        header::CACHE_CONTROL,
        header::WWW_AUTHENTICATE,
    ];
    !NEVER.contains(name) && !is_replaced(name) && !is_hearsay(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_frames_or_identifies_a_message_never_trails() {
        for never in [
            "content-length",
            "host",
            "authorization",
            "x-forwarded-for",
            "remote_user",
            "set-cookie",
            "content-encoding",
        ] {
            assert!(!may_trail(&HeaderName::from_static(never)), "{never}");
        }
        assert!(may_trail(&HeaderName::from_static("x-checksum")));
    }
}
