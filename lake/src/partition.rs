//! Which partition a row belongs to.
//!
//! Applies the table's partition transforms (identity, bucket, truncate, year, month, day, hour, void)
//! to whole columns and splits a batch accordingly. Separate from [`crate::writer`] because delete files
//! are split by the same rules from key columns alone.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::row::{OwnedRow, RowConverter, SortField};
use chrono::DateTime;
use iceberg::arrow::{arrow_primitive_to_literal, type_to_arrow_type};
use iceberg::spec::{Literal, PartitionSpec, PrimitiveLiteral, Schema, Struct, Transform, Type};
use iceberg::transform::{BoxedTransformFunction, create_transform_function};

use crate::{Error, Result};

/// One partition: its values, and the directory its files go to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Partition {
    /// One value per field of the partition spec.
    pub values: Struct,
    /// `day=2026-01-01/kind=a`, empty when the table is not partitioned.
    pub path: String,
}

/// Splits batches by partition.
#[derive(Debug)]
pub struct Partitioner {
    spec_id: i32,
    fields: Vec<Field>,
    rows: Option<RowConverter>,
    /// Partitions seen lately, so that a row's partition is named once.
    known: HashMap<OwnedRow, Arc<Partition>>,
    only: Option<Arc<Partition>>,
}

#[derive(Debug)]
struct Field {
    name: String,
    column: usize,
    transform: Transform,
    function: BoxedTransformFunction,
    result: Type,
}

/// Named partitions kept; past this the table of names starts anew.
const MAX_KNOWN: usize = 10_000;

// === impl Partitioner ===

