//! The array functions of the table.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Int64Array, StringArray, new_null_array,
};
use datafusion::arrow::compute::{SortOptions, sort_to_indices};
use datafusion::arrow::datatypes::DataType;

use super::{encoded, joined, lists, take};
use crate::failure::{Code, Failure, Result};
use crate::functions::kernel::{Args, Run, done};
use crate::functions::{Invocation, Table, cast};
use crate::types::Type;

fn element(call: &Invocation) -> Type {
    match &call.types[0] {
        Type::Array(element) => (**element).clone(),
        other => other.clone(),
    }
}

/// One list a row, made from the list of the first argument.
fn mapped(
    call: &Invocation,
    make: impl Fn(&Args, usize, &ArrayRef) -> Result<ArrayRef> + Send + Sync + 'static,
) -> Run {
    let DataType::List(field) = call.returns.arrow() else {
        return Arc::new(|args| Ok(Arc::clone(args.array(0))));
    };
    Arc::new(move |args| {
        let rows = (0..args.rows).map(|row| {
            let nulls = (1..args.len()).any(|arg| args.is_null(arg, row));
            match args.list(0, row) {
                Some(list) if !nulls => make(args, row, &list).map(Some),
                _ => Ok(None),
            }
        });
        lists(rows.collect::<Result<_>>()?, field.data_type())
    })
}

fn sorted(list: &ArrayRef) -> Result<Vec<usize>> {
    let order = SortOptions {
        descending: false,
        nulls_first: false,
    };
    let indexes = sort_to_indices(list, Some(order), None)?;
    Ok(indexes
        .values()
        .iter()
        .filter_map(|index| usize::try_from(*index).ok())
        .collect())
}

fn distinct(list: &ArrayRef) -> Result<Vec<usize>> {
    let rows = encoded(list)?;
    let mut seen = HashSet::new();
    Ok((0..list.len())
        .filter(|at| seen.insert(rows.row(*at).as_ref().to_vec()))
        .collect())
}

/// Elements of the first list that are, or are not, in the second; each once.
fn matched(list: &ArrayRef, other: &ArrayRef, wanted: bool) -> Result<ArrayRef> {
    let others = encoded(other)?;
    let others: HashSet<Vec<u8>> = others.iter().map(|row| row.as_ref().to_vec()).collect();
    let rows = encoded(list)?;
    let kept: Vec<usize> = distinct(list)?
        .into_iter()
        .filter(|at| others.contains(rows.row(*at).as_ref()) == wanted)
        .collect();
    take(list, &kept)
}

/// `array_max` and `array_min`: NULL if any element is.
fn extreme(call: &Invocation, last: bool) -> Run {
    let shape = call.returns.arrow();
    Arc::new(move |args| {
        let mut rows = Vec::with_capacity(args.rows);
        for row in 0..args.rows {
            let found = match args.list(0, row) {
                Some(list) if !list.is_empty() && list.null_count() == 0 => {
                    let order = sorted(&list)?;
                    let at = if last { order.last() } else { order.first() };
                    at.map(|at| list.slice(*at, 1))
                }
                _ => None,
            };
            rows.push(found.unwrap_or_else(|| new_null_array(&shape, 1)));
        }
        joined(&rows, &shape)
    })
}

/// Where a value is in a list: equal rows of bytes.
fn find(args: &Args, row: usize) -> Result<Option<(Option<usize>, bool)>> {
    let Some(list) = args.list(0, row) else {
        return Ok(None);
    };
    if args.is_null(1, row) {
        return Ok(None);
    }
    let value = encoded(&args.array(1).slice(args.at(1, row), 1))?;
    let rows = encoded(&list)?;
    let found = (0..list.len()).find(|at| rows.row(*at).as_ref() == value.row(0).as_ref());
    Ok(Some((found, list.null_count() > 0)))
}

fn contains(args: &Args) -> Result<ArrayRef> {
    let rows = (0..args.rows).map(|row| {
        Ok(find(args, row)?.and_then(|(at, unknown)| {
            if at.is_some() {
                Some(true)
            } else if unknown {
                None
            } else {
                Some(false)
            }
        }))
    });
    done(rows.collect::<Result<BooleanArray>>()?)
}

fn array_position(args: &Args) -> Result<ArrayRef> {
    let rows = (0..args.rows).map(|row| {
        Ok(find(args, row)?
            .map(|(at, _)| at.map_or(0, |at| i64::try_from(at + 1).unwrap_or(i64::MAX))))
    });
    done(rows.collect::<Result<Int64Array>>()?)
}

