//! A request that came over HTTP/2 as the HTTP/1.1 request it stands for (RFC 9113 section 8, RFC 8441).
//!
//! The rest of the path knows one kind of request. What HTTP/2 says in other words is said in those of HTTP/1.1 here, and
//! what could mean two things after that is refused. Framing, pseudo fields, names in upper case, fields of a connection
//! and lengths that the data does not have are refused by the library below, with a reset of the stream.
//!
//! Invariant: a request that passed is one that [`super::head`] and the HTTP/1 parser would let pass, with the same reading.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Uri};
use http::{Method, Version};

use super::head::{HeadFault, HeadLimits, parse_length, trim_whitespace};
use super::local_reply::BadRequest;

/// `Sec-WebSocket-Key`
pub const SEC_WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
/// `Sec-WebSocket-Accept`
pub const SEC_WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");

/// What each field line has besides its name and its value: a colon, a space, and a line end.
const LINE_OVERHEAD: usize = 4;

/// Fields that end at the next hop, and have no place in HTTP/2.
const OF_CONNECTION: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Takes what HTTP/2 has no place for out of an answer.
pub fn strip(answer: &mut HeaderMap) {
    for name in &OF_CONNECTION {
        if answer.contains_key(name) {
            answer.remove(name);
        }
    }
}

/// Says a request in the words of HTTP/1.1. `key` is for the handshake of a WebSocket, which `protocol` asks for.
///
/// Returns the bytes its head would have. A fault leaves the request half changed, fit to be recorded.
pub fn to_http1(
    request: &mut Parts,
    protocol: Option<&str>,
    key: impl FnOnce() -> HeaderValue,
    limits: &HeadLimits,
) -> Result<usize, HeadFault> {
    let authority = request.uri.authority().cloned();
    let path = request.uri.path_and_query().cloned();
    check_path(path.as_ref(), limits)?;
    if OF_CONNECTION.iter().any(|name| request.headers.contains_key(name)) {
        return Err(BadRequest::Field.into());
    }
    if protocol == Some("websocket") && request.method == Method::CONNECT {
        // What follows is the tunnel's, and no body: a length would have the app wait for one.
        if request.headers.contains_key(header::CONTENT_LENGTH) {
            return Err(BadRequest::ContentLength.into());
        }
        request.method = Method::GET;
        request.headers.insert(header::UPGRADE, WEBSOCKET);
        request.headers.insert(header::CONNECTION, UPGRADE);
        request.headers.insert(SEC_WEBSOCKET_KEY, key());
    }
    request.uri = path.map_or_else(Uri::default, Uri::from);
    request.version = Version::HTTP_11;
    name_host(&mut request.headers, authority)?;
    join_cookies(&mut request.headers);
    measure(request, limits)
}

/// The target has only bytes that a request line may have, and not too many.
fn check_path(path: Option<&PathAndQuery>, limits: &HeadLimits) -> Result<(), HeadFault> {
    // CONNECT alone has none, and is refused by its method.
    let Some(path) = path else { return Ok(()) };
    if path.as_str().len() > limits.max_uri {
        return Err(HeadFault::UriTooLong);
    }
    if !path.as_str().bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(BadRequest::Target.into());
    }
    Ok(())
}

/// `:authority` is the host (section 8.3.1); a `Host` beside it says the same.
fn name_host(headers: &mut HeaderMap, authority: Option<Authority>) -> Result<(), HeadFault> {
    let Some(authority) = authority else { return Ok(()) };
    let agrees = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
    if !headers.get_all(header::HOST).iter().all(agrees) {
        return Err(BadRequest::HostMismatch.into());
    }
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| BadRequest::Host)?;
    headers.insert(header::HOST, host);
    Ok(())
}

/// Clients may send each cookie as a field of its own (section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // Made of values joined by what a value may have.
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, whole);
    }
}

