//! The `$` tables that Trino's Iceberg connector has, with its column names and types.
//!
//! Each is made whole as one batch: they are as large as a table's metadata, which upkeep bounds. Times
//! are `timestamp(3) with time zone`.

mod files;

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, MapBuilder, MapFieldNames, RecordBatch,
    StringArray, StringBuilder, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Fields, Schema as ArrowSchema};
use lake::iceberg::spec::SnapshotRetention;
use lake::{Error, Result, Table};

use super::{ScanCaches, SnapshotPin};

/// A metadata table, named after the `$`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum MetadataTable {
    /// `$snapshots`
    Snapshots,
    /// `$history`
    History,
    /// `$files`
    Files,
    /// `$manifests`
    Manifests,
    /// `$partitions`
    Partitions,
    /// `$refs`
    Refs,
    /// `$properties`
    Properties,
}

impl MetadataTable {
    /// The table called `name` (without the `$`), if there is one.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "snapshots" => Self::Snapshots,
            "history" => Self::History,
            "files" => Self::Files,
            "manifests" => Self::Manifests,
            "partitions" => Self::Partitions,
            "refs" => Self::Refs,
            "properties" => Self::Properties,
            _ => return None,
        })
    }

    /// Its rows for `table`; those that list files do so for the snapshot that `pin` names.
    pub(crate) async fn rows(
        self,
        table: &Table,
        pin: &SnapshotPin,
        caches: &ScanCaches,
    ) -> Result<RecordBatch> {
        match self {
            Self::Snapshots => snapshots(table),
            Self::History => history(table),
            Self::Files => files::files(table, pin, caches).await,
            Self::Manifests => files::manifests(table, pin, caches).await,
            Self::Partitions => files::partitions(table, pin, caches).await,
            Self::Refs => refs(table),
            Self::Properties => properties(table),
        }
    }
}

fn snapshots(table: &Table) -> Result<RecordBatch> {
    let mut snapshots: Vec<_> = table.metadata().snapshots().collect();
    snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
    let mut summary = MapBuilder::new(
        Some(map_names()),
        StringBuilder::new(),
        StringBuilder::new(),
    );
    for snapshot in &snapshots {
        let mut lines: Vec<_> = snapshot.summary().additional_properties.iter().collect();
        lines.sort();
        for (key, value) in lines {
            summary.keys().append_value(key);
            summary.values().append_value(value);
        }
        summary.append(true).map_err(arrow_error)?;
    }
    batch(vec![
        (
            "committed_at",
            times(snapshots.iter().map(|snapshot| snapshot.timestamp_ms())),
        ),
        (
            "snapshot_id",
            longs(
                snapshots
                    .iter()
                    .map(|snapshot| Some(snapshot.snapshot_id())),
            ),
        ),
        (
            "parent_id",
            longs(
                snapshots
                    .iter()
                    .map(|snapshot| snapshot.parent_snapshot_id()),
            ),
        ),
        (
            "operation",
            texts(
                snapshots
                    .iter()
                    .map(|snapshot| Some(snapshot.summary().operation.as_str())),
            ),
        ),
        (
            "manifest_list",
            texts(
                snapshots
                    .iter()
                    .map(|snapshot| Some(snapshot.manifest_list())),
            ),
        ),
        ("summary", Arc::new(summary.finish())),
    ])
}

fn history(table: &Table) -> Result<RecordBatch> {
    let metadata = table.metadata();
    let mut ancestors = HashSet::new();
    let mut next = metadata.current_snapshot();
    while let Some(snapshot) = next {
        ancestors.insert(snapshot.snapshot_id());
        next = snapshot
            .parent_snapshot_id()
            .and_then(|parent| metadata.snapshot_by_id(parent));
    }
    let log = metadata.history();
    let current: BooleanArray = log
        .iter()
        .map(|entry| Some(ancestors.contains(&entry.snapshot_id)))
        .collect();
    batch(vec![
        (
            "made_current_at",
            times(log.iter().map(|entry| entry.timestamp_ms())),
        ),
        (
            "snapshot_id",
            longs(log.iter().map(|entry| Some(entry.snapshot_id))),
        ),
        (
            "parent_id",
            longs(log.iter().map(|entry| {
                metadata
                    .snapshot_by_id(entry.snapshot_id)
                    .and_then(|snapshot| snapshot.parent_snapshot_id())
            })),
        ),
        ("is_current_ancestor", Arc::new(current)),
    ])
}

fn refs(table: &Table) -> Result<RecordBatch> {
    let refs = table.refs()?;
    let of = |retention: &SnapshotRetention| match retention {
        SnapshotRetention::Branch {
            min_snapshots_to_keep,
            max_snapshot_age_ms,
            max_ref_age_ms,
        } => (
            "BRANCH",
            *max_ref_age_ms,
            *min_snapshots_to_keep,
            *max_snapshot_age_ms,
        ),
        SnapshotRetention::Tag { max_ref_age_ms } => ("TAG", *max_ref_age_ms, None, None),
    };
    let rows: Vec<_> = refs
        .values()
        .map(|reference| of(&reference.retention))
        .collect();
    batch(vec![
        ("name", texts(refs.keys().map(|name| Some(name.as_str())))),
        ("type", texts(rows.iter().map(|row| Some(row.0)))),
        (
            "snapshot_id",
            longs(refs.values().map(|reference| Some(reference.snapshot_id))),
        ),
        (
            "max_reference_age_in_ms",
            longs(rows.iter().map(|row| row.1)),
        ),
        ("min_snapshots_to_keep", ints(rows.iter().map(|row| row.2))),
        (
            "max_snapshot_age_in_ms",
            longs(rows.iter().map(|row| row.3)),
        ),
    ])
}

fn properties(table: &Table) -> Result<RecordBatch> {
    let mut properties: Vec<_> = table.metadata().properties().iter().collect();
    properties.sort();
    batch(vec![
        (
            "key",
            texts(properties.iter().map(|(key, _)| Some(key.as_str()))),
        ),
        (
            "value",
            texts(properties.iter().map(|(_, value)| Some(value.as_str()))),
        ),
    ])
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    let fields: Fields = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns).map_err(arrow_error)
}

fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from_iter_values(values).with_timezone("UTC"))
}

fn longs(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn ints(values: impl Iterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(values.collect::<Int32Array>())
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn map_names() -> MapFieldNames {
    MapFieldNames {
        entry: "entries".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    }
}

fn arrow_error(source: arrow::error::ArrowError) -> Error {
    Error::Arrow {
        action: "list the table's metadata".to_owned(),
        source,
    }
}

/// The type of `map(integer, T)` columns is fixed by the builder; this names a list's items alike.
fn item(data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", data_type, true))
}
