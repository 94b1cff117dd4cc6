//! Why the catalog refuses a request or fails at it; `http::error` turns these into the protocol's errors.
//!
//! The texts of what Java's catalog also says are Java's, because clients and its compatibility kit compare them.

use std::sync::Arc;

use super::ident::{Namespace, TableIdent};

/// Why the catalog refuses a request or fails at it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("Namespace does not exist: {0}")]
    NoSuchNamespace(Namespace),
    #[error("Namespace already exists: {0}")]
    NamespaceExists(Namespace),
    #[error("Namespace is not empty: {0}")]
    NamespaceNotEmpty(Namespace),
    #[error("Table does not exist: {0}")]
    NoSuchTable(TableIdent),
    #[error("Table already exists: {0}")]
    TableExists(TableIdent),
    /// A requirement does not hold, or another commit came first: the client may rebase and try again.
    #[error("{0}")]
    CommitFailed(String),
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The request is well formed but contradicts itself.
    #[error("{0}")]
    Unprocessable(String),
    /// Nothing was changed; the same request may succeed later.
    #[error("could not {doing}")]
    Unavailable {
        doing: String,
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing was changed; the same request will succeed once the files are gone.
    #[error("the files of a dropped table at {0} are still being deleted; try again later")]
    Purging(String),
    /// The database did not say whether the change was made.
    #[error("could not learn whether the commit was made")]
    StateUnknown(#[source] Arc<sqlx::Error>),
    /// A promise of the catalog's own is broken.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        Error::Invalid(why.into())
    }

    pub(crate) fn unavailable(
        doing: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Error::Unavailable {
            doing: doing.into(),
            source: Arc::new(source),
        }
    }
}