/// `element_at(array, index)`: negative from the end, NULL beyond either end.
fn element_at(call: &Invocation) -> Result<Run> {
    let shape = call.returns.arrow();
    Ok(Arc::new(move |args| {
        super::gather(args, &shape, |list, index| {
            if index == 0 {
                return Err(Failure::new(
                    Code::InvalidFunctionArgument,
                    "SQL array indices start at 1",
                ));
            }
            let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
            let at = if index > 0 { index - 1 } else { length + index };
            Ok(usize::try_from(at).ok().filter(|at| *at < list.len()))
        })
    }))
}

fn slice(args: &Args, row: usize, list: &ArrayRef) -> Result<ArrayRef> {
    let bad = |message: &str| Failure::new(Code::InvalidFunctionArgument, message);
    let (start, length) = (args.i64(1, row).unwrap_or(0), args.i64(2, row).unwrap_or(0));
    if start == 0 {
        return Err(bad("SQL array indices start at 1"));
    }
    if length < 0 {
        return Err(bad("length must be greater than or equal to 0"));
    }
    let all = i64::try_from(list.len()).unwrap_or(i64::MAX);
    let from = if start > 0 { start - 1 } else { all + start };
    let Some(from) = usize::try_from(from).ok().filter(|from| *from < list.len()) else {
        return Ok(list.slice(0, 0));
    };
    let length = usize::try_from(length)
        .unwrap_or(usize::MAX)
        .min(list.len() - from);
    Ok(list.slice(from, length))
}

fn join(call: &Invocation) -> Result<Run> {
    let element = element(call);
    if matches!(
        element,
        Type::Array(_) | Type::Map(..) | Type::Row(_) | Type::Varbinary
    ) {
        return Err(Failure::new(
            Code::NotSupported,
            format!("array_join of {element} is not supported"),
        ));
    }
    Ok(Arc::new(move |args| {
        let rows = (0..args.rows).map(|row| {
            let (list, separator) = (args.list(0, row)?, args.str(1, row)?);
            let null = if args.len() > 2 {
                Some(args.str(2, row)?)
            } else {
                None
            };
            let mut parts = Vec::with_capacity(list.len());
            for at in 0..list.len() {
                if list.is_valid(at) {
                    parts.push(cast::scalar_text(&element, &list, at));
                } else if let Some(null) = null {
                    parts.push(null.to_owned());
                }
            }
            Some(parts.join(separator))
        });
        done(rows.collect::<StringArray>())
    }))
}

fn flatten(call: &Invocation) -> Result<Run> {
    let DataType::List(field) = call.returns.arrow() else {
        return Err(Failure::new(
            Code::GenericInternalError,
            "flatten makes an array",
        ));
    };
    Ok(Arc::new(move |args| {
        let rows = (0..args.rows).map(|row| {
            let Some(outer) = args.list(0, row) else {
                return Ok(None);
            };
            let outer: &arrow::array::ListArray = crate::functions::kernel::downcast(&outer)?;
            let parts: Vec<ArrayRef> = (0..outer.len())
                .filter(|at| outer.is_valid(*at))
                .map(|at| outer.value(at))
                .collect();
            joined(&parts, field.data_type()).map(Some)
        });
        lists(rows.collect::<Result<_>>()?, field.data_type())
    }))
}

const MAX_SEQUENCE: i64 = 10_000;

fn sequence(args: &Args) -> Result<ArrayRef> {
    let bad = |message: String| Failure::new(Code::InvalidFunctionArgument, message);
    let rows = (0..args.rows).map(|row| {
        let (Some(start), Some(stop)) = (args.i64(0, row), args.i64(1, row)) else { return Ok(None) };
        let step = match args.len() {
            2 => if stop >= start { 1 } else { -1 },
            _ => match args.i64(2, row) {
                Some(step) => step,
                None => return Ok(None),
            },
        };
        if step == 0 || (stop > start) == (step < 0) && stop != start {
            return Err(bad("sequence stop value should be greater than or equal to start value if step is greater than zero otherwise stop should be less than or equal to start".into()));
        }
        let length = (i128::from(stop) - i128::from(start)) / i128::from(step) + 1;
        if length > i128::from(MAX_SEQUENCE) {
            return Err(bad(format!("result of sequence function must not have more than {MAX_SEQUENCE} entries")));
        }
        let values = (0..i64::try_from(length).unwrap_or(0)).map(|n| start + n * step);
        Ok(Some(Arc::new(values.collect::<Int64Array>()) as ArrayRef))
    });
    lists(rows.collect::<Result<_>>()?, &DataType::Int64)
}

