//! The endpoints of a service's own state: metrics in OpenMetrics text, liveness, readiness.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// Whether a service can do its work yet; clones share the state.
///
/// A service that answers at all is alive; it is ready once it has said so, and until it takes that back.
#[derive(Debug, Clone)]
pub struct Health {
    /// Why not, or `None` when ready.
    waiting_for: Arc<Mutex<Option<String>>>,
}

impl Default for Health {
    fn default() -> Self {
        Health::new()
    }
}

impl Health {
    /// Not ready, because it is starting.
    pub fn new() -> Self {
        Health {
            waiting_for: Arc::new(Mutex::new(Some("starting".to_owned()))),
        }
    }

    /// From now on the service can do its work.
    pub fn ready(&self) {
        *self.waiting_for.lock() = None;
    }

    /// The service cannot do its work for now; `reason` is shown by `/readyz`.
    pub fn not_ready(&self, reason: impl Into<String>) {
        *self.waiting_for.lock() = Some(reason.into());
    }

    /// Whether the service can do its work.
    pub fn is_ready(&self) -> bool {
        self.waiting_for.lock().is_none()
    }
}

/// `GET /metrics`, `/healthz` and `/readyz`, to be merged into a service's router.
pub fn routes(registry: Arc<Registry>, health: Health) -> axum::Router {
    let endpoint = |path: &'static str| {
        get(
            move |State((registry, health)): State<(Arc<Registry>, Health)>| async move {
                to_axum(answer(path, &registry, &health))
            },
        )
    };
    axum::Router::new()
        .route("/metrics", endpoint("/metrics"))
        .route("/healthz", endpoint("/healthz"))
        .route("/readyz", endpoint("/readyz"))
        .with_state((registry, health))
}

fn to_axum(answer: Option<http::Response<String>>) -> Response {
    answer.map_or_else(
        || StatusCode::NOT_FOUND.into_response(),
        IntoResponse::into_response,
    )
}

/// The answer to a GET of `path`, or `None` if it is none of the three; for servers that are not axum's.
pub fn answer(path: &str, registry: &Registry, health: &Health) -> Option<http::Response<String>> {
    match path {
        "/metrics" => Some(metrics(registry)),
        "/healthz" => Some(text(StatusCode::OK, TEXT_TYPE, "ok\n".to_owned())),
        "/readyz" => Some(match &*health.waiting_for.lock() {
            None => text(StatusCode::OK, TEXT_TYPE, "ready\n".to_owned()),
            Some(reason) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT_TYPE,
                format!("not ready: {reason}\n"),
            ),
        }),
        _ => None,
    }
}

fn metrics(registry: &Registry) -> http::Response<String> {
    let mut body = String::new();
    match prometheus_client::encoding::text::encode(&mut body, registry) {
        Ok(()) => text(StatusCode::OK, METRICS_TYPE, body),
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            TEXT_TYPE,
            format!("could not encode: {error}\n"),
        ),
    }
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> http::Response<String> {
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_follows_what_the_service_says() {
        let (registry, health) = (Registry::default(), Health::new());
        let ask = || {
            let answer = answer("/readyz", &registry, &health).expect("it is one of the three");
            (answer.status().as_u16(), answer.into_body())
        };
        assert_eq!(ask(), (503, "not ready: starting\n".to_owned()));
        health.ready();
        assert_eq!(ask(), (200, "ready\n".to_owned()));
        health.not_ready("disk full");
        assert_eq!(ask(), (503, "not ready: disk full\n".to_owned()));
    }

    #[test]
    fn metrics_are_open_metrics_text() {
        let mut registry = Registry::default();
        let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
        registry.register("streamforge_test_requests", "Requests", counter.clone());
        counter.inc_by(3);
        let answer = answer("/metrics", &registry, &Health::new()).expect("it is one of the three");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], METRICS_TYPE);
        assert!(
            answer
                .body()
                .contains("streamforge_test_requests_total 3\n"),
            "{}",
            answer.body()
        );
    }

    #[test]
    fn other_paths_are_left_to_the_service() {
        assert!(answer("/", &Registry::default(), &Health::new()).is_none());
    }
}
