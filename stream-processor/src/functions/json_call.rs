//! JSON_VALUE, JSON_EXISTS, JSON_QUERY, JSON_STRING and JSON_OBJECT as calls.

use std::fmt::Write as _;

use arrow::array::{Array, AsArray, StringBuilder};
use chrono_tz::Tz;

use super::Kind::Text;
use super::{Cells, Invocation, by_row_named, cast, json, text};
use crate::error::Error;
use crate::plan::typed::{Kernel, Typed, TypedKind};
use crate::sql::ast::Clause;
use crate::table::{SqlType, TypeRoot};

pub(super) const NAMES: &[&str] = &[
    "JSON_VALUE",
    "JSON_EXISTS",
    "JSON_QUERY",
    "JSON_STRING",
    "JSON_OBJECT",
];

pub(super) fn resolve(call: &mut Invocation<'_>) -> Result<Option<Typed>, Error> {
    match call.name {
        "JSON_VALUE" => value(call).map(Some),
        "JSON_EXISTS" => exists(call).map(Some),
        "JSON_QUERY" => query(call).map(Some),
        "JSON_STRING" => string(call).map(Some),
        "JSON_OBJECT" => object(call).map(Some),
        _ => Ok(None),
    }
}

fn path(call: &mut Invocation<'_>) -> Result<(String, Vec<json::Step>, json::Mode), Error> {
    call.arity(2..=2)?;
    let path = call.args.remove(1);
    let Some(text) = path.literal_text() else {
        return Err(call.wrong("the path must be a literal"));
    };
    match json::parse_path(text) {
        Some((steps, mode)) => Ok((text.to_owned(), steps, mode)),
        None => Err(Error::unsupported(
            format!("the JSON path '{text}'"),
            call.at,
            "",
        )),
    }
}

/// `JSON_VALUE(text, path [RETURNING t] [NULL|DEFAULT x ON EMPTY] [NULL|DEFAULT x ON ERROR])`
fn value(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    let (path, steps, mode) = path(call)?;
    let mut returning = None;
    let mut defaults = call.defaults.drain(..).collect::<Vec<_>>().into_iter();
    let (mut on_empty, mut on_error) = (None, None);
    for clause in call.clauses {
        match clause {
            Clause::Returning(ty) => returning = Some(ty.clone()),
            Clause::Default(_, event) => {
                let value = defaults
                    .next()
                    .and_then(|value| value.literal_text().map(str::to_owned));
                let Some(value) = value else {
                    return Err(call.wrong("DEFAULT must be a literal string"));
                };
                if event == "EMPTY" {
                    on_empty = Some(value)
                } else {
                    on_error = Some(value)
                }
            }
            Clause::Word(word) if word == "NULL ON EMPTY" || word == "NULL ON ERROR" => {}
            Clause::Word(word) => {
                return Err(Error::unsupported(
                    format!("JSON_VALUE … {word}"),
                    call.at,
                    "",
                ));
            }
        }
    }
    let plain = on_empty.is_none() && on_error.is_none();
    let name = if plain {
        format!("JSON_VALUE[{path}]")
    } else {
        format!("JSON_VALUE[{path},{on_empty:?},{on_error:?}]")
    };
    let paths = json::Paths::new([&steps[..]]);
    let typed = by_row_named(name, call, &[Text], move |cells: &[Cells], row| {
        let found = paths.find_one(cells[0].text(row)).ok().flatten();
        match (found.and_then(json::Found::scalar), mode) {
            (Some(value), _) => Some(value.into_owned()),
            (None, json::Mode::Strict) => on_error.clone(),
            (None, json::Mode::Lax) => on_empty.clone(),
        }
    })?;
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

fn exists(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    let (path, steps, _) = path(call)?;
    if let Some(clause) = call.clauses.first() {
        return Err(Error::unsupported(
            format!("JSON_EXISTS … {clause:?}"),
            call.at,
            "",
        ));
    }
    let paths = json::Paths::new([&steps[..]]);
    by_row_named(
        format!("JSON_EXISTS[{path}]"),
        call,
        &[Text],
        move |cells, row| {
            let found = paths.find_one(cells[0].text(row)).ok().flatten();
            Some(found.is_some_and(|found| !found.is_null()))
        },
    )
}

fn query(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    let (path, steps, _) = path(call)?;
    let mut wrap = false;
    for clause in call.clauses {
        match clause {
            Clause::Word(word) if word.starts_with("WITHOUT") || word.starts_with("NULL ON") => {}
            Clause::Word(word)
                if word == "WITH WRAPPER" || word == "WITH UNCONDITIONAL WRAPPER" =>
            {
                wrap = true
            }
            other => {
                return Err(Error::unsupported(
                    format!("JSON_QUERY … {other:?}"),
                    call.at,
                    "",
                ));
            }
        }
    }
    let paths = json::Paths::new([&steps[..]]);
    by_row_named(
        format!("JSON_QUERY[{path},{wrap}]"),
        call,
        &[Text],
        move |cells, row| {
            let found = paths.find_one(cells[0].text(row)).ok()??;
            if found.is_null() {
                return None;
            }
            let text = json::compact(found.raw);
            if wrap {
                return Some(format!("[{text}]"));
            }
            text.starts_with(['{', '[']).then_some(text)
        },
    )
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

/// `JSON_OBJECT('key' VALUE value, … [ABSENT ON NULL])`
fn object(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    let mut absent = false;
    for clause in call.clauses {
        match clause {
            Clause::Word(word) if word == "ABSENT ON NULL" => absent = true,
            Clause::Word(word) if word == "NULL ON NULL" => {}
            other => {
                return Err(Error::unsupported(
                    format!("JSON_OBJECT … {other:?}"),
                    call.at,
                    "",
                ));
            }
        }
    }
    let mut keys = Vec::new();
    let mut values = Vec::new();
    let mut args = std::mem::take(&mut call.args).into_iter();
    while let (Some(key), Some(value)) = (args.next(), args.next()) {
        let Some(key) = key.literal_text() else {
            return Err(call.wrong("keys must be literals"));
        };
        let root = value.ty.root.clone();
        let nested = matches!(&value.kind, TypedKind::Call(kernel, _) if kernel.name.starts_with("JSON_OBJECT"));
        if !writable(&root) {
            return Err(call.wrong(format!("cannot write {root}")));
        }
        keys.push((serde_json::Value::from(key).to_string(), root, nested));
        values.push(value);
    }
    let name = format!("JSON_OBJECT[{keys:?},{absent}]");
    let kernel = Kernel::new(name, move |args, n_rows| {
        let texts = args
            .iter()
            .zip(&keys)
            .map(|(arg, (_, root, _))| text_column(arg, root))
            .collect::<Result<Vec<_>, _>>()?;
        let mut builder = StringBuilder::new();
        for row in 0..n_rows {
            let mut out = String::from("{");
            for ((key, root, nested), (arg, texts)) in keys.iter().zip(args.iter().zip(&texts)) {
                let null = arg.is_null(row);
                if null && absent {
                    continue;
                }
                if out.len() > 1 {
                    out.push(',');
                }
                // Writing to a String cannot fail.
                let _ = write!(out, "{key}:");
                if null {
                    out.push_str("null");
                } else if *nested {
                    out.push_str(texts.as_string::<i32>().value(row));
                } else {
                    write_json(texts, root, row, &mut out);
                }
            }
            out.push('}');
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
