//! Writes delete files: positions of rows in known files, or keys of rows wherever they are.
//!
//! Position deletes are one file per data file, sorted, and name that file in the manifest: a reader
//! finds the deletes of a file without opening any, and compaction can tell which deletes concern it.
//! Equality deletes are split by partition, as the specification asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use iceberg::spec::{DataContentType, FormatVersion};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::{Metrics, ParquetFile, WriterOptions};
use crate::committable::NewFile;
use crate::partition::{Partition, Partitioner};
use crate::schema::RowShape;
use crate::{Error, Result, Table};

/// Field id of `file_path` in position delete files.
pub(crate) const FILE_PATH_ID: i32 = 2_147_483_546;
/// Field id of `pos` in position delete files.
pub(crate) const POS_ID: i32 = 2_147_483_545;

/// Gathers positions of deleted rows and writes them, one file per data file.
#[derive(Debug, Default)]
pub struct PositionDeletes {
    files: BTreeMap<Arc<str>, (Arc<Partition>, BTreeSet<u64>)>,
}

/// Writes keys of deleted rows, one file per partition.
pub struct EqualityDeletes {
    table: Table,
    options: WriterOptions,
    columns: SchemaRef,
    ids: Vec<i32>,
    partitioner: Partitioner,
    open: BTreeMap<String, ParquetFile>,
}

// === impl PositionDeletes ===

impl PositionDeletes {
    /// Deletes the row at `position` of the file at `path`, which lies in `partition`.
    pub fn delete(&mut self, path: &Arc<str>, partition: &Arc<Partition>, position: u64) {
        self.files
            .entry(Arc::clone(path))
            .or_insert_with(|| (Arc::clone(partition), BTreeSet::new()))
            .1
            .insert(position);
    }

    /// Rows deleted so far.
    pub fn len(&self) -> usize {
        self.files
            .values()
            .map(|(_, positions)| positions.len())
            .sum()
    }

    /// True when nothing is deleted.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Writes the files and starts anew. All data files are of the partition spec `spec_id`.
    pub async fn finish(
        &mut self,
        table: &Table,
        spec_id: i32,
        options: &WriterOptions,
    ) -> Result<Vec<NewFile>> {
        let mut written = Vec::new();
        if !self.is_empty() && table.metadata().format_version() != FormatVersion::V2 {
            return Err(Error::Unsupported(format!(
                "writing position deletes to a table of format version {}",
                table.metadata().format_version()
            )));
        }
        let options = WriterOptions {
            metrics: Metrics::full(),
            ..options.clone()
        };
        for (path, (partition, positions)) in std::mem::take(&mut self.files) {
            let rows = position_rows(&path, &positions)?;
            let mut file = ParquetFile::create(table, partition, &rows, &options, "-deletes")?;
            file.write(&rows).await?;
            let metadata = table.metadata();
            let schema = metadata.current_schema();
            let Some(mut entry) = file.finish(schema).await? else {
                continue;
            };
            let entry = entry
                .content(DataContentType::PositionDeletes)
                .partition_spec_id(spec_id)
                .referenced_data_file(Some(path.to_string()))
                .build()
                .map_err(|error| {
                    Error::Invalid(format!("the delete file is incomplete: {error}"))
                })?;
            written.push(NewFile::new(entry, spec_id, schema.schema_id(), metadata)?);
        }
        Ok(written)
    }
}

fn position_rows(path: &str, positions: &BTreeSet<u64>) -> Result<RecordBatch> {
    let id = |id: i32| [(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())].into();
    let schema = ArrowSchema::new(vec![
        Field::new("file_path", DataType::Utf8, false).with_metadata(id(FILE_PATH_ID)),
        Field::new("pos", DataType::Int64, false).with_metadata(id(POS_ID)),
    ]);
    let paths: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
        path,
        positions.len(),
    )));
    let positions: ArrayRef = Arc::new(Int64Array::from_iter_values(
        positions.iter().map(|pos| pos.cast_signed()),
    ));
    RecordBatch::try_new(Arc::new(schema), vec![paths, positions])
        .map_err(Error::arrow("list deleted positions"))
}