fn repeat(call: &Invocation) -> Result<Run> {
    let DataType::List(field) = call.returns.arrow() else {
        return Err(Failure::new(
            Code::GenericInternalError,
            "repeat makes an array",
        ));
    };
    Ok(Arc::new(move |args| {
        let rows = (0..args.rows).map(|row| {
            let Some(count) = args.i64(1, row) else {
                return Ok(None);
            };
            if !(0..=MAX_SEQUENCE).contains(&count) {
                return Err(Failure::new(
                    Code::InvalidFunctionArgument,
                    format!(
                        "count argument of repeat function must be between 0 and {MAX_SEQUENCE}"
                    ),
                ));
            }
            take(
                args.array(0),
                &vec![args.at(0, row); usize::try_from(count).unwrap_or(0)],
            )
            .map(Some)
        });
        lists(rows.collect::<Result<_>>()?, field.data_type())
    }))
}

#[expect(
    clippy::too_many_lines,
    reason = "one arm a case of the dialect, each a plain construction"
)]
pub(in crate::functions) fn register(table: &mut Table) {
    table.run(
        "cardinality(array(T)) bigint",
        "Number of elements",
        |args| {
            done(
                (0..args.rows)
                    .map(|row| {
                        args.list(0, row)
                            .and_then(|list| i64::try_from(list.len()).ok())
                    })
                    .collect::<Int64Array>(),
            )
        },
    );
    table.made(
        "element_at(array(T), bigint) T",
        "Element at an index, from the end when negative",
        element_at,
    );
    table.lenient();
    table.run(
        "contains(array(T), T) boolean",
        "Is the value an element?",
        contains,
    );
    table.run(
        "array_position(array(T), T) bigint",
        "Index of the first such element, or 0",
        array_position,
    );
    table.made(
        "array_distinct(array(T)) array(T)",
        "Elements without duplicates",
        |call| Ok(mapped(call, |_, _, list| take(list, &distinct(list)?))),
    );
    table.made(
        "array_sort(array(T)) array(T)",
        "Elements in order, NULL last",
        |call| Ok(mapped(call, |_, _, list| take(list, &sorted(list)?))),
    );
    table.made("array_max(array(T)) T", "Largest element", |call| {
        Ok(extreme(call, true))
    });
    table.lenient();
    table.made("array_min(array(T)) T", "Smallest element", |call| {
        Ok(extreme(call, false))
    });
    table.lenient();
    table.made(
        "array_join(array(T), varchar) varchar",
        "Elements joined with a separator",
        join,
    );
    table.made(
        "array_join(array(T), varchar, varchar) varchar",
        "Elements joined, NULL replaced",
        join,
    );
    table.made(
        "array_remove(array(T), T) array(T)",
        "Elements without a value",
        |call| {
            Ok(mapped(call, |args, row, list| {
                let value = encoded(&args.array(1).slice(args.at(1, row), 1))?;
                let rows = encoded(list)?;
                let kept: Vec<usize> = (0..list.len())
                    .filter(|at| rows.row(*at).as_ref() != value.row(0).as_ref())
                    .collect();
                take(list, &kept)
            }))
        },
    );
    table.made(
        "array_intersect(array(T), array(T)) array(T)",
        "Elements in both arrays",
        |call| {
            Ok(mapped(call, |args, row, list| {
                matched(
                    list,
                    &args.list(1, row).unwrap_or_else(|| list.slice(0, 0)),
                    true,
                )
            }))
        },
    );
    table.made(
        "array_except(array(T), array(T)) array(T)",
        "Elements of the first array only",
        |call| {
            Ok(mapped(call, |args, row, list| {
                matched(
                    list,
                    &args.list(1, row).unwrap_or_else(|| list.slice(0, 0)),
                    false,
                )
            }))
        },
    );
    table.made(
        "array_union(array(T), array(T)) array(T)",
        "Elements of either array",
        |call| {
            Ok(mapped(call, |args, row, list| {
                let both = joined(
                    &[
                        Arc::clone(list),
                        args.list(1, row).unwrap_or_else(|| list.slice(0, 0)),
                    ],
                    list.data_type(),
                )?;
                take(&both, &distinct(&both)?)
            }))
        },
    );
    table.made(
        "slice(array(T), bigint, bigint) array(T)",
        "Part of an array",
        |call| Ok(mapped(call, slice)),
    );
    table.made("reverse(array(T)) array(T)", "Elements backwards", |call| {
        Ok(mapped(call, |_, _, list| {
            take(list, &(0..list.len()).rev().collect::<Vec<_>>())
        }))
    });
    table.made(
        "flatten(array(array(T))) array(T)",
        "Arrays joined",
        flatten,
    );
    table.run(
        "sequence(bigint, bigint) array(bigint)",
        "Numbers from one to another",
        sequence,
    );
    table.run(
        "sequence(bigint, bigint, bigint) array(bigint)",
        "Numbers with a step",
        sequence,
    );
    table.made(
        "repeat(T, bigint) array(T)",
        "A value several times",
        repeat,
    );
    table.lenient();
}
