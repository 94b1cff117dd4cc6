//! Intervals and arithmetic with dates and times.

use std::sync::Arc;

use chrono::{Months, NaiveDateTime};
use datafusion::arrow::array::{
    Date32Array, DurationMillisecondArray, Int64Array, IntervalYearMonthArray,
    Time64MicrosecondArray,
};
use datafusion::arrow::datatypes::{
    DurationMillisecondType, IntervalYearMonthType, Time64MicrosecondType,
};
use datafusion::logical_expr::Expr;

use super::arith::overflow;
use super::cast;
use super::datetime::parse::{Zone, date_at, days_of, time_at, units};
use super::kernel::{Args, Kernel, OnFailure, Run, done};
use crate::failure::{Code, Failure, Result};
use crate::sql::analyze::Typed;
use crate::sql::ast::{Arith, Unit};
use crate::types::Type;

/// `'2-3'` from YEAR TO MONTH, `'5'` MONTH.
pub(crate) fn parse_year_month(text: &str, from: Unit, to: Option<Unit>) -> Option<i32> {
    let (sign, text) = signed(text);
    let months = match (from, to) {
        (Unit::Year, None | Some(Unit::Year)) => text.parse::<i32>().ok()?.checked_mul(12)?,
        (Unit::Month, None | Some(Unit::Month)) => text.parse::<i32>().ok()?,
        (Unit::Year, Some(Unit::Month)) => {
            let (years, months) = text.split_once('-')?;
            years
                .parse::<i32>()
                .ok()?
                .checked_mul(12)?
                .checked_add(months.parse::<i32>().ok()?)?
        }
        _ => return None,
    };
    Some(sign * months)
}

/// `'1 02:03:04.567'` DAY TO SECOND and its parts, in milliseconds.
pub(crate) fn parse_day_time(text: &str, from: Unit, to: Option<Unit>) -> Option<i64> {
    let (sign, text) = signed(text);
    let order = [Unit::Day, Unit::Hour, Unit::Minute, Unit::Second];
    let millis = [86_400_000_i64, 3_600_000, 60_000, 1000];
    if from == Unit::Week {
        return if to.is_none() {
            text.parse::<i64>()
                .ok()?
                .checked_mul(7 * millis[0])
                .map(|all| i64::from(sign) * all)
        } else {
            None
        };
    }
    let first = order.iter().position(|unit| *unit == from)?;
    let last = order.iter().position(|unit| *unit == to.unwrap_or(from))?;
    let parts: Vec<&str> = text.trim().split([' ', ':']).collect();
    if last < first || parts.len() != last - first + 1 {
        return None;
    }
    let mut total = 0_i64;
    for (at, part) in (first..=last).zip(parts) {
        let (whole, fraction) = match part.split_once('.') {
            Some((whole, fraction)) if order[at] == Unit::Second && fraction.len() <= 3 => {
                (whole, format!("{fraction:0<3}"))
            }
            Some(_) => return None,
            None => (part, "0".to_owned()),
        };
        total = total
            .checked_add(whole.parse::<i64>().ok()?.checked_mul(millis[at])?)?
            .checked_add(fraction.parse().ok()?)?;
    }
    Some(i64::from(sign) * total)
}

fn signed(text: &str) -> (i32, &str) {
    match text.trim().strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.trim().trim_start_matches('+')),
    }
}

