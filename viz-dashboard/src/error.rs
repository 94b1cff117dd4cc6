//! Why the pages cannot be served; what a single query can meet is in [`crate::trino::Error`].

use std::io;

/// Why the pages cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration value that cannot work.
    #[error("`{key}` {why}")]
    Config {
        /// The key in the dashboard's configuration table.
        key: &'static str,
        /// What is wrong with its value.
        why: String,
    },
    /// The asset bundle's directory cannot be read.
    #[error("could not read dashboards from `{path}`")]
    Dashboards {
        /// The directory or file.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The asset bundle is not one.
    #[error("the dashboard bundle is not valid: {0}")]
    Bundle(String),
    /// The HTTP client cannot be made.
    #[error("could not set up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// The listener failed.
    #[error("could not serve the pages")]
    Serve(#[source] io::Error),
}
