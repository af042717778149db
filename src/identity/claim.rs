//! What a request's credentials say.
//!
//! Invariant: only a verified key, or a field of a trusted proxy, names a user; anything else stands for itself.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, header};

use super::digest::KeyDigest;
use super::keys::{Found, Holder, Keys};
use super::{ApiKey, Identity, Source, UnknownKey};

/// A longer key is none of ours.
const MAX_KEY: usize = 4096;
/// A longer user name is a mistake of the proxy.
const MAX_USER: usize = 256;

/// The first answer of the sources.
#[derive(Clone, PartialEq, Eq)]
pub enum Claim<'a> {
    /// Nobody is named.
    None,
    /// A key of the keys file.
    Known {
        /// The key's.
        digest: KeyDigest,
        /// Whose it is.
        holder: &'a Holder,
    },
    /// A key nobody vouches for, because there is no keys file.
    Opaque {
        /// As sent.
        key: Cow<'a, [u8]>,
    },
    /// A user whose certificate was verified.
    Certified {
        /// As the certificate has it.
        user: &'a Arc<str>,
    },
    /// A user a trusted proxy names.
    Proxy {
        /// In whatever bytes.
        user: &'a [u8],
    },
    /// A key that is unknown or has expired, where such keys are refused.
    Rejected,
}

impl fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claim::None => f.write_str("None"),
            Claim::Known { digest, holder } => {
                f.debug_struct("Known").field("digest", digest).field("holder", holder).finish()
            }
            Claim::Opaque { .. } => f.write_str("Opaque(***)"),
            Claim::Certified { user } => f.debug_tuple("Certified").field(user).finish(),
            Claim::Proxy { user } => f.debug_tuple("Proxy").field(&user.escape_ascii().to_string()).finish(),
            Claim::Rejected => f.write_str("Rejected"),
        }
    }
}

/// What is known of the connection that a request came on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peer<'a> {
    /// Whether what it says of others is believed.
    pub is_trusted: bool,
    /// Whom its certificate names, if it was verified.
    pub certified: Option<&'a Arc<str>>,
}

/// Asks the sources in their order.
pub fn claim<'a>(
    identity: &Identity,
    keys: Option<&'a Keys>,
    headers: &'a HeaderMap,
    query: Option<&'a str>,
    peer: Peer<'a>,
    unix_seconds: u64,
) -> Claim<'a> {
    for source in &identity.sources {
        let claimed = match source {
            Source::ApiKey(settings) => by_key(settings, keys, headers, query, unix_seconds),
            Source::Header(name) if peer.is_trusted => {
                let mut lines = headers.get_all(name).iter();
                let user = lines.next().filter(|_| lines.next().is_none()).map(|line| line.as_bytes());
                match user.filter(|user| (1..=MAX_USER).contains(&user.len())) {
                    Some(user) => Claim::Proxy { user },
                    None => Claim::None,
                }
            }
            Source::Header(_) => Claim::None,
            Source::Certificate(_) => peer.certified.map_or(Claim::None, |user| Claim::Certified { user }),
        };
        if claimed != Claim::None {
            return claimed;
        }
    }
    Claim::None
}

/// A key as it was sent.
enum Sent<'a> {
    None,
    One(Cow<'a, [u8]>),
    /// Several, or one that no key can be.
    Nonsense,
}

fn by_key<'a>(
    settings: &ApiKey,
    keys: Option<&'a Keys>,
    headers: &'a HeaderMap,
    query: Option<&'a str>,
    unix_seconds: u64,
) -> Claim<'a> {
    let sent = match in_header(settings, headers) {
        Sent::None => in_query(settings, query),
        sent => sent,
    };
    let unknown = match settings.unknown {
        UnknownKey::Reject => Claim::Rejected,
        UnknownKey::Anonymous => Claim::None,
    };
    match (sent, keys) {
        (Sent::None, _) => Claim::None,
        // Without a keys file no key is refused.
        (Sent::Nonsense, None) => Claim::None,
        (Sent::Nonsense, Some(_)) => unknown,
        (Sent::One(key), None) => Claim::Opaque { key },
        (Sent::One(key), Some(keys)) => {
            let digest = KeyDigest::of(&key);
            match keys.find(&digest, unix_seconds) {
                Found::Known(holder) => Claim::Known { digest, holder },
                Found::Expired(_) | Found::Unknown => unknown,
            }
        }
    }
}

fn in_header<'a>(settings: &ApiKey, headers: &'a HeaderMap) -> Sent<'a> {
    let is_authorization = settings.header == header::AUTHORIZATION;
    let lines = headers.get_all(&settings.header).iter().map(|line| line.as_bytes());
    // Another scheme is for the app.
    let mut values = lines.filter_map(|line| if is_authorization { bearer(line) } else { Some(line) });
    let Some(value) = values.next() else { return Sent::None };
    match value.len() {
        _ if values.next().is_some() => Sent::Nonsense,
        0 => Sent::None,
        1..=MAX_KEY => Sent::One(Cow::Borrowed(value)),
        _ => Sent::Nonsense,
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn in_query<'a>(settings: &ApiKey, query: Option<&'a str>) -> Sent<'a> {
    let (Some(name), Some(query)) = (&settings.query, query) else { return Sent::None };
    let mut sent = Sent::None;
    for parameter in query.split('&') {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if value.is_empty() || *percent_decoded(key) != *name.as_bytes() {
            continue;
        }
        let value = percent_decoded(value);
        sent = match sent {
            Sent::None if value.len() <= MAX_KEY => Sent::One(value),
            _ => return Sent::Nonsense,
        };
    }
    sent
}

/// A query in which every value of the parameter `name` is hidden.
pub fn redact<'a>(query: &'a str, name: &str) -> Cow<'a, str> {
    let names = |parameter: &str| {
        let key = parameter.split('=').next().unwrap_or_default();
        *percent_decoded(key) == *name.as_bytes()
    };
    if !query.split('&').any(names) {
        return Cow::Borrowed(query);
    }
    let hidden = query.split('&').map(|parameter| match parameter.split_once('=') {
        Some((key, _)) if names(parameter) => Cow::Owned(format!("{key}=***")),
        _ => Cow::Borrowed(parameter),
    });
    Cow::Owned(hidden.collect::<Vec<_>>().join("&"))
}

/// `%41` is `A`; an escape that is none stays as it is.
fn percent_decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('%') {
        return Cow::Borrowed(text.as_bytes());
    }
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high << 4 | low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(decoded)
}
