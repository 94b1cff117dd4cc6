//! Functions of arrays and maps that choose, order and join their elements.
//!
//! All but a few say, for each row, which elements of its arguments the result has: places in the arguments' elements,
//! which lie behind each other. Elements are compared by their encodings, so that NULL equals NULL and NaN itself.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, StructArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{concat, take};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion_common::Result as DfResult;

use super::Kind::Text;
use super::construct::map_of;
use super::{Cells, Invocation, failed};
use crate::error::Error;
use crate::plan::coerce::{self, is_text};
use crate::plan::typed::{Kernel, Typed};
use crate::table::{SqlType, TypeRoot};

pub(super) const NAMES: &[&str] = &[
    "ARRAY_APPEND",
    "ARRAY_CONCAT",
    "ARRAY_CONTAINS",
    "ARRAY_DISTINCT",
    "ARRAY_EXCEPT",
    "ARRAY_INTERSECT",
    "ARRAY_JOIN",
    "ARRAY_MAX",
    "ARRAY_MIN",
    "ARRAY_POSITION",
    "ARRAY_PREPEND",
    "ARRAY_REMOVE",
    "ARRAY_REVERSE",
    "ARRAY_SLICE",
    "ARRAY_SORT",
    "ARRAY_UNION",
    "ELEMENT",
    "MAP_ENTRIES",
    "MAP_FROM_ARRAYS",
    "MAP_KEYS",
    "MAP_VALUES",
];

pub(super) fn resolve(call: &mut Invocation<'_>) -> Result<Option<Typed>, Error> {
    let choose: Choose = match call.name {
        "ARRAY_CONCAT" => |sets| sets.concat(),
        "ARRAY_REVERSE" => |sets| sets.concat().into_iter().rev().collect(),
        "ARRAY_DISTINCT" | "ARRAY_UNION" => |sets| distinct(sets.concat()),
        "ARRAY_APPEND" | "ARRAY_PREPEND" | "ARRAY_CONTAINS" | "ARRAY_POSITION" | "ARRAY_REMOVE" => {
            return with_element(call).map(Some);
        }
        "ARRAY_EXCEPT" => |sets| {
            let kept = sets[0]
                .iter()
                .filter(|item| !sets[1].iter().any(|other| same(other, item)));
            distinct(kept.copied().collect())
        },
        "ARRAY_INTERSECT" => |sets| {
            let kept = sets[0]
                .iter()
                .filter(|item| sets[1].iter().any(|other| same(other, item)));
            distinct(kept.copied().collect())
        },
        "ARRAY_MAX" | "ARRAY_MIN" | "ELEMENT" => return one_element(call).map(Some),
        "ARRAY_JOIN" => return join(call).map(Some),
        "ARRAY_SLICE" => return slice(call).map(Some),
        "ARRAY_SORT" => return sort(call).map(Some),
        "MAP_KEYS" | "MAP_VALUES" | "MAP_ENTRIES" => return parts_of_map(call).map(Some),
        "MAP_FROM_ARRAYS" => return map_from_arrays(call).map(Some),
        _ => return Ok(None),
    };
    let arity = match call.name {
        "ARRAY_CONCAT" => 1..=usize::MAX,
        "ARRAY_REVERSE" | "ARRAY_DISTINCT" => 1..=1,
        _ => 2..=2,
    };
    call.arity(arity)?;
    chosen(call, choose).map(Some)
}

/// An element: its place and its encoding.
type Item<'r> = (u32, arrow::row::Row<'r>);
/// Which elements of the arguments' a result has.
type Choose = fn(Vec<Vec<Item<'_>>>) -> Vec<Item<'_>>;

fn same(left: &Item<'_>, right: &Item<'_>) -> bool {
    left.1 == right.1
}

fn distinct(items: Vec<Item<'_>>) -> Vec<Item<'_>> {
    let mut kept: Vec<Item<'_>> = Vec::with_capacity(items.len());
    for item in items {
        if !kept.iter().any(|known| same(known, &item)) {
            kept.push(item);
        }
    }
    kept
}

fn element_of(call: &Invocation<'_>, arg: &Typed) -> Result<SqlType, Error> {
    match &arg.ty.root {
        TypeRoot::Array(element) => Ok((**element).clone()),
        _ => Err(call.wrong(format!("needs an array, not {}", arg.ty))),
    }
}

/// What a row of an array column has, as places in its elements.
fn places(list: &ListArray, row: usize) -> std::ops::Range<u32> {
    let offsets = list.value_offsets();
    offsets[row] as u32..offsets[row + 1] as u32
}

fn encoded(values: &ArrayRef) -> DfResult<Rows> {
    let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())])?;
    Ok(converter.convert_columns(std::slice::from_ref(values))?)
}

