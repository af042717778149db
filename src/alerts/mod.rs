//! Alerts: rules on what tollgate measures itself, told to Slack, to a webhook, and in the log.
//!
//! [`rule`] is the life of one alert, [`window`] what it sees, [`evaluation`] all rules together; [`message`] words
//! what is told, [`outbox`] and [`answer`] decide when it is sent and sent again, [`sender`] sends it. Here is the
//! thread that looks once a second.
//!
//! Invariant: nobody waits for an address: messages go into bounded queues, each with a thread of its own.

pub mod answer;
pub mod evaluation;
pub mod message;
pub mod outbox;
pub mod rule;
pub mod sender;
pub mod window;

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::{Clock, Tick};
use crate::config::model::admin::{self, Secret};
use crate::telemetry::totals::Totals;

use evaluation::{Evaluation, Signs};
use message::Teller;
use outbox::Message;
use rule::{Alert, Kind, Moment};
use sender::{Sender, Target};
use window::Reading;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Between two looks at the states of quotas, which are many.
const QUOTAS_EVERY: Duration = Duration::from_secs(10);
/// What the end waits for messages on their way.
const END: Duration = Duration::from_secs(2);

/// What a look is to find out beside what is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// [`Signs::quota_used`]; `None` is as good if this is `false`.
    pub quotas: bool,
}

/// Where measurements come from.
pub type Look = Box<dyn Fn(Ask) -> (Totals, Signs) + Send>;

/// The thread that evaluates the rules. When this is dropped it ends, within two seconds, and what waits to be
/// sent is tried once more.
#[derive(Debug)]
pub struct Alerts {
    changes: Option<mpsc::Sender<admin::Alerts>>,
    thread: Option<JoinHandle<()>>,
}

impl Alerts {
    /// Starts. `look` is called once a second, and only if there are rules; what it tells counts from zero, as it
    /// does when the process has just begun. `service` and `host` stand in messages.
    ///
    /// # Errors
    ///
    /// When a thread cannot be had.
    pub fn start(
        alerts: &admin::Alerts,
        service: String,
        host: String,
        look: Look,
        clock: Clock,
    ) -> io::Result<Alerts> {
        let mut watchman = Watchman {
            teller: Teller { service, host },
            look,
            clock,
            evaluation: Evaluation::default(),
            slack: None,
            webhook: None,
            quotas: None,
        };
        watchman.replace(alerts)?;
        watchman.evaluation.begin(watchman.moment(), &Totals::default());
        let (changes, changed) = mpsc::channel();
        let thread =
            thread::Builder::new().name("alerts".to_owned()).spawn(move || watchman.run(&changed))?;
        Ok(Alerts { changes: Some(changes), thread: Some(thread) })
    }

    /// Puts another configuration into force. A rule that looks at the same as before goes on where it was.
    pub fn replace(&self, alerts: &admin::Alerts) {
        if let Some(changes) = &self.changes {
            // The thread ends after this is dropped, not before.
            let _ = changes.send(alerts.clone());
        }
    }
}

impl Drop for Alerts {
    fn drop(&mut self) {
        drop(self.changes.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's own.
struct Watchman {
    teller: Teller,
    look: Look,
    clock: Clock,
    evaluation: Evaluation,
    slack: Option<Sender>,
    webhook: Option<Sender>,
    /// When quotas were looked at last, and what was seen.
    quotas: Option<(Tick, Signs)>,
}

impl Watchman {
    fn run(mut self, changes: &mpsc::Receiver<admin::Alerts>) {
        let mut next = self.clock.now();
        loop {
            let change = if self.evaluation.is_empty() {
                changes.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                changes.recv_timeout(Duration::from_nanos(next.nanos_since(self.clock.now())))
            };
            match change {
                Ok(alerts) => {
                    if let Err(error) = self.replace(&alerts) {
                        tracing::error!(%error, "alerts are only logged: there is no thread to send them");
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.evaluate();
                    next = (next + EVERY).max(self.clock.now());
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.end();
    }

    fn evaluate(&mut self) {
        self.clock.reanchor();
        let tick = self.clock.now();
        let is_old = self.quotas.as_ref().is_none_or(|(at, _)| *at + QUOTAS_EVERY <= tick);
        let ask = Ask { quotas: self.evaluation.asks_for_quotas() && is_old };
        let (totals, mut signs) = (self.look)(ask);
        if ask.quotas {
            self.quotas = Some((tick, signs.clone()));
        } else if let Some((_, seen)) = &self.quotas {
            signs.quota_used.clone_from(&seen.quota_used);
        }
        let now = self.moment();
        for alert in self.evaluation.look(now, &totals, &signs) {
            self.tell(&alert);
        }
    }

    fn replace(&mut self, alerts: &admin::Alerts) -> io::Result<()> {
        let now = self.moment();
        for alert in self.evaluation.replace(&alerts.rules, now) {
            self.tell(&alert);
        }
        let wanted = |url: &Option<Secret>| url.clone().filter(|_| !alerts.rules.is_empty());
        set(&mut self.slack, Target::Slack, wanted(&alerts.slack), &self.clock)?;
        set(&mut self.webhook, Target::Webhook, wanted(&alerts.webhook), &self.clock)
    }

    fn moment(&self) -> Moment {
        let tick = self.clock.now();
        Moment { tick, unix_ms: self.clock.unix_nanos(tick) / 1_000_000 }
    }

    fn tell(&self, alert: &Alert) {
        let sentence = message::sentence(alert, &self.teller);
        log(alert, &sentence);
        let id = message::id(alert, &self.teller);
        let message = |body| Message {
            rule: alert.rule.name.clone(),
            kind: alert.kind,
            id: id.clone(),
            body,
            queued: alert.at.tick,
        };
        if let Some(slack) = &self.slack {
            slack.push(message(message::slack(alert, &sentence)));
        }
        if let Some(webhook) = &self.webhook {
            webhook.push(message(message::webhook(alert, &self.teller, &sentence, &id)));
        }
    }

    fn end(self) {
        let deadline = self.clock.now() + END;
        let senders: Vec<Sender> = self.slack.into_iter().chain(self.webhook).collect();
        senders.iter().for_each(|sender| sender.close(deadline));
        senders.into_iter().for_each(|sender| sender.wait(deadline));
    }
}

/// Starts, redirects or ends a sender.
fn set(sender: &mut Option<Sender>, target: Target, url: Option<Secret>, clock: &Clock) -> io::Result<()> {
    match (&sender, url) {
        (Some(sender), Some(url)) => sender.set_url(&url),
        (None, Some(url)) => *sender = Some(Sender::start(target, url, clock)?),
        (_, None) => *sender = None,
    }
    Ok(())
}

fn log(alert: &Alert, sentence: &str) {
    let rule = alert.rule.name.as_str();
    let route = alert.rule.route.as_deref();
    let value = match alert.reading {
        Reading::Value { value, .. } => Some(value),
        Reading::TooFew { .. } | Reading::Unknown => None,
    };
    let threshold = alert.rule.when.threshold;
    match alert.kind {
        Kind::Fired { .. } => tracing::warn!(rule, route, value, threshold, alert = sentence, "alert firing"),
        Kind::StillFiring => {
            tracing::warn!(rule, route, value, threshold, alert = sentence, "alert still firing");
        }
        Kind::Resolved(_) => {
            tracing::info!(rule, route, value, threshold, alert = sentence, "alert resolved");
        }
    }
}
