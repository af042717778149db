//! The app: does it answer, and does the Gunicorn it runs in fit the configuration?

use std::net::IpAddr;
use std::time::Duration;

use super::ask::{self, Answer, Place, Trouble};
use super::{Findings, Subject};
use crate::config::model::shield::InFlightCap;
use crate::config::model::{Model, UpstreamAddress};
use crate::config::units::duration_text;
use crate::gunicorn::{Concurrency, Listener, Master};
use crate::tls::client::ClientTls;

/// Beside the target a request line has a method, spaces and the protocol.
const AROUND_TARGET: u64 = 32;

/// Asks the app for its health, or for the head of its first page.
pub(super) fn ask(model: &Model) -> Result<Answer, Trouble> {
    let place = match &model.upstream.address {
        UpstreamAddress::Tcp { host, port, tls: false } => Place::Tcp { host: host.clone(), port: *port },
        UpstreamAddress::Tcp { host, port, tls: true } => {
            let tls = ClientTls::load(&model.upstream.tls, host).map_err(Trouble::Tls)?;
            Place::Tls { host: host.clone(), port: *port, tls }
        }
        UpstreamAddress::Unix(path) => Place::Unix(path.clone()),
    };
    match &model.upstream.health.path {
        Some(path) => ask::ask(&place, "GET", path),
        None => ask::ask(&place, "HEAD", "/"),
    }
}

/// Whether a Gunicorn has this address.
pub(super) fn listens_at(master: &Master, address: &UpstreamAddress) -> bool {
    let is_it = |listener: &Listener| match (listener, address) {
        (Listener::Unix(path), UpstreamAddress::Unix(wanted)) => wanted.as_os_str() == path.as_str(),
        (Listener::Tcp(found), UpstreamAddress::Tcp { host, port, .. }) => {
            let is_local = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
            let same_host = match host.parse::<IpAddr>() {
                Ok(ip) => ip == found.ip() || found.ip().is_unspecified(),
                Err(_) => host == "localhost" && is_local(found.ip()),
            };
            same_host && found.port() == *port
        }
        _ => false,
    };
    master.listeners.iter().any(is_it)
}

fn place_of(address: &UpstreamAddress) -> String {
    address.to_string()
}

/// Whether the app answers.
pub(super) fn answers(subject: &Subject<'_>, findings: &mut Findings) {
    let place = place_of(&subject.model.upstream.address);
    let is_tls = matches!(subject.model.upstream.address, UpstreamAddress::Tcp { tls: true, .. });
    match &subject.answer {
        Ok(answer) => {
            let server = answer.server.as_deref().unwrap_or("nothing");
            let found = format!("{place} answers {}, and calls itself {server}", answer.status);
            match answer.status {
                500.. => findings.warning(found, "look at the log of the app"),
                _ if server.starts_with("tollgate") => {
                    findings.problem(found, "`address` of `[upstream]` must be Gunicorn's, not tollgate's");
                }
                _ => findings.ok(found),
            }
        }
        Err(trouble) => {
            let help = match trouble {
                Trouble::NotThere(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    "let this user connect: `SupplementaryGroups=` of tollgate.service, and Gunicorn's `umask`"
                }
                Trouble::NoAddress(_) | Trouble::NotThere(_) => {
                    "start Gunicorn, or correct `address` of `[upstream]`: it is Gunicorn's `--bind`"
                }
                Trouble::Tls(_) => {
                    "name files that can be used, or leave `ca` out for the host's authorities"
                }
                Trouble::Silent(_) if is_tls => {
                    "look at the certificate of the app: `[upstream.tls]` needs its `ca`, and its name"
                }
                Trouble::Silent(_) => "look whether Gunicorn's workers run, and whether all of them are busy",
                Trouble::SomethingElse => {
                    "correct `address` of `[upstream]`; Gunicorn must not have a `certfile` there"
                }
            };
            findings.problem(format!("{place}: {trouble}"), help);
        }
    }
}

