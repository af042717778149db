//! Connections of each client address, over all workers: who has too many gets no more.
//!
//! Invariant: an address is in the map for as long as it has a connection, so the map is never larger than there are
//! connections.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Tick;

/// Workers rarely meet in one of so many.
const SHARDS: usize = 32;
/// At most this often refusals are told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// One client, as far as its address tells: an IPv4 address, or the IPv6 network that a provider gives to one customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Origin {
    V4(u32),
    V6(u64),
}

impl Origin {
    fn of(peer: IpAddr) -> Origin {
        match peer.to_canonical() {
            IpAddr::V4(address) => Origin::V4(address.to_bits()),
            IpAddr::V6(address) => Origin::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// How many connections each has.
#[derive(Debug)]
pub struct Peers {
    shards: [Mutex<HashMap<Origin, usize>>; SHARDS],
    hasher: RandomState,
    /// Of those that had too many.
    refusals: Refusals,
}

/// Refusals, of which is told now and then.
#[derive(Debug, Default)]
pub struct Refusals {
    /// The tick of the last word on them; 0 before the first.
    told: AtomicU64,
    untold: AtomicU64,
}

impl Default for Peers {
    fn default() -> Peers {
        Peers {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            refusals: Refusals::default(),
        }
    }
}

impl Peers {
    /// Counts a connection of this peer; `None` if it has `most` already.
    pub fn enter(self: &Arc<Peers>, peer: IpAddr, most: Option<usize>) -> Option<Place> {
        let origin = Origin::of(peer);
        let mut shard = self.shard(origin);
        let count = shard.entry(origin).or_insert(0);
        if most.is_some_and(|most| *count >= most) {
            // It is above 0, as `most` is: the entry stays.
            return None;
        }
        *count += 1;
        drop(shard);
        Some(Place { peers: Arc::clone(self), origin })
    }

    /// Notes that a connection was refused; how many were since the last word, if it is time for another.
    pub fn refused(&self, now: Tick) -> Option<u64> {
        self.refusals.refused(now)
    }

    fn shard(&self, origin: Origin) -> MutexGuard<'_, HashMap<Origin, usize>> {
        let index = self.hasher.hash_one(origin) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refusals {
    /// Notes one; how many were since the last word, if it is time for another.
    pub fn refused(&self, now: Tick) -> Option<u64> {
        let untold = self.untold.fetch_add(1, Ordering::Relaxed) + 1;
        let told = self.told.load(Ordering::Relaxed);
        if told != 0 && Tick(told) + TELL_EVERY > now {
            return None;
        }
        let won = self.told.compare_exchange(told, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        won.then(|| {
            self.untold.fetch_sub(untold, Ordering::Relaxed);
            untold
        })
    }
}

/// A connection that is counted, until this is dropped.
#[derive(Debug)]
pub struct Place {
    peers: Arc<Peers>,
    origin: Origin,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shard = self.peers.shard(self.origin);
        if let Some(count) = shard.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn known(peers: &Peers) -> usize {
        peers.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn a_peer_gets_its_number_of_connections_and_another_its_own() {
        let peers = Arc::new(Peers::default());
        let held: Vec<Place> = (0..3).filter_map(|_| peers.enter(ip("192.0.2.1"), Some(2))).collect();
        assert_eq!(held.len(), 2);
        assert!(peers.enter(ip("192.0.2.2"), Some(2)).is_some());
        assert!(peers.enter(ip("::ffff:192.0.2.1"), Some(2)).is_none(), "the same address in other words");
        drop(held);
        assert!(peers.enter(ip("192.0.2.1"), Some(2)).is_some());
        assert_eq!(known(&peers), 0, "who has left is forgotten");
    }

    #[test]
    fn a_network_of_64_bits_is_one_peer_of_ipv6() {
        let peers = Arc::new(Peers::default());
        let _one = peers.enter(ip("2001:db8:0:1::1"), Some(1)).unwrap();
        assert!(peers.enter(ip("2001:db8:0:1:ffff::2"), Some(1)).is_none());
        assert!(peers.enter(ip("2001:db8:0:2::1"), Some(1)).is_some());
    }

    #[test]
    fn a_lower_number_lets_nobody_in_until_enough_have_left() {
        let peers = Arc::new(Peers::default());
        let mut held: Vec<Place> = (0..5).filter_map(|_| peers.enter(ip("192.0.2.1"), None)).collect();
        assert!(peers.enter(ip("192.0.2.1"), Some(2)).is_none());
        held.truncate(1);
        assert!(peers.enter(ip("192.0.2.1"), Some(2)).is_some());
    }

    #[test]
    fn refusals_are_told_now_and_then_with_their_number() {
        let peers = Peers::default();
        let second = 1_000_000_000;
        assert_eq!(peers.refused(Tick(second)), Some(1));
        assert_eq!(peers.refused(Tick(2 * second)), None);
        assert_eq!(peers.refused(Tick(10 * second)), None);
        assert_eq!(peers.refused(Tick(11 * second)), Some(3));
        assert_eq!(peers.refused(Tick(12 * second)), None);
    }

    #[test]
    fn threads_that_come_and_go_never_exceed_the_number_and_leave_nothing() {
        let peers = Arc::new(Peers::default());
        let inside = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        if let Some(place) = peers.enter(ip("192.0.2.1"), Some(3)) {
                            assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            drop(place);
                        }
                    }
                });
            }
        });
        assert_eq!(known(&peers), 0);
    }
}
