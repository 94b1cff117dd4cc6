//! Numbers: rounding, powers, trigonometry, bits, random values.

mod bits;
mod decimal;

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array};

use super::arith::overflow;
use super::kernel::{Args, done};
use super::{Invocation, Table, arith, cast};
use crate::failure::{Code, Failure, Result};
use crate::sql::analyze::Typed;
use crate::sql::ast::Arith;
use crate::types::Type;

fn floats(args: &Args, apply: impl Fn(f64) -> f64) -> Result<ArrayRef> {
    done(
        (0..args.rows)
            .map(|row| args.f64(0, row).map(&apply))
            .collect::<Float64Array>(),
    )
}

fn floats2(args: &Args, apply: impl Fn(f64, f64) -> f64) -> Result<ArrayRef> {
    done(
        (0..args.rows)
            .map(|row| {
                args.f64(0, row)
                    .zip(args.f64(1, row))
                    .map(|(a, b)| apply(a, b))
            })
            .collect::<Float64Array>(),
    )
}

fn integers(args: &Args, apply: impl Fn(i64) -> Result<i64>) -> Result<ArrayRef> {
    done(
        (0..args.rows)
            .map(|row| args.i64(0, row).map(&apply).transpose())
            .collect::<Result<Int64Array>>()?,
    )
}

/// An integer function that gives back its argument's type.
fn same_type(
    call: Invocation,
    name: &'static str,
    run: fn(&Args) -> Result<ArrayRef>,
) -> Result<Typed> {
    let ty = call.returns.clone();
    let args = call
        .args
        .into_iter()
        .map(|arg| cast::plain(arg, &Type::Bigint))
        .collect();
    let wide = super::Kernel::call(
        name,
        "bigint".into(),
        Type::Bigint.arrow(),
        call.on_failure,
        args,
        Arc::new(run),
    );
    cast::explicit(
        Typed::new(wide, Type::Bigint),
        &ty,
        call.on_failure,
        &call.zone,
    )
}

fn abs_integer(call: Invocation) -> Result<Typed> {
    same_type(call, "abs", |args| {
        integers(args, |value| {
            value.checked_abs().ok_or_else(|| {
                overflow("Value -9223372036854775808 is out of range for abs(bigint)")
            })
        })
    })
}

fn sign_integer(call: Invocation) -> Result<Typed> {
    same_type(call, "sign", |args| {
        integers(args, |value| Ok(value.signum()))
    })
}

/// Digits before the point only: whole numbers have none behind it.
fn round_integer(call: Invocation) -> Result<Typed> {
    same_type(call, "round", |args| {
        let rows = (0..args.rows).map(|row| {
            let (value, digits) = (args.i64(0, row)?, args.i64(1, row)?);
            let dropped = u32::try_from(digits.saturating_neg()).unwrap_or(0);
            // Beyond all digits of a bigint nothing is left.
            let Some(unit) = 10_i128.checked_pow(dropped) else {
                return Some(0);
            };
            let value = i128::from(value);
            let rounded = (value.abs() + unit / 2) / unit * unit * value.signum();
            i64::try_from(rounded).ok()
        });
        done(rows.collect::<Int64Array>())
    })
}

/// A function of reals computed in double precision, where that is exact.
fn real(call: Invocation, name: &'static str, run: fn(&Args) -> Result<ArrayRef>) -> Result<Typed> {
    let args = call.args.into_iter().zip(&call.types);
    let args = args
        .map(|(arg, ty)| {
            if *ty == Type::Real {
                cast::plain(arg, &Type::Double)
            } else {
                arg
            }
        })
        .collect();
    let wide = super::Kernel::call(
        name,
        "real".into(),
        Type::Double.arrow(),
        call.on_failure,
        args,
        Arc::new(run),
    );
    Ok(Typed::new(cast::plain(wide, &Type::Real), Type::Real))
}

fn unchanged(call: Invocation) -> Result<Typed> {
    let ty = call.returns.clone();
    call.args
        .into_iter()
        .next()
        .map(|arg| Typed::new(arg, ty))
        .ok_or_else(|| Failure::new(Code::InvalidFunctionArgument, "no argument"))
}

fn modulus(call: Invocation) -> Result<Typed> {
    let ty = call.types[0].clone();
    let mut args = call.args.into_iter();
    let (Some(left), Some(right)) = (args.next(), args.next()) else {
        return Err(Failure::new(
            Code::InvalidFunctionArgument,
            "mod takes two arguments",
        ));
    };
    match &ty {
        Type::Decimal(..) => arith::decimals(
            Arith::Modulus,
            Typed::new(left, ty),
            Typed::new(right, call.types[1].clone()),
            call.on_failure,
        ),
        Type::Double => Ok(Typed::new(
            datafusion::logical_expr::binary_expr(
                left,
                datafusion::logical_expr::Operator::Modulo,
                right,
            ),
            ty,
        )),
        _ => Ok(Typed::new(
            arith::integers(Arith::Modulus, left, right, &ty, call.on_failure),
            ty,
        )),
    }
}

