//! Why the service could not start or go on. What is wrong with a statement is a [`crate::failure::Failure`].

use std::io;

/// A failure of the query engine as a service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that cannot be used.
    #[error("`query_engine.{key}` {why}")]
    Config {
        /// The key in the configuration.
        key: &'static str,
        /// What is wrong with its value.
        why: String,
    },
    /// The HTTP server stopped.
    #[error("could not serve the Trino protocol")]
    Serve(#[source] io::Error),
    /// The threads for queries could not be started.
    #[error("could not start the query threads")]
    Threads(#[source] io::Error),
    /// The engine underneath could not be set up.
    #[error("could not set up the engine")]
    Engine(#[source] datafusion::error::DataFusionError),
}
