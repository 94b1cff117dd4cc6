//! CAST of arrays, maps and rows: to others of their kind, element by element, and to strings; of bytes and strings.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, ListArray, StringArray, StringBuilder, StructArray,
};
use arrow::datatypes::DataType;
use chrono_tz::Tz;
use datafusion_common::Result as DfResult;

use super::cast::{Convert, conversion, simple};
use super::construct::map_of;
use super::{failed, text};
use crate::plan::coerce::{is_binary, is_text};
use crate::table::{SqlType, TypeRoot};

/// How values of the nested type `from` become ones of `to`; `None` if Flink has no such cast.
pub(super) fn between(from: &TypeRoot, to: &TypeRoot, attempt: bool, zone: Tz) -> Option<Convert> {
    let inner = |from: &SqlType, to: &SqlType| element(from, to, attempt, zone);
    let target = SqlType::of(to.clone()).arrow();
    Some(match (from, to) {
        (TypeRoot::Array(from), TypeRoot::Array(to)) => {
            let convert = inner(from, to)?;
            Box::new(move |array| {
                let DataType::List(field) = &target else {
                    return Err(failed("ARRAY is no list"));
                };
                let list = array.as_list::<i32>();
                let values = convert(list.values())?;
                let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
                Ok(Arc::new(ListArray::try_new(
                    field.clone(),
                    offsets,
                    values,
                    nulls,
                )?))
            })
        }
        (TypeRoot::Map(from_key, from_value), TypeRoot::Map(to_key, to_value)) => {
            let (key, value) = (inner(from_key, to_key)?, inner(from_value, to_value)?);
            Box::new(move |array| {
                let map = array.as_map();
                let columns = vec![key(map.keys())?, value(map.values())?];
                map_of(
                    &target,
                    map.offsets().clone(),
                    columns,
                    map.nulls().cloned(),
                )
            })
        }
        (TypeRoot::Multiset(from), TypeRoot::Multiset(to)) => {
            let key = inner(from, to)?;
            Box::new(move |array| {
                let map = array.as_map();
                let columns = vec![key(map.keys())?, map.values().clone()];
                map_of(
                    &target,
                    map.offsets().clone(),
                    columns,
                    map.nulls().cloned(),
                )
            })
        }
        (TypeRoot::Row(from), TypeRoot::Row(to)) if from.len() == to.len() => {
            let fields = from.iter().zip(to);
            let fields = fields
                .map(|((_, from), (_, to))| inner(from, to))
                .collect::<Option<Vec<_>>>()?;
            Box::new(move |array| {
                let DataType::Struct(names) = &target else {
                    return Err(failed("ROW is no struct"));
                };
                let row = array.as_struct();
                let columns = row.columns().iter().zip(&fields);
                let columns = columns
                    .map(|(column, convert)| convert(column))
                    .collect::<DfResult<Vec<_>>>()?;
                Ok(Arc::new(StructArray::try_new(
                    names.clone(),
                    columns,
                    row.nulls().cloned(),
                )?))
            })
        }
        _ => return None,
    })
}

fn element(from: &SqlType, to: &SqlType, attempt: bool, zone: Tz) -> Option<Convert> {
    if from.root == to.root {
        return Some(Box::new(|array| Ok(array.clone())));
    }
    conversion(&from.root, &to.root, attempt, zone)
}

/// Whether Flink writes values of the type as strings.
pub(super) fn has_text(root: &TypeRoot) -> bool {
    match root {
        TypeRoot::Array(element) | TypeRoot::Multiset(element) => has_text(&element.root),
        TypeRoot::Map(key, value) => has_text(&key.root) && has_text(&value.root),
        TypeRoot::Row(fields) => fields.iter().all(|(_, field)| has_text(&field.root)),
        root => is_text(root) || is_binary(root) || simple(root),
    }
}