/// Half up in decimal digits, like Java's `BigDecimal` rounding of the double's shortest spelling.
fn round_double(value: f64, digits: i64) -> f64 {
    if !value.is_finite() || digits > 300 {
        return value;
    }
    let factor = 10_f64.powi(i32::try_from(digits).unwrap_or(-300).max(-300));
    let scaled = value * factor;
    if !scaled.is_finite() || factor == 0.0 {
        return value;
    }
    scaled.round() / factor
}

fn round_to_digits(args: &Args) -> Result<ArrayRef> {
    done(
        (0..args.rows)
            .map(|row| {
                args.f64(0, row)
                    .zip(args.i64(1, row))
                    .map(|(value, digits)| round_double(value, digits))
            })
            .collect::<Float64Array>(),
    )
}

fn sign_of(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() {
        x
    } else {
        x.signum()
    }
}

fn random_below(args: &Args) -> Result<ArrayRef> {
    let rows = (0..args.rows).map(|row| {
        let bound = args.i64(0, row);
        bound
            .map(|bound| {
                if bound <= 0 {
                    return Err(Failure::new(
                        Code::InvalidFunctionArgument,
                        "bound must be positive",
                    ));
                }
                Ok(rand::random_range(0..bound))
            })
            .transpose()
    });
    done(rows.collect::<Result<Int64Array>>()?)
}

fn width_bucket(args: &Args) -> Result<ArrayRef> {
    let rows = (0..args.rows).map(|row| {
        let (Some(x), Some(low), Some(high), Some(n)) = (
            args.f64(0, row),
            args.f64(1, row),
            args.f64(2, row),
            args.i64(3, row),
        ) else {
            return Ok(None);
        };
        if n <= 0 || low == high || x.is_nan() || !low.is_finite() || !high.is_finite() {
            return Err(Failure::new(
                Code::InvalidFunctionArgument,
                "bounds must be finite and differ, bucketCount must be greater than 0",
            ));
        }
        let (lower, upper) = (low.min(high), low.max(high));
        let bucket = if x < lower {
            0
        } else if x >= upper {
            n + 1
        } else {
            bucket_of(n, (x - lower) / (upper - lower))
        };
        Ok(Some(if low > high { n - bucket + 1 } else { bucket }))
    });
    done(rows.collect::<Result<Int64Array>>()?)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the share is below one and n is a bucket count"
)]
fn bucket_of(n: i64, share: f64) -> i64 {
    (n as f64 * share) as i64 + 1
}

pub(super) fn register(table: &mut Table) {
    for ty in ["tinyint", "smallint", "integer", "bigint"] {
        table.expr(&format!("abs({ty}) {ty}"), "Absolute value", abs_integer);
        table.expr(&format!("sign({ty}) {ty}"), "Sign", sign_integer);
        for name in ["round", "floor", "ceiling", "ceil"] {
            table.expr(&format!("{name}({ty}) {ty}"), "Rounds", unchanged);
        }
        table.expr(&format!("mod({ty}, {ty}) {ty}"), "Remainder", modulus);
        table.expr(
            &format!("round({ty}, bigint) {ty}"),
            "Rounds half up to digits",
            round_integer,
        );
    }
    decimal::register(table);
    table.expr("mod(decimal, decimal) decimal", "Remainder", modulus);
    // Before those of doubles, which take reals too.
    reals(table);
    table.expr("mod(double, double) double", "Remainder", modulus);
    table.run(
        "round(double, bigint) double",
        "Rounds half up to digits",
        round_to_digits,
    );
    random(table);
    doubles(table);
    bits::register(table);
}

fn random(table: &mut Table) {
    table.run("random() double", "A number from 0 to 1", |args| {
        done(
            (0..args.rows)
                .map(|_| Some(rand::random::<f64>()))
                .collect::<Float64Array>(),
        )
    });
    table.random();
    table.run("rand() double", "A number from 0 to 1", |args| {
        done(
            (0..args.rows)
                .map(|_| Some(rand::random::<f64>()))
                .collect::<Float64Array>(),
        )
    });
    table.random();
    table.run(
        "random(bigint) bigint",
        "A number from 0 to a bound",
        random_below,
    );
    table.random();
}

