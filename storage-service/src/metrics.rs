//! Every metric of the store, named once.
//!
//! One struct of handles, made in [`crate::serve`] and handed down, so that several services in one process cannot
//! collide. Counted per request or per batch, never per byte.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use telemetry::Registry;

/// The class of an answer, `2xx` to `5xx`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StatusClass {
    pub(crate) method: &'static str,
    pub(crate) status: &'static str,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    pub(crate) requests: Family<StatusClass, Counter>,
    pub(crate) refused: Counter,
    pub(crate) connections: Gauge<i64, AtomicI64>,
    pub(crate) commits: Counter,
    pub(crate) committed_changes: Counter,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let name = |noun: &str| format!("streamforge_storage_service_{noun}");
        registry.register(
            name("requests"),
            "Requests answered, by method and class of status",
            metrics.requests.clone(),
        );
        registry.register(
            name("refused_requests"),
            "Requests refused before their signature was computed",
            metrics.refused.clone(),
        );
        registry.register(
            name("connections"),
            "Open connections",
            metrics.connections.clone(),
        );
        registry.register(
            name("index_commits"),
            "Index transactions, each one disk sync",
            metrics.commits.clone(),
        );
        registry.register(
            name("index_changes"),
            "Changes made in index transactions",
            metrics.committed_changes.clone(),
        );
        registry.register(
            name("received_bytes"),
            "Bytes of object data received",
            metrics.received.clone(),
        );
        registry.register(
            name("sent_bytes"),
            "Bytes of object data sent",
            metrics.sent.clone(),
        );
        metrics
    }
}
