//! Metrics by PutMetricData, on a thread of its own, for hosts without an agent.
//!
//! Invariant: what could not be sent waits with its time for the next turn; memory for it is bounded, and what had to
//! go is counted and told. A request whose answer was lost is sent again: CloudWatch may count it twice.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use tokio::sync::watch;

use super::client::{self, Trouble, trouble};
use super::data::{Datum, Value, data, parcels};
use super::emitted::Emitted;
use crate::clock::{Clock, Tick};
use crate::config::model::Model;
use crate::telemetry::emf::catalog::{Metric, Unit};
use crate::telemetry::totals::Totals;

/// For the last interval, when the process ends.
const LAST_TIMEOUT: Duration = Duration::from_secs(5);
/// Parcels that wait, each below a megabyte.
const MAX_WAITING: usize = 16;
/// The right that is needed.
const ACTION: &str = "cloudwatch:PutMetricData";
const NANOS_PER_MILLI: u64 = 1_000_000;
/// How often at most a failure is told.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Reads what was measured since the process began, and the metrics that the configuration in force makes of it.
pub type Read = Box<dyn Fn() -> (Totals, Vec<Metric>) + Send>;

/// The thread that pushes; dropping it sends what came since the last turn, within five seconds.
pub struct Push {
    stop: Option<watch::Sender<bool>>,
    thread: Option<JoinHandle<()>>,
    counts: Arc<Counts>,
}

/// What became of the data.
#[derive(Debug, Default)]
struct Counts {
    failures: AtomicU64,
    dropped: AtomicU64,
}

impl Push {
    /// Begins; `None` if the configuration pushes nothing.
    pub fn start(model: &Model, read: Read) -> io::Result<Option<Push>> {
        let (Some(interval), Some(emitted)) = (model.metrics.push, Emitted::of(model)) else {
            return Ok(None);
        };
        let region = model.cloudwatch.region.clone();
        let counts = Arc::new(Counts::default());
        let (stop, stopped) = watch::channel(false);
        let mut pusher = Pusher {
            emitted,
            previous: Totals::default(),
            read,
            region,
            client: None,
            waiting: VecDeque::new(),
            clock: Clock::start(),
            counts: Arc::clone(&counts),
            told: Told::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || runtime.block_on(pusher.run(interval, stopped));
        let thread = thread::Builder::new().name("push".to_owned()).spawn(run)?;
        Ok(Some(Push { stop: Some(stop), thread: Some(thread), counts }))
    }

    /// Requests that failed after all retries.
    pub fn failures(&self) -> u64 {
        self.counts.failures.load(Ordering::Relaxed)
    }

    /// Data that were given up.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Pusher {
    emitted: Emitted,
    previous: Totals,
    read: Read,
    region: Option<String>,
    client: Option<Client>,
    waiting: VecDeque<Vec<Datum>>,
    clock: Clock,
    counts: Arc<Counts>,
    told: Told,
}

/// When and of what somebody was told last.
#[derive(Debug, Default)]
struct Told {
    at: Option<Tick>,
    failures: u64,
    dropped: u64,
}

impl Pusher {
    /// Until the end, and not much longer.
    async fn run(&mut self, interval: Duration, stopped: watch::Receiver<bool>) {
        let mut ending = stopped.clone();
        let cut_off = async move {
            wait_for_the_end(&mut ending).await;
            tokio::time::sleep(LAST_TIMEOUT).await;
        };
        tokio::select! {
            () = self.turns(interval, stopped) => {}
            () = cut_off => {}
        }
        let unsent = self.waiting.iter().map(Vec::len).sum::<usize>() as u64;
        if unsent > 0 {
            self.counts.dropped.fetch_add(unsent, Ordering::Relaxed);
            tracing::warn!(unsent, "the last metrics could not be sent to CloudWatch before the end");
        }
    }

