//! Text: lengths, parts, case, padding, searching, formatting, URLs.

mod urls;

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;

use super::kernel::{Args, Kernel, OnFailure, done};
use super::{Table, array};
use crate::failure::{Code, Failure, Result};
use crate::sql::analyze::Typed;
use crate::types::Type;

fn bad(message: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidFunctionArgument, message)
}

fn texts(args: &Args, make: impl Fn(usize) -> Option<String>) -> Result<ArrayRef> {
    done((0..args.rows).map(make).collect::<StringArray>())
}

fn numbers(args: &Args, make: impl Fn(usize) -> Option<i64>) -> Result<ArrayRef> {
    done((0..args.rows).map(make).collect::<Int64Array>())
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Joins texts; NULL when any is.
pub(crate) fn concat(args: Vec<Expr>) -> Typed {
    let run = |args: &Args| {
        texts(args, |row| {
            let mut all = String::new();
            for arg in 0..args.len() {
                all.push_str(args.str(arg, row)?);
            }
            Some(all)
        })
    };
    let expr = Kernel::call(
        "concat",
        "varchar".into(),
        DataType::Utf8,
        OnFailure::Raise,
        args,
        Arc::new(run),
    );
    Typed::new(expr, Type::VARCHAR)
}

/// A LIKE pattern in Arrow's spelling, where the escape is always a backslash.
pub(crate) fn arrow_like(pattern: &str, escape: Option<char>) -> Result<String> {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            match chars.next() {
                Some(next) if next == '%' || next == '_' => out.extend(['\\', next]),
                Some(next) if Some(next) == escape => out.extend(if next == '\\' {
                    vec!['\\', '\\']
                } else {
                    vec![next]
                }),
                _ => {
                    return Err(bad(
                        "Escape character must be followed by '%', '_' or the escape character itself",
                    ));
                }
            }
        } else if c == '\\' {
            out.push_str("\\\\");
        } else {
            out.push(c);
        }
    }
    Ok(out)
}

/// The same for a pattern that is not a literal.
pub(crate) fn like_pattern(pattern: Expr, escape: Option<char>) -> Expr {
    let run = move |args: &Args| {
        let rows = (0..args.rows).map(|row| {
            args.str(0, row)
                .map(|text| arrow_like(text, escape))
                .transpose()
        });
        done(rows.collect::<Result<StringArray>>()?)
    };
    Kernel::call(
        "like_pattern",
        format!("{escape:?}"),
        DataType::Utf8,
        OnFailure::Raise,
        vec![pattern],
        Arc::new(run),
    )
}

/// `substr(text, start[, length])`: one-based, negative from the end, zero gives nothing.
fn substr(text: &str, start: i64, length: Option<i64>) -> String {
    let total = count(text.chars().count());
    if start == 0
        || length.is_some_and(|length| length <= 0)
        || start.unsigned_abs() > total.unsigned_abs()
    {
        return String::new();
    }
    let from = if start > 0 { start - 1 } else { total + start };
    let from = usize::try_from(from).unwrap_or(0);
    let length = length.map_or(usize::MAX, |length| {
        usize::try_from(length).unwrap_or(usize::MAX)
    });
    text.chars().skip(from).take(length).collect()
}

const MAX_PAD: i64 = 2_147_483_647;

fn pad(args: &Args, left: bool) -> Result<ArrayRef> {
    let rows = (0..args.rows).map(|row| {
        let (Some(text), Some(size), Some(with)) =
            (args.str(0, row), args.i64(1, row), args.str(2, row))
        else {
            return Ok(None);
        };
        if !(0..=MAX_PAD.min(1 << 20)).contains(&size) {
            return Err(bad(format!(
                "Target length must be in the range [0..{MAX_PAD}]"
            )));
        }
        if with.is_empty() {
            return Err(bad("Padding string must not be empty"));
        }
        let size = usize::try_from(size).unwrap_or(0);
        let length = text.chars().count();
        if length >= size {
            return Ok(Some(text.chars().take(size).collect()));
        }
        let padding: String = with.chars().cycle().take(size - length).collect();
        Ok(Some(if left {
            padding + text
        } else {
            text.to_owned() + &padding
        }))
    });
    done(rows.collect::<Result<StringArray>>()?)
}

