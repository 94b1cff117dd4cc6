//! Dates and times: parts, truncation, arithmetic by unit, formats, zones.

pub(crate) mod parse;
mod pattern;
mod table;
pub(crate) mod text;

use std::sync::Arc;

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Date32Array, Int64Array};
use datafusion::arrow::datatypes::{
    DataType, Float64Type, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::kernel::{Args, Kernel, OnFailure, Run, done};
use super::{Invocation, cast, interval};
use crate::failure::{Code, Failure, Result};
use crate::sql::analyze::Typed;
use crate::types::{Type, UTC};
use parse::{Zone, date_at, days_of, time_at, units};

pub(super) use table::register;

/// The number under a timestamp argument.
pub(crate) fn raw(args: &Args, arg: usize, row: usize) -> i64 {
    let at = args.at(arg, row);
    match args.array(arg).data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => args
            .array(arg)
            .as_primitive::<TimestampNanosecondType>()
            .value(at),
        _ => args
            .array(arg)
            .as_primitive::<TimestampMicrosecondType>()
            .value(at),
    }
}

/// Numbers as timestamps of an Arrow type.
pub(crate) fn timestamps(values: Int64Array, shape: &DataType) -> Result<ArrayRef> {
    let values: ArrayRef = Arc::new(values);
    Ok(arrow::compute::cast(&values, shape)?)
}

fn out_of_range() -> Failure {
    Failure::new(
        Code::InvalidFunctionArgument,
        "date or timestamp out of range",
    )
}

/// How values of a type become local times and back.
#[derive(Clone)]
pub(crate) enum Clock {
    Date,
    Time,
    Stamp { nanos: bool, zone: Zone },
}

impl Clock {
    pub(crate) fn of(ty: &Type) -> Result<Clock> {
        match ty {
            Type::Date => Ok(Clock::Date),
            Type::Time(_) => Ok(Clock::Time),
            Type::Timestamp(precision) => Ok(Clock::Stamp {
                nanos: *precision > 6,
                zone: Zone::utc(),
            }),
            Type::TimestampTz(precision, zone) => {
                let zone = Zone::parse(zone).ok_or_else(|| {
                    Failure::new(
                        Code::InvalidFunctionArgument,
                        format!("'{zone}' is not a valid time zone"),
                    )
                })?;
                Ok(Clock::Stamp {
                    nanos: *precision > 6,
                    zone,
                })
            }
            other => Err(Failure::new(
                Code::GenericInternalError,
                format!("{other} is no time"),
            )),
        }
    }

    /// The local time at a row; `None` is NULL.
    pub(crate) fn read(
        &self,
        args: &Args,
        arg: usize,
        row: usize,
    ) -> Result<Option<NaiveDateTime>> {
        if args.is_null(arg, row) {
            return Ok(None);
        }
        let time = match self {
            Clock::Date => args
                .date(arg, row)
                .and_then(date_at)
                .map(|date| date.and_time(NaiveTime::MIN)),
            Clock::Time => args
                .primitive::<arrow::datatypes::Time64MicrosecondType>(arg, row)
                .and_then(|micros| time_at(micros, false)),
            Clock::Stamp { nanos, zone } => {
                time_at(raw(args, arg, row), *nanos).map(|time| zone.local(time))
            }
        };
        time.map(Some).ok_or_else(out_of_range)
    }

    /// The number a local time is stored as that was made of the one at a row.
    fn write(&self, local: NaiveDateTime, args: &Args, arg: usize, row: usize) -> Option<i64> {
        match self {
            Clock::Date => Some(i64::from(days_of(local.date()))),
            Clock::Time => units(local, false).map(|micros| micros.rem_euclid(86_400_000_000)),
            Clock::Stamp { nanos, zone } => time_at(raw(args, arg, row), *nanos)
                .and_then(|made_of| zone.instant_near(local, made_of))
                .and_then(|instant| units(instant, *nanos)),
        }
    }

    /// The local time at a row to the millisecond, which is as fine as Trino formats it: half up.
    fn read_rounded(&self, args: &Args, arg: usize, row: usize) -> Result<Option<NaiveDateTime>> {
        let Clock::Stamp { nanos, zone } = self else {
            return self.read(args, arg, row);
        };
        if args.is_null(arg, row) {
            return Ok(None);
        }
        let millis = cast::rounded(raw(args, arg, row), if *nanos { 9 } else { 6 }, 3);
        let time = time_at(millis, *nanos).map(|time| zone.local(time));
        time.map(Some).ok_or_else(out_of_range)
    }

