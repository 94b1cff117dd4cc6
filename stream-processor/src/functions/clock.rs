//! Functions of dates and times, and the clock.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::Time32MillisecondType;
use chrono::Utc;

use super::Kind::{Double, Int, Text};
use super::time::Moment;
use super::{Invocation, by_row, by_row_named, cast, time};
use crate::error::Error;
use crate::plan::coerce::is_text;
use crate::plan::typed::{Kernel, Typed};
use crate::sql::ast::TimeUnit;
use crate::table::{SqlType, TypeRoot};

pub(super) const NAMES: &[&str] = &[
    "TO_TIMESTAMP",
    "TO_TIMESTAMP_LTZ",
    "TO_DATE",
    "DATE_FORMAT",
    "EXTRACT",
    "YEAR",
    "QUARTER",
    "MONTH",
    "WEEK",
    "DAYOFYEAR",
    "DAYOFMONTH",
    "DAYOFWEEK",
    "HOUR",
    "MINUTE",
    "SECOND",
    "FLOOR",
    "CEIL",
    "TIMESTAMPADD",
    "TIMESTAMPDIFF",
    "CURRENT_TIMESTAMP",
    "NOW",
    "CURRENT_ROW_TIMESTAMP",
    "LOCALTIMESTAMP",
    "CURRENT_DATE",
    "CURRENT_TIME",
    "LOCALTIME",
    "UNIX_TIMESTAMP",
    "FROM_UNIXTIME",
    "CONVERT_TZ",
    "PROCTIME",
];

const PLAIN: &str = "yyyy-MM-dd HH:mm:ss";

pub(super) fn resolve(call: &mut Invocation<'_>) -> Result<Option<Typed>, Error> {
    let unit = match call.name {
        "YEAR" => TimeUnit::Year,
        "QUARTER" => TimeUnit::Quarter,
        "MONTH" => TimeUnit::Month,
        "WEEK" => TimeUnit::Week,
        "DAYOFYEAR" => TimeUnit::DayOfYear,
        "DAYOFMONTH" => TimeUnit::Day,
        "DAYOFWEEK" => TimeUnit::DayOfWeek,
        "HOUR" => TimeUnit::Hour,
        "MINUTE" => TimeUnit::Minute,
        "SECOND" => TimeUnit::Second,
        "EXTRACT" => call.unit.unwrap_or(TimeUnit::Year),
        "FLOOR" | "CEIL" | "CEILING" => return cut(call).map(Some),
        "TIMESTAMPADD" => return add_call(call).map(Some),
        "TIMESTAMPDIFF" => return difference(call).map(Some),
        "TO_TIMESTAMP" => return to_timestamp(call).map(Some),
        "TO_TIMESTAMP_LTZ" => return to_timestamp_ltz(call).map(Some),
        "TO_DATE" => return to_date(call).map(Some),
        "DATE_FORMAT" => return date_format(call).map(Some),
        "UNIX_TIMESTAMP" => return unix_timestamp(call).map(Some),
        "FROM_UNIXTIME" => return from_unixtime(call).map(Some),
        "CONVERT_TZ" => return convert_tz(call).map(Some),
        _ => return Ok(now(call)),
    };
    call.arity(1..=1)?;
    let nullable = call.nullable();
    if matches!(call.args[0].ty.root, TypeRoot::Time(_)) {
        return extract_of_time(call, unit).map(Some);
    }
    let arg = wall_clock(call, 0)?;
    let kernel = Kernel::new(format!("EXTRACT[{unit:?}]"), move |args, _| {
        let moments = time::moments(&args[0])?;
        let values = moments
            .into_iter()
            .map(|value| value.map(|value| time::extract(unit, value)));
        Ok(<i64 as super::Outcome>::column(values.collect()))
    });
    let ty = SqlType::of(TypeRoot::BigInt).with_nullable(nullable);
    Typed::call(kernel, vec![arg], ty).fold().map(Some)
}