/// How many requests Gunicorn takes, and how many it gets.
pub(super) fn capacity(subject: &Subject<'_>, findings: &mut Findings) {
    let Some(master) = &subject.gunicorn else {
        return findings.not_seen("no Gunicorn that can be seen from here listens at this address");
    };
    let settings = &master.settings;
    let class = settings.worker_class.value.as_deref().unwrap_or("unknown");
    if master.workers == 0 {
        let found = format!("process {} has no worker, so nobody answers", master.pid);
        return findings.problem(found, "look at Gunicorn's log: workers that cannot start end at once");
    }
    let cap = subject.model.upstream.max_in_flight;
    if settings.concurrency() == Some(Concurrency::Async) {
        let found = format!(
            "process {}: {} workers of the class {class} take any number of requests",
            master.pid, master.workers
        );
        return findings.ok(found);
    }
    let Some(capacity) = settings.capacity() else {
        let why = master.unread.join("; ");
        let found = format!("process {}: how many requests it takes at once is not known; {why}", master.pid);
        return findings.not_seen(found.trim_end_matches([' ', ';']));
    };
    let takes =
        format!("process {}: workers of the class {class} take {capacity} requests at once", master.pid);
    let set = format!("set `max_in_flight = {capacity}` in `[upstream]`");
    match cap {
        Some(InFlightCap::Auto { .. }) => findings.ok(format!("{takes}, `max_in_flight` finds its own number")),
        Some(InFlightCap::Fixed(cap)) if u64::from(cap) == capacity => findings.ok(format!("{takes}, as `max_in_flight` says")),
        Some(InFlightCap::Fixed(cap)) if u64::from(cap) > capacity => findings.warning(
            format!("{takes}, `max_in_flight` is {cap}: what is more waits in Gunicorn, where nobody puts it in order"),
            set,
        ),
        Some(InFlightCap::Fixed(cap)) => {
            findings.warning(format!("{takes}, `max_in_flight` is {cap}: the rest of it is never used"), set);
        }
        None => findings.warning(
            format!("{takes}, and there is no `max_in_flight`: what is more waits in Gunicorn, where nobody puts it in order"),
            set,
        ),
    }
}

/// Which side gives an idle connection up first.
pub(super) fn idle(subject: &Subject<'_>, findings: &mut Findings) {
    let ours = subject.model.upstream.idle_timeout;
    let shown = duration_text(ours);
    let Some(settings) = subject.gunicorn.as_ref().map(|master| &master.settings) else {
        return findings.not_seen(format!(
            "`idle_timeout` is {shown}, how long Gunicorn keeps connections is not known"
        ));
    };
    if settings.concurrency() == Some(Concurrency::Sync) {
        return findings.ok("sync workers close every connection, so nothing stays idle");
    }
    match settings.keepalive.value {
        None => findings.not_seen(format!("`idle_timeout` is {shown}, Gunicorn's `keepalive` is not known")),
        Some(0) => findings.ok("Gunicorn keeps no connection, so nothing stays idle"),
        Some(theirs) if ours < Duration::from_secs(theirs) => {
            findings.ok(format!("`idle_timeout` is {shown}, below the {theirs} s that Gunicorn keeps connections"));
        }
        Some(theirs) => findings.problem(
            format!("`idle_timeout` is {shown}, Gunicorn keeps connections for {theirs} s: requests meet closing ones"),
            "raise Gunicorn's `keepalive` above it, or lower `idle_timeout` of `[upstream]` below",
        ),
    }
}

/// Whether Gunicorn takes the heads that tollgate lets through.
pub(super) fn heads(subject: &Subject<'_>, findings: &mut Findings) {
    let Some(settings) = subject.gunicorn.as_ref().map(|master| &master.settings) else {
        return findings.not_seen("what heads Gunicorn takes is not known");
    };
    let listen = &subject.model.listen;
    let all = [
        ("max_uri", listen.max_uri as u64 + AROUND_TARGET, "limit_request_line", settings.request_line.value),
        ("max_headers", listen.max_headers as u64, "limit_request_fields", settings.request_fields.value),
        (
            "max_header_line",
            listen.max_header_line as u64,
            "limit_request_field_size",
            settings.field_size.value,
        ),
    ];
    let mut is_well = true;
    for (ours, most, theirs, allowed) in all {
        // Zero is without a bound.
        if let Some(allowed) = allowed.filter(|allowed| *allowed > 0 && *allowed < most) {
            is_well = false;
            findings.warning(
                format!("`{ours}` lets through what needs {most} of Gunicorn's `{theirs}`, which is {allowed}: Gunicorn answers 400 itself"),
                format!("lower `{ours}` of `[listen]`, or raise `--{}`", theirs.replace("limit_request_field_size", "limit-request-field_size").replace("limit_request_", "limit-request-")),
            );
        }
    }
    if is_well {
        findings.ok("Gunicorn takes every head that tollgate lets through");
    }
}
