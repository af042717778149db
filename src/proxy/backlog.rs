//! What was read of an answer before its client wanted it, in the order it came.
//!
//! Memory first; when that is used up, a file, where the route says so. Invariant: once something is in the file, what
//! comes next goes behind it, until the file has been read to its end.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use crate::clock::Tick;
use crate::upstream::fault::UpstreamFault;
use crate::upstream::spill::{Spill, SpillQueue};

use super::blocks::Blocks;

/// Bytes, then trailers, then a fault.
#[derive(Debug)]
pub(super) struct Backlog {
    blocks: Blocks,
    spill: Option<Arc<Spill>>,
    spilled: Option<SpillQueue>,
    /// Of a piece that found too little room.
    rest: Bytes,
    trailers: Option<HeaderMap>,
    fault: Option<UpstreamFault>,
}

impl Backlog {
    /// Nothing yet.
    pub(super) fn new(blocks: Blocks, spill: Option<Arc<Spill>>) -> Backlog {
        Backlog { blocks, spill, spilled: None, rest: Bytes::new(), trailers: None, fault: None }
    }

    /// Whether one more piece may be read. If that depends on a disk, the task is woken when it is known.
    pub(super) fn has_room(&mut self, cx: &mut Context<'_>, now: Tick) -> bool {
        if self.trailers.is_some() || self.fault.is_some() {
            return false;
        }
        while self.has_place(cx, now) {
            if self.rest.is_empty() {
                return true;
            }
            self.keep_rest();
        }
        false
    }

    fn has_place(&mut self, cx: &mut Context<'_>, now: Tick) -> bool {
        if self.spilled.is_none() {
            if self.blocks.has_room() {
                return true;
            }
            self.spilled = self.spill.as_ref().map(SpillQueue::new);
        }
        let Some(spilled) = &mut self.spilled else { return false };
        matches!(spilled.poll_room(cx, now), Poll::Ready(Ok(())))
    }

    fn keep_rest(&mut self) {
        match &mut self.spilled {
            Some(spilled) => spilled.keep(&mut self.rest),
            None => self.blocks.keep(&mut self.rest),
        }
    }

    /// Keeps what comes next; tells how many bytes.
    pub(super) fn keep(&mut self, frame: Frame<Bytes>) -> usize {
        debug_assert!(self.rest.is_empty());
        match frame.into_data() {
            Ok(data) => {
                let len = data.len();
                self.rest = data;
                self.keep_rest();
                len
            }
            Err(frame) => {
                self.trailers = frame.into_trailers().ok();
                0
            }
        }
    }

    /// The app failed behind what was kept.
    pub(super) fn fail(&mut self, fault: UpstreamFault) {
        self.fault = Some(fault);
    }

    /// What was kept first; `None` when nothing is.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        now: Tick,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamFault>>> {
        if let Some(bytes) = self.blocks.next() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if let Some(spilled) = &mut self.spilled {
            match ready!(spilled.poll_next(cx, now)) {
                Ok(Some(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Ok(None) => self.spilled = None,
                Err(error) => return Poll::Ready(Some(Err(UpstreamFault::Spill(error)))),
            }
        }
        Poll::Ready(if !self.rest.is_empty() {
            Some(Ok(Frame::data(mem::take(&mut self.rest))))
        } else if let Some(trailers) = self.trailers.take() {
            Some(Ok(Frame::trailers(trailers)))
        } else {
            self.fault.take().map(Err)
        })
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
            && self.spilled.as_ref().is_none_or(SpillQueue::is_empty)
            && self.rest.is_empty()
            && self.trailers.is_none()
            && self.fault.is_none()
    }
}

#[cfg(test)]
mod tests;
