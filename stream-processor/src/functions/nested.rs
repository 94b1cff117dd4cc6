//! Fields of rows, elements of arrays, values of maps.

use arrow::array::{Array, AsArray, UInt32Array};
use arrow::compute::{cast, is_not_null, nullif, take};
use arrow::datatypes::{DataType, Int64Type};

use super::Invocation;
use crate::error::{Error, Position};
use crate::plan::coerce::is_integer;
use crate::plan::typed::{Kernel, Typed};
use crate::table::{SqlType, TypeRoot};

pub(super) const NAMES: &[&str] = &["CARDINALITY"];

pub(super) fn resolve(call: &mut Invocation<'_>) -> Result<Option<Typed>, Error> {
    if call.name != "CARDINALITY" {
        return Ok(None);
    }
    call.arity(1..=1)?;
    let arg = call.args.remove(0);
    if !matches!(
        arg.ty.root,
        TypeRoot::Array(_) | TypeRoot::Map(..) | TypeRoot::Multiset(_)
    ) {
        return Err(call.wrong(format!("needs an array or map, not {}", arg.ty)));
    }
    let ty = SqlType::of(TypeRoot::Int).with_nullable(arg.ty.nullable);
    let kernel = Kernel::new("CARDINALITY", |args, _| {
        let array = &args[0];
        let lengths: Vec<Option<i32>> = match array.data_type() {
            DataType::Map(..) => {
                let map = array.as_map();
                (0..array.len())
                    .map(|row| array.is_valid(row).then(|| map.value_length(row)))
                    .collect()
            }
            _ => {
                let list = array.as_list::<i32>();
                (0..array.len())
                    .map(|row| array.is_valid(row).then(|| list.value_length(row)))
                    .collect()
            }
        };
        Ok(<i32 as super::Outcome>::column(lengths))
    });
    Typed::call(kernel, vec![arg], ty).fold().map(Some)
}

/// `expr.name`
pub(crate) fn field(expr: Typed, name: &str, at: Position) -> Result<Typed, Error> {
    let TypeRoot::Row(fields) = &expr.ty.root else {
        return Err(Error::validation(
            format!("{} has no field `{name}`", expr.ty),
            at,
        ));
    };
    let Some(position) = fields.iter().position(|(field, _)| field == name) else {
        return Err(Error::validation(
            format!("{} has no field `{name}`", expr.ty),
            at,
        ));
    };
    let ty = fields[position]
        .1
        .with_nullable(fields[position].1.nullable || expr.ty.nullable);
    let kernel = Kernel::new(format!("FIELD[{position}]"), move |args, _| {
        let row = args[0].as_struct();
        let column = row.column(position);
        match row.nulls() {
            // A field of a NULL row is NULL.
            Some(_) => {
                let null = arrow::compute::not(&is_not_null(&args[0])?)?;
                Ok(nullif(column, &null)?)
            }
            None => Ok(column.clone()),
        }
    });
    Ok(Typed::call(kernel, vec![expr], ty))
}

/// `expr[index]`: arrays from 1, maps by key; NULL if there is none.
pub(crate) fn index(expr: Typed, index: Typed, at: Position) -> Result<Typed, Error> {
    match expr.ty.root.clone() {
        TypeRoot::Array(element) if is_integer(&index.ty.root) => {
            let kernel = Kernel::new("ELEMENT", |args, _| {
                let list = args[0].as_list::<i32>();
                let positions = cast(&args[1], &DataType::Int64)?;
                let positions = positions.as_primitive::<Int64Type>();
                let found: UInt32Array = (0..list.len())
                    .map(|row| {
                        let valid = list.is_valid(row) && positions.is_valid(row);
                        let position = valid.then(|| positions.value(row))?;
                        let inside = position >= 1 && position <= i64::from(list.value_length(row));
                        inside.then(|| (i64::from(list.value_offsets()[row]) + position - 1) as u32)
                    })
                    .collect();
                Ok(take(list.values(), &found, None)?)
            });
            Ok(Typed::call(
                kernel,
                vec![expr, index],
                element.with_nullable(true),
            ))
        }
        TypeRoot::Map(key, value) if crate::plan::coerce::is_text(&key.root) => {
            let kernel = Kernel::new("MAP_VALUE", |args, _| {
                let map = args[0].as_map();
                let keys = map.keys().as_string::<i32>();
                let wanted = args[1].as_string::<i32>();
                let found: UInt32Array = (0..map.len())
                    .map(|row| {
                        if map.is_null(row) || wanted.is_null(row) {
                            return None;
                        }
                        let offsets = map.value_offsets();
                        (offsets[row]..offsets[row + 1])
                            .rev()
                            .find(|entry| keys.value(*entry as usize) == wanted.value(row))
                            .map(|entry| entry as u32)
                    })
                    .collect();
                Ok(take(map.values(), &found, None)?)
            });
            let index = super::Kind::Text.coerce(index, chrono_tz::Tz::UTC, at, "a map's key")?;
            Ok(Typed::call(
                kernel,
                vec![expr, index],
                value.with_nullable(true),
            ))
        }
        other => Err(Error::unsupported(format!("{other}[…]"), at, "")),
    }
}
