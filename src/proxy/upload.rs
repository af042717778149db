//! The request's body on its way to the app: bounded in size, in how long it may pause, and in how slow it may be.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::alarms::Alarm;
use crate::message::pace::Pace;
use crate::upstream::fault::UploadFault;

/// A request body.
#[derive(Debug)]
pub struct UploadBody {
    incoming: Incoming,
    allowed: u64,
    pause: Alarm,
    patience: Duration,
    pace: Pace,
}

impl UploadBody {
    /// At most `allowed` bytes, with pauses of at most `patience`, and no slower than `pace`.
    pub fn new(incoming: Incoming, allowed: u64, pause: Alarm, patience: Duration, pace: Pace) -> UploadBody {
        UploadBody { incoming, allowed, pause, patience, pace }
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
                    Some(Err(error)) if is_malformed(&error) => Some(Err(UploadFault::Malformed)),
                    Some(Err(_)) => Some(Err(UploadFault::DownstreamLeft)),
                })
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Whether the body's coding is broken, by our reading of it or, in trailers, by hyper's.
fn is_malformed(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause
        .is_some_and(|cause| matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput))
}
