//! Maps: making, looking up, taking apart.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, MapArray, StructArray, new_null_array};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;

use super::array::{encoded, joined, lists};
use super::kernel::{Args, Kernel, OnFailure, Run};
use super::{Invocation, Table};
use crate::failure::{Code, Failure, Result};
use crate::sql::analyze::Typed;
use crate::types::Type;

/// Collects maps row by row.
#[derive(Default)]
pub(crate) struct Builder {
    rows: Vec<Option<(ArrayRef, ArrayRef)>>,
}

impl Builder {
    pub(crate) fn push(&mut self, keys: ArrayRef, values: ArrayRef) {
        self.rows.push(Some((keys, values)));
    }

    pub(crate) fn null(&mut self) {
        self.rows.push(None);
    }

    pub(crate) fn finish(self, ty: &Type) -> Result<ArrayRef> {
        let DataType::Map(field, _) = ty.arrow() else {
            return Err(Failure::new(Code::GenericInternalError, "not a map"));
        };
        let DataType::Struct(fields) = field.data_type().clone() else {
            return Err(Failure::new(Code::GenericInternalError, "not a map"));
        };
        let lengths: Vec<usize> = self
            .rows
            .iter()
            .map(|row| row.as_ref().map_or(0, |(keys, _)| keys.len()))
            .collect();
        let nulls: NullBuffer = self.rows.iter().map(Option::is_some).collect();
        let keys: Vec<ArrayRef> = self
            .rows
            .iter()
            .flatten()
            .map(|(keys, _)| Arc::clone(keys))
            .collect();
        let values: Vec<ArrayRef> = self
            .rows
            .iter()
            .flatten()
            .map(|(_, values)| Arc::clone(values))
            .collect();
        let keys = joined(&keys, fields[0].data_type())?;
        let values = joined(&values, fields[1].data_type())?;
        let entries = StructArray::try_new(fields, vec![keys, values], None)?;
        Ok(Arc::new(MapArray::try_new(
            field,
            OffsetBuffer::from_lengths(lengths),
            entries,
            Some(nulls),
            false,
        )?))
    }
}

fn position(keys: &ArrayRef, args: &Args, row: usize) -> Result<Option<usize>> {
    let wanted = args.array(1).slice(args.at(1, row), 1);
    let keys = encoded(keys)?;
    let wanted = encoded(&wanted)?;
    Ok((0..keys.num_rows()).find(|at| keys.row(*at).as_ref() == wanted.row(0).as_ref()))
}

fn lookup(args: &Args, value: &DataType, missing: Option<&Type>) -> Result<ArrayRef> {
    let mut rows = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        let found = match args.map(0, row) {
            Some((keys, values)) if !args.is_null(1, row) => {
                match (position(&keys, args, row)?, missing) {
                    (Some(at), _) => Some(values.slice(at, 1)),
                    (None, None) => None,
                    (None, Some(key)) => {
                        let shown = super::cast::scalar_text(key, args.array(1), args.at(1, row));
                        return Err(Failure::new(
                            Code::InvalidFunctionArgument,
                            format!("Key not present in map: {shown}"),
                        ));
                    }
                }
            }
            _ => None,
        };
        rows.push(found.unwrap_or_else(|| new_null_array(value, 1)));
    }
    joined(&rows, value)
}

/// `m[k]`: a missing key is an error.
pub(crate) fn subscript(
    map: Expr,
    key: Expr,
    (key_type, value): (&Type, &Type),
    on_failure: OnFailure,
) -> Typed {
    let shape = value.arrow();
    let key_type = key_type.clone();
    let name = format!("map{value}");
    let run = move |args: &Args| lookup(args, &shape, Some(&key_type));
    Typed::new(
        Kernel::call(
            "subscript",
            name,
            value.arrow(),
            on_failure,
            vec![map, key],
            Arc::new(run),
        ),
        value.clone(),
    )
}

fn checked(keys: &ArrayRef) -> Result<()> {
    if keys.null_count() > 0 {
        return Err(Failure::new(
            Code::InvalidFunctionArgument,
            "map key cannot be null",
        ));
    }
    let rows = encoded(keys)?;
    let mut seen = HashSet::new();
    for row in &rows {
        if !seen.insert(row.as_ref().to_vec()) {
            return Err(Failure::new(
                Code::InvalidFunctionArgument,
                "Duplicate map keys are not allowed",
            ));
        }
    }
    Ok(())
}

fn element(ty: &Type) -> Type {
    match ty {
        Type::Array(element) => (**element).clone(),
        other => other.clone(),
    }
}

