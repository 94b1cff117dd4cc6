//! Rounding of decimals, whose type changes with the digits that are left.

use std::sync::Arc;

use datafusion::arrow::array::Decimal128Array;

use crate::failure::{Code, Failure, Result};
use crate::functions::arith::{div_half_up, power_of_ten};
use crate::functions::kernel::{Kernel, Run, done};
use crate::functions::{Invocation, Table};
use crate::sql::analyze::Typed;
use crate::types::Type;

/// How a decimal loses its fraction.
#[derive(Clone, Copy)]
enum Rounding {
    HalfUp,
    Floor,
    Ceiling,
    Truncate,
}

/// `round(decimal(p,s))` is decimal(p-s+1,0) or narrower, as in Trino.
fn decimal_whole(call: Invocation, rounding: Rounding, name: &'static str) -> Result<Typed> {
    let Type::Decimal(precision, scale) = call.types[0] else {
        return Err(Failure::new(Code::GenericInternalError, "not a decimal"));
    };
    let (p, s) = (i16::from(precision), i16::from(scale));
    let digits = match rounding {
        Rounding::Truncate => (p - s).max(1),
        _ => p - s + s.min(1),
    };
    let ty = Type::Decimal(u8::try_from(digits.clamp(1, 38)).unwrap_or(38), 0);
    let unit = power_of_ten(u8::try_from(scale).unwrap_or(0));
    let shape = ty.arrow();
    let run: Run = Arc::new(move |args| {
        let rows = (0..args.rows).map(|row| {
            args.i128(0, row).map(|value| match rounding {
                Rounding::HalfUp => div_half_up(value, unit),
                Rounding::Floor => value.div_euclid(unit),
                Rounding::Ceiling => -((-value).div_euclid(unit)),
                Rounding::Truncate => value / unit,
            })
        });
        done(
            rows.collect::<Decimal128Array>()
                .with_data_type(shape.clone()),
        )
    });
    let key = call.types[0].to_string();
    Ok(Typed::new(
        Kernel::call(name, key, ty.arrow(), call.on_failure, call.args, run),
        ty,
    ))
}

/// `round(decimal(p,s), n)` is decimal(min(38,p+1),s).
fn decimal_round(call: &Invocation) -> Result<Typed> {
    let Type::Decimal(precision, scale) = call.types[0] else {
        return Err(Failure::new(Code::GenericInternalError, "not a decimal"));
    };
    let ty = Type::Decimal((precision + 1).min(38), scale);
    let shape = ty.arrow();
    let run: Run = Arc::new(move |args| {
        let rows = (0..args.rows).map(|row| {
            args.i128(0, row)
                .zip(args.i64(1, row))
                .map(|(value, digits)| {
                    let drop = i64::from(scale) - digits;
                    if drop <= 0 {
                        value
                    } else if drop > 38 {
                        0
                    } else {
                        let unit = power_of_ten(u8::try_from(drop).unwrap_or(38));
                        div_half_up(value, unit).saturating_mul(unit)
                    }
                })
        });
        done(
            rows.collect::<Decimal128Array>()
                .with_data_type(shape.clone()),
        )
    });
    let key = call.types[0].to_string();
    Ok(Typed::new(
        Kernel::call(
            "round",
            key,
            ty.arrow(),
            call.on_failure,
            call.args.clone(),
            run,
        ),
        ty,
    ))
}

pub(super) fn register(table: &mut Table) {
    table.expr("abs(decimal) decimal", "Absolute value", |call| {
        let ty = call.returns.clone();
        let shape = ty.arrow();
        let run: Run = Arc::new(move |args| {
            done(
                (0..args.rows)
                    .map(|row| args.i128(0, row).map(i128::abs))
                    .collect::<Decimal128Array>()
                    .with_data_type(shape.clone()),
            )
        });
        Ok(Typed::new(
            Kernel::call(
                "abs",
                ty.to_string(),
                ty.arrow(),
                call.on_failure,
                call.args,
                run,
            ),
            ty,
        ))
    });
    table.expr("sign(decimal) decimal", "Sign", |call| {
        let ty = Type::Decimal(1, 0);
        let shape = ty.arrow();
        let run: Run = Arc::new(move |args| {
            done(
                (0..args.rows)
                    .map(|row| args.i128(0, row).map(i128::signum))
                    .collect::<Decimal128Array>()
                    .with_data_type(shape.clone()),
            )
        });
        let key = call.types[0].to_string();
        let (returns, on_failure) = (ty.arrow(), call.on_failure);
        let sign = Kernel::call("sign", key, returns, on_failure, call.args, run);
        Ok(Typed::new(sign, ty))
    });
    table.expr("round(decimal) decimal", "Rounds half up", |call| {
        decimal_whole(call, Rounding::HalfUp, "round")
    });
    table.expr("floor(decimal) decimal", "Rounds down", |call| {
        decimal_whole(call, Rounding::Floor, "floor")
    });
    table.expr("ceiling(decimal) decimal", "Rounds up", |call| {
        decimal_whole(call, Rounding::Ceiling, "ceiling")
    });
    table.expr("ceil(decimal) decimal", "Rounds up", |call| {
        decimal_whole(call, Rounding::Ceiling, "ceil")
    });
    table.expr("truncate(decimal) decimal", "Drops the fraction", |call| {
        decimal_whole(call, Rounding::Truncate, "truncate")
    });
    table.expr(
        "round(decimal, bigint) decimal",
        "Rounds half up to digits",
        |call| decimal_round(&call),
    );
}
