//! Casts to and from json.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::datatypes::{Decimal128Type, Float32Type, Float64Type};

use super::{Step, invalid, scalar_text};
use crate::failure::{Code, Failure, Result};
use crate::functions::datetime::text;
use crate::functions::json::node::{self, Node};
use crate::types::Type;

/// A value of any type as json.
fn to_node(ty: &Type, array: &ArrayRef, row: usize) -> Result<Node> {
    if *ty == Type::Unknown || array.is_null(row) {
        return Ok(Node::Null);
    }
    Ok(match ty {
        Type::Boolean => Node::Bool(array.as_boolean().value(row)),
        Type::Real | Type::Double => float(ty, array, row)?,
        Type::Decimal(_, scale) => Node::Number(node::decimal(
            array.as_primitive::<Decimal128Type>().value(row),
            *scale,
        )),
        ty if ty.is_integer() => Node::Number(scalar_text(ty, array, row)),
        Type::Json => parse(array.as_string::<i32>().value(row))?,
        Type::Varchar(_)
        | Type::Date
        | Type::Timestamp(_)
        | Type::TimestampTz(..)
        | Type::Time(_)
        | Type::Uuid => Node::Text(scalar_text(ty, array, row)),
        Type::Array(element) => {
            let items = array.as_list::<i32>().value(row);
            Node::Array(
                (0..items.len())
                    .map(|at| to_node(element, &items, at))
                    .collect::<Result<_>>()?,
            )
        }
        Type::Map(key, value) => {
            let entries = array.as_map().value(row);
            let mut members = (0..entries.len())
                .map(|at| {
                    Ok((
                        key_text(key, entries.column(0), at),
                        to_node(value, entries.column(1), at)?,
                    ))
                })
                .collect::<Result<Vec<_>>>()?;
            node::sort_members(&mut members);
            Node::Object(members)
        }
        Type::Row(fields) => {
            let columns = array.as_struct();
            let members = fields.iter().enumerate().map(|(index, (name, field))| {
                let value = to_node(field, columns.column(index), row)?;
                Ok((name.clone().unwrap_or_default(), value))
            });
            Node::Object(members.collect::<Result<_>>()?)
        }
        other => {
            return Err(Failure::new(
                Code::NotSupported,
                format!("casting {other} to json is not supported"),
            ));
        }
    })
}

fn float(ty: &Type, array: &ArrayRef, row: usize) -> Result<Node> {
    let text = key_text(ty, array, row);
    if text.ends_with(|c: char| c.is_ascii_digit()) {
        Ok(Node::Number(text))
    } else {
        Err(invalid(format!("Cannot cast {text} to JSON")))
    }
}

/// A map's key as the name of a member: floats are spelled as Java prints them, not as a cast does.
fn key_text(ty: &Type, array: &ArrayRef, row: usize) -> String {
    match ty {
        Type::Real => node::real(array.as_primitive::<Float32Type>().value(row)),
        Type::Double => node::double(array.as_primitive::<Float64Type>().value(row)),
        ty => scalar_text(ty, array, row),
    }
}

fn parse(text: &str) -> Result<Node> {
    Node::parse(text).ok_or_else(|| {
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
                Ok(Some(to_node(&from, array, row)?.to_string()))
            }
        });
        Ok(Arc::new(rows.collect::<Result<StringArray>>()?))
    })))
}

/// The text of a json scalar from which a cast makes a value of type `to`; `None` is NULL.
pub(crate) fn text_for(value: &Node, to: &Type) -> Option<String> {
    match value {
        Node::Text(text) => Some(text.clone()),
        Node::Null => None,
        Node::Bool(truth) if to.is_numeric() => Some(u8::from(*truth).to_string()),
        Node::Number(digits) => Some(number_for(digits, to)),
        other => Some(other.to_string()),
    }
}

/// Trino reads a number with a fraction as a double and casts that.
fn number_for(digits: &str, to: &Type) -> String {
    let Ok(value) = digits.parse::<f64>() else {
        return digits.to_owned();
    };
    match to {
        Type::Boolean => (value != 0.0).to_string(),
        to if to.is_varchar() && node::is_fraction(digits) => text::double(value),
        to if to.is_integer() && node::is_fraction(digits) => format!("{}", value.round()),
        _ => digits.to_owned(),
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
                    None | Some(Node::Null) => Ok(None),
                    Some(Node::Array(items)) => {
                        let items: Vec<Option<Node>> = items.iter().cloned().map(Some).collect();
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

fn scalars(values: &[Option<Node>], to: &Type, zone: &Arc<str>) -> Result<ArrayRef> {
    let texts = values.iter().map(|value| match value {
        None => Ok(None),
        Some(value) if *to == Type::Json => Ok(Some(value.to_string())),
        Some(Node::Array(_) | Node::Object(_)) => Err(invalid(format!(
            "Cannot cast to {to}: the value is not a scalar"
        ))),
        Some(value) => Ok(text_for(value, to)),
    });
    let texts: ArrayRef = Arc::new(texts.collect::<Result<StringArray>>()?);
    if *to == Type::Json {
        return Ok(texts);
    }
    super::converter(&Type::VARCHAR, to, zone)?(&texts)
}
