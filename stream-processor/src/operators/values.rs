//! VALUES: rows that stand in the query itself.
//!
//! A source of row numbers says how far they have been read; here each number becomes its row. Their expressions are
//! evaluated when the row comes, so that one that fails does so in the running job, as in Flink.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::concat;
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;

use super::calc::evaluate;
use super::keys::{batch_of, failed};
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{Operator, Output, Subtask};

/// Makes instances.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    /// Expressions over the row number, row by row.
    pub(crate) rows: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    pub(crate) output: SchemaRef,
}

impl OperatorFactory for Values {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        Ok(Box::new(self.clone()))
    }
}

impl Operator for Values {
    fn on_batch(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        let numbers = batch.rows.column(0).as_primitive_opt::<Int64Type>();
        let numbers = numbers.ok_or_else(|| Error::failed("VALUES without row numbers"))?;
        let mut columns: Vec<Vec<ArrayRef>> = vec![Vec::new(); self.output.fields().len()];
        for at in 0..batch.num_rows() {
            let number = usize::try_from(numbers.value(at)).ok();
            let row = number
                .and_then(|number| self.rows.get(number))
                .ok_or_else(|| Error::failed("VALUES has no such row"))?;
            let one = batch.rows.slice(at, 1);
            for (column, expr) in columns.iter_mut().zip(row) {
                column.push(evaluate(expr, &one)?);
            }
        }
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let columns = columns.iter().map(|values| {
            let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
            concat(&values).map_err(failed)
        });
        let rows = batch_of(&self.output, columns.collect::<Result<_, _>>()?)?;
        output.emit(ChangeBatch::inserts(rows))
    }
}
