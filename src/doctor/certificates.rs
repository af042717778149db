//! Certificates that clients are shown: can they be used, and for how long?

use super::{Findings, Subject};
use crate::clock::Clock;
use crate::tls::server::ServerTls;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Whether what `[listen.tls]` names can be served.
pub(super) fn certificates(subject: &Subject<'_>, findings: &mut Findings) {
    let Some(settings) = &subject.model.listen.tls else {
        return findings.not_seen("there is no `[listen.tls]`: TLS ends in front of tollgate, or nowhere");
    };
    let clock = Clock::start();
    let now = clock.unix_nanos(clock.now()) / 1_000_000_000;
    match ServerTls::load(settings, None, now) {
        Err(error) => {
            findings.problem(error.to_string(), "put files there that can be used, then reload");
        }
        Ok(tls) => {
            for expiry in &tls.expiries {
                match expiry.warning(now) {
                    Some(warning) => findings.warning(format!("{}: {warning}", expiry.certificate), ""),
                    None => {
                        let days = expiry.not_after_unix.saturating_sub(now) / DAY_SECONDS;
                        findings.ok(format!("{} is good for {days} days", expiry.certificate));
                    }
                }
            }
        }
    }
}
