//! Flink SQL: scripts into statements, statements into catalog changes, rows, or jobs.
//!
//! A [`Session`] is what a client holds: current catalog and database, settings, temporary tables. It reads no clock
//! and does no IO but through [`ExternalCatalog`]; planning itself is in [`crate::plan`], and a job leaves here as a
//! [`StreamGraph`] for the runtime.

pub(crate) mod ast;
mod catalog;
mod explain;
mod lexer;
pub(crate) mod parser;
mod session;
mod settings;
mod show;
mod split;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Error;
use crate::graph::StreamGraph;
use crate::table::{SqlType, TableDefinition};

pub(crate) use catalog::{Catalogs, DEFAULT_CATALOG, DEFAULT_DATABASE, Relation};
pub use session::Session;
pub(crate) use settings::{Settings, parse_duration};
pub use split::{Statement, split};

/// What the process decides for all sessions.
#[derive(Debug, Clone, Default)]
pub struct SessionOptions {
    /// Values of `WITH` options that are replaced wherever they occur, whole or as the beginning of a longer value:
    /// how a script's documented addresses become the actual ones.
    pub option_overrides: BTreeMap<String, String>,
    /// Settings before the first `SET`, such as `parallelism.default`.
    pub defaults: BTreeMap<String, String>,
    /// Opens catalogs of `CREATE CATALOG`; without it none can be created.
    pub catalogs: Option<Arc<dyn CatalogConnector>>,
}

/// What came of a statement.
#[derive(Debug)]
pub enum StatementResult {
    /// Done, nothing to show.
    Ok,
    /// Rows that are known at once.
    Rows {
        /// Names and types.
        columns: Vec<(String, SqlType)>,
        /// Each value as text, `None` for NULL.
        rows: Vec<Vec<Option<String>>>,
    },
    /// A job to be run; a top-level SELECT ends in a sink of connector `collect`.
    Job(StreamGraph),
}

/// Opens a catalog that lives outside the session.
#[async_trait]
pub trait CatalogConnector: fmt::Debug + Send + Sync {
    /// Connects to the catalog `name` with the options of its `CREATE CATALOG`.
    async fn connect(
        &self,
        name: &str,
        options: &BTreeMap<String, String>,
    ) -> Result<Arc<dyn ExternalCatalog>, Error>;
}

/// A catalog of tables that outlive the session, such as Iceberg's REST catalog.
#[async_trait]
pub trait ExternalCatalog: fmt::Debug + Send + Sync {
    /// The names of all databases; a nested namespace is joined with dots.
    async fn databases(&self) -> Result<Vec<String>, Error>;
    /// Creates a database that does not exist yet.
    async fn create_database(
        &self,
        database: &str,
        properties: &BTreeMap<String, String>,
    ) -> Result<(), Error>;
    /// Drops an empty database.
    async fn drop_database(&self, database: &str) -> Result<(), Error>;
    /// The names of all tables of a database.
    async fn tables(&self, database: &str) -> Result<Vec<String>, Error>;
    /// The definition of a table with the options its connector needs, or `None` if there is no such table.
    async fn table(&self, database: &str, table: &str) -> Result<Option<TableDefinition>, Error>;
    /// Creates a table that does not exist yet.
    async fn create_table(&self, table: &TableDefinition) -> Result<(), Error>;
    /// Drops a table.
    async fn drop_table(&self, database: &str, table: &str) -> Result<(), Error>;
}
