//! Puts the processor together and serves its two addresses until the shutdown.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use lake::io::Store;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Config;
use crate::connectors::Connectors;
use crate::connectors::iceberg::catalog::IcebergConnector;
use crate::error::Error;
use crate::http::gateway::Gateway;
use crate::http::jobs as job_rest;
use crate::jobs::Jobs;
use crate::metrics;
use crate::runtime::clock;
use crate::runtime::pool::Pool;
use crate::runtime::supervisor::CheckpointPlace;
use crate::sql::SessionOptions;

/// Pause between two tries to reach the object storage at the start.
const RETRY: Duration = Duration::from_millis(100);
const EXPIRY: Duration = Duration::from_secs(60);

/// Serves the SQL Gateway on `gateway` and the job REST on `jobs` until `shutdown` is cancelled, then drains: every job
/// takes a last checkpoint and commits it. The next start goes on from there.
///
/// # Errors
/// If the configuration cannot work, or a listener fails.
pub async fn serve(
    config: Config,
    gateway: TcpListener,
    jobs: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    config.validate()?;
    let (all, options) = assemble(&config)?;
    let health = telemetry::Health::new();
    let registry = Arc::new(metrics::registry(all.clone()));
    let sessions = Gateway::new(&config, all.clone(), options);
    let about = telemetry::routes(registry, health.clone());
    let gateway_router = sessions.clone().router(&config).merge(about.clone());
    let job_router = job_rest::router(all.clone()).merge(about);

    let mut running = JoinSet::new();
    running.spawn(listen(gateway, gateway_router, shutdown.clone()));
    running.spawn(listen(jobs, job_router, shutdown.clone()));
    running.spawn(look_after(all.clone(), sessions, health, shutdown.clone()));
    shutdown.cancelled().await;
    all.drain().await;
    while let Some(ended) = running.join_next().await {
        ended.map_err(|error| Error::caused("a part of the processor panicked", error))??;
    }
    info!("stopped");
    Ok(())
}

fn assemble(config: &Config) -> Result<(Jobs, SessionOptions), Error> {
    let pool = Arc::new(Pool::start(config.stream_threads())?);
    let connectors = Connectors::new(config.connectors(), tokio::runtime::Handle::current());
    let (store, base) = checkpoint_place(config)?;
    let place = CheckpointPlace {
        store,
        base,
        retain: config.checkpoints_retained,
    };
    let sessions = SessionOptions {
        option_overrides: config.option_overrides.clone(),
        defaults: config.settings(),
        catalogs: Some(Arc::new(IcebergConnector(Arc::clone(&connectors)))),
    };
    Ok((
        Jobs::new(config.clone(), connectors, pool, place, sessions.clone()),
        sessions,
    ))
}

/// Without a directory jobs live as long as the process.
fn checkpoint_place(config: &Config) -> Result<(Arc<dyn ObjectStore>, Path), Error> {
    if config.checkpoint_dir.is_empty() {
        return Ok((Arc::new(InMemory::new()), Path::default()));
    }
    Store::new(config.store())
        .open(&config.checkpoint_dir)
        .map_err(|error| Error::caused("could not open `stream_processor.checkpoint_dir`", error))
}

async fn listen(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    telemetry::serve(listener, router, telemetry::Limits::default(), shutdown)
        .await
        .map_err(|error| Error::caused("could not serve", error))
}

/// Takes up what an earlier process left, then closes sessions that nobody uses.
async fn look_after(
    jobs: Jobs,
    sessions: Gateway,
    health: telemetry::Health,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let mut told = false;
    while let Err(error) = jobs.resume().await {
        let reason = telemetry::chain(&error).to_string();
        if !told {
            // Once: in a platform that starts all at once, the storage comes up a moment later.
            info!(reason, "waiting for the object storage");
            told = true;
        }
        health.not_ready(reason);
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = shutdown.cancelled() => {
                warn!("stopped before the object storage answered");
                return Ok(());
            }
        }
    }
    health.ready();
    loop {
        tokio::select! {
            () = tokio::time::sleep(EXPIRY) => sessions.expire(clock()).await,
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}
