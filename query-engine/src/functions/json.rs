//! JSON: parsing, printing, and values at a path.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use serde_json::Value;

use super::Table;
use super::cast::{self, of_value};
use super::kernel::{Args, Kernel, OnFailure, done};
use crate::failure::{Code, Failure, Result};
use crate::sql::analyze::Typed;
use crate::types::{Type, coerces};

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

/// `$.a[0]["b"]`; wildcards, filters and methods are refused.
fn path(text: &str) -> Result<Vec<Step>> {
    let bad = || {
        Failure::new(
            Code::InvalidFunctionArgument,
            format!("Invalid JSON path: '{text}'"),
        )
    };
    let refused = || {
        Failure::new(
            Code::NotSupported,
            format!("the JSON path '{text}' is not supported"),
        )
    };
    let mut rest = text.trim().strip_prefix('$').ok_or_else(bad)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            if let Some(quoted) = after.strip_prefix('"') {
                let end = quoted.find('"').ok_or_else(bad)?;
                steps.push(Step::Key(quoted[..end].to_owned()));
                rest = &quoted[end + 1..];
                continue;
            }
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let key = &after[..end];
            if key.is_empty() || key.contains(['*', '(', '?', ' ', '@']) {
                return Err(refused());
            }
            steps.push(Step::Key(key.to_owned()));
            rest = &after[end..];
        } else if let Some(after) = rest.strip_prefix('[') {
            let end = after.find(']').ok_or_else(bad)?;
            let inner = after[..end].trim();
            let quoted = inner
                .strip_prefix('"')
                .and_then(|inner| inner.strip_suffix('"'));
            steps.push(match quoted {
                Some(key) => Step::Key(key.to_owned()),
                None => Step::Index(inner.parse().map_err(|_| refused())?),
            });
            rest = &after[end + 1..];
        } else {
            return Err(refused());
        }
    }
    Ok(steps)
}

fn walk<'v>(value: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.as_object()?.get(key),
        Step::Index(index) => value.as_array()?.get(*index),
    })
}

/// Lax mode: a key of an array is the key of its only element.
fn walk_lax<'v>(value: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    steps
        .iter()
        .try_fold(value, |value, step| match (step, value) {
            (Step::Key(key), Value::Array(items)) if items.len() == 1 => {
                items[0].as_object()?.get(key)
            }
            (Step::Key(key), _) => value.as_object()?.get(key),
            (Step::Index(0), other) if !other.is_array() => Some(other),
            (Step::Index(index), _) => value.as_array()?.get(*index),
        })
}

/// `json_extract`, `json_extract_scalar`, `json_size`.
#[expect(
    clippy::too_many_lines,
    reason = "one arm a case of the dialect, each a plain construction"
)]
pub(crate) fn path_call(name: &str, values: Vec<Typed>, on_failure: OnFailure) -> Result<Typed> {
    let mut values = values.into_iter();
    let (Some(input), Some(wanted)) = (values.next(), values.next()) else {
        return Err(Failure::new(
            Code::InvalidFunctionArgument,
            format!("{name} takes two arguments"),
        ));
    };
    if !matches!(input.ty, Type::Varchar(_) | Type::Json | Type::Unknown)
        || !coerces(&wanted.ty, &Type::VARCHAR)
    {
        return Err(Failure::new(
            Code::FunctionNotFound,
            format!(
                "Unexpected parameters ({}, {}) for function {name}",
                input.ty, wanted.ty
            ),
        ));
    }
    let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = &wanted.expr else {
        return Err(Failure::new(
            Code::NotSupported,
            format!("{name} with a path that is not a literal is not supported"),
        ));
    };
    let steps = path(text)?;
    let ty = match name {
        "json_extract" => Type::Json,
        "json_size" => Type::Bigint,
        _ => Type::VARCHAR,
    };
    let kind = name.to_owned();
    let run = move |args: &Args| {
        let found = |row: usize| {
            args.str(0, row)
                .and_then(|text| serde_json::from_str::<Value>(text).ok())
                .and_then(|value| walk(&value, &steps).cloned())
        };
        match kind.as_str() {
            "json_extract" => done(
                (0..args.rows)
                    .map(|row| found(row).map(|value| value.to_string()))
                    .collect::<StringArray>(),
            ),
            "json_size" => done(
                (0..args.rows)
                    .map(|row| {
                        found(row).map(|value| match value {
                            Value::Array(items) => i64::try_from(items.len()).unwrap_or(i64::MAX),
                            Value::Object(fields) => {
                                i64::try_from(fields.len()).unwrap_or(i64::MAX)
                            }
                            _ => 0,
                        })
                    })
                    .collect::<Int64Array>(),
            ),
            _ => done(
                (0..args.rows)
                    .map(|row| {
                        found(row)
                            .filter(|value| !value.is_array() && !value.is_object())
                            .and_then(|value| of_value(&value))
                    })
                    .collect::<StringArray>(),
            ),
        }
    };
    let key = format!("{text}{}", input.ty);
    let input = cast::plain(input.expr, &Type::VARCHAR);
    Ok(Typed::new(
        Kernel::call(
            name,
            key,
            ty.arrow(),
            on_failure,
            vec![input],
            Arc::new(run),
        ),
        ty,
    ))
}

