//! What a configuration sends to CloudWatch: where to, under which names, told apart by what.
//!
//! Invariant: pushing, dashboard, alarms and doctor all look here, so they speak of the same metrics.

use std::time::Duration;

use crate::config::model::Model;
use crate::config::model::emf::{Dimension, EmfPer, EmfSink};
use crate::telemetry::emf::catalog::{self, Metric};
use crate::telemetry::totals::OTHER;

/// Where the agent puts lines that name no log group.
pub const AGENT_DEFAULT_GROUP: &str = "emf/logs/default";
/// The namespace where nothing says another.
const NAMESPACE: &str = "Tollgate";
/// The service where nothing says another.
const SERVICE: &str = "tollgate";

/// What arrives in CloudWatch if everything works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// Of the metrics.
    pub namespace: String,
    /// The dimension `Service`.
    pub service: String,
    /// The dimension `Environment`; `None` if no set has it and nothing says it.
    pub environment: Option<String>,
    /// The sets of dimensions; at least one.
    pub sets: Vec<Vec<Dimension>>,
    /// The metrics.
    pub metrics: Vec<Metric>,
    /// Values of the dimension `Route`, in the order of the configuration, without that of requests that no route
    /// matched.
    pub routes: Vec<String>,
    /// How often they are sent, if not at once.
    pub interval: Option<Duration>,
    /// The group that lines end in, where it is known.
    pub log_group: Option<String>,
    /// Whether EMF lines carry metrics.
    pub by_lines: bool,
    /// Whether PutMetricData carries them.
    pub by_push: bool,
}

impl Emitted {
    /// Of a configuration; `None` if it sends no metric.
    pub fn of(model: &Model) -> Option<Emitted> {
        let emf = model.emf.as_ref();
        let by_lines = emf.is_some_and(|emf| emf.extraction);
        let by_push = model.metrics.push.is_some();
        if !by_lines && !by_push {
            return None;
        }
        let sets = match emf {
            Some(emf) => emf.dimensions.clone(),
            None => vec![vec![Dimension::Service], vec![Dimension::Service, Dimension::Route]],
        };
        Some(Emitted {
            namespace: emf.map_or_else(|| NAMESPACE.to_owned(), |emf| emf.namespace.clone()),
            service: emf.map_or_else(|| SERVICE.to_owned(), |emf| emf.service.clone()),
            environment: emf.map(|emf| emf.environment.clone()),
            sets,
            metrics: catalog::metrics(model),
            routes: routes(model),
            interval: model.metrics.push.or(emf.and_then(|emf| match emf.per {
                EmfPer::Request => None,
                EmfPer::Interval(interval) => Some(interval),
            })),
            log_group: emf.and_then(|emf| match &emf.sink {
                EmfSink::Logs { group, .. } => Some(group.clone()),
                EmfSink::Tcp(_) | EmfSink::Udp(_) => {
                    Some(emf.log_group.clone().unwrap_or_else(|| AGENT_DEFAULT_GROUP.to_owned()))
                }
                EmfSink::Stdout | EmfSink::File(_) => emf.log_group.clone(),
            }),
            by_lines,
            by_push,
        })
    }

    /// The set to look up totals by: one without the route, with the service if there is such a set.
    pub fn totals(&self) -> Option<&[Dimension]> {
        let without_route = || self.sets.iter().filter(|set| !set.contains(&Dimension::Route));
        let with_service = without_route().find(|set| set.contains(&Dimension::Service));
        with_service.or_else(|| without_route().next()).map(Vec::as_slice)
    }

    /// The set to look up one route by, with the service if there is such a set.
    pub fn by_route(&self) -> Option<&[Dimension]> {
        let with_route = || self.sets.iter().filter(|set| set.contains(&Dimension::Route));
        let with_service = with_route().find(|set| set.contains(&Dimension::Service));
        with_service.or_else(|| with_route().next()).map(Vec::as_slice)
    }

    /// Names and values of a set; `route` is the value of the dimension `Route`.
    pub fn values(&self, set: &[Dimension], route: &str) -> Vec<(&'static str, String)> {
        let value = |dimension: &Dimension| match dimension {
            Dimension::Service => self.service.clone(),
            Dimension::Environment => self.environment.clone().unwrap_or_default(),
            Dimension::Route => route.to_owned(),
        };
        set.iter().map(|dimension| (dimension.as_str(), value(dimension))).collect()
    }

    /// Seconds of a period that surely has a value if something was sent: whole minutes.
    pub fn period(&self) -> i32 {
        let seconds = self.interval.map_or(0, |interval| interval.as_secs());
        i32::try_from(seconds.div_ceil(60).max(1) * 60).unwrap_or(i32::MAX)
    }

    /// What names of dashboard and alarms begin with. The environment is part of it where it tells metrics apart:
    /// there the same service may run in several.
    pub fn prefix(&self) -> String {
        let told_apart =
            self.totals().or(self.by_route()).is_some_and(|set| set.contains(&Dimension::Environment));
        match &self.environment {
            Some(environment) if told_apart => format!("tollgate-{}-{environment}", self.service),
            _ => format!("tollgate-{}", self.service),
        }
    }

    /// Whether a metric is among those sent.
    pub fn has(&self, name: &str) -> bool {
        self.metrics.iter().any(|metric| metric.name == name)
    }
}

/// Those that have series of their own, and the name of the rest.
fn routes(model: &Model) -> Vec<String> {
    let all = model.routes.routes();
    let most = model.metrics.max_routes;
    let mut names: Vec<String> = all.iter().take(most).map(|route| route.name.to_string()).collect();
    if all.len() > most {
        names.push(OTHER.to_owned());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloudwatch::tests::{emf, model};
    use Dimension::{Environment, Route, Service};

    #[test]
    fn what_sends_nothing_has_nothing() {
        let mut quiet = model();
        assert_eq!(Emitted::of(&quiet), None);
        quiet.emf = Some(crate::config::model::emf::Emf { extraction: false, ..emf() });
        assert_eq!(Emitted::of(&quiet), None);
    }

    #[test]
    fn pushing_alone_has_names_of_its_own() {
        let mut pushing = model();
        pushing.metrics.push = Some(std::time::Duration::from_secs(60));
        let emitted = Emitted::of(&pushing).unwrap();
        assert_eq!((emitted.namespace.as_str(), emitted.service.as_str()), ("Tollgate", "tollgate"));
        assert_eq!(emitted.sets, [vec![Service], vec![Service, Route]]);
        assert_eq!(emitted.log_group, None);
    }

    #[test]
    fn totals_are_looked_up_by_a_set_without_the_route() {
        let mut some = model();
        some.emf = Some(emf());
        let of = |sets: &[&[Dimension]]| {
            let mut emitted = Emitted::of(&some).unwrap();
            emitted.sets = sets.iter().map(|set| set.to_vec()).collect();
            (emitted.totals().map(<[_]>::to_vec), emitted.by_route().map(<[_]>::to_vec))
        };
        assert_eq!(
            of(&[&[Environment], &[Route], &[Service, Environment], &[Service, Route]]),
            (Some(vec![Service, Environment]), Some(vec![Service, Route]))
        );
        assert_eq!(of(&[&[Environment], &[Route]]), (Some(vec![Environment]), Some(vec![Route])));
        assert_eq!(of(&[&[Service, Route]]), (None, Some(vec![Service, Route])));
    }
}
