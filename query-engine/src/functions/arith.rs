//! Integer and decimal arithmetic that fails where Trino fails, with Trino's result types.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, ArrowPrimitiveType, Decimal128Array, PrimitiveArray};
use datafusion::arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Decimal128Type, DurationMillisecondType, Int8Type, Int16Type,
    Int32Type, Int64Type, IntervalYearMonthType, i256,
};
use datafusion::logical_expr::Expr;

use super::kernel::{Args, Kernel, OnFailure, Run, done};
use crate::failure::{Code, Failure, Result};
use crate::sql::analyze::Typed;
use crate::sql::ast::Arith;
use crate::types::Type;

pub(crate) fn overflow(message: &str) -> Failure {
    Failure::new(Code::NumericValueOutOfRange, message)
}

pub(crate) fn division_by_zero() -> Failure {
    Failure::new(Code::DivisionByZero, "Division by zero")
}

fn word(op: Arith) -> &'static str {
    match op {
        Arith::Add => "addition",
        Arith::Subtract => "subtraction",
        Arith::Multiply => "multiplication",
        Arith::Divide => "division",
        Arith::Modulus => "modulus",
    }
}

/// `a op b` on two integers of type `ty`.
pub(crate) fn integers(
    op: Arith,
    left: Expr,
    right: Expr,
    ty: &Type,
    on_failure: OnFailure,
) -> Expr {
    let run: Run = match ty {
        Type::Tinyint => integer_run::<Int8Type>(op, "tinyint"),
        Type::Smallint => integer_run::<Int16Type>(op, "smallint"),
        Type::Integer => integer_run::<Int32Type>(op, "integer"),
        _ => integer_run::<Int64Type>(op, "bigint"),
    };
    Kernel::call(
        op.symbol(),
        ty.to_string(),
        ty.arrow(),
        on_failure,
        vec![left, right],
        run,
    )
}

