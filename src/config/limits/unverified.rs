//! A warning of limits that anybody gets around: by a key that nobody verifies.

use crate::identity::Identity;
use crate::limit::rules::{Due, KeyPart, Mode};

use super::super::reader::Reader;
use super::super::report::{Place, Severity};

/// What identity vouches for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verified {
    /// API keys are looked up, so that an invented one is none.
    pub(crate) api_keys: bool,
    /// No user is named by something a client invents.
    pub(crate) callers: bool,
    /// Somebody looks for API keys.
    pub(crate) has_keys: bool,
    /// Somebody names users.
    pub(crate) has_users: bool,
}

impl Verified {
    /// What follows from where callers are named.
    pub(crate) fn by(identity: &Identity) -> Verified {
        let verified = identity.api_key().is_none_or(|source| source.keys_file.is_some());
        Verified {
            api_keys: verified,
            callers: verified,
            has_keys: identity.api_key().is_some(),
            has_users: !identity.sources.is_empty(),
        }
    }
}

/// Warns where a route limits by invented keys, and no address; `dues` are as written, and so are `places`.
pub(super) fn warn(reader: &mut Reader<'_>, dues: &[Due], places: &[Place], verified: Verified) {
    warn_of_nobody(reader, dues, places, verified);
    let enforced = |due: &&Due| due.limit.mode == Mode::Enforce;
    if dues.iter().filter(enforced).any(|due| due.limit.is_by_address()) {
        return;
    }
    let invented = |part: &KeyPart| match part {
        KeyPart::Header(_) => true,
        KeyPart::ApiKey => !verified.api_keys,
        KeyPart::Caller | KeyPart::User => !verified.callers,
        KeyPart::Ip | KeyPart::Global => false,
    };
    for (due, place) in dues.iter().zip(places) {
        if due.limit.mode == Mode::Off || !due.limit.key.iter().any(invented) {
            continue;
        }
        let message = format!("limit `{}` counts by a key that anybody can invent", due.limit.name);
        let help =
            "each new key has a bucket of its own; add an enforced limit with `key = \"ip\"` to this route";
        reader.find(Severity::Warning, place.clone(), message, help.to_owned(), None);
    }
}

/// Warns of limits that count nobody, because nobody is named.
fn warn_of_nobody(reader: &mut Reader<'_>, dues: &[Due], places: &[Place], verified: Verified) {
    let is_missing = |part: &KeyPart| match part {
        KeyPart::User => !verified.has_users,
        KeyPart::ApiKey => !verified.has_keys,
        _ => false,
    };
    for (due, place) in dues.iter().zip(places) {
        if due.limit.mode == Mode::Off || !due.limit.key.iter().all(is_missing) {
            continue;
        }
        let message = format!("limit `{}` counts nobody: `[identity]` looks for none", due.limit.name);
        let help =
            "say where users are named, `[identity.api_key]` or `[identity.header]`, or count by `caller`";
        reader.find(Severity::Warning, place.clone(), message, help.to_owned(), None);
    }
}