/// Refuses elements that cannot be compared.
fn comparable(call: &Invocation<'_>, element: &SqlType) -> Result<(), Error> {
    if RowConverter::supports_fields(&[SortField::new(element.arrow())]) {
        return Ok(());
    }
    let what = format!("{} of elements of type {element}", call.name);
    Err(Error::unsupported(what, call.at, ""))
}

/// An array column of the chosen elements; `None` is a NULL.
fn gathered(
    data_type: &DataType,
    values: &ArrayRef,
    chosen: Vec<Option<Vec<u32>>>,
) -> DfResult<ArrayRef> {
    let DataType::List(field) = data_type else {
        return Err(failed("an array is no list"));
    };
    let nulls: NullBuffer = chosen.iter().map(Option::is_some).collect();
    let lengths = chosen.iter().map(|row| row.as_ref().map_or(0, Vec::len));
    let offsets = OffsetBuffer::from_lengths(lengths);
    let places: UInt32Array = chosen.into_iter().flatten().flatten().collect();
    let values = take(values, &places, None)?;
    let list = ListArray::try_new(field.clone(), offsets, values, Some(nulls))?;
    Ok(Arc::new(list))
}

/// All arguments are arrays of one type, and so is the result.
fn chosen(call: &mut Invocation<'_>, choose: Choose) -> Result<Typed, Error> {
    let args = std::mem::take(&mut call.args);
    for arg in &args {
        element_of(call, arg)?;
    }
    let ty = coerce::common_of(&args.iter().collect::<Vec<_>>(), call.name, call.at)?;
    if let TypeRoot::Array(element) = &ty.root {
        comparable(call, element)?;
    }
    let zone = call.zone;
    let args = args.into_iter().map(|arg| coerce::to(arg, &ty, zone));
    let args = args.collect::<Result<Vec<_>, _>>()?;
    let data_type = ty.arrow();
    let kernel = Kernel::new(format!("{}[{ty}]", call.name), move |args, n_rows| {
        let lists: Vec<&ListArray> = args.iter().map(|arg| arg.as_list::<i32>()).collect();
        let values: Vec<&dyn Array> = lists.iter().map(|list| &**list.values()).collect();
        let values = concat(&values)?;
        let rows = encoded(&values)?;
        let chosen = (0..n_rows).map(|row| {
            if lists.iter().any(|list| list.is_null(row)) {
                return None;
            }
            let mut before = 0;
            let sets = lists.iter().map(|list| {
                let places = places(list, row).map(|place| place + before);
                let items = places
                    .map(|place| (place, rows.row(place as usize)))
                    .collect();
                before += list.values().len() as u32;
                items
            });
            let chosen = choose(sets.collect());
            Some(chosen.into_iter().map(|(place, _)| place).collect())
        });
        gathered(&data_type, &values, chosen.collect())
    });
    Ok(Typed::call(kernel.total(), args, ty))
}

