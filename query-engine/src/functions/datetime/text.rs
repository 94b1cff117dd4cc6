//! Writing dates, times, timestamps and intervals as Trino prints them: exactly as many digits as the type has.

use chrono::{Datelike, NaiveDateTime, Timelike};

use super::parse::{Zone, date_at, time_at};

/// `2020-01-31`.
pub(crate) fn date(days: i32) -> String {
    date_at(days).map_or_else(
        || format!("(day {days})"),
        |date| civil(date.year(), date.month(), date.day()),
    )
}

fn civil(year: i32, month: u32, day: u32) -> String {
    if (0..=9999).contains(&year) {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!(
            "{}{:04}-{month:02}-{day:02}",
            if year < 0 { "-" } else { "+" },
            year.unsigned_abs()
        )
    }
}

fn clock(hour: u32, minute: u32, second: u32, nanos: u32, precision: u8) -> String {
    let mut text = format!("{hour:02}:{minute:02}:{second:02}");
    if precision > 0 {
        let fraction = format!("{nanos:09}");
        text.push('.');
        text.push_str(&fraction[..usize::from(precision.min(9))]);
    }
    text
}

/// A local time with `precision` digits of the second.
pub(crate) fn local(time: NaiveDateTime, precision: u8) -> String {
    let date = civil(time.year(), time.month(), time.day());
    format!(
        "{date} {}",
        clock(
            time.hour(),
            time.minute(),
            time.second(),
            time.nanosecond(),
            precision
        )
    )
}

/// A timestamp without zone.
pub(crate) fn timestamp(value: i64, precision: u8) -> String {
    match time_at(value, precision > 6) {
        Some(time) => local(time, precision),
        None => format!("({value})"),
    }
}

/// A timestamp with zone: local time, then the zone's name.
pub(crate) fn timestamp_tz(value: i64, precision: u8, zone: &Zone) -> String {
    match time_at(value, precision > 6) {
        Some(time) => format!("{} {}", local(zone.local(time), precision), zone.name()),
        None => format!("({value})"),
    }
}

/// A time of day, from microseconds.
pub(crate) fn time(micros: i64, precision: u8) -> String {
    let seconds = u32::try_from(micros / 1_000_000).unwrap_or(0);
    let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0) * 1000;
    clock(
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        nanos,
        precision,
    )
}

/// `interval day to second`: `2 03:04:05.678`.
pub(crate) fn day_time(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let all = millis.unsigned_abs();
    let (days, rest) = (all / 86_400_000, all % 86_400_000);
    let (hours, minutes) = (rest / 3_600_000, rest / 60_000 % 60);
    format!(
        "{sign}{days} {hours:02}:{minutes:02}:{:02}.{:03}",
        rest / 1000 % 60,
        rest % 1000
    )
}

/// `interval year to month`: `2-3`.
pub(crate) fn year_month(months: i32) -> String {
    let sign = if months < 0 { "-" } else { "" };
    let all = months.unsigned_abs();
    format!("{sign}{}-{}", all / 12, all % 12)
}

/// A double as Trino casts it: `1.0E20`.
pub(crate) fn double(value: f64) -> String {
    scientific(value, &format!("{value:e}"))
}

/// A real as Trino casts it.
pub(crate) fn real(value: f32) -> String {
    scientific(f64::from(value), &format!("{value:e}"))
}

fn scientific(value: f64, short: &str) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 {
            "Infinity".to_owned()
        } else {
            "-Infinity".to_owned()
        };
    }
    let (mantissa, exponent) = short.split_once('e').unwrap_or((short, "0"));
    let point = if mantissa.contains('.') { "" } else { ".0" };
    format!("{mantissa}{point}E{exponent}")
}

/// A decimal's digits with its scale.
pub(crate) fn decimal(value: i128, scale: i8) -> String {
    let scale = usize::try_from(scale).unwrap_or(0);
    let sign = if value < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if scale == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    }
}
