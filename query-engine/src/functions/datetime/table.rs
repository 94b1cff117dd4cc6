//! The date and time functions of the table.

use std::sync::Arc;

use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};
use datafusion::arrow::array::{ArrayRef, Date32Array, Float64Array, Int64Array, StringArray};
use datafusion::arrow::datatypes::DurationMillisecondType;

use super::parse::{Zone, days_of, time_at, units};
use super::{
    Clock, date_add, date_diff, date_trunc, out_of_range, parse, part, pattern, raw, text,
    timestamps,
};
use crate::failure::{Code, Failure, Result};
use crate::functions::kernel::{Args, Run, done};
use crate::functions::{Invocation, Table, cast};
use crate::types::{Type, UTC};

type Part = fn(NaiveDateTime) -> i64;

const DATE_PARTS: [(&str, Part); 13] = [
    ("year", |time| i64::from(time.year())),
    ("quarter", |time| i64::from(time.month0() / 3 + 1)),
    ("month", |time| i64::from(time.month())),
    ("week", |time| i64::from(time.iso_week().week())),
    ("week_of_year", |time| i64::from(time.iso_week().week())),
    ("year_of_week", |time| i64::from(time.iso_week().year())),
    ("yow", |time| i64::from(time.iso_week().year())),
    ("day", |time| i64::from(time.day())),
    ("day_of_month", |time| i64::from(time.day())),
    ("day_of_week", |time| {
        i64::from(time.weekday().number_from_monday())
    }),
    ("dow", |time| i64::from(time.weekday().number_from_monday())),
    ("day_of_year", |time| i64::from(time.ordinal())),
    ("doy", |time| i64::from(time.ordinal())),
];

const TIME_PARTS: [(&str, Part); 4] = [
    ("hour", |time| i64::from(time.hour())),
    ("minute", |time| i64::from(time.minute())),
    ("second", |time| i64::from(time.second())),
    ("millisecond", |time| {
        i64::from(time.nanosecond() / 1_000_000)
    }),
];

fn found(name: &str) -> Part {
    DATE_PARTS
        .iter()
        .chain(&TIME_PARTS)
        .find(|(known, _)| *known == name)
        .map_or(|_| 0, |(_, part)| *part)
}

/// A part's closure cannot capture its name, so each name has its own maker.
macro_rules! parts {
    ($table:expr, $types:expr, $($name:literal),*) => {
        for ty in $types {
            $($table.made(&format!("{}({ty}) bigint", $name), "Part of a date or time", |call| part(&call.types[0], found($name)));)*
        }
    };
}

fn last_day(call: &Invocation) -> Result<Run> {
    let clock = Clock::of(&call.types[0])?;
    Ok(Arc::new(move |args| {
        let rows = (0..args.rows).map(|row| {
            let Some(time) = clock.read(args, 0, row)? else {
                return Ok(None);
            };
            let (year, month) = if time.month() == 12 {
                (time.year() + 1, 1)
            } else {
                (time.year(), time.month() + 1)
            };
            let next = NaiveDate::from_ymd_opt(year, month, 1).ok_or_else(out_of_range)?;
            Ok(Some(days_of(next) - 1))
        });
        done(rows.collect::<Result<Date32Array>>()?)
    }))
}

fn to_unixtime(call: &Invocation) -> Result<Run> {
    let nanos = matches!(
        call.types[0],
        Type::Timestamp(7..) | Type::TimestampTz(7.., _)
    );
    Ok(Arc::new(move |args| {
        let rows = (0..args.rows)
            .map(|row| (!args.is_null(0, row)).then(|| seconds(raw(args, 0, row), nanos)));
        done(rows.collect::<Float64Array>())
    }))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Trino gives Unix times in double precision"
)]
fn seconds(value: i64, nanos: bool) -> f64 {
    value as f64 / if nanos { 1e9 } else { 1e6 }
}

fn date_format(call: &Invocation) -> Result<Run> {
    let clock = Clock::of(&call.types[0])?;
    Ok(Arc::new(move |args| {
        let rows =
            (0..args.rows).map(
                |row| match (clock.read_rounded(args, 0, row)?, args.str(1, row)) {
                    (Some(time), Some(format)) => pattern::format(time, format).map(Some),
                    _ => Ok(None),
                },
            );
        done(rows.collect::<Result<StringArray>>()?)
    }))
}

fn date_parse(args: &Args) -> Result<ArrayRef> {
    let rows = (0..args.rows).map(|row| {
        let (Some(text), Some(format)) = (args.str(0, row), args.str(1, row)) else {
            return Ok(None);
        };
        let time = pattern::parse(text, format)?.and_then(|time| units(time, false));
        time.map(|micros| Some(micros.div_euclid(1000) * 1000))
            .ok_or_else(|| {
                Failure::new(
                    Code::InvalidFunctionArgument,
                    format!("Invalid format: \"{text}\""),
                )
            })
    });
    timestamps(
        rows.collect::<Result<Int64Array>>()?,
        &Type::Timestamp(3).arrow(),
    )
}

fn from_iso8601_date(args: &Args) -> Result<ArrayRef> {
    let rows = (0..args.rows).map(|row| {
        args.str(0, row)
            .map(|text| {
                parse::date(text).ok_or_else(|| {
                    Failure::new(
                        Code::InvalidFunctionArgument,
                        format!("Invalid format: \"{text}\""),
                    )
                })
            })
            .transpose()
    });
    done(rows.collect::<Result<Date32Array>>()?)
}