/// What Java calls whitespace: not the spaces that keep words together, but the separators of files and records.
fn is_space(c: char) -> bool {
    match c {
        '\u{1c}'..='\u{1f}' => true,
        '\u{85}' | '\u{a0}' | '\u{2007}' | '\u{202f}' => false,
        c => c.is_whitespace(),
    }
}

/// The upper case of one character where that is one character: `ß` has none.
fn upper(c: char) -> char {
    let mut all = c.to_uppercase();
    match (all.next(), all.next()) {
        (Some(only), None) => only,
        // Greek with a iota below has a capital of its own, which Unicode's full mapping takes apart.
        _ => match c {
            '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
                char::from_u32(u32::from(c) + 8).unwrap_or(c)
            }
            '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => char::from_u32(u32::from(c) + 9).unwrap_or(c),
            other => other,
        },
    }
}

/// The lower case of one character: the first of what Unicode's full mapping gives (`İ` is the only one with two).
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

fn trim(args: &Args, left: bool, right: bool) -> Result<ArrayRef> {
    texts(args, |row| {
        let text = args.str(0, row)?;
        let drop: Vec<char> = if args.len() > 1 {
            args.str(1, row)?.chars().collect()
        } else {
            Vec::new()
        };
        let gone = |c: char| {
            if args.len() > 1 {
                drop.contains(&c)
            } else {
                is_space(c)
            }
        };
        let text = if left {
            text.trim_start_matches(gone)
        } else {
            text
        };
        Some(
            if right {
                text.trim_end_matches(gone)
            } else {
                text
            }
            .to_owned(),
        )
    })
}

fn split_part(args: &Args) -> Result<ArrayRef> {
    let rows = (0..args.rows).map(|row| {
        let (Some(text), Some(by), Some(index)) =
            (args.str(0, row), args.str(1, row), args.i64(2, row))
        else {
            return Ok(None);
        };
        if index <= 0 {
            return Err(bad("Index must be greater than zero"));
        }
        let at = usize::try_from(index - 1).unwrap_or(usize::MAX);
        if by.is_empty() {
            return Ok(text.chars().nth(at).map(String::from));
        }
        Ok(text.split(by).nth(at).map(str::to_owned))
    });
    done(rows.collect::<Result<StringArray>>()?)
}

fn split(args: &Args) -> Result<ArrayRef> {
    let rows = (0..args.rows).map(|row| {
        let (Some(text), Some(by)) = (args.str(0, row), args.str(1, row)) else {
            return Ok(None);
        };
        if by.is_empty() {
            return Err(bad("The delimiter may not be the empty string"));
        }
        let parts: Vec<&str> = if args.len() > 2 {
            let Some(limit) = args.i64(2, row) else {
                return Ok(None);
            };
            let limit = usize::try_from(limit)
                .ok()
                .filter(|limit| *limit > 0)
                .ok_or_else(|| bad("Limit must be positive"))?;
            text.splitn(limit, by).collect()
        } else {
            text.split(by).collect()
        };
        Ok(Some(Arc::new(StringArray::from(parts)) as ArrayRef))
    });
    array::lists(rows.collect::<Result<_>>()?, &DataType::Utf8)
}

fn strpos(args: &Args) -> Result<ArrayRef> {
    let rows = (0..args.rows).map(|row| {
        let (Some(text), Some(part)) = (args.str(0, row), args.str(1, row)) else {
            return Ok(None);
        };
        let instance = if args.len() > 2 {
            args.i64(2, row)
        } else {
            Some(1)
        };
        let Some(instance) = instance else {
            return Ok(None);
        };
        if instance == 0 {
            return Err(bad("'instance' must be a positive or negative number."));
        }
        if part.is_empty() {
            return Ok(Some(1));
        }
        let nth = instance.unsigned_abs();
        let found = if instance > 0 {
            occurrence(text, part, nth)
        } else {
            occurrence_from_end(text, part, nth)
        };
        Ok(Some(
            found.map_or(0, |at| count(text[..at].chars().count()) + 1),
        ))
    });
    done(rows.collect::<Result<Int64Array>>()?)
}

