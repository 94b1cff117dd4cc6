//! Writes Iceberg tables: files while rows come, a commit when the checkpoint that holds them has been published.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use lake::Table;
use lake::committable::{Committable, Offsets, Writer};
use lake::committer::{CommitOptions, Committer as LakeCommitter};
use lake::upsert::{ChangeMode, RowKind as LakeKind, UpsertWriter};
use lake::writer::{TableWriter, WriterOptions};
use tokio::runtime::Handle;
use tracing::debug;

use crate::batch::{ChangeBatch, RowKind};
use crate::connectors::ConnectorConfig;
use crate::connectors::iceberg::Catalogs;
use crate::connectors::iceberg::catalog::table_ident;
use crate::error::Error;
use crate::formats::options;
use crate::graph::{ChangelogMode, SinkSpec};
use crate::operator::{CheckpointId, EventTime, Subtask};
use crate::runtime::ends::{
    Committer, PendingCommit, Positions, Prepared, SinkContext, SinkWriter,
};
use crate::table::TableDefinition;

/// What a sink instance is opened with.
pub(crate) struct Opening<'a> {
    pub(crate) config: &'a ConnectorConfig,
    pub(crate) catalogs: &'a Catalogs,
    pub(crate) io: Handle,
}

struct IcebergSink {
    make: Arc<Recipe>,
    writer: Files,
    io: Handle,
    watermark: Option<i64>,
    written: bool,
}

/// How the files of one checkpoint are begun.
struct Recipe {
    table: Table,
    options: WriterOptions,
    upsert: Option<(Vec<String>, ChangeMode)>,
    key_bytes: usize,
}

enum Files {
    Append(Box<TableWriter>),
    Upsert(Box<UpsertWriter>),
}

struct IcebergCommitter(LakeCommitter);

/// Opens an instance.
pub(crate) async fn open(
    opening: Opening<'_>,
    spec: &SinkSpec,
    subtask: Subtask,
) -> Result<Box<dyn SinkWriter>, Error> {
    if spec.overwrite {
        return Err(Error::invalid(format!(
            "INSERT OVERWRITE of Iceberg table {} is not supported; DELETE the rows first",
            spec.table.path
        )));
    }
    let table = load(opening.catalogs, &spec.table).await?;
    let upsert = upsert_mode(spec)?;
    let mut options = WriterOptions::streaming(table.metadata())
        .map_err(|error| failed("write to", &spec.table, error))?;
    options.max_buffered = opening.config.sink_buffer;
    let properties = table.metadata().properties();
    if !properties.contains_key("write.target-file-size-bytes") {
        options.target_file_size = opening.config.target_file_size;
    }
    let make = Arc::new(Recipe {
        upsert,
        table,
        options,
        key_bytes: opening.config.upsert_key_bytes,
    });
    debug!(table = %spec.table.path, subtask = subtask.index, "iceberg sink opened");
    Ok(Box::new(IcebergSink {
        writer: make.begin()?,
        make,
        io: opening.io,
        watermark: None,
        written: false,
    }))
}

/// Opens the committer of a sink.
pub(crate) async fn committer(
    catalogs: &Catalogs,
    spec: &SinkSpec,
    context: &SinkContext,
) -> Result<Box<dyn Committer>, Error> {
    let catalog = catalogs.get(&catalog_options(&spec.table)).await?;
    let writer = Writer {
        job_id: context.job.clone(),
        operator_id: context.uid.clone(),
    };
    let ident = table_ident(&spec.table.path)?;
    let committer = LakeCommitter::open(catalog, &ident, writer, CommitOptions::default())
        .await
        .map_err(|error| failed("open", &spec.table, error))?;
    Ok(Box::new(IcebergCommitter(committer)))
}

fn catalog_options(table: &TableDefinition) -> BTreeMap<String, String> {
    let options = table.options.iter();
    options
        .filter_map(|(key, value)| Some((key.strip_prefix("catalog.")?.to_owned(), value.clone())))
        .collect()
}

async fn load(catalogs: &Catalogs, table: &TableDefinition) -> Result<Table, Error> {
    let catalog = catalogs.get(&catalog_options(table)).await?;
    catalog
        .load_table(&table_ident(&table.path)?)
        .await
        .map_err(|error| failed("load", table, error))
}

fn failed(what: &str, table: &TableDefinition, error: lake::Error) -> Error {
    Error::caused(
        format!("could not {what} the Iceberg table {}", table.path),
        error,
    )
}

