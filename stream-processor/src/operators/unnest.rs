//! UNNEST: one row for each element of a collection, beside the row that the collection is in.
//!
//! It keeps nothing: what comes of a row depends on that row alone, so a retraction takes back just what its addition
//! gave.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Int32Type, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;

use super::calc::evaluate;
use super::keys::{batch_of, failed};
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{Operator, Output, Subtask};

/// Rows collected before they are passed on; one left row's elements stay together.
const ROWS: usize = 8192;

/// What is taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Collection {
    /// Its elements in their order.
    Array,
    /// Each key with its value.
    Map,
    /// Each element as often as it is in it.
    Multiset,
}

/// Where a column of the result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// This column of the input.
    Left(usize),
    /// This column of the elements: a field of rows, the key or value of maps.
    Element(usize),
    /// The element's number, from 1.
    Ordinal,
}

/// Makes instances.
#[derive(Debug, Clone)]
pub(crate) struct Unnest {
    /// The input's column with the collections.
    pub(crate) column: usize,
    pub(crate) collection: Collection,
    /// `WITH ORDINALITY`
    pub(crate) ordinality: bool,
    /// LEFT JOIN: a row without elements stays, with NULLs.
    pub(crate) outer: bool,
    pub(crate) parts: Vec<Part>,
    /// Of a LEFT JOIN, over the output: elements that it does not accept are none.
    pub(crate) condition: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) output: SchemaRef,
}

/// The elements of some rows.
#[derive(Default)]
struct Picked {
    /// The row each element is of.
    rows: Vec<u32>,
    /// Where it is among all elements; `None` for NULLs.
    places: Vec<Option<u32>>,
    ordinals: Vec<Option<i32>>,
}

/// The collections of a batch.
struct Elements {
    /// The elements' columns.
    columns: Vec<ArrayRef>,
    /// Elements that are NULL although they have columns.
    absent: Option<ArrayRef>,
    /// How often each is there.
    times: Option<Int32Array>,
}

// === impl Picked ===

impl Picked {
    fn push(&mut self, row: u32, place: Option<u32>, ordinal: Option<i32>) {
        self.rows.push(row);
        self.places.push(place);
        self.ordinals.push(ordinal);
    }

    /// Those that are accepted, and for each of the rows without any one with NULLs.
    fn outer(&self, all: std::ops::Range<u32>, accepts: impl Fn(usize) -> bool) -> Picked {
        let mut kept = Picked::default();
        let mut at = 0;
        for row in all {
            let before = kept.rows.len();
            while self.rows.get(at) == Some(&row) {
                if accepts(at) {
                    kept.push(row, self.places[at], self.ordinals[at]);
                }
                at += 1;
            }
            if kept.rows.len() == before {
                kept.push(row, None, None);
            }
        }
        kept
    }
}

// === impl Unnest ===

impl Unnest {
    fn elements(&self, collections: &ArrayRef) -> Elements {
        match self.collection {
            Collection::Map => Elements {
                columns: collections.as_map().entries().columns().to_vec(),
                absent: None,
                times: None,
            },
            Collection::Array => Elements::of(collections.as_list::<i32>().values(), None),
            Collection::Multiset => {
                let entries = collections.as_map().entries();
                let times = entries.column(1).as_primitive::<Int32Type>();
                Elements::of(entries.column(0), Some(times.clone()))
            }
        }
    }

    fn range(&self, collections: &ArrayRef, row: usize) -> std::ops::Range<usize> {
        let offsets = match self.collection {
            Collection::Array => collections.as_list::<i32>().value_offsets(),
            Collection::Map | Collection::Multiset => collections.as_map().value_offsets(),
        };
        offsets[row] as usize..offsets[row + 1] as usize
    }

    /// Adds the elements of a row.
    fn pick(&self, collections: &ArrayRef, elements: &Elements, row: usize, picked: &mut Picked) {
        if collections.is_null(row) {
            return;
        }
        let mut ordinal = 0;
        for at in self.range(collections, row) {
            let times = elements.times.as_ref().map_or(1, |times| times.value(at));
            let is_absent = |absent: &ArrayRef| absent.is_null(at);
            let absent = elements.absent.as_ref().is_some_and(is_absent);
            for _ in 0..times {
                ordinal += 1;
                // A table function's rows are not NULL in Flink, so a NULL among rows is none unless it has a number.
                if self.ordinality || !absent {
                    let place = (!absent).then_some(at as u32);
                    picked.push(row as u32, place, Some(ordinal));
                }
            }
        }
    }

    fn batch(
        &self,
        rows: &RecordBatch,
        elements: &Elements,
        picked: &Picked,
    ) -> Result<RecordBatch, Error> {
        let of_rows = UInt32Array::from(picked.rows.clone());
        let of_elements = UInt32Array::from(picked.places.clone());
        let column = |part: &Part| match part {
            Part::Left(column) => take(rows.column(*column), &of_rows, None).map_err(failed),
            Part::Element(column) => {
                take(&elements.columns[*column], &of_elements, None).map_err(failed)
            }
            Part::Ordinal => Ok(Arc::new(Int32Array::from(picked.ordinals.clone())) as ArrayRef),
        };
        let columns = self.parts.iter().map(column).collect::<Result<_, _>>()?;
        batch_of(&self.output, columns)
    }

    /// What comes of the rows `all` of a batch.
    fn unnest(
        &self,
        batch: &ChangeBatch,
        elements: &Elements,
        mut picked: Picked,
        all: std::ops::Range<u32>,
    ) -> Result<ChangeBatch, Error> {
        if let Some(condition) = &self.condition {
            let mask = evaluate(condition, &self.batch(&batch.rows, elements, &picked)?)?;
            let mask = mask
                .as_boolean_opt()
                .ok_or_else(|| Error::failed("a join condition was no BOOLEAN"))?;
            picked = picked.outer(all, |at| mask.is_valid(at) && mask.value(at));
        } else if self.outer {
            picked = picked.outer(all, |_| true);
        }
        let rows = self.batch(&batch.rows, elements, &picked)?;
        Ok(match &batch.kinds {
            None => ChangeBatch::inserts(rows),
            Some(kinds) => {
                let kinds = picked.rows.iter().map(|row| kinds[*row as usize]);
                ChangeBatch::changes(rows, kinds.collect())
            }
        })
    }
}

// === impl Elements ===

impl Elements {
    /// The fields of elements that are rows are their columns.
    fn of(values: &ArrayRef, times: Option<Int32Array>) -> Self {
        let (columns, absent) = match values.as_struct_opt() {
            Some(rows) => (rows.columns().to_vec(), Some(values.clone())),
            None => (vec![values.clone()], None),
        };
        Elements {
            columns,
            absent,
            times,
        }
    }
}

impl OperatorFactory for Unnest {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        Ok(Box::new(self.clone()))
    }
}

impl Operator for Unnest {
    fn on_batch(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        let collections = batch.rows.column(self.column).clone();
        let elements = self.elements(&collections);
        let n_rows = batch.num_rows();
        let mut begin = 0;
        let mut picked = Picked::default();
        for row in 0..n_rows {
            self.pick(&collections, &elements, row, &mut picked);
            if picked.rows.len() >= ROWS || row + 1 == n_rows {
                let some = std::mem::take(&mut picked);
                let unnested = self.unnest(&batch, &elements, some, begin..row as u32 + 1)?;
                if unnested.num_rows() > 0 {
                    output.emit(unnested)?;
                }
                begin = row as u32 + 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
