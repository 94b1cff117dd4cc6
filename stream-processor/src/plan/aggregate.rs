//! Aggregate calls: which there are, and the types of their results.

use super::expr::{Analyzer, Grouping, can_sum};
use super::typed::Typed;
use crate::error::{Error, Position};
use crate::operators::aggregate::{AggregateCall, Function};
use crate::sql::ast::Call;
use crate::table::{SqlType, TypeRoot};

/// The names of all aggregate functions.
pub(crate) const AGGREGATES: &[&str] = &[
    "COUNT",
    "SUM",
    "AVG",
    "MIN",
    "MAX",
    "FIRST_VALUE",
    "LAST_VALUE",
    "LISTAGG",
    "GROUPING",
    "GROUPING_ID",
];

/// Those that Flink has and we do not: named, so that they are not taken for scalar functions.
const REFUSED: &[&str] = &[
    "COLLECT",
    "STDDEV_POP",
    "STDDEV_SAMP",
    "VAR_POP",
    "VAR_SAMP",
    "VARIANCE",
    "JSON_OBJECTAGG",
    "JSON_ARRAYAGG",
    "ARRAY_AGG",
    "ANY_VALUE",
    "RANK",
    "DENSE_RANK",
    "LAG",
    "LEAD",
    "NTILE",
];

/// Whether `name`, in upper case, aggregates.
pub(crate) fn is_aggregate(name: &str) -> bool {
    AGGREGATES.contains(&name) || REFUSED.contains(&name)
}

/// A bit for each argument, 1 where its NULLs only say that the row's grouping set does not have it.
fn grouping_id(
    analyzer: &Analyzer<'_>,
    grouping: &Grouping,
    call: &Call,
    at: Position,
) -> Result<Typed, Error> {
    let input = Analyzer {
        grouping: None,
        ..*analyzer
    };
    if call.args.is_empty() || call.args.len() > 63 {
        return Err(Error::validation(
            format!("{} takes grouped expressions", call.name),
            at,
        ));
    }
    let mut bits = 0_i64;
    for arg in &call.args {
        let typed = input.expr(arg)?;
        let absent = grouping.absent.contains(&typed);
        if !absent && !grouping.groups.contains(&typed) {
            return Err(Error::validation(
                format!("{} of what is not grouped by", call.name),
                arg.position,
            ));
        }
        bits = bits << 1 | i64::from(absent);
    }
    let ty = SqlType::required(TypeRoot::BigInt);
    Ok(Typed::literal(bits.into(), ty))
}

/// Notes the call and gives the column of its result.
#[expect(clippy::too_many_lines, reason = "one check after the other")]
pub(super) fn register(
    analyzer: &Analyzer<'_>,
    grouping: &Grouping,
    call: &Call,
    at: Position,
) -> Result<Typed, Error> {
    let function = match call.name.as_str() {
        "COUNT" => Function::Count,
        "SUM" => Function::Sum,
        "AVG" => Function::Avg,
        "MIN" => Function::Min,
        "MAX" => Function::Max,
        "FIRST_VALUE" => Function::First,
        "LAST_VALUE" => Function::Last,
        "LISTAGG" => Function::ListAgg,
        "GROUPING" | "GROUPING_ID" => return grouping_id(analyzer, grouping, call, at),
        other => {
            return Err(Error::unsupported(
                format!("the aggregate function {other}"),
                at,
                "",
            ));
        }
    };
    let input = Analyzer {
        scope: analyzer.scope,
        grouping: None,
        zone: analyzer.zone,
    };
    let mut args = call
        .args
        .iter()
        .map(|arg| input.expr(arg))
        .collect::<Result<Vec<_>, _>>()?;
    let mut separator = ",".to_owned();
    if function == Function::ListAgg && args.len() == 2 {
        separator = args
            .pop()
            .and_then(|arg| arg.literal_text().map(str::to_owned))
            .ok_or_else(|| Error::validation("LISTAGG's separator must be a literal", at))?;
    }
    if args.len() > 1 || (args.is_empty() && !(call.star && function == Function::Count)) {
        return Err(Error::validation(
            format!("{} does not take these arguments", call.name),
            at,
        ));
    }
    let argument = args.pop();
    let mut result = result_type(function, argument.as_ref(), at)?;
    // A filter can leave nothing even of a group that has rows; so can an empty input without GROUP BY.
    if function != Function::Count && (call.filter.is_some() || grouping.groups.is_empty()) {
        result.nullable = true;
    }
    let mut arguments = grouping.arguments.borrow_mut();
    let mut place = |typed: Typed| {
        let at = arguments
            .iter()
            .position(|known| *known == typed && !typed.is_volatile());
        at.unwrap_or_else(|| {
            arguments.push(typed);
            arguments.len() - 1
        }) + grouping.groups.len()
    };
    // COUNT of what is never NULL counts rows.
    let counts_rows = function == Function::Count
        && !call.distinct
        && argument.as_ref().is_some_and(|arg| !arg.ty.nullable);
    let argument = argument.filter(|_| !counts_rows).map(|typed| {
        let ty = typed.ty.clone();
        (place(typed), ty)
    });
    let filter = call
        .filter
        .as_ref()
        .map(|filter| input.boolean(filter))
        .transpose()?
        .map(&mut place);
    let planned = AggregateCall {
        function,
        distinct: call.distinct,
        argument,
        filter,
        separator,
        result: result.clone(),
        retracts: false,
    };
    let mut calls = grouping.calls.borrow_mut();
    let index = calls
        .iter()
        .position(|known| *known == planned)
        .unwrap_or_else(|| {
            calls.push(planned);
            calls.len() - 1
        });
    Ok(Typed::column(grouping.groups.len() + index, result))
}

fn result_type(
    function: Function,
    argument: Option<&Typed>,
    at: Position,
) -> Result<SqlType, Error> {
    let Some(argument) = argument.map(|argument| &argument.ty) else {
        return Ok(SqlType::required(TypeRoot::BigInt));
    };
    let root = match (function, &argument.root) {
        (Function::Count, _) => return Ok(SqlType::required(TypeRoot::BigInt)),
        (Function::Sum | Function::Avg, _) if !can_sum(argument) => {
            return Err(Error::validation(format!("{function:?} of {argument}"), at));
        }
        (Function::Sum, TypeRoot::Decimal(_, scale)) => {
            return Ok(SqlType::of(TypeRoot::Decimal(38, *scale)));
        }
        (Function::Avg, TypeRoot::Decimal(_, scale)) => {
            return Ok(SqlType::of(TypeRoot::Decimal(38, (*scale).max(6))));
        }
        (Function::ListAgg, root) if !super::coerce::is_text(root) => {
            return Err(Error::validation(format!("LISTAGG of {argument}"), at));
        }
        (Function::ListAgg, _) => SqlType::string().root,
        (Function::Min | Function::Max | Function::First | Function::Last, root)
            if nested(root) =>
        {
            return Err(Error::unsupported(
                format!("{function:?} of {argument}"),
                at,
                "",
            ));
        }
        (_, root) => root.clone(),
    };
    Ok(SqlType {
        root,
        nullable: argument.nullable,
    })
}

fn nested(root: &TypeRoot) -> bool {
    matches!(
        root,
        TypeRoot::Array(_)
            | TypeRoot::Map(..)
            | TypeRoot::Row(_)
            | TypeRoot::Multiset(_)
            | TypeRoot::Binary(_)
            | TypeRoot::Varbinary(_)
    )
}