    /// A turn each interval, and one at the end.
    async fn turns(&mut self, interval: Duration, mut stopped: watch::Receiver<bool>) {
        loop {
            let waited = tokio::time::timeout(interval, wait_for_the_end(&mut stopped)).await;
            self.take();
            if let Err(trouble) = self.send().await {
                self.counts.failures.fetch_add(1, Ordering::Relaxed);
                self.tell(&trouble);
            }
            if waited.is_ok() {
                return;
            }
        }
    }

    /// Puts what came since the last turn behind what waits.
    fn take(&mut self) {
        let (now, metrics) = (self.read)();
        self.emitted.metrics = metrics;
        self.clock.reanchor();
        let unix_ms = self.clock.unix_nanos(self.clock.now()) / NANOS_PER_MILLI;
        self.waiting.extend(parcels(data(&self.previous, &now, unix_ms, &self.emitted)));
        self.previous = now;
        while self.waiting.len() > MAX_WAITING {
            let oldest = self.waiting.pop_front().map_or(0, |parcel| parcel.len());
            self.counts.dropped.fetch_add(oldest as u64, Ordering::Relaxed);
        }
    }

    /// Sends what waits, the oldest first, until something fails. What CloudWatch refuses is not sent again.
    async fn send(&mut self) -> Result<(), Trouble> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let client = match &self.client {
            Some(client) => client.clone(),
            None => {
                let config = client::load(self.region.as_deref()).await?;
                self.client.insert(Client::new(&config)).clone()
            }
        };
        while let Some(parcel) = self.waiting.front() {
            let request = client.put_metric_data().namespace(&self.emitted.namespace);
            let sent = request.set_metric_data(Some(parcel.iter().map(datum).collect())).send().await;
            match sent.map_err(|error| trouble(ACTION, &error)) {
                Ok(_) => drop(self.waiting.pop_front()),
                Err(refused @ Trouble::Refused { .. }) => {
                    let given_up = self.waiting.pop_front().map_or(0, |parcel| parcel.len());
                    self.counts.dropped.fetch_add(given_up as u64, Ordering::Relaxed);
                    return Err(refused);
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    fn tell(&mut self, trouble: &Trouble) {
        let now = self.clock.now();
        if self.told.at.is_some_and(|at| now < at + TELL_EVERY) {
            return;
        }
        let failures = self.counts.failures.load(Ordering::Relaxed);
        let dropped = self.counts.dropped.load(Ordering::Relaxed);
        tracing::warn!(
            failures = failures - self.told.failures,
            dropped = dropped - self.told.dropped,
            cause = %trouble,
            "metrics could not be sent to CloudWatch; {}",
            match trouble.help() {
                help if help.is_empty() => "they are sent with the next turn unless CloudWatch refuses them".to_owned(),
                help => help,
            }
        );
        self.told = Told { at: Some(now), failures, dropped };
    }
}

async fn wait_for_the_end(stopped: &mut watch::Receiver<bool>) {
    // Without a sender the end has come as well.
    let _ = stopped.wait_for(|stop| *stop).await;
}

fn datum(datum: &Datum) -> MetricDatum {
    let unit = match datum.unit {
        Unit::Count => StandardUnit::Count,
        Unit::Milliseconds => StandardUnit::Milliseconds,
    };
    let dimension = |(name, value): &(&str, String)| Dimension::builder().name(*name).value(value).build();
    let built = MetricDatum::builder()
        .metric_name(&datum.name)
        .unit(unit)
        .timestamp(DateTime::from_millis(i64::try_from(datum.unix_ms).unwrap_or(i64::MAX)))
        .set_dimensions(Some(datum.dimensions.iter().map(dimension).collect()));
    match &datum.value {
        Value::Sum(sum) => built.value(*sum as f64).build(),
        Value::Distribution { values, counts } => {
            built.set_values(Some(values.clone())).set_counts(Some(counts.clone())).build()
        }
    }
}
