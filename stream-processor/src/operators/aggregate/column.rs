//! The argument of an aggregate call in a batch.

use arrow::array::{
    Array, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};

use super::{AggregateCall, State};
use crate::error::Error;
use crate::operators::cell::{Cell, Seen};
use crate::operators::text::TextRef;

/// An argument column, brought to one of four shapes.
pub(super) enum Column {
    None,
    Int(Int64Array),
    Double(Float64Array),
    Decimal(Decimal128Array),
    Text(StringArray),
}

impl Column {
    pub(super) fn of(call: &AggregateCall, batch: &RecordBatch) -> Result<Self, Error> {
        let Some((index, _)) = &call.argument else {
            return Ok(Column::None);
        };
        let array = batch.column(*index);
        let failed = |error| Error::caused("could not read an aggregate's argument", error);
        Ok(match array.data_type() {
            DataType::Float64 | DataType::Float32 => {
                let array = cast(array, &DataType::Float64).map_err(failed)?;
                Column::Double(array.as_primitive::<Float64Type>().clone())
            }
            DataType::Decimal128(..) => {
                Column::Decimal(array.as_primitive::<Decimal128Type>().clone())
            }
            DataType::Utf8 => Column::Text(array.as_string::<i32>().clone()),
            DataType::Date32 | DataType::Time32(_) => {
                let array =
                    cast(array, &DataType::Int32).and_then(|array| cast(&array, &DataType::Int64));
                Column::Int(array.map_err(failed)?.as_primitive::<Int64Type>().clone())
            }
            _ => {
                let array = cast(array, &DataType::Int64).map_err(failed)?;
                Column::Int(array.as_primitive::<Int64Type>().clone())
            }
        })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        match self {
            Column::None => false,
            Column::Int(array) => array.is_null(row),
            Column::Double(array) => array.is_null(row),
            Column::Decimal(array) => array.is_null(row),
            Column::Text(array) => array.is_null(row),
        }
    }

    pub(super) fn seen(&self, row: usize) -> Seen<'_> {
        match self {
            Column::None => Seen::Int(0),
            Column::Int(array) => Seen::Int(array.value(row)),
            Column::Double(array) => Seen::Double(array.value(row)),
            Column::Decimal(array) => Seen::Decimal(array.value(row)),
            Column::Text(array) => Seen::Text(TextRef::Plain(array.value(row))),
        }
    }

    pub(super) fn cell(&self, row: usize) -> Cell {
        self.seen(row).to_cell()
    }
}

/// The argument of a call in a batch, by which one state is changed row by row.
pub(crate) struct Argument<'b> {
    pub(super) call: &'b AggregateCall,
    pub(super) column: Column,
    pub(super) filter: Option<&'b BooleanArray>,
}

impl Argument<'_> {
    /// Adds a row to `state`, or takes it back.
    pub(crate) fn apply(&self, state: &mut State, row: usize, add: bool) {
        let counts = self
            .filter
            .is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        if counts && (self.call.keeps_nulls() || !self.column.is_null(row)) {
            self.call.apply(state, &self.column, row, add);
        }
    }
}