/// Where a part that is not empty begins for the n-th time; occurrences may overlap.
fn occurrence(text: &str, part: &str, nth: u64) -> Option<usize> {
    let step = part.chars().next().map_or(1, char::len_utf8);
    let mut at = text.find(part)?;
    for _ in 1..nth {
        let next = at + step;
        at = next + text[next..].find(part)?;
    }
    Some(at)
}

fn occurrence_from_end(text: &str, part: &str, nth: u64) -> Option<usize> {
    let step = part.chars().next_back().map_or(1, char::len_utf8);
    let mut at = text.rfind(part)?;
    for _ in 1..nth {
        // An earlier one ends at least a character before this one does.
        at = text[..at + part.len() - step].rfind(part)?;
    }
    Some(at)
}

fn levenshtein(a: &str, b: &str) -> i64 {
    let b: Vec<char> = b.chars().collect();
    let mut line: Vec<usize> = (0..=b.len()).collect();
    for (row, x) in a.chars().enumerate() {
        let mut diagonal = line[0];
        line[0] = row + 1;
        for (column, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = line[column + 1];
            line[column + 1] = cost.min(line[column] + 1).min(diagonal + 1);
        }
    }
    count(line[b.len()])
}

fn chr(args: &Args) -> Result<ArrayRef> {
    let rows = (0..args.rows).map(|row| {
        args.i64(0, row)
            .map(|code| {
                u32::try_from(code)
                    .ok()
                    .and_then(char::from_u32)
                    .map(String::from)
                    .ok_or_else(|| bad(format!("Not a valid Unicode code point: {code}")))
            })
            .transpose()
    });
    done(rows.collect::<Result<StringArray>>()?)
}

#[expect(
    clippy::too_many_lines,
    reason = "one arm a case of the dialect, each a plain construction"
)]
pub(super) fn register(table: &mut Table) {
    table.run("length(varchar) bigint", "Number of characters", |args| {
        numbers(args, |row| {
            args.str(0, row).map(|text| count(text.chars().count()))
        })
    });
    table.run("lower(varchar) varchar", "Lower case", |args| {
        texts(args, |row| {
            args.str(0, row)
                .map(|text| text.chars().map(lower).collect())
        })
    });
    table.run("upper(varchar) varchar", "Upper case", |args| {
        texts(args, |row| {
            args.str(0, row)
                .map(|text| text.chars().map(upper).collect())
        })
    });
    table.run("reverse(varchar) varchar", "Characters backwards", |args| {
        texts(args, |row| {
            args.str(0, row).map(|text| text.chars().rev().collect())
        })
    });
    table.expr(
        "concat(varchar, varchar...) varchar",
        "Joins texts",
        |call| Ok(concat(call.args)),
    );
    table.run(
        "concat_ws(varchar, varchar...) varchar",
        "Joins texts that are not NULL with a separator",
        |args| {
            texts(args, |row| {
                let separator = args.str(0, row)?;
                let parts: Vec<&str> = (1..args.len())
                    .filter_map(|arg| args.str(arg, row))
                    .collect();
                Some(parts.join(separator))
            })
        },
    );
    table.lenient();
    for name in ["substr", "substring"] {
        table.run(
            &format!("{name}(varchar, bigint) varchar"),
            "Part of a text",
            |args| {
                texts(args, |row| {
                    Some(substr(args.str(0, row)?, args.i64(1, row)?, None))
                })
            },
        );
        table.run(
            &format!("{name}(varchar, bigint, bigint) varchar"),
            "Part of a text",
            |args| {
                texts(args, |row| {
                    Some(substr(
                        args.str(0, row)?,
                        args.i64(1, row)?,
                        Some(args.i64(2, row)?),
                    ))
                })
            },
        );
    }
    table.run(
        "replace(varchar, varchar) varchar",
        "Removes a part",
        |args| {
            texts(args, |row| {
                Some(args.str(0, row)?.replace(args.str(1, row)?, ""))
            })
        },
    );
    table.run(
        "replace(varchar, varchar, varchar) varchar",
        "Replaces a part",
        |args| {
            texts(args, |row| {
                Some(
                    args.str(0, row)?
                        .replace(args.str(1, row)?, args.str(2, row)?),
                )
            })
        },
    );
    table.run(
        "translate(varchar, varchar, varchar) varchar",
        "Replaces characters",
        |args| {
            texts(args, |row| {
                let (text, from, to) = (args.str(0, row)?, args.str(1, row)?, args.str(2, row)?);
                let to: Vec<char> = to.chars().collect();
                Some(
                    text.chars()
                        .filter_map(|c| match from.chars().position(|f| f == c) {
                            Some(at) => to.get(at).copied(),
                            None => Some(c),
                        })
                        .collect(),
                )
            })
        },
    );
    for name in ["trim", "ltrim", "rtrim"] {
        for args in ["varchar", "varchar, varchar"] {
            let run: fn(&Args) -> Result<ArrayRef> = match name {
                "trim" => |args| trim(args, true, true),
                "ltrim" => |args| trim(args, true, false),
                _ => |args| trim(args, false, true),
            };
            table.run(
                &format!("{name}({args}) varchar"),
                "Removes characters at the ends",
                run,
            );
        }
    }
    table.run(
        "lpad(varchar, bigint, varchar) varchar",
        "Pads on the left",
        |args| pad(args, true),
    );
    table.run(
        "rpad(varchar, bigint, varchar) varchar",
        "Pads on the right",
        |args| pad(args, false),
    );
    searching(table);
    urls::register(table);
}

