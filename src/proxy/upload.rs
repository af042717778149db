//! The request's body on its way to the app: bounded in size, in how long it may pause, and in how slow it may be.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::alarms::Alarm;
use crate::message::pace::Pace;
use crate::upstream::fault::UploadFault;

use super::inbound::Inbound;

/// A request body.
#[derive(Debug)]
pub struct UploadBody {
    inbound: Inbound,
    allowed: u64,
    pause: Alarm,
    patience: Duration,
    pace: Pace,
}

impl UploadBody {
    /// At most `allowed` bytes, with pauses of at most `patience`, and no slower than `pace`.
    pub fn new(inbound: Inbound, allowed: u64, pause: Alarm, patience: Duration, pace: Pace) -> UploadBody {
        UploadBody { inbound, allowed, pause, patience, pace }
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
        match this.inbound.poll_frame(cx) {
            Poll::Pending => {
                if !this.pause.is_set() {
                    let now = this.pause.recent();
                    this.pause.set(this.pace.wait(now).min(now + this.patience));
                }
                this.pause.poll(cx).map(|()| Some(Err(UploadFault::TooSlow)))
            }
            Poll::Ready(frame) => {
                this.pace.go_on(this.pause.recent());
                this.pause.clear();
                Poll::Ready(match frame {
                    None => None,
                    Some(Ok(frame)) => {
                        let len = frame.data_ref().map_or(0, Bytes::len) as u64;
                        match this.allowed.checked_sub(len) {
                            Some(left) => {
                                this.allowed = left;
                                this.pace.moved(len);
                                Some(Ok(frame))
                            }
                            None => Some(Err(UploadFault::TooLarge)),
                        }
                    }
                    Some(Err(fault)) => Some(Err(fault)),
                })
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.inbound.size_hint()
    }
}
