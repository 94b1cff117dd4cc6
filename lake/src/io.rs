//! Where table files live: one object store per bucket, opened on demand.
//!
//! The Iceberg library wants a [`FileIO`], DataFusion and our writers want an [`ObjectStore`]; both are
//! views of the same [`Store`], so credentials, endpoint and connections are set once. `s3://` and
//! `file://` addresses are understood.

mod storage;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use iceberg::io::{FileIO, FileIOBuilder};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};
use storage::Storage;

/// How the object store is reached.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreConfig {
    /// Address of the S3 service; AWS itself when absent.
    pub endpoint: Option<String>,
    /// Region that requests are signed for.
    pub region: String,
    /// Access key; requests go unsigned when it is empty.
    pub access_key: String,
    /// Secret key.
    #[serde(skip_serializing)]
    pub secret_key: String,
    /// Session token of temporary credentials.
    #[serde(skip_serializing)]
    pub session_token: Option<String>,
    /// Bucket in the path (`http://host/bucket/key`) instead of in the host name.
    pub path_style: bool,
    /// How long one request may take.
    pub timeout: Duration,
    /// How long a failing request is retried.
    pub retry_for: Duration,
}

/// The object stores of one set of credentials, one per bucket, opened on demand and shared.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    config: StoreConfig,
    buckets: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

// === impl StoreConfig ===

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: "us-east-1".to_owned(),
            access_key: String::new(),
            secret_key: String::new(),
            session_token: None,
            path_style: true,
            timeout: Duration::from_secs(30),
            retry_for: Duration::from_secs(20),
        }
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StoreConfig")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key", &self.access_key)
            .field("path_style", &self.path_style)
            .finish_non_exhaustive()
    }
}

impl StoreConfig {
    /// Whether nothing can change a request's body on its way: the way is TLS, or does not leave this machine.
    fn body_is_protected(&self) -> bool {
        let Some(endpoint) = &self.endpoint else {
            return true;
        };
        let Ok(endpoint) = url::Url::parse(endpoint) else {
            return false;
        };
        let here = match endpoint.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        here || endpoint.scheme() == "https"
    }

    /// This configuration with what the catalog says about a table laid over it: endpoint and region
    /// only where we have none, credentials whenever the catalog vends them.
    pub(crate) fn overlaid(&self, from_catalog: &HashMap<String, String>) -> Self {
        let mut config = self.clone();
        if config.endpoint.is_none() {
            config.endpoint = from_catalog.get("s3.endpoint").cloned();
            if let Some(region) = from_catalog
                .get("s3.region")
                .or_else(|| from_catalog.get("client.region"))
            {
                config.region.clone_from(region);
            }
            if let Some(path_style) = from_catalog.get("s3.path-style-access") {
                config.path_style = path_style.eq_ignore_ascii_case("true");
            }
        }
        if let (Some(access_key), Some(secret_key)) = (
            from_catalog.get("s3.access-key-id"),
            from_catalog.get("s3.secret-access-key"),
        ) {
            config.access_key.clone_from(access_key);
            config.secret_key.clone_from(secret_key);
            config.session_token = from_catalog.get("s3.session-token").cloned();
        }
        config
    }
}

// === impl Store ===

impl Default for Store {
    fn default() -> Self {
        Self::new(StoreConfig::default())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Store")
            .field("config", &self.inner.config)
            .finish()
    }
}

impl Store {
    /// A store that opens buckets as they are named.
    pub fn new(config: StoreConfig) -> Self {
        Self {
            inner: Arc::new(Inner {
                config,
                buckets: Mutex::default(),
            }),
        }
    }

    /// How this store is reached.
    pub fn config(&self) -> &StoreConfig {
        &self.inner.config
    }

    /// The object store that holds `location`, and the path in it.
    pub fn open(&self, location: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let (root, path) = split(location)?;
        let path = Path::parse(path).map_err(|error| {
            Error::Invalid(format!("`{location}` is no address of an object: {error}"))
        })?;
        Ok((self.bucket(root)?, path))
    }

    /// The root of `location` as DataFusion registers object stores: `s3://bucket/` or `file:///`.
    pub fn root(location: &str) -> Result<&str> {
        Ok(split(location)?.0)
    }

    /// This store as the Iceberg library wants it.
    pub fn file_io(&self) -> FileIO {
        FileIOBuilder::new(Arc::new(storage::Factory::new(Storage::new(self.clone())))).build()
    }

    fn bucket(&self, root: &str) -> Result<Arc<dyn ObjectStore>> {
        let mut buckets = self.inner.buckets.lock();
        if let Some(bucket) = buckets.get(root) {
            return Ok(Arc::clone(bucket));
        }
        let bucket: Arc<dyn ObjectStore> = match root.split_once("://") {
            Some(("file", _)) => Arc::new(LocalFileSystem::new()),
            Some((_, bucket)) => Arc::new(self.s3(bucket.trim_end_matches('/'))?),
            None => {
                return Err(Error::Invalid(format!(
                    "`{root}` is no address of a bucket"
                )));
            }
        };
        buckets.insert(root.to_owned(), Arc::clone(&bucket));
        Ok(bucket)
    }

    fn s3(&self, bucket: &str) -> Result<object_store::aws::AmazonS3> {
        let config = &self.inner.config;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&config.region)
            .with_virtual_hosted_style_request(!config.path_style)
            // The signature covers the headers; TCP on this machine or TLS covers the body, and hashing it on both
            // sides took 6% of the pipeline's CPU.
            .with_unsigned_payload(config.body_is_protected())
            .with_client_options(
                ClientOptions::new()
                    .with_allow_http(true)
                    .with_timeout(config.timeout)
                    .with_connect_timeout(Duration::from_secs(5)),
            )
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: 20,
                retry_timeout: config.retry_for,
            });
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        if config.access_key.is_empty() {
            builder = builder.with_skip_signature(true);
        } else {
            builder = builder
                .with_access_key_id(&config.access_key)
                .with_secret_access_key(&config.secret_key);
            if let Some(token) = &config.session_token {
                builder = builder.with_token(token);
            }
        }
        builder.build().map_err(Error::store("open bucket", bucket))
    }
}

/// Splits `s3://bucket/key` into `s3://bucket/` and `key`; `file:///tmp/x` into `file:///` and `tmp/x`.
fn split(location: &str) -> Result<(&str, &str)> {
    let unknown = || {
        Error::Invalid(format!(
            "`{location}` needs to begin with `s3://`, `s3a://` or `file://`"
        ))
    };
    let (scheme, rest) = location.split_once("://").ok_or_else(unknown)?;
    if !matches!(scheme, "s3" | "s3a" | "s3n" | "file") {
        return Err(unknown());
    }
    let host = rest.find('/').unwrap_or(rest.len());
    if scheme != "file" && host == 0 {
        return Err(Error::Invalid(format!("`{location}` names no bucket")));
    }
    let root_length = (scheme.len() + 3 + host + 1).min(location.len());
    Ok(location.split_at(root_length))
}

#[cfg(test)]
mod tests;
