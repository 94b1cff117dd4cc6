//! Every metric of the broker, named once.
//!
//! Counted per request or batch, never per record; labels come from bounded sets.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use telemetry::Registry;

/// The API a request belongs to, by its Kafka name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Api {
    pub(crate) api: &'static str,
}

/// Handles of all metrics; clones count into the same registry.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) requests: Family<Api, Counter>,
    pub(crate) refused_requests: Counter,
    pub(crate) connections: Gauge,
    pub(crate) received_bytes: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) appended_bytes: Counter,
    pub(crate) appended_records: Counter,
    pub(crate) duplicate_batches: Counter,
    pub(crate) fetched_bytes: Counter,
    pub(crate) disk_reads: Counter,
    pub(crate) sync_seconds: Histogram,
    pub(crate) produce_seconds: Histogram,
    pub(crate) storage_errors: Counter,
    pub(crate) topics: Gauge,
    pub(crate) partitions: Gauge,
    pub(crate) groups: Gauge,
    pub(crate) log_bytes: Gauge,
    pub(crate) producers: Gauge,
}

impl Metrics {
    /// Creates the metrics and registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            refused_requests: Counter::default(),
            connections: Gauge::default(),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            appended_bytes: Counter::default(),
            appended_records: Counter::default(),
            duplicate_batches: Counter::default(),
            fetched_bytes: Counter::default(),
            disk_reads: Counter::default(),
            sync_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 14)),
            produce_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 14)),
            storage_errors: Counter::default(),
            topics: Gauge::default(),
            partitions: Gauge::default(),
            groups: Gauge::default(),
            log_bytes: Gauge::default(),
            producers: Gauge::default(),
        };
        let broker = registry.sub_registry_with_prefix("streamforge_streaming_server");
        broker.register(
            "requests",
            "Requests begun, by API",
            metrics.requests.clone(),
        );
        broker.register(
            "refused_requests",
            "Frames that ended their connection",
            metrics.refused_requests.clone(),
        );
        broker.register(
            "connections",
            "Connections open",
            metrics.connections.clone(),
        );
        broker.register(
            "received_bytes",
            "Bytes of requests",
            metrics.received_bytes.clone(),
        );
        broker.register(
            "sent_bytes",
            "Bytes of responses",
            metrics.sent_bytes.clone(),
        );
        broker.register(
            "appended_bytes",
            "Bytes of batches appended",
            metrics.appended_bytes.clone(),
        );
        broker.register(
            "appended_records",
            "Records appended",
            metrics.appended_records.clone(),
        );
        broker.register(
            "duplicate_batches",
            "Batches sent again and not stored",
            metrics.duplicate_batches.clone(),
        );
        broker.register(
            "fetched_bytes",
            "Bytes of batches fetched",
            metrics.fetched_bytes.clone(),
        );
        broker.register(
            "disk_reads",
            "Reads that memory could not answer",
            metrics.disk_reads.clone(),
        );
        broker.register(
            "sync_seconds",
            "Time to write and sync",
            metrics.sync_seconds.clone(),
        );
        broker.register(
            "produce_seconds",
            "Time from produce request to durable",
            metrics.produce_seconds.clone(),
        );
        broker.register(
            "storage_errors",
            "Partitions that began to refuse writes",
            metrics.storage_errors.clone(),
        );
        broker.register("topics", "Topics", metrics.topics.clone());
        broker.register("partitions", "Partitions", metrics.partitions.clone());
        broker.register("groups", "Consumer groups", metrics.groups.clone());
        broker.register("log_bytes", "Bytes of log", metrics.log_bytes.clone());
        broker.register(
            "producers",
            "Idempotent producers remembered",
            metrics.producers.clone(),
        );
        metrics
    }
}
