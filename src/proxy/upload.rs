//! The request's body on its way to the app: bounded in size, and in how long it may pause.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::alarms::Alarm;
use crate::upstream::fault::UploadFault;

use super::wire::Wire;

/// A request body.
#[derive(Debug)]
pub struct UploadBody {
    incoming: Incoming,
    wire: Rc<Wire>,
    allowed: u64,
    pause: Alarm,
    patience: Duration,
}

impl UploadBody {
    /// At most `allowed` bytes, with pauses of at most `patience`.
    pub fn new(
        incoming: Incoming,
        wire: Rc<Wire>,
        allowed: u64,
        pause: Alarm,
        patience: Duration,
    ) -> UploadBody {
        UploadBody { incoming, wire, allowed, pause, patience }
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = UploadFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Pending => {
                if !this.pause.is_set() {
                    this.pause.set_after(this.patience);
                }
                this.pause.poll(cx).map(|()| Some(Err(UploadFault::TooSlow)))
            }
            Poll::Ready(frame) => {
                this.pause.clear();
                Poll::Ready(match frame {
                    None => None,
                    Some(Ok(frame)) => {
                        let len = frame.data_ref().map_or(0, Bytes::len) as u64;
                        match this.allowed.checked_sub(len) {
                            Some(left) => {
                                this.allowed = left;
                                Some(Ok(frame))
                            }
                            None => Some(Err(UploadFault::TooLarge)),
                        }
                    }
                    Some(Err(_)) if this.wire.body_is_malformed() => Some(Err(UploadFault::Malformed)),
                    Some(Err(_)) => Some(Err(UploadFault::DownstreamLeft)),
                })
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
