//! Functions that take a lambda, with a bound on how many elements are looked at in one go.
//!
//! DataFusion lays the elements of all rows side by side, so nested lambdas multiply what is in memory without anyone
//! counting it. Past the bound the query fails as one that needs too much memory does.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_nested as nested;
use datafusion::logical_expr::{
    ColumnarValue, HigherOrderFunctionArgs, HigherOrderReturnFieldArgs, HigherOrderSignature,
    HigherOrderUDF, HigherOrderUDFImpl, LambdaParametersProgress, ValueOrLambda,
};

use super::kernel::{MAX_RESULT, too_large};

/// What one element costs at least: the bound on elements is that on bytes, divided by this.
const ELEMENT: usize = 8;

/// One of DataFusion's functions, within the bound.
#[derive(Debug)]
struct Bounded {
    inner: Arc<dyn HigherOrderUDFImpl>,
}

/// `transform`: a list of what the lambda makes of each element.
pub(super) fn transform() -> Arc<HigherOrderUDF> {
    bounded(&nested::array_transform::array_transform_higher_order_function())
}

/// `filter`: the elements for which the lambda is true.
pub(super) fn filter() -> Arc<HigherOrderUDF> {
    bounded(&nested::array_filter::array_filter_higher_order_function())
}

fn bounded(function: &HigherOrderUDF) -> Arc<HigherOrderUDF> {
    Arc::new(HigherOrderUDF::new_from_impl(Bounded {
        inner: Arc::clone(function.inner()),
    }))
}

/// How many elements a list has in `n_rows` rows.
fn n_elements(list: &ColumnarValue, n_rows: usize) -> usize {
    match list {
        ColumnarValue::Array(array) => array
            .as_list_opt::<i32>()
            .map_or(0, |lists| lists.values().len()),
        ColumnarValue::Scalar(ScalarValue::List(list)) => {
            list.values().len().saturating_mul(n_rows)
        }
        ColumnarValue::Scalar(_) => 0,
    }
}

// === impl Bounded ===

impl PartialEq for Bounded {
    fn eq(&self, other: &Bounded) -> bool {
        *self.inner == *other.inner
    }
}

impl Eq for Bounded {}

impl Hash for Bounded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl HigherOrderUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &HigherOrderSignature {
        self.inner.signature()
    }

    fn coerce_value_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_value_types(types)
    }

    fn lambda_parameters(
        &self,
        step: usize,
        fields: &[ValueOrLambda<FieldRef, Option<FieldRef>>],
    ) -> Result<LambdaParametersProgress> {
        self.inner.lambda_parameters(step, fields)
    }

    fn return_field_from_args(&self, args: HigherOrderReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn clear_null_values(&self) -> bool {
        self.inner.clear_null_values()
    }

    fn invoke_with_args(&self, args: HigherOrderFunctionArgs) -> Result<ColumnarValue> {
        if let Some(ValueOrLambda::Value(list)) = args.args.first()
            && n_elements(list, args.number_rows) > MAX_RESULT / ELEMENT
        {
            return Err(too_large().into());
        }
        self.inner.invoke_with_args(args)
    }
}