fn integer_run<T: ArrowPrimitiveType>(op: Arith, name: &'static str) -> Run
where
    T::Native: ArrowNativeTypeOp + std::fmt::Display,
{
    let step = move |a: T::Native, b: T::Native| -> Result<T::Native> {
        let result = match op {
            Arith::Add => a.add_checked(b),
            Arith::Subtract => a.sub_checked(b),
            Arith::Multiply => a.mul_checked(b),
            Arith::Divide | Arith::Modulus if b.is_zero() => return Err(division_by_zero()),
            Arith::Divide => a.div_checked(b),
            Arith::Modulus => return Ok(a.mod_wrapping(b)),
        };
        result.map_err(|_| {
            overflow(&format!(
                "{name} {} overflow: {a} {} {b}",
                word(op),
                op.symbol()
            ))
        })
    };
    Arc::new(move |args: &Args| binary::<T, T, T>(args, step))
}

/// Applies a fallible step to each pair that has no NULL.
fn binary<A: ArrowPrimitiveType, B: ArrowPrimitiveType, R: ArrowPrimitiveType>(
    args: &Args,
    step: impl Fn(A::Native, B::Native) -> Result<R::Native>,
) -> Result<ArrayRef> {
    let rows = (0..args.rows).map(|row| {
        match (args.primitive::<A>(0, row), args.primitive::<B>(1, row)) {
            (Some(a), Some(b)) => step(a, b).map(Some),
            _ => Ok(None),
        }
    });
    done(rows.collect::<Result<PrimitiveArray<R>>>()?)
}

/// The largest magnitude with `precision` digits, plus one.
pub(crate) fn power_of_ten(precision: u8) -> i128 {
    10_i128.pow(u32::from(precision.min(38)))
}

pub(crate) fn fits(value: i128, precision: u8) -> bool {
    value.unsigned_abs() < power_of_ten(precision).unsigned_abs()
}

/// Division rounded half away from zero.
pub(crate) fn div_half_up(value: i128, by: i128) -> i128 {
    let (quotient, rest) = (value / by, value % by);
    if rest.unsigned_abs() >= by.unsigned_abs() - rest.unsigned_abs() {
        quotient + if (value < 0) == (by < 0) { 1 } else { -1 }
    } else {
        quotient
    }
}

/// The same value at another scale, rounded half up.
pub(crate) fn rescaled(value: i128, from: i8, to: i8) -> Option<i128> {
    let steps = u8::try_from((i16::from(to) - i16::from(from)).unsigned_abs()).ok()?;
    if to >= from {
        value.checked_mul(power_of_ten(steps))
    } else {
        Some(div_half_up(value, power_of_ten(steps)))
    }
}

/// Trino's result type of decimal arithmetic.
fn decimal_type(op: Arith, (p1, s1): (u8, i8), (p2, s2): (u8, i8)) -> Result<(u8, i8)> {
    let (p1, s1, p2, s2) = (i16::from(p1), i16::from(s1), i16::from(p2), i16::from(s2));
    let (precision, scale) = match op {
        Arith::Add | Arith::Subtract => ((p1 - s1).max(p2 - s2) + s1.max(s2) + 1, s1.max(s2)),
        Arith::Multiply => (p1 + p2, s1 + s2),
        Arith::Divide => (p1 + s2 + (s2 - s1).max(0), s1.max(s2)),
        Arith::Modulus => ((p2 - s2).min(p1 - s1) + s1.max(s2), s1.max(s2)),
    };
    if scale > 38 {
        return Err(Failure::new(
            Code::InvalidFunctionArgument,
            format!("DECIMAL scale must be in range [0, precision (38)]: {scale}"),
        ));
    }
    let bad = |_| Failure::new(Code::GenericInternalError, "decimal type out of range");
    Ok((
        u8::try_from(precision.clamp(1, 38)).map_err(bad)?,
        i8::try_from(scale).map_err(bad)?,
    ))
}

/// `a op b` on two decimals.
pub(crate) fn decimals(
    op: Arith,
    left: Typed,
    right: Typed,
    on_failure: OnFailure,
) -> Result<Typed> {
    let (Some(a), Some(b)) = (left.ty.as_decimal(), right.ty.as_decimal()) else {
        return Err(Failure::new(
            Code::GenericInternalError,
            "decimal arithmetic on another type",
        ));
    };
    let (precision, scale) = decimal_type(op, a, b)?;
    let (s1, s2) = (a.1, b.1);
    let ty = Type::Decimal(precision, scale);
    let shape = ty.arrow();
    let result = shape.clone();
    let run = move |args: &Args| {
        let rows = (0..args.rows).map(|row| {
            match (
                args.primitive::<Decimal128Type>(0, row),
                args.primitive::<Decimal128Type>(1, row),
            ) {
                (Some(a), Some(b)) => decimal_step(op, (a, s1), (b, s2), scale).map(Some),
                _ => Ok(None),
            }
        });
        done(
            rows.collect::<Result<Decimal128Array>>()?
                .with_data_type(result.clone()),
        )
    };
    let key = format!("{}{}", left.ty, right.ty);
    let expr = Kernel::call(
        op.symbol(),
        key,
        shape,
        on_failure,
        vec![left.expr, right.expr],
        Arc::new(run),
    );
    Ok(Typed::new(expr, ty))
}

fn decimal_step(op: Arith, (a, s1): (i128, i8), (b, s2): (i128, i8), scale: i8) -> Result<i128> {
    let wide = |value: i128, steps: i16| i256::from_i128(value).checked_mul(ten(steps));
    let align = |value: i128, from: i8| wide(value, i16::from(scale) - i16::from(from));
    let result = match op {
        Arith::Add => align(a, s1)
            .zip(align(b, s2))
            .and_then(|(a, b)| a.checked_add(b)),
        Arith::Subtract => align(a, s1)
            .zip(align(b, s2))
            .and_then(|(a, b)| a.checked_sub(b)),
        Arith::Multiply => i256::from_i128(a).checked_mul(i256::from_i128(b)),
        Arith::Divide | Arith::Modulus if b == 0 => return Err(division_by_zero()),
        // a/10^s1 / (b/10^s2), in units of 10^-scale.
        Arith::Divide => wide(a, i16::from(scale) + i16::from(s2) - i16::from(s1))
            .and_then(|a| half_up(a, i256::from_i128(b))),
        Arith::Modulus => align(a, s1)
            .zip(align(b, s2))
            .and_then(|(a, b)| a.checked_rem(b)),
    };
    let result = result
        .and_then(i256::to_i128)
        .filter(|value| fits(*value, 38));
    result.ok_or_else(|| overflow("Decimal overflow"))
}

fn ten(steps: i16) -> i256 {
    (0..steps.max(0)).fold(i256::ONE, |product, _| {
        product.wrapping_mul(i256::from_i128(10))
    })
}

fn half_up(value: i256, by: i256) -> Option<i256> {
    let (quotient, rest) = (value.checked_div(by)?, value.checked_rem(by)?);
    let twice = rest.checked_abs()?.checked_mul(i256::from_i128(2))?;
    if twice < by.checked_abs()? {
        return Some(quotient);
    }
    let one = if (value < i256::ZERO) == (by < i256::ZERO) {
        i256::ONE
    } else {
        i256::MINUS_ONE
    };
    quotient.checked_add(one)
}

/// `-x`.
pub(crate) fn negate(value: Typed, on_failure: OnFailure) -> Option<Typed> {
    let ty = value.ty.clone();
    let run: Run = match &ty {
        Type::Tinyint => negate_run::<Int8Type>("tinyint", &ty),
        Type::Smallint => negate_run::<Int16Type>("smallint", &ty),
        Type::Integer => negate_run::<Int32Type>("integer", &ty),
        Type::Bigint => negate_run::<Int64Type>("bigint", &ty),
        Type::Decimal(..) => negate_run::<Decimal128Type>("decimal", &ty),
        Type::DayTime => negate_run::<DurationMillisecondType>("interval", &ty),
        Type::YearMonth => negate_run::<IntervalYearMonthType>("interval", &ty),
        Type::Real | Type::Double => {
            return Some(Typed::new(Expr::Negative(Box::new(value.expr)), ty));
        }
        _ => return None,
    };
    if let Expr::Literal(scalar, _) = &value.expr
        && let Ok(negative) = scalar.arithmetic_negate()
    {
        return Some(Typed::literal(negative, ty));
    }
    Some(Typed::new(
        Kernel::call(
            "negate",
            ty.to_string(),
            ty.arrow(),
            on_failure,
            vec![value.expr],
            run,
        ),
        ty,
    ))
}

fn negate_run<T: ArrowPrimitiveType>(name: &'static str, ty: &Type) -> Run
where
    T::Native: ArrowNativeTypeOp + std::fmt::Display,
{
    let shape: DataType = ty.arrow();
    Arc::new(move |args: &Args| {
        let rows = (0..args.rows).map(|row| {
            let value = args.primitive::<T>(0, row);
            value
                .map(|value| {
                    value
                        .neg_checked()
                        .map_err(|_| overflow(&format!("{name} negation overflow: {value}")))
                })
                .transpose()
        });
        done(
            rows.collect::<Result<PrimitiveArray<T>>>()?
                .with_data_type(shape.clone()),
        )
    })
}
