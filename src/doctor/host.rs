//! What this host and what is in front of tollgate allow.

use std::time::{Duration, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};

use super::program;
use super::{Findings, Subject};
use crate::clock::Clock;
use crate::config::model::UpstreamAddress;
use crate::config::units::duration_text;
use crate::daemon::descriptors::needed;

/// How long an ALB and nginx keep idle connections unless told otherwise.
const FRONT_KEEPS: Duration = Duration::from_secs(60);
/// What a clock may be off.
const MAX_SKEW_SECONDS: u64 = 2;

/// Whether tollgate keeps idle connections longer than who is in front of it.
pub(super) fn keep_alive(subject: &Subject<'_>, findings: &mut Findings) {
    let ours = subject.model.listen.keepalive_timeout;
    let found = format!("`keepalive_timeout` is {}", duration_text(ours));
    if ours > FRONT_KEEPS {
        return findings.ok(format!("{found}, more than the 60 s of an ALB or nginx"));
    }
    findings.warning(
        format!("{found}, no more than the 60 s that an ALB or nginx keeps connections: it reuses one that is closing, and answers 502"),
        "raise `keepalive_timeout` of `[listen]` to `\"75s\"`, or lower the idle timeout in front below it",
    );
}

/// Whether there are descriptors for as many connections as may be.
pub(super) fn descriptors(subject: &Subject<'_>, findings: &mut Findings) {
    let listen = subject.model.listen.max_connections as u64;
    let needed = needed(subject.model);
    let (limit, whose) = match subject.service.descriptors {
        Some(limit) => (Some(limit), format!("LimitNOFILE of {}", subject.options.unit)),
        None => (getrlimit(Resource::Nofile).maximum, "the hard limit here".to_owned()),
    };
    let Some(limit) = limit.filter(|limit| *limit < needed) else {
        return findings
            .ok(format!("{whose} is enough for the {needed} descriptors that `max_connections` may need"));
    };
    let found = format!("{whose} is {limit}, `max_connections` may need {needed} descriptors");
    let help =
        format!("set `LimitNOFILE={needed}` in tollgate.service, or lower `max_connections` of `[listen]`");
    match limit < listen {
        true => findings.problem(found, help),
        false => findings.warning(found, help),
    }
}

/// Whether the clock is right: quotas, expiry of keys and signatures hang on it.
pub(super) fn clock(subject: &Subject<'_>, findings: &mut Findings) {
    let help = "let chrony or systemd-timesyncd set the clock: quotas, records and CloudWatch go by it";
    match program::run("timedatectl", &["show", "--property=NTPSynchronized", "--value"])
        .as_deref()
        .map(str::trim)
    {
        Some("yes") => return findings.ok("this host's clock is set by NTP, timedatectl says"),
        Some("no") => return findings.warning("this host's clock is not set by NTP, timedatectl says", help),
        _ => {}
    }
    let is_here = match &subject.model.upstream.address {
        UpstreamAddress::Unix(_) => true,
        UpstreamAddress::Tcp { host, .. } => {
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
    };
    let theirs = subject.answer.as_ref().ok().and_then(|answer| answer.date.as_deref()).and_then(seconds);
    let Some(theirs) = theirs.filter(|_| !is_here) else {
        return findings
            .not_seen("timedatectl does not say whether the clock is set, and the app has the same one");
    };
    let clock = Clock::start();
    let ours = clock.unix_nanos(clock.now()) / 1_000_000_000;
    match ours.abs_diff(theirs) {
        apart if apart <= MAX_SKEW_SECONDS => findings.ok("this host and the app's agree about the time"),
        apart => findings.warning(format!("this host and the app's are {apart} s apart"), help),
    }
}

fn seconds(date: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(date).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}
