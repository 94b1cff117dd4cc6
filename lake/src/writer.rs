//! Writes rows into Parquet data files of a table.
//!
//! [`TableWriter`] splits rows by partition, keeps a bounded number of files open, closes each at the
//! target size, and hands back [`NewFile`]s with the statistics that scans prune by. Nothing written here
//! is visible until [`crate::committer`] has committed it. Delete files are written by [`deletes`].

pub mod deletes;
mod dictionary;
mod file;
mod metrics;
mod stats;
mod upload;
mod worth;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use iceberg::spec::{DataContentType, TableMetadata};
use parquet::basic::{Compression, ZstdLevel};

use crate::committable::NewFile;
use crate::partition::{Partition, Partitioner};
use crate::schema::RowShape;
use crate::{Error, Result, Table};
pub(crate) use file::ParquetFile;
pub use metrics::Metrics;

/// Sizes and bounds of a writer.
#[derive(Debug, Clone, PartialEq)]
pub struct WriterOptions {
    /// Size at which a file is closed and the next begun.
    pub target_file_size: usize,
    /// Encoded size at which a row group is closed.
    pub row_group_size: usize,
    /// Files open at once; the one written to longest ago is closed first.
    pub max_open_files: usize,
    /// Encoded bytes held in memory over all open files; row groups are closed early to stay below.
    pub max_buffered: usize,
    /// Bytes of one part of a multipart upload; files below it are one PUT.
    pub part_size: usize,
    /// Codec of the pages.
    pub compression: Compression,
    /// Whether columns that the codec makes little smaller are compressed, too.
    pub compress_all: bool,
    /// Which statistics of each column are kept.
    pub metrics: Metrics,
}

/// Writes rows into data files of one table version.
pub struct TableWriter {
    table: Table,
    options: WriterOptions,
    shape: RowShape,
    partitioner: Partitioner,
    open: HashMap<Arc<Partition>, Open>,
    done: Vec<NewFile>,
    clock: u64,
}

struct Open {
    file: ParquetFile,
    last_used: u64,
}

/// Where a row went: file and position in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Rows of the batch, in file order.
    pub(crate) rows: Vec<u32>,
    /// The file they went to.
    pub(crate) path: Arc<str>,
    /// Position of the first of them.
    pub(crate) first: u64,
    /// The partition of the file.
    pub(crate) partition: Arc<Partition>,
}

// === impl WriterOptions ===

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            target_file_size: 128 << 20,
            row_group_size: 8 << 20,
            max_open_files: 32,
            max_buffered: 128 << 20,
            part_size: 5 << 20,
            compression: Compression::ZSTD(ZstdLevel::default()),
            compress_all: true,
            metrics: Metrics::default(),
        }
    }
}

impl WriterOptions {
    /// The defaults with what the table's properties say laid over them.
    pub fn of(metadata: &TableMetadata) -> Result<Self> {
        let properties = metadata.properties();
        let mut options = Self::default();
        let size = |key: &str| -> Result<Option<usize>> {
            properties
                .get(key)
                .map(|value| {
                    value.parse().ok().filter(|size| *size > 0).ok_or_else(|| {
                        Error::Invalid(format!("table property `{key}` is `{value}`, not a size"))
                    })
                })
                .transpose()
        };
        if let Some(bytes) = size("write.target-file-size-bytes")? {
            options.target_file_size = bytes;
        }
        if let Some(bytes) = size("write.parquet.row-group-size-bytes")? {
            options.row_group_size = bytes;
        }
        if let Some(format) = properties.get("write.format.default")
            && !format.eq_ignore_ascii_case("parquet")
        {
            return Err(Error::Unsupported(format!(
                "writing files of format `{format}`"
            )));
        }
        if let Some(codec) = properties.get("write.parquet.compression-codec") {
            let level = properties.get("write.parquet.compression-level");
            options.compression = compression(codec, level.map(String::as_str))?;
        }
        options.metrics = Metrics::of(properties)?;
        Ok(options)
    }

    /// [`Self::of`] for files that are written as rows stream in: Snappy where it pays, unless the table says which
    /// codec. They are small and compaction soon rewrites them with the default codec, so that zstd's ratio is not worth
    /// its time here.
    pub fn streaming(metadata: &TableMetadata) -> Result<Self> {
        let mut options = Self::of(metadata)?;
        if !metadata
            .properties()
            .contains_key("write.parquet.compression-codec")
        {
            options.compression = Compression::SNAPPY;
            options.compress_all = false;
        }
        Ok(options)
    }
}

fn compression(codec: &str, level: Option<&str>) -> Result<Compression> {
    match codec.to_ascii_lowercase().as_str() {
        "zstd" => match level {
            None => Ok(Compression::ZSTD(ZstdLevel::default())),
            Some(level) => level
                .parse()
                .ok()
                .and_then(|level| ZstdLevel::try_new(level).ok())
                .map(Compression::ZSTD)
                .ok_or_else(|| Error::Invalid(format!("`{level}` is no compression level"))),
        },
        "snappy" => Ok(Compression::SNAPPY),
        "uncompressed" | "none" => Ok(Compression::UNCOMPRESSED),
        other => Err(Error::Unsupported(format!("compression codec `{other}`"))),
    }
}

// === impl TableWriter ===

