//! What manifests say of a table's columns, for `SHOW STATS`: added up as Trino's Iceberg connector does.
//!
//! Delete files are not looked at, so the numbers are of the rows written. Numbers of distinct values come from the
//! statistics files that `ANALYZE` of other engines leaves.

use std::cmp::Ordering;
use std::collections::HashMap;

use datafusion::scalar::ScalarValue;
use lake::iceberg::arrow::type_to_arrow_type;
use lake::iceberg::spec::{NestedFieldRef, PrimitiveType, Transform, Type};
use lake::read::{LiveFile, SnapshotFiles};
use lake::{Error, Result, Table};

use super::{ScanCaches, values};

/// The name of a blob that holds the distinct values of a column, and of its property with their number.
const DISTINCT_VALUES: &str = "apache-datasketches-theta-v1";
const N_DISTINCT: &str = "ndv";

/// What is known of one column; `None` is unknown.
#[derive(Debug, Clone)]
pub(crate) struct ColumnSummary {
    pub(crate) field: NestedFieldRef,
    pub(crate) n_nulls: Option<u64>,
    pub(crate) n_distinct: Option<u64>,
    /// Bytes in the files.
    pub(crate) n_bytes: Option<u64>,
    pub(crate) low: Option<ScalarValue>,
    pub(crate) high: Option<ScalarValue>,
}

/// What is known of the newest snapshot of a table.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) n_files: usize,
    pub(crate) n_rows: u64,
    pub(crate) columns: Vec<ColumnSummary>,
}

/// The least or the greatest value over files: once one of them has none, nothing is known.
#[derive(Default)]
enum Extreme {
    #[default]
    NotSeen,
    Unknown,
    Known(ScalarValue),
}

pub(crate) async fn summary(table: &Table, caches: &ScanCaches) -> Result<Summary> {
    let metadata = table.metadata();
    let live = match metadata.current_snapshot() {
        Some(snapshot) => SnapshotFiles::load(table, snapshot, &caches.manifests, |_| true).await?,
        None => SnapshotFiles::default(),
    };
    let distinct = distinct_values(table);
    let fields = metadata.current_schema().as_struct().fields();
    let columns = fields.iter().map(|field| {
        let mut column = of_column(table, field, live.data())?;
        column.n_distinct = distinct.get(&field.id).copied();
        Ok(column)
    });
    Ok(Summary {
        n_files: live.data().len(),
        n_rows: live
            .data()
            .iter()
            .map(|file| file.file().record_count())
            .sum(),
        columns: columns.collect::<Result<_>>()?,
    })
}

fn of_column(table: &Table, field: &NestedFieldRef, files: &[LiveFile]) -> Result<ColumnSummary> {
    let mut n_nulls = Some(0);
    let mut n_bytes = None;
    let (mut low, mut high) = (Extreme::default(), Extreme::default());
    let data_type = type_to_arrow_type(&field.field_type).map_err(|error| Error::Iceberg {
        action: format!("type column `{}`", field.name),
        source: Box::new(error),
    })?;
    for live in files {
        let file = live.file();
        if let Some(size) = file.column_sizes().get(&field.id) {
            n_bytes = Some(n_bytes.unwrap_or(0) + size);
        }
        let (least, greatest, nulls) = match partition_value(table, field, live) {
            Some(Some(value)) => (Some(value.clone()), Some(value), Some(0)),
            Some(None) => (None, None, Some(file.record_count())),
            None => {
                let bound = |bounds: &HashMap<i32, _>| {
                    let bound = bounds.get(&field.id)?;
                    values::scalar(bound, &data_type)
                };
                (
                    bound(file.lower_bounds()),
                    bound(file.upper_bounds()),
                    file.null_value_counts().get(&field.id).copied(),
                )
            }
        };
        // A file in which the column is always NULL says nothing of its values.
        if nulls != Some(file.record_count()) {
            low.meet(least, Ordering::Less);
            high.meet(greatest, Ordering::Greater);
        }
        n_nulls = n_nulls.zip(nulls).map(|(all, here): (u64, u64)| all + here);
    }
    let (low, high) = low.both(high);
    Ok(ColumnSummary {
        field: field.clone(),
        n_nulls,
        n_distinct: None,
        n_bytes,
        low,
        high,
    })
}

/// The value of a column in a file that is partitioned by it: `Some(None)` is NULL.
fn partition_value(
    table: &Table,
    field: &NestedFieldRef,
    live: &LiveFile,
) -> Option<Option<ScalarValue>> {
    let spec = table.metadata().partition_spec_by_id(live.spec_id)?;
    let (_, value) = spec
        .fields()
        .iter()
        .zip(live.file().partition().fields())
        .find(|(partition, _)| {
            partition.source_id == field.id && partition.transform == Transform::Identity
        })?;
    match value {
        None => Some(None),
        Some(literal) => values::literal(&field.field_type, literal).map(Some),
    }
}

/// The number of distinct values by field id, from the newest statistics that a snapshot on the way back has.
fn distinct_values(table: &Table) -> HashMap<i32, u64> {
    let metadata = table.metadata();
    let mut snapshot = metadata.current_snapshot();
    while let Some(here) = snapshot {
        if let Some(statistics) = metadata.statistics_for_snapshot(here.snapshot_id()) {
            return statistics
                .blob_metadata
                .iter()
                .filter(|blob| blob.r#type == DISTINCT_VALUES)
                .filter_map(|blob| match blob.fields.as_slice() {
                    [field] => Some((*field, blob.properties.get(N_DISTINCT)?.parse().ok()?)),
                    _ => None,
                })
                .collect();
        }
        snapshot = here
            .parent_snapshot_id()
            .and_then(|parent| metadata.snapshot_by_id(parent));
    }
    HashMap::new()
}

// === impl ColumnSummary ===

impl ColumnSummary {
    /// Bytes in memory, by Trino's rules of thumb; only for types of no fixed width.
    pub(crate) fn data_size(&self) -> Option<f64> {
        let factor = match self.field.field_type.as_ref() {
            #[expect(
                clippy::cast_precision_loss,
                reason = "the length of a fixed-length column is small"
            )]
            Type::Primitive(PrimitiveType::Fixed(length)) => return Some(*length as f64),
            Type::Primitive(PrimitiveType::String) => 2.7,
            Type::Primitive(PrimitiveType::Binary) => 1.4,
            Type::Primitive(_) => return None,
            _ => 1.0,
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "an estimate, printed as a double"
        )]
        self.n_bytes.map(|bytes| (bytes as f64 * factor).floor())
    }
}

// === impl Extreme ===

impl Extreme {
    /// Takes in the value of one more file, which replaces a known one when it compares as `wanted`.
    fn meet(&mut self, value: Option<ScalarValue>, wanted: Ordering) {
        *self = match (std::mem::take(self), value) {
            (Extreme::Unknown, _) | (_, None) => Extreme::Unknown,
            (Extreme::NotSeen, Some(value)) => Extreme::Known(value),
            (Extreme::Known(known), Some(value)) => {
                if value.partial_cmp(&known) == Some(wanted) {
                    Extreme::Known(value)
                } else {
                    Extreme::Known(known)
                }
            }
        };
    }

    /// A range has two ends or none.
    fn both(self, other: Extreme) -> (Option<ScalarValue>, Option<ScalarValue>) {
        match (self, other) {
            (Extreme::Known(low), Extreme::Known(high)) => (Some(low), Some(high)),
            _ => (None, None),
        }
    }
}
