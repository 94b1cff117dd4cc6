//! Functions of numbers.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};

use super::Kind::Double;
use super::{Invocation, by_row, cast as casts, decimal, failed};
use crate::error::Error;
use crate::plan::coerce::{is_integer, is_numeric};
use crate::plan::typed::{Kernel, Typed};
use crate::sql::ast::BinaryOp;
use crate::table::{SqlType, TypeRoot};

pub(super) const NAMES: &[&str] = &[
    "ABS", "MOD", "FLOOR", "CEIL", "CEILING", "ROUND", "TRUNCATE", "SIGN", "POWER", "SQRT", "EXP",
    "LN", "LOG", "LOG10", "LOG2", "SIN", "COS", "TAN", "COT", "ASIN", "ACOS", "ATAN", "ATAN2",
    "SINH", "COSH", "TANH", "DEGREES", "RADIANS", "PI", "E",
];

pub(super) fn resolve(call: &mut Invocation<'_>) -> Result<Option<Typed>, Error> {
    let plain: fn(f64) -> f64 = match call.name {
        "ABS" | "SIGN" => return shape_keeping(call).map(Some),
        "FLOOR" | "CEIL" | "CEILING" if call.unit.is_none() => {
            return shape_keeping(call).map(Some);
        }
        "ROUND" => return round(call, Rounding::HalfUp).map(Some),
        "TRUNCATE" => return round(call, Rounding::Down).map(Some),
        "MOD" => return modulo(call).map(Some),
        "POWER" => {
            call.arity(2..=2)?;
            return by_row(call, &[Double], |cells, row| {
                Some(cells[0].double(row).powf(cells[1].double(row)))
            })
            .map(Some);
        }
        "ATAN2" => {
            call.arity(2..=2)?;
            return by_row(call, &[Double], |cells, row| {
                Some(cells[0].double(row).atan2(cells[1].double(row)))
            })
            .map(Some);
        }
        "LOG" if call.args.len() == 2 => {
            let nullable = call.nullable();
            let typed = by_row(call, &[Double], |cells, row| {
                Some(cells[1].double(row).ln() / cells[0].double(row).ln())
            })?;
            let ty = typed.ty.with_nullable(nullable);
            return Ok(Some(Typed { ty, ..typed }));
        }
        "PI" | "E" => {
            call.arity(0..=0)?;
            let value = if call.name == "PI" {
                std::f64::consts::PI
            } else {
                std::f64::consts::E
            };
            return Ok(Some(Typed::literal(
                value.into(),
                SqlType::required(TypeRoot::Double),
            )));
        }
        "SQRT" => f64::sqrt,
        "EXP" => f64::exp,
        "LN" | "LOG" => f64::ln,
        "LOG10" => f64::log10,
        // As Java computes it, which has no such logarithm.
        "LOG2" => |value| value.ln() / std::f64::consts::LN_2,
        "SIN" => f64::sin,
        "COS" => f64::cos,
        "TAN" => f64::tan,
        "COT" => |value| 1.0 / value.tan(),
        "SINH" => f64::sinh,
        "COSH" => f64::cosh,
        "TANH" => f64::tanh,
        "ASIN" => f64::asin,
        "ACOS" => f64::acos,
        "ATAN" => f64::atan,
        "DEGREES" => f64::to_degrees,
        "RADIANS" => f64::to_radians,
        _ => return Ok(None),
    };
    call.arity(1..=1)?;
    let nullable = call.nullable();
    let typed = by_row(call, &[Double], move |cells, row| {
        Some(plain(cells[0].double(row)))
    })?;
    let ty = typed.ty.with_nullable(nullable);
    Ok(Some(Typed { ty, ..typed }))
}

fn modulo(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(2..=2)?;
    let mut args = std::mem::take(&mut call.args).into_iter();
    let (Some(left), Some(right)) = (args.next(), args.next()) else {
        return Err(call.wrong("needs two numbers"));
    };
    super::arithmetic::arithmetic(BinaryOp::Modulo, left, right, call.at)?
        .ok_or_else(|| call.wrong("needs two numbers"))
}

