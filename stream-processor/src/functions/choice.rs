//! COALESCE, NULLIF, IF, IFNULL, GREATEST, LEAST: all in terms of CASE and comparison.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion_expr_common::operator::Operator;

use super::Invocation;
use crate::error::Error;
use crate::plan::coerce;
use crate::plan::typed::{Kernel, Typed, TypedKind, float};
use crate::table::{SqlType, TypeRoot};

pub(super) const NAMES: &[&str] = &["COALESCE", "NULLIF", "IF", "IFNULL", "GREATEST", "LEAST"];

pub(super) fn resolve(call: &mut Invocation<'_>) -> Result<Option<Typed>, Error> {
    let typed = match call.name {
        "COALESCE" => {
            call.arity(1..=usize::MAX)?;
            coalesce(call)?
        }
        "IFNULL" => {
            call.arity(2..=2)?;
            coalesce(call)?
        }
        "NULLIF" => {
            call.arity(2..=2)?;
            let (value, other) = pair(call)?;
            let (left, right) = coerce::for_comparison(value.clone(), other, call.zone, call.at)?;
            let ty = value.ty.with_nullable(true);
            let same = compare(Operator::Eq, left, right);
            let null = Typed::null(&ty)?;
            case(vec![(same, null)], value, ty)
        }
        "IF" => {
            call.arity(3..=3)?;
            let mut args = std::mem::take(&mut call.args);
            let (otherwise, then) = (args.pop(), args.pop());
            let (Some(when), Some(then), Some(otherwise)) = (args.pop(), then, otherwise) else {
                return Err(call.wrong("needs a condition and two values"));
            };
            let ty = coerce::common_of(&[&then, &otherwise], "IF", call.at)?;
            case(
                vec![(when, coerce::to(then, &ty, call.zone)?)],
                coerce::to(otherwise, &ty, call.zone)?,
                ty,
            )
        }
        "GREATEST" | "LEAST" => {
            call.arity(1..=usize::MAX)?;
            extreme(call)?
        }
        _ => return Ok(None),
    };
    Ok(Some(typed))
}

fn pair(call: &mut Invocation<'_>) -> Result<(Typed, Typed), Error> {
    let mut args = std::mem::take(&mut call.args).into_iter();
    match (args.next(), args.next()) {
        (Some(first), Some(second)) => Ok((first, second)),
        _ => Err(call.wrong("needs two arguments")),
    }
}

fn typed_args(call: &mut Invocation<'_>) -> Result<(Vec<Typed>, SqlType), Error> {
    let args = std::mem::take(&mut call.args);
    let ty = coerce::common_of(&args.iter().collect::<Vec<_>>(), call.name, call.at)?;
    let args = args
        .into_iter()
        .map(|arg| coerce::to(arg, &ty, call.zone))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((args, ty))
}

fn coalesce(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    let (mut args, ty) = typed_args(call)?;
    let nullable = args.iter().all(|arg| arg.ty.nullable);
    let Some(last) = args.pop() else {
        return Err(call.wrong("needs arguments"));
    };
    let branches = args
        .into_iter()
        .map(|arg| (is_not_null(arg.clone()), arg))
        .collect::<Vec<_>>();
    if branches.is_empty() {
        return Ok(last);
    }
    Ok(case(branches, last, ty.with_nullable(nullable)))
}

/// NULL if any argument is.
fn extreme(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    let op = if call.name == "GREATEST" {
        Operator::GtEq
    } else {
        Operator::LtEq
    };
    let (args, ty) = typed_args(call)?;
    let mut rest = args.into_iter();
    let Some(mut best) = rest.next() else {
        return Err(call.wrong("needs arguments"));
    };
    for arg in rest {
        let null = Typed::null(&ty)?;
        let unknown = Typed {
            kind: TypedKind::Binary(
                Operator::Or,
                Box::new(is_null(best.clone())),
                Box::new(is_null(arg.clone())),
            ),
            ty: SqlType::required(TypeRoot::Boolean),
        };
        let keep = if matches!(ty.root, TypeRoot::Float | TypeRoot::Double) {
            boxed(op, best.clone(), arg.clone())
        } else {
            compare(op, best.clone(), arg.clone())
        };
        best = case(vec![(unknown, null), (keep, best)], arg, ty.clone());
    }
    Ok(best)
}

/// Flink compares boxed values here, unlike with its operators: NaN is the greatest.
fn boxed(op: Operator, left: Typed, right: Typed) -> Typed {
    let ty = SqlType::of(TypeRoot::Boolean);
    let kernel = Kernel::new(format!("COMPARE_BOXED[{op}]"), move |args, n_rows| {
        let (left, right) = (
            cast(&args[0], &DataType::Float64)?,
            cast(&args[1], &DataType::Float64)?,
        );
        let (left, right) = (
            left.as_primitive::<Float64Type>(),
            right.as_primitive::<Float64Type>(),
        );
        let keep = |row: usize| {
            let order = float::compare_boxed(left.value(row), right.value(row));
            if op == Operator::GtEq {
                order.is_ge()
            } else {
                order.is_le()
            }
        };
        let kept: BooleanArray = (0..n_rows)
            .map(|row| (left.is_valid(row) && right.is_valid(row)).then(|| keep(row)))
            .collect();
        Ok(Arc::new(kept))
    });
    Typed::call(kernel.total(), vec![left, right], ty)
}

fn is_null(expr: Typed) -> Typed {
    Typed {
        kind: TypedKind::IsNull(Box::new(expr)),
        ty: SqlType::required(TypeRoot::Boolean),
    }
}

fn is_not_null(expr: Typed) -> Typed {
    Typed {
        kind: TypedKind::IsNotNull(Box::new(expr)),
        ty: SqlType::required(TypeRoot::Boolean),
    }
}

fn compare(op: Operator, left: Typed, right: Typed) -> Typed {
    let ty = SqlType {
        root: TypeRoot::Boolean,
        nullable: left.ty.nullable || right.ty.nullable,
    };
    Typed {
        kind: TypedKind::Binary(op, Box::new(left), Box::new(right)),
        ty,
    }
}

fn case(branches: Vec<(Typed, Typed)>, otherwise: Typed, ty: SqlType) -> Typed {
    Typed {
        kind: TypedKind::Case(branches, Some(Box::new(otherwise))),
        ty,
    }
}