/// Arithmetic in which at least one side is a date, time, timestamp or interval; `None` when Trino has no such operator.
pub(crate) fn arithmetic(
    op: Arith,
    left: Typed,
    right: Typed,
    on_failure: OnFailure,
    zone: &Arc<str>,
) -> Result<Option<Typed>> {
    let commuted = matches!(
        (op, &left.ty, &right.ty),
        (
            Arith::Add,
            Type::DayTime | Type::YearMonth,
            Type::Date | Type::Time(_) | Type::Timestamp(_) | Type::TimestampTz(..)
        ) | (
            Arith::Multiply,
            Type::Integer | Type::Bigint | Type::Double | Type::Smallint | Type::Tinyint,
            Type::DayTime | Type::YearMonth
        )
    );
    let (left, right) = if commuted {
        (right, left)
    } else {
        (left, right)
    };
    let sign = if op == Arith::Subtract { -1 } else { 1 };
    let add = matches!(op, Arith::Add | Arith::Subtract);
    Ok(match (&left.ty, &right.ty) {
        (Type::DayTime, Type::DayTime) | (Type::YearMonth, Type::YearMonth) if add => {
            Some(sum(op, left, right, on_failure))
        }
        (Type::DayTime | Type::YearMonth, other)
            if other.is_numeric() && matches!(op, Arith::Multiply | Arith::Divide) =>
        {
            Some(scaled(op, left, right, on_failure))
        }
        (
            Type::Date | Type::Time(_) | Type::Timestamp(_) | Type::TimestampTz(..),
            Type::DayTime | Type::YearMonth,
        ) if add => shifted(sign, left, right, on_failure),
        (
            Type::Date | Type::Timestamp(_) | Type::TimestampTz(..),
            Type::Date | Type::Timestamp(_) | Type::TimestampTz(..),
        ) if op == Arith::Subtract => difference(left, right, on_failure, zone)?,
        _ => None,
    })
}

fn sum(op: Arith, left: Typed, right: Typed, on_failure: OnFailure) -> Typed {
    let ty = left.ty.clone();
    let months = ty == Type::YearMonth;
    let sign: i64 = if op == Arith::Subtract { -1 } else { 1 };
    let run = move |args: &Args| {
        let rows = (0..args.rows).map(|row| {
            interval(args, 0, row, months)
                .zip(interval(args, 1, row, months))
                .map(|(a, b)| a.checked_add(sign * b))
        });
        collect(rows, months)
    };
    Typed::new(
        Kernel::call(
            op.symbol(),
            ty.to_string(),
            ty.arrow(),
            on_failure,
            vec![left.expr, right.expr],
            Arc::new(run),
        ),
        ty,
    )
}

/// Months or milliseconds.
fn interval(args: &Args, arg: usize, row: usize, months: bool) -> Option<i64> {
    if months {
        args.primitive::<IntervalYearMonthType>(arg, row)
            .map(i64::from)
    } else {
        args.primitive::<DurationMillisecondType>(arg, row)
    }
}

fn collect(
    rows: impl Iterator<Item = Option<Option<i64>>>,
    months: bool,
) -> Result<arrow::array::ArrayRef> {
    let rows = rows.map(|row| match row {
        Some(Some(value)) => Ok(Some(value)),
        Some(None) => Err(overflow("interval overflow")),
        None => Ok(None),
    });
    if months {
        let rows = rows.map(|row| {
            row.and_then(|value| {
                value
                    .map(|value| i32::try_from(value).map_err(|_| overflow("interval overflow")))
                    .transpose()
            })
        });
        return done(rows.collect::<Result<IntervalYearMonthArray>>()?);
    }
    done(rows.collect::<Result<DurationMillisecondArray>>()?)
}

fn scaled(op: Arith, left: Typed, right: Typed, on_failure: OnFailure) -> Typed {
    let ty = left.ty.clone();
    let months = ty == Type::YearMonth;
    let exact = right.ty.is_integer() && op == Arith::Multiply;
    let by = cast::plain(right.expr, &if exact { Type::Bigint } else { Type::Double });
    let run = move |args: &Args| {
        let rows = (0..args.rows).map(|row| {
            let value = interval(args, 0, row, months)?;
            if exact {
                return Some(value.checked_mul(args.i64(1, row)?));
            }
            let by = args.f64(1, row)?;
            Some(float(value, by, op))
        });
        collect(rows, months)
    };
    let key = format!("{ty}{exact}");
    Typed::new(
        Kernel::call(
            op.symbol(),
            key,
            ty.arrow(),
            on_failure,
            vec![left.expr, by],
            Arc::new(run),
        ),
        ty,
    )
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "Trino scales intervals in double precision"
)]
fn float(value: i64, by: f64, op: Arith) -> Option<i64> {
    let made = if op == Arith::Divide {
        value as f64 / by
    } else {
        value as f64 * by
    };
    (made.is_finite() && made.abs() < 9.2e18).then_some(made as i64)
}

