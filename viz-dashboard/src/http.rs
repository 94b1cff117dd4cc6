//! Pages and the JSON behind them: routes, authentication, headers that every answer carries.

mod auth;
mod dashboards;
mod pages;
mod platform;
mod queries;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};

use crate::bundle::Bundle;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::platform::Platform;
use crate::runs::Runs;
use crate::trino::Trino;
use crate::{Config, assets};

/// Largest statement or other body.
const MAX_BODY: usize = 1 << 20;

/// What handlers work with; clones share it.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) trino: Trino,
    pub(crate) live: Live,
    pub(crate) runs: Runs,
    pub(crate) platform: Platform,
    pub(crate) metrics: Metrics,
    /// Ends the streams that have no end of their own.
    pub(crate) shutdown: CancellationToken,
}

/// An error as the pages' scripts read it.
pub(crate) struct Failure(pub(crate) StatusCode, pub(crate) String);

/// Scripts only from here; style attributes are what charts need for their tooltips.
const SECURITY: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
         connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// All routes.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/", get(pages::home))
        .route("/dashboards/{slug}", get(pages::dashboard))
        .route("/sql", get(pages::sql))
        .route("/platform", get(pages::platform))
        .route("/assets/{*path}", get(assets::serve))
        .route("/api/dashboards/{slug}/live", get(dashboards::live))
        .route("/api/dashboards/{slug}/filters/{filter}", get(dashboards::filter_values))
        .route("/api/dashboards/{slug}/charts/{chart}/data.csv", get(dashboards::csv))
        .route("/api/dashboards/{slug}/charts/{chart}/sql", get(dashboards::sql))
        .route("/api/queries", post(queries::begin))
        .route("/api/queries/{id}", get(queries::report).delete(queries::cancel))
        .route("/api/queries/{id}/data.csv", get(queries::csv))
        .route("/api/names", get(queries::names))
        .route("/api/platform/services", get(platform::services))
        .route("/api/platform/jobs", get(platform::jobs))
        .route("/api/platform/tables", get(platform::tables))
        .route("/api/platform/topics", get(platform::topics))
        .fallback(pages::not_found)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(app.clone(), through))
        // Events are small and must not wait in a compressor.
        .layer(CompressionLayer::new().compress_when(
            DefaultPredicate::new().and(NotForContentType::new("text/event-stream")),
        ))
        .with_state(app)
}

/// Every request: who asks, and whether a foreign page makes them ask.
async fn through(State(app): State<App>, request: Request, next: Next) -> Response {
    let refused = auth::check(&app.config, request.method(), request.headers()).err();
    let mut response = match refused {
        Some(refused) => refused,
        None => next.run(request).await,
    };
    for (name, value) in SECURITY {
        response.headers_mut().insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    response
}

// === impl Failure ===

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, axum::Json(json!({"error": self.1}))).into_response()
    }
}

impl Failure {
    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Failure(StatusCode::NOT_FOUND, what.into())
    }

    /// Another service did not give what it was asked for.
    pub(crate) fn upstream(why: impl Into<String>) -> Self {
        Failure(StatusCode::BAD_GATEWAY, why.into())
    }
}
