//! The thread that posts messages to one address.
//!
//! Invariant: nothing that is written here holds the address or anything the other side answered: errors are
//! told by their kind.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ureq::Agent;

use crate::clock::{Clock, Tick};
use crate::config::model::admin::Secret;

use super::answer::{Fault, Outcome, judge};
use super::outbox::{Message, Outbox, Settled, Step};

/// Longest attempt, from the look-up of the name to the end of the answer.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Longest look-up, and longest connect.
const CONNECT: Duration = Duration::from_secs(5);
/// Of an answer's body, this much is looked at.
const BODY_MAX: u64 = 256;

const TLS: &str = "TLS failed; is the certificate valid?";

/// Where messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Slack's incoming webhook: at most one message a second.
    Slack,
    /// Any other.
    Webhook,
}

impl Target {
    /// In the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Target::Slack => "slack",
            Target::Webhook => "webhook",
        }
    }

    fn thread_name(self) -> &'static str {
        match self {
            Target::Slack => "alerts-slack",
            Target::Webhook => "alerts-webhook",
        }
    }

    fn pace(self) -> Duration {
        match self {
            Target::Slack => Duration::from_secs(1),
            Target::Webhook => Duration::ZERO,
        }
    }
}

/// A queue with a thread that empties it. Dropped without [`Sender::close`], the thread ends when it has tried
/// what waits.
#[derive(Debug)]
pub struct Sender {
    target: Target,
    shared: Arc<Shared>,
    clock: Clock,
    /// Disconnected when the thread has ended.
    ended: mpsc::Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    outbox: Outbox,
    url: Secret,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    /// Starts the thread.
    pub fn start(target: Target, url: Secret, clock: &Clock) -> io::Result<Sender> {
        let state = State { outbox: Outbox::new(target.pace()), url };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let (end, ended) = mpsc::channel();
        let post = Post { target, shared: Arc::clone(&shared), clock: clock.sibling(), agent: agent() };
        thread::Builder::new().name(target.thread_name().to_owned()).spawn(move || {
            post.run();
            drop(end);
        })?;
        Ok(Sender { target, shared, clock: clock.sibling(), ended })
    }

    /// Sends to this address from now on.
    pub fn set_url(&self, url: &Secret) {
        let mut state = self.shared.lock();
        if state.url != *url {
            state.url = url.clone();
            state.outbox.begin_anew();
            self.shared.changed.notify_one();
        }
    }

    /// Puts a message into the queue; does not wait.
    pub fn push(&self, message: Message) {
        let displaced = self.shared.lock().outbox.push(message);
        self.shared.changed.notify_one();
        if let Some(message) = displaced {
            warn_dropped(self.target, &message, "too many alerts wait for it");
        }
    }

    /// Asks the thread to send what waits, and to end at the deadline at the latest.
    pub fn close(&self, deadline: Tick) {
        self.shared.lock().outbox.close(self.clock.now(), deadline);
        self.shared.changed.notify_one();
    }

    /// Waits until the thread has ended, or the deadline is over. A thread that hangs in an attempt then is left to
    /// itself; the attempt ends soon.
    pub fn wait(self, deadline: Tick) {
        let left = Duration::from_nanos(deadline.nanos_since(self.clock.now()));
        if self.ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(to = self.target.as_str(), "alerts are not sent: no answer yet, and time is up");
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.close(self.clock.now() + ATTEMPT);
    }
}

/// The thread's own.
struct Post {
    target: Target,
    shared: Arc<Shared>,
    clock: Clock,
    agent: Agent,
}

impl Post {
    fn run(self) {
        let mut state = self.shared.lock();
        loop {
            let now = self.clock.now();
            match state.outbox.next(now) {
                Step::Send(message) => {
                    let url = state.url.clone();
                    drop(state);
                    let outcome = self.attempt(&url, &message);
                    state = self.shared.lock();
                    let now = self.clock.now();
                    let settled = state.outbox.settle(message, outcome, now, fastrand::f64());
                    self.tell(settled);
                }
                Step::WaitUntil(then) => {
                    let wait = Duration::from_nanos(then.nanos_since(now));
                    let woken = self.shared.changed.wait_timeout(state, wait);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                Step::Idle => {
                    state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Step::End => break,
            }
        }
        for message in state.outbox.leave() {
            warn_dropped(self.target, &message, "time is up");
        }
    }

    fn attempt(&self, url: &Secret, message: &Message) -> Outcome {
        let request = self.agent.post(url.reveal()).header("content-type", "application/json");
        match request.send(message.body.as_str()) {
            Ok(mut response) => {
                let status = response.status().as_u16();
                let retry_after = response.headers().get("retry-after").cloned();
                let retry_after = retry_after.as_ref().and_then(|value| value.to_str().ok());
                let body = response.body_mut().with_config().limit(BODY_MAX).read_to_vec();
                let seconds = self.clock.unix_nanos(self.clock.now()) / 1_000_000_000;
                judge(status, retry_after, &body.unwrap_or_default(), seconds)
            }
            Err(error) => fault(&error),
        }
    }

    fn tell(&self, settled: Settled) {
        let to = self.target.as_str();
        match settled {
            Settled::Delivered { failures: 0 } => {}
            Settled::Delivered { failures } => tracing::info!(to, failures, "alerts can be sent again"),
            Settled::Again { why, failures: 1 } => {
                tracing::warn!(to, error = %why, "an alert could not be sent; it is tried again");
            }
            Settled::Again { why, failures } => {
                tracing::debug!(to, error = %why, failures, "an alert could not be sent; it is tried again");
            }
            Settled::Dropped { message, why } => warn_dropped(self.target, &message, &why.to_string()),
        }
    }
}

fn warn_dropped(target: Target, message: &Message, error: &str) {
    tracing::warn!(to = target.as_str(), rule = message.rule, error, "an alert was not sent");
}

fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        // The other side could send the message, and with it what it tells, to anybody.
        .max_redirects(0)
        .timeout_global(Some(ATTEMPT))
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .max_idle_connections(0)
        .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// An error by its kind: its text may hold the address.
fn fault(error: &ureq::Error) -> Outcome {
    use ureq::Error;
    let failed = |what| Outcome::Failed { why: Fault::NoAnswer(what), after: None };
    match error {
        Error::Timeout(_) => failed("no answer in time"),
        Error::HostNotFound => failed("the host's name is not known"),
        Error::Io(error) => failed(io_fault(error.kind())),
        Error::ConnectionFailed => failed("no connection"),
        Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) => failed(TLS),
        Error::ConnectProxyFailed(_) | Error::InvalidProxyUrl => {
            failed("the proxy of the environment does not connect")
        }
        Error::BadUri(_) | Error::Http(_) => {
            Outcome::Refused { why: Fault::NoAnswer("the address cannot be used") }
        }
        _ => failed("the answer is not HTTP"),
    }
}

fn io_fault(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::ConnectionRefused => "the connection was refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "the connection was reset",
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionAborted => "the connection was closed",
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer in time",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "there is no way to the host",
        // So TLS tells what it did not understand, or does not trust.
        io::ErrorKind::InvalidData => TLS,
        _ => "no connection",
    }
}