/// The functions of an array and an element.
fn with_element(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(2..=2)?;
    let mut args = std::mem::take(&mut call.args);
    let (Some(needle), Some(array)) = (args.pop(), args.pop()) else {
        return Err(call.wrong("needs an array and an element"));
    };
    let element = element_of(call, &array)?;
    let common = if needle.is_null_literal() {
        element.with_nullable(true)
    } else {
        let both = coerce::common(&element, &needle.ty);
        both.ok_or_else(|| call.wrong(format!("{element} and {} have no common type", needle.ty)))?
    };
    comparable(call, &common)?;
    let nullable = array.ty.nullable;
    let ty = SqlType::of(TypeRoot::Array(Box::new(common.clone()))).with_nullable(nullable);
    let result = match call.name {
        "ARRAY_CONTAINS" => SqlType::of(TypeRoot::Boolean).with_nullable(nullable),
        "ARRAY_POSITION" => {
            SqlType::of(TypeRoot::Int).with_nullable(nullable || needle.ty.nullable)
        }
        _ => ty.clone(),
    };
    let args = vec![
        coerce::to(array, &ty, call.zone)?,
        coerce::to(needle, &common, call.zone)?,
    ];
    let (name, data_type) = (call.name.to_owned(), ty.arrow());
    let kernel = Kernel::new(format!("{name}[{ty}]"), move |args, n_rows| {
        let (list, needles) = (args[0].as_list::<i32>(), &args[1]);
        let before = list.values().len() as u32;
        let values = concat(&[&**list.values(), &**needles])?;
        let rows = encoded(&values)?;
        let needle = |row: usize| before + row as u32;
        let is_needle =
            |place: u32, row: usize| rows.row(place as usize) == rows.row(needle(row) as usize);
        let found = |row: usize| places(list, row).position(|place| is_needle(place, row));
        let valid = |row: &usize| list.is_valid(*row);
        match name.as_str() {
            "ARRAY_CONTAINS" => {
                let all = (0..n_rows).map(|row| valid(&row).then(|| found(row).is_some()));
                Ok(Arc::new(all.collect::<BooleanArray>()) as ArrayRef)
            }
            "ARRAY_POSITION" => {
                let at = |row: usize| found(row).map_or(0, |at| at as i32 + 1);
                let known = |row: &usize| valid(row) && needles.is_valid(*row);
                let all = (0..n_rows).map(|row| known(&row).then(|| at(row)));
                Ok(<i32 as super::Outcome>::column(all.collect()))
            }
            _ => {
                let chosen = |row: usize| -> Vec<u32> {
                    let items = places(list, row);
                    match name.as_str() {
                        "ARRAY_APPEND" => items.chain([needle(row)]).collect(),
                        "ARRAY_PREPEND" => std::iter::once(needle(row)).chain(items).collect(),
                        _ => items.filter(|place| !is_needle(*place, row)).collect(),
                    }
                };
                let all = (0..n_rows).map(|row| valid(&row).then(|| chosen(row)));
                gathered(&data_type, &values, all.collect())
            }
        }
    });
    Ok(Typed::call(kernel.total(), args, result))
}

/// ARRAY_MAX, ARRAY_MIN, and ELEMENT, which fails the job unless there is one or none.
fn one_element(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(1..=1)?;
    let array = call.args.remove(0);
    let element = element_of(call, &array)?;
    comparable(call, &element)?;
    let name = call.name.to_owned();
    let kernel = Kernel::new(format!("{name}[{element}]"), move |args, n_rows| {
        let list = args[0].as_list::<i32>();
        let rows = encoded(list.values())?;
        let mut chosen = Vec::with_capacity(n_rows);
        for row in 0..n_rows {
            let all = if list.is_null(row) {
                0..0
            } else {
                places(list, row)
            };
            let some = all
                .clone()
                .filter(|place| list.values().is_valid(*place as usize));
            let by_value = |a: &u32, b: &u32| rows.row(*a as usize).cmp(&rows.row(*b as usize));
            chosen.push(match name.as_str() {
                "ARRAY_MAX" => some.max_by(by_value),
                "ARRAY_MIN" => some.min_by(by_value),
                _ if all.len() > 1 => {
                    return Err(failed("ELEMENT: the array has more than one element"));
                }
                _ => all.clone().next(),
            });
        }
        Ok(take(list.values(), &UInt32Array::from(chosen), None)?)
    });
    Ok(Typed::call(
        kernel,
        vec![array],
        element.with_nullable(true),
    ))
}

