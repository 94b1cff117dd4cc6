//! Comparisons of FLOAT and DOUBLE as Java makes them: NaN equals nothing and is in no order, the two zeros are one.
//!
//! Arrow's kernels order the bits instead, where NaN is greater than every number.

use std::cmp::Ordering;

use arrow::array::{Array, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion_common::{DataFusionError, Result as DfResult};
use datafusion_expr_common::columnar_value::ColumnarValue;
use datafusion_expr_common::operator::Operator;

use crate::table::{SqlType, TypeRoot};

/// Whether `op` compares values of type `ty` here.
pub(super) fn compares(op: Operator, ty: &SqlType) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(ty.root, TypeRoot::Float | TypeRoot::Double)
        && matches!(
            op,
            Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
        )
}

/// `left op right` for sides of one type.
pub(super) fn compare(
    op: Operator,
    left: ColumnarValue,
    right: ColumnarValue,
    n_rows: usize,
) -> DfResult<BooleanArray> {
    if left.data_type() == DataType::Float32 {
        let (left, right) = (Side::of(left, n_rows)?, Side::of(right, n_rows)?);
        compare_sides::<Float32Type>(op, &left, &right, n_rows)
    } else {
        let (left, right) = (Side::of(left, n_rows)?, Side::of(right, n_rows)?);
        compare_sides::<Float64Type>(op, &left, &right, n_rows)
    }
}

/// `Double.compareTo`: NaN is the greatest, whatever its sign, and -0.0 less than 0.0.
pub(crate) fn compare_boxed(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(&b),
        (a, b) => a.cmp(&b),
    }
}

/// The values of a side; a constant is not spread over the rows.
enum Side<T: ArrowPrimitiveType> {
    Column(PrimitiveArray<T>),
    Constant(T::Native),
}

impl<T: ArrowPrimitiveType> Side<T> {
    fn of(value: ColumnarValue, n_rows: usize) -> DfResult<Self> {
        match value {
            ColumnarValue::Scalar(scalar) if !scalar.is_null() => {
                let one = scalar.to_array()?;
                Ok(Side::Constant(one.as_primitive::<T>().value(0)))
            }
            other => {
                let array = other.into_array(n_rows)?;
                Ok(Side::Column(array.as_primitive::<T>().clone()))
            }
        }
    }

    fn nulls(&self) -> Option<&NullBuffer> {
        match self {
            Side::Column(values) => values.nulls(),
            Side::Constant(_) => None,
        }
    }
}

fn each<T: ArrowPrimitiveType>(
    left: &Side<T>,
    right: &Side<T>,
    n_rows: usize,
    test: impl Fn(T::Native, T::Native) -> bool,
) -> BooleanBuffer {
    match (left, right) {
        (Side::Column(a), Side::Column(b)) => {
            let (a, b) = (&a.values()[..n_rows], &b.values()[..n_rows]);
            BooleanBuffer::collect_bool(n_rows, |row| test(a[row], b[row]))
        }
        (Side::Column(a), Side::Constant(b)) => {
            let a = &a.values()[..n_rows];
            BooleanBuffer::collect_bool(n_rows, |row| test(a[row], *b))
        }
        (Side::Constant(a), Side::Column(b)) => {
            let b = &b.values()[..n_rows];
            BooleanBuffer::collect_bool(n_rows, |row| test(*a, b[row]))
        }
        (Side::Constant(a), Side::Constant(b)) => {
            let same = test(*a, *b);
            BooleanBuffer::collect_bool(n_rows, |_| same)
        }
    }
}

