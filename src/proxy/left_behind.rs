//! Requests whose client has left, or was answered, while the app was still at them.
//!
//! To a WSGI app it makes no difference whether somebody is still there: it computes its answer, and its worker is taken until
//! then. So the request's place in the app is kept until the app has ended, and what the answer costs is charged all the same.
//! Only where ending the connection frees something it is ended at once: the app waits for more of the request, or writes
//! an answer that has no end in sight. Invariant: everything here is bounded in
//! time, but for what a route wants finished; there each pause is.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::alarms::Alarm;
use crate::message::handling::OnDisconnect;
use crate::upstream::answer::Answer;
use crate::upstream::call::Call;
use crate::upstream::pool::Pool;

use super::admit::Account;
use super::collect::RequestBody;
use super::connection::Connection;
use super::exchange::Exchange;
use super::measure::read_told;
use super::snapshot::Snapshot;
use super::worker::Worker;

/// So many at a time for each worker. Where nothing bounds the requests in the app, clients that come and go must not cost
/// a descriptor each.
const MOST: usize = 1_000;

/// A request without a client.
#[derive(Debug)]
pub struct LeftBehind {
    work: Work,
    account: Account,
    snapshot: Rc<Snapshot>,
    /// The answer is read to its end, however long it is.
    is_finished: bool,
    /// Nothing is buffered, so an answer may have no end.
    is_stream: bool,
}

#[derive(Debug)]
enum Work {
    /// The app has the request, or a part of it.
    Asked(Box<Call<RequestBody>>, Rc<Pool>),
    /// The app writes its answer.
    Answering(Answer<RequestBody>),
    /// Only the app's end is waited for.
    HungUp(Box<Call<RequestBody>>),
}

/// Those of a worker.
#[derive(Debug, Default)]
pub struct AllLeftBehind {
    new: RefCell<Vec<LeftBehind>>,
    come: Notify,
    /// Those that were not ended yet.
    open: Cell<usize>,
    /// Those that are read to their end, and that a drain waits for.
    finishing: Cell<usize>,
}

impl LeftBehind {
    /// The client left before there was an answer.
    pub(super) fn by_client(
        call: Box<Call<RequestBody>>,
        pool: &Rc<Pool>,
        conn: &Connection,
        exchange: &mut Exchange,
    ) {
        let choice = on_disconnect(exchange);
        let work = match choice {
            // The app waits for more of it, and there is none.
            _ if !call.sent_whole() => Work::HungUp(call),
            Some(OnDisconnect::Abort) => Work::HungUp(call),
            Some(OnDisconnect::Finish) | None => Work::Asked(call, Rc::clone(pool)),
        };
        let left = LeftBehind {
            account: match &work {
                Work::Asked(..) => exchange.account.hand_over(),
                _ => Account::default(),
            },
            work,
            snapshot: Rc::clone(&exchange.snapshot),
            is_finished: choice == Some(OnDisconnect::Finish),
            is_stream: is_stream(exchange),
        };
        conn.worker.left_behind.add(left, &conn.worker);
    }

    /// The client left, or was cut off, before the end of the answer.
    pub(super) fn answer(answer: Answer<RequestBody>, conn: &Connection, exchange: &Exchange) {
        let choice = on_disconnect(exchange);
        let is_finished = choice == Some(OnDisconnect::Finish);
        if answer.is_over() || choice == Some(OnDisconnect::Abort) || (is_stream(exchange) && !is_finished) {
            return;
        }
        let left = LeftBehind {
            work: Work::Answering(answer),
            account: Account::default(),
            snapshot: Rc::clone(&exchange.snapshot),
            is_finished,
            is_stream: is_stream(exchange),
        };
        conn.worker.left_behind.add(left, &conn.worker);
    }

    /// We answered the client ourselves.
    pub(super) fn give_up(call: Box<Call<RequestBody>>, conn: &Connection, exchange: &Exchange) {
        let left = LeftBehind {
            work: Work::HungUp(call),
            account: Account::default(),
            snapshot: Rc::clone(&exchange.snapshot),
            is_finished: false,
            is_stream: false,
        };
        conn.worker.left_behind.add(left, &conn.worker);
    }

