//! A request over HTTP/2: its frames are read alike in pieces of any size, and what is said in the words of HTTP/1.1 has one
//! host, one length, and nothing that could end a line.
#![no_main]

use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use libfuzzer_sys::fuzz_target;
use tollgate::clock::Tick;
use tollgate::message::head::HeadLimits;
use tollgate::message::http2::{strip, to_http1};
use tollgate::message::http2_frames::Frames;

const LIMITS: HeadLimits =
    HeadLimits { max_uri: 200, max_headers: 8, max_header_line: 200, max_header_bytes: 600 };

/// Method, target, then fields, a line each.
fn request(input: &[u8]) -> Option<Request<()>> {
    let mut lines = input.split(|byte| *byte == b'\n');
    let method = Method::from_bytes(lines.next()?).ok()?;
    let uri = Uri::try_from(lines.next()?).ok()?;
    let mut headers = HeaderMap::new();
    for line in lines.take(64) {
        let at = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (HeaderName::from_bytes(&line[..at]).ok()?, HeaderValue::from_bytes(&line[at + 1..]).ok()?);
        headers.append(name, value);
    }
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Some(request)
}

fn frames_are_read_alike(input: &[u8]) {
    let (mut whole, mut pieces) = (Frames::new(Tick(0)), Frames::new(Tick(0)));
    let at_once = whole.advance(input, Tick(0));
    let one_by_one = input.iter().try_for_each(|byte| pieces.advance(&[*byte], Tick(0)));
    assert_eq!(at_once, one_by_one);
    assert_eq!(whole.is_in_the_middle(), pieces.is_in_the_middle());
}

fuzz_target!(|input: &[u8]| {
    frames_are_read_alike(input);
    let Some(request) = request(input) else { return };
    let websocket = request.method() == Method::CONNECT;
    let (mut parts, ()) = request.into_parts();
    let authority = parts.uri.authority().map(|authority| authority.as_str().to_owned());
    let protocol = websocket.then_some("websocket");
    let Ok(bytes) = to_http1(&mut parts, protocol, || HeaderValue::from_static("key"), &LIMITS) else { return };
    assert!(bytes <= LIMITS.max_header_bytes + LIMITS.max_uri + 32);
    assert!(parts.uri.authority().is_none() && parts.uri.scheme().is_none());
    let target = parts.uri.to_string();
    assert!(target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "{target:?}");
    assert!(parts.headers.get_all(CONTENT_LENGTH).iter().count() <= 1);
    assert!(parts.headers.get_all(COOKIE).iter().count() <= 1);
    if let Some(authority) = authority {
        assert_eq!(parts.headers.get_all(HOST).iter().collect::<Vec<_>>(), [authority.as_str()]);
    }
    for value in parts.headers.values() {
        let bytes = value.as_bytes();
        assert!(!bytes.contains(&b'\n') && !bytes.contains(&b'\r') && !bytes.contains(&0));
        assert!(!bytes.starts_with(b" ") && !bytes.ends_with(b" "));
    }
    strip(&mut parts.headers);
    assert!(!parts.headers.contains_key("connection"));
});
