//! Casts between dates, times and timestamps.

use std::sync::Arc;

use chrono::{NaiveDateTime, NaiveTime};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Int64Array, StringArray, Time64MicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Date32Type, Int64Type, Time64MicrosecondType};

use super::super::datetime::parse::{self, Zone, days_of, time_at, units};
use super::{Convert, Step, invalid};
use crate::failure::{Failure, Result};
use crate::types::{Type, UTC};

/// The micro- or nanoseconds of a timestamp array's row.
pub(crate) fn raw(array: &ArrayRef, row: usize) -> i64 {
    use datafusion::arrow::datatypes::{TimestampMicrosecondType, TimestampNanosecondType};
    match array.data_type() {
        DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, _) => {
            array.as_primitive::<TimestampNanosecondType>().value(row)
        }
        _ => array.as_primitive::<TimestampMicrosecondType>().value(row),
    }
}

/// Timestamps as plain numbers.
fn numbers(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(arrow::compute::cast(array, &DataType::Int64)?)
}

fn timestamps(values: Int64Array, to: &Type) -> Result<ArrayRef> {
    let shape = to.arrow();
    let values: ArrayRef = Arc::new(values);
    Ok(arrow::compute::cast(&values, &shape)?)
}

/// Rounds half up from `unit` digits of a second to `precision`, staying in `unit` digits.
pub(crate) fn rounded(value: i64, unit: u8, precision: u8) -> i64 {
    if precision >= unit {
        return value;
    }
    let step = 10_i64.pow(u32::from(unit - precision));
    value.saturating_add(step / 2).div_euclid(step) * step
}

fn unit_of(precision: u8) -> u8 {
    if precision > 6 { 9 } else { 6 }
}

/// A value of a timestamp of precision `from` as one of precision `to`.
fn reprecised(value: i64, from: u8, to: u8) -> Result<i64> {
    let (from_unit, to_unit) = (unit_of(from), unit_of(to));
    let rounded = rounded(value, from_unit, to.min(from_unit));
    match from_unit.cmp(&to_unit) {
        std::cmp::Ordering::Equal => Ok(rounded),
        std::cmp::Ordering::Less => rounded.checked_mul(1000).ok_or_else(out_of_range),
        std::cmp::Ordering::Greater => Ok(rounded.div_euclid(1000)),
    }
}

fn out_of_range() -> Failure {
    invalid("timestamp out of range")
}

fn zone_of(name: &str) -> Zone {
    Zone::parse(name).unwrap_or_else(Zone::utc)
}

/// Maps each timestamp (as local or instant time) to a number of the target.
fn each(to: Type, map: impl Fn(i64) -> Result<i64> + Send + Sync + 'static) -> Convert {
    Arc::new(move |array| {
        let values = numbers(array)?;
        let rows = values
            .as_primitive::<Int64Type>()
            .iter()
            .map(|value| value.map(&map).transpose());
        timestamps(rows.collect::<Result<Int64Array>>()?, &to)
    })
}

#[expect(
    clippy::too_many_lines,
    reason = "one arm a case of the dialect, each a plain construction"
)]
pub(super) fn step(from: &Type, to: &Type, session: &Arc<str>) -> Option<Step> {
    Some(match (from, to) {
        (Type::Date, Type::Timestamp(_)) => Step::Arrow,
        // What has no zone is a time in the session's, whatever zone the column shows its instants in.
        (Type::Date, Type::TimestampTz(precision, _)) => {
            let (zone, nanos) = (zone_of(session), *precision > 6);
            let to = to.clone();
            Step::Run(Arc::new(move |array| {
                let rows = array.as_primitive::<Date32Type>().iter().map(|days| {
                    days.map(|days| {
                        let local = parse::date_at(days)
                            .map(|date| date.and_time(NaiveTime::MIN))
                            .ok_or_else(out_of_range)?;
                        zone.instant(local)
                            .and_then(|instant| units(instant, nanos))
                            .ok_or_else(out_of_range)
                    })
                    .transpose()
                });
                timestamps(rows.collect::<Result<Int64Array>>()?, &to)
            }))
        }
        (Type::Timestamp(a), Type::Timestamp(b)) if a <= b && unit_of(*a) == unit_of(*b) => {
            Step::Same
        }
        (Type::TimestampTz(a, _), Type::TimestampTz(b, _))
            if a <= b && unit_of(*a) == unit_of(*b) =>
        {
            Step::Same
        }
        (Type::Timestamp(a), Type::Timestamp(b))
        | (Type::TimestampTz(a, _), Type::TimestampTz(b, _)) => {
            let (a, b) = (*a, *b);
            Step::Run(each(to.clone(), move |value| reprecised(value, a, b)))
        }
        (Type::Timestamp(a), Type::TimestampTz(b, shown)) => {
            let (a, b, zone) = (*a, *b, zone_of(session));
            // Arrow's cast goes by the zone that the values are shown in.
            let utc = zone.name() == UTC && **shown == *UTC;
            if utc && a <= b && unit_of(a) == unit_of(b) {
                return Some(Step::Arrow);
            }
            Step::Run(each(to.clone(), move |value| {
                let value = reprecised(value, a, b)?;
                let local = time_at(value, b > 6).ok_or_else(out_of_range)?;
                zone.instant(local)
                    .and_then(|instant| units(instant, b > 6))
                    .ok_or_else(out_of_range)
            }))
        }
        (Type::TimestampTz(a, zone), Type::Timestamp(b)) => {
            let (a, b, zone) = (*a, *b, zone_of(zone));
            Step::Run(each(to.clone(), move |value| {
                let local = zone.local(time_at(value, a > 6).ok_or_else(out_of_range)?);
                reprecised(units(local, a > 6).ok_or_else(out_of_range)?, a, b)
            }))
        }
        (Type::Timestamp(_) | Type::TimestampTz(..), Type::Date | Type::Time(_)) => {
            Step::Run(parts(from, to))
        }
        (Type::Time(a), Type::Time(b)) if a <= b => Step::Same,
        (Type::Time(_), Type::Time(precision)) => {
            let precision = *precision;
            Step::Run(Arc::new(move |array| {
                let rows = array
                    .as_primitive::<Time64MicrosecondType>()
                    .iter()
                    .map(|value| {
                        value.map(|value| rounded(value, 6, precision).rem_euclid(86_400_000_000))
                    });
                Ok(Arc::new(rows.collect::<Time64MicrosecondArray>()))
            }))
        }
        _ => return None,
    })
}

