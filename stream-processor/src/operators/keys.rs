//! Keys as comparable bytes, and state tables around them.

use std::borrow::Borrow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, FixedSizeBinaryArray, Int8Array,
    ListArray, MapArray, RecordBatch, StringArray, StringBuilder, UInt16Array, UInt32Array,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};

use crate::error::Error;
use crate::key_group::key_groups;

/// How many rows of a batch have the memory that their keys lead to brought near, before the first of them needs it
/// (docs/adr/0012).
pub(crate) const AHEAD: usize = 64;

/// Converts chosen columns of batches to bytes and back. Equal rows have equal bytes, which are never none.
///
/// One text column, the usual key, is taken as it lies in its array; all others go through Arrow's row format, in which
/// a text of 36 bytes has 70.
pub(crate) struct Encoder {
    columns: Vec<usize>,
    format: Format,
}

enum Format {
    Text,
    /// The types of the columns, as the row format has no maps: they lie in it as the lists of their entries.
    Rows(RowConverter, Vec<DataType>),
}

/// The bytes of a batch's rows.
pub(crate) enum Encoded {
    Texts(StringArray),
    Rows(Rows),
}

/// In the place of texts that have no bytes of their own; neither is UTF-8.
const NULL: &[u8] = &[0xff];
const EMPTY: &[u8] = &[0xfe];

impl Encoder {
    pub(crate) fn new(schema: &Schema, columns: &[usize]) -> Result<Self, Error> {
        let types: Vec<DataType> = columns
            .iter()
            .map(|column| schema.field(*column).data_type().clone())
            .collect();
        let types = match &types[..] {
            [DataType::Utf8] => {
                return Ok(Encoder {
                    columns: columns.to_vec(),
                    format: Format::Text,
                });
            }
            // All rows have the same key; a constant stands for it.
            [] => vec![DataType::Int8],
            _ => types,
        };
        let fields = types.iter().map(|of| SortField::new(without_map(of)));
        let converter = RowConverter::new(fields.collect()).map_err(failed)?;
        Ok(Encoder {
            columns: columns.to_vec(),
            format: Format::Rows(converter, types),
        })
    }

    pub(crate) fn all(schema: &Schema) -> Result<Self, Error> {
        Encoder::new(schema, &(0..schema.fields().len()).collect::<Vec<_>>())
    }

    pub(crate) fn encode(&self, batch: &RecordBatch) -> Result<Encoded, Error> {
        let converter = match &self.format {
            Format::Text => {
                let texts = batch.column(self.columns[0]).as_string_opt();
                let texts =
                    texts.ok_or_else(|| Error::failed("a key of text has become another type"))?;
                return Ok(Encoded::Texts(texts.clone()));
            }
            Format::Rows(converter, _) => converter,
        };
        let mut columns: Vec<ArrayRef> = self
            .columns
            .iter()
            .map(|column| entries_of_maps(batch.column(*column)))
            .collect();
        if columns.is_empty() {
            columns.push(Arc::new(Int8Array::from(vec![0; batch.num_rows()])));
        }
        let rows = converter.convert_columns(&columns).map_err(failed)?;
        Ok(Encoded::Rows(rows))
    }

    /// The columns of rows that [`Self::encode`] made.
    pub(crate) fn decode<'r>(
        &self,
        rows: impl IntoIterator<Item = &'r [u8]>,
    ) -> Result<Vec<ArrayRef>, Error> {
        match &self.format {
            _ if self.columns.is_empty() => Ok(Vec::new()),
            Format::Text => Ok(vec![decode_texts(rows.into_iter())?]),
            Format::Rows(converter, types) => {
                let parser = converter.parser();
                let rows = rows.into_iter().map(|bytes| parser.parse(bytes));
                let columns = converter.convert_rows(rows).map_err(failed)?;
                let columns = columns.into_iter().zip(types);
                columns.map(|(column, of)| maps_of(column, of)).collect()
            }
        }
    }
}

/// The type of [`entries_of_maps`].
fn without_map(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Map(entries, _) => DataType::List(entries.clone()),
        _ => data_type.clone(),
    }
}

/// A column of maps as one of lists.
fn entries_of_maps(column: &ArrayRef) -> ArrayRef {
    match (column.as_map_opt(), column.data_type()) {
        (Some(maps), DataType::Map(field, _)) => {
            let (_, offsets, entries, nulls, _) = maps.clone().into_parts();
            Arc::new(ListArray::new(
                field.clone(),
                offsets,
                Arc::new(entries),
                nulls,
            ))
        }
        _ => column.clone(),
    }
}

/// What [`entries_of_maps`] made a list of.
fn maps_of(column: ArrayRef, data_type: &DataType) -> Result<ArrayRef, Error> {
    match (column.as_list_opt::<i32>(), data_type) {
        (Some(lists), DataType::Map(field, ordered)) => {
            let (_, offsets, entries, nulls) = lists.clone().into_parts();
            let entries = entries.as_struct_opt().ok_or_else(damaged)?.clone();
            let maps = MapArray::try_new(field.clone(), offsets, entries, nulls, *ordered);
            Ok(Arc::new(maps.map_err(failed)?))
        }
        _ => Ok(column),
    }
}

fn decode_texts<'r>(rows: impl Iterator<Item = &'r [u8]>) -> Result<ArrayRef, Error> {
    let mut texts = StringBuilder::with_capacity(rows.size_hint().0, 0);
    for bytes in rows {
        match bytes {
            NULL => texts.append_null(),
            EMPTY => texts.append_value(""),
            _ => texts.append_value(std::str::from_utf8(bytes).map_err(|_| damaged())?),
        }
    }
    Ok(Arc::new(texts.finish()))
}

