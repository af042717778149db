//! The app's answer on its way to a client that may be slower than the app.
//!
//! While the client's socket takes what comes, pieces go from the app to hyper and nothing is kept. When it is full,
//! the connection's driver reads on, so that the app has soon done its part: what it reads waits in a backlog, which
//! goes first once the client reads again. Invariant: order and end are the app's; its error comes behind the bytes
//! that came before it.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::upstream::answer::Answer;
use crate::upstream::fault::UpstreamFault;
use crate::upstream::spill::Spill;

use super::backlog::Backlog;
use super::blocks::Blocks;
use super::collect::RequestBody;
use super::worker::Worker;

/// Bytes after which the worker's other connections have their turn.
const AT_ONCE: usize = 256 * 1024;

/// How much of an answer is kept for a slow client.
#[derive(Debug)]
pub struct Keeping {
    /// Bytes of memory; 0 if nothing is read ahead.
    pub memory: usize,
    /// What is more goes there; else the app waits.
    pub spill: Option<Arc<Spill>>,
}

/// An answer, and what was read of it before its client wanted it.
#[derive(Debug)]
pub struct Ahead {
    answer: Answer<RequestBody>,
    keeping: Keeping,
    backlog: Option<Box<Backlog>>,
}

impl Ahead {
    /// Nothing is read ahead yet.
    pub fn new(answer: Answer<RequestBody>, keeping: Keeping) -> Ahead {
        Ahead { answer, keeping, backlog: None }
    }

    /// The answer without what was read ahead, for one whose client has left.
    pub fn into_answer(self) -> Answer<RequestBody> {
        self.answer
    }

    /// Whether all of it was handed on.
    pub fn is_over(&self) -> bool {
        self.answer.is_over() && self.backlog.as_ref().is_none_or(|backlog| backlog.is_empty())
    }

    /// Whether something waits for the client.
    pub fn has_backlog(&self) -> bool {
        self.backlog.is_some()
    }

    /// As [`http_body::Body::size_hint`]; of an answer of which nothing was read ahead.
    pub fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }

    /// As [`http_body::Body::poll_frame`].
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamFault>>> {
        if let Some(backlog) = &mut self.backlog {
            if let Some(frame) = ready!(backlog.poll_next(cx, worker.clock.recent())) {
                return Poll::Ready(Some(frame));
            }
            self.backlog = None;
        }
        self.answer.poll_frame(cx)
    }

    /// Reads on while there is room, whatever the client does.
    pub fn read_on(&mut self, cx: &mut Context<'_>, worker: &Worker) {
        if self.keeping.memory == 0 {
            return;
        }
        let mut taken = 0;
        while !self.answer.is_ended() {
            if taken >= AT_ONCE {
                cx.waker().wake_by_ref();
                return;
            }
            if let Some(backlog) = &mut self.backlog
                && !backlog.has_room(cx, worker.clock.recent())
            {
                return;
            }
            let Poll::Ready(Some(frame)) = self.answer.poll_frame(cx) else { return };
            let backlog = self.backlog.get_or_insert_with(|| {
                let blocks = Blocks::new(self.keeping.memory, worker.buffers.lease());
                Box::new(Backlog::new(blocks, self.keeping.spill.clone()))
            });
            match frame {
                Ok(frame) => taken += backlog.keep(frame),
                Err(fault) => backlog.fail(fault),
            }
        }
    }
}
