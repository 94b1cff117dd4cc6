//! `+ - * / %` with Flink's wrapping, rounding and failing.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array};
use arrow::compute::cast;
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use chrono_tz::Tz;
use datafusion_common::Result as DfResult;

use super::{cast as casts, decimal, failed};
use crate::error::{Error, Position};
use crate::plan::coerce::{self, as_decimal, is_integer};
use crate::plan::typed::{Kernel, Typed};
use crate::sql::ast::BinaryOp;
use crate::table::{SqlType, TypeRoot};

/// `left op right` for numbers; `None` if one side is none.
pub(crate) fn arithmetic(
    op: BinaryOp,
    left: Typed,
    right: Typed,
    at: Position,
) -> Result<Option<Typed>, Error> {
    let Some(ty) = coerce::arithmetic(op, &left.ty, &right.ty) else {
        return Ok(None);
    };
    let nullable = ty.nullable || matches!(ty.root, TypeRoot::Decimal(..));
    let ty = ty.with_nullable(nullable);
    if let TypeRoot::Decimal(precision, scale) = ty.root {
        let (Some(a), Some(b)) = (as_decimal(&left.ty.root), as_decimal(&right.ty.root)) else {
            return Ok(None);
        };
        let left = to_decimal(left, a, at)?;
        let right = to_decimal(right, b, at)?;
        let result = (precision, scale);
        let kernel = Kernel::new(
            format!("{op:?}[{a:?},{b:?}->{result:?}]"),
            move |args, _| decimals(op, &args[0], a.1, &args[1], b.1, result),
        );
        return Typed::call(kernel, vec![left, right], ty).fold().map(Some);
    }
    // Integers are computed at the width of the wider side, then brought to the result's.
    let wide = if is_integer(&ty.root) {
        coerce::common(&left.ty, &right.ty).unwrap_or_else(|| ty.clone())
    } else {
        ty.clone()
    };
    // Numbers have no zone.
    let left = coerce::to(left, &wide, Tz::UTC)?;
    let right = coerce::to(right, &wide, Tz::UTC)?;
    let (from, to) = (wide.root.clone(), ty.root.clone());
    let kernel = Kernel::new(format!("{op:?}[{wide}->{ty}]"), move |args, _| {
        let result = plain(op, &args[0], &args[1], is_integer(&from))?;
        if from == to {
            return Ok(result);
        }
        casts::numeric(&result, &from, &to)
    });
    Typed::call(kernel, vec![left, right], ty).fold().map(Some)
}

fn to_decimal(expr: Typed, (precision, scale): (u8, i8), at: Position) -> Result<Typed, Error> {
    let ty = SqlType {
        root: TypeRoot::Decimal(precision, scale),
        nullable: expr.ty.nullable,
    };
    casts::explicit(expr, &ty, false, Tz::UTC, at)
}

fn plain(op: BinaryOp, left: &ArrayRef, right: &ArrayRef, integers: bool) -> DfResult<ArrayRef> {
    Ok(match op {
        BinaryOp::Plus => numeric::add_wrapping(left, right)?,
        BinaryOp::Minus => numeric::sub_wrapping(left, right)?,
        BinaryOp::Multiply => numeric::mul_wrapping(left, right)?,
        _ if integers => {
            let data_type = left.data_type().clone();
            let left = cast(left, &DataType::Int64)?;
            let right = cast(right, &DataType::Int64)?;
            let (left, right) = (
                left.as_primitive::<Int64Type>(),
                right.as_primitive::<Int64Type>(),
            );
            let mut values = Vec::with_capacity(left.len());
            for (left, right) in left.iter().zip(right) {
                values.push(match (left, right) {
                    (Some(_), Some(0)) => return Err(failed("/ by zero")),
                    (Some(left), Some(right)) if op == BinaryOp::Divide => {
                        Some(left.wrapping_div(right))
                    }
                    (Some(left), Some(right)) => Some(left.wrapping_rem(right)),
                    _ => None,
                });
            }
            let values: ArrayRef = Arc::new(Int64Array::from(values));
            // INT_MIN / -1 wraps at its own width.
            let root = match data_type {
                DataType::Int8 => TypeRoot::TinyInt,
                DataType::Int16 => TypeRoot::SmallInt,
                DataType::Int32 => TypeRoot::Int,
                _ => TypeRoot::BigInt,
            };
            casts::numeric(&values, &TypeRoot::BigInt, &root)?
        }
        BinaryOp::Divide => numeric::div(left, right)?,
        _ => numeric::rem(left, right)?,
    })
}

fn decimals(
    op: BinaryOp,
    left: &ArrayRef,
    left_scale: i8,
    right: &ArrayRef,
    right_scale: i8,
    result: (u8, i8),
) -> DfResult<ArrayRef> {
    let left = left.as_primitive::<Decimal128Type>();
    let right = right.as_primitive::<Decimal128Type>();
    let mut values = Vec::with_capacity(left.len());
    for (left, right) in left.iter().zip(right) {
        let (Some(left), Some(right)) = (left, right) else {
            values.push(None);
            continue;
        };
        let (a, b) = ((left, left_scale), (right, right_scale));
        values.push(match op {
            BinaryOp::Plus => decimal::add(a, b, false, result),
            BinaryOp::Minus => decimal::add(a, b, true, result),
            BinaryOp::Multiply => decimal::multiply(a, b, result),
            _ if right == 0 => return Err(failed("Division by zero")),
            BinaryOp::Divide => decimal::divide(a, b, result),
            _ => remainder(a, b, result),
        });
    }
    let values = Decimal128Array::from(values).with_precision_and_scale(result.0, result.1)?;
    Ok(Arc::new(values))
}

fn remainder(
    (left, s1): (i128, i8),
    (right, s2): (i128, i8),
    (precision, scale): (u8, i8),
) -> Option<i128> {
    let common = s1.max(s2);
    let left = decimal::rescale(left, s1, 38, common)?;
    let right = decimal::rescale(right, s2, 38, common)?;
    decimal::rescale(left % right, common, precision, scale)
}

/// `-expr`.
pub(crate) fn negate(expr: Typed, at: Position) -> Result<Typed, Error> {
    if !coerce::is_numeric(&expr.ty.root) {
        return Err(Error::validation(format!("no - before {}", expr.ty), at));
    }
    let ty = expr.ty.clone();
    let kernel = Kernel::new("-", |args, _| Ok(numeric::neg_wrapping(&args[0])?));
    Typed::call(kernel, vec![expr], ty).fold()
}
