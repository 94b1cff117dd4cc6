//! Functions of character strings. Positions count code points from 1.

use arrow::datatypes::DataType;
use datafusion_common::ScalarValue;
use regex::Regex;

use super::Kind::{AnyText, Int, Text};
use super::{Cells, Invocation, by_row, by_row_named, java_regex};
use crate::error::Error;
use crate::plan::typed::{Kernel, Typed, TypedKind};
use crate::sql::ast::Clause;
use crate::table::SqlType;

pub(super) const NAMES: &[&str] = &[
    "UPPER",
    "LOWER",
    "TRIM",
    "LTRIM",
    "RTRIM",
    "BTRIM",
    "CHAR_LENGTH",
    "CHARACTER_LENGTH",
    "SUBSTRING",
    "SUBSTR",
    "CONCAT",
    "CONCAT_WS",
    "REPLACE",
    "POSITION",
    "LOCATE",
    "INSTR",
    "LEFT",
    "RIGHT",
    "REVERSE",
    "REPEAT",
    "INITCAP",
    "SPLIT_INDEX",
    "REGEXP",
    "REGEXP_EXTRACT",
    "REGEXP_REPLACE",
    "REGEXP_COUNT",
    "REGEXP_INSTR",
    "REGEXP_SUBSTR",
    "STARTSWITH",
    "ENDSWITH",
    "ASCII",
    "CHR",
    "LPAD",
    "RPAD",
];

#[expect(clippy::too_many_lines, reason = "one arm a function")]
pub(super) fn resolve(call: &mut Invocation<'_>) -> Result<Option<Typed>, Error> {
    let nullable = call.nullable();
    // Of a length that may be less than nothing comes NULL.
    let cuts = matches!(call.name, "SUBSTRING" | "SUBSTR")
        && call.args.get(2).is_some_and(|length| !counts(length));
    let typed = match call.name {
        "UPPER" => one(call, str::to_uppercase)?,
        "LOWER" => one(call, str::to_lowercase)?,
        "REVERSE" => one(call, |text| text.chars().rev().collect())?,
        "INITCAP" => one(call, initcap)?,
        "TRIM" => trim(call)?,
        "LTRIM" | "RTRIM" | "BTRIM" => side_trim(call)?,
        "CHAR_LENGTH" | "CHARACTER_LENGTH" => {
            call.arity(1..=1)?;
            by_row(call, &[Text], |cells, row| {
                i32::try_from(cells[0].text(row).chars().count()).ok()
            })?
        }
        "SUBSTRING" | "SUBSTR" => {
            call.arity(2..=3)?;
            by_row(call, &[Text, Int], substring)?
        }
        "CONCAT" => {
            call.arity(1..=usize::MAX)?;
            by_row(call, &[AnyText], |cells, row| {
                Some(cells.iter().map(|cell| cell.text(row)).collect::<String>())
            })?
        }
        "CONCAT_WS" => concat_ws(call)?,
        "REPLACE" => {
            call.arity(3..=3)?;
            by_row(call, &[Text], |cells, row| {
                Some(
                    cells[0]
                        .text(row)
                        .replace(cells[1].text(row), cells[2].text(row)),
                )
            })?
        }
        "POSITION" => {
            call.arity(2..=2)?;
            by_row(call, &[Text], |cells, row| {
                Some(position(cells[0].text(row), cells[1].text(row)))
            })?
        }
        "LOCATE" => {
            call.arity(2..=3)?;
            by_row(call, &[Text, Text, Int], |cells, row| {
                let from = cells.get(2).map_or(1, |cell| cell.int(row));
                Some(position_from(cells[0].text(row), cells[1].text(row), from))
            })?
        }
        "INSTR" => {
            call.arity(2..=2)?;
            by_row(call, &[Text], |cells, row| {
                Some(position(cells[1].text(row), cells[0].text(row)))
            })?
        }
        "LEFT" => {
            call.arity(2..=2)?;
            by_row(call, &[Text, Int], |cells, row| {
                let length = usize::try_from(cells[1].int(row)).unwrap_or(0);
                Some(cells[0].text(row).chars().take(length).collect::<String>())
            })?
        }
        "RIGHT" => {
            call.arity(2..=2)?;
            by_row(call, &[Text, Int], |cells, row| {
                let text = cells[0].text(row);
                let length = usize::try_from(cells[1].int(row)).unwrap_or(0);
                let skip = text.chars().count().saturating_sub(length);
                Some(text.chars().skip(skip).collect::<String>())
            })?
        }
        "REPEAT" => {
            call.arity(2..=2)?;
            by_row(call, &[Text, Int], |cells, row| {
                let text = cells[0].text(row);
                let times = usize::try_from(cells[1].int(row)).unwrap_or(0);
                // A text beyond 16 MiB is refused as NULL rather than taking the memory.
                (times.saturating_mul(text.len()) <= 1 << 24).then(|| text.repeat(times))
            })?
        }
        "LPAD" | "RPAD" => {
            call.arity(3..=3)?;
            let left = call.name == "LPAD";
            by_row(call, &[Text, Int, Text], move |cells, row| {
                pad(cells, row, left)
            })?
        }
        "SPLIT_INDEX" => {
            call.arity(3..=3)?;
            by_row(call, &[Text, Text, Int], split_index)?
        }
        "STARTSWITH" => {
            call.arity(2..=2)?;
            by_row(call, &[Text], |cells, row| {
                Some(cells[0].text(row).starts_with(cells[1].text(row)))
            })?
        }
        "ENDSWITH" => {
            call.arity(2..=2)?;
            by_row(call, &[Text], |cells, row| {
                Some(cells[0].text(row).ends_with(cells[1].text(row)))
            })?
        }
        "ASCII" => {
            call.arity(1..=1)?;
            by_row(call, &[Text], |cells, row| {
                Some(
                    cells[0]
                        .text(row)
                        .bytes()
                        .next()
                        .map_or(0, |byte| i32::from(byte as i8)),
                )
            })?
        }
        "CHR" => {
            call.arity(1..=1)?;
            by_row(call, &[Int], |cells, row| {
                let code = cells[0].int(row);
                Some(if code < 0 {
                    String::new()
                } else {
                    char::from((code & 0xff) as u8).to_string()
                })
            })?
        }
        "REGEXP" | "REGEXP_COUNT" | "REGEXP_EXTRACT" | "REGEXP_INSTR" | "REGEXP_REPLACE"
        | "REGEXP_SUBSTR" => java_regex::resolve(call)?,
        _ => return Ok(None),
    };
    // NULL only comes from NULL, except where a function can fail to find anything.
    let finds = matches!(
        call.name,
        "SPLIT_INDEX"
            | "REGEXP_EXTRACT"
            | "REGEXP_REPLACE"
            | "REGEXP_COUNT"
            | "REGEXP_INSTR"
            | "REGEXP_SUBSTR"
            | "LPAD"
            | "RPAD"
            | "REPEAT"
    );
    let ty = typed.ty.with_nullable(nullable || finds || cuts);
    Ok(Some(Typed { ty, ..typed }))
}

