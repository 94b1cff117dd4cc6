//! Rows as Trino's JSON arrays, and types as its type signatures.

use std::fmt::Write as _;

use base64::Engine as _;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Float32Type, Float64Type};
use serde_json::{Value, json};

use crate::functions::cast::scalar_text;
use crate::functions::datetime::parse::time_at;
use crate::functions::datetime::text;
use crate::types::Type;

/// A type as clients without parametric times know it.
pub(crate) fn shown(ty: &Type, parametric: bool) -> Type {
    if parametric {
        return ty.clone();
    }
    match ty {
        Type::Timestamp(_) => Type::Timestamp(3),
        Type::TimestampTz(_, zone) => Type::TimestampTz(3, zone.clone()),
        Type::Time(_) => Type::Time(3),
        Type::Array(element) => Type::array(shown(element, parametric)),
        Type::Map(key, value) => Type::map(shown(key, parametric), shown(value, parametric)),
        Type::Row(fields) => Type::Row(
            fields
                .iter()
                .map(|(name, ty)| (name.clone(), shown(ty, parametric)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// The name of a type for this client.
pub(crate) fn type_name(ty: &Type, parametric: bool) -> String {
    let name = ty.to_string();
    if parametric {
        name
    } else {
        name.replace("timestamp(3)", "timestamp")
            .replace("time(3)", "time")
    }
}

/// `{"rawType": …, "arguments": […]}`.
pub(crate) fn signature(ty: &Type, parametric: bool) -> Value {
    let long = |value: i64| json!({"kind": "LONG", "value": value});
    let of = |ty: &Type| json!({"kind": "TYPE", "value": signature(ty, parametric)});
    let arguments = match ty {
        Type::Decimal(precision, scale) => {
            vec![long(i64::from(*precision)), long(i64::from(*scale))]
        }
        Type::Varchar(length) => vec![long(length.map_or(2_147_483_647, i64::from))],
        Type::Time(precision) | Type::Timestamp(precision) | Type::TimestampTz(precision, _)
            if parametric =>
        {
            vec![long(i64::from(*precision))]
        }
        Type::Array(element) => vec![of(element)],
        Type::Map(key, value) => vec![of(key), of(value)],
        Type::Row(fields) => fields
            .iter()
            .map(|(name, ty)| {
                let mut value = json!({"typeSignature": signature(ty, parametric)});
                if let (Some(name), Value::Object(object)) = (name, &mut value) {
                    object.insert("fieldName".to_owned(), json!({"name": name}));
                }
                json!({"kind": "NAMED_TYPE", "value": value})
            })
            .collect(),
        _ => Vec::new(),
    };
    json!({"rawType": ty.base_name(), "arguments": arguments})
}

/// Appends rows `from..to` of a batch, each followed by a comma where another comes.
pub(crate) fn row(
    out: &mut String,
    batch: &RecordBatch,
    types: &[Type],
    row: usize,
    parametric: bool,
) {
    out.push('[');
    for (index, ty) in types.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        value(out, ty, batch.column(index), row, parametric);
    }
    out.push(']');
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn float(out: &mut String, value: f64, shown: impl std::fmt::Display) {
    if value.is_nan() {
        out.push_str("\"NaN\"");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 {
            "\"Infinity\""
        } else {
            "\"-Infinity\""
        });
    } else {
        // Writing to a String cannot fail.
        let _ = write!(out, "{shown}");
    }
}

fn value(out: &mut String, ty: &Type, array: &ArrayRef, row: usize, parametric: bool) {
    if *ty == Type::Unknown || array.is_null(row) {
        out.push_str("null");
        return;
    }
    match ty {
        Type::Boolean | Type::Tinyint | Type::Smallint | Type::Integer | Type::Bigint => {
            out.push_str(&scalar_text(ty, array, row));
        }
        Type::Real => {
            let value = array.as_primitive::<Float32Type>().value(row);
            float(out, f64::from(value), format_args!("{value:?}"));
        }
        Type::Double => {
            let value = array.as_primitive::<Float64Type>().value(row);
            float(out, value, format_args!("{value:?}"));
        }
        Type::Varchar(_) | Type::Json => quoted(out, array.as_string::<i32>().value(row)),
        Type::Varbinary => {
            out.push('"');
            base64::engine::general_purpose::STANDARD
                .encode_string(array.as_binary::<i32>().value(row), out);
            out.push('"');
        }
        Type::Timestamp(precision) if !parametric && *precision != 3 => {
            let time = time_at(crate::functions::cast::raw(array, row), *precision > 6);
            quoted(
                out,
                &time.map(|time| text::local(time, 3)).unwrap_or_default(),
            );
        }
        Type::Array(element) => {
            let items = array.as_list::<i32>().value(row);
            out.push('[');
            for at in 0..items.len() {
                if at > 0 {
                    out.push(',');
                }
                value(out, element, &items, at, parametric);
            }
            out.push(']');
        }
        Type::Map(key, item) => {
            let entries = array.as_map().value(row);
            out.push('{');
            for at in 0..entries.len() {
                if at > 0 {
                    out.push(',');
                }
                quoted(out, &scalar_text(key, entries.column(0), at));
                out.push(':');
                value(out, item, entries.column(1), at, parametric);
            }
            out.push('}');
        }
        Type::Row(fields) => {
            let columns = array.as_struct();
            out.push('[');
            for (index, (_, field)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                value(out, field, columns.column(index), row, parametric);
            }
            out.push(']');
        }
        other => quoted(out, &scalar_text(other, array, row)),
    }
}
