//! Why the catalog cannot start or go on; what a single request can meet is in [`crate::catalog::Error`].

use std::io;

/// Why the catalog cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration value that cannot work.
    #[error("`{key}` {why}")]
    Config {
        /// The key in the catalog's configuration table.
        key: &'static str,
        /// What is wrong with its value.
        why: String,
    },
    /// The directory for the SQLite file cannot be made.
    #[error("could not make directory `{path}`")]
    DataDir {
        /// The directory.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The database cannot be opened or its tables cannot be made.
    #[error("could not open the catalog's database `{database}`")]
    Database {
        /// Its URL, without the password.
        database: String,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
    /// The database was written by another version of this program.
    #[error("the catalog's database has layout {found}; this program reads layout {known}")]
    Layout {
        /// The layout in the database.
        found: i64,
        /// The layout of this program.
        known: i64,
    },
    /// The object store's settings are wrong.
    #[error("could not set up the object store for `{location}`")]
    Storage {
        /// The root it was wanted for.
        location: String,
        /// Why not.
        #[source]
        source: object_store::Error,
    },
    /// The listener failed.
    #[error("could not serve the Iceberg REST protocol")]
    Serve(#[source] io::Error),
}
