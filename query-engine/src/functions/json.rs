//! JSON: parsing, printing, and values at a path.

pub(crate) mod node;

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use self::node::{Node, is_fraction};
use super::Table;
use super::cast;
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

fn walk<'v>(value: &'v Node, steps: &[Step]) -> Option<&'v Node> {
    steps
        .iter()
        .try_fold(value, |value, step| match (step, value) {
            // The first of a name, as a reader finds it that stops there.
            (Step::Key(key), Node::Object(members)) => member(members, key).next(),
            (Step::Index(index), Node::Array(items)) => items.get(*index),
            _ => None,
        })
}

fn member<'v>(
    members: &'v [(String, Node)],
    key: &str,
) -> impl DoubleEndedIterator<Item = &'v Node> {
    members
        .iter()
        .filter(move |(name, _)| name == key)
        .map(|(_, value)| value)
}

/// Lax mode: a key of an array is that of each of its elements, and an element of anything else is the thing itself.
fn walk_lax<'v>(value: &'v Node, steps: &[Step]) -> Vec<&'v Node> {
    let mut found = vec![value];
    for step in steps {
        found = match step {
            Step::Key(key) => found
                .into_iter()
                .flat_map(|value| match value {
                    Node::Array(items) => items.as_slice(),
                    other => std::slice::from_ref(other),
                })
                .filter_map(|value| match value {
                    Node::Object(members) => member(members, key).next_back(),
                    _ => None,
                })
                .collect(),
            Step::Index(index) => found
                .into_iter()
                .filter_map(|value| match value {
                    Node::Array(items) => items.get(*index),
                    other => (*index == 0).then_some(other),
                })
                .collect(),
        };
    }
    found
}

/// What a path comes to where it may come to one value only.
fn only<'v>(found: &[&'v Node]) -> Option<&'v Node> {
    match found {
        [only] => Some(only),
        _ => None,
    }
}

fn size(value: &Node) -> i64 {
    let size = match value {
        Node::Array(items) => items.len(),
        Node::Object(members) => members.len(),
        _ => 0,
    };
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// A number as the engine of `json_value` has it; an integer beyond bigint is an error there, which is NULL.
fn is_value(value: &Node) -> bool {
    match value {
        Node::Number(digits) => is_fraction(digits) || digits.parse::<i64>().is_ok(),
        other => other.is_scalar(),
    }
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
            let value = Node::parse(args.str(0, row)?)?;
            walk(&value, &steps).cloned()
        };
        match kind.as_str() {
            "json_extract" => done(
                (0..args.rows)
                    .map(|row| found(row).map(|value| value.doubled().to_string()))
                    .collect::<StringArray>(),
            ),
            "json_size" => done(
                (0..args.rows)
                    .map(|row| found(row).as_ref().map(size))
                    .collect::<Int64Array>(),
            ),
            _ => done(
                (0..args.rows)
                    .map(|row| {
                        found(row)
                            .filter(Node::is_scalar)
                            .and_then(|value| match value {
                                Node::Null => None,
                                Node::Text(text) => Some(text),
                                other => Some(other.to_string()),
                            })
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
    let wanted = returning.clone();
    let run = move |args: &Args| -> Result<ArrayRef> {
        let value = |row: usize| args.str(0, row).and_then(Node::parse);
        match kind.as_str() {
            "json_exists" => done(
                (0..args.rows)
                    .map(|row| {
                        args.str(0, row)?;
                        Some(value(row).is_some_and(|value| !walk_lax(&value, &steps).is_empty()))
                    })
                    .collect::<BooleanArray>(),
            ),
            "json_value" => done(
                (0..args.rows)
                    .map(|row| {
                        let value = value(row)?;
                        let found =
                            only(&walk_lax(&value, &steps)).filter(|value| is_value(value))?;
                        cast::text_for(found, &wanted)
                    })
                    .collect::<StringArray>(),
            ),
            _ => done(
                (0..args.rows)
                    .map(|row| {
                        let value = value(row)?;
                        only(&walk_lax(&value, &steps))
                            .map(|found| found.clone().doubled().to_string())
                    })
                    .collect::<StringArray>(),
            ),
        }
    };
    let key = format!("{text}{}{returning}", input.ty);
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
                Node::parse(text)
                    .map(|value| value.canonical().to_string())
                    .ok_or_else(|| {
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
                            let value = Node::parse(args.str(0, row)?)?;
                            matches!(value, Node::Array(_)).then(|| size(&value))
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