    fn array(&self, values: Int64Array, shape: &DataType) -> Result<ArrayRef> {
        match self {
            Clock::Date => {
                let days = values
                    .iter()
                    .map(|day| day.and_then(|day| i32::try_from(day).ok()));
                done(days.collect::<Date32Array>())
            }
            _ => timestamps(values, shape),
        }
    }
}

/// A closure that maps local times of argument `arg` to numbers.
pub(crate) fn part(ty: &Type, part: fn(NaiveDateTime) -> i64) -> Result<Run> {
    let clock = Clock::of(ty)?;
    Ok(Arc::new(move |args| {
        let rows = (0..args.rows).map(|row| Ok(clock.read(args, 0, row)?.map(part)));
        done(rows.collect::<Result<Int64Array>>()?)
    }))
}

/// The units of `date_trunc`, `date_add` and `date_diff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

fn unit(text: &str, ty: &Type) -> Result<Unit> {
    let found = match text.to_ascii_lowercase().as_str() {
        "millisecond" => Unit::Millisecond,
        "second" => Unit::Second,
        "minute" => Unit::Minute,
        "hour" => Unit::Hour,
        "day" => Unit::Day,
        "week" => Unit::Week,
        "month" => Unit::Month,
        "quarter" => Unit::Quarter,
        "year" => Unit::Year,
        _ => {
            return Err(Failure::new(
                Code::InvalidFunctionArgument,
                format!(
                    "'{text}' is not a valid {} field",
                    ty.base_name().to_uppercase()
                ),
            ));
        }
    };
    let small = matches!(
        found,
        Unit::Millisecond | Unit::Second | Unit::Minute | Unit::Hour
    );
    if (*ty == Type::Date && small) || (matches!(ty, Type::Time(_)) && !small) {
        return Err(Failure::new(
            Code::InvalidFunctionArgument,
            format!(
                "'{text}' is not a valid {} field",
                ty.base_name().to_uppercase()
            ),
        ));
    }
    Ok(found)
}

fn truncated(time: NaiveDateTime, unit: Unit) -> NaiveDateTime {
    let date = time.date();
    let first = |month: u32| {
        NaiveDate::from_ymd_opt(date.year(), month, 1)
            .unwrap_or(date)
            .and_time(NaiveTime::MIN)
    };
    let seconds = i64::from(time.num_seconds_from_midnight());
    let to = |step: i64| date.and_time(NaiveTime::MIN) + TimeDelta::seconds(seconds / step * step);
    match unit {
        Unit::Millisecond => {
            to(1) + TimeDelta::milliseconds(i64::from(time.nanosecond() / 1_000_000))
        }
        Unit::Second => to(1),
        Unit::Minute => to(60),
        Unit::Hour => to(3600),
        Unit::Day => date.and_time(NaiveTime::MIN),
        Unit::Week => (date - TimeDelta::days(i64::from(date.weekday().num_days_from_monday())))
            .and_time(NaiveTime::MIN),
        Unit::Month => first(date.month()),
        Unit::Quarter => first((date.month() - 1) / 3 * 3 + 1),
        Unit::Year => first(1),
    }
}

fn added(time: NaiveDateTime, unit: Unit, n: i64) -> Option<NaiveDateTime> {
    let by = |millis: i64| {
        n.checked_mul(millis)
            .and_then(TimeDelta::try_milliseconds)
            .and_then(|by| time.checked_add_signed(by))
    };
    match unit {
        Unit::Millisecond => by(1),
        Unit::Second => by(1000),
        Unit::Minute => by(60_000),
        Unit::Hour => by(3_600_000),
        Unit::Day => by(86_400_000),
        Unit::Week => by(7 * 86_400_000),
        Unit::Month => interval::add_months(time, n),
        Unit::Quarter => interval::add_months(time, n.checked_mul(3)?),
        Unit::Year => interval::add_months(time, n.checked_mul(12)?),
    }
}

/// Whole units from one local time to another, towards zero.
fn between(from: NaiveDateTime, to: NaiveDateTime, unit: Unit) -> i64 {
    let millis = to.signed_duration_since(from).num_milliseconds();
    let months = || {
        // Counted from the earlier one, so that the other way round it is the same number of months.
        let (from, to, sign) = if from <= to {
            (from, to, 1)
        } else {
            (to, from, -1)
        };
        let all = i64::from(to.year() - from.year()) * 12 + i64::from(to.month())
            - i64::from(from.month());
        // A month is whole when adding it does not pass the end.
        sign * match interval::add_months(from, all) {
            Some(reached) if reached > to => all - 1,
            _ => all,
        }
    };
    match unit {
        Unit::Millisecond => millis,
        Unit::Second => millis / 1000,
        Unit::Minute => millis / 60_000,
        Unit::Hour => millis / 3_600_000,
        Unit::Day => millis / 86_400_000,
        Unit::Week => millis / (7 * 86_400_000),
        Unit::Month => months(),
        Unit::Quarter => months() / 3,
        Unit::Year => months() / 12,
    }
}

