//! Rows in the order that ORDER BY asks for, as bytes that compare like it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array, Int8Array, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema};
use arrow::row::{RowConverter, Rows, SortField};

use crate::error::Error;
use crate::operators::keys::failed;

/// An item of ORDER BY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SortColumn {
    pub(crate) column: usize,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

/// Which row numbers are asked for, from 1, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RankRange {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Where a row stands among others; those that ORDER BY does not tell apart in the order of their arrival.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) key: Box<[u8]>,
    pub(crate) arrival: i64,
}

/// Rows as bytes, the best first.
pub(crate) type Ranking = BTreeMap<Place, Arc<[u8]>>;

/// Turns the columns of an ORDER BY into bytes.
pub(crate) struct Sorter {
    columns: Vec<usize>,
    converter: RowConverter,
}

impl Sorter {
    pub(crate) fn new(schema: &Schema, order: &[SortColumn]) -> Result<Self, Error> {
        let mut fields: Vec<SortField> = order
            .iter()
            .map(|item| {
                let options = SortOptions {
                    descending: item.descending,
                    nulls_first: item.nulls_first,
                };
                let data_type = schema.field(item.column).data_type().clone();
                SortField::new_with_options(data_type, options)
            })
            .collect();
        if fields.is_empty() {
            // All rows are equal; a constant stands for it.
            fields.push(SortField::new(DataType::Int8));
        }
        Ok(Sorter {
            columns: order.iter().map(|item| item.column).collect(),
            converter: RowConverter::new(fields).map_err(failed)?,
        })
    }

    pub(crate) fn encode(&self, batch: &RecordBatch) -> Result<Rows, Error> {
        let columns = self.columns.iter();
        let mut columns: Vec<ArrayRef> = columns
            .map(|column| plain_floats(batch.column(*column)))
            .collect();
        if columns.is_empty() {
            columns.push(Arc::new(Int8Array::from(vec![0; batch.num_rows()])));
        }
        self.converter.convert_columns(&columns).map_err(failed)
    }
}

/// Floats without a negative zero, which is zero to Flink's comparison, and with one NaN, which is the greatest.
fn plain_floats(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>();
            let plain: Float32Array = values.unary(|value| {
                if value.is_nan() {
                    f32::NAN
                } else {
                    value + 0.0
                }
            });
            Arc::new(plain)
        }
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>();
            let plain: Float64Array = values.unary(|value| {
                if value.is_nan() {
                    f64::NAN
                } else {
                    value + 0.0
                }
            });
            Arc::new(plain)
        }
        _ => column.clone(),
    }
}

impl RankRange {
    /// The rows that are asked for.
    pub(crate) fn of(self, rows: &Ranking) -> impl Iterator<Item = &Arc<[u8]>> {
        let skipped = self.start - 1;
        rows.values().skip(skipped).take(self.end - skipped)
    }

    /// Whether so many rows are all that can be asked for.
    pub(crate) fn is_filled_by(self, n_rows: usize) -> bool {
        n_rows >= self.end
    }
}

/// The first place at which an equal row stands.
pub(crate) fn find(rows: &Ranking, key: &[u8], row: &[u8]) -> Option<Place> {
    let at = |arrival| Place {
        key: key.into(),
        arrival,
    };
    let mut equals = rows.range(at(i64::MIN)..=at(i64::MAX));
    let found = equals.find(|(_, held)| ***held == *row);
    found.map(|(place, _)| place.clone())
}

/// About how many bytes they take.
pub(crate) fn ranking_size(rows: &Ranking) -> usize {
    let row = |(place, row): (&Place, &Arc<[u8]>)| place.key.len() + row.len() + 72;
    rows.iter().map(row).sum()
}
