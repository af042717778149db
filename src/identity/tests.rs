//! Who is believed.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use std::borrow::Cow;

use super::*;

const TRUSTED: Peer<'static> = Peer { is_trusted: true, certified: None };
const NOW: u64 = 1_800_000_000;

fn api_key(header: &'static str, keys_file: bool, unknown: UnknownKey) -> Identity {
    let key = ApiKey {
        header: HeaderName::from_static(header),
        query: Some("key".into()),
        keys_file: keys_file.then(|| "/keys.toml".into()),
        unknown,
    };
    Identity { sources: vec![Source::ApiKey(key), Source::Header(HeaderName::from_static("x-user"))] }
}

fn keys() -> Keys {
    let mut keys = Keys::default();
    let holder = |user: &str, end| Holder {
        user: user.into(),
        tier: Some("pro".into()),
        note: None,
        expires_unix_seconds: end,
    };
    assert!(keys.insert(KeyDigest::of(b"good"), holder("ann", None)));
    assert!(keys.insert(KeyDigest::of(b"old"), holder("ben", Some(NOW))));
    assert!(keys.insert(KeyDigest::of(b"young"), holder("cat", Some(NOW + 1))));
    assert!(!keys.insert(KeyDigest::of(b"good"), holder("eve", None)), "a key has one user");
    keys
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

/// In a word.
fn said(identity: &Identity, keys: Option<&Keys>, fields: &[(&'static str, &str)], query: &str) -> String {
    match claim(identity, keys, &headers(fields), Some(query), TRUSTED, NOW) {
        Claim::None => "none".to_owned(),
        Claim::Known { holder, .. } => holder.user.to_string(),
        Claim::Opaque { key } => format!("opaque {}", String::from_utf8_lossy(&key)),
        Claim::Certified { user } => format!("certified {user}"),
        Claim::Proxy { user } => format!("proxy {}", String::from_utf8_lossy(user)),
        Claim::Rejected => "rejected".to_owned(),
    }
}

#[test]
fn a_known_key_names_its_user_until_it_expires() {
    let identity = api_key("x-api-key", true, UnknownKey::Anonymous);
    let keys = keys();
    let said = |fields: &[(&'static str, &str)], query| said(&identity, Some(&keys), fields, query);
    assert_eq!(said(&[("x-api-key", "good")], ""), "ann");
    assert_eq!(said(&[("x-api-key", "young")], ""), "cat");
    assert_eq!(said(&[("x-api-key", "old")], ""), "none");
    assert_eq!(said(&[("x-api-key", "Good")], ""), "none");
    assert_eq!(said(&[], "a=1&key=good"), "ann");
    assert_eq!(said(&[], "a=1&%6bey=g%6Fod"), "ann");
    assert_eq!(said(&[("x-api-key", "bad")], "key=good"), "none", "the field goes before the query");
    assert_eq!(said(&[("x-api-key", "")], "key=good"), "ann", "an empty field is none");
}

#[test]
fn an_unknown_key_is_refused_or_the_next_source_is_asked() {
    let keys = keys();
    let reject = api_key("x-api-key", true, UnknownKey::Reject);
    let anonymous = api_key("x-api-key", true, UnknownKey::Anonymous);
    let long = "k".repeat(5000);
    for fields in [
        &[("x-api-key", "bad"), ("x-user", "dan")][..],
        &[("x-api-key", "old"), ("x-user", "dan")],
        &[("x-api-key", "good"), ("x-api-key", "good"), ("x-user", "dan")],
        &[("x-api-key", ""), ("x-api-key", "good"), ("x-user", "dan")],
        &[("x-api-key", long.as_str()), ("x-user", "dan")],
    ] {
        assert_eq!(said(&reject, Some(&keys), fields, ""), "rejected");
        assert_eq!(said(&anonymous, Some(&keys), fields, ""), "proxy dan");
    }
    assert_eq!(said(&reject, Some(&keys), &[], ""), "none", "no key is not a wrong one");
    assert_eq!(said(&reject, Some(&keys), &[], "key=good&key=good"), "rejected");
}

#[test]
fn without_a_keys_file_a_key_stands_for_itself() {
    let identity = api_key("x-api-key", false, UnknownKey::Anonymous);
    assert_eq!(said(&identity, None, &[("x-api-key", "any")], ""), "opaque any");
    assert_eq!(said(&identity, None, &[("x-api-key", "a"), ("x-api-key", "b")], ""), "none");
}

#[test]
fn of_authorization_only_a_bearer_is_a_key() {
    let identity = api_key("authorization", false, UnknownKey::Anonymous);
    assert_eq!(said(&identity, None, &[("authorization", "Bearer abc")], ""), "opaque abc");
    assert_eq!(said(&identity, None, &[("authorization", "bEARER  abc ")], ""), "opaque abc");
    let both = [("authorization", "Basic YTpi"), ("authorization", "Bearer abc")];
    assert_eq!(said(&identity, None, &both, ""), "opaque abc", "the other line is the app's");
    let two = [("authorization", "Bearer abc"), ("authorization", "Bearer abc")];
    assert_eq!(said(&identity, None, &two, ""), "none");
    for other in ["Basic YTpi", "Bearer", "Bearer ", "abc"] {
        assert_eq!(said(&identity, None, &[("authorization", other)], ""), "none", "{other}");
    }
}

#[test]
fn only_a_trusted_proxy_names_users() {
    let identity = api_key("x-api-key", false, UnknownKey::Anonymous);
    let fields = headers(&[("x-user", "dan")]);
    assert_eq!(claim(&identity, None, &fields, None, Peer::default(), NOW), Claim::None);
    assert_eq!(claim(&identity, None, &fields, None, TRUSTED, NOW), Claim::Proxy { user: b"dan" });
    assert_eq!(said(&identity, None, &[("x-user", "dan"), ("x-user", "eve")], ""), "none");
    assert_eq!(said(&identity, None, &[("x-user", &"u".repeat(257))], ""), "none");
}

#[test]
fn a_logged_query_does_not_tell_the_key() {
    assert_eq!(redact("a=1&key=secret&b=2", "key"), "a=1&key=***&b=2");
    assert_eq!(redact("%6bey=secret&key=other", "key"), "%6bey=***&key=***");
    assert_eq!(redact("monkey=1&key", "key"), "monkey=1&key");
    assert!(matches!(redact("a=1", "key"), Cow::Borrowed("a=1")));
}

#[test]
fn nothing_printed_for_debugging_tells_a_key() {
    let opaque = Claim::Opaque { key: Cow::Borrowed(b"hunter2") };
    assert!(!format!("{opaque:?}").contains("hunter2"));
    let digest = KeyDigest::of(b"hunter2");
    assert!(!format!("{digest:?}").contains(&digest.to_hex()));
    assert_eq!(KeyDigest::parse(&digest.to_hex().to_uppercase()), Some(digest));
    assert_eq!(KeyDigest::parse("00"), None);
}

proptest! {
    #[test]
    fn any_bytes_are_judged(value in prop::collection::vec(any::<u8>(), 0..40), query in ".{0,40}") {
        let keys = Arc::new(keys());
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.append("x-api-key", value.clone());
            headers.append("authorization", value);
        }
        for header in ["x-api-key", "authorization"] {
            for known in [true, false] {
                let identity = api_key(header, known, UnknownKey::Reject);
                let _ = claim(&identity, known.then_some(&*keys), &headers, Some(&query), TRUSTED, NOW);
            }
        }
        let _ = redact(&query, "key");
    }
}

#[test]
fn a_certificate_names_its_user_where_it_is_asked_and_nobody_else_is_believed() {
    let identity = Identity { sources: vec![Source::Certificate(CertificateName::SubjectCn)] };
    let fields = headers(&[("x-user", "dan"), ("x-client-cert-cn", "dan")]);
    assert_eq!(claim(&identity, None, &fields, None, TRUSTED, NOW), Claim::None);
    let erin: std::sync::Arc<str> = "erin".into();
    let peer = Peer { is_trusted: false, certified: Some(&erin) };
    assert_eq!(claim(&identity, None, &fields, None, peer, NOW), Claim::Certified { user: &erin });
    let not_asked = Identity { sources: vec![Source::Header(HeaderName::from_static("x-user"))] };
    assert_eq!(claim(&not_asked, None, &fields, None, peer, NOW), Claim::None);
}
