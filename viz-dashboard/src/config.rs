//! How the pages are served, where their data comes from, and how much they may ask for.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::Error;

/// How the pages are served, where their data comes from, and how much they may ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address the pages are served on.
    pub listen: SocketAddr,
    /// Password for HTTP basic authentication; none is asked for when empty, which only loopback may do.
    pub password: String,
    /// Name that goes with the password.
    pub user: String,
    /// Directory of a Superset asset bundle; the clickstream demo's own bundle when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dashboards: Option<PathBuf>,
    /// The query engine: any Trino.
    pub trino_url: Url,
    /// User that queries run as.
    pub trino_user: String,
    /// Catalog whose tables are listed and completed.
    pub catalog: String,
    /// The processor's job REST: any Flink.
    pub job_url: Url,
    /// The processor's SQL Gateway, for its health and its product and version: any Flink.
    pub gateway_url: Url,
    /// The event log: any Kafka, as `host:port`, for the list of topics.
    pub kafka_bootstrap: String,
    /// User for the event log, if it asks for one.
    pub kafka_user: String,
    /// Password for the event log (SCRAM-SHA-256); anonymous when empty.
    pub kafka_password: String,
    /// The broker's admin address, for its health.
    pub kafka_admin_url: Url,
    /// The object store, for its health.
    pub storage_url: Url,
    /// The catalog, for its health.
    pub catalog_url: Url,
    /// How often tables that someone looks at are asked for a new snapshot.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
    /// Longest time a chart's query may take.
    #[serde(with = "humantime_serde")]
    pub query_timeout: Duration,
    /// Longest time a service may take to say how it is.
    #[serde(with = "humantime_serde")]
    pub probe_timeout: Duration,
    /// Most rows of a chart.
    pub max_chart_rows: usize,
    /// Most rows of a statement on the SQL page; a CSV download has all.
    pub max_result_rows: usize,
    /// Most bytes of rows that are kept of a statement on the SQL page.
    pub max_result_size: ByteSize,
    /// Statements of the SQL page that are kept, running ones included.
    pub max_runs: usize,
    /// Different views (dashboard, time range and filters) that are kept live at once.
    pub max_live_views: usize,
    /// Queries for charts that run at once.
    pub max_chart_queries: usize,
    /// How long requests already begun may take once the service is told to stop.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let local =
            |port: u16| Url::parse(&format!("http://127.0.0.1:{port}")).expect("this is a URL");
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 8088)),
            password: String::new(),
            user: "admin".to_owned(),
            dashboards: None,
            trino_url: local(8080),
            trino_user: "viz-dashboard".to_owned(),
            catalog: "iceberg".to_owned(),
            job_url: local(8081),
            gateway_url: local(8083),
            kafka_bootstrap: "127.0.0.1:9092".to_owned(),
            kafka_user: "admin".to_owned(),
            kafka_password: String::new(),
            kafka_admin_url: local(9644),
            storage_url: local(9000),
            catalog_url: local(8181),
            poll_interval: Duration::from_secs(1),
            query_timeout: Duration::from_secs(30),
            probe_timeout: Duration::from_secs(2),
            max_chart_rows: 50_000,
            max_result_rows: 10_000,
            max_result_size: ByteSize::mib(8),
            max_runs: 64,
            max_live_views: 32,
            max_chart_queries: 4,
            shutdown_grace: Duration::from_secs(4),
        }
    }
}

impl Config {
    /// Refuses what cannot work or would be unsafe, naming the key.
    ///
    /// # Errors
    /// [`Error::Config`] for the first key that is wrong.
    pub fn validate(&self) -> Result<(), Error> {
        if !self.listen.ip().is_loopback() && self.password.is_empty() {
            return Err(Error::Config {
                key: "password",
                why: format!(
                    "listening on {} is open to others and needs a password",
                    self.listen
                ),
            });
        }
        for (key, bound) in [
            ("max_chart_rows", self.max_chart_rows),
            ("max_result_rows", self.max_result_rows),
            ("max_runs", self.max_runs),
            ("max_live_views", self.max_live_views),
            ("max_chart_queries", self.max_chart_queries),
        ] {
            if bound == 0 {
                return Err(Error::Config {
                    key,
                    why: "must be at least 1".to_owned(),
                });
            }
        }
        if self.poll_interval < Duration::from_millis(50) {
            return Err(Error::Config {
                key: "poll_interval",
                why: "must be at least 50ms".to_owned(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
