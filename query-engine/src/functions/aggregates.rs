//! What aggregates and windows need around DataFusion's own: lookup, overflow checks, averages and maps.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, AsArray, Decimal128Array, Int64Array};
use datafusion::arrow::datatypes::{DataType, Decimal128Type};
use datafusion::logical_expr::expr::{AggregateFunction, Sort};
use datafusion::logical_expr::{AggregateUDF, Expr, WindowUDF};

use super::arith::{div_half_up, fits, overflow};
use super::kernel::{Args, Kernel, OnFailure, done};
use super::{array, map};
use crate::failure::{Code, Failure, Result};
use crate::sql::analyze::Typed;
use crate::types::Type;

static AGGREGATES: LazyLock<HashMap<String, Arc<AggregateUDF>>> = LazyLock::new(|| {
    let mut all = HashMap::new();
    for function in datafusion::functions_aggregate::all_default_aggregate_functions() {
        for alias in function.aliases() {
            all.insert(alias.clone(), Arc::clone(&function));
        }
        all.insert(function.name().to_owned(), function);
    }
    all
});

static WINDOWS: LazyLock<HashMap<String, Arc<WindowUDF>>> = LazyLock::new(|| {
    datafusion::functions_window::all_default_window_functions()
        .into_iter()
        .map(|function| (function.name().to_owned(), function))
        .collect()
});

pub(crate) fn find(name: &str) -> Result<Arc<AggregateUDF>> {
    AGGREGATES.get(name).cloned().ok_or_else(|| {
        Failure::new(
            Code::GenericInternalError,
            format!("the engine has no aggregate {name}"),
        )
    })
}

pub(crate) fn find_window(name: &str) -> Result<Arc<WindowUDF>> {
    WINDOWS.get(name).cloned().ok_or_else(|| {
        Failure::new(
            Code::GenericInternalError,
            format!("the engine has no window function {name}"),
        )
    })
}

/// A call of one of DataFusion's aggregates.
pub(crate) fn plain(
    name: &str,
    args: Vec<Expr>,
    distinct: bool,
    filter: Option<Box<Expr>>,
    order_by: Vec<Sort>,
) -> Result<Expr> {
    Ok(Expr::AggregateFunction(AggregateFunction::new_udf(
        find(name)?,
        args,
        distinct,
        filter,
        order_by,
        None,
    )))
}

/// The value of an expression that must not depend on rows.
pub(crate) fn constant(expr: Expr) -> Result<Expr> {
    match expr {
        Expr::Literal(..) => Ok(expr),
        Expr::Cast(cast) => match constant(*cast.expr)? {
            Expr::Literal(value, meta) => {
                Ok(Expr::Literal(value.cast_to(cast.field.data_type())?, meta))
            }
            other => Ok(other),
        },
        _ => Err(Failure::new(
            Code::NotSupported,
            "an argument that is not a literal is not supported here",
        )),
    }
}

/// The decimal(38,0) sum of bigints as a bigint, or Trino's overflow.
pub(crate) fn checked_bigint(sum: Expr) -> Expr {
    let run = |args: &Args| {
        let sums: &Decimal128Array = args.array(0).as_primitive();
        let sums = sums.iter().map(|sum| {
            sum.map(|sum| i64::try_from(sum).map_err(|_| overflow("bigint addition overflow")))
                .transpose()
        });
        done(sums.collect::<Result<Int64Array>>()?)
    };
    Kernel::call(
        "checked_bigint",
        String::new(),
        DataType::Int64,
        OnFailure::Raise,
        vec![sum],
        Arc::new(run),
    )
}

/// A decimal sum within 38 digits.
pub(crate) fn checked_decimal(sum: Expr, ty: &Type) -> Expr {
    let run = |args: &Args| {
        let sums: &Decimal128Array = args.array(0).as_primitive();
        if let Some(sum) = sums.iter().flatten().find(|sum| !fits(*sum, 38)) {
            return Err(overflow(&format!("Decimal overflow: {sum}")));
        }
        Ok(Arc::clone(args.array(0)))
    };
    Kernel::call(
        "checked_decimal",
        String::new(),
        ty.arrow(),
        OnFailure::Raise,
        vec![sum],
        Arc::new(run),
    )
}

/// `avg(decimal(p,s))`: the sum over the count, half up, in decimal(p,s).
pub(crate) fn decimal_average(sum: Expr, count: Expr, ty: &Type) -> Expr {
    let shape = ty.arrow();
    let result = shape.clone();
    let run = move |args: &Args| {
        let averages = (0..args.rows).map(|row| {
            let (sum, count) = (args.primitive::<Decimal128Type>(0, row)?, args.i64(1, row)?);
            (count > 0).then(|| div_half_up(sum, i128::from(count)))
        });
        done(
            averages
                .collect::<Decimal128Array>()
                .with_data_type(result.clone()),
        )
    };
    Kernel::call(
        "decimal_average",
        String::new(),
        shape,
        OnFailure::Raise,
        vec![sum, count],
        Arc::new(run),
    )
}

/// The map made of collected rows: `map_agg` keeps a key's first value, `multimap_agg` all, `histogram` their number.
pub(crate) fn to_map(name: &str, rows: Expr, values: &[Typed]) -> Result<Typed> {
    let key = values[0].ty.clone();
    let value = match (name, values.get(1)) {
        ("map_agg", Some(value)) => value.ty.clone(),
        ("multimap_agg", Some(value)) => Type::array(value.ty.clone()),
        _ => Type::Bigint,
    };
    let ty = Type::map(key, value.clone());
    let kind = name.to_owned();
    let shape = ty.clone();
    let run = move |args: &Args| {
        let mut maps = map::Builder::default();
        for row in 0..args.rows {
            let Some(entries) = args.list(0, row) else {
                maps.null();
                continue;
            };
            let keys = super::row::field_of(&entries, 0)?;
            let mut groups: Vec<(usize, Vec<usize>)> = Vec::new();
            let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
            let encoded = array::encoded(&keys)?;
            for at in 0..keys.len() {
                let group = *seen
                    .entry(encoded.row(at).as_ref().to_vec())
                    .or_insert_with(|| {
                        groups.push((at, Vec::new()));
                        groups.len() - 1
                    });
                groups[group].1.push(at);
            }
            let firsts: Vec<usize> = groups.iter().map(|(first, _)| *first).collect();
            let made = match kind.as_str() {
                "map_agg" => array::take(&super::row::field_of(&entries, 1)?, &firsts)?,
                "multimap_agg" => {
                    let items = super::row::field_of(&entries, 1)?;
                    let lists = groups
                        .iter()
                        .map(|(_, all)| array::take(&items, all).map(Some))
                        .collect::<Result<Vec<_>>>()?;
                    array::lists(lists, items.data_type())?
                }
                _ => Arc::new(
                    groups
                        .iter()
                        .map(|(_, all)| i64::try_from(all.len()).ok())
                        .collect::<Int64Array>(),
                ),
            };
            maps.push(array::take(&keys, &firsts)?, made);
        }
        maps.finish(&shape)
    };
    let expr = Kernel::call(
        name,
        format!("{ty}"),
        ty.arrow(),
        OnFailure::Raise,
        vec![rows],
        Arc::new(run),
    );
    Ok(Typed::new(expr, ty))
}
