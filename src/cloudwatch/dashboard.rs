//! The dashboard for what a configuration sends, as the JSON of PutDashboard.
//!
//! Totals are shown from the set without `Route`; where there is none, a search sums the routes. Invariant: a metric
//! that is not sent is not shown, and widgets do not overlap.

use serde_json::{Value, json};

use crate::config::model::emf::Dimension;
use crate::config::model::metrics::Alarms as Thresholds;
use crate::telemetry::emf::catalog;

use super::emitted::Emitted;

/// Columns of a dashboard, and of one of its widgets.
const COLUMNS: u32 = 24;
const WIDTH: u32 = 8;
const HEIGHT: u32 = 6;
const TITLE_HEIGHT: u32 = 2;

/// A dashboard.
#[derive(Debug, Clone, PartialEq)]
pub struct Dashboard {
    /// Letters, digits, `-` and `_`.
    pub name: String,
    /// As PutDashboard takes it.
    pub body: Value,
}

/// The dashboard of a configuration; `name` is that of `[cloudwatch]`.
pub fn dashboard(emitted: &Emitted, thresholds: &Thresholds, name: Option<&str>, region: &str) -> Dashboard {
    let sheet = Sheet { emitted, thresholds, region };
    let mut rows = Layout::default();
    rows.wide(TITLE_HEIGHT, "text", json!({ "markdown": sheet.title() }));
    rows.row(sheet.traffic());
    rows.row(sheet.latencies());
    rows.row(sheet.told_by_the_app());
    rows.row(sheet.by_route());
    rows.row(sheet.lines());
    if let Some(group) = &emitted.log_group {
        rows.wide(HEIGHT, "log", sheet.errors(group));
    }
    let body = json!({ "start": "-PT3H", "periodOverride": "inherit", "widgets": rows.widgets });
    let name = name.map_or_else(|| plain(&emitted.prefix()), str::to_owned);
    Dashboard { name, body }
}

/// A name of a dashboard out of one that may hold other characters.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
    name.chars().map(plain).take(255).collect()
}

/// Puts widgets beside and below each other.
#[derive(Debug, Default)]
struct Layout {
    widgets: Vec<Value>,
    y: u32,
}

impl Layout {
    fn put(&mut self, x: u32, width: u32, height: u32, kind: &str, properties: Value) {
        let y = self.y;
        self.widgets.push(json!({
            "type": kind, "x": x, "y": y, "width": width, "height": height, "properties": properties,
        }));
    }

    /// Graphs, three beside each other.
    fn row(&mut self, graphs: Vec<Value>) {
        for three in graphs.chunks((COLUMNS / WIDTH) as usize) {
            for (x, graph) in (0..).step_by(WIDTH as usize).zip(three) {
                self.put(x, WIDTH, HEIGHT, "metric", graph.clone());
            }
            self.y += HEIGHT;
        }
    }

    fn wide(&mut self, height: u32, kind: &str, properties: Value) {
        self.put(0, COLUMNS, height, kind, properties);
        self.y += height;
    }
}

/// A line of a graph: name of the metric, statistic, label.
type Line<'a> = (&'a str, &'a str, &'a str);

struct Sheet<'a> {
    emitted: &'a Emitted,
    thresholds: &'a Thresholds,
    region: &'a str,
}

