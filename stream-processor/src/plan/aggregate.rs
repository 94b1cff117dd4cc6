//! Aggregate calls: which there are, and the types of their results.

mod json;
mod variance;

use super::expr::{Analyzer, can_sum};
use super::grouping::Grouping;
use super::typed::Typed;
use crate::error::{Error, Position};
use crate::operators::aggregate::{AggregateCall, Function, Nulls};
use crate::sql::ast::{Call, Clause};
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
    "STDDEV_POP",
    "STDDEV_SAMP",
    "STDDEV",
    "VAR_POP",
    "VAR_SAMP",
    "VARIANCE",
    "ARRAY_AGG",
    "COLLECT",
    "JSON_ARRAYAGG",
    "JSON_OBJECTAGG",
];

/// Those that Flink has and we do not: named, so that they are not taken for scalar functions.
const REFUSED: &[&str] = &[
    "ANY_VALUE",
    "PERCENTILE",
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
pub(super) fn register(
    analyzer: &Analyzer<'_>,
    grouping: &Grouping,
    call: &Call,
    at: Position,
) -> Result<Typed, Error> {
    let input = Analyzer {
        scope: analyzer.scope,
        grouping: None,
        zone: analyzer.zone,
    };
    if matches!(call.name.as_str(), "GROUPING" | "GROUPING_ID") {
        return grouping_id(analyzer, grouping, call, at);
    }
    let (function, clauses) = function_of(call, at)?;
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
    match function {
        Function::JsonArrayAgg(_) => json::item(&mut args, analyzer.zone, at)?,
        Function::JsonObjectAgg => json::member(&mut args, clauses, analyzer.zone, at)?,
        _ => {}
    }
    if args.len() > 1 || (args.is_empty() && !(call.star && function == Function::Count)) {
        return Err(Error::validation(
            format!("{} does not take these arguments", call.name),
            at,
        ));
    }
    let filter = call
        .filter
        .as_ref()
        .map(|filter| input.boolean(filter))
        .transpose()?;
    let request = Request {
        function,
        distinct: call.distinct,
        argument: args.pop(),
        filter,
        separator,
    };
    match call.name.as_str() {
        name @ ("STDDEV_POP" | "STDDEV_SAMP" | "STDDEV" | "VAR_POP" | "VAR_SAMP" | "VARIANCE") => {
            variance::register(grouping, name, &request, at)
        }
        _ => request.register(grouping, at),
    }
}

/// A call with its arguments analysed.
#[derive(Clone)]
struct Request {
    function: Function,
    distinct: bool,
    argument: Option<Typed>,
    filter: Option<Typed>,
    separator: String,
}

impl Request {
    /// Notes the call and gives the column of its result.
    fn register(self, grouping: &Grouping, at: Position) -> Result<Typed, Error> {
        let function = self.function;
        let mut result = result_type(function, self.argument.as_ref(), at)?;
        // A filter can leave nothing even of a group that has rows; so can an empty input without GROUP BY.
        if function != Function::Count && (self.filter.is_some() || grouping.groups.is_empty()) {
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
            && !self.distinct
            && self.argument.as_ref().is_some_and(|arg| !arg.ty.nullable);
        let argument = self.argument.filter(|_| !counts_rows).map(|typed| {
            let ty = typed.ty.clone();
            (place(typed), ty)
        });
        let planned = AggregateCall {
            function,
            distinct: self.distinct,
            argument,
            filter: self.filter.map(&mut place),
            separator: self.separator,
            result: result.clone(),
            retracts: false,
        };
        let mut calls = grouping.calls.borrow_mut();
        let index = calls.iter().position(|known| *known == planned);
        let index = index.unwrap_or_else(|| {
            calls.push(planned);
            calls.len() - 1
        });
        Ok(Typed::column(grouping.groups.len() + index, result))
    }
}

/// The function that the call names; of the sums behind a variance the first one. Also what becomes of NULLs.
fn function_of(call: &Call, at: Position) -> Result<(Function, Nulls), Error> {
    let object = call.name == "JSON_OBJECTAGG";
    let mut nulls = match call.name.as_str() {
        "ARRAY_AGG" | "JSON_OBJECTAGG" => Nulls::Kept,
        _ => Nulls::Skipped,
    };
    for clause in &call.clauses {
        nulls = match clause {
            Clause::Word(word) if word == "RESPECT NULLS" || word == "NULL ON NULL" => Nulls::Kept,
            Clause::Word(word) if word == "IGNORE NULLS" || word == "ABSENT ON NULL" => {
                Nulls::Skipped
            }
            other => {
                let what = format!("{} … {other:?}", call.name);
                return Err(Error::unsupported(what, at, ""));
            }
        };
    }
    if call.distinct && (object || call.name == "JSON_ARRAYAGG") {
        return Err(Error::validation(
            format!("{} takes no DISTINCT", call.name),
            at,
        ));
    }
    let function = match call.name.as_str() {
        "COUNT" => Function::Count,
        "SUM" | "STDDEV_POP" | "STDDEV_SAMP" | "STDDEV" | "VAR_POP" | "VAR_SAMP" | "VARIANCE" => {
            Function::Sum
        }
        "AVG" => Function::Avg,
        "MIN" => Function::Min,
        "MAX" => Function::Max,
        "FIRST_VALUE" => Function::First,
        "LAST_VALUE" => Function::Last,
        "LISTAGG" => Function::ListAgg,
        "ARRAY_AGG" => Function::ArrayAgg(nulls),
        "COLLECT" => Function::Collect,
        "JSON_ARRAYAGG" => Function::JsonArrayAgg(nulls),
        "JSON_OBJECTAGG" => Function::JsonObjectAgg,
        other => {
            return Err(Error::unsupported(
                format!("the aggregate function {other}"),
                at,
                "",
            ));
        }
    };
    Ok((function, nulls))
}

fn result_type(
    function: Function,
    argument: Option<&Typed>,
    at: Position,
) -> Result<SqlType, Error> {
    let Some(argument) = argument.map(|argument| &argument.ty) else {
        return Ok(SqlType::required(TypeRoot::BigInt));
    };
    if let Function::JsonArrayAgg(_) | Function::JsonObjectAgg = function {
        return Ok(SqlType::required(SqlType::string().root));
    }
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
        (
            Function::Min
            | Function::Max
            | Function::First
            | Function::Last
            | Function::ArrayAgg(_)
            | Function::Collect,
            root,
        ) if nested(root) => {
            return Err(Error::unsupported(
                format!("{function:?} of {argument}"),
                at,
                "",
            ));
        }
        (Function::ArrayAgg(_), _) => {
            return Ok(SqlType::of(TypeRoot::Array(Box::new(argument.clone()))));
        }
        (Function::Collect, _) => {
            let element = Box::new(argument.with_nullable(false));
            return Ok(SqlType::required(TypeRoot::Multiset(element)));
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
