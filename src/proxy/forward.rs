//! The request to the app, and the app's answer back: the body first, then a place in the app, then the request.
//!
//! Invariant: nothing of the app is taken before as much of the request is here as is going to be waited for.

use std::rc::Rc;

use bytes::Bytes;
use http::header;
use http::request::Parts;
use http::{Method, Version};
use http_body::Body as _;
use hyper::Response;

use crate::alarms::Alarm;
use crate::message::forwarded::Forwarded;
use crate::message::hop_by_hop::ConnectionOptions;
use crate::message::local_reply::LocalReply;
use crate::message::pace::Pace;
use crate::message::websocket;
use crate::upstream::answer::Answer;
use crate::upstream::breaker::Permit;
use crate::upstream::call::{Call, Unanswered};
use crate::upstream::fault::UpstreamFault;
use crate::upstream::outgoing::{Outgoing, Upload};
use crate::upstream::pool::Pool;
use crate::upstream::request_head::{Framing, RequestHead};
use crate::upstream::response_head::{AnswerFraming, AnswerHead, Asked};

use super::ahead::Ahead;
use super::ask::{Tries, Unasked, ask};
use super::collect::{RequestBody, collect};
use super::connection::Connection;
use super::exchange::Exchange;
use super::inbound::Inbound;
use super::screen::Passed;
use super::slot::{self, Patience};
use super::tunnel::TunnelEnds;
use super::upload::UploadBody;

/// New places that one request may look for at an app that takes no connection.
const MAX_REFUSED: u32 = 20;

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
    body: Inbound,
    passed: Passed,
    conn: &Connection,
    exchange: &mut Exchange,
) -> Result<Response<Answered>, LocalReply> {
    let options = ConnectionOptions::read(&exchange.request.headers);
    let upgrade = body.is_end_stream() && asks_websocket(&exchange.request, &options);
    let asked = Asked::new(&exchange.request.method, upgrade);
    let mut pool = slot::choose(exchange);
    let upload = receive(body, passed, &pool, conn, exchange).await?;
    let framing = framing_of(&upload, exchange);
    let permit = ask_breaker(conn, exchange)?;
    let mut patience = Patience::default();
    let slot = slot::take(&mut pool, &mut patience, conn, exchange).await?;
    let head = encode_head(&options, framing, upgrade, conn, exchange);
    let deadline = Alarm::new(&conn.worker.alarms);
    let mut request = Unanswered { outgoing: Outgoing::new(head, upload), deadline, slot };
    let mut tries = Tries::new(exchange.snapshot.model.upstream.retry_attempts);
    let mut refused = 0;
    let answered = loop {
        let unasked = match ask(request, asked, &mut tries, &pool, conn, exchange).await {
            Ok((head, call)) => break respond(head, call, &pool, conn, exchange),
            Err(unasked) => unasked,
        };
        let Unasked { fault, request: unwritten } = unasked;
        pool.app.failed(&fault, conn.worker.clock.recent());
        let Some(unwritten) = unwritten.filter(|_| refused < MAX_REFUSED && slot::is_nobody_there(&fault))
        else {
            break Err(fault);
        };
        refused += 1;
        let Unanswered { outgoing, deadline, slot } = *unwritten;
        drop(slot);
        // Nobody has seen anything of it: it waits for the app that is being restarted, or goes to the one that is there.
        pool = Rc::clone(&exchange.snapshot.pools.main);
        let slot = slot::take(&mut pool, &mut patience, conn, exchange).await;
        let slot = slot.inspect_err(|_| exchange.because(fault.to_string()))?;
        request = Unanswered { outgoing, deadline, slot };
    };
    tell_breaker(permit, &answered, conn);
    answered.map_err(|fault| reply_to(&fault, exchange))
}

/// The breaker of the route, if it has one, lets the request through or not.
fn ask_breaker(conn: &Connection, exchange: &Exchange) -> Result<Option<Permit>, LocalReply> {
    let has_one = exchange.handling().is_some_and(|handling| handling.breaker.is_some());
    let Some(name) = exchange.route_name().filter(|_| has_one) else { return Ok(None) };
    let Some(breaker) = exchange.snapshot.breakers.of(name) else { return Ok(None) };
    breaker.ask(conn.worker.clock.now()).map(Some).map_err(LocalReply::CircuitOpen)
}

