//! The `iceberg` connector: catalogs for sessions, and sinks whose rows appear when a checkpoint completes.

pub(crate) mod catalog;
pub(crate) mod sink;
pub(crate) mod types;

use std::collections::BTreeMap;
use std::time::Duration;

use lake::catalog::{CatalogConfig, RestCatalog};
use lake::io::StoreConfig;
use parking_lot::Mutex;
use url::Url;

use crate::error::Error;

/// Options of `CREATE CATALOG`.
const KNOWN: [&str; 16] = [
    "type",
    "catalog-type",
    "uri",
    "warehouse",
    "token",
    "io-impl",
    "cache-enabled",
    "cache.expiration-interval-ms",
    "property-version",
    "client.region",
    "s3.endpoint",
    "s3.region",
    "s3.access-key-id",
    "s3.secret-access-key",
    "s3.session-token",
    "s3.path-style-access",
];

/// Connected catalogs, by their options.
pub(crate) struct Catalogs {
    store: StoreConfig,
    connected: Mutex<BTreeMap<BTreeMap<String, String>, RestCatalog>>,
}

impl Catalogs {
    pub(crate) fn new(store: StoreConfig) -> Self {
        Catalogs {
            store,
            connected: Mutex::default(),
        }
    }

    /// The catalog with these options of `CREATE CATALOG`.
    pub(crate) async fn get(
        &self,
        options: &BTreeMap<String, String>,
    ) -> Result<RestCatalog, Error> {
        if let Some(catalog) = self.connected.lock().get(options) {
            return Ok(catalog.clone());
        }
        let config = self.config(options)?;
        let uri = config.uri.clone();
        let catalog = RestCatalog::connect(config).await.map_err(|error| {
            Error::caused(
                format!("could not connect to the Iceberg catalog {uri}"),
                error,
            )
        })?;
        self.connected
            .lock()
            .insert(options.clone(), catalog.clone());
        Ok(catalog)
    }

    fn config(&self, options: &BTreeMap<String, String>) -> Result<CatalogConfig, Error> {
        let get = |key: &str| options.get(key).cloned();
        if let Some(unknown) = options.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(Error::invalid(format!(
                "option '{unknown}' of an Iceberg catalog is not supported"
            )));
        }
        match get("catalog-type").as_deref() {
            Some("rest") => {}
            other => {
                return Err(Error::invalid(format!(
                    "an Iceberg catalog needs 'catalog-type' = 'rest', not {other:?}"
                )));
            }
        }
        let uri = get("uri")
            .ok_or_else(|| Error::invalid("an Iceberg catalog needs the option 'uri'"))?;
        let uri = Url::parse(&uri)
            .map_err(|error| Error::caused(format!("option 'uri' cannot be '{uri}'"), error))?;
        let mut store = self.store.clone();
        if let Some(endpoint) = get("s3.endpoint") {
            store.endpoint = Some(endpoint);
        }
        if let Some(region) = get("s3.region").or_else(|| get("client.region")) {
            store.region = region;
        }
        if let (Some(access), Some(secret)) = (get("s3.access-key-id"), get("s3.secret-access-key"))
        {
            store.access_key = access;
            store.secret_key = secret;
        }
        store.session_token = get("s3.session-token").or(store.session_token);
        match get("s3.path-style-access").as_deref() {
            None => {}
            Some("true") => store.path_style = true,
            Some("false") => store.path_style = false,
            Some(other) => {
                return Err(Error::invalid(format!(
                    "option 's3.path-style-access' cannot be '{other}'"
                )));
            }
        }
        Ok(CatalogConfig {
            warehouse: get("warehouse"),
            token: get("token"),
            store,
            timeout: Duration::from_secs(30),
            ..CatalogConfig::new(uri)
        })
    }
}
