//! Serves the Trino protocol, with queries on threads of their own so that HTTP never waits for them.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::limit::RequestBodyLimitLayer;

use crate::metrics::Metrics;
use crate::query::manager::Manager;
use crate::query::run::Engine;
use crate::{Config, Error, http};

/// Stack of a query thread: deep expressions are walked recursively by the analyzer and the optimizer.
const STACK: usize = 256 << 20;
/// How often abandoned queries are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(5);
/// How long running answers get when the service stops.
const DRAIN: Duration = Duration::from_secs(3);

/// Serves the Trino protocol on `listener` until `shutdown` is cancelled; running queries then fail.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    config.validate()?;
    let mut registry = telemetry::Registry::default();
    let metrics = Metrics::new(&mut registry);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.threads > 0 {
        builder.worker_threads(config.threads);
    }
    let runtime = builder
        .thread_name("query")
        .thread_stack_size(STACK)
        .enable_all()
        .build()
        .map_err(Error::Threads)?;
    let threads = Threads(Some(runtime));
    let Some(handle) = threads.0.as_ref().map(|runtime| runtime.handle().clone()) else {
        return Ok(());
    };
    let body_limit = usize::try_from(config.max_statement_size.as_u64())
        .unwrap_or(usize::MAX)
        .saturating_mul(2);
    let engine = Arc::new(Engine::new(config, metrics).map_err(Error::Engine)?);
    let manager = Manager::new(engine, handle);
    let health = telemetry::Health::new();
    let router = http::routes(Arc::clone(&manager))
        .layer(RequestBodyLimitLayer::new(body_limit))
        .layer(CompressionLayer::new())
        .merge(telemetry::routes(Arc::new(registry), health.clone()));
    health.ready();
    let limits = telemetry::Limits::default();
    let serving = telemetry::serve(listener, router, limits, shutdown.clone());
    let outcome = tokio::select! {
        served = serving => served.map_err(Error::Serve),
        () = watch(&manager, &shutdown) => Ok(()),
    };
    manager.stop();
    let _ = tokio::time::timeout(DRAIN, manager.tasks.wait()).await;
    outcome
}

/// Ends abandoned queries; returns a while after shutdown, when waiting for clients has lasted long enough.
async fn watch(manager: &Manager, shutdown: &CancellationToken) {
    let mut ticks = tokio::time::interval(EXPIRY_INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => manager.expire(),
            () = shutdown.cancelled() => break,
        }
    }
    manager.stop();
    tokio::time::sleep(DRAIN).await;
}

/// The query threads; a runtime must not be dropped where it would have to wait.
struct Threads(Option<tokio::runtime::Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
