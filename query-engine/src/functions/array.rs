//! Arrays: making, subscripts, searching, sorting, lambdas, and the lists behind UNNEST and quantified comparisons.

mod table;

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, UInt64Array, new_empty_array,
    new_null_array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::kernels::cmp;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::logical_expr::Expr;

use super::kernel::{Args, Kernel, OnFailure, done};
use super::{lambda, map};
use crate::failure::{Code, Failure, Result};
use crate::sql::analyze::{Typed, higher_order as higher_order_call};
use crate::sql::ast::Compare;
use crate::types::Type;

pub(super) use table::register;

/// Rows of an array as bytes that are equal when the values are.
pub(crate) fn encoded(array: &ArrayRef) -> Result<Rows> {
    let converter = RowConverter::new(vec![SortField::new(array.data_type().clone())])?;
    Ok(converter.convert_columns(&[Arc::clone(array)])?)
}

/// The rows at some indexes.
pub(crate) fn take(array: &ArrayRef, rows: &[usize]) -> Result<ArrayRef> {
    let rows: UInt64Array = rows.iter().map(|row| u64::try_from(*row).ok()).collect();
    Ok(arrow::compute::take(array, &rows, None)?)
}

/// One list a row.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the caller has no further use for it"
)]
pub(crate) fn lists(rows: Vec<Option<ArrayRef>>, element: &DataType) -> Result<ArrayRef> {
    let field = Arc::new(Field::new("item", element.clone(), true));
    let lengths: Vec<usize> = rows
        .iter()
        .map(|row| row.as_ref().map_or(0, |row| row.len()))
        .collect();
    let nulls: NullBuffer = rows.iter().map(Option::is_some).collect();
    let parts: Vec<&dyn Array> = rows.iter().flatten().map(AsRef::as_ref).collect();
    let values = if parts.is_empty() {
        new_empty_array(element)
    } else {
        arrow::compute::concat(&parts)?
    };
    done(ListArray::try_new(
        field,
        OffsetBuffer::from_lengths(lengths),
        values,
        Some(nulls),
    )?)
}

/// `ARRAY[…]` of elements already in one type.
pub(crate) fn make(items: Vec<Expr>, element: &Type) -> Typed {
    let ty = Type::array(element.clone());
    let shape = element.arrow();
    if items.is_empty() {
        let run = move |_: &Args| lists(vec![Some(new_empty_array(&shape))], &shape);
        // Without arguments a kernel is asked for every row; a literal is asked once.
        let empty = run(&Args::none());
        if let Ok(empty) = empty
            && let Ok(value) = datafusion::common::ScalarValue::try_from_array(&empty, 0)
        {
            return Typed::literal(value, ty);
        }
    }
    let shape = element.arrow();
    let run = move |args: &Args| {
        let rows = (0..args.rows).map(|row| {
            let cells: Vec<ArrayRef> = (0..args.len())
                .map(|arg| args.array(arg).slice(args.at(arg, row), 1))
                .collect();
            let cells: Vec<&dyn Array> = cells.iter().map(AsRef::as_ref).collect();
            Ok(Some(arrow::compute::concat(&cells)?))
        });
        lists(rows.collect::<Result<_>>()?, &shape)
    };
    Typed::new(
        Kernel::call(
            "array",
            ty.to_string(),
            ty.arrow(),
            OnFailure::Raise,
            items,
            Arc::new(run),
        ),
        ty,
    )
}