/// Each value as `CAST(… AS STRING)` writes it, of a type that [`has_text`].
pub(super) fn texts_of(array: &ArrayRef, root: &TypeRoot, zone: Tz) -> DfResult<ArrayRef> {
    match root {
        root if is_text(root) => Ok(array.clone()),
        root if is_binary(root) => {
            let texts: StringArray = array
                .as_binary::<i32>()
                .iter()
                .map(|bytes| bytes.map(String::from_utf8_lossy))
                .collect();
            Ok(Arc::new(texts))
        }
        TypeRoot::Array(element) => {
            let list = array.as_list::<i32>();
            let texts = texts_of(list.values(), &element.root, zone)?;
            let offsets = list.value_offsets();
            written(array, ('[', ']'), |row, out| {
                (offsets[row]..offsets[row + 1]).for_each(|at| push(out, &texts, at as usize));
            })
        }
        TypeRoot::Map(key, _) | TypeRoot::Multiset(key) => {
            let map = array.as_map();
            let keys = texts_of(map.keys(), &key.root, zone)?;
            let values = match root {
                TypeRoot::Map(_, value) => texts_of(map.values(), &value.root, zone)?,
                _ => texts_of(map.values(), &TypeRoot::Int, zone)?,
            };
            let offsets = map.value_offsets();
            written(array, ('{', '}'), |row, out| {
                for at in offsets[row]..offsets[row + 1] {
                    push(out, &keys, at as usize);
                    out.push('=');
                    out.push_str(shown(&values, at as usize));
                }
            })
        }
        TypeRoot::Row(fields) => {
            let columns = array.as_struct().columns().iter().zip(fields);
            let columns = columns
                .map(|(column, (_, field))| texts_of(column, &field.root, zone))
                .collect::<DfResult<Vec<_>>>()?;
            written(array, ('(', ')'), |row, out| {
                columns.iter().for_each(|column| push(out, column, row));
            })
        }
        root => text::texts_of(array, root, zone),
    }
}

fn written(
    array: &ArrayRef,
    (open, close): (char, char),
    write: impl Fn(usize, &mut String),
) -> DfResult<ArrayRef> {
    let mut texts = StringBuilder::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            texts.append_null();
            continue;
        }
        let mut inner = String::new();
        write(row, &mut inner);
        // Every item has a comma before it.
        texts.append_value(format!(
            "{open}{}{close}",
            inner.get(2..).unwrap_or_default()
        ));
    }
    Ok(Arc::new(texts.finish()))
}

fn push(out: &mut String, texts: &ArrayRef, at: usize) {
    out.push_str(", ");
    out.push_str(shown(texts, at));
}

fn shown(texts: &ArrayRef, at: usize) -> &str {
    if texts.is_null(at) {
        return "NULL";
    }
    texts.as_string::<i32>().value(at)
}

/// The bytes of texts.
pub(super) fn bytes_of(array: &ArrayRef) -> ArrayRef {
    let texts = array.as_string::<i32>().iter();
    Arc::new(
        texts
            .map(|text| text.map(str::as_bytes))
            .collect::<BinaryArray>(),
    )
}

/// Cuts to VARBINARY(n), fills up to BINARY(n). `fills` is for what Flink also fills up to a VARBINARY.
pub(super) fn fit(array: &ArrayRef, to: &TypeRoot, fills: bool) -> ArrayRef {
    let (length, fills) = match to {
        TypeRoot::Binary(length) => (*length as usize, true),
        TypeRoot::Varbinary(length) => (*length as usize, fills),
        _ => return array.clone(),
    };
    if length >= i32::MAX as usize {
        return array.clone();
    }
    let fitted = array.as_binary::<i32>().iter().map(|bytes| {
        bytes.map(|bytes| {
            let mut bytes = bytes.to_vec();
            if fills || bytes.len() > length {
                bytes.resize(length, 0);
            }
            bytes
        })
    });
    Arc::new(fitted.collect::<BinaryArray>())
}
