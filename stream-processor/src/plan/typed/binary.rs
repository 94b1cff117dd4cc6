//! Comparisons and logic that DataFusion's own expression does in another way than Java: see [`super::float`] and
//! [`super::logic`].

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use datafusion_common::{DataFusionError, Result as DfResult};
use datafusion_expr_common::columnar_value::ColumnarValue;
use datafusion_expr_common::operator::Operator;
use datafusion_physical_expr::PhysicalExpr;

use super::{float, logic};

/// `left op right`: AND or OR, or a comparison of FLOAT or DOUBLE.
#[derive(Debug, Clone)]
pub(super) struct Binary {
    pub(super) op: Operator,
    pub(super) left: Arc<dyn PhysicalExpr>,
    pub(super) right: Arc<dyn PhysicalExpr>,
}

impl PartialEq for Binary {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.left.eq(&other.left) && self.right.eq(&other.right)
    }
}

impl Eq for Binary {}

impl Hash for Binary {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.op.hash(state);
        self.left.hash(state);
        self.right.hash(state);
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "({} {} {})", self.left, self.op, self.right)
    }
}

impl PhysicalExpr for Binary {
    fn data_type(&self, _: &Schema) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, _: &Schema) -> DfResult<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> DfResult<ColumnarValue> {
        let left = self.left.evaluate(batch)?;
        let result = match self.op {
            Operator::And => logic::and(left, &*self.right, batch)?,
            Operator::Or => logic::or(left, &*self.right, batch)?,
            op => float::compare(op, left, self.right.evaluate(batch)?, batch.num_rows())?,
        };
        Ok(ColumnarValue::Array(Arc::new(result)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.left, &self.right]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> DfResult<Arc<dyn PhysicalExpr>> {
        let [left, right] = <[_; 2]>::try_from(children)
            .map_err(|_| DataFusionError::Internal(format!("{self} has two sides")))?;
        Ok(Arc::new(Binary {
            op: self.op,
            left,
            right,
        }))
    }

    fn fmt_sql(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}
