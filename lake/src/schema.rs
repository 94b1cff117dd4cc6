//! Arrow columns as an Iceberg table wants them, and back.
//!
//! Writers get batches from engines that know names, not field ids, and whose types differ in harmless
//! ways (string views, milliseconds, a missing time zone). [`RowShape`] is the one place that decides
//! what is harmless: columns are matched by name, cast without loss, and missing optional ones filled
//! with NULL; anything else is refused.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, Schema as ArrowSchema, SchemaRef, TimeUnit};
use iceberg::arrow::{arrow_schema_to_schema_auto_assign_ids, schema_to_arrow_schema};
use iceberg::spec::Schema;

use crate::{Error, Result};

/// The Arrow schema of a table: field ids in the metadata, types as Parquet files hold them.
pub fn to_arrow(schema: &Schema) -> Result<SchemaRef> {
    schema_to_arrow_schema(schema)
        .map(Arc::new)
        .map_err(Error::iceberg("express the table's columns in Arrow"))
}

/// The Iceberg schema for Arrow columns, with fresh field ids. `identifiers` names the primary key.
///
/// Types that Iceberg lacks are widened where nothing is lost: small and unsigned integers to `int` or
/// `long`, seconds and milliseconds to microseconds, views and dictionaries to their plain form.
/// `unsigned 64-bit` and nanoseconds are refused.
pub fn from_arrow(schema: &ArrowSchema, identifiers: &[&str]) -> Result<Schema> {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| widened(field))
        .collect::<Result<_>>()?;
    let converted = arrow_schema_to_schema_auto_assign_ids(&ArrowSchema::new(fields))
        .map_err(Error::iceberg("express the columns in Iceberg"))?;
    if identifiers.is_empty() {
        return Ok(converted);
    }
    let ids = identifiers
        .iter()
        .map(|name| {
            converted
                .field_id_by_name(name)
                .ok_or_else(|| Error::Invalid(format!("no column named `{name}` for the key")))
        })
        .collect::<Result<Vec<_>>>()?;
    converted
        .into_builder()
        .with_identifier_field_ids(ids)
        .build()
        .map_err(Error::iceberg("set the key of the table"))
}

/// Fits batches of an engine to the columns of a table.
#[derive(Debug, Clone)]
pub struct RowShape {
    target: SchemaRef,
}

impl RowShape {
    /// The shape of rows with `schema`.
    pub fn new(schema: &Schema) -> Result<Self> {
        Ok(Self {
            target: to_arrow(schema)?,
        })
    }

    /// The Arrow schema that [`Self::fit`] returns.
    pub fn arrow_schema(&self) -> &SchemaRef {
        &self.target
    }

    /// Matches columns by name, casts them without loss and fills missing optional ones with NULL.
    pub fn fit(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        if batch.schema_ref() == &self.target {
            return Ok(batch.clone());
        }
        for field in batch.schema_ref().fields() {
            if self.target.index_of(field.name()).is_err() {
                return Err(Error::Invalid(format!(
                    "the table has no column `{}`",
                    field.name()
                )));
            }
        }
        let columns = self
            .target
            .fields()
            .iter()
            .map(|field| match batch.column_by_name(field.name()) {
                Some(column) => cast(column, field),
                None if field.is_nullable() => {
                    Ok(new_null_array(field.data_type(), batch.num_rows()))
                }
                None => Err(Error::Invalid(format!(
                    "column `{}` is required by the table and missing in the rows",
                    field.name()
                ))),
            })
            .collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(Arc::clone(&self.target), columns)
            .map_err(Error::arrow("fit rows to the table's columns"))
    }
}

/// Casts a column to the type of `field`; a value that does not fit is an error, never NULL.
pub(crate) fn cast(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if column.data_type() == field.data_type() {
        return Ok(Arc::clone(column));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, field.data_type(), &options).map_err(Error::arrow(format!(
        "turn column `{}` from {} into {}",
        field.name(),
        column.data_type(),
        field.data_type()
    )))
}

fn widened(field: &Field) -> Result<Field> {
    Ok(Field::new(
        field.name(),
        widened_type(field)?,
        field.is_nullable(),
    ))
}

fn widened_type(field: &Field) -> Result<DataType> {
    Ok(match field.data_type() {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::Binary | DataType::BinaryView => DataType::LargeBinary,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, zone) => DataType::Timestamp(
            TimeUnit::Microsecond,
            zone.as_ref().map(|_| "+00:00".into()),
        ),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
        }
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Dictionary(_, values) => {
            widened_type(&Field::new(field.name(), values.as_ref().clone(), true))?
        }
        DataType::Struct(fields) => {
            let fields: Fields = fields
                .iter()
                .map(|field| widened(field))
                .collect::<Result<Vec<_>>>()?
                .into();
            DataType::Struct(fields)
        }
        DataType::List(item) | DataType::LargeList(item) => {
            DataType::List(Arc::new(widened(item)?))
        }
        DataType::UInt64 | DataType::Timestamp(TimeUnit::Nanosecond, _) | DataType::Null => {
            return Err(Error::Unsupported(format!(
                "column `{}` of type {} in an Iceberg table",
                field.name(),
                field.data_type()
            )));
        }
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests;