impl Sheet<'_> {
    fn title(&self) -> String {
        let environment = match &self.emitted.environment {
            Some(environment) => format!(", {environment}"),
            None => String::new(),
        };
        let Emitted { service, namespace, .. } = self.emitted;
        format!(
            "# {service}{environment}\nNamespace `{namespace}`. Made by `tollgate cloudwatch apply`, which \
             undoes changes by hand."
        )
    }

    fn traffic(&self) -> Vec<Value> {
        use catalog::{CLIENT_ERROR_COUNT, ERROR_COUNT, REQUEST_COUNT, THROTTLED_COUNT};
        let error_line = f64::from(self.thresholds.error_rate_percent);
        let throttled_line = f64::from(self.thresholds.throttled_rate_percent);
        vec![
            self.graph(
                "Requests",
                &[
                    (REQUEST_COUNT, "Sum", "requests"),
                    (CLIENT_ERROR_COUNT, "Sum", "4xx"),
                    (ERROR_COUNT, "Sum", "5xx"),
                    (THROTTLED_COUNT, "Sum", "refused by limits"),
                ],
                None,
            ),
            self.share("5xx, percent", [REQUEST_COUNT, ERROR_COUNT], "100*FILL(m2,0)/m1", error_line),
            self.share(
                "Refused by limits, percent",
                [REQUEST_COUNT, THROTTLED_COUNT],
                "100*FILL(m2,0)/m1",
                throttled_line,
            ),
        ]
    }

    fn latencies(&self) -> Vec<Value> {
        let limit = self.thresholds.p99.as_secs_f64() * 1_000.0;
        let mut graphs = vec![
            self.percentiles("Latency, ms", catalog::LATENCY, Some(limit)),
            self.percentiles(
                "Latency of the app to the head of its answer, ms",
                catalog::UPSTREAM_LATENCY,
                None,
            ),
        ];
        if self.emitted.has(catalog::QUEUE_TIME) {
            graphs.push(self.percentiles("Wait for a slot of the app, ms", catalog::QUEUE_TIME, None));
        }
        graphs
    }

    /// What the app says of itself, as far as it is measured.
    fn told_by_the_app(&self) -> Vec<Value> {
        let mut graphs = Vec::new();
        if self.emitted.has(catalog::CACHE_HIT) {
            let limit = f64::from(self.thresholds.cache_hit_rate_percent);
            let share = "100*FILL(m1,0)/(FILL(m1,0)+FILL(m2,0))";
            graphs.push(self.share(
                "Answers from the app's cache, percent",
                [catalog::CACHE_HIT, catalog::CACHE_MISS],
                share,
                limit,
            ));
        }
        if self.emitted.has(catalog::LLM_TOKENS) {
            graphs.push(self.graph("LLM tokens", &[(catalog::LLM_TOKENS, "Sum", "tokens")], None));
        }
        for metric in &self.emitted.metrics {
            let name = metric.name.as_str();
            if name == catalog::ANALYSIS_LATENCY || name.starts_with(&catalog::timing_name("")) {
                graphs.push(self.percentiles(&format!("{name}, ms"), name, None));
            }
        }
        graphs
    }

    fn by_route(&self) -> Vec<Value> {
        let Some(set) = self.emitted.by_route() else { return Vec::new() };
        let found = |title: &str, metric: &str, stat: &str| {
            let expression =
                json!([{ "expression": self.search(set, metric, stat), "id": "e1", "label": "" }]);
            self.widget(title, &[expression], None)
        };
        vec![
            found("Requests by route", catalog::REQUEST_COUNT, "Sum"),
            found("5xx by route", catalog::ERROR_COUNT, "Sum"),
            found("Latency by route, p99, ms", catalog::LATENCY, "p99"),
        ]
    }

    /// Whether lines become metrics.
    fn lines(&self) -> Vec<Value> {
        let Some(group) = self.emitted.log_group.as_deref().filter(|_| self.emitted.by_lines) else {
            return Vec::new();
        };
        let line = |name: &str| json!(["AWS/Logs", name, "LogGroupName", group, { "stat": "Sum", "period": self.emitted.period() }]);
        vec![
            self.widget("EMF lines that arrive", &[line("IncomingLogEvents")], None),
            self.widget(
                "EMF lines that make no metric",
                &[line("EMFParsingErrors"), line("EMFValidationErrors")],
                None,
            ),
        ]
    }

    fn errors(&self, group: &str) -> Value {
        let query = format!(
            "SOURCE '{}' | fields @timestamp, @message | filter ErrorCount > 0 | sort @timestamp desc | limit 20",
            group.replace('\'', "")
        );
        json!({ "title": "Lines with 5xx", "region": self.region, "view": "table", "query": query })
    }

    fn percentiles(&self, title: &str, name: &str, limit: Option<f64>) -> Value {
        self.graph(title, &[(name, "p50", "p50"), (name, "p95", "p95"), (name, "p99", "p99")], limit)
    }

    /// A share of sums; the metrics are `m1` and `m2`.
    fn share(&self, title: &str, names: [&str; 2], expression: &str, limit: f64) -> Value {
        let mut metrics = vec![json!([{ "expression": expression, "id": "e1", "label": "percent" }])];
        for (id, name) in ["m1", "m2"].into_iter().zip(names) {
            metrics.push(self.metric((name, "Sum", name), id, false));
        }
        self.widget(title, &metrics, Some(limit))
    }

    fn graph(&self, title: &str, lines: &[Line<'_>], limit: Option<f64>) -> Value {
        let metric = |(at, line): (usize, &Line<'_>)| self.metric(*line, &format!("m{}", at + 1), true);
        self.widget(title, &lines.iter().enumerate().map(metric).collect::<Vec<_>>(), limit)
    }

    /// One line: a series, or what a search makes of those of the routes.
    fn metric(&self, (name, stat, label): Line<'_>, id: &str, visible: bool) -> Value {
        if let Some(set) = self.emitted.totals() {
            let mut line = vec![json!(self.emitted.namespace), json!(name)];
            for (dimension, value) in self.emitted.values(set, "") {
                line.extend([json!(dimension), json!(value)]);
            }
            line.push(json!({ "id": id, "stat": stat, "label": label, "visible": visible }));
            return Value::Array(line);
        }
        let set = self.emitted.by_route().unwrap_or_default();
        let search = self.search(set, name, stat);
        // A percentile of all routes cannot be had from those of each: the worst is shown.
        let (expression, label) = match stat {
            "Sum" => (format!("SUM({search})"), label.to_owned()),
            _ => (format!("MAX({search})"), format!("{label} of the worst route")),
        };
        json!([{ "expression": expression, "id": id, "label": label, "visible": visible }])
    }

    /// Finds the series of a set whose other dimensions have our values.
    fn search(&self, set: &[Dimension], metric: &str, stat: &str) -> String {
        let names: Vec<&str> = set.iter().map(|dimension| dimension.as_str()).collect();
        let mut terms = format!("MetricName=\"{}\"", term(metric));
        for (name, value) in self.emitted.values(set, "") {
            if name != Dimension::Route.as_str() {
                terms.push_str(&format!(" {name}=\"{}\"", term(&value)));
            }
        }
        let namespace = term(&self.emitted.namespace);
        let period = self.emitted.period();
        format!("SEARCH('{{\"{namespace}\",{}}} {terms}', '{stat}', {period})", names.join(","))
    }

    fn widget(&self, title: &str, metrics: &[Value], limit: Option<f64>) -> Value {
        let mut properties = json!({
            "title": title,
            "region": self.region,
            "view": "timeSeries",
            "stacked": false,
            "period": self.emitted.period(),
            "metrics": metrics,
            "yAxis": { "left": { "min": 0 } },
        });
        if let Some(limit) = limit {
            properties["annotations"] = json!({ "horizontal": [{ "label": "alarm", "value": limit }] });
        }
        properties
    }
}

/// A text inside of the quotes of a search.
fn term(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\'', "\\'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloudwatch::tests::{emf, model};
    use crate::config::model::Model;
    use crate::config::model::emf::Dimension::{Route, Service};
    use crate::config::model::metrics::CacheHit;

    fn of(model: &Model) -> Dashboard {
        let emitted = Emitted::of(model).unwrap();
        dashboard(&emitted, &model.cloudwatch.alarms, None, "eu-west-1")
    }

    fn with_lines() -> Model {
        let mut model = model();
        model.emf = Some(emf());
        model
    }

    fn titles(dashboard: &Dashboard) -> Vec<String> {
        let widgets = dashboard.body["widgets"].as_array().unwrap().iter();
        widgets.filter_map(|widget| Some(widget["properties"]["title"].as_str()?.to_owned())).collect()
    }

    #[test]
    fn widgets_are_inside_and_do_not_overlap() {
        let mut model = with_lines();
        model.metrics.from_response.server_timing = vec!["db".into(), "render".into()];
        let widgets = of(&model).body["widgets"].as_array().unwrap().clone();
        let mut taken = std::collections::BTreeSet::new();
        for widget in &widgets {
            let number = |key: &str| widget[key].as_u64().unwrap();
            assert!(number("x") + number("width") <= 24, "{widget}");
            for x in number("x")..number("x") + number("width") {
                for y in number("y")..number("y") + number("height") {
                    assert!(taken.insert((x, y)), "{widget}");
                }
            }
            if widget["type"] != "text" {
                assert_eq!(widget["properties"]["region"], "eu-west-1");
            }
        }
        assert!((8..=500).contains(&widgets.len()));
    }

    #[test]
    fn only_what_is_sent_is_shown() {
        let mut model = with_lines();
        let cache = "Answers from the app's cache, percent".to_owned();
        assert!(!titles(&of(&model)).contains(&cache));
        let header = "x-cache".parse().unwrap();
        model.metrics.from_response.cache_hit = Some(CacheHit { header, equals: "HIT".into() });
        assert!(titles(&of(&model)).contains(&cache));
        model.emf.as_mut().unwrap().dimensions = vec![vec![Service]];
        assert!(!titles(&of(&model)).iter().any(|title| title.contains("by route")));
    }

    #[test]
    fn totals_are_summed_by_a_search_where_no_set_has_them() {
        let mut model = with_lines();
        let text = of(&model).body.to_string();
        assert!(text.contains(r#"["Shop","RequestCount","Service","api",{"#), "{text}");
        model.emf.as_mut().unwrap().dimensions = vec![vec![Service, Route]];
        let found = of(&model).body["widgets"][1]["properties"]["metrics"][0][0]["expression"].clone();
        let wanted =
            r#"SUM(SEARCH('{"Shop",Service,Route} MetricName="RequestCount" Service="api"', 'Sum', 60))"#;
        assert_eq!(found, wanted);
    }

    #[test]
    fn the_name_has_no_character_that_is_not_taken() {
        let mut model = with_lines();
        model.emf.as_mut().unwrap().service = "my api/v2".to_owned();
        assert_eq!(of(&model).name, "tollgate-my-api-v2");
    }
}
