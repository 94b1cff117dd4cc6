//! Keeps the tables of `up` healthy: compaction and snapshot expiry by `lake`, as a task of this process.

use anyhow::Context;
use lake::catalog::{CatalogConfig, RestCatalog};
use lake::io::StoreConfig;
use lake::maintenance::Policy;
use serde::{Deserialize, Serialize};

use crate::run::{Platform, Stage};

/// Whether and how tables are maintained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Run by `up`; set to false where another program maintains the tables.
    pub(crate) enabled: bool,
    /// What is done, and how often.
    pub(crate) policy: Policy,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: true,
            policy: Policy::default(),
        }
    }
}

impl Config {
    /// Refuses what cannot work, before anything is started.
    pub(crate) fn validate(&self) -> anyhow::Result<()> {
        self.policy
            .validate()
            .context("`[maintenance.policy]` cannot work")
    }
}

/// Starts the task unless it is switched off.
pub(crate) async fn start(platform: &mut Platform) -> anyhow::Result<()> {
    let config = &platform.config;
    if !config.maintenance.enabled {
        return Ok(());
    }
    let policy = config.maintenance.policy.clone();
    let engine = &config.query_engine;
    let store = StoreConfig {
        endpoint: Some(engine.s3_endpoint.to_string()),
        region: engine.s3_region.clone(),
        access_key: engine.s3_access_key.clone(),
        secret_key: engine.s3_secret_key.clone(),
        path_style: true,
        ..StoreConfig::default()
    };
    let mut catalog = CatalogConfig::new(engine.catalog_uri.clone());
    catalog.warehouse = Some(engine.warehouse.clone());
    catalog.store = store;
    let catalog = RestCatalog::connect(catalog)
        .await
        .context("could not reach the catalog")?;
    platform.spawn(Stage::Clients, |shutdown| async move {
        lake::maintenance::run(catalog, policy, shutdown)
            .await
            .context("the maintenance of tables failed")
    });
    Ok(())
}
