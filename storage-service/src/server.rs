//! Accepts connections, judges and routes requests, and drains when told to stop.
//!
//! The only place that does network IO. A request goes through [`crate::http::gate`], then to s3s, which verifies its
//! signature and calls [`crate::http::service`]; `/metrics`, `/healthz` and `/readyz` answer unsigned requests.

mod patience;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::{HeaderValue, Method, Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Error, S3ErrorCode};
use telemetry::{Health, Patient, Registry};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::http::convert_now;
use crate::http::framing::Framing;
use crate::http::gate::{Gate, drop_odd_range};
use crate::http::service::Service;
use crate::metrics::{Metrics, StatusClass};
use crate::store::{RECEIVED, Store, UnixMillis};
use crate::{Config, Error};
use patience::Guarded;

/// How long the last index transaction may take when the service stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often stale uploads are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(3600);

/// Serves S3 on `listener` until `shutdown` is cancelled, then finishes the requests already begun.
///
/// # Errors
/// If the configuration cannot work, the data directory cannot be opened, or the listener fails.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    config.validate()?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let store = Store::open(&config, metrics.clone(), convert_now()).await?;
    let closed = store.closed();
    let health = Health::new();
    let front = Arc::new(Front {
        gate: Gate {
            region: config.region.clone(),
            access_key: config.signed().then(|| config.access_key.clone()),
            // The framing of a chunked body comes on top of the object.
            max_body: config
                .max_put_size
                .as_u64()
                .saturating_add(config.max_put_size.as_u64() / 8),
            max_xml: config.max_xml_size.as_u64(),
        },
        s3: s3_service(&config, store.clone(), metrics.clone()),
        registry,
        health: health.clone(),
        metrics,
        stall_timeout: config.stall_timeout,
        max_chunk: config.max_chunk_size.as_u64(),
        held: RECEIVED.max(config.max_xml_size.as_u64()),
        memory: Semaphore::new(kib(config.request_memory.as_u64()) as usize),
    });
    health.ready();
    info!(address = ?listener.local_addr().ok(), data_dir = %config.data_dir.display(), "serving");
    let failed = store.failed();
    let expiry = expire_uploads(store, config.upload_expiry);
    // Who asks must hear of it, so the listener stays.
    let watch = async {
        failed.cancelled().await;
        health.not_ready("the disk failed under the index");
        std::future::pending::<()>().await;
    };
    let served = tokio::select! {
        served = accept(&config, listener, &front, &shutdown) => served,
        () = expiry => Ok(()),
        () = watch => Ok(()),
    };
    drop(front);
    // The directory is free when this returns, so that the next store can be started at once.
    if tokio::time::timeout(CLOSE_TIMEOUT, closed.cancelled())
        .await
        .is_err()
    {
        warn!("the index is still busy at the end of the shutdown");
    }
    served
}

fn s3_service(config: &Config, store: Store, metrics: Metrics) -> S3Service {
    let region = config.region.clone();
    let mut builder = S3ServiceBuilder::new(Service {
        store,
        region,
        metrics,
    });
    let mut limits = S3Config::default();
    limits.xml_max_body_size = usize::try_from(config.max_xml_size.as_u64()).unwrap_or(usize::MAX);
    limits.presigned_url_max_skew_time_secs =
        u32::try_from(config.max_clock_skew.as_secs()).unwrap_or(u32::MAX);
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(limits))));
    if config.signed() {
        builder.set_auth(SimpleAuth::from_single(
            config.access_key.clone(),
            config.secret_key.clone(),
        ));
    }
    builder.build()
}

async fn accept(
    config: &Config,
    listener: TcpListener,
    front: &Arc<Front>,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let slots = Arc::new(Semaphore::new(config.max_connections));
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
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                Err(error) => return Err(Error::Accept(error)),
            },
            () = shutdown.cancelled() => break,
        };
        while connections.try_join_next().is_some() {}
        let connection = serve_connection(
            stream,
            Arc::clone(front),
            config.header_timeout,
            shutdown.clone(),
        );
        connections.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    front.health.not_ready("stopping");
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(config.shutdown_timeout, drained)
        .await
        .is_err()
    {
        warn!("requests still running at the end of the shutdown timeout were cut off");
    }
    Ok(())
}

/// Errors of one connection, or of too many at once, that do not end the listener.
fn is_passing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted | Kind::WouldBlock
    ) || matches!(error.raw_os_error(), Some(23 | 24 | 105))
}