fn one(call: &mut Invocation<'_>, change: fn(&str) -> String) -> Result<Typed, Error> {
    call.arity(1..=1)?;
    by_row(call, &[Text], move |cells, row| {
        Some(change(cells[0].text(row)))
    })
}

/// Letters outside ASCII break words, as in Flink.
fn initcap(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut inside = false;
    for next in text.chars() {
        if next.is_ascii_alphanumeric() {
            result.push(if inside {
                next.to_ascii_lowercase()
            } else {
                next.to_ascii_uppercase()
            });
            inside = true;
        } else {
            result.push(next);
            inside = false;
        }
    }
    result
}

fn trim(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    let side = match call.clauses.first() {
        Some(Clause::Word(side)) => side.clone(),
        _ => "BOTH".to_owned(),
    };
    trim_named(call, &side)
}

fn side_trim(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(1..=2)?;
    let side = match call.name {
        "LTRIM" => "LEADING",
        "RTRIM" => "TRAILING",
        _ => "BOTH",
    };
    if call.args.len() == 1 {
        call.args.push(Typed::text(" "));
    }
    trim_named(call, side)
}

fn trim_named(call: &mut Invocation<'_>, side: &str) -> Result<Typed, Error> {
    let (leading, trailing) = (side != "TRAILING", side != "LEADING");
    by_row_named(format!("TRIM[{side}]"), call, &[Text], move |cells, row| {
        let mut text = cells[0].text(row);
        let set: Vec<char> = cells[1].text(row).chars().collect();
        if leading {
            text = text.trim_start_matches(set.as_slice());
        }
        if trailing {
            text = text.trim_end_matches(set.as_slice());
        }
        Some(text.to_owned())
    })
}

