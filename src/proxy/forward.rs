//! The request to the app, and the app's answer back: over a pooled connection if one is good, again if
//! nothing was lost by it, never twice if something could be.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header;
use http::request::Parts;
use http::{Method, Version};
use http_body::Body as _;
use hyper::Response;
use hyper::body::Incoming;

use crate::alarms::Alarm;
use crate::message::forwarded::Forwarded;
use crate::message::hop_by_hop::ConnectionOptions;
use crate::message::local_reply::LocalReply;
use crate::message::pace::Pace;
use crate::message::websocket;
use crate::upstream::answer::Answer;
use crate::upstream::call::Call;
use crate::upstream::fault::UpstreamFault;
use crate::upstream::outgoing::{Outgoing, Upload};
use crate::upstream::pool::{Connection as UpstreamConnection, Pool};
use crate::upstream::request_head::RequestHead;
use crate::upstream::response_head::{AnswerFraming, AnswerHead, Asked};

use super::ahead::Ahead;
use super::connection::Connection;
use super::exchange::Exchange;
use super::screen::Passed;
use super::tunnel::TunnelEnds;
use super::upload::UploadBody;

/// Connections on which a request may be tried of which no byte was written.
const MAX_UNWRITTEN_TRIES: u32 = 3;

/// What comes back from the app behind the head.
#[derive(Debug)]
pub enum Answered {
    /// A body.
    Body(Ahead),
    /// A WebSocket.
    Tunnel(TunnelEnds),
    /// Not the app's: what the process tells of itself.
    Local(Bytes),
}

/// Sends the request and waits for the answer's head.
pub async fn forward(
    body: Incoming,
    passed: Passed,
    conn: &Connection,
    exchange: &mut Exchange,
) -> Result<Response<Answered>, LocalReply> {
    let options = ConnectionOptions::read(&exchange.request.headers);
    let upgrade = body.is_end_stream() && asks_websocket(&exchange.request, &options);
    let asked = Asked::new(&exchange.request.method, upgrade);
    let upload = upload(body, passed, conn, exchange);
    let chunked = matches!(upload, Upload::Chunked(_));
    let head = encode_head(&options, chunked, upgrade, conn, exchange);
    let answered = match converse(Outgoing::new(head, upload), asked, conn, exchange).await {
        Ok((head, call)) => respond(head, call, conn, exchange),
        Err(fault) => Err(fault),
    };
    answered.map_err(|fault| {
        exchange.because(fault.to_string());
        fault.reply().unwrap_or_else(|| {
            exchange.downstream_left();
            // Nobody is there to read it.
            LocalReply::RequestTimeout
        })
    })
}

/// Only a WebSocket is passed on; any other `Upgrade` ends at this hop.
fn asks_websocket(request: &Parts, options: &ConnectionOptions) -> bool {
    websocket::is_named_alone(&request.headers)
        && options.upgrade
        && request.method == Method::GET
        && request.version == Version::HTTP_11
}

fn upload(body: Incoming, passed: Passed, conn: &Connection, exchange: &Exchange) -> Upload<UploadBody> {
    if body.is_end_stream() {
        return Upload::None;
    }
    let length_is_known = body.size_hint().exact().is_some();
    let pause = Alarm::new(&conn.worker.alarms);
    let listen = &exchange.snapshot.model.listen;
    let (patience, pace) = (listen.body_timeout, Pace::new(listen.min_body_rate));
    let body = UploadBody::new(body, passed.max_body, pause, patience, pace);
    if length_is_known { Upload::Length(body) } else { Upload::Chunked(body) }
}

fn encode_head(
    options: &ConnectionOptions,
    chunked: bool,
    upgrade: bool,
    conn: &Connection,
    exchange: &mut Exchange,
) -> Bytes {
    let id = exchange.id().clone();
    let Parts { method, uri, headers, .. } = &exchange.request;
    let host = headers.get(header::HOST).map_or(&b""[..], |host| host.as_bytes());
    let mut scratch = conn.worker.scratch.borrow_mut();
    RequestHead {
        method,
        uri,
        headers,
        options,
        peer_is_trusted: exchange.caller.peer_is_trusted,
        id_header: &exchange.snapshot.id_header,
        id: &id,
        client: exchange.client,
        forwarded: Forwarded::read(conn.scheme, host, headers, exchange.caller.peer_is_trusted),
        chunked,
        upgrade,
    }
    .encode(&mut scratch);
    scratch.split().freeze()
}

