//! Opens the database, serves until told to stop, then finishes what was begun.

use std::sync::Arc;

use telemetry::{Health, Registry};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::catalog::{Catalog, delete_expired};
use crate::database::writer::Bounds;
use crate::files::Files;
use crate::metrics::Metrics;
use crate::{Config, Error, database, http};

/// Serves the Iceberg REST protocol on `listener` until `shutdown` is cancelled, then finishes the requests already begun.
///
/// # Errors
/// If the configuration is wrong, the database or the object store cannot be set up, or the listener fails.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    config.validate()?;
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let health = Health::new();
    let url = match &config.database {
        Some(url) => url.clone(),
        None => {
            std::fs::create_dir_all(&config.data_dir).map_err(|source| Error::DataDir {
                path: config.data_dir.display().to_string(),
                source,
            })?;
            database::sqlite_url(&config.data_dir)
        }
    };
    let bounds = Bounds {
        pending: config.max_pending_commits,
        batch: config.max_commits_per_sync,
    };
    let files = Files::new(&config)?;
    let (database, writer, work) = database::open(&url, bounds, metrics.clone()).await?;
    let grace = config.shutdown_grace;
    let limits = telemetry::Limits {
        max_connections: config.max_connections,
        header_timeout: config.header_timeout,
        stall_timeout: config.stall_timeout,
    };
    let (catalog, expired) = Catalog::new(config, database.clone(), writer, files.clone(), metrics);

    let mut background = JoinSet::new();
    background.spawn(work.run());
    background.spawn(delete_expired(files, expired));
    background.spawn(catalog.clone().purge_until(shutdown.clone()));
    let router =
        telemetry::routes(Arc::new(registry), health.clone()).merge(http::router(&catalog));
    drop(catalog);
    health.ready();
    info!(
        address = %listener.local_addr().map_err(Error::Serve)?,
        "catalog ready"
    );

    let server = telemetry::serve(listener, router, limits, shutdown.clone());
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    let outcome = tokio::select! {
        outcome = server => outcome.map_err(Error::Serve),
        () = overdue => {
            warn!("requests still open at the end of the grace period were cut off");
            Ok(())
        }
    };
    // The writer ends when the last request that holds it has ended.
    let ended = async { while background.join_next().await.is_some() {} };
    if tokio::time::timeout(grace / 4, ended).await.is_err() {
        warn!("the database writer did not end in time");
    }
    database.close().await;
    outcome
}
