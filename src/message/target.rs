//! The request target and its host (RFC 9112 section 3): one host, one form, no second opinion.

use http::header::{self, HeaderMap};
use http::uri::Uri;
use http::{Method, Version};

use super::local_reply::{BadRequest, LocalReply};

/// Judges method, target, host and expectation of a parsed request.
pub fn check(method: &Method, uri: &Uri, version: Version, headers: &HeaderMap) -> Result<(), LocalReply> {
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err(LocalReply::MethodNotAllowed);
    }
    check_host(uri, headers).map_err(LocalReply::BadRequest)?;
    match headers.get(header::EXPECT) {
        Some(value)
            if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") && version >= Version::HTTP_11 =>
        {
            Err(LocalReply::ExpectationFailed)
        }
        _ => Ok(()),
    }
}

fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), BadRequest> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_valid_host(host.as_bytes()) => host.as_bytes(),
        _ => return Err(BadRequest::Host),
    };
    match (uri.scheme_str(), uri.authority()) {
        (None, None) if uri.path().starts_with('/') => Ok(()),
        (Some(scheme @ ("http" | "https")), Some(authority)) => {
            let default = if scheme == "https" { 443 } else { 80 };
            let named = authority.as_str().as_bytes();
            let same_name = name_of(named).eq_ignore_ascii_case(name_of(host));
            let same_port = port_of(named).unwrap_or(default) == port_of(host).unwrap_or(default);
            if same_name && same_port { Ok(()) } else { Err(BadRequest::HostMismatch) }
        }
        _ => Err(BadRequest::Target),
    }
}

/// `uri-host [ ":" port ]` of RFC 3986 without user information, not empty, bytes that a log and a URL
/// built from it can bear.
pub fn is_valid_host(host: &[u8]) -> bool {
    let (name, port) = split_port(host);
    let name_is_fine = match name {
        [b'[', inner @ .., b']'] => {
            std::str::from_utf8(inner).is_ok_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
        }
        _ => {
            !name.is_empty()
                && name.len() <= 255
                && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        }
    };
    let port_is_fine = match port {
        None => true,
        Some(port) => std::str::from_utf8(port)
            .is_ok_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()),
    };
    name_is_fine && port_is_fine
}

/// The port of a valid host, if it names one.
pub fn port_of(host: &[u8]) -> Option<u16> {
    std::str::from_utf8(split_port(host).1?).ok()?.parse().ok()
}

fn name_of(host: &[u8]) -> &[u8] {
    split_port(host).0
}

fn split_port(host: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memrchr(b':', host) {
        Some(colon) if !host[colon..].contains(&b']') => (&host[..colon], Some(&host[colon + 1..])),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn judge(method: &str, uri: &str, hosts: &[&str]) -> Result<(), LocalReply> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        check(&method.parse().unwrap(), &uri.parse().unwrap(), Version::HTTP_11, &headers)
    }

    #[test]
    fn one_valid_host_is_needed() {
        for host in ["a", "a.example:8080", "127.0.0.1", "[::1]", "[2001:db8::1]:443", "under_score"] {
            assert_eq!(judge("GET", "/", &[host]), Ok(()), "{host}");
        }
        for host in
            ["", "a b", "a/b", "user@a", "a:b", "a:", "a:99999", "[::1", "[a]", "a,b", "a\u{e9}", "::1"]
        {
            assert_eq!(judge("GET", "/", &[host]), Err(LocalReply::BadRequest(BadRequest::Host)), "{host}");
        }
        assert_eq!(judge("GET", "/", &[]), Err(LocalReply::BadRequest(BadRequest::Host)));
        assert_eq!(judge("GET", "/", &["a", "a"]), Err(LocalReply::BadRequest(BadRequest::Host)));
    }

    #[test]
    fn an_absolute_target_must_name_the_same_host() {
        assert_eq!(judge("GET", "http://A.example/x", &["a.example"]), Ok(()));
        assert_eq!(judge("GET", "http://a.example:80/x", &["a.example"]), Ok(()));
        for uri in ["http://b.example/", "http://a.example:81/", "http://u@a.example/"] {
            assert_eq!(
                judge("GET", uri, &["a.example"]),
                Err(LocalReply::BadRequest(BadRequest::HostMismatch)),
                "{uri}"
            );
        }
        assert_eq!(
            judge("GET", "ftp://a.example/", &["a.example"]),
            Err(LocalReply::BadRequest(BadRequest::Target))
        );
    }

    #[test]
    fn targets_that_are_no_path_are_refused() {
        for uri in ["*", "a.example:80", "a"] {
            assert_eq!(
                judge("GET", uri, &["a.example"]),
                Err(LocalReply::BadRequest(BadRequest::Target)),
                "{uri}"
            );
        }
        assert_eq!(judge("CONNECT", "a.example:80", &["a.example"]), Err(LocalReply::MethodNotAllowed));
        assert_eq!(judge("TRACE", "/", &["a.example"]), Err(LocalReply::MethodNotAllowed));
    }

    #[test]
    fn an_expectation_means_nothing_before_http_1_1() {
        let headers = HeaderMap::from_iter([
            (header::HOST, HeaderValue::from_static("a")),
            (header::EXPECT, HeaderValue::from_static("wonders")),
        ]);
        let judge = |version| check(&Method::GET, &Uri::from_static("/"), version, &headers);
        assert_eq!(judge(Version::HTTP_10), Ok(()));
        assert_eq!(judge(Version::HTTP_11), Err(LocalReply::ExpectationFailed));
    }
}
