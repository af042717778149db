//! What operators decided by hand, for a while: limits that are lifted, callers that are blocked.
//!
//! Shared by all workers, kept over reloads, forgotten with the process. Invariant: there are at most [`MOST`] of
//! each, every one ends, and a request meets a single relaxed load while there is none.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::clock::Tick;
use crate::limit::decide::Meets;

/// Lifts, and blocks, at a time.
pub const MOST: usize = 1_000;
/// Bits of an IPv6 address that are one client.
const IPV6_PREFIX: u32 = 64;

/// Whom it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// Every caller.
    Everybody,
    /// A user, as identity names it.
    User(Box<str>),
    /// A client's address; of IPv6 its /64.
    Address(IpAddr),
}

/// A lift that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lift {
    /// The limit's name.
    pub limit: Box<str>,
    /// For whom.
    pub whom: Whom,
    /// Until when.
    pub until: Tick,
}

/// A block that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Who.
    pub whom: Whom,
    /// Until when.
    pub until: Tick,
}

/// There are as many as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// All of them.
#[derive(Debug, Default)]
pub struct Interventions {
    any: AtomicBool,
    lists: RwLock<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    lifts: BTreeMap<Box<str>, Callers>,
    blocks: Callers,
}

#[derive(Debug, Default)]
struct Callers {
    everybody: Option<Tick>,
    /// By what operators see of the name: bytes that are not UTF-8 stand in it as U+FFFD.
    users: HashMap<Box<str>, Tick>,
    addresses: HashMap<IpAddr, Tick>,
}

impl Interventions {
    /// Lifts a limit until then.
    pub fn lift(&self, limit: &str, whom: Whom, now: Tick, until: Tick) -> Result<(), Full> {
        self.change(now, |lists| {
            let all = lists.lifts.values().map(Callers::len).sum();
            let callers = lists.lifts.entry(limit.into()).or_default();
            callers.put(whom, until, all)
        })
    }

    /// Ends a lift; whether there was one.
    pub fn end_lift(&self, limit: &str, whom: &Whom, now: Tick) -> bool {
        self.change(now, |lists| lists.lifts.get_mut(limit).is_some_and(|callers| callers.remove(whom)))
    }

    /// Refuses a caller until then.
    pub fn block(&self, whom: Whom, now: Tick, until: Tick) -> Result<(), Full> {
        self.change(now, |lists| {
            let all = lists.blocks.len();
            lists.blocks.put(whom, until, all)
        })
    }

    /// Ends a block; whether there was one.
    pub fn end_block(&self, whom: &Whom, now: Tick) -> bool {
        self.change(now, |lists| lists.blocks.remove(whom))
    }

    /// Forgets what has ended.
    pub fn expire(&self, now: Tick) {
        if self.any.load(Ordering::Relaxed) {
            self.change(now, |_| ());
        }
    }

    /// Whether this caller is blocked.
    pub fn is_blocked(&self, user: Option<&[u8]>, address: Option<IpAddr>, now: Tick) -> bool {
        self.any.load(Ordering::Relaxed) && self.read().blocks.has(user, address, now)
    }

    /// Whether a limit is lifted for this caller.
    pub fn is_lifted(&self, limit: &str, user: Option<&[u8]>, address: Option<IpAddr>, now: Tick) -> bool {
        self.any.load(Ordering::Relaxed)
            && self.read().lifts.get(limit).is_some_and(|callers| callers.has(user, address, now))
    }

