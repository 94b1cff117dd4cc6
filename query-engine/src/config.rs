//! How the query engine listens, finds the lake and bounds its work.

use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::Error;

/// Settings of the query engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address the Trino protocol is served on.
    pub listen: SocketAddr,
    /// Address of the Iceberg REST catalog.
    pub catalog_uri: Url,
    /// Name the lake has as a Trino catalog.
    pub catalog_name: String,
    /// Warehouse asked of the Iceberg catalog.
    pub warehouse: String,
    /// Bearer token sent to the Iceberg catalog.
    pub catalog_token: Option<String>,
    /// Address of the object store.
    pub s3_endpoint: Url,
    /// Access key for the object store.
    pub s3_access_key: String,
    /// Secret key for the object store.
    pub s3_secret_key: String,
    /// Region of the object store.
    pub s3_region: String,
    /// Threads that plan and run queries; 0 is one per core. Conditions of joins that take long have further ones.
    pub threads: usize,
    /// Queries that run at the same time.
    pub max_running: usize,
    /// Queries that wait for their turn; past this they are refused.
    pub max_queued: usize,
    /// How long a query may take from its first request to its last row.
    #[serde(with = "humantime_serde")]
    pub query_max_run_time: Duration,
    /// How long a query stays without a request of its client before it is abandoned.
    #[serde(with = "humantime_serde")]
    pub client_timeout: Duration,
    /// Finished queries whose state is kept for `system.runtime.queries`.
    pub max_history: usize,
    /// Memory one query may hold.
    pub query_max_memory: ByteSize,
    /// Memory all queries may hold together.
    pub max_memory: ByteSize,
    /// Size at which a page of results is sent.
    pub page_size: ByteSize,
    /// Longest statement accepted.
    pub max_statement_size: ByteSize,
    /// Memory for parsed Iceberg manifests.
    pub manifest_cache: ByteSize,
    /// Memory for Parquet footers.
    pub footer_cache: ByteSize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            catalog_uri: local("http://127.0.0.1:8181/"),
            catalog_name: "iceberg".to_owned(),
            warehouse: "s3://lakehouse/".to_owned(),
            catalog_token: None,
            s3_endpoint: local("http://127.0.0.1:9000/"),
            s3_access_key: String::new(),
            s3_secret_key: String::new(),
            s3_region: "us-east-1".to_owned(),
            threads: 0,
            max_running: 8,
            max_queued: 200,
            query_max_run_time: Duration::from_secs(3600),
            client_timeout: Duration::from_secs(300),
            max_history: 100,
            query_max_memory: ByteSize::mib(256),
            max_memory: ByteSize::mib(512),
            page_size: ByteSize::mib(1),
            max_statement_size: ByteSize::mib(1),
            manifest_cache: ByteSize::mib(64),
            footer_cache: ByteSize::mib(64),
        }
    }
}

fn local(text: &str) -> Url {
    Url::parse(text).expect("the default addresses are URLs")
}

impl Config {
    /// Says which key cannot be as it is.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |key: &'static str, why: &str| {
            Err(Error::Config {
                key,
                why: why.to_owned(),
            })
        };
        if !self.listen.ip().is_loopback() {
            return refuse(
                "listen",
                "must be a loopback address: the query engine has no authentication yet",
            );
        }
        if self.catalog_name.is_empty()
            || self.catalog_name == "system"
            || self.catalog_name != self.catalog_name.to_lowercase()
        {
            return refuse(
                "catalog_name",
                "must be a lower-case name other than `system`",
            );
        }
        if self.max_running == 0 {
            return refuse("max_running", "must be at least 1");
        }
        if self.page_size.as_u64() < 1024 || self.page_size > ByteSize::mib(128) {
            return refuse("page_size", "must be from 1 KiB to 128 MiB");
        }
        if self.max_statement_size.as_u64() < 1024 {
            return refuse("max_statement_size", "must be at least 1 KiB");
        }
        if self.query_max_memory > self.max_memory {
            return refuse("query_max_memory", "must not exceed max_memory");
        }
        if self.client_timeout < Duration::from_secs(5) {
            return refuse("client_timeout", "must be at least 5 s");
        }
        Ok(())
    }
}
