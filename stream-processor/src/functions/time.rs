//! Dates, times and time zones: reading, writing, converting, cutting.

mod pattern;
mod plain;
mod simple;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Date32Array, Int64Array, TimestampMillisecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit as ArrowUnit};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;
use datafusion_common::Result as DfResult;

use super::failed;
use crate::sql::ast::TimeUnit;
use crate::table::{SqlType, TypeRoot};

pub(crate) use pattern::{Piece, format_pieces, java_pattern, parse_pieces};
pub(crate) use plain::{parse_date, parse_sql_timestamp, parse_time, parse_timestamp};
pub(crate) use simple::parse_simple;

pub(crate) const DAY: i64 = 86_400_000;
const NANOS: i64 = 1_000_000;
/// Days from 0001-01-01 to 1970-01-01, as chrono counts.
const EPOCH: i32 = 719_163;

/// The zone called `name`: an IANA name or an offset of whole hours as `GMT+08:00`.
pub(crate) fn zone_named(name: &str) -> Option<Tz> {
    if let Ok(zone) = name.parse() {
        return Some(zone);
    }
    let offset = name
        .strip_prefix("GMT")
        .or_else(|| name.strip_prefix("UTC"))
        .unwrap_or(name);
    let (sign, rest) = match offset.as_bytes().first()? {
        b'+' => ('-', &offset[1..]),
        b'-' => ('+', &offset[1..]),
        _ => return None,
    };
    let hours: u8 = rest.strip_suffix(":00").unwrap_or(rest).parse().ok()?;
    // POSIX names have the sign turned round.
    format!("Etc/GMT{sign}{hours}").parse().ok()
}

/// The zone that `java.util.TimeZone` finds under a name: UTC for one it does not know.
pub(crate) fn java_zone(name: &str) -> Tz {
    let offset = || name.starts_with("GMT").then(|| zone_named(name)).flatten();
    let old = || {
        let at = OLD_ZONES.iter().position(|(old, _)| *old == name)?;
        OLD_ZONES[at].1.parse().ok()
    };
    let found = old().or_else(|| name.parse().ok()).or_else(offset);
    found.unwrap_or(Tz::UTC)
}

/// Names of three letters that Java still knows, `ZoneId.SHORT_IDS`.
const OLD_ZONES: &[(&str, &str)] = &[
    ("ACT", "Australia/Darwin"),
    ("AET", "Australia/Sydney"),
    ("AGT", "America/Argentina/Buenos_Aires"),
    ("ART", "Africa/Cairo"),
    ("AST", "America/Anchorage"),
    ("BET", "America/Sao_Paulo"),
    ("BST", "Asia/Dhaka"),
    ("CAT", "Africa/Harare"),
    ("CNT", "America/St_Johns"),
    ("CST", "America/Chicago"),
    ("CTT", "Asia/Shanghai"),
    ("EAT", "Africa/Addis_Ababa"),
    ("ECT", "Europe/Paris"),
    ("IET", "America/Indiana/Indianapolis"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("MIT", "Pacific/Apia"),
    ("NET", "Asia/Yerevan"),
    ("NST", "Pacific/Auckland"),
    ("PLT", "Asia/Karachi"),
    ("PNT", "America/Phoenix"),
    ("PRT", "America/Puerto_Rico"),
    ("PST", "America/Los_Angeles"),
    ("SST", "Pacific/Guadalcanal"),
    ("VST", "Asia/Ho_Chi_Minh"),
];

/// A point in time or a wall clock, as Flink's `TimestampData`; nanoseconds alone would end in the year 2262.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Since the epoch.
    pub(crate) millis: i64,
    /// Of the millisecond.
    pub(crate) nanos: i64,
}

impl Moment {
    pub(crate) fn of_millis(millis: i64) -> Self {
        Moment { millis, nanos: 0 }
    }

    fn of(days: i32, nanos_of_day: i64) -> Self {
        Moment {
            millis: i64::from(days) * DAY + nanos_of_day / NANOS,
            nanos: nanos_of_day % NANOS,
        }
    }

    fn nanos_of_day(self) -> i64 {
        self.millis.rem_euclid(DAY) * NANOS + self.nanos
    }

    /// The wall clock, as if it were UTC, at this instant.
    pub(crate) fn local_in(self, zone: Tz) -> Self {
        Moment {
            millis: millis_to_local(self.millis, zone),
            ..self
        }
    }

    /// The instant at which the wall clock of `zone` shows this.
    pub(crate) fn instant_in(self, zone: Tz) -> Self {
        Moment {
            millis: millis_from_local(self.millis, zone),
            ..self
        }
    }

