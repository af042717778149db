//! One request and the head of its answer: over a pooled connection if one is good, again if nothing was lost by it,
//! never twice if something could be.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::alarms::Alarm;
use crate::upstream::call::{Call, Unanswered};
use crate::upstream::fault::UpstreamFault;
use crate::upstream::pool::{Connection as UpstreamConnection, Pool};
use crate::upstream::response_head::{AnswerHead, Asked};

use super::collect::RequestBody;
use super::connection::Connection;
use super::exchange::Exchange;
use super::left_behind::LeftBehind;

/// Connections on which a request may be tried of which no byte was written.
const MAX_UNWRITTEN_TRIES: u32 = 3;

/// Why there is no answer, and whether the request can be put to the app again as if nothing had been.
#[derive(Debug)]
pub(super) struct Unasked {
    /// Why.
    pub(super) fault: UpstreamFault,
    /// The request, if nothing of it was written, or nothing is lost by writing it again.
    pub(super) request: Option<Box<Unanswered<RequestBody>>>,
}

/// Tries of one exchange, over all its connections.
#[derive(Debug)]
pub(super) struct Tries {
    made: u32,
    repeats_left: u32,
}

impl Tries {
    /// None made; `repeats` of a request that was written.
    pub(super) fn new(repeats: u32) -> Tries {
        Tries { made: 0, repeats_left: repeats }
    }
}

/// Finds a connection, sends, and waits for a head; on another connection where that repeats nothing.
pub(super) async fn ask(
    mut request: Unanswered<RequestBody>,
    asked: Asked,
    tries: &mut Tries,
    pool: &Rc<Pool>,
    conn: &Connection,
    exchange: &mut Exchange,
) -> Result<(AnswerHead, Box<Call<RequestBody>>), Unasked> {
    let worker = &conn.worker;
    let response_timeout = exchange.snapshot.model.upstream.response_timeout;
    let idempotent = exchange.request.method.is_idempotent();
    let mut pooled = pool.take(worker.clock.recent());
    exchange.asked = Some(Rc::clone(pool));
    loop {
        let connection = match pooled.take() {
            Some(connection) => {
                worker.series.reuses.add(1);
                connection
            }
            None => match connect(pool, conn, exchange).await {
                Ok(connection) => connection,
                Err(fault) => return Err(Unasked { fault, request: Some(Box::new(request)) }),
            },
        };
        tries.made += 1;
        if tries.made > 1 {
            worker.series.repeats.add(1);
        }
        let sent = worker.clock.recent();
        let call = Call::new(connection, request, asked, response_timeout);
        let mut asking = Asking { call: Some(Box::new(call)), pool, conn, exchange: &mut *exchange };
        let result = poll_fn(|cx| asking.poll_head(cx)).await;
        let (Some(call), exchange) = (asking.call.take(), &mut *asking.exchange) else {
            return Err(Unasked { fault: UpstreamFault::Timeout, request: None });
        };
        let fault = match result {
            Ok(head) => {
                exchange.response_head_nanos = Some(worker.clock.now().nanos_since(sent));
                return Ok((head, call));
            }
            Err(fault) => fault,
        };
        let unwritten = call.is_unwritten();
        let may_repeat = if unwritten { tries.made < MAX_UNWRITTEN_TRIES } else { tries.repeats_left > 0 };
        if !matches!(fault, UpstreamFault::Died(_)) {
            // The app may still be at it, and has its place until it is not.
            LeftBehind::give_up(call, conn, exchange);
            return Err(Unasked { fault, request: None });
        }
        let unanswered = if may_repeat { call.into_unanswered(idempotent) } else { None };
        let Some(unanswered) = unanswered else { return Err(Unasked { fault, request: None }) };
        request = unanswered;
        tries.repeats_left -= u32::from(!unwritten);
    }
}

/// A request that is with the app. When the client leaves, hyper drops what waits for the answer: then the request is left
/// behind.
struct Asking<'a> {
    call: Option<Box<Call<RequestBody>>>,
    pool: &'a Rc<Pool>,
    conn: &'a Connection,
    exchange: &'a mut Exchange,
}

impl Asking<'_> {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, UpstreamFault>> {
        let Asking { call: Some(call), exchange, .. } = self else { return Poll::Pending };
        within_total(exchange, cx, |cx| call.poll_head(cx))
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            LeftBehind::by_client(call, self.pool, self.conn, self.exchange);
        }
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
pub(super) fn within_total<T>(
    exchange: &Exchange,
    cx: &mut Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> Poll<Result<T, UpstreamFault>>,
) -> Poll<Result<T, UpstreamFault>> {
    match (poll(cx), &exchange.total) {
        (Poll::Pending, Some(total)) => total.poll(cx).map(|()| Err(UpstreamFault::RouteTimeout)),
        (result, _) => result,
    }
}
