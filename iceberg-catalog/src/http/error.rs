//! The one place that knows Iceberg's error types and status codes.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;
use tracing::error;

use crate::catalog::Error;

/// Why a request gets no ordinary answer.
#[derive(Debug)]
pub(crate) enum Failure {
    Catalog(Error),
    NotAuthorized(&'static str),
    /// No such endpoint here.
    NotServed(String),
    /// The body could not be read, or is too large.
    Body {
        status: StatusCode,
        why: String,
    },
}

// === impl Failure ===

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Catalog(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, kind, message) = match &self {
            Failure::Catalog(error) => {
                let (status, kind) = code(error);
                if status.is_server_error() {
                    error!(error = %telemetry::chain(error), "request failed");
                }
                (status, kind, error.to_string())
            }
            Failure::NotAuthorized(why) => (
                StatusCode::UNAUTHORIZED,
                "NotAuthorizedException",
                (*why).to_owned(),
            ),
            Failure::NotServed(what) => (
                StatusCode::NOT_FOUND,
                "NoSuchEndpointException",
                what.clone(),
            ),
            Failure::Body { status, why } => (*status, "BadRequestException", why.clone()),
        };
        let body = json!({
            "error": {"message": message, "type": kind, "code": status.as_u16()}
        });
        (status, Json(body)).into_response()
    }
}

fn code(error: &Error) -> (StatusCode, &'static str) {
    match error {
        Error::NoSuchNamespace(_) => (StatusCode::NOT_FOUND, "NoSuchNamespaceException"),
        Error::NoSuchTable(_) => (StatusCode::NOT_FOUND, "NoSuchTableException"),
        Error::NamespaceExists(_) | Error::TableExists(_) => {
            (StatusCode::CONFLICT, "AlreadyExistsException")
        }
        Error::NamespaceNotEmpty(_) => (StatusCode::CONFLICT, "NamespaceNotEmptyException"),
        Error::CommitFailed(_) => (StatusCode::CONFLICT, "CommitFailedException"),
        Error::Invalid(_) => (StatusCode::BAD_REQUEST, "BadRequestException"),
        Error::Unprocessable(_) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "UnprocessableEntityException",
        ),
        Error::Unavailable { .. } | Error::Purging(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailableException",
        ),
        Error::StateUnknown(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "CommitStateUnknownException",
        ),
        Error::Internal(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerErrorException",
        ),
    }
}