    /// In the unit of a TIMESTAMP of `precision`, cut to its digits; `None` for what that cannot count.
    fn cut(self, precision: u8) -> Option<i64> {
        // Toward zero, as Flink: a fraction before 1970 is cut to the later second.
        let cut = |value: i64, digits: u8| {
            let unit = 10_i64.pow(u32::from(digits));
            value / unit * unit
        };
        match precision {
            3 => Some(self.millis),
            0..=2 => Some(cut(self.millis, 3 - precision)),
            4..=6 => {
                let micros = cut(self.nanos, 9 - precision) / 1000;
                self.millis.checked_mul(1000)?.checked_add(micros)
            }
            _ => {
                let nanos = cut(self.nanos, 9 - precision.min(9));
                self.millis.checked_mul(NANOS)?.checked_add(nanos)
            }
        }
    }
}

/// The wall clock, as if it were UTC, at the instant `millis`.
pub(crate) fn millis_to_local(millis: i64, zone: Tz) -> i64 {
    if zone == Tz::UTC {
        return millis;
    }
    let seconds = millis.div_euclid(1000);
    let offset = DateTime::from_timestamp(seconds, 0).map_or(0, |instant| {
        let offset = zone.offset_from_utc_datetime(&instant.naive_utc());
        i64::from(offset.fix().local_minus_utc())
    });
    millis.saturating_add(offset * 1000)
}

/// The instant at which the wall clock of `zone` shows `millis`; in a gap the one that follows it, as Java's.
pub(crate) fn millis_from_local(millis: i64, zone: Tz) -> i64 {
    if zone == Tz::UTC {
        return millis;
    }
    let seconds = millis.div_euclid(1000);
    let Some(local) = DateTime::from_timestamp(seconds, 0).map(|instant| instant.naive_utc())
    else {
        return millis;
    };
    let offset = |local: &NaiveDateTime| {
        zone.offset_from_local_datetime(local)
            .earliest()
            .map(|offset| i64::from(offset.fix().local_minus_utc()))
    };
    // In a gap the offset from before it holds.
    let before = local - chrono::Duration::hours(3);
    let offset = offset(&local).or_else(|| offset(&before)).unwrap_or(0);
    millis.saturating_sub(offset * 1000)
}

/// Each value of a timestamp column.
pub(crate) fn moments(array: &ArrayRef) -> DfResult<Vec<Option<Moment>>> {
    let moment: fn(i64) -> Moment = match array.data_type() {
        DataType::Timestamp(ArrowUnit::Second, _) => {
            |value| Moment::of_millis(value.saturating_mul(1000))
        }
        DataType::Timestamp(ArrowUnit::Millisecond, _) => Moment::of_millis,
        DataType::Timestamp(ArrowUnit::Microsecond, _) => |value| Moment {
            millis: value.div_euclid(1000),
            nanos: value.rem_euclid(1000) * 1000,
        },
        DataType::Timestamp(ArrowUnit::Nanosecond, _) => |value| Moment {
            millis: value.div_euclid(NANOS),
            nanos: value.rem_euclid(NANOS),
        },
        other => return Err(failed(format!("no timestamp but {other}"))),
    };
    let values = cast(array, &DataType::Int64)?;
    let values = values.as_primitive::<Int64Type>();
    Ok(values.iter().map(|value| value.map(moment)).collect())
}

/// A timestamp column of `precision`; with more than six digits it ends in 2262, and what lies behind fails the job.
pub(crate) fn timestamps(
    moments: impl Iterator<Item = Option<Moment>>,
    precision: u8,
    local: bool,
) -> DfResult<ArrayRef> {
    let root = if local {
        TypeRoot::TimestampLtz(precision)
    } else {
        TypeRoot::Timestamp(precision)
    };
    let cut = |moment: Moment| {
        moment.cut(precision).ok_or_else(|| {
            let text = timestamp_text(moment, 3);
            failed(format!("`{text}` is beyond what {root} can count here"))
        })
    };
    let values: Int64Array = moments
        .map(|moment| moment.map(cut).transpose())
        .collect::<DfResult<_>>()?;
    let values: ArrayRef = Arc::new(values);
    Ok(cast(&values, &SqlType::of(root.clone()).arrow())?)
}