/// Of a TIME, that has no days.
fn extract_of_time(call: &mut Invocation<'_>, unit: TimeUnit) -> Result<Typed, Error> {
    if !matches!(
        unit,
        TimeUnit::Hour | TimeUnit::Minute | TimeUnit::Second | TimeUnit::Millisecond
    ) {
        return Err(call.wrong(format!("no {unit:?} of a TIME")));
    }
    let ty = SqlType::of(TypeRoot::BigInt).with_nullable(call.nullable());
    let kernel = Kernel::new(format!("EXTRACT_TIME[{unit:?}]"), move |args, _| {
        let millis = args[0].as_primitive::<Time32MillisecondType>().iter();
        let part = |millis: i32| time::extract(unit, Moment::of_millis(i64::from(millis)));
        Ok(<i64 as super::Outcome>::column(
            millis.map(|millis| millis.map(part)).collect(),
        ))
    });
    Typed::call(kernel, std::mem::take(&mut call.args), ty).fold()
}

/// The clock. Read for each batch of rows, as Flink reads it for each row.
fn now(call: &Invocation<'_>) -> Option<Typed> {
    let zone = call.zone;
    let root = match call.name {
        "CURRENT_TIMESTAMP" | "NOW" | "CURRENT_ROW_TIMESTAMP" | "PROCTIME" => {
            TypeRoot::TimestampLtz(3)
        }
        "LOCALTIMESTAMP" => TypeRoot::Timestamp(3),
        "CURRENT_DATE" => TypeRoot::Date,
        "CURRENT_TIME" | "LOCALTIME" => TypeRoot::Time(0),
        _ => return None,
    };
    let to = root.clone();
    let mut kernel = Kernel::new(call.name, move |_, n_rows| {
        let now = Moment::of_millis(Utc::now().timestamp_millis());
        let instants = time::timestamps(std::iter::repeat_n(Some(now), n_rows), 3, true)?;
        if to == TypeRoot::TimestampLtz(3) {
            return Ok(instants);
        }
        time::convert(&instants, &TypeRoot::TimestampLtz(3), &to, zone)
    });
    kernel.volatile = true;
    Some(Typed::call(kernel, Vec::new(), SqlType::required(root)))
}

/// The argument as TIMESTAMP by the wall clock.
fn wall_clock(call: &mut Invocation<'_>, at: usize) -> Result<Typed, Error> {
    let arg = call.args[at].clone();
    let precision = match arg.ty.root {
        TypeRoot::Timestamp(_) => return Ok(arg),
        TypeRoot::TimestampLtz(precision) => precision,
        TypeRoot::Date => 3,
        _ if is_text(&arg.ty.root) => 3,
        _ => return Err(call.wrong(format!("needs a date or timestamp, not {}", arg.ty))),
    };
    let ty = SqlType {
        root: TypeRoot::Timestamp(precision),
        nullable: arg.ty.nullable,
    };
    cast::explicit(arg, &ty, false, call.zone, call.at)
}

fn millis_of(array: &ArrayRef) -> datafusion_common::Result<Vec<Option<i64>>> {
    let moments = time::moments(array)?.into_iter();
    Ok(moments
        .map(|value| value.map(|value| value.millis))
        .collect())
}

/// `FLOOR(t TO unit)`: the type stays, the value is cut by the session's wall clock.
fn cut(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    let Some(unit) = call.unit else {
        return Err(call.wrong("needs a number, or a unit after TO"));
    };
    if time::floor(unit, 0).is_none() {
        return Err(call.wrong(format!("cannot cut to {unit:?}")));
    }
    let ty = call.args[0].ty.clone();
    let up = call.name != "FLOOR";
    let arg = wall_clock(call, 0)?;
    let TypeRoot::Timestamp(precision) = arg.ty.root else {
        return Err(call.wrong("needs a timestamp"));
    };
    let kernel = Kernel::new(format!("{}[{unit:?}]", call.name), move |args, _| {
        let values = millis_of(&args[0])?.into_iter().map(|value| {
            let cut = if up {
                time::ceil(unit, value?)
            } else {
                time::floor(unit, value?)
            };
            cut.map(Moment::of_millis)
        });
        time::timestamps(values, precision, false)
    });
    let wall = arg.ty.clone();
    let typed = Typed::call(kernel, vec![arg], wall).fold()?;
    cast::explicit(typed, &ty, false, call.zone, call.at)
}

