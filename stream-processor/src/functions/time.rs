//! Dates, times and time zones: reading, writing, converting, cutting.

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

/// The wall clock, as if it were UTC, at the instant `nanos`.
pub(crate) fn to_local(nanos: i64, zone: Tz) -> i64 {
    if zone == Tz::UTC {
        return nanos;
    }
    let seconds = nanos.div_euclid(1_000_000_000);
    let offset = DateTime::from_timestamp(seconds, 0).map_or(0, |instant| {
        let offset = zone.offset_from_utc_datetime(&instant.naive_utc());
        i64::from(offset.fix().local_minus_utc())
    });
    nanos.saturating_add(offset * 1_000_000_000)
}

/// The instant at which the wall clock of `zone` shows `nanos`; in a gap the one that follows it, as Java's.
pub(crate) fn from_local(nanos: i64, zone: Tz) -> i64 {
    if zone == Tz::UTC {
        return nanos;
    }
    let seconds = nanos.div_euclid(1_000_000_000);
    let Some(local) = DateTime::from_timestamp(seconds, 0).map(|instant| instant.naive_utc())
    else {
        return nanos;
    };
    let offset = |local: &NaiveDateTime| {
        zone.offset_from_local_datetime(local)
            .earliest()
            .map(|offset| i64::from(offset.fix().local_minus_utc()))
    };
    // In a gap the offset from before it holds.
    let before = local - chrono::Duration::hours(3);
    let offset = offset(&local).or_else(|| offset(&before)).unwrap_or(0);
    nanos.saturating_sub(offset * 1_000_000_000)
}

/// [`to_local`] in milliseconds.
pub(crate) fn millis_to_local(millis: i64, zone: Tz) -> i64 {
    if zone == Tz::UTC {
        return millis;
    }
    to_local(millis * NANOS, zone) / NANOS
}

/// [`from_local`] in milliseconds.
pub(crate) fn millis_from_local(millis: i64, zone: Tz) -> i64 {
    if zone == Tz::UTC {
        return millis;
    }
    from_local(millis * NANOS, zone) / NANOS
}

/// Nanoseconds since the epoch of each value of a timestamp column.
pub(crate) fn nanos(array: &ArrayRef) -> DfResult<Vec<Option<i64>>> {
    let factor = match array.data_type() {
        DataType::Timestamp(ArrowUnit::Second, _) => 1_000_000_000,
        DataType::Timestamp(ArrowUnit::Millisecond, _) => NANOS,
        DataType::Timestamp(ArrowUnit::Microsecond, _) => 1000,
        DataType::Timestamp(ArrowUnit::Nanosecond, _) => 1,
        other => return Err(failed(format!("no timestamp but {other}"))),
    };
    let values = cast(array, &DataType::Int64)?;
    let values = values.as_primitive::<Int64Type>();
    Ok(values
        .iter()
        .map(|value| value.map(|value| value.saturating_mul(factor)))
        .collect())
}

