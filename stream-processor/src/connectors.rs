//! The ends of a job: Kafka, files, Iceberg, generated rows, and sinks to look at.
//!
//! [`Connectors`] opens them for the runtime ([`crate::runtime::ends::Ends`]); each connector has its own file and
//! checks its own options, refusing those it does not know.

pub(crate) mod blackhole;
pub(crate) mod collect;
pub(crate) mod datagen;
pub(crate) mod filesystem;
pub(crate) mod iceberg;
pub(crate) mod kafka;
pub(crate) mod print;
pub(crate) mod records;
pub(crate) mod rows;

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;

use crate::error::Error;
use crate::formats::options;
use crate::graph::{ChangelogMode, SinkSpec, SourceSpec};
use crate::operator::Subtask;
use crate::runtime::ends::{Committer, Ends, Positions, SinkContext, SinkWriter, Source};
use crate::runtime::pool::Waker;
use crate::table::{Column, ColumnKind, TableDefinition};

/// Bounds and places that connectors need from the configuration.
#[derive(Debug, Clone)]
pub(crate) struct ConnectorConfig {
    /// Object storage of Iceberg tables, unless their catalog says otherwise.
    pub(crate) store: lake::io::StoreConfig,
    /// Fetched and not yet read, for each source instance.
    pub(crate) prefetch_bytes: usize,
    /// Encoded and not yet uploaded, for each sink instance.
    pub(crate) sink_buffer: usize,
    /// At which a data file is closed.
    pub(crate) target_file_size: usize,
    /// Keys that an upsert sink instance remembers between two checkpoints.
    pub(crate) upsert_key_bytes: usize,
    /// Rows of a query not yet taken by its client.
    pub(crate) result_bytes: usize,
    /// Longest record read from a file.
    pub(crate) longest_record: usize,
}

/// Opens sources and sinks by the `connector` of their table.
pub(crate) struct Connectors {
    config: ConnectorConfig,
    collects: collect::Collects,
    catalogs: iceberg::Catalogs,
    /// For sinks that must wait for the network from a stream thread.
    io: tokio::runtime::Handle,
}

impl Connectors {
    pub(crate) fn new(config: ConnectorConfig, io: tokio::runtime::Handle) -> Arc<Self> {
        Arc::new(Connectors {
            collects: collect::Collects::new(config.result_bytes),
            catalogs: iceberg::Catalogs::new(config.store.clone()),
            config,
            io,
        })
    }

    /// Where the rows of `collect` sinks wait for their readers.
    pub(crate) fn collects(&self) -> &collect::Collects {
        &self.collects
    }

    /// The Iceberg catalogs, shared by sinks and sessions.
    pub(crate) fn catalogs(&self) -> &iceberg::Catalogs {
        &self.catalogs
    }
}

#[async_trait]
impl Ends for Connectors {
    fn share_key(&self, spec: &SourceSpec) -> Option<String> {
        (connector(&spec.table).ok()? == "kafka").then(|| kafka::share_key(&spec.table))
    }

    async fn source(
        &self,
        tables: &[Arc<SourceSpec>],
        subtask: Subtask,
        positions: Option<&Positions>,
        waker: Waker,
    ) -> Result<Box<dyn Source>, Error> {
        let Some(first) = tables.first() else {
            return Err(Error::failed("a source without tables"));
        };
        match connector(&first.table)? {
            "kafka" => kafka::source::open(&self.config, tables, subtask, positions, waker).await,
            "filesystem" => filesystem::source::open(&self.config, first, subtask, positions),
            "datagen" => datagen::open(first, subtask, positions),
            other => Err(no_connector(&first.table, other, "source")),
        }
    }

    async fn sink(
        &self,
        spec: &Arc<SinkSpec>,
        subtask: Subtask,
        context: &SinkContext,
        waker: Waker,
    ) -> Result<Box<dyn SinkWriter>, Error> {
        let name = connector(&spec.table)?;
        if spec.overwrite && name != "iceberg" {
            return Err(Error::invalid(format!(
                "INSERT OVERWRITE is not supported by connector '{name}' of table {}",
                spec.table.path
            )));
        }
        match name {
            "blackhole" => blackhole::open(spec),
            "print" => print::open(spec, subtask),
            "collect" => self.collects.open(&context.job, waker),
            "filesystem" => filesystem::sink::open(spec, subtask, context),
            "iceberg" => {
                let opening = iceberg::sink::Opening {
                    config: &self.config,
                    catalogs: &self.catalogs,
                    io: self.io.clone(),
                };
                iceberg::sink::open(opening, spec, subtask).await
            }
            other => Err(no_connector(&spec.table, other, "sink")),
        }
    }

    async fn committer(
        &self,
        spec: &Arc<SinkSpec>,
        context: &SinkContext,
    ) -> Result<Option<Box<dyn Committer>>, Error> {
        match connector(&spec.table)? {
            "filesystem" => Ok(Some(filesystem::sink::committer())),
            "iceberg" => iceberg::sink::committer(&self.catalogs, spec, context)
                .await
                .map(Some),
            _ => Ok(None),
        }
    }
}

fn connector(table: &TableDefinition) -> Result<&str, Error> {
    options::need(table, "connector")
}

fn no_connector(table: &TableDefinition, name: &str, role: &str) -> Error {
    Error::invalid(format!(
        "connector '{name}' of table {} cannot be used as a {role}; sources are kafka, filesystem, datagen; sinks are iceberg, filesystem, print, blackhole",
        table.path
    ))
}

/// The columns a sink stores.
fn stored_columns(table: &TableDefinition) -> Vec<&Column> {
    let columns = table.columns.iter();
    columns
        .filter(|column| match &column.kind {
            ColumnKind::Physical => true,
            ColumnKind::Metadata { is_virtual, .. } => !is_virtual,
            ColumnKind::Computed(_) => false,
        })
        .collect()
}

/// Their Arrow schema.
fn stored_schema(table: &TableDefinition) -> SchemaRef {
    let fields = stored_columns(table).into_iter().map(|column| {
        Field::new(
            &column.name,
            column.data_type.arrow(),
            column.data_type.nullable,
        )
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Refuses changes other than inserts.
fn inserts_only(spec: &SinkSpec) -> Result<(), Error> {
    if spec.changelog == ChangelogMode::InsertOnly {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "Table sink {} doesn't support consuming update and delete changes",
        spec.table.path
    )))
}
