//! The tollgate that runs here, by its admin listener.

use std::net::IpAddr;

use super::ask::{self, Place, Trouble};
use super::{Findings, Subject};
use crate::config::model::ListenAddress;

/// Whether it answers, and whether it is ready.
pub(super) fn running(subject: &Subject<'_>, findings: &mut Findings) {
    let Some(address) = subject.model.admin.as_ref().and_then(|admin| admin.addresses.first()) else {
        return findings.not_seen("there is no `[admin]`, so a running tollgate cannot be asked");
    };
    let place = match address {
        ListenAddress::Passed(_) => {
            return findings.not_seen("only systemd knows where the admin listener is");
        }
        ListenAddress::Unix(path) => Place::Unix(path.clone()),
        ListenAddress::Tcp(address) if address.port() == 0 => {
            return findings.not_seen("the admin listener has another port each time");
        }
        ListenAddress::Tcp(address) => {
            let ip = match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
                IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
                ip => ip,
            };
            Place::Tcp { host: ip.to_string(), port: address.port() }
        }
    };
    match ask::ask(&place, "GET", "/readyz") {
        Ok(answer) => {
            let said = answer.body.lines().next().unwrap_or_default().chars().take(200).collect::<String>();
            match answer.status {
                200 => findings.ok(format!("the tollgate with the admin listener {address} is ready")),
                503 => findings.problem(
                    format!("the tollgate with the admin listener {address} is not ready: {said}"),
                    "what is named there is what it waits for",
                ),
                status => findings.problem(
                    format!("what answers at {address} is no tollgate: {status}"),
                    "give `[admin]` another address",
                ),
            }
        }
        Err(Trouble::NotThere(error)) => {
            findings.not_seen(format!("no tollgate runs with the admin listener {address}: {error}"));
        }
        Err(trouble) => findings.problem(
            format!("the admin listener {address}: {trouble}"),
            "restart tollgate, or look what else listens there",
        ),
    }
}