async fn serve_connection(
    stream: TcpStream,
    front: Arc<Front>,
    header_timeout: Duration,
    shutdown: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "no delay could not be set");
    }
    front.metrics.connections.inc();
    let answering = Arc::clone(&front);
    let stream = Patient::new(stream, front.stall_timeout);
    let service = service_fn(move |request| {
        let front = Arc::clone(&answering);
        async move { Ok::<_, Infallible>(front.answer(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(256 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(error = %telemetry::chain(&error), "connection ended early");
    }
    front.metrics.connections.dec();
}

/// Removes uploads that nobody finishes, now and every hour; never returns.
async fn expire_uploads(store: Store, age: Duration) {
    let mut ticks = tokio::time::interval(EXPIRY_INTERVAL);
    loop {
        ticks.tick().await;
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let limit = UnixMillis(convert_now().0.saturating_sub(age));
        match store.expire_uploads(limit).await {
            Ok(0) => {}
            Ok(uploads) => info!(uploads, "unfinished uploads expired"),
            Err(error) => {
                error!(error = %telemetry::chain(&error), "unfinished uploads could not be expired");
            }
        }
    }
}

/// What every connection shares.
struct Front {
    gate: Gate,
    s3: S3Service,
    registry: Registry,
    health: Health,
    metrics: Metrics,
    stall_timeout: Duration,
    max_chunk: u64,
    /// Most bytes of a body that are in memory at once, apart from a chunk that is verified.
    held: u64,
    /// In KiB, for bodies.
    memory: Semaphore,
}

impl Front {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let method = method_label(request.method());
        let waits = request.headers().contains_key(http::header::EXPECT);
        let mut response = self.route(request).await;
        if waits && !response.status().is_success() {
            // The client may go on without the body that it was not asked for, and hyper takes the first bytes of what
            // comes next for that body. So nothing comes next.
            let close = HeaderValue::from_static("close");
            response
                .headers_mut()
                .insert(http::header::CONNECTION, close);
        }
        let status = match response.status().as_u16() {
            0..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.metrics
            .requests
            .get_or_create(&StatusClass { method, status })
            .inc();
        finished(response)
    }

    /// Memory for `body`, as long as it says it is, or as long as it may be.
    fn needs(&self, body: &Incoming, chunked: bool) -> u32 {
        let length = body.size_hint().upper().unwrap_or(u64::MAX);
        let chunk = if chunked { self.max_chunk } else { 0 };
        kib(length.min(self.held) + length.min(chunk))
    }

    async fn route(&self, request: Request<Incoming>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        if parts.method == Method::GET
            && parts.uri.query().is_none()
            && !parts.headers.contains_key(http::header::AUTHORIZATION)
            && let Some(answer) = telemetry::answer(parts.uri.path(), &self.registry, &self.health)
        {
            return answer.map(Body::from);
        }
        if let Err(refusal) = self.gate.check(&parts) {
            self.metrics.refused.inc();
            return refused(refusal);
        }
        drop_odd_range(&mut parts);
        let chunked = is_chunked(&parts);
        // Given back with the answer, by when the body is received. Without a body it is nothing.
        let _memory = self.memory.acquire_many(self.needs(&body, chunked)).await;
        let framing = chunked.then(|| Framing::new(self.max_chunk));
        let body = Body::http_body_unsync(Guarded::new(body, framing, self.stall_timeout));
        // A mistake in a parser must not leave its client without an answer.
        let answer = AssertUnwindSafe(self.s3.call(Request::from_parts(parts, body)));
        match answer.catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                error!(?error, "answer could not be made");
                refused(S3Error::new(S3ErrorCode::InternalError))
            }
            Err(_) => {
                error!("a request was given up after a panic");
                refused(S3Error::new(S3ErrorCode::InternalError))
            }
        }
    }
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// Whether the body comes in `aws-chunked` framing.
fn is_chunked(parts: &http::request::Parts) -> bool {
    let payload = parts.headers.get("x-amz-content-sha256");
    payload.is_some_and(|payload| payload.as_bytes().starts_with(b"STREAMING-"))
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn refused(error: S3Error) -> Response<Body> {
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// What every answer carries.
fn finished(mut response: Response<Body>) -> Response<Body> {
    let id = ulid::Ulid::new().to_string();
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-amz-request-id", id);
    }
    response.headers_mut().insert(
        http::header::SERVER,
        HeaderValue::from_static("StreamForge"),
    );
    if response.status() == http::StatusCode::NOT_MODIFIED {
        *response.body_mut() = Body::empty();
    }
    response
}