fn reals(table: &mut Table) {
    table.expr("abs(real) real", "Absolute value", |call| {
        real(call, "abs", |args| floats(args, f64::abs))
    });
    table.expr("round(real) real", "Rounds half up", |call| {
        real(call, "round", |args| floats(args, f64::round))
    });
    table.expr(
        "round(real, bigint) real",
        "Rounds half up to digits",
        |call| real(call, "round", round_to_digits),
    );
    table.expr("sign(real) real", "Sign", |call| {
        real(call, "sign", |args| floats(args, sign_of))
    });
    // The remainder of two reals is a real, so nothing is rounded on the way back.
    table.expr("mod(real, real) real", "Remainder", |call| {
        real(call, "mod", |args| floats2(args, |a, b| a % b))
    });
    table.expr("floor(real) real", "Rounds down", |call| {
        real(call, "floor", |args| floats(args, f64::floor))
    });
    table.expr("ceiling(real) real", "Rounds up", |call| {
        real(call, "ceiling", |args| floats(args, f64::ceil))
    });
    table.expr("ceil(real) real", "Rounds up", |call| {
        real(call, "ceil", |args| floats(args, f64::ceil))
    });
    table.expr("truncate(real) real", "Drops the fraction", |call| {
        real(call, "truncate", |args| floats(args, f64::trunc))
    });
}

/// Functions of one double that are methods of `f64`.
fn one_argument(table: &mut Table) {
    table.run("abs(double) double", "Absolute value", |args| {
        floats(args, f64::abs)
    });
    table.run("round(double) double", "Rounds half up", |args| {
        floats(args, f64::round)
    });
    table.run("floor(double) double", "Rounds down", |args| {
        floats(args, f64::floor)
    });
    table.run("ceiling(double) double", "Rounds up", |args| {
        floats(args, f64::ceil)
    });
    table.run("ceil(double) double", "Rounds up", |args| {
        floats(args, f64::ceil)
    });
    table.run("truncate(double) double", "Drops the fraction", |args| {
        floats(args, f64::trunc)
    });
    table.run("sqrt(double) double", "Square root", |args| {
        floats(args, f64::sqrt)
    });
    table.run("cbrt(double) double", "Cube root", |args| {
        floats(args, f64::cbrt)
    });
    table.run("exp(double) double", "Power of e", |args| {
        floats(args, f64::exp)
    });
    table.run("ln(double) double", "Natural logarithm", |args| {
        floats(args, f64::ln)
    });
    table.run("log2(double) double", "Logarithm to base 2", |args| {
        floats(args, f64::log2)
    });
    table.run("log10(double) double", "Logarithm to base 10", |args| {
        floats(args, f64::log10)
    });
    table.run("cos(double) double", "Cosine", |args| {
        floats(args, f64::cos)
    });
    table.run("tan(double) double", "Tangent", |args| {
        floats(args, f64::tan)
    });
    table.run("asin(double) double", "Arc sine", |args| {
        floats(args, f64::asin)
    });
    table.run("acos(double) double", "Arc cosine", |args| {
        floats(args, f64::acos)
    });
    table.run("atan(double) double", "Arc tangent", |args| {
        floats(args, f64::atan)
    });
    table.run("degrees(double) double", "Radians to degrees", |args| {
        floats(args, f64::to_degrees)
    });
    table.run("radians(double) double", "Degrees to radians", |args| {
        floats(args, f64::to_radians)
    });
}

fn doubles(table: &mut Table) {
    one_argument(table);
    table.run("sign(double) double", "Sign", |args| floats(args, sign_of));
    table.run(
        "log(double, double) double",
        "Logarithm to a base",
        |args| floats2(args, |base, x| x.ln() / base.ln()),
    );
    table.run("power(double, double) double", "Power", |args| {
        floats2(args, f64::powf)
    });
    table.run("pow(double, double) double", "Power", |args| {
        floats2(args, f64::powf)
    });
    table.run("sin(double) double", "Sine", |args| floats(args, f64::sin));
    table.run("atan2(double, double) double", "Angle of a point", |args| {
        floats2(args, f64::atan2)
    });
    table.run("is_nan(double) boolean", "Is it NaN?", |args| {
        done(
            (0..args.rows)
                .map(|row| args.f64(0, row).map(f64::is_nan))
                .collect::<BooleanArray>(),
        )
    });
    table.run("is_finite(double) boolean", "Is it finite?", |args| {
        done(
            (0..args.rows)
                .map(|row| args.f64(0, row).map(f64::is_finite))
                .collect::<BooleanArray>(),
        )
    });
    table.run("is_infinite(double) boolean", "Is it infinite?", |args| {
        done(
            (0..args.rows)
                .map(|row| args.f64(0, row).map(f64::is_infinite))
                .collect::<BooleanArray>(),
        )
    });
    table.expr("pi() double", "The number pi", |_| {
        Ok(constant(std::f64::consts::PI))
    });
    table.expr("e() double", "Euler's number", |_| {
        Ok(constant(std::f64::consts::E))
    });
    table.expr("nan() double", "Not a number", |_| Ok(constant(f64::NAN)));
    table.expr("infinity() double", "Positive infinity", |_| {
        Ok(constant(f64::INFINITY))
    });
    table.run(
        "width_bucket(double, double, double, bigint) bigint",
        "Number of the bucket",
        width_bucket,
    );
}

fn constant(value: f64) -> Typed {
    Typed::literal(
        datafusion::common::ScalarValue::Float64(Some(value)),
        Type::Double,
    )
}