/// A timestamp column of `precision` from nanoseconds.
pub(crate) fn timestamps(
    nanos: impl Iterator<Item = Option<i64>>,
    precision: u8,
    local: bool,
) -> ArrayRef {
    let root = if local {
        TypeRoot::TimestampLtz(precision)
    } else {
        TypeRoot::Timestamp(precision)
    };
    let unit = match precision {
        0..=3 => NANOS,
        4..=6 => 1000,
        _ => 1,
    };
    let keep = 10_i64.pow(9 - u32::from(precision.min(9)));
    let values: Int64Array = nanos
        .map(|value| value.map(|value| value.div_euclid(keep) * keep / unit))
        .collect();
    let values: ArrayRef = Arc::new(values);
    cast(&values, &SqlType::of(root).arrow()).unwrap_or(values)
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
    // Everything goes over the wall clock in nanoseconds.
    let local: Vec<Option<i64>> = match from {
        Date => super::cast::days(array)
            .iter()
            .map(|days| days.and_then(|days| i64::from(days).checked_mul(DAY * NANOS)))
            .collect(),
        Time(_) => {
            let millis = cast(&cast(array, &DataType::Int32)?, &DataType::Int64)?;
            let millis = millis.as_primitive::<Int64Type>();
            millis
                .iter()
                .map(|value| value.map(|value| value * NANOS))
                .collect()
        }
        TimestampLtz(_) => nanos(array)?
            .into_iter()
            .map(|value| value.map(|value| to_local(value, zone)))
            .collect(),
        _ => nanos(array)?,
    };
    let values = local.into_iter();
    Ok(match to {
        Date => Arc::new(
            values
                .map(|value| value.map(|value| value.div_euclid(DAY * NANOS) as i32))
                .collect::<Date32Array>(),
        ),
        Time(_) => {
            let millis: Int64Array = values
                .map(|value| value.map(|value| value.rem_euclid(DAY * NANOS) / NANOS))
                .collect();
            let millis = cast(&(Arc::new(millis) as ArrayRef), &DataType::Int32)?;
            cast(&millis, &SqlType::of(to.clone()).arrow())?
        }
        Timestamp(precision) => timestamps(values, *precision, false),
        TimestampLtz(precision) => timestamps(
            values.map(|value| value.map(|value| from_local(value, zone))),
            *precision,
            true,
        ),
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
    let seconds = millis / 1000;
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `yyyy-MM-dd HH:mm:ss` and all digits of the precision.
pub(crate) fn timestamp_text(nanos: i64, precision: u8) -> String {
    let days = nanos.div_euclid(DAY * NANOS) as i32;
    let of_day = nanos.rem_euclid(DAY * NANOS);
    let mut text = format!("{} {}", date_text(days), time_text(of_day / NANOS));
    if precision > 0 {
        let digits = format!("{:09}", of_day % 1_000_000_000);
        text.push('.');
        text.push_str(&digits[..usize::from(precision.min(9))]);
    }
    text
}

/// A DATE; days that the month does not have are refused.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    let (year, month, day) = date_parts(text.trim())?;
    NaiveDate::from_ymd_opt(year, month, day).map(days_of)
}

fn date_parts(text: &str) -> Option<(i32, u32, u32)> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = text.splitn(3, '-');
    let year = parts.next()?;
    let month = parts.next().unwrap_or("1");
    let day = parts.next().unwrap_or("1");
    if !(digits(year) && digits(month) && digits(day))
        || year.len() > 4
        || month.len() > 2
        || day.len() > 2
    {
        return None;
    }
    Some((year.parse().ok()?, month.parse().ok()?, day.parse().ok()?))
}

/// Milliseconds of the day.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    time_nanos(text.trim()).map(|nanos| nanos / NANOS)
}

fn time_nanos(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':');
    let mut next = || -> Option<i64> {
        match parts.next() {
            Some(part) if part.len() <= 2 && part.bytes().all(|byte| byte.is_ascii_digit()) => {
                part.parse().ok()
            }
            Some(_) => None,
            None => Some(0),
        }
    };
    let (hours, minutes, seconds) = (next()?, next()?, next()?);
    if parts.next().is_some() || hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanos: i64 = digits.parse().ok()?;
    Some((hours * 3600 + minutes * 60 + seconds) * 1_000_000_000 + nanos)
}

/// A TIMESTAMP in nanoseconds; days beyond the month's end, up to 31, become its last.
pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    let (day, clock) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    let (year, month, day) = date_parts(day)?;
    let date = clamped(year, month, day)?;
    day_nanos(date)?.checked_add(time_nanos(clock)?)
}

/// Nanoseconds from the epoch to the day; `None` beyond the years 1677 to 2262, which they cannot count.
fn day_nanos(date: NaiveDate) -> Option<i64> {
    i64::from(days_of(date)).checked_mul(DAY * NANOS)
}

/// A day that does not exist is the last of its month.
pub(super) fn clamped(year: i32, month: u32, day: u32) -> Option<NaiveDate> {
    if !(1..=31).contains(&day) {
        return None;
    }
    (28..=day.max(28))
        .rev()
        .find_map(|last| NaiveDate::from_ymd_opt(year, month, day.min(last)))
}

/// A TIMESTAMP_LTZ: with `Z`, or by the wall clock of `zone`.
pub(crate) fn parse_instant(text: &str, zone: Tz) -> Option<i64> {
    let text = text.trim();
    match text.strip_suffix('Z') {
        Some(text) => parse_timestamp(text),
        None => parse_timestamp(text).map(|nanos| from_local(nanos, zone)),
    }
}

