//! One request and its answer: what is known of it, and its record when it ends.
//!
//! Invariant: an exchange that was opened is recorded exactly once, when it is dropped (`ended`), wherever that is: in
//! the service, in the answer's body, after the last flush, or at a tunnel's end.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, header};

use crate::alarms::Alarm;
use crate::clock::Tick;
use crate::config::model::IdFormat;
use crate::limit::meter::Meter;
use crate::limit::rules::Limit;
use crate::message::handling::Handling;
use crate::message::head::HeadFault;
use crate::message::local_reply::{LocalReply, Violated};
use crate::message::request_id::RequestId;
use crate::telemetry::record::Outcome;
use crate::telemetry::series::Told;
use crate::upstream::answer::Answer;
use crate::upstream::fault::{UploadFault, UpstreamFault};
use crate::upstream::pool::Pool;

use super::admit::Account;
use super::ahead::Keeping;
use super::body::Body;
use super::caller::Caller;
use super::collect::RequestBody;
use super::connection::Connection;
use super::forward::Answered;
use super::left_behind::LeftBehind;
use super::measure::{hide_told, read_told};
use super::snapshot::Snapshot;
use super::tunnel::{TunnelEnds, TunnelStart};

/// In records only: the client left before there was a status.
pub(super) const CLIENT_CLOSED_REQUEST: u16 = 499;

/// An exchange under way.
#[derive(Debug)]
pub struct Exchange {
    /// The configuration for all of it.
    pub snapshot: Rc<Snapshot>,
    /// The request's head; its body is on its way.
    pub request: Parts,
    /// Until the request is identified, one of our own.
    pub id: Option<RequestId>,
    /// Behind trusted proxies.
    pub client: Option<IpAddr>,
    /// Who is behind it.
    pub caller: Caller,
    /// What it owes.
    pub account: Account,
    /// Index of the route.
    pub route: Option<usize>,
    /// When the head was understood.
    pub opened: Tick,
    /// The whole of it, if the route bounds it.
    pub total: Option<Rc<Alarm>>,
    /// Of a new upstream connection.
    pub connect_nanos: Option<u64>,
    /// From the request's first byte upstream to the response head.
    pub response_head_nanos: Option<u64>,
    /// The app that was asked.
    pub asked: Option<Rc<Pool>>,
    /// It waited so long for a slot of the app, if it had to.
    pub queue_nanos: Option<u64>,
    /// Whether it is measured; what load balancers ask of our health is not.
    pub is_measured: bool,
    pub(super) told: Told,
    pub(super) conn: Rc<Connection>,
    pub(super) refused: Option<RefusedHead>,
    pub(super) status: u16,
    outcome: Option<Outcome>,
    pub(super) cause: Option<String>,
    pub(super) bytes_in: Option<u64>,
    pub(super) written_before: u64,
    pub(super) tunneled: (u64, u64),
}

/// A limit that refuses.
#[derive(Debug)]
pub struct Refusing {
    /// Its name.
    pub limit: Arc<str>,
    policy: HeaderValue,
}

impl Refusing {
    /// By one of its meters.
    pub fn by_meter(limit: &Limit, meter: &Meter) -> Refusing {
        Refusing { limit: Arc::clone(&limit.name), policy: meter.policy.clone() }
    }

    fn violated(&self) -> Violated<'_> {
        Violated { limit: &self.limit, policy: Meter::name_of_policy(&self.policy) }
    }
}

/// Method and path of a head that was refused before it was parsed, as far as they can be told.
#[derive(Debug)]
pub(super) struct RefusedHead {
    pub(super) method: Vec<u8>,
    pub(super) path: Vec<u8>,
}

impl Exchange {
    /// Begins with a parsed head.
    pub fn open(parts: Parts, conn: &Rc<Connection>) -> Box<Exchange> {
        Exchange::new(parts, conn)
    }

    /// Begins, and ends with a reply, for a head that was refused.
    pub fn refused(head: &[u8], conn: &Rc<Connection>) -> Box<Exchange> {
        let line =
            head.trim_ascii_start().split(|byte| *byte == b'\r' || *byte == b'\n').next().unwrap_or_default();
        let mut words = line.split(|byte| *byte == b' ');
        let method = words.next().unwrap_or_default().to_vec();
        let target = words.next().unwrap_or_default();
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default().to_vec();
        let (mut nothing, ()) = http::Request::new(()).into_parts();
        // For the measurements, which have one place for all methods of no name.
        nothing.method = Method::from_bytes(&method).unwrap_or(Method::CONNECT);
        let mut exchange = Exchange::new(nothing, conn);
        exchange.refused = Some(RefusedHead { method, path });
        exchange.bytes_in = Some(head.len() as u64);
        exchange.client = conn.peer;
        exchange
    }

