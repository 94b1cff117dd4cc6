//! The broker's own HTTP endpoints: `/metrics`, `/healthz`, `/readyz`.

use std::io;
use std::sync::Arc;

use telemetry::{Health, Registry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves the endpoints on `listener` until `shutdown` is cancelled.
pub(crate) async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    health: Health,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let router = telemetry::routes(registry, health);
    telemetry::serve(listener, router, telemetry::Limits::default(), shutdown).await
}