/// Instants are shown in the session's zone, so text of another zone is refused rather than relabelled.
fn from_iso8601_timestamp(call: &Invocation) -> Result<Run> {
    let session = Zone::parse(&call.zone).unwrap_or_else(Zone::utc);
    if session.name() != UTC {
        return Err(Failure::new(
            Code::NotSupported,
            "from_iso8601_timestamp in a session zone other than UTC is not supported",
        ));
    }
    let shape = call.returns.arrow();
    Ok(Arc::new(move |args| {
        let rows = (0..args.rows).map(|row| {
            let Some(text) = args.str(0, row) else {
                return Ok(None);
            };
            let bad = || {
                Failure::new(
                    Code::InvalidFunctionArgument,
                    format!("Invalid format: \"{text}\""),
                )
            };
            let parsed = parse::timestamp(text).ok_or_else(bad)?;
            if let Some(zone) = parsed.zone.as_ref().filter(|zone| zone.name() != UTC) {
                return Err(Failure::new(
                    Code::NotSupported,
                    format!(
                        "from_iso8601_timestamp of text in the zone {} is not supported",
                        zone.name()
                    ),
                ));
            }
            parsed
                .local_units(false)
                .map(|micros| Some(micros.div_euclid(1000) * 1000))
                .ok_or_else(bad)
        });
        timestamps(rows.collect::<Result<Int64Array>>()?, &shape)
    }))
}

fn to_iso8601(call: &Invocation) -> Result<Run> {
    let ty = call.types[0].clone();
    let clock = Clock::of(&ty)?;
    Ok(Arc::new(move |args| {
        let rows = (0..args.rows).map(|row| {
            let Some(local) = clock.read(args, 0, row)? else {
                return Ok(None);
            };
            let iso = |precision| text::local(local, precision).replacen(' ', "T", 1);
            Ok(Some(match &ty {
                Type::TimestampTz(precision, _) => {
                    let nanos = *precision > 6;
                    let instant = time_at(raw(args, 0, row), nanos).ok_or_else(out_of_range)?;
                    iso(*precision) + &offset((local - instant).num_seconds())?
                }
                Type::Timestamp(precision) => iso(*precision),
                other => cast::scalar_text(other, args.array(0), args.at(0, row)),
            }))
        });
        done(rows.collect::<Result<StringArray>>()?)
    }))
}

/// An offset from UTC as ISO 8601 writes it, which has no seconds.
fn offset(seconds: i64) -> Result<String> {
    let minutes = seconds.abs() / 60;
    let text = format!("{:02}:{:02}", minutes / 60, minutes % 60);
    match seconds {
        0 => Ok("Z".to_owned()),
        _ if seconds % 60 != 0 => Err(Failure::new(
            Code::InvalidArguments,
            "Timezone with non-zero seconds offset cannot be rendered as ISO8601",
        )),
        1.. => Ok(format!("+{text}")),
        _ => Ok(format!("-{text}")),
    }
}

fn to_milliseconds(args: &Args) -> Result<ArrayRef> {
    done(
        (0..args.rows)
            .map(|row| args.primitive::<DurationMillisecondType>(0, row))
            .collect::<Int64Array>(),
    )
}

#[expect(
    clippy::too_many_lines,
    reason = "one arm a case of the dialect, each a plain construction"
)]
pub(in crate::functions) fn register(table: &mut Table) {
    let dated = ["date", "timestamp", "timestamp with time zone"];
    let timed = ["timestamp", "timestamp with time zone", "time"];
    parts!(
        table,
        dated,
        "year",
        "quarter",
        "month",
        "week",
        "week_of_year",
        "year_of_week",
        "yow",
        "day",
        "day_of_month",
        "day_of_week",
        "dow",
        "day_of_year",
        "doy"
    );
    parts!(table, timed, "hour", "minute", "second", "millisecond");
    for ty in dated {
        table.made(
            &format!("date_trunc(varchar, {ty}) {ty}"),
            "Start of the unit a time is in",
            date_trunc,
        );
        table.made(
            &format!("date_add(varchar, bigint, {ty}) {ty}"),
            "Adds units to a time",
            date_add,
        );
        table.made(
            &format!("date_diff(varchar, {ty}, {ty}) bigint"),
            "Whole units between two times",
            date_diff,
        );
        table.made(
            &format!("last_day_of_month({ty}) date"),
            "Last day of the month",
            last_day,
        );
        table.made(
            &format!("to_iso8601({ty}) varchar"),
            "ISO 8601 text",
            to_iso8601,
        );
    }
    for ty in ["timestamp", "timestamp with time zone"] {
        table.made(
            &format!("to_unixtime({ty}) double"),
            "Seconds of the Unix epoch",
            to_unixtime,
        );
        table.made(
            &format!("date_format({ty}, varchar) varchar"),
            "Text in a MySQL format",
            date_format,
        );
    }
    table.made(
        "date_format(date, varchar) varchar",
        "Text in a MySQL format",
        date_format,
    );
    for ty in ["date", "timestamp", "timestamp with time zone", "varchar"] {
        table.expr(&format!("date({ty}) date"), "The date of a value", |call| {
            let value = call.args.into_iter().next().ok_or_else(out_of_range)?;
            cast::explicit(
                crate::sql::analyze::Typed::new(value, call.types[0].clone()),
                &Type::Date,
                call.on_failure,
                &call.zone,
            )
        });
    }
    table.run(
        "date_parse(varchar, varchar) timestamp(3)",
        "Reads a MySQL format",
        date_parse,
    );
    table.run(
        "from_iso8601_date(varchar) date",
        "Reads an ISO 8601 date",
        from_iso8601_date,
    );
    table.made(
        "from_iso8601_timestamp(varchar) timestamp(3) with time zone",
        "Reads an ISO 8601 timestamp",
        from_iso8601_timestamp,
    );
    table.run(
        "to_milliseconds(interval day to second) bigint",
        "Milliseconds of an interval",
        to_milliseconds,
    );
}
