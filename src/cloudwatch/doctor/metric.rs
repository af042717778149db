//! The metric: is it listed, by the dimensions that are configured, and has it values?

use std::collections::BTreeSet;

use aws_sdk_cloudwatch::types::Metric;

use super::Step;
use super::service::Ask;
use crate::telemetry::emf::catalog::REQUEST_COUNT;

impl Ask<'_> {
    pub(super) fn of_the_metric(&self, listed: &[Metric]) -> Vec<Step> {
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
}

/// The dimensions of one series.
fn of_metric(ours: &[&Metric]) -> Vec<(String, String)> {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let dimensions = ours.first().map_or(&[][..], |metric| metric.dimensions());
    dimensions.iter().map(|dimension| (text(dimension.name()), text(dimension.value()))).collect()
}
