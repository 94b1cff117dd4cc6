//! Variances and standard deviations in terms of sums and a count, as Flink's planner rewrites them: so they have the
//! types of these, wrap and overflow like them, and take rows back.

use chrono_tz::Tz;
use datafusion_expr_common::operator::Operator;

use super::{Function, Grouping, Request, result_type};
use crate::error::{Error, Position};
use crate::functions::{self, Invocation, arithmetic, cast};
use crate::plan::expr::compare;
use crate::plan::typed::{Typed, TypedKind};
use crate::sql::ast::BinaryOp;
use crate::table::{SqlType, TypeRoot};

/// `(SUM(x * x) - SUM(x) * SUM(x) / COUNT(x)) / n`, where n is the count, or of a sample one less.
pub(super) fn register(
    grouping: &Grouping,
    name: &str,
    request: &Request,
    at: Position,
) -> Result<Typed, Error> {
    let Some(argument) = request.argument.clone() else {
        return Err(Error::validation(format!("{name} needs an argument"), at));
    };
    let result = result_type(Function::Avg, Some(&argument), at)?;
    let to_result = |typed: Typed, nullable: bool| {
        let ty = result.with_nullable(nullable);
        cast::explicit(typed, &ty, false, Tz::UTC, at)
    };
    let calculate = |op, left: Typed, right: Typed| {
        arithmetic::arithmetic(op, left, right, at)?
            .ok_or_else(|| Error::validation(format!("{name} of {}", argument.ty), at))
    };
    let call = |function: Function, argument: Typed| {
        let argument = Some(argument);
        Request {
            function,
            argument,
            ..request.clone()
        }
        .register(grouping, at)
    };

    let nullable = argument.ty.nullable;
    let value = to_result(argument.clone(), nullable)?;
    let square = calculate(BinaryOp::Multiply, value.clone(), value.clone())?;
    let squares = call(Function::Sum, square)?;
    let sum = call(Function::Sum, value)?;
    let nullable = sum.ty.nullable;
    let sum = to_result(sum, nullable)?;
    let count = call(Function::Count, argument.clone())?;

    let squared = calculate(BinaryOp::Multiply, sum.clone(), sum)?;
    let mean = calculate(BinaryOp::Divide, squared, count.clone())?;
    let above = calculate(BinaryOp::Minus, squares, mean)?;
    let below = if name.ends_with("_POP") {
        count
    } else {
        one_less(count, &calculate)?
    };
    let variance = calculate(BinaryOp::Divide, above, below)?;
    let found = if name.starts_with("STDDEV") {
        let half = Typed::literal(0.5.into(), SqlType::required(TypeRoot::Double));
        functions::resolve(Invocation {
            name: "POWER",
            args: vec![variance, half],
            unit: None,
            clauses: &[],
            defaults: Vec::new(),
            zone: Tz::UTC,
            at,
        })?
    } else {
        variance
    };
    to_result(found, true)
}

/// NULL for a sample of one.
fn one_less(
    count: Typed,
    calculate: &dyn Fn(BinaryOp, Typed, Typed) -> Result<Typed, Error>,
) -> Result<Typed, Error> {
    let one = || Typed::literal(1_i64.into(), SqlType::required(TypeRoot::BigInt));
    let ty = SqlType::of(TypeRoot::BigInt);
    let single = compare(Operator::Eq, count.clone(), one());
    let less = calculate(BinaryOp::Minus, count, one())?;
    Ok(Typed {
        kind: TypedKind::Case(vec![(single, Typed::null(&ty)?)], Some(Box::new(less))),
        ty,
    })
}
