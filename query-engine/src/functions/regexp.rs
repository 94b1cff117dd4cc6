//! Regular expressions. Rust's engine has no look-around and no back references: such patterns are refused.

mod dialect;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray};
use datafusion::arrow::datatypes::DataType;
use regex::Regex;

use self::dialect::translate;
use super::kernel::{Args, MAX_RESULT, done, too_large};
use super::{Table, array};
use crate::failure::{Code, Failure, Result};

/// A pattern ready to be searched for.
struct Pattern {
    regex: Regex,
    written: String,
    minds_last_newline: bool,
}

impl Pattern {
    fn compile(written: &str) -> Result<Pattern> {
        let translated = translate(written)?;
        let regex = regex::RegexBuilder::new(&translated.pattern)
            .size_limit(1 << 20)
            .build()
            .map_err(|error| {
                Failure::new(
                    Code::InvalidFunctionArgument,
                    format!("Invalid or unsupported pattern '{written}': {error}"),
                )
            })?;
        Ok(Pattern {
            regex,
            written: written.to_owned(),
            minds_last_newline: translated.minds_last_newline,
        })
    }

    /// In Joni `$` is also before a newline that ends the text, which Rust's engine cannot say.
    fn check(&self, text: &str) -> Result<()> {
        if self.minds_last_newline && text.ends_with('\n') {
            let message = format!(
                "the pattern '{}' on a text that ends with a newline is not supported",
                self.written
            );
            return Err(Failure::new(Code::NotSupported, message));
        }
        Ok(())
    }

    /// All matches in Trino's order: after an empty one the search goes on one character later, after any other at its
    /// end, where an empty one may follow. (Rust's iterators leave that one out.)
    fn matches<'t, M>(
        &self,
        text: &'t str,
        find: impl Fn(&Regex, &'t str, usize) -> Option<(M, Range<usize>)>,
    ) -> impl Iterator<Item = (M, Range<usize>)> {
        let mut start = 0;
        std::iter::from_fn(move || {
            if start > text.len() {
                return None;
            }
            let (found, range) = find(&self.regex, text, start)?;
            start = range.end;
            if range.is_empty() {
                start += text[range.end..].chars().next().map_or(1, char::len_utf8);
            }
            Some((found, range))
        })
    }

    fn ranges(&self, text: &str) -> impl Iterator<Item = Range<usize>> {
        self.matches(text, |regex, text, start| {
            regex.find_at(text, start).map(|found| ((), found.range()))
        })
        .map(|(_, range)| range)
    }

    fn captures<'t>(
        &self,
        text: &'t str,
    ) -> impl Iterator<Item = (regex::Captures<'t>, Range<usize>)> {
        self.matches(text, |regex, text, start| {
            let captures = regex.captures_at(text, start)?;
            let range = captures.get(0)?.range();
            Some((captures, range))
        })
    }
}

/// Compiled patterns of one batch.
#[derive(Default)]
struct Patterns {
    known: HashMap<String, Pattern>,
}

