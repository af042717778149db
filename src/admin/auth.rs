//! Who may ask: the token, and what keeps web pages of others from asking in an operator's name.
//!
//! Without a token only this host can connect. A browser on it is a way in for any web site, by a name of its own that
//! resolves to the loopback, or by a form; `Host`, `Origin` and the media type keep both out. Invariant: the time a
//! comparison takes tells nothing of the token, and nothing that was sent as one is kept.

use std::net::IpAddr;

use http::header::{HeaderMap, HeaderName};
use http::uri::Authority;
use http::{StatusCode, Uri, Version, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::config::model::admin::Secret;

use super::reply::Failure;

/// Whether the request shows the token, if there is one to show.
pub(super) fn check_token(token: Option<&Secret>, headers: &HeaderMap) -> Result<(), Failure> {
    let Some(token) = token else { return Ok(()) };
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let shown = lines.next().filter(|_| lines.next().is_none()).and_then(|line| bearer(line.as_bytes()));
    let is_right = shown.is_some_and(|shown| is_same(shown, token.reveal().as_bytes()));
    if is_right {
        return Ok(());
    }
    let message = "Send the token of the configuration as `Authorization: Bearer TOKEN`.";
    Err(Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", message))
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim_ascii())
}

/// Digests have one length, so nothing is told of the token's either.
fn is_same(shown: &[u8], token: &[u8]) -> bool {
    Sha256::digest(shown).ct_eq(&Sha256::digest(token)).into()
}

/// Whether the name that was asked for is one of this host: any other was made to resolve here by somebody else.
pub(super) fn check_host(uri: &Uri, version: Version, headers: &HeaderMap) -> Result<(), Failure> {
    let mut lines = headers.get_all(header::HOST).iter();
    let host = match (lines.next(), lines.next()) {
        // Browsers always send one.
        (None, _) if version == Version::HTTP_10 => true,
        (Some(host), None) => host.to_str().is_ok_and(is_loopback),
        _ => false,
    };
    let target = uri.authority().is_none_or(|authority| is_loopback(authority.as_str()));
    if host && target {
        return Ok(());
    }
    let message = "Without a token only `localhost` and addresses of the loopback are answered as `Host`.";
    Err(Failure::new(StatusCode::FORBIDDEN, "host_forbidden", message))
}

fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether a page that asks for something to be done is our own.
pub(super) fn check_origin(headers: &HeaderMap) -> Result<(), Failure> {
    let only = |name: HeaderName| {
        let mut lines = headers.get_all(name).iter();
        let first = lines.next()?;
        Some(if lines.next().is_none() { first.as_bytes() } else { b"" })
    };
    let Some(origin) = only(header::ORIGIN) else { return Ok(()) };
    let origin = std::str::from_utf8(origin).ok();
    let asked = origin.and_then(|origin| Some(origin.split_once("://")?.1));
    let host = only(header::HOST).and_then(|host| std::str::from_utf8(host).ok());
    if let (Some(asked), Some(host)) = (asked, host)
        && asked.eq_ignore_ascii_case(host)
    {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::FORBIDDEN,
        "origin_forbidden",
        "Pages of another origin change nothing here.",
    ))
}

/// Whether the body is said to be JSON, which no form of another page can say.
pub(super) fn check_media_type(headers: &HeaderMap) -> Result<(), Failure> {
    let mut lines = headers.get_all(header::CONTENT_TYPE).iter();
    let said = lines.next().filter(|_| lines.next().is_none()).and_then(|line| line.to_str().ok());
    let media_type = said.and_then(|said| said.split(';').next()).unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "Send JSON, with `Content-Type: application/json`.";
    Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn only_the_token_opens() {
        let token = Secret::new("s3cret");
        let shown =
            |fields: &[(&'static str, &'static str)]| check_token(Some(&token), &headers(fields)).is_ok();
        assert!(shown(&[("authorization", "Bearer s3cret")]));
        assert!(shown(&[("authorization", "bearer s3cret ")]));
        for wrong in ["Bearer s3cre", "Bearer s3cret2", "Bearer", "Bearer ", "s3cret", "Basic s3cret", ""] {
            assert!(!shown(&[("authorization", wrong)]), "{wrong:?}");
        }
        assert!(!shown(&[]));
        let twice = [("authorization", "Bearer s3cret"), ("authorization", "Bearer s3cret")];
        let mut both = HeaderMap::new();
        for (name, value) in twice {
            both.append(name, HeaderValue::from_static(value));
        }
        assert!(check_token(Some(&token), &both).is_err());
        assert!(check_token(None, &HeaderMap::new()).is_ok());
    }

    #[test]
    fn only_names_of_the_loopback_are_answered() {
        let uri = Uri::from_static("/status");
        let host =
            |name: &'static str| check_host(&uri, Version::HTTP_11, &headers(&[("host", name)])).is_ok();
        for right in ["localhost", "LOCALHOST:9180", "127.0.0.1:9180", "127.8.8.8", "[::1]:80", "[::1]"] {
            assert!(host(right), "{right}");
        }
        for wrong in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:9180",
            "10.0.0.1",
            "",
            "[::2]",
            "a@b@c",
        ] {
            assert!(!host(wrong), "{wrong}");
        }
        assert!(check_host(&uri, Version::HTTP_11, &HeaderMap::new()).is_err());
        assert!(check_host(&uri, Version::HTTP_10, &HeaderMap::new()).is_ok());
        let absolute = Uri::from_static("http://evil.example/status");
        assert!(check_host(&absolute, Version::HTTP_11, &headers(&[("host", "localhost")])).is_err());
    }

    #[test]
    fn only_our_own_page_may_change_something() {
        let origin = |fields: &[(&'static str, &'static str)]| check_origin(&headers(fields)).is_ok();
        assert!(origin(&[("host", "localhost:9180")]), "no browser");
        assert!(origin(&[("host", "localhost:9180"), ("origin", "http://localhost:9180")]));
        for wrong in ["http://localhost:8080", "https://evil.example", "null", "", "localhost:9180"] {
            assert!(!origin(&[("host", "localhost:9180"), ("origin", wrong)]), "{wrong:?}");
        }
    }

    #[test]
    fn only_json_is_read() {
        let media = |value: &'static str| check_media_type(&headers(&[("content-type", value)])).is_ok();
        assert!(media("application/json") && media("Application/JSON; charset=utf-8"));
        for wrong in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"] {
            assert!(!media(wrong), "{wrong}");
        }
        assert!(check_media_type(&HeaderMap::new()).is_err());
    }
}
