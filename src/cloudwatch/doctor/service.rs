//! CloudWatch itself: may we ask, did an event arrive, did it become a metric, are there values?

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use aws_sdk_cloudwatch::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_cloudwatch::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_cloudwatch::error::BoxError;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, DimensionFilter, Metric, MetricDataQuery, MetricStat};
use aws_sdk_cloudwatchlogs::types::LogGroupClass;

use super::Step;
use crate::clock::Clock;
use crate::cloudwatch::client::{Aws, Trouble};
use crate::cloudwatch::emitted::Emitted;
use crate::config::model::Model;
use crate::telemetry::emf::catalog::REQUEST_COUNT;
use crate::telemetry::emf::check::check;

/// Signatures are refused beyond.
const MAX_SKEW_SECONDS: u64 = 300;
/// Pages of an answer that are read.
const MAX_PAGES: usize = 20;
const PERIOD: i32 = 60;
const NANOS_PER_MILLI: u64 = 1_000_000;
const STEPS: [&str; 8] =
    ["credentials", "clock", "log group", "event", "extraction", "metric", "dimensions", "data"];

/// The time that is looked at, milliseconds since 1970.
pub(super) struct Window {
    start_ms: i64,
    end_ms: i64,
}

impl Window {
    /// Up to now.
    pub(super) fn of(since: Duration) -> Window {
        let clock = Clock::start();
        let end_ms = i64::try_from(clock.unix_nanos(clock.now()) / NANOS_PER_MILLI).unwrap_or(i64::MAX);
        let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        Window { start_ms: end_ms.saturating_sub(since).max(0), end_ms }
    }

