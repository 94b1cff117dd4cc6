//! How the catalog listens, where it keeps its rows and where tables are put.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::Error;

/// How the catalog listens, where it keeps its rows and where tables are put.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address the Iceberg REST protocol is served on.
    pub listen: SocketAddr,
    /// Directory of the SQLite file when `database` is not set.
    pub data_dir: PathBuf,
    /// `postgres://…` or `sqlite://…`; by default a SQLite file in `data_dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Root under which new tables are put: `s3://bucket/prefix` or `file:///directory`.
    pub warehouse: String,
    /// Further roots under which clients may place or register tables.
    pub allowed_locations: Vec<String>,
    /// Address of the object store for `s3://` locations; also told to clients.
    pub s3_endpoint: Url,
    /// Access key for the object store.
    pub s3_access_key: String,
    /// Secret key for the object store.
    pub s3_secret_key: String,
    /// Region that requests to the object store are signed for.
    pub s3_region: String,
    /// Whether a client that asks for vended credentials gets the object store's keys with a table.
    pub vend_credentials: bool,
    /// Bearer token that every request must carry; none is asked for when empty, which only loopback may do.
    pub token: String,
    /// Properties that a new table gets unless its creator says otherwise.
    pub table_defaults: BTreeMap<String, String>,
    /// How often a commit is rebased after losing to another instance before it is refused.
    pub commit_retries: usize,
    /// Commits that may wait for the database at once; more wait outside.
    pub max_pending_commits: usize,
    /// Commits that share one database transaction, and so one sync.
    pub max_commits_per_sync: usize,
    /// Connections served at once; further ones wait to be accepted.
    pub max_connections: usize,
    /// Requests served at once; more wait.
    pub max_concurrent_requests: usize,
    /// Largest request body.
    pub max_request_size: ByteSize,
    /// Memory for the bodies of all requests served at once; further ones wait.
    pub request_memory: ByteSize,
    /// How long a client may take to send the headers of a request, and how long a connection may be idle.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long a request body or a client reading an answer may make no progress.
    #[serde(with = "humantime_serde")]
    pub stall_timeout: Duration,
    /// Largest metadata file that can be registered, after decompression.
    pub max_metadata_size: ByteSize,
    /// Most names in one page of a listing that is asked for in pages.
    pub max_page_size: usize,
    /// Memory for the current metadata of recently used tables.
    pub metadata_cache: ByteSize,
    /// Longest time one request to the object store may take, repeats included.
    #[serde(with = "humantime_serde")]
    pub storage_timeout: Duration,
    /// How long requests already begun may take once the service is told to stop.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 8181)),
            data_dir: PathBuf::from("streamforge-data/iceberg-catalog"),
            database: None,
            warehouse: "s3://lakehouse/".to_owned(),
            allowed_locations: Vec::new(),
            s3_endpoint: Url::parse("http://127.0.0.1:9000").expect("the constant is a URL"),
            s3_access_key: String::new(),
            s3_secret_key: String::new(),
            s3_region: "us-east-1".to_owned(),
            vend_credentials: true,
            token: String::new(),
            table_defaults: BTreeMap::from([
                (
                    "write.metadata.delete-after-commit.enabled".to_owned(),
                    "true".to_owned(),
                ),
                (
                    "write.metadata.previous-versions-max".to_owned(),
                    "20".to_owned(),
                ),
            ]),
            commit_retries: 4,
            max_pending_commits: 1024,
            max_commits_per_sync: 64,
            max_connections: 1024,
            max_concurrent_requests: 256,
            max_request_size: ByteSize::mib(16),
            request_memory: ByteSize::mib(64),
            header_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(30),
            max_metadata_size: ByteSize::mib(64),
            max_page_size: 1000,
            metadata_cache: ByteSize::mib(32),
            storage_timeout: Duration::from_secs(15),
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
        if !self.listen.ip().is_loopback() && self.token.is_empty() {
            return Err(config_error(
                "token",
                format!(
                    "listening on {} is open to others and needs a token",
                    self.listen
                ),
            ));
        }
        if let Some(database) = &self.database
            && !["postgres://", "postgresql://", "sqlite:"]
                .iter()
                .any(|scheme| database.starts_with(scheme))
        {
            return Err(config_error(
                "database",
                "must begin with `postgres://` or `sqlite:`",
            ));
        }
        for (key, root) in self.roots() {
            if !root.starts_with("s3://") && !root.starts_with("file:/") {
                return Err(config_error(
                    key,
                    format!("`{root}` must begin with `s3://` or `file:///`"),
                ));
            }
        }
        for (key, bound) in [
            ("max_pending_commits", self.max_pending_commits),
            ("max_commits_per_sync", self.max_commits_per_sync),
            ("max_connections", self.max_connections),
            ("max_concurrent_requests", self.max_concurrent_requests),
            ("max_page_size", self.max_page_size),
        ] {
            if bound == 0 {
                return Err(config_error(key, "must be at least 1"));
            }
        }
        if self.request_memory < self.max_request_size {
            return Err(config_error(
                "request_memory",
                "must hold a request of `max_request_size`",
            ));
        }
        for (key, time) in [
            ("header_timeout", self.header_timeout),
            ("stall_timeout", self.stall_timeout),
        ] {
            if time.is_zero() {
                return Err(config_error(key, "must be positive"));
            }
        }
        Ok(())
    }

    /// Every root under which tables may lie, with the key that names it; the warehouse is the first.
    pub(crate) fn roots(&self) -> impl Iterator<Item = (&'static str, &str)> {
        std::iter::once(("warehouse", self.warehouse.as_str())).chain(
            self.allowed_locations
                .iter()
                .map(|root| ("allowed_locations", root.as_str())),
        )
    }
}

fn config_error(key: &'static str, why: impl Into<String>) -> Error {
    Error::Config {
        key,
        why: why.into(),
    }
}

#[cfg(test)]
mod tests;