    fn new(request: Parts, conn: &Rc<Connection>) -> Box<Exchange> {
        conn.wire.open();
        conn.worker.series.in_flight.add(1);
        Box::new(Exchange {
            snapshot: conn.worker.snapshot(),
            request,
            id: None,
            client: None,
            caller: Caller::default(),
            account: Account::default(),
            route: None,
            opened: conn.worker.clock.now(),
            total: None,
            connect_nanos: None,
            response_head_nanos: None,
            asked: None,
            queue_nanos: None,
            is_measured: true,
            told: Told::default(),
            conn: Rc::clone(conn),
            refused: None,
            status: CLIENT_CLOSED_REQUEST,
            outcome: None,
            cause: None,
            bytes_in: None,
            written_before: conn.wire.written(),
            tunneled: (0, 0),
        })
    }

    /// The request id; made up now if the request came without one.
    pub fn id(&mut self) -> &RequestId {
        let conn = &self.conn;
        self.id.get_or_insert_with(|| conn.worker.new_id(IdFormat::Uuid7))
    }

    /// The app's answer, with this exchange in its body.
    pub fn attach(mut self: Box<Self>, response: Response<Answered>) -> Response<Body> {
        self.status = response.status().as_u16();
        match response.into_parts() {
            (parts, Answered::Body(answer)) => {
                self.conn.wire.carry(answer);
                Response::from_parts(parts, Body::upstream(self))
            }
            (parts, Answered::Local(bytes)) => Response::from_parts(parts, Body::local(bytes, self)),
            (parts, Answered::Tunnel(ends)) => {
                let wire = Rc::clone(&self.conn.wire);
                wire.start_tunnel(self.begin_tunnel(ends));
                Response::from_parts(parts, Body::none())
            }
        }
    }

    /// A tunnel with this exchange, which ends with it.
    pub fn begin_tunnel(self: Box<Self>, ends: TunnelEnds) -> TunnelStart {
        self.conn.worker.series.tunnels.add(1);
        self.conn.worker.series.tunnels_open.add(1);
        ends.of(self)
    }

    /// Our own answer.
    pub fn answer(mut self: Box<Self>, reply: LocalReply) -> Response<Body> {
        self.reply(reply).map(|bytes| Body::local(bytes, self))
    }

    /// What our own answer is: the only place where a reply becomes a response.
    pub fn reply(&mut self, reply: LocalReply) -> Response<Bytes> {
        if *self.outcome.get_or_insert(Outcome::Local(reply)) == Outcome::Local(reply) {
            self.status = reply.row().status.as_u16();
        }
        let shape = self.snapshot.reply_shape;
        let id = self.id().clone();
        let violated = self.account.refusing.as_ref().map(Refusing::violated);
        let mut response = reply.response(shape, &id, violated);
        self.tell_limits(response.headers_mut());
        response.headers_mut().insert(self.snapshot.id_header.clone(), id.as_header().clone());
        response
    }

