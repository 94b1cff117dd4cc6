//! The process-wide log: one line an event, to standard error.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Installs the process's log at `filter` (the syntax of `RUST_LOG`, for example `info,query_engine=debug`).
///
/// # Errors
/// If the process already has one, or `filter` is not understood.
pub fn init(filter: &str, format: LogFormat) -> Result<(), InitError> {
    let filter =
        EnvFilter::try_new(filter).map_err(|source| InitError::Filter(source.to_string()))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(true);
    match format {
        LogFormat::Text => builder.compact().finish().try_init()?,
        LogFormat::Json => builder.json().finish().try_init()?,
    }
    Ok(())
}

/// Why the log could not be installed.
#[derive(Debug)]
pub enum InitError {
    /// The filter is not understood.
    Filter(String),
    /// The process has a log already.
    Twice(TryInitError),
}

impl From<TryInitError> for InitError {
    fn from(error: TryInitError) -> Self {
        InitError::Twice(error)
    }
}

impl std::fmt::Display for InitError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            InitError::Filter(why) => write!(formatter, "the log filter is not understood: {why}"),
            InitError::Twice(_) => formatter.write_str("the process has a log already"),
        }
    }
}

impl std::error::Error for InitError {}
