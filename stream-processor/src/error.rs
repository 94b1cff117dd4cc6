//! Why a job cannot be planned or cannot go on.

use std::fmt;

/// A place in the submitted SQL text, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column.
    pub column: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}, column {}", self.line, self.column)
    }
}

/// Why a job cannot be planned or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configured value cannot work.
    #[error("`{key}`: {why}")]
    Config {
        /// The key.
        key: &'static str,
        /// The reason.
        why: String,
    },
    /// The SQL is not understood.
    #[error("{message} at {position}")]
    Syntax {
        /// What is wrong.
        message: String,
        /// Where.
        position: Position,
    },
    /// The SQL is understood but this construct, option or function is not offered.
    #[error("{construct} is not supported at {position}{hint}")]
    Unsupported {
        /// Its name as the user wrote it.
        construct: String,
        /// Where.
        position: Position,
        /// The way round, as `; use …`, or empty.
        hint: String,
    },
    /// A name, type or option is wrong.
    #[error("{message}")]
    Validation {
        /// What is wrong and where.
        message: String,
    },
    /// The running job failed.
    #[error("{message}")]
    Runtime {
        /// What was tried.
        message: String,
        /// Why it failed.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The state does not fit the job.
    #[error("could not restore: {message}")]
    Restore {
        /// What does not fit.
        message: String,
    },
}

impl Error {
    /// The job cannot go on, for a reason of our own.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Error::Runtime {
            message: message.into(),
            source: None,
        }
    }

    /// The job cannot go on: `message` says what was tried, `source` why it failed.
    pub(crate) fn caused(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Error::Runtime {
            message: message.into(),
            source: Some(source.into()),
        }
    }

    /// A name, type or option is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Error::Validation {
            message: message.into(),
        }
    }

    pub(crate) fn stateless_restore() -> Self {
        Error::Restore {
            message: "the checkpoint has state for an operator that keeps none".to_owned(),
        }
    }
}

impl Error {
    /// The SQL is not understood.
    pub(crate) fn syntax(message: impl Into<String>, position: Position) -> Self {
        Error::Syntax {
            message: message.into(),
            position,
        }
    }

    /// The SQL is understood, but `construct` is not offered.
    pub(crate) fn unsupported(
        construct: impl Into<String>,
        position: Position,
        hint: impl Into<String>,
    ) -> Self {
        Error::Unsupported {
            construct: construct.into(),
            position,
            hint: hint.into(),
        }
    }

    /// A name, type or option is wrong at a known place.
    pub(crate) fn validation(message: impl fmt::Display, position: Position) -> Self {
        Error::Validation {
            message: format!("{message} at {position}"),
        }
    }
}
