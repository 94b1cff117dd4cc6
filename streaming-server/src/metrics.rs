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
        let broker = registry.sub_registry_with_prefix("streamforge_streaming_server");
        let requests = Family::default();
        broker.register("requests", "Requests begun, by API", requests.clone());
        let refused = "Frames that ended their connection";
        let duplicates = "Batches sent again and not stored";
        let storage_errors = "Partitions that began to refuse writes";
        Self {
            requests,
            refused_requests: counter(broker, "refused_requests", refused),
            connections: gauge(broker, "connections", "Connections open"),
            received_bytes: counter(broker, "received_bytes", "Bytes of requests"),
            sent_bytes: counter(broker, "sent_bytes", "Bytes of responses"),
            appended_bytes: counter(broker, "appended_bytes", "Bytes of batches appended"),
            appended_records: counter(broker, "appended_records", "Records appended"),
            duplicate_batches: counter(broker, "duplicate_batches", duplicates),
            fetched_bytes: counter(broker, "fetched_bytes", "Bytes of batches fetched"),
            disk_reads: counter(broker, "disk_reads", "Fetches that memory could not answer"),
            sync_seconds: histogram(broker, "sync_seconds", "Time to write and sync"),
            produce_seconds: histogram(broker, "produce_seconds", "From request to durable"),
            storage_errors: counter(broker, "storage_errors", storage_errors),
            topics: gauge(broker, "topics", "Topics"),
            partitions: gauge(broker, "partitions", "Partitions"),
            groups: gauge(broker, "groups", "Consumer groups"),
            log_bytes: gauge(broker, "log_bytes", "Bytes of log"),
            producers: gauge(broker, "producers", "Idempotent producers remembered"),
        }
    }
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

/// From a quarter of a millisecond to four seconds.
fn histogram(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::new(exponential_buckets(0.000_25, 2.0, 15));
    registry.register(name, help, histogram.clone());
    histogram
}
