//! Can it pay: every limit of the route is debited, or none; and what is owed until the answer is there.

use std::rc::Rc;
use std::sync::Arc;

use http::header::HeaderMap;
use smallvec::SmallVec;

use crate::limit::buckets::Buckets;
use crate::limit::decide::{Decision, Owed, Verdict, decide, meets};
use crate::limit::fields::{Told, whole_seconds, with_jitter};
use crate::limit::meter::Measure;
use crate::limit::rules::{Cost, Mode};
use crate::limit::state::Now;
use crate::message::local_reply::{LocalReply, RetryAfter};

use super::caller::User;
use super::connection::Connection;
use super::exchange::{Exchange, Refusing};

/// The most a response field may charge, far above what any model counts.
const MAX_COST: u64 = 1_000_000_000_000;

/// What an exchange has to do with limits.
#[derive(Debug, Default)]
pub struct Account {
    /// For the fields of the answer.
    pub told: Option<Told>,
    /// The limit that refused.
    pub refusing: Option<Refusing>,
    /// The limits in shadow mode that would have, the one that would free last first.
    pub shadows: SmallVec<[Arc<str>; 2]>,
    /// Tokens it paid, to the dearest of its limits.
    pub paid: u64,
    /// To be given back or settled.
    owed: Vec<Owed>,
}

/// Debits every limit of the route, or refuses.
pub fn admit(exchange: &mut Exchange, conn: &Connection) -> Result<(), LocalReply> {
    let snapshot = Rc::clone(&exchange.snapshot);
    let limits = &snapshot.limits;
    let due =
        exchange.route.and_then(|route| limits.by_route.get(route)).map(Vec::as_slice).unwrap_or_default();
    if !due.is_empty()
        && limits.limiting.mode != Mode::Off
        && !exchange.caller.is_exempt(&limits.limiting.exempt, exchange.client, &exchange.request)
    {
        let now = Now { tick: exchange.opened, unix_nanos: conn.worker.clock.unix_nanos(exchange.opened) };
        let caller = &exchange.caller;
        let payer =
            caller.payer(exchange.client, &exchange.request, exchange.route_name().unwrap_or_default());
        let mut meets = meets(due, &limits.limiting, &payer, caller.tier.as_deref(), &snapshot.buckets);
        let user = caller.user.as_ref().map(User::as_bytes);
        conn.worker.interventions.leave_out_lifted(&mut meets, user, exchange.client, exchange.opened);
        let Decision { verdict, shadows } = decide(&meets, &snapshot.buckets, now);
        exchange.account.shadows = shadows.iter().map(|limit| Arc::clone(&limit.name)).collect();
        match verdict {
            Verdict::Admitted { tightest, owed } => {
                exchange.account.paid =
                    meets.iter().filter(|met| met.enforced).map(|met| met.cost).max().unwrap_or(0);
                exchange.account.told = tightest.map(|(met, standing)| Told::admitted(met.meter, standing));
                exchange.account.owed = owed;
            }
            Verdict::Refused { by, wait_nanos } => {
                let standing = snapshot.buckets.standing(by.meter, by.payer, now);
                exchange.account.told = Some(Told::refused(by.meter, standing, wait_nanos));
                exchange.account.refusing = Some(Refusing::by_meter(by.limit, by.meter));
                let wait = with_jitter(wait_nanos, limits.limiting.jitter_percent, conn.worker.random());
                let retry_after = RetryAfter { seconds: whole_seconds(wait).max(1) };
                return Err(match by.meter.measure {
                    Measure::Quota(_) => LocalReply::QuotaExceeded(retry_after),
                    _ => LocalReply::RateLimited(retry_after),
                });
            }
        }
    }
    // Whoever tries keys pays like anybody at this address.
    if exchange.caller.is_rejected { Err(LocalReply::Unauthorized) } else { Ok(()) }
}

impl Account {
    /// Settles what the answer's head tells, and takes out of it what the client is not to see.
    pub fn settle(&mut self, headers: &mut HeaderMap, buckets: &Buckets, now: Now) {
        let mut hidden = Vec::new();
        let mut paid = self.paid;
        self.owed.retain(|owed| {
            let Cost::Answer { header, strip, .. } = &owed.cost else { return true };
            // An answer that does not tell, or tells nonsense, costs what was reserved.
            if let Some(tokens) = headers.get(header).and_then(|value| parse_tokens(value.as_bytes())) {
                buckets.settle(&owed.meter, &owed.debit, now, tokens);
                paid = paid.max(tokens);
            }
            if *strip {
                hidden.push(header.clone());
            }
            false
        });
        self.paid = paid;
        for header in hidden {
            headers.remove(header);
        }
    }

    /// Gives places in flight back.
    pub fn close(&mut self, buckets: &Buckets, now: Now) {
        for Owed { meter, debit, .. } in self.owed.drain(..) {
            if matches!(meter.measure, Measure::InFlight(_)) {
                buckets.refund(&meter, &debit, now, debit.tokens);
            }
        }
    }

    /// What is owed, for whoever sees the app's answer after the client has left.
    pub fn hand_over(&mut self) -> Account {
        Account { owed: std::mem::take(&mut self.owed), paid: self.paid, ..Account::default() }
    }

    /// Whether anything is owed.
    pub fn is_open(&self) -> bool {
        !self.owed.is_empty()
    }
}

/// A whole number of tokens, nothing else.
pub(super) fn parse_tokens(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if !(1..=13).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let cost = std::str::from_utf8(digits).ok()?.parse::<u64>().ok()?;
    (cost <= MAX_COST).then_some(cost)
}
