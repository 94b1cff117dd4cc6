//! JSON_VALUE, JSON_EXISTS, JSON_QUERY, JSON_STRING and JSON_OBJECT as calls.

use std::borrow::Cow;

use arrow::array::{Array, AsArray, BooleanArray, StringBuilder};
use chrono_tz::Tz;

use super::Kind::Text;
use super::{
    Cells, Invocation, by_row_named, by_row_or_fail, cast, failed, json, json_query, text,
};
use crate::error::{Error, Position};
use crate::plan::typed::{Kernel, Typed, TypedKind};
use crate::sql::ast::Clause;
use crate::table::{SqlType, TypeRoot};

pub(super) const NAMES: &[&str] = &[
    "JSON_VALUE",
    "JSON_EXISTS",
    "JSON_QUERY",
    "JSON_STRING",
    "JSON_OBJECT",
    "JSON_ARRAY",
];

pub(super) fn resolve(call: &mut Invocation<'_>) -> Result<Option<Typed>, Error> {
    match call.name {
        "JSON_VALUE" => value(call).map(Some),
        "JSON_EXISTS" => json_query::exists(call).map(Some),
        "JSON_QUERY" => json_query::query(call).map(Some),
        "JSON_STRING" => string(call).map(Some),
        "JSON_OBJECT" => object(call).map(Some),
        "JSON_ARRAY" => array(call).map(Some),
        _ => Ok(None),
    }
}

/// What stands behind the path of JSON_VALUE.
#[expect(clippy::option_option, reason = "outer: fails, inner: NULL")]
struct Clauses {
    returning: Option<SqlType>,
    /// Outer `None`: it fails the job.
    on_empty: Option<Option<String>>,
    on_error: Option<Option<String>>,
}

impl Clauses {
    fn of_value(call: &mut Invocation<'_>) -> Result<Self, Error> {
        let mut defaults = std::mem::take(&mut call.defaults).into_iter();
        let mut found = Clauses {
            returning: None,
            on_empty: Some(None),
            on_error: Some(None),
        };
        for clause in call.clauses {
            match clause {
                Clause::Returning(ty) => found.returning = Some(ty.clone()),
                Clause::Default(_, event) => {
                    let value = defaults
                        .next()
                        .and_then(|value| value.literal_text().map(str::to_owned));
                    let Some(value) = value else {
                        return Err(call.wrong("DEFAULT must be a literal string"));
                    };
                    if event == "EMPTY" {
                        found.on_empty = Some(Some(value));
                    } else {
                        found.on_error = Some(Some(value));
                    }
                }
                Clause::Word(word) => match word.as_str() {
                    "NULL ON EMPTY" | "NULL ON ERROR" => {}
                    "ERROR ON EMPTY" => found.on_empty = None,
                    "ERROR ON ERROR" => found.on_error = None,
                    _ => {
                        let what = format!("JSON_VALUE … {word}");
                        return Err(Error::unsupported(what, call.at, ""));
                    }
                },
            }
        }
        Ok(found)
    }
}

/// `JSON_VALUE(text, path [RETURNING t] [NULL|ERROR|DEFAULT x ON EMPTY] [NULL|ERROR|DEFAULT x ON ERROR])`
fn value(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    let (path, parsed) = json_query::path(call)?;
    let mode = parsed.mode();
    let Clauses {
        returning,
        on_empty,
        on_error,
    } = Clauses::of_value(call)?;
    // A list of all that a `*` leads to is no scalar.
    let steps = json::parse_path(&path).map(|(steps, _)| steps);
    let paths = json::Paths::new(steps.as_deref());
    let find = move |text: &str| {
        let found = paths.find_one(text).ok().flatten();
        found.and_then(json::Found::scalar).map(Cow::into_owned)
    };
    let otherwise = if mode == json::Mode::Strict {
        on_error
    } else {
        on_empty
    };
    let typed = match otherwise {
        Some(None) if steps.is_some() => {
            let name = format!("JSON_VALUE[{path}]");
            by_row_named(name, call, &[Text], move |cells: &[Cells], row| {
                find(cells[0].text(row))
            })?
        }
        Some(otherwise) => {
            let name = format!("JSON_VALUE_OR[{path},{otherwise:?}]");
            by_row_named(name, call, &[Text], move |cells: &[Cells], row| {
                find(cells[0].text(row)).or_else(|| otherwise.clone())
            })?
        }
        None => by_row_or_fail(call, &[Text], move |cells, row| {
            let text = cells[0].text(row);
            let found = find(text)
                .ok_or_else(|| failed(format!("JSON_VALUE: no scalar at {path} of {text}")));
            found.map(Some)
        })?,
    };
    match returning {
        None => Ok(typed),
        // Flink fails the job on a value of another type; so does the CAST.
        Some(ty)
            if matches!(
                ty.root,
                TypeRoot::Varchar(_) | TypeRoot::Int | TypeRoot::Boolean | TypeRoot::Double
            ) =>
        {
            cast::explicit(typed, &ty, false, Tz::UTC, call.at)
        }
        Some(ty) => Err(Error::unsupported(
            format!("JSON_VALUE … RETURNING {ty}"),
            call.at,
            "",
        )),
    }
}

/// `text IS [NOT] JSON kind`; of NULL it is not true.
pub(crate) fn is_json(
    text: Typed,
    kind: &str,
    negated: bool,
    at: Position,
) -> Result<Typed, Error> {
    if !crate::plan::coerce::is_text(&text.ty.root) {
        return Err(Error::validation("IS JSON needs a string", at));
    }
    let kind = kind.to_owned();
    let kernel = Kernel::new(format!("IS_JSON[{kind},{negated}]"), move |args, _| {
        let texts = args[0].as_string::<i32>().iter();
        let is = |text: Option<&str>| text.is_some_and(|text| json::is_json(text, &kind));
        let values: BooleanArray = texts.map(|text| Some(is(text) != negated)).collect();
        Ok(std::sync::Arc::new(values))
    });
    let ty = SqlType::required(TypeRoot::Boolean);
    Ok(Typed::call(kernel, vec![text], ty))
}