/// Finds a connection, sends, and waits for a head; on another connection where that repeats nothing.
async fn converse(
    mut outgoing: Outgoing<UploadBody>,
    asked: Asked,
    conn: &Connection,
    exchange: &mut Exchange,
) -> Result<(AnswerHead, Box<Call<UploadBody>>), UpstreamFault> {
    let worker = &conn.worker;
    let snapshot = Rc::clone(&exchange.snapshot);
    let settings = &snapshot.model.upstream;
    let idempotent = exchange.request.method.is_idempotent();
    let mut deadline = Alarm::new(&worker.alarms);
    let mut repeats_left = settings.retry_attempts;
    let pool = Rc::clone(&snapshot.pools.main);
    let mut pooled = pool.take(exchange.opened);
    exchange.asked = Some(Rc::clone(&pool));
    let mut tries = 0;
    loop {
        tries += 1;
        let connection = match pooled.take() {
            Some(connection) => {
                worker.series.reuses.add(1);
                connection
            }
            None => connect(&pool, conn, exchange).await?,
        };
        if tries > 1 {
            worker.series.repeats.add(1);
        }
        let sent = worker.clock.recent();
        let mut call = Box::new(Call::new(connection, outgoing, asked, deadline, settings.response_timeout));
        let result = poll_fn(|cx| within_total(exchange, cx, |cx| call.poll_head(cx))).await;
        let fault = match result {
            Ok(head) => {
                exchange.response_head_nanos = Some(worker.clock.now().nanos_since(sent));
                return Ok((head, call));
            }
            Err(fault) => fault,
        };
        let unwritten = call.is_unwritten();
        let may_repeat = if unwritten { tries < MAX_UNWRITTEN_TRIES } else { repeats_left > 0 };
        if !may_repeat || !matches!(fault, UpstreamFault::Died(_)) {
            return Err(fault);
        }
        let Some(unanswered) = call.into_unanswered(idempotent) else { return Err(fault) };
        (outgoing, deadline) = unanswered;
        repeats_left -= u32::from(!unwritten);
    }
}

async fn connect(
    pool: &Pool,
    conn: &Connection,
    exchange: &mut Exchange,
) -> Result<UpstreamConnection, UpstreamFault> {
    let worker = &conn.worker;
    let begun = worker.clock.now();
    let deadline = Alarm::new(&worker.alarms);
    deadline.set(begun + exchange.snapshot.model.upstream.connect_timeout);
    let mut connecting = pin!(pool.app.destination.connect());
    let connected = poll_fn(|cx| {
        within_total(exchange, cx, |cx| match connecting.as_mut().poll(cx) {
            Poll::Ready(socket) => Poll::Ready(socket.map_err(UpstreamFault::Connect)),
            Poll::Pending => deadline.poll(cx).map(|()| Err(UpstreamFault::ConnectTimeout)),
        })
    })
    .await;
    let count = if connected.is_ok() { &worker.series.connects } else { &worker.series.connect_failures };
    count.add(1);
    let socket = connected?;
    exchange.connect_nanos = Some(worker.clock.now().nanos_since(begun));
    Ok(UpstreamConnection::new(socket))
}

/// `poll`, bounded by the route's timeout.
fn within_total<T>(
    exchange: &Exchange,
    cx: &mut Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> Poll<Result<T, UpstreamFault>>,
) -> Poll<Result<T, UpstreamFault>> {
    match (poll(cx), &exchange.total) {
        (Poll::Pending, Some(total)) => total.poll(cx).map(|()| Err(UpstreamFault::RouteTimeout)),
        (result, _) => result,
    }
}

fn respond(
    head: AnswerHead,
    call: Box<Call<UploadBody>>,
    conn: &Connection,
    exchange: &mut Exchange,
) -> Result<Response<Answered>, UpstreamFault> {
    let AnswerHead { status, headers, framing, keep_alive, live } = head;
    let answered = if status == http::StatusCode::SWITCHING_PROTOCOLS {
        let (socket, inbox) = call.into_tunnel();
        Answered::Tunnel(TunnelEnds { socket, inbox })
    } else {
        let pool = Rc::clone(exchange.asked.as_ref().unwrap_or(&exchange.snapshot.pools.main));
        let clock = Rc::clone(&conn.worker.clock);
        let answer = Answer::new(call, framing, keep_alive, pool, clock)?;
        Answered::Body(Ahead::new(answer, exchange.keeping(live)))
    };
    let mut response = Response::new(answered);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    let id = exchange.id().as_header().clone();
    response.headers_mut().insert(exchange.snapshot.id_header.clone(), id);
    exchange.read_answer(status.as_u16(), response.headers_mut());
    exchange.tell_limits(response.headers_mut());
    debug_assert!(framing != AnswerFraming::Length(0));
    Ok(response)
}
