//! Leaves out data files that cannot hold a row the query wants, by what manifests say of them.
//!
//! The bounds of each column in each file are laid side by side and given to DataFusion's pruning
//! predicate. Where a file has no bounds for a column but is partitioned by it, the partition value
//! stands in: exactly for `identity`, as a range for `day` and `hour`.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, StringArray, UInt64Array};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicate;
use datafusion::scalar::ScalarValue;
use lake::Table;
use lake::iceberg::spec::{Datum, Literal, PrimitiveLiteral, Schema, Transform, Type};
use lake::read::LiveFile;

use super::{hidden, values};

/// The files among `files` that may hold rows for which `predicate` is true.
pub(super) fn prune<'a>(
    table: &Table,
    schema: &Schema,
    columns: &SchemaRef,
    predicate: &Arc<dyn PhysicalExpr>,
    files: Vec<&'a LiveFile>,
) -> Result<Vec<&'a LiveFile>> {
    let predicate = PruningPredicate::try_new(Arc::clone(predicate), Arc::clone(columns))?;
    if predicate.always_true() {
        return Ok(files);
    }
    let statistics = FileStatistics {
        table,
        schema,
        columns,
        files: &files,
    };
    let wanted = predicate.prune(&statistics)?;
    Ok(files
        .into_iter()
        .zip(wanted)
        .filter_map(|(file, wanted)| wanted.then_some(file))
        .collect())
}

struct FileStatistics<'a> {
    table: &'a Table,
    schema: &'a Schema,
    columns: &'a SchemaRef,
    files: &'a [&'a LiveFile],
}

enum Side {
    Lower,
    Upper,
}

// === impl FileStatistics ===

impl FileStatistics<'_> {
    fn id_and_type(&self, column: &Column) -> Option<(i32, DataType)> {
        let id = self.schema.field_id_by_name(&column.name)?;
        let field = self.columns.field_with_name(&column.name).ok()?;
        Some((id, field.data_type().clone()))
    }

    /// The values of a hidden column that need no look at the files.
    fn constants(&self, column: &Column) -> Option<ArrayRef> {
        if self.schema.field_id_by_name(&column.name).is_some() {
            return None;
        }
        let values: StringArray = match column.name.as_str() {
            hidden::PATH => self.files.iter().map(|file| Some(file.path())).collect(),
            hidden::PARTITION => self
                .files
                .iter()
                .map(|file| Some(hidden::partition(self.table, file)))
                .collect(),
            _ => return None,
        };
        Some(Arc::new(values))
    }

    fn bounds(&self, column: &Column, side: &Side) -> Option<ArrayRef> {
        if let Some(constants) = self.constants(column) {
            return Some(constants);
        }
        let (id, data_type) = self.id_and_type(column)?;
        let absent = ScalarValue::try_from(&data_type).ok()?;
        let values = self.files.iter().map(|file| {
            self.bound(file, id, &data_type, side)
                .unwrap_or_else(|| absent.clone())
        });
        ScalarValue::iter_to_array(values).ok()
    }

    fn bound(
        &self,
        file: &LiveFile,
        id: i32,
        data_type: &DataType,
        side: &Side,
    ) -> Option<ScalarValue> {
        let entry = file.file();
        let bounds = match side {
            Side::Lower => entry.lower_bounds(),
            Side::Upper => entry.upper_bounds(),
        };
        match bounds.get(&id) {
            Some(bound) if trusted(file, id, bound) => values::scalar(bound, data_type),
            Some(_) => None,
            None => self.partition_bound(file, id, data_type, side),
        }
    }

    /// What the partition says of a column without bounds.
    fn partition_bound(
        &self,
        file: &LiveFile,
        id: i32,
        data_type: &DataType,
        side: &Side,
    ) -> Option<ScalarValue> {
        let metadata = self.table.metadata();
        let spec = metadata.partition_spec_by_id(file.spec_id)?;
        let source: &Type = &self.schema.field_by_id(id)?.field_type;
        spec.fields()
            .iter()
            .zip(file.file().partition().fields())
            .filter(|(field, _)| field.source_id == id)
            .find_map(|(field, value)| {
                let value = value.as_ref()?;
                match field.transform {
                    Transform::Identity => {
                        let value = values::literal(source, value)?;
                        value.cast_to(data_type).ok().filter(|value| !is_nan(value))
                    }
                    transform => unit(transform, value, data_type, side),
                }
            })
    }
}

impl PruningStatistics for FileStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, &Side::Lower)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, &Side::Upper)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let (id, _) = self.id_and_type(column)?;
        let counts: UInt64Array = self
            .files
            .iter()
            .map(|file| file.file().null_value_counts().get(&id).copied())
            .collect();
        Some(Arc::new(counts))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let counts: UInt64Array = self
            .files
            .iter()
            .map(|file| Some(file.file().record_count()))
            .collect();
        Some(Arc::new(counts))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// Bounds leave NaN out, while DataFusion orders it above all numbers: without a count of zero, a bound
/// of a floating-point column proves nothing.
pub(super) fn trusted(file: &LiveFile, id: i32, bound: &Datum) -> bool {
    match bound.literal() {
        PrimitiveLiteral::Float(_) | PrimitiveLiteral::Double(_) => {
            !bound.is_nan() && file.file().nan_value_counts().get(&id) == Some(&0)
        }
        _ => true,
    }
}

fn is_nan(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float32(Some(value)) => value.is_nan(),
        ScalarValue::Float64(Some(value)) => value.is_nan(),
        _ => false,
    }
}

/// The first or last moment of a day or hour partition, as a value of the column.
fn unit(
    transform: Transform,
    value: &Literal,
    data_type: &DataType,
    side: &Side,
) -> Option<ScalarValue> {
    let Literal::Primitive(PrimitiveLiteral::Int(ordinal)) = value else {
        return None;
    };
    let micros: i64 = match transform {
        Transform::Day => 86_400_000_000,
        Transform::Hour => 3_600_000_000,
        _ => return None,
    };
    let first = i64::from(*ordinal).checked_mul(micros)?;
    let moment = match side {
        Side::Lower => first,
        Side::Upper => first.checked_add(micros - 1)?,
    };
    match data_type {
        DataType::Timestamp(TimeUnit::Microsecond, zone) => Some(
            ScalarValue::TimestampMicrosecond(Some(moment), zone.clone()),
        ),
        DataType::Date32 if matches!(transform, Transform::Day) => {
            Some(ScalarValue::Date32(Some(*ordinal)))
        }
        _ => None,
    }
}
