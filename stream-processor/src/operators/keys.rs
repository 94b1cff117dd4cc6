//! Keys as comparable bytes, and state tables around them.

use std::borrow::Borrow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, RecordBatch, UInt16Array, UInt32Array,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, Rows, SortField};

use crate::error::Error;
use crate::key_group::key_groups;

/// Converts chosen columns of batches to bytes and back.
pub(crate) struct Encoder {
    columns: Vec<usize>,
    converter: RowConverter,
}

impl Encoder {
    pub(crate) fn new(schema: &Schema, columns: &[usize]) -> Result<Self, Error> {
        if columns.is_empty() {
            // All rows have the same key; a constant stands for it.
            return Ok(Encoder {
                columns: Vec::new(),
                converter: RowConverter::new(vec![SortField::new(DataType::Int8)])
                    .map_err(failed)?,
            });
        }
        let fields = columns
            .iter()
            .map(|column| SortField::new(schema.field(*column).data_type().clone()))
            .collect();
        Ok(Encoder {
            columns: columns.to_vec(),
            converter: RowConverter::new(fields).map_err(failed)?,
        })
    }

    pub(crate) fn all(schema: &Schema) -> Result<Self, Error> {
        Encoder::new(schema, &(0..schema.fields().len()).collect::<Vec<_>>())
    }

    pub(crate) fn encode(&self, batch: &RecordBatch) -> Result<Rows, Error> {
        if self.columns.is_empty() {
            let same: ArrayRef = Arc::new(arrow::array::Int8Array::from(vec![0; batch.num_rows()]));
            return self.converter.convert_columns(&[same]).map_err(failed);
        }
        let columns: Vec<ArrayRef> = self
            .columns
            .iter()
            .map(|column| batch.column(*column).clone())
            .collect();
        self.converter.convert_columns(&columns).map_err(failed)
    }

    pub(crate) fn decode<'r>(
        &self,
        rows: impl IntoIterator<Item = &'r OwnedRow>,
    ) -> Result<Vec<ArrayRef>, Error> {
        if self.columns.is_empty() {
            return Ok(Vec::new());
        }
        self.converter
            .convert_rows(rows.into_iter().map(OwnedRow::row))
            .map_err(failed)
    }

    /// The columns of rows that [`Self::encode`] made, given as bytes.
    pub(crate) fn decode_bytes<'r>(
        &self,
        rows: impl IntoIterator<Item = &'r [u8]>,
    ) -> Result<Vec<ArrayRef>, Error> {
        if self.columns.is_empty() {
            return Ok(Vec::new());
        }
        let parser = self.converter.parser();
        let rows = rows.into_iter().map(|bytes| parser.parse(bytes));
        self.converter.convert_rows(rows).map_err(failed)
    }
}

/// A failure of an Arrow kernel, which only a fault of ours explains.
pub(crate) fn failed(error: arrow::error::ArrowError) -> Error {
    Error::caused("could not compute over columns", error)
}

/// The rows of `batch` at `rows`.
pub(crate) fn take_rows(batch: &RecordBatch, rows: Vec<u32>) -> Result<RecordBatch, Error> {
    if rows.len() == batch.num_rows()
        && rows.iter().enumerate().all(|(at, row)| *row as usize == at)
    {
        return Ok(batch.clone());
    }
    take_record_batch(batch, &UInt32Array::from(rows)).map_err(failed)
}

/// A batch of `schema` from columns.
pub(crate) fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch, Error> {
    RecordBatch::try_new(schema.clone(), columns).map_err(failed)
}

/// A state batch: the key groups of `keys`, then all columns by name.
pub(crate) fn state_batch(
    keys: &[ArrayRef],
    columns: Vec<(String, ArrayRef)>,
) -> Result<RecordBatch, Error> {
    let n_rows = columns.first().map_or(0, |(_, column)| column.len());
    let groups: ArrayRef = Arc::new(UInt16Array::from(key_groups(keys, n_rows)?));
    let mut fields = vec![Field::new("__key_group", DataType::UInt16, false)];
    let mut arrays = vec![groups];
    for (name, column) in columns {
        fields.push(Field::new(name, column.data_type().clone(), true));
        arrays.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(failed)
}

/// Saved aggregate states of one call as a column.
pub(crate) fn saved_column(
    states: impl Iterator<Item = impl Borrow<super::aggregate::State>> + Clone,
) -> ArrayRef {
    // Sets of millions of values are among them, so nothing is grown and copied.
    let (n_states, n_bytes) = states.clone().fold((0, 0), |(n_states, n_bytes), state| {
        (n_states + 1, n_bytes + super::saved::length(state.borrow()))
    });
    let mut builder = BinaryBuilder::with_capacity(n_states, n_bytes);
    let mut bytes = Vec::new();
    for state in states {
        bytes.clear();
        super::saved::save(state.borrow(), &mut bytes);
        builder.append_value(&bytes);
    }
    Arc::new(builder.finish())
}

/// The states of a column that [`saved_column`] made.
pub(crate) fn loaded_column(column: &ArrayRef) -> Result<Vec<super::aggregate::State>, Error> {
    let saved: &BinaryArray = column.as_binary_opt().ok_or_else(damaged)?;
    saved
        .iter()
        .map(|bytes| {
            bytes
                .and_then(|mut bytes| super::saved::load(&mut bytes))
                .ok_or_else(damaged)
        })
        .collect()
}

/// The checkpoint holds something else than this operator wrote.
pub(crate) fn damaged() -> Error {
    Error::Restore {
        message: "a state table does not have the columns of its operator".to_owned(),
    }
}

/// A column of a state table by name.
pub(crate) fn column<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b ArrayRef, Error> {
    batch.column_by_name(name).ok_or_else(damaged)
}

const WATERMARK: &str = "watermark";

/// The watermark an operator has seen: without it a restored job could fire a window twice.
pub(crate) fn watermark_table(
    watermark: crate::operator::EventTime,
) -> Result<crate::operator::StateTable, Error> {
    let value: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![watermark.0]));
    Ok(crate::operator::StateTable {
        name: WATERMARK.to_owned(),
        rows: vec![
            RecordBatch::try_from_iter([(WATERMARK, value)])
                .map_err(failed)?
                .into(),
        ],
    })
}

/// Takes the watermark out of restored tables: the least, as several instances may have written one.
pub(crate) fn take_watermark(
    tables: &mut Vec<crate::operator::StateTable>,
) -> Result<crate::operator::EventTime, Error> {
    let mut least: Option<i64> = None;
    for table in tables.extract_if(.., |table| table.name == WATERMARK) {
        for batch in table.into_batches() {
            let values = column(&batch, WATERMARK)?
                .as_primitive_opt::<arrow::datatypes::Int64Type>()
                .ok_or_else(damaged)?
                .clone();
            for value in values.values() {
                least = Some(least.map_or(*value, |least| least.min(*value)));
            }
        }
    }
    Ok(crate::operator::EventTime(least.unwrap_or(i64::MIN)))
}