/// Units shorter than a day move the instant, not the clock on the wall.
fn is_clock_unit(unit: Unit) -> bool {
    matches!(
        unit,
        Unit::Millisecond | Unit::Second | Unit::Minute | Unit::Hour
    )
}

fn date_trunc(call: &Invocation) -> Result<Run> {
    let ty = call.types[1].clone();
    let clock = Clock::of(&ty)?;
    let shape = call.returns.arrow();
    if ty == Type::Time(0) || matches!(ty, Type::Time(_)) {
        return Err(Failure::new(
            Code::NotSupported,
            "date_trunc of time is not supported",
        ));
    }
    Ok(Arc::new(move |args| {
        let rows = (0..args.rows).map(|row| {
            let (Some(name), Some(time)) = (args.str(0, row), clock.read(args, 1, row)?) else {
                return Ok(None);
            };
            let unit = unit(name, &ty)?;
            let made = truncated(time, unit);
            let made = match &clock {
                // The clock may show the same hour twice: the instant moves as far as the clock does.
                Clock::Stamp { nanos, .. } if is_clock_unit(unit) => {
                    time_at(raw(args, 1, row), *nanos)
                        .and_then(|instant| units(instant - (time - made), *nanos))
                }
                _ => clock.write(made, args, 1, row),
            };
            made.map(Some).ok_or_else(out_of_range)
        });
        clock.array(rows.collect::<Result<Int64Array>>()?, &shape)
    }))
}

fn date_add(call: &Invocation) -> Result<Run> {
    let ty = call.types[2].clone();
    let clock = Clock::of(&ty)?;
    let shape = call.returns.arrow();
    Ok(Arc::new(move |args| {
        let rows = (0..args.rows).map(|row| {
            let (Some(name), Some(n)) = (args.str(0, row), args.i64(1, row)) else {
                return Ok(None);
            };
            let Some(local) = clock.read(args, 2, row)? else {
                return Ok(None);
            };
            let unit = unit(name, &ty)?;
            let made = match &clock {
                Clock::Stamp { nanos, .. } if is_clock_unit(unit) => {
                    time_at(raw(args, 2, row), *nanos)
                        .and_then(|time| added(time, unit, n))
                        .and_then(|time| units(time, *nanos))
                }
                _ => added(local, unit, n).and_then(|time| clock.write(time, args, 2, row)),
            };
            made.map(Some).ok_or_else(out_of_range)
        });
        clock.array(rows.collect::<Result<Int64Array>>()?, &shape)
    }))
}

/// One clock for both times, as in Trino: the first one's zone, but UTC where the precision is above milliseconds.
fn one_clock(from: &Type, to: &Type) -> Result<(Clock, Clock)> {
    let (Type::TimestampTz(a, zone), Type::TimestampTz(b, _)) = (from, to) else {
        return Ok((Clock::of(from)?, Clock::of(to)?));
    };
    let zone = if *a.max(b) > 3 {
        Arc::from(UTC)
    } else {
        Arc::clone(zone)
    };
    Ok((
        Clock::of(&Type::TimestampTz(*a, Arc::clone(&zone)))?,
        Clock::of(&Type::TimestampTz(*b, zone))?,
    ))
}

/// Without what is behind the milliseconds.
fn millis_of(time: NaiveDateTime) -> NaiveDateTime {
    time - TimeDelta::nanoseconds(i64::from(time.nanosecond() % 1_000_000))
}

fn date_diff(call: &Invocation) -> Result<Run> {
    let ty = call.types[1].clone();
    let (from, to) = one_clock(&ty, &call.types[2])?;
    Ok(Arc::new(move |args| {
        let rows = (0..args.rows).map(|row| {
            let Some(name) = args.str(0, row) else {
                return Ok(None);
            };
            let unit = unit(name, &ty)?;
            let read = |clock: &Clock, arg: usize| match clock {
                Clock::Stamp { nanos, .. } if is_clock_unit(unit) && !args.is_null(arg, row) => {
                    Ok(time_at(raw(args, arg, row), *nanos))
                }
                clock => clock.read(args, arg, row),
            };
            Ok(read(&from, 1)?
                .zip(read(&to, 2)?)
                .map(|(from, to)| between(millis_of(from), millis_of(to), unit)))
        });
        done(rows.collect::<Result<Int64Array>>()?)
    }))
}