impl Patterns {
    fn get(&mut self, pattern: &str) -> Result<&Pattern> {
        if !self.known.contains_key(pattern) {
            let compiled = Pattern::compile(pattern)?;
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
    mut make: impl FnMut(&str, &Pattern, usize) -> Result<Option<T>>,
) -> Result<Vec<Option<T>>> {
    let mut patterns = Patterns::default();
    (0..args.rows)
        .map(|row| match (args.str(0, row), args.str(1, row)) {
            (Some(text), Some(pattern)) => {
                let pattern = patterns.get(pattern)?;
                pattern.check(text)?;
                make(text, pattern, row)
            }
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
    let found = rows(args, |text, pattern, row| {
        let Some(group) = group(args, &pattern.regex, row)? else {
            return Ok(None);
        };
        Ok(pattern
            .regex
            .captures(text)
            .and_then(|captures| captures.get(group))
            .map(|found| found.as_str().to_owned()))
    })?;
    done(StringArray::from(found))
}

fn extract_all(args: &Args) -> Result<ArrayRef> {
    let found = rows(args, |text, pattern, row| {
        let Some(group) = group(args, &pattern.regex, row)? else {
            return Ok(None);
        };
        let all: StringArray = pattern
            .captures(text)
            .map(|(captures, _)| captures.get(group).map(|found| found.as_str().to_owned()))
            .collect();
        Ok(Some(Arc::new(all) as ArrayRef))
    })?;
    array::lists(found, &DataType::Utf8)
}

fn split(args: &Args) -> Result<ArrayRef> {
    let parts = rows(args, |text, pattern, _| {
        let mut parts = Vec::new();
        let mut last = 0;
        for range in pattern.ranges(text) {
            parts.push(&text[last..range.start]);
            last = range.end;
        }
        parts.push(&text[last..]);
        Ok(Some(Arc::new(StringArray::from(parts)) as ArrayRef))
    })?;
    array::lists(parts, &DataType::Utf8)
}

/// Appends a replacement for one match: `$2`, `${name}`, and `\` before what stands for itself.
fn append(
    out: &mut String,
    with: &str,
    regex: &Regex,
    captures: &regex::Captures<'_>,
) -> Result<()> {
    let bad = |what: &str| {
        Failure::new(
            Code::InvalidFunctionArgument,
            format!("Illegal replacement sequence: {what}"),
        )
    };
    let groups = regex.captures_len();
    let mut chars = with.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().ok_or_else(|| bad(with))?),
            '$' if chars.next_if_eq(&'{').is_some() => {
                let name: String = chars.by_ref().take_while(|c| *c != '}').collect();
                if !regex.capture_names().flatten().any(|known| known == name) {
                    return Err(bad(&format!("unknown group {{ {name} }}")));
                }
                out.push_str(captures.name(&name).map_or("", |found| found.as_str()));
            }
            '$' => {
                let digit = |c: char| c.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
                let first = chars.next().and_then(digit).ok_or_else(|| bad(with))?;
                if first >= groups {
                    return Err(bad(&format!("unknown group {first}")));
                }
                // As many digits as make a group that there is: with one group, `$10` is that group and a zero.
                let mut group = first;
                while let Some(next) = chars.peek().copied().and_then(digit) {
                    if group * 10 + next >= groups {
                        break;
                    }
                    group = group * 10 + next;
                    chars.next();
                }
                out.push_str(captures.get(group).map_or("", |found| found.as_str()));
            }
            other => out.push(other),
        }
    }
    Ok(())
}

fn replace(args: &Args) -> Result<ArrayRef> {
    let made = rows(args, |text, pattern, row| {
        let with = if args.len() > 2 {
            args.str(2, row)
        } else {
            Some("")
        };
        let Some(with) = with else {
            return Ok(None);
        };
        let mut out = String::with_capacity(text.len());
        let mut last = 0;
        for (captures, range) in pattern.captures(text) {
            out.push_str(&text[last..range.start]);
            append(&mut out, with, &pattern.regex, &captures)?;
            last = range.end;
            if out.len() > MAX_RESULT {
                return Err(too_large());
            }
        }
        out.push_str(&text[last..]);
        Ok(Some(out))
    })?;
    done(StringArray::from(made))
}

pub(super) fn register(table: &mut Table) {
    table.run(
        "regexp_like(varchar, varchar) boolean",
        "Does the pattern occur?",
        |args| {
            done(BooleanArray::from(rows(args, |text, pattern, _| {
                Ok(Some(pattern.regex.is_match(text)))
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
            done(Int64Array::from(rows(args, |text, pattern, _| {
                Ok(i64::try_from(pattern.ranges(text).count()).ok())
            })?))
        },
    );
    table.run(
        "regexp_split(varchar, varchar) array(varchar)",
        "Parts between matches",
        split,
    );
}