/// Between DATE, TIME and the timestamps.
pub(crate) fn convert(
    array: &ArrayRef,
    from: &TypeRoot,
    to: &TypeRoot,
    zone: Tz,
) -> DfResult<ArrayRef> {
    use TypeRoot::{Date, Time, Timestamp, TimestampLtz};
    if let (Timestamp(a) | TimestampLtz(a), Timestamp(b) | TimestampLtz(b)) = (from, to)
        && (a == b || (*a..=*b).all(|precision| precision <= 3) && a < b)
        && zone == Tz::UTC
    {
        return Ok(cast(array, &SqlType::of(to.clone()).arrow())?);
    }
    // Everything goes over the wall clock.
    let local: Vec<Option<Moment>> = match from {
        Date => super::cast::days(array)
            .iter()
            .map(|days| days.map(|days| Moment::of(days, 0)))
            .collect(),
        Time(_) => {
            let millis = cast(&cast(array, &DataType::Int32)?, &DataType::Int64)?;
            let millis = millis.as_primitive::<Int64Type>();
            millis
                .iter()
                .map(|value| value.map(Moment::of_millis))
                .collect()
        }
        TimestampLtz(_) => moments(array)?
            .into_iter()
            .map(|value| value.map(|value| value.local_in(zone)))
            .collect(),
        _ => moments(array)?,
    };
    let values = local.into_iter();
    Ok(match to {
        Date => {
            // Flink cuts a TIMESTAMP toward 1970, but not a TIMESTAMP_LTZ.
            let day = |moment: Moment| match from {
                Timestamp(_) => moment.millis / DAY,
                _ => moment.millis.div_euclid(DAY),
            };
            Arc::new(
                values
                    .map(|value| value.map(|value| day(value) as i32))
                    .collect::<Date32Array>(),
            )
        }
        Time(_) => {
            // As in Flink, negative before 1970.
            let millis: Int64Array = values
                .map(|value| value.map(|value| value.millis % DAY))
                .collect();
            let millis = cast(&(Arc::new(millis) as ArrayRef), &DataType::Int32)?;
            cast(&millis, &SqlType::of(to.clone()).arrow())?
        }
        Timestamp(precision) => timestamps(values, *precision, false)?,
        TimestampLtz(precision) => timestamps(
            values.map(|value| value.map(|value| value.instant_in(zone))),
            *precision,
            true,
        )?,
        other => return Err(failed(format!("no conversion to {other}"))),
    })
}

fn date(days: i32) -> NaiveDate {
    NaiveDate::from_num_days_from_ce_opt(days.saturating_add(EPOCH)).unwrap_or_default()
}

/// Days since the epoch.
pub(crate) fn days_of(date: NaiveDate) -> i32 {
    date.num_days_from_ce() - EPOCH
}

/// `yyyy-MM-dd`
pub(crate) fn date_text(days: i32) -> String {
    let date = date(days);
    format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day())
}