#[expect(
    clippy::too_many_lines,
    reason = "one arm a case of the dialect, each a plain construction"
)]
fn searching(table: &mut Table) {
    table.run(
        "strpos(varchar, varchar) bigint",
        "Position of a part, or 0",
        strpos,
    );
    table.run(
        "strpos(varchar, varchar, bigint) bigint",
        "Position of the n-th such part, or 0",
        strpos,
    );
    table.run(
        "starts_with(varchar, varchar) boolean",
        "Does it start so?",
        |args| {
            done(
                (0..args.rows)
                    .map(|row| {
                        args.str(0, row)
                            .zip(args.str(1, row))
                            .map(|(text, start)| text.starts_with(start))
                    })
                    .collect::<BooleanArray>(),
            )
        },
    );
    table.run(
        "ends_with(varchar, varchar) boolean",
        "Does it end so?",
        |args| {
            done(
                (0..args.rows)
                    .map(|row| {
                        args.str(0, row)
                            .zip(args.str(1, row))
                            .map(|(text, end)| text.ends_with(end))
                    })
                    .collect::<BooleanArray>(),
            )
        },
    );
    table.run(
        "split(varchar, varchar) array(varchar)",
        "Parts between delimiters",
        split,
    );
    table.run(
        "split(varchar, varchar, bigint) array(varchar)",
        "At most so many parts",
        split,
    );
    table.run(
        "split_part(varchar, varchar, bigint) varchar",
        "One part between delimiters",
        split_part,
    );
    table.run(
        "levenshtein_distance(varchar, varchar) bigint",
        "Edits between two texts",
        |args| {
            numbers(args, |row| {
                args.str(0, row)
                    .zip(args.str(1, row))
                    .map(|(a, b)| levenshtein(a, b))
            })
        },
    );
    table.run("chr(bigint) varchar", "Character of a code point", chr);
    table.run(
        "codepoint(varchar) integer",
        "Code point of a character",
        |args| {
            let rows = (0..args.rows).map(|row| {
                args.str(0, row)
                    .map(|text| {
                        let mut chars = text.chars();
                        match (chars.next(), chars.next()) {
                            (Some(c), None) => {
                                i32::try_from(u32::from(c)).map_err(|_| bad("out of range"))
                            }
                            _ => Err(bad("Input string must be a single character string")),
                        }
                    })
                    .transpose()
            });
            done(rows.collect::<Result<arrow::array::Int32Array>>()?)
        },
    );
}