/// `MAP(keys, values)`.
pub(crate) fn from_arrays(values: Vec<Typed>, on_failure: OnFailure) -> Typed {
    let ty = Type::map(element(&values[0].ty), element(&values[1].ty));
    let shape = ty.clone();
    let run = move |args: &Args| {
        let mut maps = Builder::default();
        for row in 0..args.rows {
            match (args.list(0, row), args.list(1, row)) {
                (Some(keys), Some(values)) => {
                    if keys.len() != values.len() {
                        return Err(Failure::new(
                            Code::InvalidFunctionArgument,
                            "Key and value arrays must be the same length",
                        ));
                    }
                    checked(&keys)?;
                    maps.push(keys, values);
                }
                _ => maps.null(),
            }
        }
        maps.finish(&shape)
    };
    let args = values.into_iter().map(|value| value.expr).collect();
    Typed::new(
        Kernel::call(
            "map",
            ty.to_string(),
            ty.arrow(),
            on_failure,
            args,
            Arc::new(run),
        ),
        ty,
    )
}

/// `map_from_entries(rows)`.
pub(crate) fn from_entries(
    values: Vec<Typed>,
    key: &Type,
    value: &Type,
    on_failure: OnFailure,
) -> Typed {
    let ty = Type::map(key.clone(), value.clone());
    let shape = ty.clone();
    let run = move |args: &Args| {
        let mut maps = Builder::default();
        for row in 0..args.rows {
            match args.list(0, row) {
                Some(entries) => {
                    let keys = super::row::field_of(&entries, 0)?;
                    checked(&keys)?;
                    maps.push(keys, super::row::field_of(&entries, 1)?);
                }
                None => maps.null(),
            }
        }
        maps.finish(&shape)
    };
    let args = values.into_iter().map(|value| value.expr).collect();
    Typed::new(
        Kernel::call(
            "map_from_entries",
            ty.to_string(),
            ty.arrow(),
            on_failure,
            args,
            Arc::new(run),
        ),
        ty,
    )
}

fn element_at(call: &Invocation) -> Result<Run> {
    let value = call.returns.arrow();
    Ok(Arc::new(move |args| lookup(args, &value, None)))
}

fn half(call: &Invocation, second: bool) -> Run {
    let element = match call.returns.arrow() {
        DataType::List(field) => field.data_type().clone(),
        other => other,
    };
    Arc::new(move |args| {
        let rows = (0..args.rows).map(|row| {
            args.map(0, row)
                .map(|(keys, values)| if second { values } else { keys })
        });
        lists(rows.collect(), &element)
    })
}

fn concatenated(call: &Invocation) -> Result<Run> {
    let shape = call.returns.clone();
    Ok(Arc::new(move |args| {
        let mut maps = Builder::default();
        for row in 0..args.rows {
            let parts: Option<Vec<_>> = (0..args.len()).map(|arg| args.map(arg, row)).collect();
            let Some(parts) = parts else {
                maps.null();
                continue;
            };
            let keys: Vec<ArrayRef> = parts.iter().map(|(keys, _)| Arc::clone(keys)).collect();
            let values: Vec<ArrayRef> =
                parts.iter().map(|(_, values)| Arc::clone(values)).collect();
            let keys = joined(&keys, parts[0].0.data_type())?;
            let values = joined(&values, parts[0].1.data_type())?;
            let rows = encoded(&keys)?;
            // The last map that has a key wins.
            let mut seen = HashSet::new();
            let mut kept: Vec<usize> = (0..keys.len())
                .rev()
                .filter(|at| seen.insert(rows.row(*at).as_ref().to_vec()))
                .collect();
            kept.reverse();
            maps.push(
                super::array::take(&keys, &kept)?,
                super::array::take(&values, &kept)?,
            );
        }
        maps.finish(&shape)
    }))
}

pub(super) fn register(table: &mut Table) {
    table.made(
        "element_at(map(K,V), K) V",
        "Value of a key, or NULL",
        element_at,
    );
    table.lenient();
    table.made("map_keys(map(K,V)) array(K)", "Keys of a map", |call| {
        Ok(half(call, false))
    });
    table.made("map_values(map(K,V)) array(V)", "Values of a map", |call| {
        Ok(half(call, true))
    });
    table.made(
        "map_concat(map(K,V), map(K,V)...) map(K,V)",
        "Union of maps",
        concatenated,
    );
    table.run(
        "cardinality(map(K,V)) bigint",
        "Number of entries",
        |args| {
            let maps: &MapArray = args.array(0).as_map();
            let lengths = (0..maps.len()).map(|row| {
                maps.is_valid(row)
                    .then(|| i64::from(maps.value_length(row)))
            });
            super::kernel::done(lengths.collect::<arrow::array::Int64Array>())
        },
    );
}
