//! Regular expressions. Rust's engine has no look-around and no back references: such patterns are refused.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray};
use datafusion::arrow::datatypes::DataType;
use regex::Regex;

use super::kernel::{Args, done};
use super::{Table, array};
use crate::failure::{Code, Failure, Result};

/// Compiled patterns of one batch.
#[derive(Default)]
struct Patterns {
    known: HashMap<String, Regex>,
}

impl Patterns {
    fn get(&mut self, pattern: &str) -> Result<&Regex> {
        if !self.known.contains_key(pattern) {
            if ["(?=", "(?!", "(?<=", "(?<!"]
                .iter()
                .any(|look| pattern.contains(look))
            {
                return Err(Failure::new(
                    Code::NotSupported,
                    format!("look-around in the pattern '{pattern}' is not supported"),
                ));
            }
            let compiled = regex::RegexBuilder::new(pattern)
                .size_limit(1 << 20)
                .build();
            let compiled = compiled.map_err(|error| {
                Failure::new(
                    Code::InvalidFunctionArgument,
                    format!("Invalid or unsupported pattern '{pattern}': {error}"),
                )
            })?;
            if self.known.len() >= 64 {
                self.known.clear();
            }
            self.known.insert(pattern.to_owned(), compiled);
        }
        self.known
            .get(pattern)
            .ok_or_else(|| Failure::new(Code::GenericInternalError, "pattern was not kept"))
    }
}

/// Text and pattern of each row, where neither is NULL.
fn rows<T>(
    args: &Args,
    mut make: impl FnMut(&str, &Regex, usize) -> Result<Option<T>>,
) -> Result<Vec<Option<T>>> {
    let mut patterns = Patterns::default();
    (0..args.rows)
        .map(|row| match (args.str(0, row), args.str(1, row)) {
            (Some(text), Some(pattern)) => make(text, patterns.get(pattern)?, row),
            _ => Ok(None),
        })
        .collect()
}

fn group(args: &Args, regex: &Regex, row: usize) -> Result<Option<usize>> {
    if args.len() < 3 {
        return Ok(Some(0));
    }
    let Some(group) = args.i64(2, row) else {
        return Ok(None);
    };
    let found = usize::try_from(group)
        .ok()
        .filter(|group| *group < regex.captures_len());
    found.map(Some).ok_or_else(|| {
        let message = if group < 0 {
            "Group cannot be negative".to_owned()
        } else {
            format!(
                "Pattern has {} groups. Cannot access group {group}",
                regex.captures_len() - 1
            )
        };
        Failure::new(Code::InvalidFunctionArgument, message)
    })
}

fn extract(args: &Args) -> Result<ArrayRef> {
    let found = rows(args, |text, regex, row| {
        let Some(group) = group(args, regex, row)? else {
            return Ok(None);
        };
        Ok(regex
            .captures(text)
            .and_then(|captures| captures.get(group))
            .map(|found| found.as_str().to_owned()))
    })?;
    done(StringArray::from(found))
}

fn extract_all(args: &Args) -> Result<ArrayRef> {
    let found = rows(args, |text, regex, row| {
        let Some(group) = group(args, regex, row)? else {
            return Ok(None);
        };
        let all: StringArray = regex
            .captures_iter(text)
            .map(|captures| captures.get(group).map(|found| found.as_str().to_owned()))
            .collect();
        Ok(Some(Arc::new(all) as ArrayRef))
    })?;
    array::lists(found, &DataType::Utf8)
}

/// Java's `$1` and `\$` in the regex crate's spelling.
fn replacement(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('$') => out.push_str("$$"),
                Some(other) => out.push(other),
                None => {}
            },
            '$' if chars.peek().is_some_and(|next| next.is_ascii_digit()) => {
                let digits: String =
                    std::iter::from_fn(|| chars.next_if(char::is_ascii_digit)).collect();
                out.push_str(&format!("${{{digits}}}"));
            }
            other => out.push(other),
        }
    }
    out
}

fn replace(args: &Args) -> Result<ArrayRef> {
    let made = rows(args, |text, regex, row| {
        let with = if args.len() > 2 {
            args.str(2, row)
        } else {
            Some("")
        };
        Ok(with.map(|with| regex.replace_all(text, replacement(with)).into_owned()))
    })?;
    done(StringArray::from(made))
}

pub(super) fn register(table: &mut Table) {
    table.run(
        "regexp_like(varchar, varchar) boolean",
        "Does the pattern occur?",
        |args| {
            done(BooleanArray::from(rows(args, |text, regex, _| {
                Ok(Some(regex.is_match(text)))
            })?))
        },
    );
    table.run(
        "regexp_extract(varchar, varchar) varchar",
        "First match of a pattern",
        extract,
    );
    table.run(
        "regexp_extract(varchar, varchar, bigint) varchar",
        "Group of the first match",
        extract,
    );
    table.run(
        "regexp_extract_all(varchar, varchar) array(varchar)",
        "All matches of a pattern",
        extract_all,
    );
    table.run(
        "regexp_extract_all(varchar, varchar, bigint) array(varchar)",
        "A group of all matches",
        extract_all,
    );
    table.run(
        "regexp_replace(varchar, varchar) varchar",
        "Removes all matches",
        replace,
    );
    table.run(
        "regexp_replace(varchar, varchar, varchar) varchar",
        "Replaces all matches",
        replace,
    );
    table.run(
        "regexp_count(varchar, varchar) bigint",
        "Number of matches",
        |args| {
            done(Int64Array::from(rows(args, |text, regex, _| {
                Ok(i64::try_from(regex.find_iter(text).count()).ok())
            })?))
        },
    );
    table.run(
        "regexp_split(varchar, varchar) array(varchar)",
        "Parts between matches",
        |args| {
            let parts = rows(args, |text, regex, _| {
                Ok(Some(
                    Arc::new(StringArray::from(regex.split(text).collect::<Vec<_>>())) as ArrayRef,
                ))
            })?;
            array::lists(parts, &DataType::Utf8)
        },
    );
}
