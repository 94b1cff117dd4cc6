//! Every metric of the query engine, named once.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use telemetry::Registry;

/// Handles to the metrics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    pub(crate) started: Counter,
    pub(crate) failed: Counter,
    pub(crate) running: Gauge,
    pub(crate) queued: Gauge,
    pub(crate) rows: Counter,
    pub(crate) bytes: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Metrics {
        let metrics = Metrics::default();
        let names: [(&str, &str, &Counter); 4] = [
            ("queries_started", "Statements received", &metrics.started),
            (
                "queries_failed",
                "Statements that ended in an error",
                &metrics.failed,
            ),
            ("result_rows", "Rows sent to clients", &metrics.rows),
            (
                "result_bytes",
                "Bytes of rows sent to clients",
                &metrics.bytes,
            ),
        ];
        for (name, help, counter) in names {
            registry.register(
                format!("streamforge_query_engine_{name}"),
                help,
                counter.clone(),
            );
        }
        registry.register(
            "streamforge_query_engine_queries_running",
            "Statements running",
            metrics.running.clone(),
        );
        registry.register(
            "streamforge_query_engine_queries_queued",
            "Statements waiting",
            metrics.queued.clone(),
        );
        metrics
    }
}
