//! Which version of the app a request goes to, and its place there: at once, after a wait in the fair queue, or not at all.

use std::future::poll_fn;
use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use siphasher::sip::SipHasher13;

use crate::alarms::Alarm;
use crate::message::handling::Priority;
use crate::message::hop_by_hop::CANARY_CHOICE;
use crate::message::local_reply::LocalReply;
use crate::upstream::app::AppName;
use crate::upstream::condition::State;
use crate::upstream::fault::UpstreamFault;
use crate::upstream::gate::{Admission, Gate, Refusal, Slot, Waiting};
use crate::upstream::pool::Pool;

use super::ask::within_total;
use super::caller::User;
use super::connection::Connection;
use super::exchange::Exchange;

/// Callers are told apart by so many bits of an IPv6 address: whoever has one of these networks has all of it.
const IPV6_PREFIX: u32 = 64;
/// All processes choose alike, so this is no secret.
const CANARY_SEED: (u64, u64) = (0x746f_6c6c_6761_7465, 0x6361_6e61_7279);
const OF: u64 = 10_000;

/// Chooses the version of the app: the same for a caller each time, unless a trusted proxy says which. A canary that is not
/// well has nobody.
pub(super) fn choose(exchange: &Exchange) -> Rc<Pool> {
    let pools = &exchange.snapshot.pools;
    let Some((canary, weight)) = &pools.canary else { return Rc::clone(&pools.main) };
    let said = exchange.request.headers.get(CANARY_CHOICE).filter(|_| exchange.caller.peer_is_trusted);
    let is_canary = match said.map(|said| said.as_bytes()) {
        Some(b"always") => true,
        Some(b"never") => false,
        _ => hash_of_caller(exchange).is_some_and(|hash| hash % OF < u64::from(*weight)),
    };
    let is_well = matches!(canary.app.state(), State::Up | State::Unknown);
    Rc::clone(if is_canary && is_well { canary } else { &pools.main })
}

/// The same at every start and on every host.
fn hash_of_caller(exchange: &Exchange) -> Option<u64> {
    let mut hasher = SipHasher13::new_with_keys(CANARY_SEED.0, CANARY_SEED.1);
    match (&exchange.caller.user, exchange.client) {
        (Some(user), _) => hasher.write(user.as_bytes()),
        (None, Some(IpAddr::V4(address))) => hasher.write(&address.octets()),
        (None, Some(IpAddr::V6(address))) => hasher.write(&network_of(address).octets()),
        (None, None) => return None,
    }
    Some(hasher.finish())
}

fn network_of(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - IPV6_PREFIX)))
}

/// How long an exchange may wait for the app, over all its waits. Most do not wait, and have no alarm.
#[derive(Debug, Default)]
pub(super) struct Patience(Option<Alarm>);

/// A place in the app; in the main one where the canary turns out to be down.
pub(super) async fn take(
    pool: &mut Rc<Pool>,
    patience: &mut Patience,
    conn: &Connection,
    exchange: &mut Exchange,
) -> Result<Slot, LocalReply> {
    loop {
        let taken = take_at(&pool.app.gate, patience, conn, exchange).await;
        if !matches!(taken, Err(LocalReply::UpstreamDown(_))) || pool.app.name == AppName::Main {
            return taken;
        }
        *pool = Rc::clone(&exchange.snapshot.pools.main);
    }
}

async fn take_at(
    gate: &Arc<Gate>,
    patience: &mut Patience,
    conn: &Connection,
    exchange: &mut Exchange,
) -> Result<Slot, LocalReply> {
    match gate.enter(|| line_of(exchange), priority_of(exchange)) {
        Admission::In(slot) => Ok(slot),
        Admission::Refused(refusal) => Err(reply_to(refusal, gate)),
        Admission::Waiting(waiting) => wait(waiting, gate, patience, conn, exchange).await,
    }
}

async fn wait(
    mut waiting: Waiting,
    gate: &Gate,
    Patience(patience): &mut Patience,
    conn: &Connection,
    exchange: &mut Exchange,
) -> Result<Slot, LocalReply> {
    let begun = conn.worker.clock.now();
    let timeout = exchange.snapshot.model.upstream.queue.timeout;
    let patience = &*patience.get_or_insert_with(|| {
        let alarm = Alarm::new(&conn.worker.alarms);
        alarm.set(begun + timeout);
        alarm
    });
    let admitted = poll_fn(|cx| {
        within_total(exchange, cx, |cx| match Pin::new(&mut waiting).poll(cx) {
            Poll::Ready(admitted) => Poll::Ready(Ok(Some(admitted))),
            Poll::Pending => patience.poll(cx).map(|()| Ok(None)),
        })
    })
    .await;
    let waited = conn.worker.clock.now().nanos_since(begun);
    exchange.queue_nanos = Some(exchange.queue_nanos.unwrap_or(0) + waited);
    match admitted {
        Ok(Some(Ok(slot))) => {
            gate.waited(waited);
            Ok(slot)
        }
        Ok(Some(Err(refusal))) => Err(reply_to(refusal, gate)),
        Ok(None) => {
            gate.timed_out(waited);
            exchange.because("waited for `queue.timeout`".to_owned());
            // Nobody is let in while it is not known whether the app comes back.
            Err(match gate.cap() {
                Some(0) => LocalReply::UpstreamDown(gate.retry_after()),
                _ => LocalReply::Overloaded(gate.retry_after()),
            })
        }
        Err(fault) => {
            exchange.because(fault.to_string());
            Err(fault.reply().unwrap_or(LocalReply::UpstreamTimeout))
        }
    }
}

fn reply_to(refusal: Refusal, gate: &Gate) -> LocalReply {
    match refusal {
        Refusal::Full | Refusal::Shed => LocalReply::Overloaded(gate.retry_after()),
        Refusal::Down(retry_after) => LocalReply::UpstreamDown(retry_after),
    }
}

/// Whose line it waits in. A key that nobody knows is no caller: whoever makes keys up would have a line for each.
fn line_of(exchange: &Exchange) -> u64 {
    let user = match &exchange.caller.user {
        Some(User::Pseudonym(_)) | None => None,
        Some(user) => Some(user.as_bytes()),
    };
    let address = exchange.client.map(|address| match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(network_of(v6)),
    });
    exchange.snapshot.buckets.seed.name_hash(user, address)
}

/// The route's, else the tier's.
fn priority_of(exchange: &Exchange) -> Priority {
    let model = &exchange.snapshot.model;
    let of_route = exchange.route.and_then(|route| model.routes.routes()[route].handling.priority);
    let of_tier =
        || exchange.caller.tier.as_ref().and_then(|tier| model.upstream.queue.tiers.get(tier).copied());
    of_route.or_else(of_tier).unwrap_or(Priority::Normal)
}

/// Whether a fault says that there is nobody at the app's address.
pub(super) fn is_nobody_there(fault: &UpstreamFault) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, ConnectionReset, NotFound};
    matches!(fault, UpstreamFault::Connect(error)
        if matches!(error.kind(), ConnectionRefused | ConnectionReset | NotFound))
}