/// `time + months` or `time + milliseconds`.
pub(crate) fn shift(
    value: Typed,
    months: bool,
    amount: Typed,
    at: crate::error::Position,
) -> Result<Typed, Error> {
    let ty = value
        .ty
        .with_nullable(value.ty.nullable || amount.ty.nullable);
    let big = SqlType::of(TypeRoot::BigInt).with_nullable(amount.ty.nullable);
    let amount = cast::explicit(amount, &big, false, chrono_tz::Tz::UTC, at)?;
    let root = ty.root.clone();
    let (precision, local) = match root {
        TypeRoot::Timestamp(precision) => (precision, false),
        TypeRoot::TimestampLtz(precision) => (precision, true),
        TypeRoot::Date => (3, false),
        _ => {
            return Err(Error::validation(
                format!("no interval can be added to {ty}"),
                at,
            ));
        }
    };
    let date = root == TypeRoot::Date;
    let kernel = Kernel::new(format!("SHIFT[{ty},{months}]"), move |args, _| {
        let times = if date {
            time::convert(
                &args[0],
                &TypeRoot::Date,
                &TypeRoot::Timestamp(3),
                chrono_tz::Tz::UTC,
            )?
        } else {
            args[0].clone()
        };
        let amounts = super::Cells::of(&args[1])?;
        let moments = time::moments(&times)?;
        let values = moments.into_iter().enumerate().map(|(row, value)| {
            let value = value?;
            if amounts.is_null(row) {
                return None;
            }
            let amount = amounts.int(row);
            let millis = if months {
                time::add_months(value.millis, amount as i32)
            } else {
                value.millis.checked_add(amount)?
            };
            Some(Moment { millis, ..value })
        });
        let shifted = time::timestamps(values, precision, local)?;
        if date {
            return time::convert(
                &shifted,
                &TypeRoot::Timestamp(3),
                &TypeRoot::Date,
                chrono_tz::Tz::UTC,
            );
        }
        Ok(shifted)
    });
    Typed::call(kernel, vec![value, amount], ty).fold()
}

fn add_call(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(2..=2)?;
    let Some(unit) = call.unit else {
        return Err(call.wrong("needs a unit"));
    };
    let (factor, months) = match unit {
        TimeUnit::Month => (1, true),
        TimeUnit::Quarter => (3, true),
        TimeUnit::Year => (12, true),
        other => match crate::sql::parser::milliseconds(other) {
            Some(millis) => (millis, false),
            None => return Err(call.wrong(format!("cannot add {unit:?}"))),
        },
    };
    let value = call.args.remove(1);
    let amount = call.args.remove(0);
    let factor = Typed::literal(factor.into(), SqlType::required(TypeRoot::BigInt));
    let amount = super::arithmetic::arithmetic(
        crate::sql::ast::BinaryOp::Multiply,
        amount,
        factor,
        call.at,
    )?
    .ok_or_else(|| call.wrong("needs a number"))?;
    let value = if value.ty.root == TypeRoot::Date
        && !months
        && unit != TimeUnit::Day
        && unit != TimeUnit::Week
    {
        let ty = SqlType::of(TypeRoot::Timestamp(3)).with_nullable(value.ty.nullable);
        cast::explicit(value, &ty, false, call.zone, call.at)?
    } else {
        value
    };
    shift(value, months, amount, call.at)
}

fn difference(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(2..=2)?;
    let Some(unit) = call.unit else {
        return Err(call.wrong("needs a unit"));
    };
    let months = match unit {
        TimeUnit::Month => Some(1),
        TimeUnit::Quarter => Some(3),
        TimeUnit::Year => Some(12),
        _ => None,
    };
    let size = crate::sql::parser::milliseconds(unit);
    if months.is_none() && size.is_none() {
        return Err(call.wrong(format!("cannot count {unit:?}")));
    }
    let nullable = call.nullable();
    let instants = |arg: &Typed| matches!(arg.ty.root, TypeRoot::TimestampLtz(_));
    let (from, to) = if call.args.iter().all(instants) {
        // Between instants, whatever the clocks said.
        (call.args[0].clone(), call.args[1].clone())
    } else {
        (wall_clock(call, 0)?, wall_clock(call, 1)?)
    };
    let kernel = Kernel::new(format!("TIMESTAMPDIFF[{unit:?}]"), move |args, _| {
        let (from, to) = (millis_of(&args[0])?, millis_of(&args[1])?);
        let values = from.into_iter().zip(to).map(|(from, to)| {
            let (from, to) = (from?, to?);
            Some(match (months, size) {
                (Some(months), _) => (time::months_between(from, to) / months) as i32,
                (None, size) => ((to - from) / size.unwrap_or(1)) as i32,
            })
        });
        Ok(<i32 as super::Outcome>::column(values.collect()))
    });
    let ty = SqlType::of(TypeRoot::Int).with_nullable(nullable);
    Typed::call(kernel, vec![from, to], ty).fold()
}