fn number(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    let arg = call.args.remove(0);
    if is_numeric(&arg.ty.root) {
        return Ok(arg);
    }
    Err(call.wrong(format!("needs a number, not {}", arg.ty)))
}

/// ABS, SIGN, FLOOR and CEIL: the result has the argument's type, but for the scale.
fn shape_keeping(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(1..=1)?;
    let arg = number(call)?;
    let name = call.name.to_owned();
    let cuts = !matches!(name.as_str(), "ABS" | "SIGN");
    if cuts && is_integer(&arg.ty.root) {
        return Ok(arg);
    }
    let from = arg.ty.root.clone();
    let root = match (&from, cuts) {
        (TypeRoot::Decimal(precision, _), true) => TypeRoot::Decimal(*precision, 0),
        _ => from.clone(),
    };
    let ty = SqlType {
        root: root.clone(),
        nullable: arg.ty.nullable,
    };
    let kernel = Kernel::new(format!("{name}[{}]", arg.ty), move |args, _| {
        keep(&name, &args[0], &from, &root)
    });
    Typed::call(kernel, vec![arg], ty).fold()
}

fn keep(
    name: &str,
    array: &ArrayRef,
    from: &TypeRoot,
    to: &TypeRoot,
) -> datafusion_common::Result<ArrayRef> {
    if let TypeRoot::Decimal(precision, scale) = *from {
        let unit = 10_i128.pow(u32::from(scale.unsigned_abs()));
        let values = array.as_primitive::<Decimal128Type>();
        let result: Decimal128Array = match name {
            "ABS" => values.unary(i128::abs),
            "SIGN" => values.unary(|value| value.signum() * unit),
            "FLOOR" => values.unary(|value| value.div_euclid(unit)),
            _ => values.unary(|value| -(-value).div_euclid(unit)),
        };
        let scale = if matches!(to, TypeRoot::Decimal(_, 0)) && !matches!(name, "ABS" | "SIGN") {
            0
        } else {
            scale
        };
        return Ok(Arc::new(result.with_precision_and_scale(precision, scale)?));
    }
    if is_integer(from) {
        let values = cast(array, &DataType::Int64)?;
        let values = values.as_primitive::<Int64Type>();
        let result: Int64Array = if name == "ABS" {
            values.unary(i64::wrapping_abs)
        } else {
            values.unary(i64::signum)
        };
        return casts::numeric(&(Arc::new(result) as ArrayRef), &TypeRoot::BigInt, to);
    }
    let values = cast(array, &DataType::Float64)?;
    let values = values.as_primitive::<Float64Type>();
    let result: Float64Array = values.unary(|value| match name {
        "ABS" => value.abs(),
        "FLOOR" => value.floor(),
        "SIGN" if value == 0.0 || value.is_nan() => value,
        "SIGN" => value.signum(),
        _ => value.ceil(),
    });
    Ok(cast(
        &(Arc::new(result) as ArrayRef),
        &SqlType::of(to.clone()).arrow(),
    )?)
}

/// What becomes of the digits that go.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rounding {
    /// ROUND: half away from zero.
    HalfUp,
    /// TRUNCATE: toward zero.
    Down,
}