/// `a || b`: NULL when either is.
pub(crate) fn concat(items: Vec<Expr>, ty: Type) -> Typed {
    let DataType::List(field) = ty.arrow() else {
        return Typed::new(items.into_iter().next().unwrap_or_default(), ty);
    };
    let shape = field.data_type().clone();
    let run = move |args: &Args| {
        let rows = (0..args.rows).map(|row| {
            let parts: Option<Vec<ArrayRef>> =
                (0..args.len()).map(|arg| args.list(arg, row)).collect();
            let Some(parts) = parts else { return Ok(None) };
            let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
            Ok(Some(arrow::compute::concat(&parts)?))
        });
        lists(rows.collect::<Result<_>>()?, &shape)
    };
    Typed::new(
        Kernel::call(
            "concat",
            ty.to_string(),
            ty.arrow(),
            OnFailure::Raise,
            items,
            Arc::new(run),
        ),
        ty,
    )
}

/// One value a row, gathered from lists by position; `None` is NULL.
fn gather(
    args: &Args,
    element: &DataType,
    pick: impl Fn(&ArrayRef, i64) -> Result<Option<usize>>,
) -> Result<ArrayRef> {
    let mut rows = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        let found = match (args.list(0, row), args.i64(1, row)) {
            (Some(list), Some(index)) => pick(&list, index)?.map(|at| list.slice(at, 1)),
            _ => None,
        };
        rows.push(found.unwrap_or_else(|| new_null_array(element, 1)));
    }
    joined(&rows, element)
}

/// Arrays one after the other.
pub(crate) fn joined(parts: &[ArrayRef], element: &DataType) -> Result<ArrayRef> {
    if parts.is_empty() {
        return Ok(new_empty_array(element));
    }
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    Ok(arrow::compute::concat(&parts)?)
}

/// `a[i]`: out of bounds is an error.
pub(crate) fn subscript(array: Expr, index: Expr, element: &Type, on_failure: OnFailure) -> Typed {
    let shape = element.arrow();
    let result = shape.clone();
    let run = move |args: &Args| {
        gather(args, &shape, |list, index| {
            let bad = |message: String| Failure::new(Code::InvalidFunctionArgument, message);
            if index == 0 {
                return Err(bad("SQL array indices start at 1".to_owned()));
            }
            if index < 0 {
                return Err(bad(format!("Array subscript is negative: {index}")));
            }
            match usize::try_from(index)
                .ok()
                .filter(|index| *index <= list.len())
            {
                Some(index) => Ok(Some(index - 1)),
                None => Err(bad(format!(
                    "Array subscript must be less than or equal to array length: {index} > {}",
                    list.len()
                ))),
            }
        })
    };
    let key = element.to_string();
    Typed::new(
        Kernel::call(
            "subscript",
            key,
            result,
            on_failure,
            vec![array, index],
            Arc::new(run),
        ),
        element.clone(),
    )
}

/// `transform`, `filter`, `any_match` and the like.
pub(crate) fn higher_order(name: &str, value: Typed, param: String, body: Typed) -> Result<Typed> {
    let bodied = body.ty.clone();
    Ok(match name {
        "transform" => {
            let function = lambda::transform();
            let ty = Type::array(bodied);
            let call = higher_order_call(function, value.expr, param, body.expr);
            Typed::new(super::row::relabelled(call, &ty), ty)
        }
        "filter" => {
            let function = lambda::filter();
            Typed::new(
                higher_order_call(function, value.expr, param, body.expr),
                value.ty,
            )
        }
        _ => {
            // The verdicts of all elements, judged with three-valued logic.
            let function = lambda::transform();
            let verdicts = higher_order_call(function, value.expr, param, body.expr);
            matches(
                name,
                super::row::relabelled(verdicts, &Type::array(Type::Boolean)),
            )
        }
    })
}

fn matches(name: &str, verdicts: Expr) -> Typed {
    let kind = name.to_owned();
    let run = move |args: &Args| {
        let rows = (0..args.rows).map(|row| {
            let list = args.list(0, row)?;
            let verdicts: &BooleanArray = list.as_boolean();
            let unknown = verdicts.null_count() > 0;
            let any = |wanted: bool| verdicts.iter().flatten().any(|verdict| verdict == wanted);
            let (decided, otherwise) = match kind.as_str() {
                "any_match" => (any(true).then_some(true), false),
                "all_match" => (any(false).then_some(false), true),
                _ => (any(true).then_some(false), true),
            };
            decided.or(if unknown { None } else { Some(otherwise) })
        });
        done(rows.collect::<BooleanArray>())
    };
    Typed::boolean(Kernel::call(
        name,
        String::new(),
        DataType::Boolean,
        OnFailure::Raise,
        vec![verdicts],
        Arc::new(run),
    ))
}

