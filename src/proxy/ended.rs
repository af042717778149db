//! The end of an exchange: it is counted and told, exactly once, when it is dropped.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;

use crate::config::model::tls::TlsVersion;
use crate::identity::redact;
use crate::message::local_reply::LocalReply;
use crate::message::request_id::RequestId;
use crate::telemetry::record::{Outcome, Record};
use crate::telemetry::series::Ended;
use crate::telemetry::talkers::{Caller as Talker, RefusalNote, Took};
use crate::upstream::app::AppName;

use super::caller::User;
use super::exchange::{CLIENT_CLOSED_REQUEST, Exchange};
use super::measure::OfRoute;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const X_AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
const SWITCHING_PROTOCOLS: u16 = 101;
/// In records only: we ended the exchange before there was a status.
const INTERNAL_SERVER_ERROR: u16 = 500;

impl Drop for Exchange {
    fn drop(&mut self) {
        self.conn.wire.close_exchange();
        if self.account.is_open() {
            let now = self.conn.worker.now();
            self.account.close(&self.snapshot.buckets, now);
        }
        if let Some(slowness) = self.conn.wire.overdue() {
            self.because(slowness.to_string());
        }
        let ended = self.ended();
        self.count(&ended);
        self.record(&ended);
    }
}

impl Exchange {
    /// As sent. Without an answer, whose fault it is that there was none: a client that was kept waiting until we ended
    /// is no client's error.
    fn ended_status(&self) -> u16 {
        match (self.status, self.outcome()) {
            (CLIENT_CLOSED_REQUEST, Outcome::CutOff | Outcome::Panicked) => INTERNAL_SERVER_ERROR,
            (status, _) => status,
        }
    }

    fn ended(&self) -> Ended<'_> {
        let (conn, now) = (&self.conn, self.conn.worker.clock.now());
        Ended {
            method: &self.request.method,
            status: self.ended_status(),
            outcome: self.outcome(),
            throttled: self.account.refusing.is_some(),
            shadow_throttled: !self.account.shadows.is_empty(),
            bytes_in: self.bytes_in.unwrap_or(conn.wire.message_in()) + self.tunneled.0,
            bytes_out: conn.wire.written() - self.written_before + self.tunneled.1,
            duration_nanos: now.nanos_since(self.opened),
            response_head_nanos: self.response_head_nanos,
            queue_nanos: self.queue_nanos,
            told: &self.told,
        }
    }

    fn count(&self, ended: &Ended<'_>) {
        let series = &self.conn.worker.series;
        series.in_flight.subtract(1);
        if self.status == SWITCHING_PROTOCOLS {
            series.tunnels_open.subtract(1);
        }
        if !self.is_measured {
            return;
        }
        let of = &self.snapshot.series;
        let OfRoute { series: route, timings, .. } = of.route(self.route);
        route.count(ended, timings);
        if let Some(pool) = &self.asked {
            series.app(pool.app.name.as_str()).count(ended.status);
        }
        if let Some(limit) = self.account.refusing.as_ref().and_then(|by| of.limit(&by.limit)) {
            limit.refused.add(1);
        }
        for limit in self.account.shadows.iter().filter_map(|name| of.limit(name)) {
            limit.shadow_refused.add(1);
        }
        // Whoever reads it holds it for a moment; nobody waits for that.
        let Ok(mut noted) = series.noted.try_lock() else { return };
        let user = self.caller.user.as_ref().map(User::as_bytes);
        let hash = self.snapshot.buckets.seed.name_hash(user, self.client);
        let caller = Talker { hash, user, address: self.client };
        let bytes = ended.bytes_in.saturating_add(ended.bytes_out);
        noted.note(caller, Took { refused: ended.throttled, bytes, cost: self.account.paid }, self.opened);
        if let Some(by) = &self.account.refusing {
            noted.note_refusal(self.opened, caller, |caller| RefusalNote {
                unix_nanos: self.conn.worker.clock.unix_nanos(self.opened),
                request_id: self.id.as_ref().map_or("", RequestId::as_str).into(),
                caller,
                route: self.route_name().unwrap_or_default().into(),
                limit: Arc::clone(&by.limit),
                retry_after_seconds: match ended.outcome {
                    Outcome::Local(LocalReply::RateLimited(after) | LocalReply::QuotaExceeded(after)) => {
                        after.seconds
                    }
                    _ => 0,
                },
            });
        }
    }

    fn record(&self, ended: &Ended<'_>) {
        let worker = &self.conn.worker;
        let model = &self.snapshot.model;
        let Parts { method, uri, headers, .. } = &self.request;
        let (method, path) = match &self.refused {
            None => (method.as_str().as_bytes(), uri.path().as_bytes()),
            Some(refused) => (&refused.method[..], &refused.path[..]),
        };
        let named: Vec<(HeaderName, HeaderValue)> = model
            .log
            .headers
            .iter()
            .filter_map(|name| Some((name.clone(), headers.get(name)?.clone())))
            .collect();
        let key_parameter = model.identity.api_key().and_then(|source| source.query.as_deref());
        let query = uri.query().filter(|_| model.log.query).map(|query| match key_parameter {
            Some(name) => redact(query, name),
            None => Cow::Borrowed(query),
        });
        let record = Record {
            unix_nanos: worker.clock.unix_nanos(self.opened),
            request_id: self.id.as_ref().map_or("", RequestId::as_str),
            client_addr: self.client,
            method,
            path,
            query: query.as_deref().map(str::as_bytes),
            user: self.caller.user.as_ref().map(User::as_bytes),
            tier: self.caller.tier.as_deref(),
            route: self.route_name(),
            limit: self.account.refusing.as_ref().map(|refusing| &*refusing.limit),
            shadow_limit: self.account.shadows.first().map(|limit| &**limit),
            status: ended.status,
            outcome: ended.outcome,
            tls: self.conn.tls.map(TlsVersion::as_str),
            bytes_in: ended.bytes_in,
            bytes_out: ended.bytes_out,
            duration_nanos: ended.duration_nanos,
            connect_nanos: self.connect_nanos,
            response_head_nanos: ended.response_head_nanos,
            queue_nanos: ended.queue_nanos,
            upstream: self.asked.as_ref().map(|pool| &*pool.app.destination.label),
            canary: self.asked.as_ref().is_some_and(|pool| pool.app.name == AppName::Canary),
            user_agent: headers.get(header::USER_AGENT),
            traceparent: headers.get(TRACEPARENT),
            amzn_trace_id: headers.get(X_AMZN_TRACE_ID),
            headers: &named,
            cause: self.cause.as_deref(),
        };
        let of = &self.snapshot.series;
        match self.is_measured {
            true => worker.tell(&record, ended, of, of.route(self.route)),
            false => worker.record(&record),
        }
    }
}
