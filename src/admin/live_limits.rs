//! Limits with live numbers: how many keys each holds, and which are nearest to a refusal.
//!
//! All states are looked at for it, so that is done at most every [`KEPT_FOR`], only when somebody asks, and on the
//! admin thread.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Tick;
use crate::limit::fields::whole_seconds;
use crate::limit::fullest::{Full, Owner, owners, survey};
use crate::limit::reset::Known;
use crate::limit::rules::{Limit, Mode, Scope};
use crate::limit::state::Now;
use crate::proxy::current::Prepared;
use crate::telemetry::talkers::CallerName;
use crate::telemetry::totals::LimitTotals;

use super::status::{KeyStatus, LimitStatus};

const KEPT_FOR: Duration = Duration::from_secs(5);
const FULLEST: usize = 10;

/// By limit, how many keys there are, and the fullest.
type Keys = BTreeMap<Arc<str>, (u64, Vec<KeyStatus>)>;

/// What was found last.
#[derive(Debug, Default)]
pub(super) struct LiveLimits(RefCell<Option<Seen>>);

#[derive(Debug)]
struct Seen {
    at: Tick,
    prepared: Arc<Prepared>,
    keys: Rc<Keys>,
}

impl LiveLimits {
    /// All limits, in the order of their names; `known` are callers by whose names keys can be told.
    pub(super) fn status(
        &self,
        prepared: &Arc<Prepared>,
        known: &BTreeSet<CallerName>,
        totals: &BTreeMap<Arc<str>, LimitTotals>,
        now: Now,
    ) -> Vec<LimitStatus> {
        let keys = self.keys(prepared, known, now);
        let limits = &prepared.model.limits;
        let status = |limit: &Arc<Limit>| {
            let counted = totals.get(&limit.name).copied().unwrap_or_default();
            let (keys, fullest) = keys.get(&limit.name).cloned().unwrap_or_default();
            LimitStatus {
                name: limit.name.to_string(),
                mode: mode_text(limit.mode.min(limits.limiting.mode)).to_owned(),
                key: limit.key.iter().map(ToString::to_string).collect(),
                per: per_text(limit.per).to_owned(),
                measures: limit.standard.iter().map(|meter| meter.measure.words()).collect(),
                refused: counted.refused,
                shadow_refused: counted.shadow_refused,
                keys,
                fullest,
            }
        };
        limits.limits.iter().map(status).collect()
    }

    /// Forgets what was found: something was changed by hand.
    pub(super) fn forget(&self) {
        self.0.replace(None);
    }

    fn keys(&self, prepared: &Arc<Prepared>, known: &BTreeSet<CallerName>, now: Now) -> Rc<Keys> {
        let mut seen = self.0.borrow_mut();
        if let Some(seen) = &*seen
            && now.tick < seen.at + KEPT_FOR
            && Arc::ptr_eq(&seen.prepared, prepared)
        {
            return Rc::clone(&seen.keys);
        }
        let keys = Rc::new(look(prepared, known, now));
        *seen = Some(Seen { at: now.tick, prepared: Arc::clone(prepared), keys: Rc::clone(&keys) });
        keys
    }
}

fn look(prepared: &Prepared, known: &BTreeSet<CallerName>, now: Now) -> Keys {
    let limits = &prepared.model.limits;
    let buckets = &prepared.buckets;
    let routes: Vec<&str> = prepared.model.routes.routes().iter().map(|route| &*route.name).collect();
    let (names, callers): (Vec<String>, Vec<Known<'_>>) = known.iter().filter_map(known_by).unzip();
    let mut found = survey(limits, buckets, FULLEST, now);
    let mut keys = BTreeMap::new();
    for limit in &limits.limits {
        let found = found.remove(&limit.name).unwrap_or_default();
        let owners = owners(limits, &routes, limit, &found.fullest, &callers, buckets);
        let status = found.fullest.iter().zip(owners).map(|(full, owner)| key_status(full, &owner, &names));
        keys.insert(Arc::clone(&limit.name), (found.keys, status.collect()));
    }
    keys
}

fn known_by(caller: &CallerName) -> Option<(String, Known<'_>)> {
    match caller {
        CallerName::User(user) => Some((String::from_utf8_lossy(user).into_owned(), Known::User(user))),
        CallerName::Address(Some(address)) => Some((address.to_string(), Known::Address(*address))),
        CallerName::Address(None) => None,
    }
}

fn key_status(full: &Full, owner: &Owner<'_>, names: &[String]) -> KeyStatus {
    let (key, route) = match owner {
        Owner::Known(at, route) => (names.get(*at).cloned().unwrap_or_default(), *route),
        Owner::Everybody(route) => ("(everybody)".to_owned(), *route),
        Owner::Hash(bits) => (format!("#{bits:06x}"), None),
    };
    KeyStatus {
        key,
        route: route.map(str::to_owned),
        remaining: full.remaining,
        most: full.most,
        reset_seconds: whole_seconds(full.reset_nanos),
    }
}

/// As the configuration writes it.
pub(super) fn mode_text(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Shadow => "shadow",
        Mode::Off => "off",
    }
}

fn per_text(per: Scope) -> &'static str {
    match per {
        Scope::Route => "route",
        Scope::Service => "service",
    }
}
