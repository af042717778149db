//! Alarms for what a configuration sends: plain data in the words of PutMetricAlarm and CloudFormation.
//!
//! An alarm cannot search, so it looks at series by their names: those of the set without `Route`, or, if there is no
//! such set, one alarm for each route. Invariant: shares are made of sums and have a floor of traffic, and an alarm of
//! a metric that is not sent is not made.

use std::time::Duration;

use crate::config::model::emf::Dimension as Key;
use crate::config::model::metrics::Alarms as Thresholds;
use crate::telemetry::emf::catalog;

use super::alarm::{Alarm, Dimension, MetricName, MetricStat, Query};
use super::emitted::Emitted;

/// Periods that are looked at, and how many of them must be bad.
const EVALUATED: i32 = 3;
const BAD: i32 = 2;
/// Of all periods together.
const MAX_EVALUATED_SECONDS: i32 = 86_400;
/// A percentile needs many values, so its period is longer.
const PERCENTILE_PERIOD: i32 = 300;

/// What every description ends in: alarms with another belong to somebody else, whatever their names.
pub fn mark(emitted: &Emitted) -> String {
    format!("[made by tollgate for {}]", emitted.prefix().trim_start_matches("tollgate-"))
}

/// The alarms of a configuration, in the order of names, and what people should know of them.
pub fn alarms(emitted: &Emitted, thresholds: &Thresholds) -> (Vec<Alarm>, Vec<String>) {
    let maker = Maker { emitted, thresholds };
    let (mut made, mut notes) = (Vec::new(), Vec::new());
    if let Some(set) = emitted.totals() {
        maker.of_series(&Series { prefix: emitted.prefix(), of: String::new(), set, route: "" }, &mut made);
        made.extend(thresholds.no_traffic.map(|silence| maker.no_traffic(set, silence)));
    } else if let Some(set) = emitted.by_route() {
        for route in &emitted.routes {
            let prefix = format!("{}-{route}", emitted.prefix());
            maker
                .of_series(&Series { prefix, of: format!(" of the route `{route}`"), set, route }, &mut made);
        }
        notes.push(
            "every set of `dimensions` has Route, and alarms cannot sum over routes: there is one for each route, and \
             none of missing traffic; add [\"Service\"] to `dimensions` for alarms of the whole service"
                .to_owned(),
        );
    }
    if let Some(group) = emitted.log_group.as_deref().filter(|_| emitted.by_lines) {
        made.push(maker.lines("emf-parsing-errors", "EMFParsingErrors", "are no JSON", group));
        made.push(maker.lines(
            "emf-validation-errors",
            "EMFValidationErrors",
            "break the EMF specification",
            group,
        ));
    }
    if thresholds.actions.is_empty() {
        notes.push("the alarms call nobody: `actions` of `[cloudwatch.alarms]` is empty".to_owned());
    }
    made.sort_by(|a, b| a.alarm_name.cmp(&b.alarm_name));
    (made, notes)
}

struct Maker<'a> {
    emitted: &'a Emitted,
    thresholds: &'a Thresholds,
}

/// Which series an alarm looks at.
struct Series<'a> {
    prefix: String,
    /// For descriptions.
    of: String,
    set: &'a [Key],
    route: &'a str,
}