/// `HH:mm:ss`
pub(crate) fn time_text(millis: i64) -> String {
    let seconds = millis.rem_euclid(DAY) / 1000;
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `yyyy-MM-dd HH:mm:ss` and all digits of the precision.
pub(crate) fn timestamp_text(moment: Moment, precision: u8) -> String {
    let days = moment.millis.div_euclid(DAY) as i32;
    let of_day = moment.nanos_of_day();
    let mut text = format!("{} {}", date_text(days), time_text(of_day / NANOS));
    if precision > 0 {
        let digits = format!("{:09}", of_day % 1_000_000_000);
        text.push('.');
        text.push_str(&digits[..usize::from(precision.min(9))]);
    }
    text
}

/// A day, up to 31, that does not exist is the last of its month.
pub(super) fn clamped(year: i32, month: u32, day: u32) -> Option<NaiveDate> {
    if !(1..=31).contains(&day) {
        return None;
    }
    (28..=day.max(28))
        .rev()
        .find_map(|last| NaiveDate::from_ymd_opt(year, month, day.min(last)))
}

/// What `EXTRACT(unit FROM …)` gives for a wall clock. As in Flink, quotients are cut toward 1970 and remainders are
/// negative before it.
pub(crate) fn extract(unit: TimeUnit, moment: Moment) -> i64 {
    let millis = moment.millis;
    let date = date((millis / DAY) as i32);
    let year = i64::from(date.year());
    // Centuries count from one.
    let begun = |years: i64| (year + (years - 1) * if year > 0 { 1 } else { -1 }) / years;
    match unit {
        TimeUnit::Nanosecond => millis % 1000 * NANOS + moment.nanos,
        TimeUnit::Microsecond => millis % 1000 * 1000 + moment.nanos / 1000,
        TimeUnit::Millisecond => millis % 1000,
        TimeUnit::Second => millis % 60_000 / 1000,
        TimeUnit::Minute => millis % 3_600_000 / 60_000,
        TimeUnit::Hour => millis % DAY / 3_600_000,
        TimeUnit::Day => i64::from(date.day()),
        TimeUnit::Week => i64::from(date.iso_week().week()),
        TimeUnit::Month => i64::from(date.month()),
        TimeUnit::Quarter => i64::from(date.month0() / 3 + 1),
        TimeUnit::Year => year,
        TimeUnit::IsoYear => i64::from(date.iso_week().year()),
        TimeUnit::DayOfWeek => i64::from(date.weekday().num_days_from_sunday() + 1),
        TimeUnit::IsoDayOfWeek => i64::from(date.weekday().number_from_monday()),
        TimeUnit::DayOfYear => i64::from(date.ordinal()),
        TimeUnit::Decade => year / 10,
        TimeUnit::Century => begun(100),
        TimeUnit::Millennium => begun(1000),
        TimeUnit::Epoch => millis / 1000,
    }
}

/// The begin of the unit that a wall clock in milliseconds lies in; `None` for units that cannot be cut to. As in Flink,
/// units beyond a day take the last day before 1970 for its first, but at midnight.
pub(crate) fn floor(unit: TimeUnit, millis: i64) -> Option<i64> {
    if let Some(size) = crate::sql::parser::milliseconds(unit)
        && unit != TimeUnit::Week
    {
        return Some(millis.div_euclid(size) * size);
    }
    let day = date((millis / DAY) as i32);
    let start = match unit {
        TimeUnit::Week => day - chrono::Days::new(u64::from(day.weekday().num_days_from_sunday())),
        TimeUnit::Month => day.with_day(1)?,
        TimeUnit::Quarter => day.with_day(1)?.with_month0(day.month0() / 3 * 3)?,
        TimeUnit::Century | TimeUnit::Millennium => {
            let years = years(unit)?;
            NaiveDate::from_ymd_opt((day.year() - 1) / years * years + 1, 1, 1)?
        }
        _ => {
            let years = years(unit)?;
            NaiveDate::from_ymd_opt(day.year() / years * years, 1, 1)?
        }
    };
    Some(i64::from(days_of(start)) * DAY)
}

/// The begin of the next unit, unless it lies exactly at one. As in Flink, for units beyond a day only the day counts,
/// a quarter's begin is none but in January, and there is no begin of what has ten years and more.
pub(crate) fn ceil(unit: TimeUnit, millis: i64) -> Option<i64> {
    if let Some(size) = crate::sql::parser::milliseconds(unit)
        && unit != TimeUnit::Week
    {
        return Some(-(-millis).div_euclid(size) * size);
    }
    let day = date((millis / DAY) as i32);
    let down = floor(unit, millis)?;
    let later = |months: i32| Some(add_months(down, months));
    match unit {
        TimeUnit::Week if day.weekday().num_days_from_sunday() == 0 => Some(down),
        TimeUnit::Week => Some(down + 7 * DAY),
        TimeUnit::Month if day.day() == 1 => Some(down),
        TimeUnit::Month => later(1),
        TimeUnit::Quarter | TimeUnit::Year if day.ordinal() == 1 => Some(down),
        TimeUnit::Quarter => later(3),
        _ => later(12 * years(unit)?),
    }
}

/// How many years a unit has.
fn years(unit: TimeUnit) -> Option<i32> {
    Some(match unit {
        TimeUnit::Year => 1,
        TimeUnit::Decade => 10,
        TimeUnit::Century => 100,
        TimeUnit::Millennium => 1000,
        _ => return None,
    })
}
/// Months later; the day is cut to the month's last.
pub(crate) fn add_months(millis: i64, months: i32) -> i64 {
    let day = date(millis.div_euclid(DAY) as i32);
    let month0 = i64::from(day.year()) * 12 + i64::from(day.month0()) + i64::from(months);
    let target = clamped(
        month0.div_euclid(12) as i32,
        month0.rem_euclid(12) as u32 + 1,
        day.day(),
    )
    .unwrap_or(day);
    i64::from(days_of(target)) * DAY + millis.rem_euclid(DAY)
}

/// Whole months from `from` to `to`, counted as Flink does: between the days, one less if the last of them ends on the
/// day of `to` but later on it. That also holds backward, where it makes one more.
pub(crate) fn months_between(from: i64, to: i64) -> i64 {
    let (first, last) = (from.div_euclid(DAY), to.div_euclid(DAY));
    let months = months_between_days(first, last);
    let ends = add_months(first * DAY, months as i32).div_euclid(DAY);
    months - i64::from(ends == last && to.rem_euclid(DAY) < from.rem_euclid(DAY))
}

fn months_between_days(from: i64, to: i64) -> i64 {
    if to < from {
        return -months_between_days(to, from);
    }
    let (first, last) = (date(from as i32), date(to as i32));
    let months = i64::from(last.year() - first.year()) * 12 + i64::from(last.month())
        - i64::from(first.month());
    months - i64::from(add_months(from * DAY, months as i32) > to * DAY)
}

/// A column of TIMESTAMP(3) from milliseconds.
pub(crate) fn millis_column(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampMillisecondArray>())
}

#[cfg(test)]
mod tests;