fn string(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(1..=1)?;
    let arg = call.args.remove(0);
    let ty = SqlType::string().with_nullable(arg.ty.nullable);
    let root = arg.ty.root.clone();
    if !writable(&root) {
        return Err(call.wrong(format!("cannot write {root}")));
    }
    let kernel = Kernel::new(format!("JSON_STRING[{root}]"), move |args, n_rows| {
        let texts = text_column(&args[0], &root)?;
        let mut builder = StringBuilder::new();
        for row in 0..n_rows {
            if args[0].is_null(row) {
                builder.append_null();
            } else {
                let mut out = String::new();
                write_json(&texts, &root, row, &mut out);
                builder.append_value(out);
            }
        }
        Ok(std::sync::Arc::new(builder.finish()))
    });
    Typed::call(kernel, vec![arg], ty).fold()
}

/// A value of JSON_OBJECT or JSON_ARRAY: before it its key and a colon, if it has one; whether it is JSON already.
type Value = (String, TypeRoot, bool);

fn value_of(call: &Invocation<'_>, key: String, value: &Typed) -> Result<Value, Error> {
    let root = value.ty.root.clone();
    let json = matches!(&value.kind, TypedKind::Call(kernel, _)
        if kernel.name.starts_with("JSON_OBJECT[") || kernel.name.starts_with("JSON_ARRAY["));
    if !writable(&root) {
        return Err(call.wrong(format!("cannot write {root}")));
    }
    Ok((key, root, json))
}

/// Whether NULLs are left out.
fn absent_on_null(call: &Invocation<'_>, otherwise: bool) -> Result<bool, Error> {
    call.clauses
        .iter()
        .try_fold(otherwise, |_, clause| match clause {
            Clause::Word(word) if word == "ABSENT ON NULL" => Ok(true),
            Clause::Word(word) if word == "NULL ON NULL" => Ok(false),
            other => {
                let what = format!("{} … {other:?}", call.name);
                Err(Error::unsupported(what, call.at, ""))
            }
        })
}

/// `JSON_OBJECT('key' VALUE value, … [ABSENT ON NULL])`
fn object(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    let absent = absent_on_null(call, false)?;
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    let mut args = std::mem::take(&mut call.args).into_iter();
    while let (Some(key), Some(value)) = (args.next(), args.next()) {
        let Some(key) = key.literal_text() else {
            return Err(call.wrong("keys must be literals"));
        };
        let key = format!("{}:", serde_json::Value::from(key));
        keys.push(value_of(call, key, &value)?);
        values.push(value);
    }
    written(call, keys, values, absent, ('{', '}'))
}

/// `JSON_ARRAY(value, … [NULL ON NULL])`
fn array(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    let absent = absent_on_null(call, true)?;
    let values = std::mem::take(&mut call.args);
    let keys = values
        .iter()
        .map(|value| value_of(call, String::new(), value));
    let keys = keys.collect::<Result<_, _>>()?;
    written(call, keys, values, absent, ('[', ']'))
}

fn written(
    call: &Invocation<'_>,
    keys: Vec<Value>,
    values: Vec<Typed>,
    absent: bool,
    (open, close): (char, char),
) -> Result<Typed, Error> {
    let name = format!("{}[{keys:?},{absent}]", call.name);
    let kernel = Kernel::new(name, move |args, n_rows| {
        let texts = args
            .iter()
            .zip(&keys)
            .map(|(arg, (_, root, _))| text_column(arg, root))
            .collect::<Result<Vec<_>, _>>()?;
        let mut builder = StringBuilder::new();
        for row in 0..n_rows {
            let mut out = String::from(open);
            for ((key, root, json), (arg, texts)) in keys.iter().zip(args.iter().zip(&texts)) {
                let null = arg.is_null(row);
                if null && absent {
                    continue;
                }
                if out.len() > 1 {
                    out.push(',');
                }
                out.push_str(key);
                if null {
                    out.push_str("null");
                } else if *json {
                    out.push_str(texts.as_string::<i32>().value(row));
                } else {
                    write_json(texts, root, row, &mut out);
                }
            }
            out.push(close);
            builder.append_value(out);
        }
        Ok(std::sync::Arc::new(builder.finish()))
    });
    Typed::call(kernel, values, SqlType::required(SqlType::string().root)).fold()
}

fn writable(root: &TypeRoot) -> bool {
    crate::plan::coerce::is_text(root)
        || crate::plan::coerce::is_numeric(root)
        || matches!(
            root,
            TypeRoot::Boolean | TypeRoot::Date | TypeRoot::Timestamp(_)
        )
}

fn text_column(
    array: &arrow::array::ArrayRef,
    root: &TypeRoot,
) -> datafusion_common::Result<arrow::array::ArrayRef> {
    if crate::plan::coerce::is_text(root) {
        return Ok(array.clone());
    }
    text::texts_of(array, root, Tz::UTC)
}

fn write_json(texts: &arrow::array::ArrayRef, root: &TypeRoot, row: usize, out: &mut String) {
    let text = texts.as_string::<i32>().value(row);
    match root {
        TypeRoot::Boolean => out.push_str(&text.to_ascii_lowercase()),
        root if crate::plan::coerce::is_numeric(root) => out.push_str(text),
        _ => out.push_str(&serde_json::Value::from(text).to_string()),
    }
}