impl Partitioner {
    /// Splits rows with `columns` (some or all of the table's) by `spec`.
    pub fn new(schema: &Schema, spec: &PartitionSpec, columns: &SchemaRef) -> Result<Self> {
        let fields = spec
            .fields()
            .iter()
            .map(|field| {
                let source = schema
                    .as_struct()
                    .fields()
                    .iter()
                    .find(|column| column.id == field.source_id)
                    .ok_or_else(|| {
                        Error::Unsupported(format!(
                            "partition field `{}`, whose source is nested or dropped,",
                            field.name
                        ))
                    })?;
                let column = columns.index_of(&source.name).map_err(|_| {
                    Error::Invalid(format!(
                        "partition field `{}` needs column `{}` in the rows",
                        field.name, source.name
                    ))
                })?;
                Ok(Field {
                    name: field.name.clone(),
                    column,
                    transform: field.transform,
                    function: create_transform_function(&field.transform)
                        .map_err(Error::iceberg("read the partition transform"))?,
                    result: field
                        .transform
                        .result_type(&source.field_type)
                        .map_err(Error::iceberg("type the partition field"))?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let rows = if fields.is_empty() {
            None
        } else {
            Some(converter(&fields)?)
        };
        let only = fields.is_empty().then(|| {
            Arc::new(Partition {
                values: Struct::empty(),
                path: String::new(),
            })
        });
        Ok(Self {
            spec_id: spec.spec_id(),
            fields,
            rows,
            known: HashMap::new(),
            only,
        })
    }

    /// The spec that rows are split by.
    pub fn spec_id(&self) -> i32 {
        self.spec_id
    }

    /// The rows of each partition in `batch`, in order of first appearance.
    pub fn split(&mut self, batch: &RecordBatch) -> Result<Vec<(Arc<Partition>, RecordBatch)>> {
        if batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let groups = self.groups(batch)?;
        if let [(partition, _)] = groups.as_slice() {
            return Ok(vec![(Arc::clone(partition), batch.clone())]);
        }
        groups
            .into_iter()
            .map(|(partition, rows)| {
                let part = take_record_batch(batch, &UInt32Array::from(rows))
                    .map_err(Error::arrow("split rows by partition"))?;
                Ok((partition, part))
            })
            .collect()
    }

    /// The row numbers of each partition in `batch`, in order of first appearance.
    pub(crate) fn groups(
        &mut self,
        batch: &RecordBatch,
    ) -> Result<Vec<(Arc<Partition>, Vec<u32>)>> {
        if let Some(only) = &self.only {
            let rows = (0..row_count(batch)?).collect();
            return Ok(vec![(Arc::clone(only), rows)]);
        }
        let values = self.values(batch)?;
        let Some(converter) = &self.rows else {
            return Ok(Vec::new());
        };
        let rows = converter
            .convert_columns(&values)
            .map_err(Error::arrow("compare partition values"))?;
        let mut order: HashMap<_, usize> = HashMap::new();
        let mut groups: Vec<(u32, Vec<u32>)> = Vec::new();
        for (index, row) in (0..row_count(batch)?).zip(rows.iter()) {
            let group = *order.entry(row).or_insert_with(|| {
                groups.push((index, Vec::new()));
                groups.len() - 1
            });
            groups[group].1.push(index);
        }
        groups
            .into_iter()
            .map(|(first, members)| {
                let first = first as usize;
                let owned = rows.row(first).owned();
                let partition = match self.known.get(&owned) {
                    Some(partition) => Arc::clone(partition),
                    None => {
                        let partition = Arc::new(self.name(&values, first)?);
                        if self.known.len() >= MAX_KNOWN {
                            self.known.clear();
                        }
                        self.known.insert(owned, Arc::clone(&partition));
                        partition
                    }
                };
                Ok((partition, members))
            })
            .collect()
    }

    fn values(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.fields
            .iter()
            .map(|field| {
                field
                    .function
                    .transform(Arc::clone(batch.column(field.column)))
                    .map_err(Error::iceberg(format!(
                        "compute partition field `{}`",
                        field.name
                    )))
            })
            .collect()
    }

    fn name(&self, values: &[ArrayRef], row: usize) -> Result<Partition> {
        let mut literals = Vec::with_capacity(values.len());
        let mut path = String::new();
        for (field, column) in self.fields.iter().zip(values) {
            let literal = arrow_primitive_to_literal(&column.slice(row, 1), &field.result)
                .map_err(Error::iceberg(format!(
                    "read partition field `{}`",
                    field.name
                )))?
                .pop()
                .flatten();
            if !path.is_empty() {
                path.push('/');
            }
            escape_into(&mut path, &field.name);
            path.push('=');
            escape_into(&mut path, &human(field, literal.as_ref()));
            literals.push(literal);
        }
        Ok(Partition {
            values: Struct::from_iter(literals),
            path,
        })
    }
}

/// A partition value as Iceberg names directories: `2026-01-02-03` for an hour, `2026-01` for a month.
fn human(field: &Field, value: Option<&Literal>) -> String {
    let ordinal = match value {
        Some(Literal::Primitive(PrimitiveLiteral::Int(ordinal))) => Some(i64::from(*ordinal)),
        _ => None,
    };
    match (field.transform, ordinal) {
        (Transform::Year, Some(years)) => (1970 + years).to_string(),
        (Transform::Month, Some(months)) => {
            format!(
                "{:04}-{:02}",
                1970 + months.div_euclid(12),
                months.rem_euclid(12) + 1
            )
        }
        (Transform::Hour, Some(hours)) => DateTime::from_timestamp(hours * 3600, 0).map_or_else(
            || hours.to_string(),
            |hour| hour.format("%Y-%m-%d-%H").to_string(),
        ),
        _ => field.transform.to_human_string(&field.result, value),
    }
}

fn converter(fields: &[Field]) -> Result<RowConverter> {
    let types = fields
        .iter()
        .map(|field| {
            type_to_arrow_type(&field.result)
                .map(SortField::new)
                .map_err(Error::iceberg("type the partition field"))
        })
        .collect::<Result<Vec<_>>>()?;
    RowConverter::new(types).map_err(Error::arrow("compare partition values"))
}

fn row_count(batch: &RecordBatch) -> Result<u32> {
    u32::try_from(batch.num_rows())
        .map_err(|_| Error::Invalid(format!("a batch of {} rows is too large", batch.num_rows())))
}

/// Writes `text` so that it is safe in a path and in an object key.
fn escape_into(path: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                path.push(char::from(byte));
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests;
