//! OVERLAY, TRANSLATE, ELT, STR_TO_MAP and SPLIT.

use std::collections::HashMap;

use arrow::array::{ListBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow::compute::cast;
use datafusion_expr_common::operator::Operator;
use regex::Regex;

use super::Kind::{Int, Text};
use super::{Cells, Invocation, by_row, java_regex};
use crate::error::Error;
use crate::plan::coerce::{self, is_integer};
use crate::plan::expr::{compare, whole};
use crate::plan::typed::{Kernel, Typed, TypedKind};
use crate::table::{SqlType, TypeRoot};

pub(super) const NAMES: &[&str] = &["OVERLAY", "TRANSLATE", "ELT", "STR_TO_MAP", "SPLIT"];

pub(super) fn resolve(call: &mut Invocation<'_>) -> Result<Option<Typed>, Error> {
    match call.name {
        "OVERLAY" => {
            call.arity(3..=4)?;
            let nullable = call.nullable();
            let typed = by_row(call, &[Text, Text, Int, Int], overlay)?;
            let ty = typed.ty.with_nullable(nullable);
            Ok(Some(Typed { ty, ..typed }))
        }
        "TRANSLATE" => translate(call).map(Some),
        "ELT" => elt(call).map(Some),
        "STR_TO_MAP" => str_to_map(call).map(Some),
        "SPLIT" => split(call).map(Some),
        _ => Ok(None),
    }
}

/// Counts UTF-16 units, as Java; half a pair becomes a question mark.
fn overlay(cells: &[Cells], row: usize) -> Option<String> {
    let units = |cell: &Cells| cell.text(row).encode_utf16().collect::<Vec<u16>>();
    let (text, new) = (units(&cells[0]), units(&cells[1]));
    let start = usize::try_from(cells[2].int(row)).unwrap_or(0);
    if start == 0 || start > text.len() {
        return Some(cells[0].text(row).to_owned());
    }
    let length = match cells.get(3) {
        // As many as the new ones.
        None => new.len(),
        Some(length) => usize::try_from(length.int(row)).unwrap_or(0),
    };
    let end = start.saturating_add(length);
    let rest = (length > 0 && end <= text.len()).then(|| &text[end - 1..]);
    let all = [&text[..start - 1], &new, rest.unwrap_or_default()].concat();
    Some(super::string::of_units(&all))
}

/// Replaces each character of `from` by that of `to` at its place; without `to` they go.
fn translate(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(3..=3)?;
    let nullable = call.args[0].ty.nullable;
    let args = call.take(&[Text])?;
    let kernel = Kernel::new("TRANSLATE", |arrays, n_rows| {
        let cells = arrays
            .iter()
            .map(Cells::of)
            .collect::<Result<Vec<_>, _>>()?;
        let text = |at: usize, row: usize| (!cells[at].is_null(row)).then(|| cells[at].text(row));
        let texts = (0..n_rows).map(|row| {
            let from = text(1, row).unwrap_or_default();
            let mut to = text(2, row).unwrap_or_default().chars();
            let mut new: HashMap<char, Option<char>> = HashMap::new();
            for old in from.chars() {
                let next = to.next();
                new.entry(old).or_insert(next);
            }
            let replaced = |next: char| new.get(&next).copied().unwrap_or(Some(next));
            text(0, row).map(|text| text.chars().filter_map(replaced).collect::<String>())
        });
        Ok(<String as super::Outcome>::column(texts.collect()))
    });
    let ty = SqlType::string().with_nullable(nullable);
    Typed::call(kernel.total(), args, ty).fold()
}

/// `ELT(index, a, b, …)`: the value at the index, counted from one.
fn elt(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(2..=usize::MAX)?;
    let index = call.args.remove(0);
    if !is_integer(&index.ty.root) {
        return Err(call.wrong(format!(
            "the index must be a whole number, not {}",
            index.ty
        )));
    }
    if whole(&index).is_some_and(|index| index < 0) {
        return Err(call.wrong("the index must not be negative"));
    }
    let values = std::mem::take(&mut call.args);
    let ty = coerce::common_of(&values.iter().collect::<Vec<_>>(), "ELT", call.at)?;
    let ty = ty.with_nullable(true);
    let index = coerce::to(index, &SqlType::of(TypeRoot::BigInt), call.zone)?;
    let branches = (1_i64..).zip(values).map(|(at, value)| {
        let at = Typed::literal(at.into(), SqlType::required(TypeRoot::BigInt));
        let here = compare(Operator::Eq, index.clone(), at);
        Ok((here, coerce::to(value, &ty, call.zone)?))
    });
    Ok(Typed {
        kind: TypedKind::Case(branches.collect::<Result<_, Error>>()?, None),
        ty,
    })
}

/// The delimiter that `arg` is, as a regular expression of Java.
fn delimiter(call: &Invocation<'_>, arg: Option<&Typed>, default: &str) -> Result<Regex, Error> {
    let text = match arg {
        None => default,
        Some(arg) => arg
            .literal_text()
            .ok_or_else(|| call.wrong("the delimiters must be literals"))?,
    };
    let refuse = |what: String| {
        Error::unsupported(
            format!("the regular expression '{text}'"),
            call.at,
            format!("; it has {what}"),
        )
    };
    let pattern = java_regex::translate(text).map_err(refuse)?;
    Regex::new(&pattern).map_err(|_| refuse("what Java would not take".to_owned()))
}

/// `String.split(regex)`, with at most `most` parts if that is not zero, otherwise without empty ones at the end.
fn java_split<'t>(regex: &Regex, text: &'t str, most: usize) -> Vec<&'t str> {
    let mut parts = Vec::new();
    let mut begin = 0;
    for found in regex.find_iter(text) {
        if most > 0 && parts.len() + 1 == most {
            break;
        }
        // Nothing at the very begin is no delimiter.
        if found.end() == 0 || (found.is_empty() && found.start() == text.len()) {
            continue;
        }
        parts.push(&text[begin..found.start()]);
        begin = found.end();
    }
    if parts.is_empty() {
        return vec![text];
    }
    parts.push(&text[begin..]);
    if most == 0 {
        let kept = parts.iter().rposition(|part| !part.is_empty());
        parts.truncate(kept.map_or(0, |last| last + 1));
    }
    parts
}