fn out_of_range() -> Failure {
    Failure::new(
        Code::NumericValueOutOfRange,
        "date or timestamp out of range",
    )
}

/// A local time some months later, the day clipped to the month's last.
pub(crate) fn add_months(time: NaiveDateTime, months: i64) -> Option<NaiveDateTime> {
    let by = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    if months < 0 {
        time.checked_sub_months(by)
    } else {
        time.checked_add_months(by)
    }
}

fn shifted(sign: i64, left: Typed, right: Typed, on_failure: OnFailure) -> Option<Typed> {
    let months = right.ty == Type::YearMonth;
    // Days to seconds have milliseconds.
    let ty = match left.ty.clone() {
        Type::Time(precision) if !months => Type::Time(precision.max(3)),
        Type::Timestamp(precision) if !months => Type::Timestamp(precision.max(3)),
        Type::TimestampTz(precision, zone) if !months => Type::TimestampTz(precision.max(3), zone),
        other => other,
    };
    let run: Run = match &ty {
        Type::Date => Arc::new(move |args: &Args| shift_dates(args, sign, months)),
        Type::Time(_) if months => return None,
        Type::Time(_) => Arc::new(move |args: &Args| {
            let rows = (0..args.rows).map(|row| {
                let (time, by) = (
                    args.primitive::<Time64MicrosecondType>(0, row)?,
                    interval(args, 1, row, false)?,
                );
                Some((time + (sign * by % 86_400_000) * 1000).rem_euclid(86_400_000_000))
            });
            done(rows.collect::<Time64MicrosecondArray>())
        }),
        Type::Timestamp(precision) => shift_timestamps(sign, months, *precision, Zone::utc(), &ty),
        Type::TimestampTz(precision, zone) => {
            shift_timestamps(sign, months, *precision, Zone::parse(zone)?, &ty)
        }
        _ => return None,
    };
    let key = format!("{ty:?}{months}{sign}");
    Some(Typed::new(
        Kernel::call(
            "shift",
            key,
            ty.arrow(),
            on_failure,
            vec![left.expr, right.expr],
            run,
        ),
        ty,
    ))
}

fn shift_dates(args: &Args, sign: i64, months: bool) -> Result<arrow::array::ArrayRef> {
    let rows = (0..args.rows).map(|row| {
        let (Some(days), Some(by)) = (args.date(0, row), interval(args, 1, row, months)) else {
            return Ok(None);
        };
        if months {
            let time = date_at(days)
                .and_then(|date| date.and_hms_opt(0, 0, 0))
                .and_then(|time| add_months(time, sign * by));
            return time
                .map(|time| Some(days_of(time.date())))
                .ok_or_else(out_of_range);
        }
        if by % 86_400_000 != 0 {
            return Err(Failure::new(
                Code::InvalidFunctionArgument,
                "Cannot add hour, minutes or seconds to a date",
            ));
        }
        let shifted = i64::from(days) + sign * by / 86_400_000;
        i32::try_from(shifted).map(Some).map_err(|_| out_of_range())
    });
    done(rows.collect::<Result<Date32Array>>()?)
}

fn shift_timestamps(sign: i64, months: bool, precision: u8, zone: Zone, ty: &Type) -> Run {
    let shape = ty.arrow();
    let nanos = precision > 6;
    let per_milli: i64 = if nanos { 1_000_000 } else { 1000 };
    Arc::new(move |args: &Args| {
        let rows = (0..args.rows).map(|row| {
            if args.is_null(0, row) {
                return Ok(None);
            }
            let Some(by) = interval(args, 1, row, months) else {
                return Ok(None);
            };
            let value = super::datetime::raw(args, 0, row);
            let made = if months {
                time_at(value, nanos)
                    .map(|instant| zone.local(instant))
                    .and_then(|local| add_months(local, sign * by))
                    .and_then(|local| zone.instant(local))
                    .and_then(|instant| units(instant, nanos))
            } else {
                by.checked_mul(sign * per_milli)
                    .and_then(|by| value.checked_add(by))
            };
            made.map(Some).ok_or_else(out_of_range)
        });
        super::datetime::timestamps(rows.collect::<Result<Int64Array>>()?, &shape)
    })
}