/// The date or the time of day of a timestamp.
fn parts(from: &Type, to: &Type) -> Convert {
    let (precision, zone) = match from {
        Type::TimestampTz(precision, zone) => (*precision, zone_of(zone)),
        Type::Timestamp(precision) => (*precision, Zone::utc()),
        _ => (3, Zone::utc()),
    };
    let to = to.clone();
    Arc::new(move |array| {
        let values = numbers(array)?;
        let locals = values.as_primitive::<Int64Type>().iter().map(|value| {
            value
                .map(|value| {
                    time_at(value, precision > 6)
                        .map(|time| zone.local(time))
                        .ok_or_else(out_of_range)
                })
                .transpose()
        });
        let locals = locals.collect::<Result<Vec<Option<NaiveDateTime>>>>()?;
        if let Type::Time(digits) = to {
            let rows = locals.iter().map(|local| {
                local.map(|local| {
                    let micros = local
                        .time()
                        .signed_duration_since(NaiveTime::MIN)
                        .num_microseconds()
                        .unwrap_or(0);
                    rounded(micros, 6, digits).rem_euclid(86_400_000_000)
                })
            });
            return Ok(Arc::new(rows.collect::<Time64MicrosecondArray>()));
        }
        Ok(Arc::new(
            locals
                .iter()
                .map(|local| local.map(|local| days_of(local.date())))
                .collect::<Date32Array>(),
        ))
    })
}

/// Text to a timestamp; with a zone of the session, to one with zone.
pub(super) fn from_text(precision: u8, zone: Option<&Arc<str>>) -> Step {
    let session = zone.map(|zone| zone_of(zone));
    let to = match zone {
        Some(zone) => Type::TimestampTz(precision, Arc::clone(zone)),
        None => Type::Timestamp(precision),
    };
    Step::Run(Arc::new(move |array| {
        let texts: &StringArray = array.as_string();
        let rows = texts.iter().map(|text| {
            text.map(|text| one(text, precision, session.as_ref(), &to))
                .transpose()
        });
        timestamps(rows.collect::<Result<Int64Array>>()?, &to)
    }))
}

fn one(text: &str, precision: u8, session: Option<&Zone>, to: &Type) -> Result<i64> {
    let bad = || {
        invalid(format!(
            "Value cannot be cast to {}: {text}",
            to.base_name()
        ))
    };
    let parsed = parse::timestamp(text).ok_or_else(bad)?;
    let nanos = precision > 6 || parsed.precision > 6;
    let value = match session {
        // A column has one zone here, so text of another zone cannot keep it.
        Some(session) => {
            if let Some(zone) = parsed
                .zone
                .as_ref()
                .filter(|zone| zone.name() != session.name())
            {
                let message = format!(
                    "casting text in the zone {} while the session is in {} is not supported",
                    zone.name(),
                    session.name()
                );
                return Err(Failure::new(crate::failure::Code::NotSupported, message));
            }
            parsed.instant_units(session, nanos).map_err(|_| bad())?
        }
        None if parsed.zone.is_some() => return Err(bad()),
        None => parsed.local_units(nanos).ok_or_else(bad)?,
    };
    reprecised(value, if nanos { 9 } else { 6 }, precision)
}
