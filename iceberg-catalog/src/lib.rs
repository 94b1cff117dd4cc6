//! The Iceberg REST catalog: which tables exist, and which metadata file is the current one of each.
//!
//! It exists apart so that any engine that speaks Iceberg REST sees the same tables, and so that another catalog can
//! take its place. Requests come over HTTP ([`http`]), are decided in [`catalog`], and end as rows in SQLite or
//! PostgreSQL ([`database`]) and as metadata files in the object store ([`files`]).

mod catalog;
mod config;
mod database;
mod error;
mod files;
mod http;
mod metrics;
mod server;

pub use config::Config;
pub use error::Error;
pub use server::serve;