/// `STR_TO_MAP(text, pairs, key and value)`: the last of equal keys wins.
fn str_to_map(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    if !matches!(call.args.len(), 1 | 3) {
        return Err(call.wrong("needs one argument or three"));
    }
    let pairs = delimiter(call, call.args.get(1), ",")?;
    let inner = delimiter(call, call.args.get(2), "=")?;
    let name = format!("STR_TO_MAP[{pairs},{inner}]");
    call.args.truncate(1);
    let args = call.take(&[Text])?;
    let ty = SqlType::of(TypeRoot::Map(
        Box::new(SqlType::string()),
        Box::new(SqlType::string()),
    ));
    let target = ty.arrow();
    let kernel = Kernel::new(name, move |arrays, n_rows| {
        let cells = Cells::of(&arrays[0])?;
        let names = MapFieldNames {
            entry: "entries".to_owned(),
            key: "key".to_owned(),
            value: "value".to_owned(),
        };
        let strings = StringBuilder::new;
        let mut maps = MapBuilder::new(Some(names), strings(), strings());
        for row in 0..n_rows {
            let null = cells.is_null(row);
            if !null && !cells.text(row).is_empty() {
                let mut entries: Vec<(&str, Option<&str>)> = Vec::new();
                for pair in java_split(&pairs, cells.text(row), 0) {
                    let (key, value) = match *java_split(&inner, pair, 2) {
                        [key, value] => (key, Some(value)),
                        _ => (pair, None),
                    };
                    match entries.iter_mut().find(|(known, _)| *known == key) {
                        Some(entry) => entry.1 = value,
                        None => entries.push((key, value)),
                    }
                }
                for (key, value) in entries {
                    maps.keys().append_value(key);
                    maps.values().append_option(value);
                }
            }
            maps.append(!null)?;
        }
        let maps: arrow::array::ArrayRef = std::sync::Arc::new(maps.finish());
        Ok(cast(&maps, &target)?)
    });
    Typed::call(kernel, args, ty).fold()
}

/// `SPLIT(text, delimiter)`: at the delimiter as it stands; an empty one splits every character off.
fn split(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(2..=2)?;
    let nullable = call.nullable();
    let args = call.take(&[Text])?;
    let ty = SqlType::of(TypeRoot::Array(Box::new(SqlType::string()))).with_nullable(nullable);
    let target = ty.arrow();
    let kernel = Kernel::new("SPLIT", move |arrays, n_rows| {
        let cells = arrays
            .iter()
            .map(Cells::of)
            .collect::<Result<Vec<_>, _>>()?;
        let mut lists = ListBuilder::new(StringBuilder::new());
        for row in 0..n_rows {
            let null = cells.iter().any(|cell| cell.is_null(row));
            if !null {
                let (text, delimiter) = (cells[0].text(row), cells[1].text(row));
                if delimiter.is_empty() {
                    for (at, next) in text.char_indices() {
                        lists.values().append_value(&text[at..at + next.len_utf8()]);
                    }
                } else if !text.is_empty() {
                    text.split(delimiter)
                        .for_each(|part| lists.values().append_value(part));
                }
            }
            lists.append(!null);
        }
        let lists: arrow::array::ArrayRef = std::sync::Arc::new(lists.finish());
        Ok(cast(&lists, &target)?)
    });
    Typed::call(kernel, args, ty).fold()
}

#[cfg(test)]
mod tests {
    //! `String.split` of Java 17.

    use super::*;

    #[test]
    fn texts_are_split_as_in_java() {
        let split = |pattern: &str, text: &'static str, most| {
            java_split(&Regex::new(pattern).unwrap(), text, most)
        };
        assert_eq!(split(",", "a,b,,c,,", 0), ["a", "b", "", "c"]);
        assert_eq!(split(",", ",a", 0), ["", "a"]);
        assert_eq!(split(",", "", 0), [""]);
        assert_eq!(split(",", ",,", 0), [""; 0]);
        assert_eq!(split("=", "a=1=2", 2), ["a", "1=2"]);
        assert_eq!(split("=", "a=", 2), ["a", ""]);
        assert_eq!(split("", "abc", 0), ["a", "b", "c"]);
    }
}