fn pattern(call: &mut Invocation<'_>, at: usize) -> Result<(String, Vec<time::Piece>), Error> {
    let text = match call.args.get(at) {
        None => PLAIN.to_owned(),
        Some(arg) => arg
            .literal_text()
            .ok_or_else(|| call.wrong("the pattern must be a literal"))?
            .to_owned(),
    };
    call.args.truncate(at);
    let pieces = pieces_of(&text, call)?;
    Ok((text, pieces))
}

fn pieces_of(text: &str, call: &Invocation<'_>) -> Result<Vec<time::Piece>, Error> {
    time::java_pattern(text).map_err(|what| Error::unsupported(what, call.at, ""))
}

/// The pattern to read by: refused if it has names of months, or one of `unread`.
fn pattern_to_read(
    call: &mut Invocation<'_>,
    unread: &[char],
) -> Result<(String, Vec<time::Piece>), Error> {
    let (text, pieces) = pattern(call, 1)?;
    for piece in &pieces {
        if let time::Piece::Field(letter, count) = piece
            && (unread.contains(letter) || (*letter == 'M' && *count > 2))
        {
            let letters = letter.to_string().repeat(*count);
            let what = format!("reading `{letters}` of the pattern '{text}'");
            return Err(Error::unsupported(what, call.at, ""));
        }
    }
    Ok((text, pieces))
}

fn to_timestamp(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(1..=2)?;
    let pattern = match call.args.len() {
        1 => None,
        _ => Some(pattern_to_read(call, &['D', 'E', 'x'])?),
    };
    let arg = call.take(&[Text])?;
    let name = match &pattern {
        None => "TO_TIMESTAMP".to_owned(),
        Some((text, _)) => format!("TO_TIMESTAMP[{text}]"),
    };
    let kernel = Kernel::new(name, move |args, _| {
        let texts = super::Cells::of(&args[0])?;
        let values = (0..args[0].len()).map(|row| {
            if texts.is_null(row) {
                return None;
            }
            let text = texts.text(row);
            match &pattern {
                None => time::parse_timestamp(text),
                // Flink falls back to this if the pattern does not fit.
                Some((_, pieces)) => {
                    time::parse_pieces(pieces, text).or_else(|| time::parse_sql_timestamp(text))
                }
            }
        });
        time::timestamps(values, 3, false)
    });
    Typed::call(kernel.total(), arg, SqlType::of(TypeRoot::Timestamp(3))).fold()
}

/// The milliseconds of the years 0 to 9999; Flink makes NULL of other numbers.
const YEARS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

fn to_timestamp_ltz(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(1..=3)?;
    if is_text(&call.args[0].ty.root) {
        call.arity(1..=2)?;
        let ty = SqlType::of(TypeRoot::TimestampLtz(3));
        let parsed = to_timestamp(call)?;
        // By the clock of UTC, whatever the session's zone.
        return cast::explicit(parsed, &ty, false, chrono_tz::Tz::UTC, call.at);
    }
    let digits = match call.args.get(1).map(|arg| &arg.kind) {
        None
        | Some(crate::plan::typed::TypedKind::Literal(datafusion_common::ScalarValue::Int32(
            Some(3),
        ))) => 3,
        Some(crate::plan::typed::TypedKind::Literal(datafusion_common::ScalarValue::Int32(
            Some(0),
        ))) => 0,
        _ => return Err(call.wrong("the precision must be the literal 0 or 3")),
    };
    call.args.truncate(1);
    let fraction = matches!(call.args[0].ty.root, TypeRoot::Double | TypeRoot::Float);
    // A DECIMAL is cut to whole numbers first, as in Flink.
    let arg = call.take(&[if fraction { Double } else { Int }])?;
    let kernel = Kernel::new(format!("TO_TIMESTAMP_LTZ[{digits}]"), move |args, _| {
        let numbers = super::Cells::of(&args[0])?;
        let values = (0..args[0].len()).map(|row| {
            if numbers.is_null(row) {
                return None;
            }
            let millis = match (fraction, digits) {
                (true, 0) if numbers.double(row).is_nan() => return None,
                (true, 0) => (numbers.double(row) * 1000.0) as i64,
                (true, _) => numbers.double(row) as i64,
                (false, 0) => numbers.int(row).saturating_mul(1000),
                (false, _) => numbers.int(row),
            };
            YEARS.contains(&millis).then_some(Moment::of_millis(millis))
        });
        time::timestamps(values, 3, true)
    });
    Typed::call(kernel, arg, SqlType::of(TypeRoot::TimestampLtz(3))).fold()
}

