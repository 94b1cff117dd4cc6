//! The Iceberg REST protocol: paths, bodies, headers and errors; what they mean is in [`crate::catalog`].

mod auth;
mod body;
mod commits;
mod error;
mod namespaces;
mod settings;
mod tables;

use std::sync::Arc;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use http::{Method, Uri};
use tokio::sync::Semaphore;

use crate::catalog::Catalog;
use crate::metrics;

pub(crate) use error::Failure;

/// What `/v1/config` says is served: exactly the routes below.
pub(crate) const ENDPOINTS: [&str; 16] = [
    "GET /v1/{prefix}/namespaces",
    "POST /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "DELETE /v1/{prefix}/namespaces/{namespace}",
    "POST /v1/{prefix}/namespaces/{namespace}/properties",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "POST /v1/{prefix}/namespaces/{namespace}/tables",
    "POST /v1/{prefix}/namespaces/{namespace}/register",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
    "POST /v1/{prefix}/tables/rename",
    "POST /v1/{prefix}/transactions/commit",
];

/// All routes over `catalog`.
pub(crate) fn router(catalog: &Catalog) -> Router {
    let config = catalog.config();
    let limit = usize::try_from(config.max_request_size.as_u64()).unwrap_or(usize::MAX);
    let gate = Gate {
        catalog: catalog.clone(),
        permits: Arc::new(Semaphore::new(config.max_concurrent_requests)),
        memory: Arc::new(Semaphore::new(kib(config.request_memory.as_u64()) as usize)),
        limit,
    };
    Router::new()
        .route("/v1/config", get(settings::get))
        .route(
            "/v1/namespaces",
            get(namespaces::list).post(namespaces::create),
        )
        .route(
            "/v1/namespaces/{namespace}",
            get(namespaces::load)
                .head(namespaces::exists)
                .delete(namespaces::remove),
        )
        .route(
            "/v1/namespaces/{namespace}/properties",
            post(namespaces::change_properties),
        )
        .route(
            "/v1/namespaces/{namespace}/tables",
            get(tables::list).post(tables::create),
        )
        .route(
            "/v1/namespaces/{namespace}/register",
            post(tables::register),
        )
        .route(
            "/v1/namespaces/{namespace}/tables/{table}",
            get(tables::load)
                .head(tables::exists)
                .post(commits::update)
                .delete(tables::remove),
        )
        .route(
            "/v1/namespaces/{namespace}/tables/{table}/metrics",
            post(tables::report),
        )
        .route("/v1/tables/rename", post(tables::rename))
        .route("/v1/transactions/commit", post(commits::transaction))
        .with_state(catalog.clone())
        .method_not_allowed_fallback(not_served)
        .fallback(not_served)
        .layer(DefaultBodyLimit::max(limit))
        .layer(from_fn_with_state(gate, through))
}

#[derive(Clone)]
struct Gate {
    catalog: Catalog,
    permits: Arc<Semaphore>,
    /// In KiB, for bodies.
    memory: Arc<Semaphore>,
    /// Largest body, in bytes.
    limit: usize,
}

impl Gate {
    /// Memory for the body of `request`, as long as it says it is, or as long as it may be.
    fn needs(&self, request: &Request) -> u32 {
        let hint = request.body().size_hint();
        let length = hint.upper().unwrap_or(u64::MAX);
        kib(length.min(self.limit as u64))
    }
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// Every request: who asks, how many at once, and what became of it.
async fn through(
    State(gate): State<Gate>,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let labels = metrics::Request {
        method: request.method().as_str().to_owned(),
        route: route.map_or_else(|| "other".to_owned(), |route| route.as_str().to_owned()),
        status: 0,
    };
    let response = match auth::check(&gate.catalog.config().token, request.headers()) {
        Err(failure) => axum::response::IntoResponse::into_response(failure),
        Ok(()) => {
            let _memory = gate.memory.acquire_many(gate.needs(&request)).await;
            let _permit = gate.permits.acquire().await;
            next.run(request).await
        }
    };
    let labels = metrics::Request {
        status: response.status().as_u16(),
        ..labels
    };
    gate.catalog.metrics().requests.get_or_create(&labels).inc();
    response
}

async fn not_served(method: Method, uri: Uri) -> Failure {
    Failure::NotServed(format!("{method} {} is not served", uri.path()))
}
