//! What memory a configuration takes at worst, part by part.
//!
//! Invariant: each part is a bound that the code keeps, whatever clients and the app do; what is not counted here (the
//! program itself, what the allocator keeps back, lookups of names) does not grow with traffic.

use crate::message::handling::Spill;

use super::shield::InFlightCap;
use super::{AccessSink, Model, UpstreamAddress};

/// Whether any route has bodies that go to files.
fn spills(model: &Model) -> bool {
    let of_route = |spill: Spill| spill != Spill::default();
    model.upstream.buffers.spill.is_some()
        && model.routes.routes().iter().any(|route| of_route(route.handling.spill))
}

/// What hyper may buffer of one connection and direction, in bytes.
pub const CONNECTION_BUFFER: usize = 128 << 10;
/// What is kept of an answer on a stream of HTTP/2 before the client's window takes it.
pub const SEND_BUFFER: usize = 64 << 10;
/// What is kept of bytes that a client sends ahead of its turn.
pub const READ_AHEAD: usize = 16 << 10;
/// The largest head of an answer.
pub const ANSWER_HEAD: usize = 64 << 10;
/// What is read of an answer at once.
pub const ANSWER_READ: usize = 32 << 10;
/// What is in memory of a body on its way into a file and out of it, one piece each.
pub const SPILL_PIECES: usize = 2 * (64 << 10);
/// A request that waits for the app, without its body.
pub const WAITING: usize = 36 << 10;
/// What a TLS connection may hold besides: a handshake's messages, or records on their way both ways.
pub const TLS: usize = 128 << 10;
/// Buffers of lines before a sink, and bytes of each.
pub const SINK_BUFFERS: (usize, usize) = (8, 256 << 10);

/// Bytes of one slot in the table of limits, of which at most three quarters are taken.
const SLOT: u64 = 24;

/// One part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Bytes at most.
    pub bytes: u64,
    /// What they are, and which key to lower.
    pub what: String,
}

/// The parts, each with the key that lowers it.
pub fn worst_case(model: &Model) -> Vec<Part> {
    let (listen, upstream) = (&model.listen, &model.upstream);
    let head = bytes(listen.max_header_bytes);
    let over_http1 = head + 2 * bytes(hyper_buffer(listen.max_header_bytes)) + bytes(READ_AHEAD);
    let stream = head + u64::from(listen.http2.window) + bytes(SEND_BUFFER + ANSWER_READ);
    let connection = over_http1.max(stream);
    let connections = bytes(listen.max_connections);
    let in_app = match upstream.max_in_flight {
        Some(InFlightCap::Fixed(most)) => u64::from(most),
        Some(InFlightCap::Auto { ceiling, .. }) => u64::from(ceiling),
        None => connections,
    };
    let of_canary = upstream.canary.as_ref().map_or(0, |canary| match canary.max_in_flight {
        Some(InFlightCap::Fixed(most)) => u64::from(most),
        Some(InFlightCap::Auto { ceiling, .. }) => u64::from(ceiling),
        None => connections,
    });
    let in_app = (in_app + of_canary).min(connections);
    let waiting = bytes(upstream.queue.size).min(connections);
    let spill_pieces = if spills(model) { bytes(SPILL_PIECES) } else { 0 };
    let sinks = u64::from(model.log.access != AccessSink::Off) + u64::from(model.emf.is_some());
    let part = |bytes, what: &str| Part { bytes, what: what.to_owned() };
    let mut parts = vec![
        part(
            connections * connection,
            "connections: `max_connections` × (`max_header_bytes`, two buffers of hyper, 16KiB read ahead; a stream of \
             HTTP/2 counts as one, with `http2.window` and 96KiB of an answer)",
        ),
        part(
            in_app * (head + bytes(ANSWER_HEAD + ANSWER_READ)),
            "requests in the app: `max_in_flight`, else `max_connections` × (`max_header_bytes`, 96KiB of an answer)",
        ),
        part(waiting * bytes(WAITING), "requests that wait for the app: `queue.size` × 36KiB"),
        part(bytes(upstream.buffers.total), "bodies that are kept for slow clients: `buffer_total`"),
        part(
            connections * (bytes(ANSWER_READ) + spill_pieces),
            "pieces of these bodies on their way: `max_connections` × 32KiB, 128KiB more where something is spilled",
        ),
        part(bytes(model.store.max_keys) * SLOT * 4 / 3, "what limits remember: `max_keys` × 32B"),
        part(
            sinks * bytes(SINK_BUFFERS.0 * SINK_BUFFERS.1),
            "lines of records and EMF that wait for their sinks: 2MiB each",
        ),
    ];
    if listen.tls.is_some() {
        parts.push(part(
            connections * bytes(TLS),
            "TLS with clients: `max_connections` × 128KiB of records on their way",
        ));
    }
    let apps =
        std::iter::once(&upstream.address).chain(upstream.canary.as_ref().map(|canary| &canary.address));
    let is_tls = |app: &UpstreamAddress| matches!(app, UpstreamAddress::Tcp { tls: true, .. });
    if apps.into_iter().any(is_tls) {
        parts.push(part(
            in_app * bytes(TLS),
            "TLS with the app: `max_in_flight`, else `max_connections` × 128KiB of records on their way",
        ));
    }
    parts
}

