//! Why the service can refuse to start or stop early; answers to clients are made in `http::error` instead.
//!
//! Separate from [`crate::store::Error`], which says why one request failed: a value of this type ends the service.

use std::io;
use std::path::PathBuf;

/// Why the storage service could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configured value that cannot work.
    #[error("`{key}` of storage_service: {why}")]
    Config {
        /// The configuration key.
        key: &'static str,
        /// What is wrong with its value.
        why: String,
    },
    /// The data directory could not be read or written.
    #[error("could not use data directory `{}`", path.display())]
    DataDir {
        /// The directory or file that failed.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has the data directory open.
    #[error("data directory `{}` is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The data directory was written by another version, or by something else.
    #[error("data directory `{}` holds {found}; this version needs {wanted}", path.display())]
    Version {
        /// The directory.
        path: PathBuf,
        /// What the directory says it holds.
        found: String,
        /// What this version reads and writes.
        wanted: String,
    },
    /// There are files of objects and no index that names them.
    #[error(
        "`{}` is missing or empty, but `data` beside it holds files of objects; put the index back, \
         or move `data` away to begin anew",
        path.display()
    )]
    NoIndex {
        /// Where the index should be.
        path: PathBuf,
    },
    /// The store failed while it was opened.
    #[error("could not open the store")]
    Open(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The listening socket failed.
    #[error("could not accept connections")]
    Accept(#[source] io::Error),
}
