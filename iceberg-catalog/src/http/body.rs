//! Reads what comes in: JSON bodies, namespaces in paths, pages in queries; each refusal is an Iceberg error.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Failure;
use crate::catalog::{Error, Namespace, PageRequest, TableIdent};

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

/// The namespace in a path.
pub(crate) struct InNamespace(pub(crate) Namespace);

/// The namespace and table in a path.
pub(crate) struct OfTable(pub(crate) TableIdent);

/// The query part.
pub(crate) struct Asked<T>(pub(crate) T);

/// The query of a listing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListQuery {
    pub(crate) page_token: Option<String>,
    page_size: Option<String>,
    pub(crate) parent: Option<String>,
}

// === impl ListQuery ===

impl ListQuery {
    /// The page asked for; tokens of namespaces are keys, so both listings resume after a name.
    pub(crate) fn page(&self) -> Result<PageRequest, Failure> {
        let size = match self.page_size.as_deref() {
            None | Some("") => None,
            Some(text) => Some(text.parse().map_err(|_| {
                Error::invalid(format!("pageSize must be a positive number, not `{text}`"))
            })?),
        };
        if size == Some(0) {
            return Err(Error::invalid("pageSize must be at least 1").into());
        }
        Ok(PageRequest {
            token: self.page_token.clone(),
            size,
        })
    }

    pub(crate) fn parent(&self) -> Result<Option<Namespace>, Failure> {
        match self.parent.as_deref() {
            None | Some("") => Ok(None),
            Some(parent) => Ok(Some(Namespace::parse(parent)?)),
        }
    }
}

// === extractors ===

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes =
            Bytes::from_request(request, state)
                .await
                .map_err(|rejection: BytesRejection| {
                    if telemetry::Stalled::is_behind(&rejection) {
                        return Failure::Body {
                            status: StatusCode::REQUEST_TIMEOUT,
                            why: "the request body stopped coming".to_owned(),
                        };
                    }
                    Failure::Body {
                        status: rejection.status(),
                        why: rejection.body_text(),
                    }
                })?;
        serde_json::from_slice(&bytes).map(Body).map_err(|error| {
            Error::invalid(format!("the request body is not valid: {error}")).into()
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InNamespace {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(joined) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(bad_path)?;
        Ok(InNamespace(Namespace::parse(&joined)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfTable {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path((joined, name)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(bad_path)?;
        let namespace = Namespace::parse(&joined)?;
        Ok(OfTable(TableIdent::new(namespace, name)?))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        Query::<T>::from_request_parts(parts, state)
            .await
            .map(|Query(query)| Asked(query))
            .map_err(|rejection: QueryRejection| Error::invalid(rejection.body_text()).into())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form map_err wants")]
fn bad_path(rejection: PathRejection) -> Failure {
    Error::invalid(rejection.body_text()).into()
}

/// A JSON answer, so that handlers name one type.
pub(crate) type Answer<T> = Result<Json<T>, Failure>;