    fn told(&self) -> String {
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

struct Ask<'a> {
    aws: Aws,
    emitted: &'a Emitted,
    window: &'a Window,
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

    fn list(
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

    fn of_the_group(&self, group: Option<&str>) -> Vec<Step> {
        let all =
            |why: &str| ["log group", "event", "extraction"].map(|step| Step::skipped(step, why)).to_vec();
        let group = match group {
            _ if !self.emitted.by_lines => return all("metrics are pushed, no lines are written"),
            None => return all("the log group is not known here; give it by `--log-group`"),
            Some(group) => group,
        };
        let found = self.log_group(group);
        let is_there = found.state == super::State::Ok || found.state == super::State::NotAllowed;
        let mut steps = vec![found];
        match is_there {
            true => steps.extend([self.event(group), self.extraction(group)]),
            false => steps.extend(["event", "extraction"].map(|step| Step::skipped(step, "see `log group`"))),
        }
        steps
    }

    fn log_group(&self, name: &str) -> Step {
        let request = self.aws.logs().describe_log_groups().log_group_name_prefix(name);
        let answer = match self.aws.call("logs:DescribeLogGroups", request.send()) {
            Ok(answer) => answer,
            Err(trouble) => return Step::trouble("log group", &trouble),
        };
        // Groups come in the order of their names, so one with this very name is on the first page.
        let Some(group) = answer.log_groups().iter().find(|group| group.log_group_name() == Some(name))
        else {
            return Step::failed(
                "log group",
                format!("there is no log group `{name}` in `{}`", self.aws.region()),
                "no line has arrived yet, or region or account is another; who ships lines needs `logs:CreateLogGroup`, \
                 or make the group by hand",
            );
        };
        match group.log_group_class() {
            None | Some(LogGroupClass::Standard) => Step::ok("log group", format!("`{name}` is there")),
            Some(class) => Step::failed(
                "log group",
                format!("`{name}` is of the class {}, of which no metrics are made", class.as_str()),
                "the class of a group cannot be changed: send lines to a new group of the class STANDARD",
            ),
        }
    }

    /// Looks for an event of ours, and whether it is still as it was sent.
    fn event(&self, group: &str) -> Step {
        let client = self.aws.logs();
        let (mut token, mut altered) = (None, None);
        for _ in 0..MAX_PAGES {
            let request =
                client.filter_log_events().log_group_name(group).filter_pattern("\"CloudWatchMetrics\"");
            let request = request.start_time(self.window.start_ms).set_next_token(token);
            let page = match self.aws.call("logs:FilterLogEvents", request.send()) {
                Ok(page) => page,
                Err(trouble) => return Step::trouble("event", &trouble),
            };
            for event in page.events() {
                let message = event.message().unwrap_or_default();
                if !message.contains(&self.emitted.namespace) {
                    continue;
                }
                match check(message.as_bytes()) {
                    Ok(()) => {
                        let age =
                            (self.window.end_ms - event.timestamp().unwrap_or(self.window.end_ms)) / 1_000;
                        return Step::ok("event", format!("an EMF line of {} s ago is there", age.max(0)));
                    }
                    Err(problems) => altered = Some(problems),
                }
            }
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        match altered {
            Some(problems) => Step::failed(
                "event",
                format!("lines arrive in `{group}`, but not as valid EMF: {}", problems.join("; ")),
                "what ships them may add nothing, wrap nothing and cut nothing",
            ),
            None => Step::failed(
                "event",
                format!(
                    "no EMF line of the namespace `{}` arrived in `{group}` in {}",
                    self.emitted.namespace,
                    self.window.told()
                ),
                "send a request through tollgate; then look at the log of what ships lines (the agent: \
                 /opt/aws/amazon-cloudwatch-agent/logs): rights, a full queue, a dead connection",
            ),
        }
    }

    fn extraction(&self, group: &str) -> Step {
        let dimensions = [("LogGroupName", group.to_owned())];
        let mut counts = Vec::new();
        for name in ["EMFParsingErrors", "EMFValidationErrors"] {
            match self.sum("AWS/Logs", name, &dimensions) {
                Ok(sum) => counts.push((name, sum.unwrap_or(0.0))),
                Err(trouble) => return Step::trouble("extraction", &trouble),
            }
        }
        let wrong: Vec<String> = counts
            .iter()
            .filter(|(_, sum)| *sum > 0.0)
            .map(|(name, sum)| format!("{name} is {sum} in {}", self.window.told()))
            .collect();
        match wrong.is_empty() {
            true => Step::ok("extraction", format!("no EMF errors in {}", self.window.told())),
            false => Step::failed(
                "extraction",
                wrong.join(", "),
                "set `validate = true` in `[emf]` and look at tollgate's log; if it keeps nothing back, something else \
                 writes to this group",
            ),
        }
    }

    fn of_the_metric(&self, listed: &[Metric]) -> Vec<Step> {
        let namespace = &self.emitted.namespace;
        let ours: Vec<&Metric> = listed.iter().filter(|metric| self.is_ours(metric)).collect();
        if ours.is_empty() {
            let (found, help) = match (listed.is_empty(), self.elsewhere()) {
                (_, Some(other)) => (
                    format!(
                        "`{REQUEST_COUNT}` of this service is in the namespace `{other}`, not in `{namespace}`"
                    ),
                    "look there, or restart tollgate with this configuration".to_owned(),
                ),
                (false, None) => (
                    format!("`{REQUEST_COUNT}` is in `{namespace}`, but of other services alone"),
                    format!("look whether `service` is meant to be `{}`", self.emitted.service),
                ),
                (true, None) => (
                    format!("`{REQUEST_COUNT}` is not listed in `{namespace}` in `{}`", self.aws.region()),
                    "a new metric is listed after up to 15 minutes; else look at region and account"
                        .to_owned(),
                ),
            };
            let skipped = ["dimensions", "data"].map(|step| Step::skipped(step, "see `metric`"));
            return std::iter::once(Step::failed("metric", found, help)).chain(skipped).collect();
        }
        let listed = format!("`{REQUEST_COUNT}` is listed in `{namespace}`, {} series", ours.len());
        vec![Step::ok("metric", listed), self.dimensions(&ours), self.data(&ours)]
    }

    /// Whether the values that the configuration fixes are those of a series.
    fn is_ours(&self, metric: &Metric) -> bool {
        let fixed =
            [("Service", Some(&self.emitted.service)), ("Environment", self.emitted.environment.as_ref())];
        metric.dimensions().iter().all(|found| {
            let fixed = fixed.iter().find(|(name, _)| found.name() == Some(name));
            fixed.is_none_or(|(_, value)| value.is_some_and(|value| found.value() == Some(value)))
        })
    }

    /// A namespace with our metric of this very service.
    fn elsewhere(&self) -> Option<String> {
        let service = [("Service", self.emitted.service.clone())];
        let found = self.list(None, &service, None).ok()?;
        let other = found.iter().filter_map(Metric::namespace).find(|name| *name != self.emitted.namespace);
        other.map(str::to_owned)
    }

    fn dimensions(&self, ours: &[&Metric]) -> Step {
        let names = |metric: &&Metric| -> BTreeSet<String> {
            metric.dimensions().iter().filter_map(|dimension| dimension.name().map(str::to_owned)).collect()
        };
        let there: BTreeSet<BTreeSet<String>> = ours.iter().map(names).collect();
        let wanted = self.emitted.sets.iter();
        let wanted =
            wanted.map(|set| set.iter().map(|name| name.as_str().to_owned()).collect::<BTreeSet<_>>());
        let shown = |sets: &mut dyn Iterator<Item = BTreeSet<String>>| {
            let set = |set: BTreeSet<String>| format!("[{}]", set.into_iter().collect::<Vec<_>>().join(", "));
            sets.map(set).collect::<Vec<_>>().join(" ")
        };
        let missing = shown(&mut wanted.filter(|set| !there.contains(set)));
        match missing.is_empty() {
            true => Step::ok("dimensions", "every set of the configuration is there"),
            false => Step::failed(
                "dimensions",
                format!("no series has {missing}; there are {}", shown(&mut there.iter().cloned())),
                "CloudWatch does not sum over dimensions: ask for a set that is there, or wait up to 15 minutes after a \
                 change of `dimensions`",
            ),
        }
    }

    fn data(&self, ours: &[&Metric]) -> Step {
        let dimensions = match self.emitted.totals() {
            Some(set) => self
                .emitted
                .values(set, "")
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            None => of_metric(ours),
        };
        match self.sum(&self.emitted.namespace, REQUEST_COUNT, &dimensions) {
            Ok(Some(sum)) => Step::ok("data", format!("{sum} requests in {}", self.window.told())),
            Ok(None) => Step::failed(
                "data",
                format!("`{REQUEST_COUNT}` has no value in {}", self.window.told()),
                "send a request and wait a minute or two; `--since` looks further back",
            ),
            Err(trouble) => Step::trouble("data", &trouble),
        }
    }

    /// The sum over the window; `None` without a value.
    fn sum(
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

/// The dimensions of one series.
fn of_metric(ours: &[&Metric]) -> Vec<(String, String)> {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let dimensions = ours.first().map_or(&[][..], |metric| metric.dimensions());
    dimensions.iter().map(|dimension| (text(dimension.name()), text(dimension.value()))).collect()
}

/// Keeps the `Date` of an answer, also of one that refuses.
#[derive(Debug, Clone, Default)]
struct AnswerDate(Arc<Mutex<Option<String>>>);

impl AnswerDate {
    /// Seconds since 1970.
    fn seconds(&self) -> Option<u64> {
        let text = self.0.lock().ok()?.clone()?;
        let time = httpdate::parse_http_date(&text).ok()?;
        time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
    }
}

impl Intercept for AnswerDate {
    fn name(&self) -> &'static str {
        "AnswerDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (Ok(mut date), Some(found)) = (self.0.lock(), context.response().headers().get("date")) {
            *date = Some(found.to_owned());
        }
        Ok(())
    }
}
