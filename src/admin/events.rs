//! `/events`: the state each second, put together once for all who listen.
//!
//! Invariant: a listener that is slow misses events, and holds up nobody. None outlives the token it has shown.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Sender, channel};

use super::control::Control;
use super::reply::{Body, Failure, events};
use super::status_of::Teller;

const EVERY: Duration = Duration::from_secs(1);
const MOST: usize = 8;
/// Events that may wait for a listener to read.
const WAITING: usize = 2;

/// Everybody who listens.
#[derive(Debug)]
pub(super) struct Streams {
    listeners: RefCell<Vec<Sender<Bytes>>>,
    number: Cell<u64>,
}

impl Streams {
    /// Begins to tell. Within the admin thread's runtime.
    pub(super) fn start(teller: Rc<Teller>, control: Arc<Control>) -> Rc<Streams> {
        let streams = Rc::new(Streams { listeners: RefCell::default(), number: Cell::new(0) });
        let sender = Rc::clone(&streams);
        tokio::task::spawn_local(async move {
            let mut token = control.token();
            loop {
                tokio::time::sleep(EVERY).await;
                let now = control.token();
                if now != token {
                    // Whoever has the new one comes again.
                    sender.listeners.borrow_mut().clear();
                    token = now;
                }
                sender.listeners.borrow_mut().retain(|listener| !listener.is_closed());
                if !sender.listeners.borrow().is_empty() {
                    let event = sender.event(&teller);
                    sender.listeners.borrow_mut().retain(|listener| {
                        !matches!(listener.try_send(event.clone()), Err(TrySendError::Closed(_)))
                    });
                }
            }
        });
        streams
    }

    /// One more who listens; the first event is there at once.
    pub(super) fn open(&self, teller: &Teller) -> Result<Response<Body>, Failure> {
        let mut listeners = self.listeners.borrow_mut();
        listeners.retain(|listener| !listener.is_closed());
        if listeners.len() >= MOST {
            let message = "Eight streams are open, more there are not.";
            return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", message));
        }
        let (sender, receiver) = channel(WAITING);
        // There is room: it is new.
        let _ = sender.try_send(self.event(teller));
        listeners.push(sender);
        Ok(events(receiver))
    }

    fn event(&self, teller: &Teller) -> Bytes {
        let number = self.number.get() + 1;
        self.number.set(number);
        // JSON has no line ends of its own here.
        let status = serde_json::to_string(&teller.status(false)).unwrap_or_default();
        Bytes::from(format!("event: status\nid: {number}\ndata: {status}\n\n"))
    }
}