impl Encoded {
    #[inline]
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        match self {
            Encoded::Rows(rows) => rows.row(row).data(),
            Encoded::Texts(texts) if texts.is_null(row) => NULL,
            Encoded::Texts(texts) => match texts.value(row) {
                "" => EMPTY,
                text => text.as_bytes(),
            },
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Encoded::Rows(rows) => rows.num_rows(),
            Encoded::Texts(texts) => texts.len(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|row| self.row(row))
    }
}

/// A failure of an Arrow kernel, which only a fault of ours explains.
pub(crate) fn failed(error: arrow::error::ArrowError) -> Error {
    Error::caused("could not compute over columns", error)
}

/// Keeps the items at which `kept` is true.
pub(crate) fn retain<T>(items: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    items.retain(|_| kept.next().copied().unwrap_or(true));
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

/// A column that [`saved_column`] made, without the offsets if all its states are of one size, as numbers are.
pub(crate) fn without_offsets(column: ArrayRef) -> ArrayRef {
    let fixed = || {
        let states: &BinaryArray = column.as_binary_opt()?;
        let size = states.offsets().lengths().next()?;
        let is_even = states.offsets().lengths().all(|length| length == size);
        let size = i32::try_from(size)
            .ok()
            .filter(|size| is_even && *size > 0)?;
        let (first, last) = (*states.offsets().first()?, *states.offsets().last()?);
        let (first, last) = (usize::try_from(first).ok()?, usize::try_from(last).ok()?);
        let values = states.values().slice_with_length(first, last - first);
        let states = FixedSizeBinaryArray::try_new(size, values, None).ok()?;
        Some(Arc::new(states) as ArrayRef)
    };
    fixed().unwrap_or(column)
}

/// The states of a column that [`saved_column`] or [`without_offsets`] made.
pub(crate) fn loaded_column(column: &ArrayRef) -> Result<Vec<super::aggregate::State>, Error> {
    let load = |bytes: Option<&[u8]>| {
        let state = bytes.and_then(|mut bytes| super::saved::load(&mut bytes));
        state.ok_or_else(damaged)
    };
    match column.as_fixed_size_binary_opt() {
        Some(states) => states.iter().map(load).collect(),
        None => {
            let states = column.as_binary_opt::<i32>().ok_or_else(damaged)?;
            states.iter().map(load).collect()
        }
    }
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

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, MapBuilder};

    use super::*;
    use crate::operators::aggregate::State;
    use crate::operators::cell::Cell;

    fn table(texts: &[Option<&str>]) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..texts.len() as i64));
        let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        RecordBatch::try_from_iter_with_nullable([("number", numbers, true), ("text", texts, true)])
            .unwrap()
    }

    #[test]
    fn rows_come_back_and_each_has_bytes_of_its_own() {
        let rows = table(&[
            Some("a"),
            None,
            Some(""),
            Some("\u{fe}"),
            Some("ÿ"),
            Some("\0"),
        ]);
        for columns in [&[1][..], &[0], &[0, 1], &[1, 0]] {
            let encoder = Encoder::new(&rows.schema(), columns).unwrap();
            let encoded = encoder.encode(&rows).unwrap();
            assert_eq!(encoded.len(), rows.num_rows());
            let columns: Vec<ArrayRef> =
                columns.iter().map(|at| rows.column(*at).clone()).collect();
            assert_eq!(encoder.decode(encoded.iter()).unwrap(), columns);
            let mut different: Vec<&[u8]> = encoded.iter().collect();
            different.sort_unstable();
            different.dedup();
            assert_eq!(different.len(), rows.num_rows());
            assert!(!different.contains(&&[][..]));
        }
    }

    #[test]
    fn maps_come_back_as_they_were() {
        let mut maps = MapBuilder::new(None, StringBuilder::new(), Int64Array::builder(0));
        for entries in [
            Some(vec![("a", 1), ("b", 2)]),
            None,
            Some(vec![]),
            Some(vec![("", 3)]),
        ] {
            for (key, value) in entries.iter().flatten() {
                maps.keys().append_value(key);
                maps.values().append_value(*value);
            }
            maps.append(entries.is_some()).unwrap();
        }
        let maps: ArrayRef = Arc::new(maps.finish());
        let rows = RecordBatch::try_from_iter([("maps", maps.clone())]).unwrap();
        let encoder = Encoder::all(&rows.schema()).unwrap();
        let encoded = encoder.encode(&rows).unwrap();
        assert_eq!(encoder.decode(encoded.iter()).unwrap(), [maps]);
    }

    #[test]
    fn states_of_one_size_lie_without_offsets() {
        let uuid = "e71586f0-f6ec-42cf-92ee-5dc9aae725c7";
        let text = |text: &str| State::Chosen(Some(Cell::Text(text.into())));
        for (states, is_fixed) in [
            (vec![State::Count(1), State::Count(-2)], true),
            (vec![text(uuid), text(uuid)], true),
            (vec![text(uuid), text("a"), State::Chosen(None)], false),
            (vec![], false),
        ] {
            let column = without_offsets(saved_column(states.iter()));
            let fixed = matches!(column.data_type(), DataType::FixedSizeBinary(_));
            assert_eq!(fixed, is_fixed);
            assert_eq!(loaded_column(&column).unwrap(), states);
        }
    }

    #[test]
    fn without_columns_all_rows_are_equal() {
        let rows = table(&[Some("a"), None]);
        let encoder = Encoder::new(&rows.schema(), &[]).unwrap();
        let encoded = encoder.encode(&rows).unwrap();
        assert_eq!(encoded.row(0), encoded.row(1));
        assert!(encoder.decode(encoded.iter()).unwrap().is_empty());
    }
}