/// A client that left says nothing of the app.
fn tell_breaker(
    permit: Option<Permit>,
    answered: &Result<Response<Answered>, UpstreamFault>,
    conn: &Connection,
) {
    let (Some(permit), now) = (permit, conn.worker.clock.recent()) else { return };
    match answered {
        Ok(response) if response.status().is_server_error() => permit.failed(now),
        Ok(_) => permit.succeeded(now),
        Err(UpstreamFault::Upload(_)) => {}
        Err(_) => permit.failed(now),
    }
}

fn reply_to(fault: &UpstreamFault, exchange: &mut Exchange) -> LocalReply {
    exchange.because(fault.to_string());
    fault.reply().unwrap_or_else(|| {
        exchange.downstream_left();
        // Nobody is there to read it.
        LocalReply::RequestTimeout
    })
}

/// Only a WebSocket is passed on; any other `Upgrade` ends at this hop.
fn asks_websocket(request: &Parts, options: &ConnectionOptions) -> bool {
    websocket::is_named_alone(&request.headers)
        && options.upgrade
        && request.method == Method::GET
        && request.version == Version::HTTP_11
}

/// Takes in as much of the body as is waited for.
async fn receive(
    body: Inbound,
    passed: Passed,
    pool: &Pool,
    conn: &Connection,
    exchange: &mut Exchange,
) -> Result<Upload<RequestBody>, LocalReply> {
    if body.is_end_stream() {
        return Ok(Upload::None);
    }
    let snapshot = Rc::clone(&exchange.snapshot);
    let length_is_known = body.size_hint().exact().is_some();
    let pause = Alarm::new(&conn.worker.alarms);
    let listen = &snapshot.model.listen;
    let (patience, pace) = (listen.body_timeout, Pace::new(listen.min_body_rate));
    let body = UploadBody::new(body, passed.max_body, pause, patience, pace);
    if exchange.handling().is_some_and(|handling| handling.stream) {
        let body = RequestBody::streamed(body);
        return Ok(if length_is_known { Upload::Length(body) } else { Upload::Chunked(body) });
    }
    collect(body, conn, exchange).await.map_err(|uncollected| {
        exchange.because(uncollected.to_string());
        uncollected.reply(LocalReply::Overloaded(pool.app.gate.retry_after())).unwrap_or_else(|| {
            exchange.downstream_left();
            // Nobody is there to read it.
            LocalReply::RequestTimeout
        })
    })
}

/// What was announced is passed on as it was; what came chunked and is here has a length now.
fn framing_of(upload: &Upload<RequestBody>, exchange: &Exchange) -> Framing {
    match upload {
        Upload::Chunked(_) => Framing::Chunked,
        Upload::Length(body) if !exchange.request.headers.contains_key(header::CONTENT_LENGTH) => {
            body.size_hint().exact().map_or(Framing::AsReceived, Framing::Length)
        }
        Upload::Length(_) => Framing::AsReceived,
        Upload::None => Framing::None,
    }
}

fn encode_head(
    options: &ConnectionOptions,
    framing: Framing,
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
        framing,
        upgrade,
    }
    .encode(&mut scratch);
    scratch.split().freeze()
}

fn respond(
    head: AnswerHead,
    call: Box<Call<RequestBody>>,
    pool: &Rc<Pool>,
    conn: &Connection,
    exchange: &mut Exchange,
) -> Result<Response<Answered>, UpstreamFault> {
    let AnswerHead { status, headers, framing, keep_alive, live } = head;
    let latency = exchange.response_head_nanos.unwrap_or(0);
    pool.app.answered(status.as_u16(), latency, conn.worker.clock.recent());
    let answered = if status == http::StatusCode::SWITCHING_PROTOCOLS {
        let (socket, inbox, slot) = call.into_tunnel();
        Answered::Tunnel(TunnelEnds { socket, inbox, slot })
    } else {
        let clock = Rc::clone(&conn.worker.clock);
        let answer = Answer::new(call, framing, keep_alive, Rc::clone(pool), clock)?;
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
