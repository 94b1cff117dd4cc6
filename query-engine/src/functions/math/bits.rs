//! Integers as bits and as digits in a base.

use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};

use super::integers;
use crate::failure::{Code, Failure, Result};
use crate::functions::Table;
use crate::functions::kernel::{Args, done};

fn integers2(args: &Args, apply: impl Fn(i64, i64) -> i64) -> Result<ArrayRef> {
    done(
        (0..args.rows)
            .map(|row| {
                args.i64(0, row)
                    .zip(args.i64(1, row))
                    .map(|(a, b)| apply(a, b))
            })
            .collect::<Int64Array>(),
    )
}

fn to_base(args: &Args) -> Result<ArrayRef> {
    let rows = (0..args.rows).map(|row| {
        let (Some(value), Some(radix)) = (args.i64(0, row), args.i64(1, row)) else {
            return Ok(None);
        };
        let radix = u64::try_from(radix)
            .ok()
            .filter(|radix| (2..=36).contains(radix))
            .ok_or_else(|| {
                Failure::new(
                    Code::InvalidFunctionArgument,
                    "Radix must be between 2 and 36",
                )
            })?;
        let mut rest = value.unsigned_abs();
        let mut digits = Vec::new();
        loop {
            digits.push(
                char::from_digit(u32::try_from(rest % radix).unwrap_or(0), 36).unwrap_or('0'),
            );
            rest /= radix;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            digits.push('-');
        }
        Ok(Some(digits.into_iter().rev().collect::<String>()))
    });
    done(rows.collect::<Result<StringArray>>()?)
}

fn from_base(args: &Args) -> Result<ArrayRef> {
    let rows = (0..args.rows).map(|row| {
        let (Some(text), Some(radix)) = (args.str(0, row), args.i64(1, row)) else {
            return Ok(None);
        };
        let radix = u32::try_from(radix)
            .ok()
            .filter(|radix| (2..=36).contains(radix));
        let value = radix.and_then(|radix| i64::from_str_radix(text, radix).ok());
        value.map(Some).ok_or_else(|| {
            Failure::new(
                Code::InvalidFunctionArgument,
                format!("Not a valid base number: {text}"),
            )
        })
    });
    done(rows.collect::<Result<Int64Array>>()?)
}

pub(super) fn register(table: &mut Table) {
    table.run(
        "bitwise_and(bigint, bigint) bigint",
        "Bitwise and",
        |args| integers2(args, |a, b| a & b),
    );
    table.run("bitwise_or(bigint, bigint) bigint", "Bitwise or", |args| {
        integers2(args, |a, b| a | b)
    });
    table.run(
        "bitwise_xor(bigint, bigint) bigint",
        "Bitwise xor",
        |args| integers2(args, |a, b| a ^ b),
    );
    table.run("bitwise_not(bigint) bigint", "Bitwise not", |args| {
        integers(args, |a| Ok(!a))
    });
    table.run(
        "to_base(bigint, bigint) varchar",
        "Digits in a base",
        to_base,
    );
    table.run(
        "from_base(varchar, bigint) bigint",
        "Number of digits in a base",
        from_base,
    );
}
