//! Dashboard and alarms as they are in CloudWatch: read, put, deleted.

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{
    self, AlarmType, ComparisonOperator, MetricAlarm, MetricDataQuery, Statistic,
};

use super::alarm::{Alarm, Dimension, MetricName, MetricStat, Query};
use super::client::{Aws, Trouble};
use super::difference::{Change, Existing, Wanted};

/// What is there of what is wanted, and alarms of ours with this prefix and mark.
pub fn read(aws: &Aws, wanted: &Wanted, prefix: &str, mark: &str) -> Result<Existing, Trouble> {
    let client = aws.cloudwatch();
    let dashboard = read_dashboard(aws, &client, &wanted.dashboard.name)?;
    let mut alarms = Vec::new();
    let mut token = None;
    loop {
        let request = client.describe_alarms().alarm_name_prefix(format!("{prefix}-"));
        let request = request.alarm_types(AlarmType::MetricAlarm).set_next_token(token);
        let page = aws.call("cloudwatch:DescribeAlarms", request.send())?;
        alarms.extend(page.metric_alarms().iter().map(from_remote));
        token = page.next_token().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    let is_wanted = |alarm: &Alarm| wanted.alarms.iter().any(|wanted| wanted.alarm_name == alarm.alarm_name);
    alarms.retain(|alarm: &Alarm| is_wanted(alarm) || alarm.alarm_description.ends_with(mark));
    alarms.sort_by(|a, b| a.alarm_name.cmp(&b.alarm_name));
    Ok(Existing { dashboard, alarms })
}

fn read_dashboard(aws: &Aws, client: &Client, name: &str) -> Result<Option<serde_json::Value>, Trouble> {
    let request = client.get_dashboard().dashboard_name(name);
    match aws.call("cloudwatch:GetDashboard", request.send()) {
        Ok(found) => {
            let body = found.dashboard_body().unwrap_or_default();
            // A body that is no JSON differs from every other.
            Ok(Some(serde_json::from_str(body).unwrap_or_else(|_| body.into())))
        }
        Err(Trouble::Missing(_)) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// Does one thing; deletions only if `pruning`. Returns whether it did.
pub fn apply(aws: &Aws, wanted: &Wanted, change: &Change, pruning: bool) -> Result<bool, Trouble> {
    let client = aws.cloudwatch();
    match change {
        Change::PutDashboard { .. } => {
            let request = client.put_dashboard().dashboard_name(&wanted.dashboard.name);
            let request = request.dashboard_body(wanted.dashboard.body.to_string());
            aws.call("cloudwatch:PutDashboard", request.send())?;
        }
        Change::PutAlarm { alarm, .. } => put_alarm(aws, &client, alarm)?,
        Change::DeleteAlarm { .. } if !pruning => return Ok(false),
        Change::DeleteAlarm { name } => {
            aws.call("cloudwatch:DeleteAlarms", client.delete_alarms().alarm_names(name).send())?;
        }
    }
    Ok(true)
}

fn put_alarm(aws: &Aws, client: &Client, alarm: &Alarm) -> Result<(), Trouble> {
    let metrics: Vec<MetricDataQuery> = alarm.metrics.iter().map(to_query).collect();
    let dimensions: Vec<types::Dimension> = alarm.dimensions.iter().map(to_dimension).collect();
    let request = client
        .put_metric_alarm()
        .alarm_name(&alarm.alarm_name)
        .alarm_description(&alarm.alarm_description)
        .actions_enabled(alarm.actions_enabled)
        .set_alarm_actions(Some(alarm.alarm_actions.clone()))
        .set_ok_actions(Some(alarm.ok_actions.clone()))
        .set_namespace(alarm.namespace.clone())
        .set_metric_name(alarm.metric_name.clone())
        .set_dimensions((!dimensions.is_empty()).then_some(dimensions))
        .set_statistic(alarm.statistic.as_deref().map(Statistic::from))
        .set_extended_statistic(alarm.extended_statistic.clone())
        .set_period(alarm.period)
        .set_metrics((!metrics.is_empty()).then_some(metrics))
        .evaluation_periods(alarm.evaluation_periods)
        .datapoints_to_alarm(alarm.datapoints_to_alarm)
        .comparison_operator(ComparisonOperator::from(alarm.comparison_operator.as_str()))
        .threshold(alarm.threshold)
        .treat_missing_data(&alarm.treat_missing_data)
        .set_evaluate_low_sample_count_percentile(alarm.evaluate_low_sample_count_percentile.clone());
    aws.call("cloudwatch:PutMetricAlarm", request.send()).map(drop)
}

fn to_dimension(dimension: &Dimension) -> types::Dimension {
    types::Dimension::builder().name(&dimension.name).value(&dimension.value).build()
}

fn to_query(query: &Query) -> MetricDataQuery {
    let stat = |stat: &MetricStat| {
        let metric = types::Metric::builder()
            .namespace(&stat.metric.namespace)
            .metric_name(&stat.metric.metric_name)
            .set_dimensions(Some(stat.metric.dimensions.iter().map(to_dimension).collect()))
            .build();
        types::MetricStat::builder().metric(metric).period(stat.period).stat(&stat.stat).build()
    };
    MetricDataQuery::builder()
        .id(&query.id)
        .set_label(query.label.clone())
        .set_expression(query.expression.clone())
        .set_metric_stat(query.metric_stat.as_ref().map(stat))
        .return_data(query.return_data)
        .build()
}

fn from_remote(alarm: &MetricAlarm) -> Alarm {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    // An empty text stands for a field that is not set in some answers.
    let maybe = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    Alarm {
        alarm_name: text(alarm.alarm_name()),
        alarm_description: text(alarm.alarm_description()),
        actions_enabled: alarm.actions_enabled().unwrap_or(false),
        alarm_actions: alarm.alarm_actions().to_vec(),
        ok_actions: alarm.ok_actions().to_vec(),
        namespace: maybe(alarm.namespace()),
        metric_name: maybe(alarm.metric_name()),
        dimensions: from_dimensions(alarm.dimensions()),
        statistic: maybe(alarm.statistic().map(Statistic::as_str)),
        extended_statistic: maybe(alarm.extended_statistic()),
        period: alarm.period(),
        metrics: alarm.metrics().iter().map(from_query).collect(),
        evaluation_periods: alarm.evaluation_periods().unwrap_or(0),
        // Where it is not told, all of them must be bad.
        datapoints_to_alarm: alarm.datapoints_to_alarm().or(alarm.evaluation_periods()).unwrap_or(0),
        comparison_operator: text(alarm.comparison_operator().map(ComparisonOperator::as_str)),
        threshold: alarm.threshold().unwrap_or(0.0),
        treat_missing_data: text(alarm.treat_missing_data()),
        evaluate_low_sample_count_percentile: maybe(alarm.evaluate_low_sample_count_percentile()),
    }
}

fn from_dimensions(dimensions: &[types::Dimension]) -> Vec<Dimension> {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let from = |found: &types::Dimension| Dimension { name: text(found.name()), value: text(found.value()) };
    let mut dimensions: Vec<Dimension> = dimensions.iter().map(from).collect();
    dimensions.sort();
    dimensions
}

fn from_query(query: &MetricDataQuery) -> Query {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let stat = |stat: &types::MetricStat| MetricStat {
        metric: MetricName {
            namespace: text(stat.metric().and_then(types::Metric::namespace)),
            metric_name: text(stat.metric().and_then(types::Metric::metric_name)),
            dimensions: from_dimensions(stat.metric().map_or(&[], types::Metric::dimensions)),
        },
        period: stat.period().unwrap_or(0),
        stat: text(stat.stat()),
    };
    Query {
        id: text(query.id()),
        label: query.label().filter(|label| !label.is_empty()).map(str::to_owned),
        expression: query.expression().filter(|text| !text.is_empty()).map(str::to_owned),
        metric_stat: query.metric_stat().map(stat),
        return_data: query.return_data().unwrap_or(true),
    }
}
