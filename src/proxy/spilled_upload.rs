//! A request's body that is too large for memory: all of it in a file, before anything of the app is taken.
//!
//! Invariant: a [`SpilledBody`] is whole. What broke off, grew too large, or found no room on the disk is an error before
//! there is one.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::clock::Clock;
use crate::upstream::fault::UploadFault;
use crate::upstream::spill::{Spill, SpillQueue};

/// A whole body, read once, from its first byte.
#[derive(Debug)]
pub struct SpilledBody {
    queue: SpillQueue,
    left: u64,
    trailers: Option<HeaderMap>,
    clock: Rc<Clock>,
}

impl SpilledBody {
    /// Takes what was `read` of a body so far, and then its rest to the end. Bounds of size and pace are the body's own.
    /// [`UploadFault::TooLarge`] if the disk, or what may be used of it, is full.
    pub async fn take<B>(
        read: impl IntoIterator<Item = Bytes>,
        rest: &mut B,
        spill: &Arc<Spill>,
        clock: &Rc<Clock>,
    ) -> Result<SpilledBody, UploadFault>
    where
        B: Body<Data = Bytes, Error = UploadFault> + Unpin,
    {
        let queue = SpillQueue::new(spill);
        let mut spilled = SpilledBody { queue, left: 0, trailers: None, clock: Rc::clone(clock) };
        for piece in read {
            spilled.keep(piece).await?;
        }
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut *rest).poll_frame(cx)).await {
            match frame?.into_data() {
                Ok(data) => spilled.keep(data).await?,
                Err(frame) => spilled.trailers = frame.into_trailers().ok(),
            }
        }
        Ok(spilled)
    }

    /// Whether trailers came behind it.
    pub fn has_trailers(&self) -> bool {
        self.trailers.as_ref().is_some_and(|trailers| !trailers.is_empty())
    }

    async fn keep(&mut self, mut bytes: Bytes) -> Result<(), UploadFault> {
        self.left += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = poll_fn(|cx| self.queue.poll_room(cx, self.clock.recent())).await;
            room.map_err(|_| UploadFault::TooLarge)?;
            self.queue.keep(&mut bytes);
        }
        Ok(())
    }
}

impl Body for SpilledBody {
    type Data = Bytes;
    type Error = UploadFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        let this = self.get_mut();
        Poll::Ready(match ready!(this.queue.poll_next(cx, this.clock.recent())) {
            Ok(Some(bytes)) => {
                this.left = this.left.saturating_sub(bytes.len() as u64);
                Some(Ok(Frame::data(bytes)))
            }
            Ok(None) => this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
            Err(_) => Some(Err(UploadFault::Lost)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests;
