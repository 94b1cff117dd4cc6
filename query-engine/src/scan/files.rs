//! Data files as DataFusion wants them: sizes, statistics, deleted positions, and groups read in parallel.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, SchemaRef};
use chrono::{DateTime, Utc};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DataFusionError, Result, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess};
use datafusion::scalar::ScalarValue;
use lake::Table;
use lake::iceberg::spec::{DataFileFormat, Datum, PrimitiveType, Schema};
use lake::read::LiveFile;
use object_store::{ObjectMeta, ObjectStoreExt};
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::file::metadata::ParquetMetaData;

use super::pruning::trusted;
use super::reading::{Committed, Reading};
use super::{ScanCaches, external, hidden, reading, values};

/// What the files of one scan have in common.
pub(super) struct Scanned<'a> {
    pub(super) table: &'a Table,
    pub(super) schema: &'a Schema,
    pub(super) columns: &'a SchemaRef,
    pub(super) hidden: &'a [FieldRef],
    /// Whether the query asks when files were written.
    pub(super) modified: bool,
    pub(super) caches: &'a ScanCaches,
    pub(super) reading: &'a Arc<Reading>,
}

/// A data file that is to be read.
pub(super) struct PlannedFile<'a> {
    pub(super) file: &'a LiveFile,
    /// Position delete files that may name it.
    pub(super) positions: Vec<&'a LiveFile>,
    /// The group of equality deletes that may reach its rows.
    pub(super) group: Option<i32>,
}

/// Footers are asked for with this many bytes from the end of the file, mostly in one request.
pub(super) const FOOTER_HINT: usize = 32 << 10;

/// A file with its statistics, which are exact unless rows of it are deleted.
pub(super) async fn partitioned(
    scan: &Scanned<'_>,
    planned: &PlannedFile<'_>,
) -> Result<PartitionedFile> {
    let (table, caches, file) = (scan.table, scan.caches, planned.file);
    if file.file().file_format() != DataFileFormat::Parquet {
        return Err(DataFusionError::NotImplemented(format!(
            "reading data files of format {} (`{}`)",
            file.file().file_format(),
            file.path()
        )));
    }
    let meta = object_meta(table, file)?;
    let exact = planned.positions.is_empty() && planned.group.is_none();
    let statistics = statistics(scan.schema, scan.columns, file);
    let statistics = if exact {
        statistics
    } else {
        statistics.to_inexact()
    };
    let modified = match scan.modified {
        true => Some(modified(table, file).await?),
        false => None,
    };
    let mut values = hidden::values(scan.hidden, table, file, modified);
    if let Some(group) = planned.group {
        values.push(ScalarValue::Int64(Some(file.sequence)));
        values.push(ScalarValue::Int32(Some(group)));
    }
    let committed = Committed {
        path: file.path().into(),
        n_rows: file.file().record_count(),
        reading: Arc::clone(scan.reading),
    };
    let partitioned = PartitionedFile::new_from_meta(meta)
        .with_partition_values(values)
        .with_metadata_size_hint(FOOTER_HINT)
        .with_extension(committed)
        .with_statistics(Arc::new(statistics));
    if planned.positions.is_empty() {
        return Ok(partitioned);
    }
    let deleted = lake::deletes::positions(table, file.path(), &planned.positions)
        .await
        .map_err(external)?;
    if deleted.is_empty() {
        return Ok(partitioned);
    }
    Ok(partitioned.with_extension(access_plan(table, file, &deleted, caches).await?))
}

/// When a file was written, as the store has it.
async fn modified(table: &Table, file: &LiveFile) -> Result<DateTime<Utc>> {
    let (store, location) = table.store().open(file.path()).map_err(external)?;
    let found = store.head(&location).await;
    Ok(found
        .map_err(|error| could_not("find", file.path(), error))?
        .last_modified)
}

fn could_not(action: &'static str, path: &str, source: object_store::Error) -> DataFusionError {
    external(lake::Error::Store {
        action,
        path: path.to_owned(),
        source,
    })
}

/// Which rows of a file are left when those at `deleted` (sorted) are gone.
async fn access_plan(
    table: &Table,
    file: &LiveFile,
    deleted: &[u64],
    caches: &ScanCaches,
) -> Result<ParquetAccessPlan> {
    let (store, _) = table.store().open(file.path()).map_err(external)?;
    let meta = object_meta(table, file)?;
    let footer = DFParquetMetadata::new(store.as_ref(), &meta)
        .with_metadata_size_hint(Some(FOOTER_HINT))
        .with_file_metadata_cache(Some(Arc::clone(&caches.footers)))
        .fetch_metadata()
        .await
        .map_err(|error| reading::cannot_open(file.path(), &error))?;
    Ok(without(&footer, deleted))
}