/// `ARRAY_JOIN(array, delimiter [, for NULLs])`: NULLs are left out unless something stands for them.
fn join(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(2..=3)?;
    let nullable = call.nullable();
    let array = call.args.remove(0);
    let element = element_of(call, &array)?;
    if !is_text(&element.root) {
        return Err(call.wrong(format!("needs an array of strings, not {}", array.ty)));
    }
    let mut args = vec![array];
    args.extend(call.take(&[Text])?);
    let kernel = Kernel::new("ARRAY_JOIN", |args, n_rows| {
        let list = args[0].as_list::<i32>();
        let values = list.values().as_string::<i32>();
        let others = args[1..]
            .iter()
            .map(Cells::of)
            .collect::<DfResult<Vec<_>>>()?;
        let joined = (0..n_rows).map(|row| {
            if list.is_null(row) || others.iter().any(|other| other.is_null(row)) {
                return None;
            }
            let instead = others.get(1).map(|other| other.text(row));
            let texts = places(list, row).filter_map(|place| {
                let place = place as usize;
                values
                    .is_valid(place)
                    .then(|| values.value(place))
                    .or(instead)
            });
            Some(texts.collect::<Vec<_>>().join(others[0].text(row)))
        });
        Ok(<String as super::Outcome>::column(joined.collect()))
    });
    let ty = SqlType::string().with_nullable(nullable);
    Ok(Typed::call(kernel.total(), args, ty))
}

/// `ARRAY_SLICE(array, first [, last])`, counted from one, from the end if negative.
fn slice(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(2..=3)?;
    let nullable = call.nullable();
    let array = call.args.remove(0);
    element_of(call, &array)?;
    let ty = array.ty.with_nullable(nullable);
    let data_type = ty.arrow();
    let mut args = vec![array];
    args.extend(call.take(&[super::Kind::Int])?);
    let kernel = Kernel::new(format!("ARRAY_SLICE[{ty}]"), move |args, n_rows| {
        let list = args[0].as_list::<i32>();
        let bounds = args[1..]
            .iter()
            .map(Cells::of)
            .collect::<DfResult<Vec<_>>>()?;
        let chosen = (0..n_rows).map(|row| {
            if list.is_null(row) || bounds.iter().any(|bound| bound.is_null(row)) {
                return None;
            }
            let all = places(list, row);
            let length = i64::from(all.end - all.start);
            let from_end = |at: i64| if at < 0 { at + length + 1 } else { at };
            let first = from_end(bounds[0].int(row)).max(1);
            let last = bounds
                .get(1)
                .map_or(length, |bound| from_end(bound.int(row)));
            let last = if last == 0 { 1 } else { last.min(length) };
            let skip = usize::try_from(first - 1).unwrap_or(0);
            let kept = usize::try_from(last - first + 1).unwrap_or(0);
            Some(all.skip(skip).take(kept).collect())
        });
        gathered(&data_type, list.values(), chosen.collect())
    });
    Ok(Typed::call(kernel.total(), args, ty))
}

/// `ARRAY_SORT(array [, ascending [, NULLs first]])`: NULLs are the least unless said otherwise.
fn sort(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(1..=3)?;
    let nullable = call.nullable();
    let args = std::mem::take(&mut call.args);
    let element = element_of(call, &args[0])?;
    comparable(call, &element)?;
    if let Some(other) = args[1..]
        .iter()
        .find(|arg| arg.ty.root != TypeRoot::Boolean)
    {
        return Err(call.wrong(format!("needs BOOLEAN, not {}", other.ty)));
    }
    let ty = args[0].ty.with_nullable(nullable);
    let data_type = ty.arrow();
    let kernel = Kernel::new(format!("ARRAY_SORT[{ty}]"), move |args, n_rows| {
        let list = args[0].as_list::<i32>();
        let values = list.values();
        let rows = encoded(values)?;
        let said = |at: usize, row: usize| args.get(at).map(|arg| arg.as_boolean().value(row));
        let chosen = (0..n_rows).map(|row| {
            if args.iter().any(|arg| arg.is_null(row)) {
                return None;
            }
            let ascending = said(1, row).unwrap_or(true);
            let nulls_first = said(2, row).unwrap_or(ascending);
            let mut all: Vec<u32> = places(list, row).collect();
            all.sort_by(|a, b| {
                let (a, b) = (*a as usize, *b as usize);
                match (values.is_null(a), values.is_null(b)) {
                    (true, true) => Ordering::Equal,
                    (false, false) if ascending => rows.row(a).cmp(&rows.row(b)),
                    (false, false) => rows.row(b).cmp(&rows.row(a)),
                    (a_is_null, _) if a_is_null == nulls_first => Ordering::Less,
                    _ => Ordering::Greater,
                }
            });
            Some(all)
        });
        gathered(&data_type, values, chosen.collect())
    });
    Ok(Typed::call(kernel.total(), args, ty))
}

