//! One alarm as plain data, in the words of PutMetricAlarm and of CloudFormation, which are the same.
//!
//! Invariant: two alarms are equal if CloudWatch would do the same for both.

use serde::{Deserialize, Serialize};

/// One alarm. Its fields are named as in the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Alarm {
    /// Unique in an account and region.
    pub alarm_name: String,
    /// For people, and the mark of [`super::alarms::mark`].
    pub alarm_description: String,
    /// Whether somebody is called.
    pub actions_enabled: bool,
    /// ARNs, when it goes off.
    pub alarm_actions: Vec<String>,
    /// ARNs, when all is well again.
    #[serde(rename = "OKActions")]
    pub ok_actions: Vec<String>,
    /// The one metric, or none if there are `metrics`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// As `namespace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_name: Option<String>,
    /// As `namespace`; in the order of names.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub dimensions: Vec<Dimension>,
    /// Of the one metric; or `extended_statistic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistic: Option<String>,
    /// A percentile of the one metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended_statistic: Option<String>,
    /// Seconds, of the one metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<i32>,
    /// Metrics, and the expression over them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub metrics: Vec<Query>,
    /// How many periods are looked at.
    pub evaluation_periods: i32,
    /// How many of them must be bad.
    pub datapoints_to_alarm: i32,
    /// On which side of the threshold it is bad.
    pub comparison_operator: String,
    /// In the metric's unit.
    pub threshold: f64,
    /// What a period without a value counts as.
    pub treat_missing_data: String,
    /// Whether a percentile of few values counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluate_low_sample_count_percentile: Option<String>,
}

/// A metric or an expression of an alarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Query {
    /// What expressions name it by.
    pub id: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Of an expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// Of a metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_stat: Option<MetricStat>,
    /// Whether it is what is compared.
    pub return_data: bool,
}

/// A metric's statistic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetricStat {
    /// Which.
    pub metric: MetricName,
    /// Seconds.
    pub period: i32,
    /// `Sum`
    pub stat: String,
}

/// Names a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetricName {
    /// Of the configuration.
    pub namespace: String,
    /// Of the catalog.
    pub metric_name: String,
    /// In the order of names.
    pub dimensions: Vec<Dimension>,
}

/// A dimension and its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Dimension {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}
