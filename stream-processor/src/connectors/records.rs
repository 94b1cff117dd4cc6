//! Records of a source (files, topics) into the `read` columns of a table: payload by its format, metadata beside it.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::formats::{Decoder, Payloads, decoder, options};
use crate::graph::SourceSpec;
use crate::table::{Column, ColumnKind, TableDefinition};

/// Reads the records of one table.
pub(crate) struct RecordReader {
    value: Box<dyn Decoder>,
    /// How many of its columns are no metadata.
    n_values: usize,
    key: Option<Box<dyn Decoder>>,
    columns: Vec<Origin>,
    schema: SchemaRef,
    /// Records skipped as bad since the start.
    pub(crate) n_bad: u64,
}

/// Where a column comes from.
#[derive(Debug, Clone, PartialEq)]
enum Origin {
    Value(usize),
    Key(usize),
    Metadata(String),
    /// Metadata of the values' format, which stands behind their columns.
    Format(usize),
}

/// Which columns are in the key of a record.
pub(crate) struct KeyFormat<'a> {
    /// `key.format`
    pub(crate) format: &'a str,
    /// Column names.
    pub(crate) fields: Vec<String>,
    /// Whether they are not in the value.
    pub(crate) only_key: bool,
}

impl RecordReader {
    /// A reader of the table's `read` columns with `format`.
    pub(crate) fn new(
        spec: &SourceSpec,
        format: &str,
        key: Option<&KeyFormat<'_>>,
    ) -> Result<Self, Error> {
        let table: &TableDefinition = &spec.table;
        let mut value_columns: Vec<&Column> = Vec::new();
        let mut metadata: Vec<&str> = Vec::new();
        let is_kafka = options::get(table, "connector") == Some("kafka");
        let mut key_columns: Vec<&Column> = Vec::new();
        let mut columns = Vec::new();
        let mut fields = Vec::new();
        for index in &spec.read {
            let column = &table.columns[*index];
            let in_key = key.is_some_and(|key| key.fields.contains(&column.name));
            columns.push(match &column.kind {
                ColumnKind::Metadata { key, .. } => match key.strip_prefix("value.") {
                    Some(key) if is_kafka => {
                        metadata.push(key);
                        Origin::Format(metadata.len() - 1)
                    }
                    _ => Origin::Metadata(key.clone()),
                },
                ColumnKind::Physical if in_key => {
                    key_columns.push(column);
                    Origin::Key(key_columns.len() - 1)
                }
                ColumnKind::Physical => {
                    value_columns.push(column);
                    Origin::Value(value_columns.len() - 1)
                }
                ColumnKind::Computed(_) => {
                    return Err(Error::failed("a computed column was planned to be read"));
                }
            });
            fields.push(Field::new(
                &column.name,
                column.data_type.arrow(),
                column.data_type.nullable,
            ));
        }
        if let Some(key) = key.filter(|key| !key.only_key) {
            return Err(Error::invalid(format!(
                "table {}: key fields {:?} are also in the value; use 'value.fields-include' = 'EXCEPT_KEY'",
                table.path, key.fields
            )));
        }
        let key = key
            .filter(|_| !key_columns.is_empty())
            .map(|key| decoder(table, key.format, &key_columns, &[]))
            .transpose()?;
        Ok(RecordReader {
            value: decoder(table, format, &value_columns, &metadata)?,
            n_values: value_columns.len(),
            key,
            columns,
            schema: Arc::new(Schema::new(fields)),
            n_bad: 0,
        })
    }

    /// Decodes records; `metadata` gives the column of a metadata key, one value a record.
    pub(crate) fn read(
        &mut self,
        values: Payloads<'_>,
        keys: Option<Payloads<'_>>,
        metadata: impl Fn(&str) -> Result<ArrayRef, Error>,
    ) -> Result<ChangeBatch, Error> {
        let value = self.value.decode(values)?;
        self.n_bad += value.n_bad as u64;
        let key = match (&mut self.key, keys) {
            (Some(decoder), Some(keys)) => Some(decoder.decode(keys)?),
            _ => None,
        };
        if key.as_ref().is_some_and(|key| key.origin.is_some()) {
            return Err(Error::failed("the key of a record could not be decoded"));
        }
        let origin = value
            .origin
            .as_ref()
            .map(|rows| UInt32Array::from(rows.clone()));
        let mut columns = Vec::with_capacity(self.columns.len());
        for (source, field) in self.columns.iter().zip(self.schema.fields()) {
            let by_record = match source {
                Origin::Value(index) => {
                    columns.push(value.columns[*index].clone());
                    continue;
                }
                Origin::Format(index) => {
                    let column = &value.columns[self.n_values + index];
                    columns.push(typed(column, field.data_type())?);
                    continue;
                }
                Origin::Key(index) => match &key {
                    Some(key) => key.columns[*index].clone(),
                    None => return Err(Error::failed("records came without keys")),
                },
                Origin::Metadata(name) => metadata(name)?,
            };
            let by_row = match &origin {
                Some(origin) => take(&by_record, origin, None).map_err(cannot_assemble)?,
                None => by_record,
            };
            columns.push(typed(&by_row, field.data_type())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(value.n_rows));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(cannot_assemble)?;
        Ok(match value.kinds {
            Some(kinds) => ChangeBatch::changes(rows, kinds.into()),
            None => ChangeBatch::inserts(rows),
        })
    }
}

fn typed(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, Error> {
    if column.data_type() == data_type {
        return Ok(column.clone());
    }
    arrow::compute::cast(column, data_type).map_err(cannot_assemble)
}

fn cannot_assemble(error: arrow::error::ArrowError) -> Error {
    Error::caused("could not assemble the rows of a source", error)
}

#[cfg(test)]
mod tests;