impl TableWriter {
    /// A writer for the table's current schema and partition spec.
    pub fn new(table: &Table, options: WriterOptions) -> Result<Self> {
        let metadata = table.metadata();
        let schema = metadata.current_schema();
        let shape = RowShape::new(schema)?;
        let partitioner = Partitioner::new(
            schema,
            metadata.default_partition_spec(),
            shape.arrow_schema(),
        )?;
        Ok(Self {
            table: table.clone(),
            options,
            shape,
            partitioner,
            open: HashMap::new(),
            done: Vec::new(),
            clock: 0,
        })
    }

    /// The columns that are written; batches given to [`Self::write`] are fitted to them by name.
    pub fn arrow_schema(&self) -> &SchemaRef {
        self.shape.arrow_schema()
    }

    /// The table version that is written to.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Encoded bytes held in memory.
    pub fn buffered_bytes(&self) -> usize {
        self.open.values().map(|open| open.file.buffered()).sum()
    }

    /// Writes rows. May upload, so it waits for the object store.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = self.shape.fit(batch)?;
        for (partition, rows) in self.partitioner.split(&batch)? {
            self.write_to(&partition, &rows).await?;
        }
        self.shrink().await
    }

    /// Writes rows that already have the table's shape, and says where each went.
    pub(crate) async fn place(&mut self, batch: &RecordBatch) -> Result<Vec<Placed>> {
        let mut placed = Vec::new();
        for (partition, rows) in self.partitioner.groups(batch)? {
            let part = if rows.len() == batch.num_rows() {
                batch.clone()
            } else {
                let indices = arrow::array::UInt32Array::from(rows.clone());
                arrow::compute::take_record_batch(batch, &indices)
                    .map_err(Error::arrow("split rows by partition"))?
            };
            let (path, first) = self.write_to(&partition, &part).await?;
            placed.push(Placed {
                rows,
                path,
                first,
                partition,
            });
        }
        self.shrink().await?;
        Ok(placed)
    }

    /// Completes all open files and returns everything written since the last call. The writer can be
    /// used again afterwards.
    pub async fn finish(&mut self) -> Result<Vec<NewFile>> {
        let mut open: Vec<_> = self.open.drain().collect();
        open.sort_by(|(left, _), (right, _)| left.path.cmp(&right.path));
        for (_, open) in open {
            let file = close(&self.table, open.file).await?;
            self.done.extend(file);
        }
        Ok(std::mem::take(&mut self.done))
    }

    /// Gives up: open uploads are aborted, files already complete stay for orphan cleaning.
    pub async fn abort(&mut self) {
        for (_, open) in self.open.drain() {
            open.file.abort().await;
        }
        self.done.clear();
    }

    async fn write_to(
        &mut self,
        partition: &Arc<Partition>,
        rows: &RecordBatch,
    ) -> Result<(Arc<str>, u64)> {
        self.clock += 1;
        if !self.open.contains_key(partition) {
            if self.open.len() >= self.options.max_open_files.max(1) {
                self.close_oldest().await?;
            }
            let file =
                ParquetFile::create(&self.table, Arc::clone(partition), rows, &self.options, "")?;
            self.open
                .insert(Arc::clone(partition), Open { file, last_used: 0 });
        }
        let Some(open) = self.open.get_mut(partition) else {
            return Err(Error::Invalid(
                "a file was closed while it was written".to_owned(),
            ));
        };
        open.last_used = self.clock;
        let place = (open.file.path(), open.file.rows());
        open.file.write(rows).await?;
        if open.file.size() >= self.options.target_file_size
            && let Some(open) = self.open.remove(partition)
        {
            let file = close(&self.table, open.file).await?;
            self.done.extend(file);
        }
        Ok(place)
    }

    async fn close_oldest(&mut self) -> Result<()> {
        let oldest = self
            .open
            .iter()
            .min_by_key(|(_, open)| open.last_used)
            .map(|(partition, _)| Arc::clone(partition));
        if let Some(open) = oldest.and_then(|partition| self.open.remove(&partition)) {
            let file = close(&self.table, open.file).await?;
            self.done.extend(file);
        }
        Ok(())
    }

    /// Closes row groups, largest first, until the buffers are within their bound.
    async fn shrink(&mut self) -> Result<()> {
        while self.buffered_bytes() > self.options.max_buffered {
            let Some(open) = self
                .open
                .values_mut()
                .max_by_key(|open| open.file.buffered())
            else {
                return Ok(());
            };
            if open.file.buffered() == 0 {
                return Ok(());
            }
            open.file.flush().await?;
        }
        Ok(())
    }
}

/// Completes a data file; not a method, because a writer must not be borrowed across an await.
async fn close(table: &Table, file: ParquetFile) -> Result<Option<NewFile>> {
    let metadata = table.metadata();
    let schema = metadata.current_schema();
    let spec_id = metadata.default_partition_spec_id();
    let Some(mut entry) = file.finish(schema).await? else {
        return Ok(None);
    };
    let entry = entry
        .content(DataContentType::Data)
        .partition_spec_id(spec_id)
        .build()
        .map_err(|error| Error::Invalid(format!("the data file is incomplete: {error}")))?;
    NewFile::new(entry, spec_id, schema.schema_id(), metadata).map(Some)
}

#[cfg(test)]
mod tests;
