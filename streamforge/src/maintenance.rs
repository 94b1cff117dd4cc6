//! Keeps the tables of `up` healthy: compaction and snapshot expiry by `lake`, on a thread of its own that yields.

use std::future::Future;
use std::time::Duration;

use anyhow::Context;
use lake::catalog::{CatalogConfig, RestCatalog};
use lake::io::StoreConfig;
use lake::maintenance::Policy;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::run::{Platform, Stage};

/// The nice value of the thread; on Linux each thread has its own.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// How long reading a file may take: with little of a core left, the bytes wait for the thread.
const STORE_TIMEOUT: Duration = Duration::from_mins(5);

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
        timeout: STORE_TIMEOUT,
        ..StoreConfig::default()
    };
    let mut catalog = CatalogConfig::new(engine.catalog_uri.clone());
    catalog.warehouse = Some(engine.warehouse.clone());
    catalog.store = store;
    let catalog = RestCatalog::connect(catalog)
        .await
        .context("could not reach the catalog")?;
    platform.spawn(Stage::Clients, |shutdown| async move {
        yielding(lake::maintenance::run(catalog, policy, shutdown))
            .await?
            .context("the maintenance of tables failed")
    });
    Ok(())
}

/// Runs `work` on a thread that gets a tenth of what others get of a core while all are busy: at full priority, rewriting
/// files took a third of a stream's throughput on two cores (`docs/benchmarks.md`). It must not come to nothing either.
async fn yielding<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not make a runtime for the maintenance of tables")?;
    let (sender, outcome) = oneshot::channel();
    std::thread::Builder::new()
        .name("upkeep".to_owned())
        .spawn(move || {
            #[cfg(target_os = "linux")]
            if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                tracing::warn!(%error, "the maintenance of tables runs at full priority");
            }
            // Nobody waits any more when the platform has stopped.
            let _ = sender.send(runtime.block_on(work));
        })
        .context("could not start a thread for the maintenance of tables")?;
    outcome
        .await
        .context("the maintenance of tables ended in an unexpected way")
}