/// Spreads files over at most `partitions` groups of about the same size.
pub(super) fn groups(
    mut files: Vec<PartitionedFile>,
    partitions: usize,
    schema: &SchemaRef,
) -> Result<Vec<FileGroup>> {
    let n_groups = partitions.max(1).min(files.len());
    files.sort_by_key(|file| std::cmp::Reverse(file.object_meta.size));
    let mut groups: Vec<(u64, Vec<PartitionedFile>)> = vec![(0, Vec::new()); n_groups];
    for file in files {
        if let Some((size, group)) = groups.iter_mut().min_by_key(|(size, _)| *size) {
            *size += file.object_meta.size;
            group.push(file);
        }
    }
    groups
        .into_iter()
        .map(|(_, files)| {
            let statistics = merged(
                files.iter().filter_map(|file| file.statistics.as_deref()),
                schema,
            )?;
            Ok(FileGroup::new(files).with_statistics(Arc::new(statistics)))
        })
        .collect()
}

/// The statistics of several files, or groups of them, together.
pub(super) fn merged<'a>(
    parts: impl Iterator<Item = &'a Statistics>,
    schema: &SchemaRef,
) -> Result<Statistics> {
    let parts: Vec<&Statistics> = parts.collect();
    if parts.is_empty() {
        return Ok(Statistics::new_unknown(schema));
    }
    Statistics::try_merge_iter(parts, schema)
}

fn object_meta(table: &Table, file: &LiveFile) -> Result<ObjectMeta> {
    let (_, location) = table.store().open(file.path()).map_err(external)?;
    Ok(ObjectMeta {
        location,
        last_modified: DateTime::UNIX_EPOCH,
        size: file.file().file_size_in_bytes(),
        e_tag: None,
        version: None,
    })
}

fn statistics(schema: &Schema, columns: &SchemaRef, file: &LiveFile) -> Statistics {
    let entry = file.file();
    let n_rows = usize::try_from(entry.record_count()).unwrap_or(usize::MAX);
    let column_statistics = columns
        .fields()
        .iter()
        .map(|field| {
            let Some(id) = schema.field_id_by_name(field.name()) else {
                return ColumnStatistics::new_unknown();
            };
            let bound = |bounds: &HashMap<i32, Datum>| {
                let Some(bound) = bounds.get(&id).filter(|bound| trusted(file, id, bound)) else {
                    return Precision::Absent;
                };
                let Some(value) = values::scalar(bound, field.data_type()) else {
                    return Precision::Absent;
                };
                match bound.data_type() {
                    // Bounds of text and bytes may be cut short.
                    PrimitiveType::String | PrimitiveType::Binary | PrimitiveType::Fixed(_) => {
                        Precision::Inexact(value)
                    }
                    _ => Precision::Exact(value),
                }
            };
            ColumnStatistics {
                null_count: entry
                    .null_value_counts()
                    .get(&id)
                    .and_then(|count| usize::try_from(*count).ok())
                    .map_or(Precision::Absent, Precision::Exact),
                min_value: bound(entry.lower_bounds()),
                max_value: bound(entry.upper_bounds()),
                ..ColumnStatistics::new_unknown()
            }
        })
        .collect();
    Statistics {
        num_rows: Precision::Exact(n_rows),
        total_byte_size: Precision::Absent,
        column_statistics,
    }
}

/// The rows of a file without those at the sorted positions `deleted`.
fn without(footer: &ParquetMetaData, deleted: &[u64]) -> ParquetAccessPlan {
    let mut first: u64 = 0;
    let mut rest = deleted;
    let groups = footer
        .row_groups()
        .iter()
        .map(|group| {
            let n_rows = group.num_rows().cast_unsigned();
            let (here, later) = rest.split_at(rest.partition_point(|row| *row < first + n_rows));
            rest = later;
            let access = group_access(first, n_rows, here);
            first += n_rows;
            access
        })
        .collect();
    ParquetAccessPlan::new(groups)
}

fn group_access(first: u64, n_rows: u64, deleted: &[u64]) -> RowGroupAccess {
    if deleted.is_empty() {
        return RowGroupAccess::Scan;
    }
    if deleted.len() as u64 == n_rows {
        return RowGroupAccess::Skip;
    }
    let mut selectors = Vec::new();
    let mut next = first;
    let length = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
    for row in deleted {
        if *row > next {
            selectors.push(RowSelector::select(length(row - next)));
        }
        selectors.push(RowSelector::skip(1));
        next = row + 1;
    }
    if next < first + n_rows {
        selectors.push(RowSelector::select(length(first + n_rows - next)));
    }
    RowGroupAccess::Selection(RowSelection::from(selectors))
}