    /// Takes out what is lifted for this caller.
    pub fn leave_out_lifted(
        &self,
        meets: &mut Meets<'_>,
        user: Option<&[u8]>,
        address: Option<IpAddr>,
        now: Tick,
    ) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let lists = self.read();
        let is_lifted = |limit: &str| lists.lifts.get(limit).is_some_and(|c| c.has(user, address, now));
        meets.retain(|met| !is_lifted(&met.limit.name));
    }

    /// Lifts in force.
    pub fn lifts(&self, now: Tick) -> Vec<Lift> {
        let lists = self.read();
        let mut lifts = Vec::new();
        for (limit, callers) in &lists.lifts {
            let all = callers.all(now).into_iter();
            lifts.extend(all.map(|(whom, until)| Lift { limit: limit.clone(), whom, until }));
        }
        lifts
    }

    /// Blocks in force.
    pub fn blocks(&self, now: Tick) -> Vec<Block> {
        self.read().blocks.all(now).into_iter().map(|(whom, until)| Block { whom, until }).collect()
    }

    fn change<R>(&self, now: Tick, change: impl FnOnce(&mut Lists) -> R) -> R {
        let mut lists = self.write();
        lists.expire(now);
        let result = change(&mut lists);
        self.any.store(!lists.is_empty(), Ordering::Relaxed);
        result
    }

    fn read(&self) -> RwLockReadGuard<'_, Lists> {
        self.lists.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Lists> {
        self.lists.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lists {
    fn expire(&mut self, now: Tick) {
        self.lifts.values_mut().for_each(|callers| callers.expire(now));
        self.lifts.retain(|_, callers| callers.len() > 0);
        self.blocks.expire(now);
    }

    fn is_empty(&self) -> bool {
        self.lifts.values().all(|callers| callers.len() == 0) && self.blocks.len() == 0
    }
}

impl Callers {
    /// `all` there are of this kind; another end for one that is there needs no room.
    fn put(&mut self, whom: Whom, until: Tick, all: usize) -> Result<(), Full> {
        let is_there = match &whom {
            Whom::Everybody => self.everybody.is_some(),
            Whom::User(user) => self.users.contains_key(user),
            Whom::Address(address) => self.addresses.contains_key(&network(*address)),
        };
        if all >= MOST && !is_there {
            return Err(Full);
        }
        match whom {
            Whom::Everybody => self.everybody = Some(until),
            Whom::User(user) => drop(self.users.insert(user, until)),
            Whom::Address(address) => drop(self.addresses.insert(network(address), until)),
        }
        Ok(())
    }

    fn remove(&mut self, whom: &Whom) -> bool {
        match whom {
            Whom::Everybody => self.everybody.take().is_some(),
            Whom::User(user) => self.users.remove(user).is_some(),
            Whom::Address(address) => self.addresses.remove(&network(*address)).is_some(),
        }
    }

    fn has(&self, user: Option<&[u8]>, address: Option<IpAddr>, now: Tick) -> bool {
        self.everybody.is_some_and(|until| until > now)
            || user.is_some_and(|user| is_in(&self.users, &*String::from_utf8_lossy(user), now))
            || address.is_some_and(|address| is_in(&self.addresses, &network(address), now))
    }

    fn all(&self, now: Tick) -> Vec<(Whom, Tick)> {
        let everybody = self.everybody.map(|until| (Whom::Everybody, until));
        let users = self.users.iter().map(|(user, until)| (Whom::User(user.clone()), *until));
        let addresses = self.addresses.iter().map(|(address, until)| (Whom::Address(*address), *until));
        let all = everybody.into_iter().chain(users).chain(addresses);
        let mut all: Vec<_> = all.filter(|(_, until)| *until > now).collect();
        all.sort();
        all
    }

    fn expire(&mut self, now: Tick) {
        self.everybody = self.everybody.filter(|until| *until > now);
        self.users.retain(|_, until| *until > now);
        self.addresses.retain(|_, until| *until > now);
    }

    fn len(&self) -> usize {
        usize::from(self.everybody.is_some()) + self.users.len() + self.addresses.len()
    }
}

fn is_in<K, Q>(callers: &HashMap<K, Tick>, caller: &Q, now: Tick) -> bool
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ?Sized,
{
    callers.get(caller).is_some_and(|until| *until > now)
}

/// The address; of IPv6 the first of its network, since one client has all of it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & (u128::MAX << (128 - IPV6_PREFIX))).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick(1_000);
    const LATER: Tick = Tick(2_000);

    fn user(name: &str) -> Whom {
        Whom::User(name.into())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_block_holds_until_its_end_and_not_longer() {
        let interventions = Interventions::default();
        let blocked = |now| interventions.is_blocked(Some(b"ann"), None, now);
        assert!(!blocked(NOW));
        interventions.block(user("ann"), NOW, LATER).unwrap();
        assert!(blocked(NOW) && blocked(Tick(1_999)) && !blocked(LATER));
        assert!(!interventions.is_blocked(Some(b"bob"), Some(address("192.0.2.1")), NOW));
        assert!(interventions.any.load(Ordering::Relaxed));
        interventions.expire(LATER);
        assert!(!interventions.any.load(Ordering::Relaxed), "nothing is left to look for");
    }

    #[test]
    fn a_name_that_is_no_utf_8_is_blocked_by_what_records_show_of_it() {
        let interventions = Interventions::default();
        interventions.block(user("M\u{fffd}ller"), NOW, LATER).unwrap();
        assert!(interventions.is_blocked(Some(b"M\xfcller"), None, NOW), "in Latin-1");
        assert!(!interventions.is_blocked(Some("Müller".as_bytes()), None, NOW));
        assert_eq!(interventions.blocks(NOW), [Block { whom: user("M\u{fffd}ller"), until: LATER }]);
    }

    #[test]
    fn a_block_can_be_ended_once() {
        let interventions = Interventions::default();
        let whom = Whom::Address(address("192.0.2.1"));
        interventions.block(whom.clone(), NOW, LATER).unwrap();
        assert!(interventions.is_blocked(Some(b"ann"), Some(address("::ffff:192.0.2.1")), NOW));
        assert!(interventions.end_block(&whom, NOW));
        assert!(!interventions.end_block(&whom, NOW));
        assert!(!interventions.is_blocked(None, Some(address("192.0.2.1")), NOW));
    }

    #[test]
    fn an_address_of_ipv6_is_its_network() {
        let interventions = Interventions::default();
        interventions.block(Whom::Address(address("2001:db8:0:1::5")), NOW, LATER).unwrap();
        assert!(interventions.is_blocked(None, Some(address("2001:db8:0:1:ffff::1")), NOW));
        assert!(!interventions.is_blocked(None, Some(address("2001:db8:0:2::5")), NOW));
    }

    #[test]
    fn a_lift_is_of_one_limit_and_for_whom_it_was_made() {
        let interventions = Interventions::default();
        interventions.lift("one", user("ann"), NOW, LATER).unwrap();
        interventions.lift("two", Whom::Everybody, NOW, LATER).unwrap();
        let lifted = |limit, user: &str| interventions.is_lifted(limit, Some(user.as_bytes()), None, NOW);
        assert!(lifted("one", "ann") && !lifted("one", "bob") && lifted("two", "bob"));
        assert!(!interventions.is_blocked(Some(b"ann"), None, NOW));
        assert!(!interventions.end_lift("one", &Whom::Everybody, NOW), "that is another one");
        assert!(interventions.end_lift("two", &Whom::Everybody, NOW));
        assert_eq!(interventions.lifts(NOW), [Lift { limit: "one".into(), whom: user("ann"), until: LATER }]);
    }

    #[test]
    fn there_are_only_so_many() {
        let interventions = Interventions::default();
        for number in 0..MOST {
            interventions.block(user(&number.to_string()), NOW, LATER).unwrap();
            interventions.lift(&number.to_string(), Whom::Everybody, NOW, LATER).unwrap();
        }
        assert_eq!(interventions.block(user("one more"), NOW, LATER), Err(Full));
        assert_eq!(interventions.lift("one more", Whom::Everybody, NOW, LATER), Err(Full));
        assert_eq!(interventions.block(user("7"), NOW, Tick(3_000)), Ok(()), "another end needs no room");
        assert_eq!(interventions.lifts(NOW).len(), MOST, "what found no room left nothing behind");
        assert_eq!(
            interventions.block(user("one more"), Tick(2_500), Tick(3_000)),
            Ok(()),
            "the others ended"
        );
        assert_eq!(interventions.blocks(Tick(2_500)).len(), 2);
    }
}