/// Functions whose result type depends on more than one pattern: `map`, `zip`, `map_entries`, `map_from_entries`.
pub(crate) fn irregular(name: &str, values: Vec<Typed>, on_failure: OnFailure) -> Result<Typed> {
    let bad = |values: &[Typed]| {
        let types: Vec<String> = values.iter().map(|value| value.ty.to_string()).collect();
        Failure::new(
            Code::FunctionNotFound,
            format!(
                "Unexpected parameters ({}) for function {name}",
                types.join(", ")
            ),
        )
    };
    let types: Vec<Type> = values.iter().map(|value| value.ty.clone()).collect();
    match (name, types.as_slice()) {
        ("map", []) => Ok(map::from_arrays(
            vec![make(vec![], &Type::Unknown), make(vec![], &Type::Unknown)],
            on_failure,
        )),
        ("map", [Type::Array(_), Type::Array(_)]) => Ok(map::from_arrays(values, on_failure)),
        ("map_entries", [Type::Map(key, item)]) => {
            let entry = Type::Row(vec![(None, (**key).clone()), (None, (**item).clone())]);
            let value = values.into_iter().next().ok_or_else(|| bad(&[]))?;
            Ok(entries(value, &entry))
        }
        ("map_from_entries", [Type::Array(row)]) => match row.as_ref() {
            Type::Row(fields) if fields.len() == 2 => Ok(map::from_entries(
                values,
                &fields[0].1,
                &fields[1].1,
                on_failure,
            )),
            _ => Err(bad(&values)),
        },
        ("zip", types)
            if types.len() >= 2 && types.iter().all(|ty| matches!(ty, Type::Array(_))) =>
        {
            Ok(zip(values))
        }
        _ => Err(bad(&values)),
    }
}

fn zip(values: Vec<Typed>) -> Typed {
    let fields: Vec<(Option<String>, Type)> = values
        .iter()
        .map(|value| match &value.ty {
            Type::Array(element) => (None, (**element).clone()),
            other => (None, other.clone()),
        })
        .collect();
    let shapes = crate::types::row_fields(&fields);
    let ty = Type::array(Type::Row(fields));
    let element = DataType::Struct(shapes.clone());
    let args = values.into_iter().map(|value| value.expr).collect();
    let run = move |args: &Args| {
        let rows = (0..args.rows).map(|row| {
            let columns: Option<Vec<ArrayRef>> =
                (0..args.len()).map(|arg| args.list(arg, row)).collect();
            let Some(columns) = columns else {
                return Ok(None);
            };
            let length = columns.iter().map(|column| column.len()).max().unwrap_or(0);
            let columns = columns.iter().map(|column| {
                let padding = new_null_array(column.data_type(), length - column.len());
                joined(&[Arc::clone(column), padding], column.data_type())
            });
            let made = arrow::array::StructArray::try_new(
                shapes.clone(),
                columns.collect::<Result<_>>()?,
                None,
            )?;
            Ok(Some(Arc::new(made) as ArrayRef))
        });
        lists(rows.collect::<Result<_>>()?, &element)
    };
    Typed::new(
        Kernel::call(
            "zip",
            ty.to_string(),
            ty.arrow(),
            OnFailure::Raise,
            args,
            Arc::new(run),
        ),
        ty,
    )
}

