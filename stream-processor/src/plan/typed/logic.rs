//! AND and OR that ask their right side only for the rows that the left side has not decided, as Flink's generated code
//! does: `x <> 0 AND 100 / x > 5` divides nothing by zero.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{and_kleene, or_kleene};
use datafusion_common::{DataFusionError, Result as DfResult};
use datafusion_expr_common::columnar_value::ColumnarValue;
use datafusion_physical_expr::PhysicalExpr;

/// `left AND right`.
pub(super) fn and(
    left: ColumnarValue,
    right: &dyn PhysicalExpr,
    batch: &RecordBatch,
) -> DfResult<BooleanArray> {
    let left = booleans(left, batch)?;
    let undecided = or_unknown(left.values().clone(), &left);
    let right = right.evaluate_selection(batch, &undecided)?;
    Ok(and_kleene(&left, &booleans(right, batch)?)?)
}

/// `left OR right`.
pub(super) fn or(
    left: ColumnarValue,
    right: &dyn PhysicalExpr,
    batch: &RecordBatch,
) -> DfResult<BooleanArray> {
    let left = booleans(left, batch)?;
    let undecided = or_unknown(!left.values(), &left);
    let right = right.evaluate_selection(batch, &undecided)?;
    Ok(or_kleene(&left, &booleans(right, batch)?)?)
}

/// `open`, and where `side` is NULL.
fn or_unknown(open: BooleanBuffer, side: &BooleanArray) -> BooleanArray {
    let open = match side.nulls() {
        Some(nulls) => &open | &!nulls.inner(),
        None => open,
    };
    BooleanArray::new(open, None)
}

fn booleans(side: ColumnarValue, batch: &RecordBatch) -> DfResult<BooleanArray> {
    let side = side.into_array(batch.num_rows())?;
    side.as_boolean_opt()
        .cloned()
        .ok_or_else(|| DataFusionError::Internal("a side of AND or OR was no BOOLEAN".to_owned()))
}