/// What `EXTRACT(unit FROM …)` gives for a wall clock in milliseconds.
pub(crate) fn extract(unit: TimeUnit, millis: i64) -> i64 {
    let date = date(millis.div_euclid(DAY) as i32);
    let of_day = millis.rem_euclid(DAY);
    let year = i64::from(date.year());
    match unit {
        TimeUnit::Millisecond => of_day % 60_000,
        TimeUnit::Second => of_day / 1000 % 60,
        TimeUnit::Minute => of_day / 60_000 % 60,
        TimeUnit::Hour => of_day / 3_600_000,
        TimeUnit::Day => i64::from(date.day()),
        TimeUnit::Week => i64::from(date.iso_week().week()),
        TimeUnit::Month => i64::from(date.month()),
        TimeUnit::Quarter => i64::from(date.month0() / 3 + 1),
        TimeUnit::Year => year,
        TimeUnit::DayOfWeek => i64::from(date.weekday().num_days_from_sunday() + 1),
        TimeUnit::DayOfYear => i64::from(date.ordinal()),
        TimeUnit::Decade => year / 10,
        TimeUnit::Century => (year + 99) / 100,
        TimeUnit::Millennium => (year + 999) / 1000,
        TimeUnit::Epoch => millis.div_euclid(1000),
    }
}

/// The begin of the unit that a wall clock in milliseconds lies in; `None` for units that cannot be cut to.
pub(crate) fn floor(unit: TimeUnit, millis: i64) -> Option<i64> {
    if let Some(size) = crate::sql::parser::milliseconds(unit)
        && unit != TimeUnit::Week
    {
        return Some(millis.div_euclid(size) * size);
    }
    let day = date(millis.div_euclid(DAY) as i32);
    let start = match unit {
        TimeUnit::Week => day - chrono::Days::new(u64::from(day.weekday().num_days_from_sunday())),
        TimeUnit::Month => day.with_day(1)?,
        TimeUnit::Quarter => day.with_day(1)?.with_month0(day.month0() / 3 * 3)?,
        TimeUnit::Year => NaiveDate::from_ymd_opt(day.year(), 1, 1)?,
        _ => return None,
    };
    Some(i64::from(days_of(start)) * DAY)
}

/// The begin of the next unit, unless it lies exactly at one.
pub(crate) fn ceil(unit: TimeUnit, millis: i64) -> Option<i64> {
    let down = floor(unit, millis)?;
    if down == millis {
        return Some(down);
    }
    match unit {
        TimeUnit::Month => Some(add_months(down, 1)),
        TimeUnit::Quarter => Some(add_months(down, 3)),
        TimeUnit::Year => Some(add_months(down, 12)),
        _ => Some(down + crate::sql::parser::milliseconds(unit)?),
    }
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

/// Whole months from `from` to `to`, cut toward zero.
pub(crate) fn months_between(from: i64, to: i64) -> i64 {
    if to < from {
        return -months_between(to, from);
    }
    let (first, last) = (
        date(from.div_euclid(DAY) as i32),
        date(to.div_euclid(DAY) as i32),
    );
    let months = i64::from(last.year() - first.year()) * 12 + i64::from(last.month())
        - i64::from(first.month());
    let rest = |day: NaiveDate, millis: i64| i64::from(day.day()) * DAY + millis.rem_euclid(DAY);
    months - i64::from(rest(last, to) < rest(first, from))
}

/// A column of TIMESTAMP(3) from milliseconds.
pub(crate) fn millis_column(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampMillisecondArray>())
}

/// One piece of a Java date pattern.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    Text(String),
    /// A letter and how often it stands.
    Field(char, usize),
}

/// The pieces of a Java date pattern, or the letter that is not known.
pub(crate) fn java_pattern(pattern: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(next) = rest.next() {
        if next == '\'' {
            let mut text = String::new();
            if rest.peek() == Some(&'\'') {
                rest.next();
                text.push('\'');
            } else {
                while let Some(inner) = rest.next() {
                    if inner == '\'' {
                        if rest.peek() != Some(&'\'') {
                            break;
                        }
                        rest.next();
                    }
                    text.push(inner);
                }
            }
            pieces.push(Piece::Text(text));
        } else if next.is_ascii_alphabetic() {
            let mut count = 1;
            while rest.peek() == Some(&next) {
                rest.next();
                count += 1;
            }
            if !"yuMdHhmsSaEDXx".contains(next) {
                return Err(format!("`{next}` in the pattern '{pattern}'"));
            }
            pieces.push(Piece::Field(next, count));
        } else {
            pieces.push(Piece::Text(next.to_string()));
        }
    }
    Ok(pieces)
}

