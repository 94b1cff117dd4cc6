//! One Parquet file on its way to the object store.
//!
//! Row groups are encoded in memory and handed to [`super::upload`] as they close. Shared by data files and both kinds
//! of delete files.

use std::sync::Arc;

use arrow::array::{Array, Float32Array, Float64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use iceberg::spec::{DataFileBuilder, DataFileFormat, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use uuid::Uuid;

use super::upload::{Chunks, Upload};
use super::{Metrics, WriterOptions, dictionary, stats, worth};
use crate::partition::Partition;
use crate::{Error, Result, Table};

/// Rows in a row group, whatever their size.
const MAX_ROW_GROUP_ROWS: usize = 1 << 20;

/// A Parquet file being written.
pub(crate) struct ParquetFile {
    path: Arc<str>,
    partition: Arc<Partition>,
    writer: ArrowWriter<Chunks>,
    upload: Upload,
    rows: u64,
    row_group_size: usize,
    schema: SchemaRef,
    metrics: Metrics,
    /// By column.
    nans: Vec<u64>,
    nulls: Vec<u64>,
}

// === impl ParquetFile ===

impl ParquetFile {
    /// Begins a file of `partition`, with `suffix` in its name (`-deletes`), for rows like `first`.
    pub(crate) fn create(
        table: &Table,
        partition: Arc<Partition>,
        first: &RecordBatch,
        options: &WriterOptions,
        suffix: &str,
    ) -> Result<Self> {
        let schema = first.schema();
        let slash = if partition.path.is_empty() { "" } else { "/" };
        let path = format!(
            "{}/{}{slash}{}{suffix}.parquet",
            table.data_location(),
            partition.path,
            Uuid::now_v7()
        );
        let (store, key) = table.store().open(&path)?;
        let upload = Upload::new(store, key, options.part_size);
        let mut properties = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_1_0)
            .set_compression(options.compression)
            .set_max_row_group_row_count(Some(MAX_ROW_GROUP_ROWS))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_statistics_truncate_length(options.metrics.longest_bound())
            .set_created_by(concat!("streamforge ", env!("CARGO_PKG_VERSION")).to_owned());
        let unlike = dictionary::unlike_columns(first);
        if !options.compress_all {
            let left = worth::incompressible(first, &unlike, options.compression)
                .map_err(Error::parquet("begin", &path))?;
            for column in left {
                properties =
                    properties.set_column_compression(column.into(), Compression::UNCOMPRESSED);
            }
        }
        for column in unlike {
            properties = properties.set_column_dictionary_enabled(column.into(), false);
        }
        for field in schema.fields() {
            let name = field.name().as_str();
            if !options.metrics.mode(name).has_bounds() {
                properties =
                    properties.set_column_statistics_enabled(name.into(), EnabledStatistics::None);
            }
        }
        let properties = properties.build();
        let writer = ArrowWriter::try_new(Chunks::default(), Arc::clone(&schema), Some(properties))
            .map_err(Error::parquet("begin", &path))?;
        Ok(Self {
            path: path.into(),
            partition,
            writer,
            upload,
            rows: 0,
            row_group_size: options.row_group_size,
            nans: vec![0; schema.fields().len()],
            nulls: vec![0; schema.fields().len()],
            metrics: options.metrics.clone(),
            schema,
        })
    }

    /// Where the file will be.
    pub(crate) fn path(&self) -> Arc<str> {
        Arc::clone(&self.path)
    }

    /// Rows written so far: the position of the next one.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Encoded bytes in memory.
    pub(crate) fn buffered(&self) -> usize {
        self.writer.in_progress_size()
    }

    /// Bytes the file would have if it were closed now, roughly.
    pub(crate) fn size(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// Appends rows.
    pub(crate) async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        for (at, column) in rows.columns().iter().enumerate() {
            self.nans[at] += nan_count(column.as_ref());
            self.nulls[at] += column.null_count() as u64;
        }
        self.writer
            .write(rows)
            .map_err(Error::parquet("write", &self.path))?;
        self.send().await?;
        self.rows += rows.num_rows() as u64;
        if self.writer.in_progress_size() >= self.row_group_size {
            self.flush().await?;
        }
        Ok(())
    }

    /// Closes the current row group and sends it on its way.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        self.writer
            .flush()
            .map_err(Error::parquet("write", &self.path))?;
        self.send().await
    }

    /// Sends on what row groups have left behind.
    async fn send(&mut self) -> Result<()> {
        let pieces = self.writer.inner_mut().take_full();
        if pieces.is_empty() {
            return Ok(());
        }
        self.upload
            .send(pieces)
            .await
            .map_err(Error::store("write", &self.path))
    }

    /// Completes the file and describes it; `None` if it has no rows (and then does not exist).
    pub(crate) async fn finish(mut self, schema: &Schema) -> Result<Option<DataFileBuilder>> {
        if self.rows == 0 {
            self.abort().await;
            return Ok(None);
        }
        let metadata = self
            .writer
            .finish()
            .map_err(Error::parquet("complete", &self.path))?;
        let pieces = self.writer.inner_mut().take_all();
        self.upload
            .finish(pieces)
            .await
            .map_err(Error::store("complete", &self.path))?;
        let counted = stats::Counted {
            schema: &self.schema,
            nans: &self.nans,
            nulls: &self.nulls,
        };
        let stats = stats::of(&metadata, schema, &self.metrics, &counted);
        let mut entry = DataFileBuilder::default();
        entry
            .file_path(self.path.to_string())
            .file_format(DataFileFormat::Parquet)
            .partition(self.partition.values.clone())
            .record_count(self.rows)
            .file_size_in_bytes(self.writer.bytes_written() as u64)
            .split_offsets(Some(stats.split_offsets))
            .column_sizes(stats.column_sizes)
            .value_counts(stats.value_counts)
            .null_value_counts(stats.null_counts)
            .nan_value_counts(stats.nan_counts)
            .lower_bounds(stats.lower_bounds)
            .upper_bounds(stats.upper_bounds);
        Ok(Some(entry))
    }

    /// Gives the upload up.
    pub(crate) async fn abort(self) {
        if let Err(error) = self.upload.abort().await {
            tracing::debug!(path = %self.path, %error, "upload could not be aborted");
        }
    }
}

fn nan_count(column: &dyn Array) -> u64 {
    let count = if let Some(column) = column.as_any().downcast_ref::<Float64Array>() {
        column
            .iter()
            .flatten()
            .filter(|value| value.is_nan())
            .count()
    } else if let Some(column) = column.as_any().downcast_ref::<Float32Array>() {
        column
            .iter()
            .flatten()
            .filter(|value| value.is_nan())
            .count()
    } else {
        0
    };
    count as u64
}
