//! Whether the files that a configuration names can be used: what `run` would find out before it serves.
//!
//! Invariant: files are read, and nothing else is touched.

use super::{StartError, keys_file, limits, tls};
use crate::clock::Clock;
use crate::config::model::{Model, UpstreamAddress};
use crate::tls::client::ClientTls;

/// What is wrong with certificates, private keys, authorities and the keys file; a line each.
pub fn problems(model: &Model) -> Vec<String> {
    let unix_seconds = limits::now(&Clock::start()).unix_nanos / 1_000_000_000;
    let mut problems = Vec::new();
    problems.extend(tls::load(model, None, unix_seconds).err());
    let keys = keys_file::of(&model.identity, unix_seconds);
    problems.extend(keys.err().map(|(path, error)| StartError::Keys(path, error)));
    let apps = std::iter::once(&model.upstream.address)
        .chain(model.upstream.canary.as_ref().map(|canary| &canary.address));
    for app in apps {
        if let UpstreamAddress::Tcp { host, tls: true, .. } = app {
            problems.extend(ClientTls::load(&model.upstream.tls, host).err().map(StartError::UpstreamTls));
        }
    }
    problems.iter().map(ToString::to_string).collect()
}
