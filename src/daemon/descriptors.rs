//! How many descriptors the process may have open: as many as it is allowed to ask for, and whether they suffice.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::model::Model;
use crate::config::model::shield::InFlightCap;

/// Listeners, runtimes, outlets, operators, probes.
const SLACK: u64 = 256;

/// Raises the limit to the highest that is allowed.
pub(super) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit on open files cannot be raised");
    }
}

/// Warns of a configuration that needs more than there may be.
pub(super) fn advise(model: &Model) {
    let (limit, needed) = (getrlimit(Resource::Nofile).current, needed(model));
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        tracing::warn!(
            limit,
            needed,
            max_connections = model.listen.max_connections,
            "the limit on open files is too low for `max_connections`; raise it, `LimitNOFILE=` of the unit or \
             `ulimit -Hn`, or lower `max_connections`"
        );
    }
}

/// For each connection its own, and one where bodies may be in files; for each request in the app one to it.
pub fn needed(model: &Model) -> u64 {
    let connections = model.listen.max_connections as u64;
    let each = if model.upstream.buffers.spill.is_some() { 2 } else { 1 };
    let in_app = match model.upstream.max_in_flight {
        Some(InFlightCap::Fixed(most) | InFlightCap::Auto { ceiling: most, .. }) => {
            u64::from(most).min(connections)
        }
        None => connections,
    };
    connections * each + in_app + SLACK
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, load};

    #[test]
    fn a_connection_needs_two_and_with_a_spilled_body_three() {
        let needed = |upstream: &str| {
            let text =
                format!("[listen]\nmax_connections = 1000\n[upstream]\naddress = \"app:80\"\n{upstream}");
            needed(&load(&text, "file", &|_| None, &Overrides::default()).unwrap().model)
        };
        assert_eq!(needed(""), 2000 + SLACK);
        assert_eq!(needed("max_in_flight = 8\n"), 1008 + SLACK);
        assert_eq!(needed("spill_dir = \"/var/tmp\"\nspill = [\"responses\"]\n"), 3000 + SLACK);
    }
}
