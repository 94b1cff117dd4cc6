//! Every metric of the catalog, named once.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use telemetry::Registry;

/// The labels of a request: the route as written in the specification, never a name of a user's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) route: String,
    pub(crate) status: u16,
}

/// The handles of all metrics; clones share the values.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) requests: Family<Request, Counter>,
    pub(crate) commits: Counter,
    pub(crate) commit_conflicts: Counter,
    pub(crate) commit_rebases: Counter,
    pub(crate) commit_seconds: Histogram,
    pub(crate) database_syncs: Counter,
    pub(crate) cache_hits: Counter,
    pub(crate) cache_misses: Counter,
    pub(crate) scan_reports: Counter,
    pub(crate) commit_reports: Counter,
    pub(crate) purged_files: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Metrics {
            requests: Family::default(),
            commits: Counter::default(),
            commit_conflicts: Counter::default(),
            commit_rebases: Counter::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            database_syncs: Counter::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            scan_reports: Counter::default(),
            commit_reports: Counter::default(),
            purged_files: Counter::default(),
        };
        let catalog = registry.sub_registry_with_prefix("streamforge_iceberg_catalog");
        catalog.register("requests", "Requests answered", metrics.requests.clone());
        catalog.register("commits", "Table commits made", metrics.commits.clone());
        catalog.register(
            "commit_conflicts",
            "Table commits refused because a requirement failed",
            metrics.commit_conflicts.clone(),
        );
        catalog.register(
            "commit_rebases",
            "Times a commit lost to another instance and was tried again",
            metrics.commit_rebases.clone(),
        );
        catalog.register(
            "commit_seconds",
            "Time from a commit's request to its answer",
            metrics.commit_seconds.clone(),
        );
        catalog.register(
            "database_syncs",
            "Database transactions made; several commits share one",
            metrics.database_syncs.clone(),
        );
        catalog.register(
            "metadata_cache_hits",
            "Loads whose metadata was in memory",
            metrics.cache_hits.clone(),
        );
        catalog.register(
            "metadata_cache_misses",
            "Loads whose metadata came from the database",
            metrics.cache_misses.clone(),
        );
        catalog.register(
            "scan_reports",
            "Scan reports sent by clients",
            metrics.scan_reports.clone(),
        );
        catalog.register(
            "commit_reports",
            "Commit reports sent by clients",
            metrics.commit_reports.clone(),
        );
        catalog.register(
            "purged_files",
            "Files deleted for purged tables",
            metrics.purged_files.clone(),
        );
        metrics
    }
}
