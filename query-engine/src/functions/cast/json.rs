//! Casts to and from json.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::datatypes::{Float32Type, Float64Type};
use serde_json::{Map, Number, Value};

use super::{Step, invalid, scalar_text};
use crate::failure::{Code, Failure, Result};
use crate::types::Type;

/// A value of any type as json.
pub(crate) fn to_value(ty: &Type, array: &ArrayRef, row: usize) -> Result<Value> {
    if *ty == Type::Unknown || array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match ty {
        Type::Boolean => Value::Bool(array.as_boolean().value(row)),
        Type::Real => double(f64::from(array.as_primitive::<Float32Type>().value(row)))?,
        Type::Double => double(array.as_primitive::<Float64Type>().value(row))?,
        ty if ty.is_numeric() => number(&scalar_text(ty, array, row))?,
        Type::Json => parse(array.as_string::<i32>().value(row))?,
        Type::Varchar(_)
        | Type::Date
        | Type::Timestamp(_)
        | Type::TimestampTz(..)
        | Type::Time(_)
        | Type::Uuid => Value::String(scalar_text(ty, array, row)),
        Type::Array(element) => {
            let items = array.as_list::<i32>().value(row);
            Value::Array(
                (0..items.len())
                    .map(|at| to_value(element, &items, at))
                    .collect::<Result<_>>()?,
            )
        }
        Type::Map(key, value) => {
            let entries = array.as_map().value(row);
            let mut object = Map::new();
            for at in 0..entries.len() {
                object.insert(
                    scalar_text(key, entries.column(0), at),
                    to_value(value, entries.column(1), at)?,
                );
            }
            Value::Object(object)
        }
        Type::Row(fields) => {
            let columns = array.as_struct();
            let mut object = Map::new();
            for (index, (name, field)) in fields.iter().enumerate() {
                let name = name.clone().unwrap_or_default();
                let value = to_value(field, columns.column(index), row)?;
                // Trino writes both members; an object of ours holds a name once.
                if object.insert(name, value).is_some() {
                    return Err(Failure::new(
                        Code::NotSupported,
                        "casting a row with two fields of one name, or without names, to json is not supported",
                    ));
                }
            }
            Value::Object(object)
        }
        other => {
            return Err(Failure::new(
                Code::NotSupported,
                format!("casting {other} to json is not supported"),
            ));
        }
    })
}

fn double(value: f64) -> Result<Value> {
    Number::from_f64(value)
        .map(Value::Number)
        .ok_or_else(|| invalid(format!("Cannot cast {value} to JSON")))
}

fn number(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|_| invalid(format!("Cannot cast {text} to JSON")))
}

fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|_| {
        Failure::new(
            Code::InvalidFunctionArgument,
            format!("Cannot convert value to JSON: '{text}'"),
        )
    })
}

pub(super) fn encode(from: &Type) -> Result<Step> {
    if matches!(from, Type::Varbinary | Type::DayTime | Type::YearMonth) {
        return Err(Failure::new(
            Code::TypeMismatch,
            format!("Cannot cast {from} to json"),
        ));
    }
    let from = from.clone();
    Ok(Step::Run(Arc::new(move |array| {
        let rows = (0..array.len()).map(|row| {
            if array.is_null(row) {
                Ok(None)
            } else {
                Ok(Some(to_value(&from, array, row)?.to_string()))
            }
        });
        Ok(Arc::new(rows.collect::<Result<StringArray>>()?))
    })))
}

/// The text of a json scalar, as a varchar cast gives it; `None` is NULL.
pub(crate) fn of_value(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

pub(super) fn decode(to: &Type, zone: &Arc<str>) -> Result<Step> {
    let element = match to {
        Type::Array(element) => Some((**element).clone()),
        _ => None,
    };
    let supported = |ty: &Type| ty.is_varchar() || ty.is_numeric() || *ty == Type::Boolean;
    if !supported(to)
        && !element
            .as_ref()
            .is_some_and(|element| supported(element) || *element == Type::Json)
    {
        return Err(Failure::new(
            Code::NotSupported,
            format!("casting json to {to} is not supported"),
        ));
    }
    let to = to.clone();
    let zone = Arc::clone(zone);
    Ok(Step::Run(Arc::new(move |array| {
        let texts: &StringArray = array.as_string();
        let values = texts
            .iter()
            .map(|text| text.map(parse).transpose())
            .collect::<Result<Vec<_>>>()?;
        match &element {
            None => scalars(&values, &to, &zone),
            Some(element) => {
                let lists = values.iter().map(|value| match value {
                    None | Some(Value::Null) => Ok(None),
                    Some(Value::Array(items)) => {
                        let items: Vec<Option<Value>> = items.iter().cloned().map(Some).collect();
                        scalars(&items, element, &zone).map(Some)
                    }
                    Some(other) => Err(invalid(format!(
                        "Cannot cast to {to}. Expected a json array, but got {other}"
                    ))),
                });
                super::super::array::lists(lists.collect::<Result<_>>()?, &element.arrow())
            }
        }
    })))
}

fn scalars(values: &[Option<Value>], to: &Type, zone: &Arc<str>) -> Result<ArrayRef> {
    let texts = values.iter().map(|value| match value {
        None => Ok(None),
        Some(value) if *to == Type::Json => Ok(Some(value.to_string())),
        Some(Value::Array(_) | Value::Object(_)) => Err(invalid(format!(
            "Cannot cast to {to}: the value is not a scalar"
        ))),
        Some(Value::Bool(truth)) if to.is_numeric() => Ok(Some(u8::from(*truth).to_string())),
        Some(Value::Number(number)) if to.is_integer() && number.as_i64().is_none() => {
            let rounded = number.as_f64().map(f64::round).unwrap_or(f64::NAN);
            Ok(Some(format!("{rounded}")))
        }
        Some(value) => Ok(of_value(value)),
    });
    let texts: ArrayRef = Arc::new(texts.collect::<Result<StringArray>>()?);
    if *to == Type::Json {
        return Ok(texts);
    }
    super::converter(&Type::VARCHAR, to, zone)?(&texts)
}
