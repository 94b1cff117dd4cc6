//! Why work on a table can fail, split by what the caller does next.
//!
//! The split that matters is the committer's: [`Error::Conflict`] and [`Error::Unavailable`] say that a
//! change did not happen, [`Error::StateUnknown`] that it may have. Everything else is not retried.

use std::error::Error as StdError;

/// Why work on a table failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table, namespace or snapshot asked for is not there.
    #[error("no {what}")]
    NotFound {
        /// What is missing, with its name.
        what: String,
    },
    /// The name is taken.
    #[error("{what} exists already")]
    AlreadyExists {
        /// What exists, with its name.
        what: String,
    },
    /// The table changed since it was read; nothing was written. Read it again and retry.
    #[error("{what} was changed by someone else: {why}")]
    Conflict {
        /// What was to be changed.
        what: String,
        /// The catalog's or the committer's reason.
        why: String,
    },
    /// The change was sent and no clear answer came back: it may or may not have happened.
    #[error("the catalog gave no clear answer to {what}: {why}")]
    StateUnknown {
        /// What was to be changed.
        what: String,
        /// What came back instead.
        why: String,
    },
    /// The other side could not be reached or is overloaded; nothing was changed.
    #[error("could not reach the catalog for {what}: {why}")]
    Unavailable {
        /// What was tried.
        what: String,
        /// What went wrong.
        why: String,
    },
    /// The other side understood and said no.
    #[error("the catalog refused {what} with status {status}: {why}")]
    Refused {
        /// What was tried.
        what: String,
        /// HTTP status.
        status: u16,
        /// The catalog's reason.
        why: String,
    },
    /// The object store could not do what was asked.
    #[error("could not {action} `{path}`")]
    Store {
        /// What was tried.
        action: &'static str,
        /// On which object.
        path: String,
        /// Why it failed.
        #[source]
        source: object_store::Error,
    },
    /// Table metadata, a manifest or a conversion was not acceptable to the Iceberg library.
    #[error("could not {action}")]
    Iceberg {
        /// What was tried.
        action: String,
        /// Why it failed.
        #[source]
        source: Box<iceberg::Error>,
    },
    /// A Parquet file could not be written or read.
    #[error("could not {action} `{path}`")]
    Parquet {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: String,
        /// Why it failed.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// Columns did not fit.
    #[error("could not {action}")]
    Arrow {
        /// What was tried.
        action: String,
        /// Why it failed.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// The input breaks a rule of the table or of this crate.
    #[error("{0}")]
    Invalid(String),
    /// The table uses something this crate does not do, and says so instead of guessing.
    #[error("{0} is not supported")]
    Unsupported(String),
}

impl Error {
    /// True when nothing was changed and the same work may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::Unavailable { .. })
    }

    /// Wraps an error of the Iceberg library.
    pub(crate) fn iceberg(action: impl Into<String>) -> impl FnOnce(iceberg::Error) -> Self {
        let action = action.into();
        move |source| Self::Iceberg {
            action,
            source: Box::new(source),
        }
    }

    /// Wraps an error of Arrow.
    pub(crate) fn arrow(
        action: impl Into<String>,
    ) -> impl FnOnce(arrow::error::ArrowError) -> Self {
        let action = action.into();
        move |source| Self::Arrow { action, source }
    }

    /// Wraps an error of the object store.
    pub(crate) fn store(
        action: &'static str,
        path: &str,
    ) -> impl FnOnce(object_store::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Store {
            action,
            path,
            source,
        }
    }

    /// Wraps an error of the Parquet library.
    pub(crate) fn parquet(
        action: &'static str,
        path: &str,
    ) -> impl FnOnce(parquet::errors::ParquetError) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Parquet {
            action,
            path,
            source,
        }
    }
}

/// The error and its causes in one line, for messages that cross a protocol.
pub(crate) fn one_line(error: &dyn StdError) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