/// A wall clock in nanoseconds by a pattern.
pub(crate) fn format_pieces(pieces: &[Piece], nanos: i64, out: &mut String) {
    let day = date(nanos.div_euclid(DAY * NANOS) as i32);
    let of_day = nanos.rem_euclid(DAY * NANOS);
    let (hour, minute, second) = (
        of_day / 3_600_000_000_000,
        of_day / 60_000_000_000 % 60,
        of_day / 1_000_000_000 % 60,
    );
    for piece in pieces {
        let (letter, count) = match piece {
            Piece::Text(text) => {
                out.push_str(text);
                continue;
            }
            Piece::Field(letter, count) => (*letter, *count),
        };
        let number = match letter {
            'y' | 'u' if count == 2 => i64::from(day.year().rem_euclid(100)),
            'y' | 'u' => i64::from(day.year()),
            'M' if count >= 3 => {
                let format = if count == 3 { "%b" } else { "%B" };
                out.push_str(&day.format(format).to_string());
                continue;
            }
            'M' => i64::from(day.month()),
            'd' => i64::from(day.day()),
            'D' => i64::from(day.ordinal()),
            'H' => hour,
            'h' => (hour + 11) % 12 + 1,
            'm' => minute,
            's' => second,
            'S' => {
                let digits = format!("{:09}", of_day % 1_000_000_000);
                out.push_str(&digits[..count.min(9)]);
                continue;
            }
            'a' => {
                out.push_str(if hour < 12 { "AM" } else { "PM" });
                continue;
            }
            'E' => {
                let format = if count <= 3 { "%a" } else { "%A" };
                out.push_str(&day.format(format).to_string());
                continue;
            }
            _ => {
                out.push('Z');
                continue;
            }
        };
        out.push_str(&format!("{number:0count$}"));
    }
}

/// Reads a text by a pattern into a wall clock in nanoseconds; days beyond the month's end become its last.
pub(crate) fn parse_pieces(pieces: &[Piece], text: &str) -> Option<i64> {
    let (mut year, mut month, mut day) = (1970, 1, 1);
    let (mut hour, mut minute, mut second, mut fraction) = (0_i64, 0, 0, 0);
    let mut afternoon = None;
    let mut rest = text;
    for (index, piece) in pieces.iter().enumerate() {
        let (letter, count) = match piece {
            Piece::Text(literal) => {
                rest = rest.strip_prefix(literal.as_str())?;
                continue;
            }
            Piece::Field('X' | 'x', _) => {
                rest = rest.strip_prefix('Z')?;
                continue;
            }
            Piece::Field('a', _) => {
                afternoon = Some(rest.get(..2)?.eq_ignore_ascii_case("PM"));
                rest = rest.get(2..)?;
                continue;
            }
            Piece::Field('E', _) => return None,
            Piece::Field(letter, count) => (*letter, *count),
        };
        let adjacent = matches!(pieces.get(index + 1), Some(Piece::Field(..)));
        let available = rest.bytes().take_while(u8::is_ascii_digit).count();
        let exact = letter == 'S' || count >= 2 || adjacent;
        let length = if exact { count } else { available.min(9) };
        if available < length
            || length == 0
            || (!adjacent && letter != 'S' && available > length && exact)
        {
            return None;
        }
        let (digits, after) = rest.split_at(length);
        rest = after;
        let number: i64 = digits.parse().ok()?;
        match letter {
            'y' | 'u' => year = if count == 2 { 2000 + number } else { number },
            'M' => month = number,
            'd' => day = number,
            'H' | 'h' => hour = number,
            'm' => minute = number,
            's' => second = number,
            'S' => fraction = number * 10_i64.pow(9 - u32::try_from(length.min(9)).unwrap_or(9)),
            _ => return None,
        }
    }
    if let Some(afternoon) = afternoon {
        hour = hour % 12 + if afternoon { 12 } else { 0 };
    }
    if !rest.is_empty() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let date = clamped(
        year as i32,
        u32::try_from(month).ok()?,
        u32::try_from(day).ok()?,
    )?;
    let seconds = hour * 3600 + minute * 60 + second;
    day_nanos(date)?.checked_add(seconds * 1_000_000_000 + fraction)
}

/// The hour of a wall clock, for tests of zones.
#[cfg(test)]
pub(crate) fn hour_of(nanos: i64) -> u32 {
    use chrono::Timelike;
    DateTime::from_timestamp_nanos(nanos).hour()
}

#[cfg(test)]
mod tests;
