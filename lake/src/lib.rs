//! The Iceberg client side of StreamForge: catalog, files, commits and upkeep of tables.
//!
//! It exists apart from the services because both the stream processor and the query engine need the
//! same table rules, and neither should own them. Batches come in as Arrow, leave as Parquet files
//! through [`writer`] and [`upsert`], and become visible when [`committer`] publishes a snapshot through
//! any Iceberg REST catalog ([`catalog`]). [`read`] answers which files a snapshot consists of;
//! [`maintenance`] keeps that list short. It knows nothing of Kafka, SQL or any service of ours.

pub mod catalog;
pub mod committable;
pub mod committer;
pub mod deletes;
mod error;
pub mod io;
pub mod maintenance;

pub mod partition;
pub mod read;
pub mod schema;
mod table;
pub mod upsert;
pub mod writer;

pub use error::Error;
pub use iceberg;
pub use table::Table;

/// What every function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;
