//! What comes before HTTP on a connection, counted by how it ended: TLS handshakes, and headers of the PROXY protocol.

use super::series::Counter;
use super::totals::ArrivalTotals;

/// Why a handshake failed, in the order of [`HANDSHAKE_FAILURES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// It was not done in time.
    TimedOut,
    /// The client left.
    Left,
    /// It was no TLS.
    NoTls,
    /// It was HTTP without TLS.
    PlainHttp,
    /// The client offered no version, suite, group or signature that is spoken here.
    NothingInCommon,
    /// The client showed no certificate that is known here.
    ClientCertificate,
    /// The client did not want to go on: it does not know our authority, for one.
    RefusedByClient,
    /// It broke the protocol.
    Malformed,
}

/// As labels have them.
pub const HANDSHAKE_FAILURES: [&str; 8] = [
    "timeout",
    "client_left",
    "not_tls",
    "plain_http",
    "nothing_in_common",
    "client_certificate",
    "refused_by_client",
    "malformed",
];

/// Why a connection was refused that should have begun with a header of the PROXY protocol, in the order of
/// [`PROXY_FAILURES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyFailure {
    /// The peer is no trusted proxy.
    Untrusted,
    /// There was no header, or one that means nothing.
    Malformed,
    /// It was not there in time.
    TimedOut,
    /// The peer left before the end of it.
    Left,
}

/// As labels have them.
pub const PROXY_FAILURES: [&str; 4] = ["untrusted", "malformed", "timeout", "peer_left"];

impl HandshakeFailure {
    /// As labels have it.
    pub fn as_str(self) -> &'static str {
        HANDSHAKE_FAILURES[self as usize]
    }
}

impl ProxyFailure {
    /// As labels have it.
    pub fn as_str(self) -> &'static str {
        PROXY_FAILURES[self as usize]
    }
}

/// What a worker counts.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Handshakes with a whole exchange of keys and certificates.
    pub full: Counter,
    /// Handshakes that took a session up again.
    pub resumed: Counter,
    failed: [Counter; HANDSHAKE_FAILURES.len()],
    unheaded: [Counter; PROXY_FAILURES.len()],
}

impl Arrivals {
    /// Counts a handshake that failed.
    pub fn handshake_failed(&self, failure: HandshakeFailure) {
        self.failed[failure as usize].add(1);
    }

    /// Counts a connection without a usable header.
    pub fn proxy_failed(&self, failure: ProxyFailure) {
        self.unheaded[failure as usize].add(1);
    }

    pub(super) fn add_to(&self, totals: &mut ArrivalTotals) {
        totals.full += self.full.get();
        totals.resumed += self.resumed.get();
        let sums = totals.failed.iter_mut().chain(&mut totals.unheaded);
        let counters = self.failed.iter().chain(&self.unheaded);
        sums.zip(counters).for_each(|(sum, counter)| *sum += counter.get());
    }
}