/// The key and how changes come, or `None` for plain appending.
fn upsert_mode(spec: &SinkSpec) -> Result<Option<(Vec<String>, ChangeMode)>, Error> {
    let table = &spec.table;
    let by_property = options::flag(table, "write.upsert.enabled", false)?;
    let enabled = options::flag(table, "upsert-enabled", by_property)?;
    let mode = match (spec.changelog, enabled) {
        (ChangelogMode::InsertOnly, false) => return Ok(None),
        (ChangelogMode::Retract, false) => ChangeMode::Changelog,
        _ => ChangeMode::Upsert,
    };
    if table.primary_key.is_empty() {
        return Err(Error::invalid(format!(
            "Iceberg table {} gets updates and deletes, so it needs a PRIMARY KEY",
            table.path
        )));
    }
    Ok(Some((table.primary_key.clone(), mode)))
}

// === impl Recipe, Files ===

impl Recipe {
    fn begin(&self) -> Result<Files, Error> {
        let problem = |error| Error::caused("could not begin the files of an Iceberg sink", error);
        match &self.upsert {
            None => TableWriter::new(&self.table, self.options.clone())
                .map(|writer| Files::Append(Box::new(writer)))
                .map_err(problem),
            Some((key, mode)) => {
                let writer = UpsertWriter::new(
                    &self.table,
                    key,
                    *mode,
                    self.options.clone(),
                    self.key_bytes,
                );
                writer
                    .map(|writer| Files::Upsert(Box::new(writer)))
                    .map_err(problem)
            }
        }
    }
}

fn lake_kind(kind: RowKind) -> LakeKind {
    match kind {
        RowKind::Insert => LakeKind::Insert,
        RowKind::UpdateBefore => LakeKind::UpdateBefore,
        RowKind::UpdateAfter => LakeKind::UpdateAfter,
        RowKind::Delete => LakeKind::Delete,
    }
}

impl SinkWriter for IcebergSink {
    fn write(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        self.written = true;
        let outcome = match &mut self.writer {
            Files::Append(writer) => self.io.block_on(writer.write(&batch.rows)),
            Files::Upsert(writer) => {
                let kinds: Vec<LakeKind> = (0..batch.num_rows())
                    .map(|row| lake_kind(batch.kind(row)))
                    .collect();
                self.io.block_on(writer.write(&batch.rows, &kinds))
            }
        };
        outcome.map_err(|error| Error::caused("could not write to an Iceberg table", error))
    }

    fn watermark(&mut self, watermark: EventTime) -> Result<(), Error> {
        if watermark != EventTime::MAX {
            self.watermark = Some(watermark.0);
        }
        Ok(())
    }

    fn prepare(&mut self, checkpoint: CheckpointId) -> Prepared {
        if !std::mem::take(&mut self.written) {
            return async { Ok(Vec::new()) }.boxed();
        }
        let next = self.make.begin();
        let watermark = self.watermark;
        let finished = match next {
            Ok(next) => std::mem::replace(&mut self.writer, next),
            Err(error) => return async { Err(error) }.boxed(),
        };
        let io = self.io.clone();
        async move {
            // Closing a file encodes its last row group, which is no work for the threads of the network.
            let closing = tokio::task::spawn_blocking(move || match finished {
                Files::Append(mut writer) => io.block_on(writer.finish()),
                Files::Upsert(mut writer) => io.block_on(writer.finish()),
            });
            let files = closing
                .await
                .map_err(|error| Error::caused("could not finish Iceberg files", error))?;
            let files =
                files.map_err(|error| Error::caused("could not finish Iceberg files", error))?;
            if files.is_empty() {
                return Ok(Vec::new());
            }
            let mut committable = Committable::new(checkpoint.0);
            committable.files = files;
            committable.watermark = watermark;
            let text = serde_json::to_string(&committable)
                .map_err(|error| Error::caused("could not describe Iceberg files", error))?;
            Ok(vec![text])
        }
        .boxed()
    }
}

#[async_trait]
impl Committer for IcebergCommitter {
    async fn commit(&mut self, pending: &[PendingCommit]) -> Result<(), Error> {
        let mut committables = Vec::new();
        for commit in pending {
            let offsets = kafka_offsets(&commit.positions);
            for text in &commit.committables {
                let mut committable: Committable =
                    serde_json::from_str(text).map_err(|error| Error::Restore {
                        message: format!("prepared Iceberg files are not described: {error}"),
                    })?;
                committable.offsets = offsets.clone();
                committables.push(committable);
            }
        }
        self.0
            .commit(committables)
            .await
            .map(|_| ())
            .map_err(|error| Error::caused("could not commit to an Iceberg table", error))
    }
}

/// Positions of Kafka partitions, to be stored with the rows.
fn kafka_offsets(positions: &BTreeMap<String, Positions>) -> Offsets {
    let mut offsets = Offsets::new();
    for (split, position) in positions.values().flatten() {
        let place = split
            .rsplit_once('-')
            .and_then(|(topic, partition)| Some((topic.to_owned(), partition.parse().ok()?)));
        if let (Some((topic, partition)), Some(offset)) = (place, position.as_i64()) {
            offsets.entry(topic).or_default().insert(partition, offset);
        }
    }
    offsets
}