fn substring(cells: &[Cells], row: usize) -> Option<String> {
    let length = cells.get(2).map_or(i64::MAX, |cell| cell.int(row));
    if length < 0 {
        return None;
    }
    let text = cells[0].text(row);
    let count = text.chars().count() as i64;
    let start = cells[1].int(row);
    let start = match start {
        0 => 0,
        1.. => start - 1,
        _ => count + start,
    };
    if start < 0 || start >= count {
        return Some(String::new());
    }
    Some(
        text.chars()
            .skip(start as usize)
            .take(length as usize)
            .collect(),
    )
}

/// Whether `length` is a literal that is not negative.
fn counts(length: &Typed) -> bool {
    match &length.kind {
        TypedKind::Literal(value) => match value.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(value)) => value.is_some_and(|value| value >= 0),
            _ => false,
        },
        _ => false,
    }
}

fn position(needle: &str, text: &str) -> i32 {
    text.find(needle).map_or(0, |at| {
        i32::try_from(text[..at].chars().count()).map_or(0, |count| count + 1)
    })
}

/// Not before the character `from`, counted from one; nothing is found at the begin.
fn position_from(needle: &str, text: &str, from: i64) -> i32 {
    if needle.is_empty() {
        return 1;
    }
    let skipped = usize::try_from(from - 1).unwrap_or(0);
    let rest = match text.char_indices().nth(skipped) {
        Some((at, _)) => &text[at..],
        None => return 0,
    };
    match position(needle, rest) {
        0 => 0,
        found => found.saturating_add(i32::try_from(skipped).unwrap_or(i32::MAX)),
    }
}

fn split_index(cells: &[Cells], row: usize) -> Option<String> {
    let (text, separator) = (cells[0].text(row), cells[1].text(row));
    let index = usize::try_from(cells[2].int(row)).ok()?;
    if text.is_empty() || separator.is_empty() {
        return None;
    }
    text.split(separator).nth(index).map(str::to_owned)
}

/// A text of UTF-16 units; half a pair becomes a question mark, as when Java encodes it.
pub(super) fn of_units(units: &[u16]) -> String {
    char::decode_utf16(units.iter().copied())
        .map(|unit| unit.unwrap_or('?'))
        .collect()
}

/// Counts UTF-16 units, as Java.
fn pad(cells: &[Cells], row: usize, left: bool) -> Option<String> {
    let units = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
    let (text, fill) = (units(cells[0].text(row)), units(cells[2].text(row)));
    let length = usize::try_from(cells[1].int(row))
        .ok()
        .filter(|length| *length <= 1 << 24)?;
    if fill.is_empty() && length > text.len() {
        return None;
    }
    let missing = length.saturating_sub(text.len());
    let padding = fill.iter().cycle().take(missing);
    let padded: Vec<u16> = if left {
        padding.chain(text.iter().take(length)).copied().collect()
    } else {
        text.iter().take(length).chain(padding).copied().collect()
    };
    Some(of_units(&padded))
}

/// Skips NULLs between, is NULL only for a NULL separator.
fn concat_ws(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(1..=usize::MAX)?;
    let args = call.take(&[AnyText])?;
    let kernel = Kernel::new("CONCAT_WS", |arrays, n_rows| {
        let cells = arrays
            .iter()
            .map(Cells::of)
            .collect::<Result<Vec<_>, _>>()?;
        let joined = (0..n_rows)
            .map(|row| {
                let separator = (!cells[0].is_null(row)).then(|| cells[0].text(row))?;
                let parts: Vec<&str> = cells[1..]
                    .iter()
                    .filter(|cell| !cell.is_null(row))
                    .map(|cell| cell.text(row))
                    .collect();
                Some(parts.join(separator))
            })
            .collect();
        Ok(<String as super::Outcome>::column(joined))
    });
    Typed::call(kernel, args, SqlType::string()).fold()
}

/// `value LIKE pattern ESCAPE escape`, or `SIMILAR TO`.
pub(crate) fn like(pattern: &str, escape: Option<char>, similar: bool) -> Option<Regex> {
    let mut regex = String::from("(?s)^(?:");
    let mut rest = pattern.chars();
    while let Some(next) = rest.next() {
        if Some(next) == escape {
            regex.push_str(&regex::escape(&rest.next()?.to_string()));
        } else {
            match next {
                '%' => regex.push_str(".*"),
                '_' => regex.push('.'),
                '|' | '*' | '+' | '?' | '{' | '}' | '(' | ')' | '[' | ']' | '-' | '^'
                    if similar =>
                {
                    regex.push(next)
                }
                other => regex.push_str(&regex::escape(&other.to_string())),
            }
        }
    }
    regex.push_str(")$");
    Regex::new(&regex).ok()
}