impl Maker<'_> {
    fn of_series(&self, series: &Series<'_>, made: &mut Vec<Alarm>) {
        let floor = self.thresholds.min_requests;
        let share = format!("IF(m1>={floor}, 100*FILL(m2,0)/m1, 0)");
        made.push(self.share(
            series,
            "error-rate",
            &format!("5xx among requests{}, in percent", series.of),
            [catalog::REQUEST_COUNT, catalog::ERROR_COUNT],
            &share,
            self.thresholds.error_rate_percent,
        ));
        made.push(self.share(
            series,
            "throttled-rate",
            &format!("refusals by limits among requests{}, in percent", series.of),
            [catalog::REQUEST_COUNT, catalog::THROTTLED_COUNT],
            &share,
            self.thresholds.throttled_rate_percent,
        ));
        if self.emitted.has(catalog::CACHE_HIT) {
            let all = "(FILL(m1,0)+FILL(m2,0))";
            let mut alarm = self.share(
                series,
                "cache-hit-rate",
                &format!("answers from the app's cache{}, in percent", series.of),
                [catalog::CACHE_HIT, catalog::CACHE_MISS],
                &format!("IF({all}>={floor}, 100*FILL(m1,0)/{all}, 100)"),
                self.thresholds.cache_hit_rate_percent,
            );
            alarm.comparison_operator = "LessThanThreshold".to_owned();
            made.push(alarm);
        }
        made.push(self.p99(series));
    }

    fn base(&self, name: String, description: &str) -> Alarm {
        Alarm {
            alarm_name: name,
            alarm_description: format!("{description} {}", mark(self.emitted)),
            actions_enabled: true,
            alarm_actions: self.thresholds.actions.clone(),
            ok_actions: self.thresholds.actions.clone(),
            namespace: None,
            metric_name: None,
            dimensions: Vec::new(),
            statistic: None,
            extended_statistic: None,
            period: None,
            metrics: Vec::new(),
            evaluation_periods: EVALUATED,
            datapoints_to_alarm: BAD,
            comparison_operator: "GreaterThanThreshold".to_owned(),
            threshold: 0.0,
            treat_missing_data: "notBreaching".to_owned(),
            evaluate_low_sample_count_percentile: None,
        }
    }

    fn share(
        &self,
        series: &Series<'_>,
        kind: &str,
        description: &str,
        names: [&str; 2],
        expression: &str,
        percent: u8,
    ) -> Alarm {
        let metric = |id: &str, name: &str| Query {
            id: id.to_owned(),
            label: None,
            expression: None,
            metric_stat: Some(MetricStat {
                metric: MetricName {
                    namespace: self.emitted.namespace.clone(),
                    metric_name: name.to_owned(),
                    dimensions: self.dimensions(series.set, series.route),
                },
                period: self.emitted.period(),
                stat: "Sum".to_owned(),
            }),
            return_data: false,
        };
        let compared = Query {
            id: "e1".to_owned(),
            label: Some(kind.replace('-', " ")),
            expression: Some(expression.to_owned()),
            metric_stat: None,
            return_data: true,
        };
        let mut alarm = self.base(format!("{}-{kind}", series.prefix), description);
        alarm.metrics = vec![metric("m1", names[0]), metric("m2", names[1]), compared];
        alarm.threshold = f64::from(percent);
        alarm
    }

    fn p99(&self, series: &Series<'_>) -> Alarm {
        let description = format!("the 99th percentile of latency{}, in milliseconds", series.of);
        let mut alarm = self.base(format!("{}-p99", series.prefix), &description);
        alarm.namespace = Some(self.emitted.namespace.clone());
        alarm.metric_name = Some(catalog::LATENCY.to_owned());
        alarm.dimensions = self.dimensions(series.set, series.route);
        alarm.extended_statistic = Some("p99".to_owned());
        alarm.period = Some(self.emitted.period().max(PERCENTILE_PERIOD));
        alarm.threshold = self.thresholds.p99.as_secs_f64() * 1_000.0;
        alarm.evaluate_low_sample_count_percentile = Some("ignore".to_owned());
        alarm
    }

    fn no_traffic(&self, set: &[Key], silence: Duration) -> Alarm {
        let period = self.emitted.period();
        let seconds = i32::try_from(silence.as_secs()).unwrap_or(i32::MAX);
        let periods =
            (seconds / period + i32::from(seconds % period > 0)).clamp(1, MAX_EVALUATED_SECONDS / period);
        let description = format!("no request for {} minutes", periods * period / 60);
        let mut alarm = self.base(format!("{}-no-traffic", self.emitted.prefix()), &description);
        alarm.namespace = Some(self.emitted.namespace.clone());
        alarm.metric_name = Some(catalog::REQUEST_COUNT.to_owned());
        alarm.dimensions = self.dimensions(set, "");
        alarm.statistic = Some("Sum".to_owned());
        alarm.period = Some(period);
        (alarm.evaluation_periods, alarm.datapoints_to_alarm) = (periods, periods);
        alarm.comparison_operator = "LessThanThreshold".to_owned();
        alarm.threshold = 1.0;
        alarm.treat_missing_data = "breaching".to_owned();
        alarm
    }

    fn lines(&self, kind: &str, metric: &str, fault: &str, group: &str) -> Alarm {
        let description = format!("lines in the log group `{group}` {fault}");
        let mut alarm = self.base(format!("{}-{kind}", self.emitted.prefix()), &description);
        alarm.namespace = Some("AWS/Logs".to_owned());
        alarm.metric_name = Some(metric.to_owned());
        alarm.dimensions = vec![Dimension { name: "LogGroupName".to_owned(), value: group.to_owned() }];
        alarm.statistic = Some("Sum".to_owned());
        alarm.period = Some(PERCENTILE_PERIOD);
        (alarm.evaluation_periods, alarm.datapoints_to_alarm) = (1, 1);
        alarm
    }

    fn dimensions(&self, set: &[Key], route: &str) -> Vec<Dimension> {
        let dimension = |(name, value): (&str, String)| Dimension { name: name.to_owned(), value };
        let mut made: Vec<Dimension> = self.emitted.values(set, route).into_iter().map(dimension).collect();
        made.sort();
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloudwatch::tests::{emf, model};
    use crate::config::model::Model;
    use crate::config::model::emf::Dimension::{Environment, Route, Service};
    use crate::config::model::metrics::CacheHit;

    fn with_lines() -> Model {
        let mut model = model();
        model.emf = Some(emf());
        model
    }

    fn of(model: &Model) -> (Vec<Alarm>, Vec<String>) {
        alarms(&Emitted::of(model).unwrap(), &model.cloudwatch.alarms)
    }

    fn names(alarms: &[Alarm]) -> Vec<&str> {
        alarms.iter().map(|alarm| alarm.alarm_name.as_str()).collect()
    }

    #[test]
    fn there_is_an_alarm_for_each_measure_that_is_sent() {
        let mut model = with_lines();
        let always = [
            "tollgate-api-emf-parsing-errors",
            "tollgate-api-emf-validation-errors",
            "tollgate-api-error-rate",
            "tollgate-api-p99",
            "tollgate-api-throttled-rate",
        ];
        assert_eq!(names(&of(&model).0), always);
        let header = "x-cache".parse().unwrap();
        model.metrics.from_response.cache_hit = Some(CacheHit { header, equals: "HIT".into() });
        model.cloudwatch.alarms.no_traffic = Some(Duration::from_secs(600));
        let (made, _) = of(&model);
        assert_eq!(made.len(), always.len() + 2);
        let hits = made.iter().find(|alarm| alarm.alarm_name == "tollgate-api-cache-hit-rate").unwrap();
        assert_eq!(hits.comparison_operator, "LessThanThreshold");
        let silence = made.iter().find(|alarm| alarm.alarm_name == "tollgate-api-no-traffic").unwrap();
        assert_eq!((silence.treat_missing_data.as_str(), silence.evaluation_periods), ("breaching", 10));
    }

    #[test]
    fn a_share_is_of_sums_and_has_a_floor() {
        let mut model = with_lines();
        model.cloudwatch.alarms.min_requests = 50;
        let (made, _) = of(&model);
        let errors = made.iter().find(|alarm| alarm.alarm_name.ends_with("error-rate")).unwrap();
        let expressions: Vec<_> = errors.metrics.iter().filter(|query| query.return_data).collect();
        assert_eq!(expressions.len(), 1);
        assert_eq!(expressions[0].expression.as_deref(), Some("IF(m1>=50, 100*FILL(m2,0)/m1, 0)"));
        assert_eq!((errors.threshold, errors.metrics.len()), (5.0, 3));
    }

    #[test]
    fn without_a_set_for_totals_each_route_has_its_alarms() {
        let mut model = with_lines();
        model.emf.as_mut().unwrap().dimensions = vec![vec![Service, Route]];
        let (made, notes) = of(&model);
        assert_eq!(made.iter().filter(|alarm| alarm.alarm_name.ends_with("-p99")).count(), 3);
        assert!(names(&made).contains(&"tollgate-api-upload-error-rate"), "{:?}", names(&made));
        assert!(notes.iter().any(|note| note.contains("[\"Service\"]")), "{notes:?}");
    }

    #[test]
    fn an_environment_that_tells_metrics_apart_tells_alarms_apart() {
        let mut model = with_lines();
        model.emf.as_mut().unwrap().dimensions = vec![vec![Service, Environment]];
        let (made, _) = of(&model);
        assert!(names(&made).contains(&"tollgate-api-production-p99"), "{:?}", names(&made));
        let p99 = made.iter().find(|alarm| alarm.alarm_name.ends_with("-p99")).unwrap();
        let dimension =
            |name: &str, value: &str| Dimension { name: name.to_owned(), value: value.to_owned() };
        assert_eq!(p99.dimensions, [dimension("Environment", "production"), dimension("Service", "api")]);
    }

    #[test]
    fn every_alarm_keeps_the_rules_of_the_api() {
        let mut model = with_lines();
        model.cloudwatch.alarms.no_traffic = Some(Duration::from_secs(86_400));
        model.cloudwatch.alarms.actions = vec!["arn:aws:sns:eu-west-1:1:x".to_owned()];
        model.metrics.push = Some(Duration::from_secs(3_500));
        for alarm in of(&model).0 {
            let period =
                alarm.period.or_else(|| Some(alarm.metrics[0].metric_stat.as_ref()?.period)).unwrap();
            assert!(period % 60 == 0 && period * alarm.evaluation_periods <= 86_400, "{alarm:?}");
            assert!(alarm.alarm_name.len() <= 255 && alarm.alarm_description.len() <= 1_024);
            assert_eq!(alarm.metrics.is_empty(), alarm.metric_name.is_some());
            assert!(alarm.statistic.is_none() || alarm.extended_statistic.is_none());
            assert!(alarm.alarm_description.ends_with("[made by tollgate for api]"));
            assert_eq!(alarm.alarm_actions, alarm.ok_actions);
        }
    }
}
