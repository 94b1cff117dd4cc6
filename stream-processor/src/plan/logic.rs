//! AND and OR that ask their right side only for the rows that the left side has not decided, as Flink's generated code
//! does: `x <> 0 AND 100 / x > 5` divides nothing by zero.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{and_kleene, or_kleene};
use arrow::datatypes::{DataType, Schema};
use datafusion_common::{DataFusionError, Result as DfResult};
use datafusion_expr_common::columnar_value::ColumnarValue;
use datafusion_physical_expr::PhysicalExpr;

/// `left AND right`, or `left OR right`, of a right side that may fail.
#[derive(Debug, Clone)]
pub(super) struct LazyRight {
    pub(super) left: Arc<dyn PhysicalExpr>,
    pub(super) right: Arc<dyn PhysicalExpr>,
    pub(super) is_or: bool,
}

impl LazyRight {
    /// The rows of which the left side alone does not say what comes out.
    fn undecided(&self, left: &BooleanArray) -> BooleanArray {
        let open = if self.is_or {
            !left.values()
        } else {
            left.values().clone()
        };
        let open = match left.nulls() {
            Some(nulls) => &open | &!nulls.inner(),
            None => open,
        };
        BooleanArray::new(open, None)
    }
}

impl PartialEq for LazyRight {
    fn eq(&self, other: &Self) -> bool {
        self.is_or == other.is_or && self.left.eq(&other.left) && self.right.eq(&other.right)
    }
}

impl Eq for LazyRight {}

impl Hash for LazyRight {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.is_or.hash(state);
        self.left.hash(state);
        self.right.hash(state);
    }
}

impl fmt::Display for LazyRight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = if self.is_or { "OR" } else { "AND" };
        write!(formatter, "({} {operator} {})", self.left, self.right)
    }
}

impl PhysicalExpr for LazyRight {
    fn data_type(&self, _: &Schema) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, _: &Schema) -> DfResult<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> DfResult<ColumnarValue> {
        let n_rows = batch.num_rows();
        let left = self.left.evaluate(batch)?.into_array(n_rows)?;
        let left = left.as_boolean_opt().ok_or_else(no_boolean)?;
        let undecided = self.undecided(left);
        let right = self.right.evaluate_selection(batch, &undecided)?;
        let right = right.into_array(n_rows)?;
        let right = right.as_boolean_opt().ok_or_else(no_boolean)?;
        let both = if self.is_or {
            or_kleene(left, right)?
        } else {
            and_kleene(left, right)?
        };
        Ok(ColumnarValue::Array(Arc::new(both)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.left, &self.right]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> DfResult<Arc<dyn PhysicalExpr>> {
        let [left, right] = <[_; 2]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("AND and OR have two sides".to_owned()))?;
        Ok(Arc::new(LazyRight {
            left,
            right,
            is_or: self.is_or,
        }))
    }

    fn fmt_sql(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

fn no_boolean() -> DataFusionError {
    DataFusionError::Internal("a side of AND or OR was no BOOLEAN".to_owned())
}