    /// The bytes of our own answer to a head that hyper never saw.
    pub fn answer_on_the_wire(mut self: Box<Self>, fault: HeadFault) -> (Vec<u8>, Box<Exchange>) {
        let reply = LocalReply::from(fault);
        self.status = reply.row().status.as_u16();
        self.outcome = Some(Outcome::Local(reply));
        let id = self.id().clone();
        let mut response = reply.response(self.snapshot.reply_shape, &id, None);
        let length = HeaderValue::from(response.body().len());
        let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + self.conn.wall_time(self.opened));
        let headers = response.headers_mut();
        headers.insert(self.snapshot.id_header.clone(), id.as_header().clone());
        headers.insert(header::CONTENT_LENGTH, length);
        if let Ok(date) = HeaderValue::try_from(date) {
            headers.insert(header::DATE, date);
        }
        (on_the_wire(&response), self)
    }

    /// Adds what the client is told of limits.
    pub fn tell_limits(&self, headers: &mut HeaderMap) {
        if let Some(told) = &self.account.told {
            let worker = &self.conn.worker;
            let unix_seconds = worker.clock.unix_nanos(worker.clock.recent()) / 1_000_000_000;
            let room = &mut *worker.value_room.borrow_mut();
            told.write(&self.snapshot.limits.limiting, unix_seconds, headers, room);
        }
    }

    /// Reads what the head of the app's answer tells: of the app, and of the cost of the request. What the client is
    /// not to see of it is taken out.
    pub fn read_answer(&mut self, status: u16, headers: &mut HeaderMap) {
        let snapshot = Rc::clone(&self.snapshot);
        let from = &snapshot.model.metrics.from_response;
        if !from.is_empty() {
            self.told = read_told(headers, status, from, &self.conn.worker.measurements);
        }
        if self.account.is_open() {
            let now = self.conn.worker.now();
            self.account.settle(headers, &snapshot.buckets, now);
        }
        if !from.is_empty() {
            hide_told(headers, from);
        }
    }

    /// How much of the app's answer is kept for a slow client: nothing of one that is `live`.
    pub fn keeping(&self, live: bool) -> Keeping {
        let handling = self.route.map(|route| self.snapshot.model.routes.routes()[route].handling);
        let handling = handling.unwrap_or_default();
        if live || handling.stream {
            return Keeping { memory: 0, spill: None };
        }
        let spill = self.snapshot.spill.as_ref().filter(|_| handling.spill.responses);
        Keeping { memory: self.snapshot.model.upstream.buffers.response, spill: spill.cloned() }
    }

    /// The route's name.
    pub fn route_name(&self) -> Option<&str> {
        self.route.map(|route| &*self.snapshot.model.routes.routes()[route].name)
    }

    /// How the route's requests are handled, if there is a route.
    pub fn handling(&self) -> Option<&Handling> {
        self.route.map(|route| &self.snapshot.model.routes.routes()[route].handling)
    }

    /// What lies behind the reply that follows; for the record only.
    pub fn because(&mut self, cause: String) {
        self.cause.get_or_insert(cause);
    }

    /// The app's answer was cut after its head.
    pub fn cut_because(&mut self, fault: &UpstreamFault) {
        self.outcome.get_or_insert(match (fault, fault.reply()) {
            (UpstreamFault::Cut(_), _) => Outcome::UpstreamReset,
            (UpstreamFault::Spill(_) | UpstreamFault::Upload(UploadFault::Lost), _) => Outcome::Panicked,
            (_, Some(reply)) => Outcome::Local(reply),
            (_, None) => Outcome::DownstreamLeft,
        });
        self.because(fault.to_string());
        self.conn.wire.cut();
    }

    /// The client left before the end of its request.
    pub fn downstream_left(&mut self) {
        self.outcome.get_or_insert(Outcome::DownstreamLeft);
    }

    /// The last byte was sent.
    pub fn complete(&mut self) {
        self.outcome.get_or_insert(Outcome::Complete);
    }

    /// The exchange may take so long in all.
    pub fn bound(&mut self, timeout: Duration) {
        let total = Rc::new(Alarm::new(&self.conn.worker.alarms));
        total.set(self.opened + timeout);
        self.conn.wire.bound(Rc::clone(&total));
        self.total = Some(total);
    }

    /// Bytes that went through the tunnel, from and to the client.
    pub fn add_tunneled(&mut self, from_client: u64, to_client: u64) {
        self.tunneled = (from_client, to_client);
    }

    /// Ends without the rest of the app's answer.
    pub fn leave_behind(self: Box<Self>, answer: Answer<RequestBody>) {
        LeftBehind::answer(answer, &self.conn, &self);
    }

    /// Hands the exchange over until hyper has flushed its answer.
    pub fn end_when_flushed(self: Box<Self>) {
        let wire = Rc::clone(&self.conn.wire);
        wire.flush_then_end(self);
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self.outcome {
            Some(outcome) => outcome,
            None if std::thread::panicking() => Outcome::Panicked,
            None if self.conn.wire.overdue().is_some() => Outcome::Local(LocalReply::RequestTimeout),
            None if self.conn.worker.is_aborting() => Outcome::CutOff,
            None => Outcome::DownstreamLeft,
        }
    }
}

fn on_the_wire(response: &Response<bytes::Bytes>) -> Vec<u8> {
    let status = response.status();
    let mut bytes =
        format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or_default())
            .into_bytes();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(response.body());
    bytes
}
