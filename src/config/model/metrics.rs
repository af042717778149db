//! `[metrics]` and `[cloudwatch]`: what is measured, and what CloudWatch is set up with.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

/// `[metrics]`
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Whether the admin listener has `/metrics`.
    pub prometheus: bool,
    /// Whether, and how often, metrics are sent by PutMetricData; 10 s to 1 h.
    pub push: Option<Duration>,
    /// Upper bounds of the duration histogram's buckets in nanoseconds; ascending, 1 to 30 of them.
    pub buckets: Vec<u64>,
    /// Routes that have series of their own; the rest is `(other)`.
    pub max_routes: usize,
    /// Pairs of model and operation that have series of their own; the rest is `(other)`.
    pub max_models: usize,
    /// What the app says of itself.
    pub from_response: FromResponse,
}

/// `[metrics.from_response]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromResponse {
    /// A field that tells whether a cache had the answer.
    pub cache_hit: Option<CacheHit>,
    /// The entry of `Server-Timing` that is the metric `AnalysisLatency`.
    pub analysis_latency: Option<Arc<str>>,
    /// Further entries of `Server-Timing`, each a metric of its own; at most 20, without `analysis_latency`.
    pub server_timing: Vec<Arc<str>>,
    /// What a language model was asked for.
    pub llm: Option<Llm>,
    /// Whether the client does not get to see these fields.
    pub strip: bool,
}

impl FromResponse {
    /// Whether nothing is read of answers.
    pub fn is_empty(&self) -> bool {
        self.cache_hit.is_none()
            && self.analysis_latency.is_none()
            && self.server_timing.is_empty()
            && self.llm.is_none()
    }
}

/// `cache_hit = { header = "X-Cache", equals = "HIT" }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheHit {
    /// The field; an answer without it is neither hit nor miss.
    pub header: HeaderName,
    /// The value of a hit, whatever the case of its letters; any other is a miss.
    pub equals: Box<str>,
}

/// `llm = { tokens = "X-LLM-Tokens", model = "X-LLM-Model", operation = "X-LLM-Operation" }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Llm {
    /// A whole number; an answer without it is no LLM request.
    pub tokens: HeaderName,
    /// The label `model`.
    pub model: Option<HeaderName>,
    /// The label `operation`.
    pub operation: Option<HeaderName>,
}

/// `[cloudwatch]`: prices, and what `tollgate cloudwatch` sets up.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudWatch {
    /// The region; what the AWS SDK finds by itself if it is not set.
    pub region: Option<String>,
    /// The dashboard's name; `tollgate-SERVICE` if it is not set.
    pub dashboard: Option<String>,
    /// A month of one custom metric, in US dollars.
    pub metric_price: f64,
    /// Taking in a gigabyte of logs, in US dollars.
    pub log_price: f64,
    /// Custom metrics above which `tollgate check` warns.
    pub metric_budget: u64,
    /// When to call somebody.
    pub alarms: Alarms,
}

/// `[cloudwatch.alarms]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarms {
    /// What an alarm does: ARNs, at most 5.
    pub actions: Vec<String>,
    /// Percent of 5xx among requests.
    pub error_rate_percent: u8,
    /// Fewer requests in a period are no reason to call anybody.
    pub min_requests: u64,
    /// The 99th percentile of `Latency`.
    pub p99: Duration,
    /// Percent of cache hits below which something is wrong; only where `cache_hit` is measured.
    pub cache_hit_rate_percent: u8,
    /// Percent of refusals among requests.
    pub throttled_rate_percent: u8,
    /// No request for so long; `None` for services that rest.
    pub no_traffic: Option<Duration>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        const MILLI: u64 = 1_000_000;
        let buckets = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];
        Metrics {
            prometheus: true,
            push: None,
            buckets: buckets.map(|millis| millis * MILLI).to_vec(),
            max_routes: 200,
            max_models: 50,
            from_response: FromResponse::default(),
        }
    }
}

impl Default for FromResponse {
    fn default() -> FromResponse {
        FromResponse {
            cache_hit: None,
            analysis_latency: None,
            server_timing: Vec::new(),
            llm: None,
            strip: true,
        }
    }
}

impl Default for CloudWatch {
    fn default() -> CloudWatch {
        CloudWatch {
            region: None,
            dashboard: None,
            metric_price: 0.30,
            log_price: 0.50,
            metric_budget: 500,
            alarms: Alarms::default(),
        }
    }
}

impl Default for Alarms {
    fn default() -> Alarms {
        Alarms {
            actions: Vec::new(),
            error_rate_percent: 5,
            min_requests: 20,
            p99: Duration::from_secs(5),
            cache_hit_rate_percent: 50,
            throttled_rate_percent: 20,
            no_traffic: None,
        }
    }
}
