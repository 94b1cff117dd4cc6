//! Serves a router to clients that may stall, vanish or be too many.
//!
//! `axum::serve` waits for a client's headers and body as long as the client likes, for as many clients as there are
//! sockets. Here each connection has its time and all together have a number.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::chain;
use crate::patient::{Awaited, Patient};

/// What clients may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections served at once; further ones wait to be accepted.
    pub max_connections: usize,
    /// How long the headers of a request may take, and how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a body on its way in, or an answer on its way out, may make no progress.
    pub stall_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_connections: 1024,
            header_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(60),
        }
    }
}

/// Pause after a connection could not be accepted, for example because too many files are open.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of headers that are read at most.
const MAX_HEADERS: usize = 256 * 1024;

/// Serves `router` on `listener` until `shutdown` is cancelled, and returns when the requests already begun are answered.
///
/// A handler whose client stops in the middle of a body gets the error [`crate::Stalled`] from it.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let mut connections = JoinSet::new();
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            () = shutdown.cancelled() => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) if is_passing(&error) => {
                    warn!(%error, "connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            },
            () = shutdown.cancelled() => break,
        };
        while connections.try_join_next().is_some() {}
        let connection = serve_connection(stream, router.clone(), limits.clone(), shutdown.clone());
        connections.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Errors of one connection, or of too many at once, that do not end the listener.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let too_many = [23, 24, 105];
    matches!(
        error.kind(),
        Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted | Kind::WouldBlock
    ) || error
        .raw_os_error()
        .is_some_and(|code| too_many.contains(&code))
}

async fn serve_connection(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "no delay could not be set");
    }
    let patience = limits.stall_timeout;
    let stream = TokioIo::new(Patient::new(stream, patience));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let request = request.map(|body| Body::new(Awaited::new(body, patience)));
        let answer = router.call(request);
        async move { answer.await.map_err(|never: Infallible| never) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEADERS)
        .serve_connection(stream, service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(error = %chain(&error), "connection ended early");
    }
}