fn to_date(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(1..=2)?;
    if call.args.len() == 1 {
        let arg = call.take(&[Text])?.remove(0);
        return cast::explicit(arg, &SqlType::of(TypeRoot::Date), true, call.zone, call.at);
    }
    let parsed = to_timestamp(call)?;
    cast::explicit(
        parsed,
        &SqlType::of(TypeRoot::Date),
        false,
        call.zone,
        call.at,
    )
}

fn date_format(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(2..=2)?;
    let nullable = call.nullable();
    let (text, pieces) = pattern(call, 1)?;
    if is_text(&call.args[0].ty.root) {
        let (zone, plain) = (call.zone, pieces_of(PLAIN, call)?);
        return by_row_named(
            format!("DATE_FORMAT[{text},{zone}]"),
            call,
            &[Text],
            move |cells, row| {
                let instant = time::parse_simple(&plain, cells[0].text(row), zone)?;
                let mut out = String::new();
                time::format_pieces(&pieces, instant.local_in(zone), &mut out);
                Some(out)
            },
        );
    }
    let arg = wall_clock(call, 0)?;
    let kernel = Kernel::new(format!("DATE_FORMAT[{text}]"), move |args, _| {
        let texts = time::moments(&args[0])?.into_iter().map(|value| {
            value.map(|value| {
                let mut out = String::new();
                time::format_pieces(&pieces, value, &mut out);
                out
            })
        });
        Ok(<String as super::Outcome>::column(texts.collect()))
    });
    Typed::call(kernel, vec![arg], SqlType::string().with_nullable(nullable)).fold()
}

fn unix_timestamp(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    if call.args.is_empty() {
        let mut kernel = Kernel::new("UNIX_TIMESTAMP", |_, n_rows| {
            Ok(<i64 as super::Outcome>::column(vec![
                Some(
                    Utc::now().timestamp()
                );
                n_rows
            ]))
        });
        kernel.volatile = true;
        return Ok(Typed::call(
            kernel,
            Vec::new(),
            SqlType::required(TypeRoot::BigInt),
        ));
    }
    call.arity(1..=2)?;
    let (text, pieces) = pattern_to_read(call, &['D', 'E', 'u', 'x'])?;
    let zone = call.zone;
    by_row_named(
        format!("UNIX_TIMESTAMP[{text},{zone}]"),
        call,
        &[Text],
        move |cells, row| {
            let read = time::parse_simple(&pieces, cells[0].text(row), zone);
            Some(read.map_or(i64::MIN, |instant| instant.millis.div_euclid(1000)))
        },
    )
}

fn from_unixtime(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(1..=2)?;
    let (text, pieces) = pattern(call, 1)?;
    let zone = call.zone;
    by_row_named(
        format!("FROM_UNIXTIME[{text},{zone}]"),
        call,
        &[Int],
        move |cells, row| {
            let mut out = String::new();
            let instant = Moment::of_millis(cells[0].int(row).saturating_mul(1000));
            time::format_pieces(&pieces, instant.local_in(zone), &mut out);
            Some(out)
        },
    )
}

/// `CONVERT_TZ(text, from, to)`: read leniently, NULL if it cannot be read.
fn convert_tz(call: &mut Invocation<'_>) -> Result<Typed, Error> {
    call.arity(3..=3)?;
    let plain = pieces_of(PLAIN, call)?;
    let zones = [1, 2].map(|at| call.args[at].literal_text().map(time::java_zone));
    by_row(call, &[Text], move |cells, row| {
        let zone =
            |at: usize| zones[at - 1].unwrap_or_else(|| time::java_zone(cells[at].text(row)));
        let instant = time::parse_simple(&plain, cells[0].text(row), zone(1))?;
        let mut out = String::new();
        time::format_pieces(&plain, instant.local_in(zone(2)), &mut out);
        Some(out)
    })
}