// === impl EqualityDeletes ===

impl EqualityDeletes {
    /// Deletes by the top-level columns `key`, which must include every column the table is partitioned
    /// by: otherwise a row could hide in a partition that its key does not name.
    pub fn new(table: &Table, key: &[String], options: WriterOptions) -> Result<Self> {
        let metadata = table.metadata();
        if metadata.format_version() == FormatVersion::V1 {
            return Err(Error::Unsupported(
                "deleting rows of a format-version-1 table".to_owned(),
            ));
        }
        let schema = metadata.current_schema();
        let arrow = RowShape::new(schema)?.arrow_schema().clone();
        let mut ids = Vec::new();
        let mut fields = Vec::new();
        for name in key {
            let field = schema.field_by_name(name).ok_or_else(|| {
                Error::Invalid(format!("no column named `{name}` for the key of the table"))
            })?;
            if !field.field_type.is_primitive() {
                return Err(Error::Unsupported(format!(
                    "the nested column `{name}` as a key"
                )));
            }
            ids.push(field.id);
            fields.push(
                arrow
                    .field_with_name(name)
                    .map_err(Error::arrow("find the columns of the key"))?
                    .clone(),
            );
        }
        let spec = metadata.default_partition_spec();
        if let Some(outside) = spec
            .fields()
            .iter()
            .find(|field| !ids.contains(&field.source_id))
        {
            return Err(Error::Invalid(format!(
                "the key must include the column that partition field `{}` is made from",
                outside.name
            )));
        }
        let columns: SchemaRef = Arc::new(ArrowSchema::new(fields));
        let partitioner = Partitioner::new(schema, spec, &columns)?;
        Ok(Self {
            table: table.clone(),
            options,
            columns,
            ids,
            partitioner,
            open: BTreeMap::new(),
        })
    }

    /// The columns of the key, as [`Self::delete`] wants them.
    pub fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// Deletes all rows whose key equals one of `keys` and that are older than the commit.
    pub async fn delete(&mut self, keys: &RecordBatch) -> Result<()> {
        for (partition, rows) in self.partitioner.split(keys)? {
            if !self.open.contains_key(&partition.path) {
                let file = ParquetFile::create(
                    &self.table,
                    Arc::clone(&partition),
                    &rows,
                    &self.options,
                    "-eq-deletes",
                )?;
                self.open.insert(partition.path.clone(), file);
            }
            if let Some(file) = self.open.get_mut(&partition.path) {
                file.write(&rows).await?;
            }
        }
        Ok(())
    }

    /// Encoded bytes held in memory.
    pub fn buffered_bytes(&self) -> usize {
        self.open.values().map(ParquetFile::buffered).sum()
    }

    /// Completes the files and starts anew.
    pub async fn finish(&mut self) -> Result<Vec<NewFile>> {
        let metadata = self.table.metadata();
        let schema = metadata.current_schema();
        let spec_id = self.partitioner.spec_id();
        let mut written = Vec::new();
        for (_, file) in std::mem::take(&mut self.open) {
            let Some(mut entry) = file.finish(schema).await? else {
                continue;
            };
            let entry = entry
                .content(DataContentType::EqualityDeletes)
                .partition_spec_id(spec_id)
                .equality_ids(Some(self.ids.clone()))
                .build()
                .map_err(|error| {
                    Error::Invalid(format!("the delete file is incomplete: {error}"))
                })?;
            written.push(NewFile::new(entry, spec_id, schema.schema_id(), metadata)?);
        }
        Ok(written)
    }

    /// Gives up the files begun.
    pub async fn abort(&mut self) {
        for (_, file) in std::mem::take(&mut self.open) {
            file.abort().await;
        }
    }
}