/// `a - b` as an interval day to second.
fn difference(
    left: Typed,
    right: Typed,
    on_failure: OnFailure,
    zone: &Arc<str>,
) -> Result<Option<Typed>> {
    let common = match (&left.ty, &right.ty) {
        (Type::TimestampTz(a, zone), Type::TimestampTz(b, _)) => {
            Type::TimestampTz(*a.max(b), Arc::clone(zone))
        }
        (a, b) => match crate::types::common(a, b) {
            Some(common) => common,
            None => return Ok(None),
        },
    };
    let left = cast::explicit(left, &common, on_failure, zone)?.expr;
    let right = cast::explicit(right, &common, on_failure, zone)?.expr;
    let ty = Type::DayTime;
    let date = common == Type::Date;
    let nanos = matches!(common, Type::Timestamp(7..) | Type::TimestampTz(7.., _));
    let zoned = matches!(common, Type::TimestampTz(..));
    let run = move |args: &Args| {
        let rows = (0..args.rows).map(|row| {
            if args.is_null(0, row) || args.is_null(1, row) {
                return None;
            }
            if date {
                let (a, b) = (args.date(0, row)?, args.date(1, row)?);
                return Some(Some((i64::from(a) - i64::from(b)) * 86_400_000));
            }
            let (a, b) = (
                super::datetime::raw(args, 0, row),
                super::datetime::raw(args, 1, row),
            );
            let per_milli = if nanos { 1_000_000 } else { 1000 };
            Some(if zoned {
                instants_apart(a, b, per_milli)
            } else {
                locals_apart(a, b, nanos)
            })
        });
        collect(rows, false)
    };
    let key = format!("{common:?}");
    let expr: Expr = Kernel::call(
        "difference",
        key,
        ty.arrow(),
        on_failure,
        vec![left, right],
        Arc::new(run),
    );
    Ok(Some(Typed::new(expr, ty)))
}

/// Milliseconds between two timestamps as Trino rounds them: half up, and of microseconds.
fn locals_apart(a: i64, b: i64, nanos: bool) -> Option<i64> {
    let micros = |value: i64| if nanos { value.div_euclid(1000) } else { value };
    let apart = micros(a).checked_sub(micros(b))?;
    Some(cast::rounded(apart, 6, 3).div_euclid(1000))
}

/// Milliseconds between two instants as Trino rounds them: the fractions apart from the whole milliseconds, half away
/// from zero.
fn instants_apart(a: i64, b: i64, per_milli: i64) -> Option<i64> {
    let whole = a.div_euclid(per_milli) - b.div_euclid(per_milli);
    let fraction = a.rem_euclid(per_milli) - b.rem_euclid(per_milli);
    Some(match fraction {
        fraction if 2 * fraction >= per_milli => whole + 1,
        fraction if -2 * fraction >= per_milli => whole - 1,
        _ => whole,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_round_as_in_trino() {
        assert_eq!(locals_apart(1_500, 0, false), Some(2));
        assert_eq!(locals_apart(0, 1_500, false), Some(-1));
        assert_eq!(locals_apart(0, 1_501, false), Some(-2));
        assert_eq!(locals_apart(1_499_999, 0, true), Some(1));
        assert_eq!(instants_apart(1_500, 0, 1000), Some(2));
        assert_eq!(instants_apart(0, 1_500, 1000), Some(-2));
        assert_eq!(instants_apart(1_000, 600, 1000), Some(0));
    }
}
