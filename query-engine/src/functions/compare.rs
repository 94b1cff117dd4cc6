//! Comparison of floats, and what groups, extremes and joins need of it.
//!
//! Arrow orders floats totally (NaN equals itself, -0.0 is below 0.0); SQL does not. Where a plain comparison gives
//! the same answer it is used, because only that reaches file pruning.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, BooleanArray, Float32Array, Float64Array};
use datafusion::arrow::compute::kernels::cmp;
use datafusion::arrow::datatypes::{Float32Type, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator, binary_expr};

use super::kernel::{Args, Kernel, OnFailure, done};
use crate::sql::analyze::Typed;
use crate::sql::ast::Compare;
use crate::types::Type;

/// `left op right` on two floats of one type.
pub(crate) fn floats(op: Compare, left: Expr, right: Expr) -> Expr {
    let plain = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => value.is_finite() && *value != 0.0,
        Expr::Literal(ScalarValue::Float32(Some(value)), _) => value.is_finite() && *value != 0.0,
        _ => false,
    };
    let operator = crate::sql::analyze::operator(op);
    // Against a finite literal only NaN on the other side differs, and only in an order.
    if plain(&right) || plain(&left) {
        let variable = if plain(&right) {
            left.clone()
        } else {
            right.clone()
        };
        let compared = binary_expr(left, operator, right);
        return match op {
            Compare::Eq | Compare::NotEq => compared,
            _ => binary_expr(compared, Operator::And, not_nan(variable)),
        };
    }
    let run = move |args: &Args| {
        let rows = (0..args.rows).map(|row| {
            let (a, b) = (args.f64(0, row)?, args.f64(1, row)?);
            Some(match op {
                Compare::Eq => a == b,
                Compare::NotEq => a != b,
                Compare::Lt => a < b,
                Compare::LtEq => a <= b,
                Compare::Gt => a > b,
                Compare::GtEq => a >= b,
            })
        });
        done(rows.collect::<BooleanArray>())
    };
    let shape = Type::Boolean.arrow();
    Kernel::call(
        op.symbol(),
        "float".to_owned(),
        shape,
        OnFailure::Raise,
        vec![left, right],
        Arc::new(run),
    )
}

fn not_nan(value: Expr) -> Expr {
    let run = |args: &Args| {
        done(
            (0..args.rows)
                .map(|row| args.f64(0, row).map(|value| !value.is_nan()))
                .collect::<BooleanArray>(),
        )
    };
    Kernel::call(
        "not_nan",
        String::new(),
        Type::Boolean.arrow(),
        OnFailure::Raise,
        vec![value],
        Arc::new(run),
    )
}

/// A value as grouping and DISTINCT shall see it: one NaN, one zero.
pub(crate) fn groupable(value: Typed) -> Typed {
    let ty = value.ty.clone();
    let args = vec![value.expr.clone()];
    let expr = match &ty {
        Type::Double => {
            let run = |args: &Args| {
                let values = args.array(0).as_primitive::<Float64Type>().iter();
                done(
                    values
                        .map(|value| {
                            value.map(|value| {
                                if value.is_nan() {
                                    f64::NAN
                                } else {
                                    value + 0.0
                                }
                            })
                        })
                        .collect::<Float64Array>(),
                )
            };
            Kernel::call(
                "groupable",
                "double".into(),
                ty.arrow(),
                OnFailure::Raise,
                args,
                Arc::new(run),
            )
        }
        Type::Real => {
            let run = |args: &Args| {
                let values = args.array(0).as_primitive::<Float32Type>().iter();
                done(
                    values
                        .map(|value| {
                            value.map(|value| {
                                if value.is_nan() {
                                    f32::NAN
                                } else {
                                    value + 0.0
                                }
                            })
                        })
                        .collect::<Float32Array>(),
                )
            };
            Kernel::call(
                "groupable",
                "real".into(),
                ty.arrow(),
                OnFailure::Raise,
                args,
                Arc::new(run),
            )
        }
        _ => return value,
    };
    Typed::new(expr, ty)
}

/// `greatest` and `least`: NULL when any argument is.
pub(crate) fn extreme(name: &str, args: Vec<Expr>, ty: Type) -> Typed {
    let greatest = name == "greatest";
    let run = move |args: &Args| {
        let mut best = args.expanded(0)?;
        for arg in 1..args.len() {
            let other = args.expanded(arg)?;
            let take = if greatest {
                cmp::gt(&other, &best)?
            } else {
                cmp::lt(&other, &best)?
            };
            let valid = arrow::compute::and(
                &arrow::compute::is_not_null(&best)?,
                &arrow::compute::is_not_null(&other)?,
            )?;
            let chosen = arrow::compute::kernels::zip::zip(&take, &other, &best)?;
            let null = arrow::compute::not(&valid)?;
            best = arrow::compute::nullif(&chosen, &null)?;
        }
        Ok(best)
    };
    let expr = Kernel::call(
        name,
        ty.to_string(),
        ty.arrow(),
        OnFailure::Raise,
        args,
        Arc::new(run),
    );
    Typed::new(expr, ty)
}