/// The limits of a head, as if it had come in lines, and one length at most.
fn measure(request: &Parts, limits: &HeadLimits) -> Result<usize, HeadFault> {
    let Parts { method, uri, headers, .. } = request;
    let mut bytes = method.as_str().len() + uri.path_and_query().map_or(1, |path| path.as_str().len());
    let mut fields = 0;
    for (name, value) in headers {
        let line = name.as_str().len() + value.len();
        fields += 1;
        bytes += line + LINE_OVERHEAD;
        if fields > limits.max_headers || line + 2 > limits.max_header_line || bytes > limits.max_header_bytes
        {
            return Err(HeadFault::TooLarge);
        }
        if trim_whitespace(value.as_bytes()).len() != value.len() {
            return Err(BadRequest::Field.into());
        }
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let is_fine = match (lengths.next(), lengths.next()) {
        (None, _) => true,
        (Some(length), None) => parse_length(length.as_bytes()).is_some(),
        (Some(_), Some(_)) => false,
    };
    if is_fine { Ok(bytes) } else { Err(BadRequest::ContentLength.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits =
        HeadLimits { max_uri: 40, max_headers: 5, max_header_line: 60, max_header_bytes: 200 };

    fn request(method: &str, uri: &str, fields: &[(&'static str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(uri).version(Version::HTTP_2);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn translated(uri: &str, fields: &[(&'static str, &str)]) -> Result<Parts, HeadFault> {
        let mut parts = request("GET", uri, fields);
        to_http1(&mut parts, None, || HeaderValue::from_static("key"), &LIMITS).map(|_| parts)
    }

    #[test]
    fn the_authority_is_the_host_and_the_target_a_path() {
        let parts = translated("https://a.example:8443/x?y=1", &[("accept", "*/*")]).unwrap();
        assert_eq!(parts.uri, "/x?y=1");
        assert!(parts.uri.authority().is_none());
        assert_eq!(parts.headers[header::HOST], "a.example:8443");
        assert_eq!(parts.version, Version::HTTP_11);
    }

    #[test]
    fn a_host_beside_the_authority_says_the_same_or_is_refused() {
        assert!(translated("https://a.example/", &[("host", "A.example")]).is_ok());
        let mismatch = Err(HeadFault::Bad(BadRequest::HostMismatch));
        assert_eq!(translated("https://a.example/", &[("host", "b.example")]).map(|_| ()), mismatch);
        let two = [("host", "a.example"), ("host", "b.example")];
        assert_eq!(translated("https://a.example/", &two).map(|_| ()), mismatch);
        let without = translated("/", &[("host", "b.example")]).unwrap();
        assert_eq!(without.headers[header::HOST], "b.example");
    }

    #[test]
    fn cookies_are_one_field() {
        let parts = translated("/", &[("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2")]).unwrap();
        assert_eq!(parts.headers.get_all(header::COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn fields_of_a_connection_and_white_space_around_values_are_refused() {
        for (name, value) in
            [("connection", "x"), ("upgrade", "h2c"), ("keep-alive", "1"), ("x", " a"), ("x", "a\t")]
        {
            let refused = translated("/", &[(name, value)]).map(|_| ());
            assert_eq!(refused, Err(HeadFault::Bad(BadRequest::Field)), "{name}: {value:?}");
        }
    }

    #[test]
    fn there_is_one_length_or_none() {
        assert!(translated("/", &[("content-length", "5")]).is_ok());
        let refused = Err(HeadFault::Bad(BadRequest::ContentLength));
        assert_eq!(translated("/", &[("content-length", "+5")]).map(|_| ()), refused);
        assert_eq!(translated("/", &[("content-length", "5"), ("content-length", "5")]).map(|_| ()), refused);
    }

    #[test]
    fn the_limits_of_a_head_hold() {
        let long = "/".to_owned() + &"a".repeat(40);
        assert_eq!(translated(&long, &[]).map(|_| ()), Err(HeadFault::UriTooLong));
        let value = "v".repeat(58);
        assert!(translated("/", &[("a", &value[..57])]).is_ok());
        assert_eq!(translated("/", &[("a", &value)]).map(|_| ()), Err(HeadFault::TooLarge));
        let many: Vec<(&'static str, &str)> = ["a", "b", "c", "d", "e", "f"].map(|name| (name, "1")).into();
        assert!(translated("/", &many[..5]).is_ok());
        assert_eq!(translated("/", &many).map(|_| ()), Err(HeadFault::TooLarge));
        let large: Vec<(&'static str, &str)> = ["a", "b", "c", "d"].map(|name| (name, &value[..50])).into();
        assert_eq!(translated("/", &large).map(|_| ()), Err(HeadFault::TooLarge));
    }

    #[test]
    fn a_websocket_becomes_the_handshake_of_http1() {
        let mut parts = request("CONNECT", "https://a.example/ws", &[("sec-websocket-version", "13")]);
        to_http1(&mut parts, Some("websocket"), || HeaderValue::from_static("k"), &LIMITS).unwrap();
        assert_eq!((parts.method, parts.uri), (Method::GET, Uri::from_static("/ws")));
        assert_eq!(parts.headers[header::UPGRADE], "websocket");
        assert_eq!(parts.headers[header::CONNECTION], "upgrade");
        assert_eq!(parts.headers[SEC_WEBSOCKET_KEY], "k");
    }

    #[test]
    fn a_websocket_announces_no_body() {
        for (name, value) in
            [("content-length", "5"), ("content-length", "0"), ("transfer-encoding", "chunked")]
        {
            let mut parts = request("CONNECT", "https://a.example/ws", &[(name, value)]);
            let refused = to_http1(&mut parts, Some("websocket"), || HeaderValue::from_static("k"), &LIMITS);
            assert!(matches!(refused, Err(HeadFault::Bad(_))), "{name}");
        }
    }

    #[test]
    fn another_protocol_stays_a_connect() {
        let mut parts = request("CONNECT", "https://a.example/x", &[]);
        to_http1(&mut parts, Some("connect-udp"), || HeaderValue::from_static("k"), &LIMITS).unwrap();
        assert_eq!(parts.method, Method::CONNECT);
        assert!(!parts.headers.contains_key(header::UPGRADE));
    }

    #[test]
    fn an_answer_loses_what_http2_has_no_place_for() {
        let mut answer =
            request("GET", "/", &[("connection", "close"), ("keep-alive", "5"), ("x", "y")]).headers;
        strip(&mut answer);
        assert_eq!(answer.len(), 1);
    }
}