/// What hyper may buffer of a connection in one direction: always room for a head.
pub fn hyper_buffer(max_header_bytes: usize) -> usize {
    CONNECTION_BUFFER.max(max_header_bytes + 1024)
}

fn bytes(number: usize) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, load};

    fn parts(text: &str) -> Vec<u64> {
        let text = format!("upstream.address = \"app:8000\"\n{text}");
        let loaded = load(&text, "file", &|_| None, &Overrides::default()).unwrap();
        worst_case(&loaded.model).into_iter().map(|part| part.bytes).collect()
    }

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    #[test]
    fn each_part_is_what_its_keys_say() {
        let defaults = parts("");
        let of_connections = 20_000 * (64 + 2 * 128 + 16) * KIB;
        let expected = [
            of_connections,
            20_000 * (64 + 96) * KIB,
            256 * 36 * KIB,
            256 * MIB,
            20_000 * 32 * KIB,
            32_000_000,
            2 * MIB,
        ];
        assert_eq!(defaults, expected);
        let small = parts("[listen]\nmax_connections = 100\nmax_header_bytes = \"1MiB\"\n");
        assert_eq!(small[0], 100 * ((1024 + 2 * 1025 + 16) * KIB));
        assert_eq!(small[2], 100 * 36 * KIB, "nobody waits without a connection");
    }

    #[test]
    fn a_cap_bounds_what_is_in_the_app_and_a_canary_adds_to_it() {
        let one = 160 * KIB;
        assert_eq!(parts("upstream.max_in_flight = 8\n")[1], 8 * one);
        let auto = "upstream.max_in_flight = \"auto\"\nupstream.auto_limit.ceiling = 30\n";
        assert_eq!(parts(auto)[1], 30 * one);
        let canary = "upstream.canary.address = \"app:8001\"\n";
        assert_eq!(parts(&format!("{auto}{canary}"))[1], 60 * one);
        assert_eq!(parts(&format!("{auto}{canary}upstream.canary.max_in_flight = 2\n"))[1], 32 * one);
        let uncapped = format!("{auto}{canary}upstream.canary.max_in_flight = 0\n");
        assert_eq!(parts(&uncapped)[1], 20_000 * one);
    }

    #[test]
    fn files_take_memory_where_something_goes_there() {
        let without = "upstream.spill_dir = \"/var/tmp\"\n";
        assert_eq!(parts(without)[4], 20_000 * 32 * KIB);
        assert_eq!(parts(&format!("{without}upstream.spill = \"requests\"\n"))[4], 20_000 * 160 * KIB);
    }

    #[test]
    fn tls_takes_more_where_it_is_spoken() {
        let listen =
            "[listen.tls]\naddress = \"127.0.0.1:8443\"\ncertificate = \"/a/b\"\nprivate_key = \"/a/c\"\n";
        assert_eq!(parts(listen)[7..], [20_000 * 128 * KIB]);
        let text = "[upstream]\naddress = \"https://app:8443\"\nmax_in_flight = 8\n";
        let loaded = load(text, "file", &|_| None, &Overrides::default()).unwrap();
        assert_eq!(worst_case(&loaded.model)[7].bytes, 8 * 128 * KIB);
    }

    #[test]
    fn sinks_that_are_off_take_nothing() {
        assert_eq!(parts("log.access = \"off\"\n")[6], 0);
        assert_eq!(parts("log.access = \"stderr\"\n[emf]\n")[6], 4 * MIB);
    }

    #[test]
    fn nothing_overflows_at_the_largest_numbers() {
        let text = "[listen]\nmax_connections = 1000000\nmax_header_bytes = \"1MiB\"\n\
                    [upstream]\naddress = \"app:80\"\nmax_in_flight = 1000000\nqueue.size = 1000000\n\
                    buffer_total = \"1024TiB\"\n[store]\nmax_keys = 100000000\n";
        let loaded = load(text, "file", &|_| None, &Overrides::default()).unwrap();
        let total: u64 = worst_case(&loaded.model).iter().map(|part| part.bytes).sum();
        assert!(total > 1 << 50 && total < 1 << 53);
    }
}