fn compare_sides<T: ArrowPrimitiveType>(
    op: Operator,
    left: &Side<T>,
    right: &Side<T>,
    n_rows: usize,
) -> DfResult<BooleanArray> {
    let bits = match op {
        Operator::Eq => each(left, right, n_rows, |a, b| a == b),
        Operator::NotEq => each(left, right, n_rows, |a, b| a != b),
        Operator::Lt => each(left, right, n_rows, |a, b| a < b),
        Operator::LtEq => each(left, right, n_rows, |a, b| a <= b),
        Operator::Gt => each(left, right, n_rows, |a, b| a > b),
        Operator::GtEq => each(left, right, n_rows, |a, b| a >= b),
        Operator::IsDistinctFrom => {
            return Ok(BooleanArray::new(!&same(left, right, n_rows), None));
        }
        Operator::IsNotDistinctFrom => {
            return Ok(BooleanArray::new(same(left, right, n_rows), None));
        }
        other => {
            return Err(DataFusionError::Internal(format!(
                "{other} compares nothing"
            )));
        }
    };
    let nulls = NullBuffer::union(left.nulls(), right.nulls());
    Ok(BooleanArray::new(bits, nulls))
}

/// Where both sides are NULL, or neither is and they are equal.
fn same<T: ArrowPrimitiveType>(left: &Side<T>, right: &Side<T>, n_rows: usize) -> BooleanBuffer {
    let equal = each(left, right, n_rows, |a, b| a == b);
    let valid = |side: &Side<T>| {
        let nulls = side.nulls().map(|nulls| nulls.inner().clone());
        nulls.unwrap_or_else(|| BooleanBuffer::new_set(n_rows))
    };
    let (left, right) = (valid(left), valid(right));
    let (both, either) = (&left & &right, &left | &right);
    &(&both & &equal) | &!&either
}

#[cfg(test)]
mod tests {
    //! What Java's operators say of NaN and the zeros.

    use super::{Side, compare_boxed, compare_sides};
    use arrow::array::{Array, Float64Array};
    use arrow::datatypes::Float64Type;
    use datafusion_expr_common::operator::Operator;
    use std::cmp::Ordering;

    fn column(values: &[Option<f64>]) -> Side<Float64Type> {
        Side::Column(Float64Array::from(values.to_vec()))
    }

    fn results(op: Operator, left: &Side<Float64Type>, right: &Side<Float64Type>) -> Vec<String> {
        let found = compare_sides(op, left, right, 5).unwrap();
        let text = |row| match found.is_null(row) {
            true => "null".to_owned(),
            false => found.value(row).to_string(),
        };
        (0..5).map(text).collect()
    }

    #[test]
    fn nan_is_in_no_order_and_the_zeros_are_equal() {
        let values = column(&[Some(f64::NAN), Some(-f64::NAN), Some(-0.0), Some(1.0), None]);
        let zero = Side::Constant(0.0);
        let rows = |op| results(op, &values, &zero).join(" ");
        assert_eq!(rows(Operator::Gt), "false false false true null");
        assert_eq!(rows(Operator::GtEq), "false false true true null");
        assert_eq!(rows(Operator::Lt), "false false false false null");
        assert_eq!(rows(Operator::LtEq), "false false true false null");
        assert_eq!(rows(Operator::Eq), "false false true false null");
        assert_eq!(rows(Operator::NotEq), "true true false true null");
        assert_eq!(
            results(Operator::Lt, &zero, &values).join(" "),
            "false false false true null"
        );
    }

    #[test]
    fn distinct_is_never_null() {
        let left = column(&[Some(f64::NAN), Some(0.0), None, None, Some(1.0)]);
        let right = column(&[Some(f64::NAN), Some(-0.0), None, Some(0.0), None]);
        assert_eq!(
            results(Operator::IsNotDistinctFrom, &left, &right).join(" "),
            "false true true false false"
        );
        assert_eq!(
            results(Operator::IsDistinctFrom, &left, &right).join(" "),
            "true false false true true"
        );
    }

    #[test]
    fn boxed_values_have_an_order() {
        assert_eq!(compare_boxed(-f64::NAN, f64::INFINITY), Ordering::Greater);
        assert_eq!(compare_boxed(f64::NAN, -f64::NAN), Ordering::Equal);
        assert_eq!(compare_boxed(-0.0, 0.0), Ordering::Less);
    }
}
