//! What tollgate promises, one file a feature.

mod accept;
mod admin;
mod admin_tools;
mod alerts;
mod alerts_end_to_end;
mod answers;
mod behind_nginx;
mod bodies;
mod buffering;
mod cloudwatch;
mod doctor;
mod drain;
mod emf;
mod expect;
mod forwarded;
mod framing;
mod gunicorn;
mod health;
mod hop_by_hop;
mod hostile;
mod http2;
mod http2_hostile;
mod in_process;
mod init;
mod keepalive;
mod leaving;
mod limits;
mod local_replies;
mod mouths;
mod operating;
mod page;
mod pool;
mod proxy_protocol;
mod queue;
mod rate_limits;
mod record;
mod reload;
mod request_id;
mod restart;
mod rotation;
mod routes;
mod snapshot;
mod startup;
mod streaming;
mod systemd;
mod timeouts;
mod tls;
mod tls_upstream;
mod truncation;
mod tunnel;

use crate::harness::{Origin, Peer};

/// Answers every request with its own target as the body.
fn echo_target(mut peer: Peer) {
    while let Some(request) = peer.request() {
        peer.send(ok(&request.target));
    }
}

/// An upstream of [`echo_target`].
fn echoing() -> Origin {
    Origin::start(echo_target)
}

/// A plain answer with this body.
fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