/// ROUND or TRUNCATE to a literal number of digits.
fn round(call: &mut Invocation<'_>, rounding: Rounding) -> Result<Typed, Error> {
    call.arity(1..=2)?;
    let digits = if call.args.len() == 2 {
        let digits = call.args.remove(1);
        match &digits.kind {
            crate::plan::typed::TypedKind::Literal(value) => {
                match value.cast_to(&DataType::Int64) {
                    Ok(datafusion_common::ScalarValue::Int64(Some(digits))) => {
                        digits.clamp(-38, 38) as i8
                    }
                    _ => return Err(call.wrong("the number of digits must be a whole literal")),
                }
            }
            _ => return Err(call.wrong("the number of digits must be a literal")),
        }
    } else {
        0
    };
    let arg = number(call)?;
    let from = arg.ty.root.clone();
    if rounding == Rounding::Down && matches!(from, TypeRoot::TinyInt | TypeRoot::SmallInt) {
        // Flink fails to compile its own code for these.
        return Err(call.wrong(format!("does not take {}; CAST it to INT", arg.ty)));
    }
    let root = match from {
        TypeRoot::Decimal(precision, scale) if digits < scale => {
            let kept = digits.max(0);
            let precision =
                (i32::from(precision) - i32::from(scale) + i32::from(kept) + 1).clamp(1, 38);
            TypeRoot::Decimal(precision as u8, kept)
        }
        _ => from.clone(),
    };
    let ty = SqlType {
        root: root.clone(),
        nullable: arg.ty.nullable,
    };
    let name = format!("{}[{},{digits}]", call.name, arg.ty);
    let kernel = Kernel::new(name, move |args, _| {
        round_column(&args[0], &from, &root, digits, rounding)
    });
    Typed::call(kernel, vec![arg], ty).fold()
}

fn round_column(
    array: &ArrayRef,
    from: &TypeRoot,
    to: &TypeRoot,
    digits: i8,
    rounding: Rounding,
) -> datafusion_common::Result<ArrayRef> {
    let cut = match rounding {
        Rounding::HalfUp => |value, scale, digits| decimal::rescale(value, scale, 38, digits),
        Rounding::Down => decimal::truncate,
    };
    match (from, to) {
        (TypeRoot::Decimal(_, scale), TypeRoot::Decimal(precision, kept)) => {
            let values: Decimal128Array =
                array.as_primitive::<Decimal128Type>().unary_opt(|value| {
                    let rounded = cut(value, *scale, digits.min(*scale))?;
                    decimal::rescale(rounded, digits.min(*scale), *precision, *kept)
                });
            Ok(Arc::new(
                values.with_precision_and_scale(*precision, *kept)?,
            ))
        }
        (root, _) if is_integer(root) => {
            if digits >= 0 {
                return Ok(array.clone());
            }
            let values = cast(array, &DataType::Int64)?;
            let result: Int64Array = values.as_primitive::<Int64Type>().unary_opt(|value| {
                let rounded = cut(i128::from(value), 0, digits)?;
                i64::try_from(decimal::rescale(rounded, digits, 38, 0)?).ok()
            });
            casts::numeric(&(Arc::new(result) as ArrayRef), &TypeRoot::BigInt, root)
        }
        (root, _) => {
            let values = cast(array, &DataType::Float64)?;
            let values = values.as_primitive::<Float64Type>();
            let result: Float64Array = match rounding {
                Rounding::HalfUp => values.unary(|value| round_double(value, digits)),
                Rounding::Down => values.try_unary(|value| truncate_double(value, digits))?,
            };
            Ok(cast(
                &(Arc::new(result) as ArrayRef),
                &SqlType::of(root.clone()).arrow(),
            )?)
        }
    }
}

/// By the shortest decimal text, as Flink does over `BigDecimal`.
fn round_double(value: f64, digits: i8) -> f64 {
    match decimal::from_double(value, 38, digits.max(0)) {
        Some(unscaled) if digits >= 0 => decimal::to_double(unscaled, digits),
        Some(unscaled) => decimal::rescale(unscaled, 0, 38, digits)
            .and_then(|rounded| decimal::rescale(rounded, digits, 38, 0))
            .map_or(value, |rounded| decimal::to_double(rounded, 0)),
        None => value,
    }
}

/// By way of a DECIMAL(38, 18), as Flink; what does not fit one fails the job.
fn truncate_double(value: f64, digits: i8) -> datafusion_common::Result<f64> {
    let Some(unscaled) = decimal::from_double(value, 38, 18) else {
        return Err(failed(format!(
            "TRUNCATE of {value}, which no DECIMAL(38, 18) can hold"
        )));
    };
    let digits = digits.min(18);
    let kept = decimal::truncate(unscaled, 18, digits).unwrap_or(0);
    Ok(decimal::to_double(
        decimal::rescale(kept, digits, 38, 18).unwrap_or(0),
        18,
    ))
}