    /// Whether anything is gained by staying with it.
    fn is_worth_it(&self) -> bool {
        match &self.work {
            Work::HungUp(call) => call.is_counted(),
            Work::Asked(..) | Work::Answering(_) => true,
        }
    }

    async fn end(self, worker: &Rc<Worker>) {
        let LeftBehind { work, mut account, snapshot, is_finished, is_stream } = self;
        let patience = snapshot.model.upstream.response_timeout;
        match work {
            Work::HungUp(call) => {
                let alarm = Alarm::new(&worker.alarms);
                alarm.set_after(patience);
                // Whether it ended well does not matter anymore.
                let _ = alarm.before(call.hang_up()).await;
            }
            Work::Asked(mut call, pool) => {
                // Bounded by the deadline of the head, as with a client.
                if let Ok(mut head) = poll_fn(|cx| call.poll_head(cx)).await {
                    let from = &snapshot.model.metrics.from_response;
                    if !from.is_empty() {
                        read_told(&head.headers, head.status.as_u16(), from, &worker.measurements);
                    }
                    account.settle(&mut head.headers, &snapshot.buckets, worker.now());
                    let is_tunnel = head.status == http::StatusCode::SWITCHING_PROTOCOLS;
                    if !is_tunnel && (is_finished || !(is_stream || head.live)) {
                        let clock = Rc::clone(&worker.clock);
                        if let Ok(answer) = Answer::new(call, head.framing, head.keep_alive, pool, clock) {
                            discard(answer, is_finished, &snapshot, worker).await;
                        }
                    }
                }
                account.close(&snapshot.buckets, worker.now());
            }
            Work::Answering(answer) => discard(answer, is_finished, &snapshot, worker).await,
        }
    }
}

/// Reads an answer to its end; one that is neither to be finished nor short is let go.
async fn discard(mut answer: Answer<RequestBody>, to_the_end: bool, snapshot: &Snapshot, worker: &Worker) {
    let upstream = &snapshot.model.upstream;
    let mut left = upstream.buffers.response;
    let pause = Alarm::new(&worker.alarms);
    loop {
        if to_the_end || !pause.is_set() {
            pause.set_after(upstream.response_timeout);
        }
        let frame = pause.before(poll_fn(|cx| answer.poll_frame(cx))).await;
        let Some(Some(Ok(frame))) = frame else { return };
        let len = frame.data_ref().map_or(0, bytes::Bytes::len);
        match left.checked_sub(len) {
            Some(less) => left = less,
            None if to_the_end => {}
            None => return,
        }
    }
}

fn on_disconnect(exchange: &Exchange) -> Option<OnDisconnect> {
    exchange.handling().and_then(|handling| handling.on_disconnect)
}

fn is_stream(exchange: &Exchange) -> bool {
    exchange.handling().is_some_and(|handling| handling.stream)
}

impl AllLeftBehind {
    fn add(&self, left: LeftBehind, worker: &Worker) {
        // The process ends: connections end with it.
        if worker.is_aborting() || !left.is_worth_it() || self.open.get() >= MOST {
            return;
        }
        self.open.set(self.open.get() + 1);
        self.finishing.set(self.finishing.get() + usize::from(left.is_finished));
        self.new.borrow_mut().push(left);
        self.come.notify_one();
    }

    /// Those that a drain waits for.
    pub fn finishing(&self) -> usize {
        self.finishing.get()
    }

    /// Forgets those that were not begun with.
    pub fn clear(&self) {
        drop(self.new.take());
    }
}

/// Stays with all that are left behind, for as long as the worker lives.
pub async fn stay(worker: Rc<Worker>) {
    loop {
        let new = worker.left_behind.new.take();
        for left in new {
            let worker = Rc::clone(&worker);
            tokio::task::spawn_local(async move {
                let is_finished = left.is_finished;
                left.end(&worker).await;
                let finishing = &worker.left_behind.finishing;
                finishing.set(finishing.get() - usize::from(is_finished));
                worker.left_behind.open.set(worker.left_behind.open.get() - 1);
            });
        }
        worker.left_behind.come.notified().await;
    }
}
