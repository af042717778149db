//! A path as the app will read it, for matching; the app itself gets the original bytes.
//!
//! WSGI decodes every percent escape before the app sees the path, so matching decodes them too.
//! Several slashes count as one: Werkzeug redirects to that spelling, other routers read it so.
//! Invariant: two spellings that the app reads alike match alike. Where readers differ (an encoded slash, a
//! backslash, a NUL, a malformed escape, dot segments above the root) the request is refused.

use std::borrow::Cow;

use super::local_reply::BadRequest;

/// Decoded and without dot segments (RFC 3986 section 6.2.2). Borrowed when nothing had to change.
pub fn normalize(path: &str) -> Result<Cow<'_, [u8]>, BadRequest> {
    let bytes = path.as_bytes();
    let mut plain = true;
    let mut previous = 0;
    for byte in bytes {
        plain &= !(matches!(byte, b'%' | b'\\') || (matches!(byte, b'.' | b'/') && previous == b'/'));
        previous = *byte;
    }
    if plain {
        return Ok(Cow::Borrowed(bytes));
    }
    let decoded = decode(bytes)?;
    collapse(&decoded).map(Cow::Owned)
}

fn decode(bytes: &[u8]) -> Result<Vec<u8>, BadRequest> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let high = rest.next().copied().and_then(hex_digit).ok_or(BadRequest::Path)?;
                let low = rest.next().copied().and_then(hex_digit).ok_or(BadRequest::Path)?;
                match high << 4 | low {
                    0 | b'/' => return Err(BadRequest::Path),
                    byte => byte,
                }
            }
            byte => *byte,
        };
        if byte == b'\\' {
            return Err(BadRequest::Path);
        }
        decoded.push(byte);
    }
    Ok(decoded)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// Without dot segments, and with one slash where there are several.
fn collapse(path: &[u8]) -> Result<Vec<u8>, BadRequest> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." if is_last => out.push(b'/'),
            b"." => {}
            b"" if !is_last => {}
            b".." => {
                let parent = memchr::memrchr(b'/', &out).ok_or(BadRequest::Path)?;
                out.truncate(parent);
                if is_last {
                    out.push(b'/');
                }
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> Option<String> {
        normalize(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    #[test]
    fn escapes_are_decoded_and_dot_segments_resolved() {
        for (path, read) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/%61pi/%76%31", "/api/v1"),
            ("/a%3Ab%20c", "/a:b c"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/a/..", "/"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("//a", "/a"),
            ("/a//b///c//", "/a/b/c/"),
            ("//", "/"),
            ("/%2561", "/%61"),
        ] {
            assert_eq!(normal(path).as_deref(), Some(read), "{path}");
        }
    }

    #[test]
    fn spellings_that_readers_read_differently_are_refused() {
        for path in [
            "/%00",
            "/a%2fb",
            "/a%2Fb",
            "/a\\b",
            "/a%5cb",
            "/%",
            "/%4",
            "/%zz",
            "/..",
            "/a/../..",
            "//../a",
            "/%2e%2e/x",
        ] {
            assert_eq!(normal(path), None, "{path}");
        }
    }
}