fn zone_literal(zone: &Typed) -> Result<Zone> {
    match &zone.expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Zone::parse(text).ok_or_else(|| {
            Failure::new(
                Code::InvalidFunctionArgument,
                format!("'{text}' is not a valid time zone"),
            )
        }),
        _ if zone.ty.is_varchar() => Err(Failure::new(
            Code::NotSupported,
            "a time zone that is not a literal is not supported",
        )),
        _ => Err(Failure::new(
            Code::TypeMismatch,
            format!(
                "Type of value must be a time or timestamp with or without time zone, and the zone a varchar (actual {})",
                zone.ty
            ),
        )),
    }
}

/// `value AT TIME ZONE zone`: the same instant shown in another zone; a timestamp is taken in the session's zone.
pub(crate) fn at_time_zone(
    value: Typed,
    zone: &Typed,
    on_failure: OnFailure,
    session: &Arc<str>,
) -> Result<Typed> {
    let zone: Arc<str> = zone_literal(zone)?.name().into();
    let (precision, instant) = match &value.ty {
        Type::TimestampTz(precision, _) => (*precision, value),
        Type::Timestamp(precision) => {
            let ty = Type::TimestampTz(*precision, Arc::clone(session));
            (*precision, cast::explicit(value, &ty, on_failure, session)?)
        }
        other => {
            return Err(Failure::new(
                Code::TypeMismatch,
                format!(
                    "Type of value must be a time or timestamp with or without time zone (actual {other})"
                ),
            ));
        }
    };
    let ty = Type::TimestampTz(precision, zone);
    Ok(Typed::new(cast::plain(instant.expr, &ty), ty))
}

/// `with_timezone(timestamp, zone)`: the local time in that zone.
pub(crate) fn with_timezone(value: Typed, zone: &Typed, on_failure: OnFailure) -> Result<Typed> {
    let zone: Arc<str> = zone_literal(zone)?.name().into();
    let Type::Timestamp(precision) = value.ty else {
        return Err(Failure::new(
            Code::FunctionNotFound,
            format!(
                "Unexpected parameters ({}) for function with_timezone",
                value.ty
            ),
        ));
    };
    cast::explicit(
        value,
        &Type::TimestampTz(precision, Arc::clone(&zone)),
        on_failure,
        &zone,
    )
}

/// `from_unixtime(seconds[, zone])`: timestamp(3) with time zone.
pub(crate) fn from_unixtime(
    values: &[Typed],
    on_failure: OnFailure,
    session: &Arc<str>,
) -> Result<Typed> {
    let (seconds, zone) = match values {
        [seconds] => (seconds, Arc::clone(session)),
        [seconds, zone] if zone.ty.is_varchar() => (seconds, zone_literal(zone)?.name().into()),
        _ => {
            return Err(Failure::new(
                Code::NotSupported,
                "from_unixtime with these arguments is not supported",
            ));
        }
    };
    if !seconds.ty.is_numeric() && seconds.ty != Type::Unknown {
        return Err(Failure::new(
            Code::FunctionNotFound,
            format!(
                "Unexpected parameters ({}) for function from_unixtime",
                seconds.ty
            ),
        ));
    }
    let seconds = cast::plain(seconds.expr.clone(), &Type::Double);
    let ty = Type::TimestampTz(3, zone);
    let shape = ty.arrow();
    let run = move |args: &Args| {
        let rows = (0..args.rows).map(|row| {
            let Some(value) = args.primitive::<Float64Type>(0, row) else {
                return Ok(None);
            };
            millis(value)
                .map(|millis| Some(millis * 1000))
                .ok_or_else(|| {
                    Failure::new(
                        Code::InvalidFunctionArgument,
                        format!("Invalid unix time: {value}"),
                    )
                })
        });
        timestamps(rows.collect::<Result<Int64Array>>()?, &shape)
    };
    Ok(Typed::new(
        Kernel::call(
            "from_unixtime",
            format!("{ty:?}"),
            ty.arrow(),
            on_failure,
            vec![seconds],
            Arc::new(run),
        ),
        ty,
    ))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to be in range first"
)]
fn millis(seconds: f64) -> Option<i64> {
    let millis = (seconds * 1000.0).round();
    (millis.is_finite() && millis.abs() < 8.0e15).then_some(millis as i64)
}