/// A map as an array of its entries.
pub(crate) fn entries(value: Typed, entry: &Type) -> Typed {
    let ty = Type::array(entry.clone());
    let shape = entry.arrow();
    let run = move |args: &Args| {
        let DataType::Struct(fields) = &shape else {
            return Err(Failure::new(
                Code::GenericInternalError,
                "an entry is a row",
            ));
        };
        let rows = (0..args.rows).map(|row| {
            let Some((keys, values)) = args.map(0, row) else {
                return Ok(None);
            };
            let made =
                arrow::array::StructArray::try_new(fields.clone(), vec![keys, values], None)?;
            Ok(Some(Arc::new(made) as ArrayRef))
        });
        lists(rows.collect::<Result<_>>()?, &shape)
    };
    Typed::new(
        Kernel::call(
            "map_entries",
            ty.to_string(),
            ty.arrow(),
            OnFailure::Raise,
            vec![value.expr],
            Arc::new(run),
        ),
        ty,
    )
}

/// 1, 2, … as long as the longest of the lists; at least one element when rows without elements shall stay.
pub(crate) fn ordinals(items: Vec<Expr>, keep_empty: bool) -> Expr {
    let least = usize::from(keep_empty);
    let run = move |args: &Args| {
        let rows = (0..args.rows).map(|row| {
            let length = (0..args.len())
                .map(|arg| args.list(arg, row).map_or(0, |list| list.len()))
                .max()
                .unwrap_or(0);
            let end = i64::try_from(length.max(least)).unwrap_or(i64::MAX);
            Some(Arc::new((1..=end).map(Some).collect::<Int64Array>()) as ArrayRef)
        });
        lists(rows.collect(), &DataType::Int64)
    };
    let ty = Type::array(Type::Bigint);
    Kernel::call(
        "ordinals",
        keep_empty.to_string(),
        ty.arrow(),
        OnFailure::Raise,
        items,
        Arc::new(run),
    )
}

/// `x op ANY (values)` or `x op ALL (values)` over an array of the values, with three-valued logic.
pub(crate) fn quantified(value: Expr, values: Expr, ty: &Type, op: Compare, all: bool) -> Expr {
    let float = ty.is_float();
    let shape = ty.arrow();
    let run = move |args: &Args| {
        let mut verdicts = Vec::with_capacity(args.rows);
        for row in 0..args.rows {
            // No row at all: ANY is false, ALL is true, even for NULL.
            let list = args.list(1, row).unwrap_or_else(|| new_empty_array(&shape));
            verdicts.push(verdict(args, row, &list, op, all, float)?);
        }
        done(BooleanArray::from(verdicts))
    };
    let key = format!("{op:?}{all}{ty}");
    Kernel::call(
        "quantified",
        key,
        DataType::Boolean,
        OnFailure::Raise,
        vec![value, values],
        Arc::new(run),
    )
}

fn verdict(
    args: &Args,
    row: usize,
    list: &ArrayRef,
    op: Compare,
    all: bool,
    float: bool,
) -> Result<Option<bool>> {
    if list.is_empty() {
        return Ok(Some(all));
    }
    if args.is_null(0, row) {
        return Ok(None);
    }
    let value = arrow::array::Scalar::new(args.array(0).slice(args.at(0, row), 1));
    let compared = match op {
        Compare::Eq => cmp::eq(list, &value)?,
        Compare::NotEq => cmp::neq(list, &value)?,
        Compare::Lt => cmp::gt(list, &value)?,
        Compare::LtEq => cmp::gt_eq(list, &value)?,
        Compare::Gt => cmp::lt(list, &value)?,
        Compare::GtEq => cmp::lt_eq(list, &value)?,
    };
    if float && args.f64(0, row).is_some_and(f64::is_nan) {
        return Ok(Some(op == Compare::NotEq));
    }
    let decided = compared.iter().flatten().any(|verdict| verdict != all);
    Ok(if decided {
        Some(!all)
    } else if compared.null_count() > 0 {
        None
    } else {
        Some(all)
    })
}