/// `json_value`, `json_query` and `json_exists` with a lax path: NULL on empty, NULL on error.
#[expect(
    clippy::too_many_lines,
    reason = "one arm a case of the dialect, each a plain construction"
)]
pub(crate) fn standard_call(
    name: &str,
    input: Typed,
    text: &str,
    returning: &Type,
    zone: &Arc<str>,
) -> Result<Typed> {
    if !matches!(input.ty, Type::Varchar(_) | Type::Json | Type::Unknown) {
        return Err(Failure::new(
            Code::TypeMismatch,
            format!(
                "Cannot read input of type {} as JSON using formatting JSON",
                input.ty
            ),
        ));
    }
    let text = text.trim();
    let Some(lax) = text.strip_prefix("lax ") else {
        return Err(Failure::new(
            Code::NotSupported,
            format!("the JSON path '{text}' is not supported: it must begin with 'lax $'"),
        ));
    };
    let steps = path(lax)?;
    let kind = name.to_owned();
    let ty = if name == "json_exists" {
        Type::Boolean
    } else {
        Type::VARCHAR
    };
    let run = move |args: &Args| -> Result<ArrayRef> {
        let found = |row: usize| {
            args.str(0, row)
                .and_then(|text| serde_json::from_str::<Value>(text).ok())
                .map(|value| walk_lax(&value, &steps).cloned())
        };
        match kind.as_str() {
            "json_exists" => done(
                (0..args.rows)
                    .map(|row| {
                        if args.is_null(0, row) {
                            None
                        } else {
                            Some(found(row).flatten().is_some())
                        }
                    })
                    .collect::<BooleanArray>(),
            ),
            "json_value" => done(
                (0..args.rows)
                    .map(|row| {
                        found(row)
                            .flatten()
                            .filter(|value| !value.is_array() && !value.is_object())
                            .and_then(|value| of_value(&value))
                    })
                    .collect::<StringArray>(),
            ),
            _ => done(
                (0..args.rows)
                    .map(|row| found(row).flatten().map(|value| value.to_string()))
                    .collect::<StringArray>(),
            ),
        }
    };
    let key = format!("{text}{}", input.ty);
    let input = cast::plain(input.expr, &Type::VARCHAR);
    let made = Typed::new(
        Kernel::call(
            name,
            key,
            ty.arrow(),
            OnFailure::Raise,
            vec![input],
            Arc::new(run),
        ),
        ty,
    );
    if name != "json_value" || returning.is_varchar() {
        return Ok(made);
    }
    cast::explicit(made, returning, OnFailure::Null, zone)
}

fn parsed(args: &Args) -> Result<ArrayRef> {
    let rows = (0..args.rows).map(|row| {
        args.str(0, row)
            .map(|text| {
                serde_json::from_str::<Value>(text)
                    .map(|value| value.to_string())
                    .map_err(|_| {
                        Failure::new(
                            Code::InvalidFunctionArgument,
                            format!("Cannot convert value to JSON: '{text}'"),
                        )
                    })
            })
            .transpose()
    });
    done(rows.collect::<Result<StringArray>>()?)
}

pub(super) fn register(table: &mut Table) {
    table.run("json_parse(varchar) json", "Reads json", parsed);
    table.run("json_format(json) varchar", "Prints json", |args| {
        args.expanded(0)
    });
    for ty in ["json", "varchar"] {
        table.run(
            &format!("json_array_length({ty}) bigint"),
            "Number of elements of a json array",
            |args| {
                done(
                    (0..args.rows)
                        .map(|row| {
                            let value: Value = serde_json::from_str(args.str(0, row)?).ok()?;
                            i64::try_from(value.as_array()?.len()).ok()
                        })
                        .collect::<Int64Array>(),
                )
            },
        );
        table.lenient();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_or_refused() {
        assert_eq!(
            path("$.a[0][\"b c\"]").unwrap(),
            [
                Step::Key("a".into()),
                Step::Index(0),
                Step::Key("b c".into())
            ]
        );
        assert_eq!(path("$").unwrap(), []);
        assert_eq!(path("$.a[*]").unwrap_err().code, Code::NotSupported);
        assert_eq!(path("a").unwrap_err().code, Code::InvalidFunctionArgument);
    }
}
