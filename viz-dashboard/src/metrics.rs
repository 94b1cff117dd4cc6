//! Every metric of the dashboard, named once.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use telemetry::Registry;

/// The handles of all metrics; clones share the values.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) chart_queries: Counter,
    pub(crate) chart_query_failures: Counter,
    pub(crate) chart_query_seconds: Histogram,
    pub(crate) live_views: Gauge,
    pub(crate) live_viewers: Gauge,
    pub(crate) statements: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Metrics {
            chart_queries: Counter::default(),
            chart_query_failures: Counter::default(),
            chart_query_seconds: Histogram::new(exponential_buckets(0.005, 2.0, 14)),
            live_views: Gauge::default(),
            live_viewers: Gauge::default(),
            statements: Counter::default(),
        };
        let viz = registry.sub_registry_with_prefix("streamforge_viz_dashboard");
        viz.register(
            "chart_queries",
            "Queries run for charts",
            metrics.chart_queries.clone(),
        );
        viz.register(
            "chart_query_failures",
            "Queries for charts that failed",
            metrics.chart_query_failures.clone(),
        );
        viz.register(
            "chart_query_seconds",
            "Time of a chart's query",
            metrics.chart_query_seconds.clone(),
        );
        viz.register(
            "live_views",
            "Different views that are kept live",
            metrics.live_views.clone(),
        );
        viz.register(
            "live_viewers",
            "Pages that watch a live view",
            metrics.live_viewers.clone(),
        );
        viz.register(
            "statements",
            "Statements run on the SQL page",
            metrics.statements.clone(),
        );
        metrics
    }
}
