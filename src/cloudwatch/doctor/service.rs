//! Asking CloudWatch: credentials, time, and what the other steps ask with.
//!
//! `group` looks at the log group and what arrives there, `metric` at what became of it.

use std::time::Duration;

use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, DimensionFilter, Metric, MetricDataQuery, MetricStat};

use super::Step;
use super::answer_date::AnswerDate;
use crate::clock::Clock;
use crate::cloudwatch::client::{Aws, Trouble};
use crate::cloudwatch::emitted::Emitted;
use crate::config::model::Model;
use crate::telemetry::emf::catalog::REQUEST_COUNT;

/// Signatures are refused beyond.
const MAX_SKEW_SECONDS: u64 = 300;
/// Pages of an answer that are read.
pub(super) const MAX_PAGES: usize = 20;
const PERIOD: i32 = 60;
const NANOS_PER_MILLI: u64 = 1_000_000;
const STEPS: [&str; 8] =
    ["credentials", "clock", "log group", "event", "extraction", "metric", "dimensions", "data"];

/// The time that is looked at, milliseconds since 1970.
pub(super) struct Window {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
}

impl Window {
    /// Up to now.
    pub(super) fn of(since: Duration) -> Window {
        let clock = Clock::start();
        let end_ms = i64::try_from(clock.unix_nanos(clock.now()) / NANOS_PER_MILLI).unwrap_or(i64::MAX);
        let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        Window { start_ms: end_ms.saturating_sub(since).max(0), end_ms }
    }

    pub(super) fn told(&self) -> String {
        let seconds = (self.end_ms - self.start_ms) / 1_000;
        match seconds % 60 {
            0 => format!("the last {} minutes", seconds / 60),
            _ => format!("the last {seconds} seconds"),
        }
    }
}

/// Everything that is asked of AWS.
pub(super) fn steps(model: &Model, emitted: &Emitted, group: Option<&str>, window: &Window) -> Vec<Step> {
    let aws =
        match Aws::new(model.cloudwatch.region.as_deref()).and_then(|aws| aws.credentials().map(|()| aws)) {
            Ok(aws) => aws,
            Err(trouble) => {
                let skipped = STEPS[1..].iter().map(|step| Step::skipped(step, "AWS cannot be asked"));
                return std::iter::once(Step::trouble("credentials", &trouble)).chain(skipped).collect();
            }
        };
    let ask = Ask { aws, emitted, window };
    let mut steps = vec![Step::ok("credentials", format!("found; the region is `{}`", ask.aws.region()))];
    let (clock, listed) = ask.list_metrics();
    steps.push(clock);
    steps.extend(ask.of_the_group(group));
    steps.extend(match listed {
        Ok(listed) => ask.of_the_metric(&listed),
        Err(trouble) => {
            let mut steps = vec![Step::trouble("metric", &trouble)];
            steps.push(Step::skipped("dimensions", "metrics cannot be listed"));
            steps.push(Step::skipped("data", "metrics cannot be listed"));
            steps
        }
    });
    steps
}

/// Whom to ask, of what.
pub(super) struct Ask<'a> {
    pub(super) aws: Aws,
    pub(super) emitted: &'a Emitted,
    pub(super) window: &'a Window,
}

impl Ask<'_> {
    /// The series of requests in our namespace, and AWS's time on the way.
    fn list_metrics(&self) -> (Step, Result<Vec<Metric>, Trouble>) {
        let date = AnswerDate::default();
        let listed = self.list(Some(&self.emitted.namespace), &[], Some(date.clone()));
        let clock = Clock::start();
        let now = clock.unix_nanos(clock.now()) / 1_000_000_000;
        let step = match date.seconds() {
            None => Step::skipped("clock", "AWS did not answer with a date"),
            Some(theirs) => {
                let skew = now.abs_diff(theirs);
                let side = if now > theirs { "ahead" } else { "behind" };
                match skew {
                    0..=MAX_SKEW_SECONDS => Step::ok("clock", "this host and AWS have the same time"),
                    _ => Step::failed(
                        "clock",
                        format!("this host's clock is {skew} s {side} of AWS's"),
                        "set the clock by NTP: AWS refuses signatures beyond 5 minutes, and events more than 2 hours ahead",
                    ),
                }
            }
        };
        (step, listed)
    }

    pub(super) fn list(
        &self,
        namespace: Option<&str>,
        dimensions: &[(&'static str, String)],
        date: Option<AnswerDate>,
    ) -> Result<Vec<Metric>, Trouble> {
        let client = self.aws.cloudwatch();
        let filter =
            |(name, value): &(&str, String)| DimensionFilter::builder().name(*name).value(value).build();
        let filters: Vec<DimensionFilter> = dimensions.iter().map(filter).collect();
        let (mut found, mut token) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let request = client.list_metrics().set_namespace(namespace.map(str::to_owned));
            let request = request.metric_name(REQUEST_COUNT).set_next_token(token);
            let request = request.set_dimensions((!filters.is_empty()).then(|| filters.clone())).customize();
            let request = match &date {
                Some(date) => request.interceptor(date.clone()),
                None => request,
            };
            let page = self.aws.call("cloudwatch:ListMetrics", request.send())?;
            found.extend(page.metrics().iter().cloned());
            token = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// The sum over the window; `None` without a value.
    pub(super) fn sum(
        &self,
        namespace: &str,
        name: &str,
        dimensions: &[(impl AsRef<str>, String)],
    ) -> Result<Option<f64>, Trouble> {
        let dimension = |(name, value): &(_, String)| {
            Dimension::builder().name(AsRef::<str>::as_ref(name)).value(value).build()
        };
        let metric = Metric::builder().namespace(namespace).metric_name(name);
        let metric = metric.set_dimensions(Some(dimensions.iter().map(dimension).collect())).build();
        let stat = MetricStat::builder().metric(metric).period(PERIOD).stat("Sum").build();
        let query = MetricDataQuery::builder().id("m1").metric_stat(stat).build();
        let request = self.aws.cloudwatch().get_metric_data().metric_data_queries(query);
        let request = request.start_time(DateTime::from_millis(self.window.start_ms));
        let request = request.end_time(DateTime::from_millis(self.window.end_ms));
        let answer = self.aws.call("cloudwatch:GetMetricData", request.send())?;
        let values: Vec<f64> =
            answer.metric_data_results().iter().flat_map(|found| found.values().to_vec()).collect();
        Ok((!values.is_empty()).then(|| values.iter().sum()))
    }
}