/// MAP_KEYS, MAP_VALUES, MAP_ENTRIES.
fn parts_of_map(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(1..=1)?;
    let map = call.args.remove(0);
    let TypeRoot::Map(key, value) = &map.ty.root else {
        return Err(call.wrong(format!("needs a map, not {}", map.ty)));
    };
    let element = match call.name {
        "MAP_KEYS" => key.with_nullable(false),
        "MAP_VALUES" => (**value).clone(),
        _ => SqlType::required(TypeRoot::Row(vec![
            ("key".to_owned(), key.with_nullable(false)),
            ("value".to_owned(), (**value).clone()),
        ])),
    };
    let ty = SqlType::of(TypeRoot::Array(Box::new(element))).with_nullable(map.ty.nullable);
    let (name, data_type) = (call.name.to_owned(), ty.arrow());
    let kernel = Kernel::new(format!("{name}[{ty}]"), move |args, _| {
        let DataType::List(field) = &data_type else {
            return Err(failed("an array is no list"));
        };
        let map = args[0].as_map();
        let values: ArrayRef = match (name.as_str(), field.data_type()) {
            ("MAP_KEYS", _) => map.keys().clone(),
            (_, DataType::Struct(fields)) if name == "MAP_ENTRIES" => {
                let columns = vec![map.keys().clone(), map.values().clone()];
                Arc::new(StructArray::try_new(fields.clone(), columns, None)?)
            }
            _ => map.values().clone(),
        };
        let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
        Ok(Arc::new(ListArray::try_new(
            field.clone(),
            offsets,
            values,
            nulls,
        )?))
    });
    Ok(Typed::call(kernel.total(), vec![map], ty))
}

/// `MAP_FROM_ARRAYS(keys, values)`: arrays of different lengths fail the job.
fn map_from_arrays(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(2..=2)?;
    let args = std::mem::take(&mut call.args);
    let (key, value) = (element_of(call, &args[0])?, element_of(call, &args[1])?);
    let nullable = args.iter().any(|arg| arg.ty.nullable);
    let root = TypeRoot::Map(Box::new(key), Box::new(value));
    let ty = SqlType::of(root).with_nullable(nullable);
    let data_type = ty.arrow();
    let kernel = Kernel::new(format!("MAP_FROM_ARRAYS[{ty}]"), move |args, n_rows| {
        let (keys, values) = (args[0].as_list::<i32>(), args[1].as_list::<i32>());
        let (mut lengths, mut from) = (Vec::new(), (Vec::new(), Vec::new()));
        let known = |row: usize| keys.is_valid(row) && values.is_valid(row);
        for row in 0..n_rows {
            let (ours, theirs) = match known(row) {
                true => (places(keys, row), places(values, row)),
                false => (0..0, 0..0),
            };
            if ours.len() != theirs.len() {
                return Err(failed(format!(
                    "MAP_FROM_ARRAYS: {} keys and {} values",
                    ours.len(),
                    theirs.len()
                )));
            }
            lengths.push(ours.len());
            from.0.extend(ours);
            from.1.extend(theirs);
        }
        let keys = take(keys.values(), &UInt32Array::from(from.0), None)?;
        let values = take(values.values(), &UInt32Array::from(from.1), None)?;
        if keys.null_count() > 0 {
            return Err(failed("the key of a MAP must not be NULL"));
        }
        let nulls: NullBuffer = (0..n_rows).map(known).collect();
        let offsets = OffsetBuffer::from_lengths(lengths);
        map_of(&data_type, offsets, vec![keys, values], Some(nulls))
    });
    Ok(Typed::call(kernel, args, ty))
}
