//! Reading dates, clocks and timestamps without a pattern, as `CAST` and `TO_DATE` do and as `TO_TIMESTAMP` does when
//! its pattern does not fit: the answers of Flink's `DateTimeUtils`, but for the few that `docs/flink-sql.md` names.

use chrono::{Days, NaiveDate};

use super::{DAY, Moment, NANOS, clamped, days_of};

/// Seconds in nanoseconds.
const SECOND: i64 = 1_000_000_000;

/// A DATE: `y[-M[-d]]`, and what follows a space is not looked at; days that the month does not have are refused.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    let day = match text.find(' ') {
        Some(space) if space > 0 => &text[..space],
        _ => text,
    };
    let mut parts = day.splitn(3, '-').map(str::trim);
    let year = number(parts.next()?)?;
    let month = parts.next().map_or(Some(1), number)?;
    let day = parts.next().map_or(Some(1), number)?;
    let year = i32::try_from(year).ok().filter(|year| *year <= 9999)?;
    NaiveDate::from_ymd_opt(year, month, day).map(days_of)
}

/// Milliseconds of the day: `H[:m[:s[.fraction]]]`.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    let (clock, fraction) = fraction_of(text.trim());
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Any number of digits.
    let fraction = fraction.get(..9).unwrap_or(fraction);
    if text.contains('.') && clock.matches(':').count() < 2 {
        return None;
    }
    let mut parts = clock.split(':');
    let hours = number(parts.next()?)?;
    let minutes = parts.next().map_or(Some(0), number)?;
    let seconds = parts.next().map_or(Some(0), number)?;
    if parts.next().is_some() || hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    Some(seconds_of(hours, minutes, seconds) * 1000 + nanos_of(fraction)? / NANOS)
}

/// A TIMESTAMP: `yyyy-M-d`, and after one space `H:m:s` with up to nine digits of a second. Days beyond the month's
/// end, up to 31, become its last; 24:00:00 is the next day.
pub(crate) fn parse_timestamp(text: &str) -> Option<Moment> {
    let (day, clock) = match text.split_once(' ') {
        Some((day, clock)) => (day, Some(clock)),
        None => (text, None),
    };
    let (year, month, day) = three(day, '-')?;
    // A year of more digits has a sign.
    let year: i32 = match year.strip_prefix('+') {
        Some(more) if more.len() > 4 => number(more)?.try_into().ok()?,
        None if year.len() == 4 => number(year)?.try_into().ok()?,
        _ => return None,
    };
    let date = clamped(year, two_digits(month)?, two_digits(day)?).filter(|_| year > 0)?;
    let nanos = match clock {
        Some(clock) => nanos_of_clock(clock)?,
        None => 0,
    };
    Some(Moment::of(days_of(date), nanos))
}

fn nanos_of_clock(text: &str) -> Option<i64> {
    let (clock, fraction) = fraction_of(text);
    let (hours, minutes, seconds) = three(clock, ':')?;
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    let seconds = two_digits(seconds)?;
    let fraction = nanos_of(fraction)?;
    let is_clock = hours <= 23 && minutes <= 59 && seconds <= 59;
    let is_end_of_day = (hours, minutes, seconds, fraction) == (24, 0, 0, 0);
    let nanos = seconds_of(hours, minutes, seconds) * SECOND + fraction;
    (is_clock || is_end_of_day).then_some(nanos)
}

/// What `java.sql.Timestamp.valueOf` makes of a text with a space, and `java.sql.Date.valueOf` of one without: a day
/// that the month does not have, up to 31, and a clock of any size carry over into the next days. Dates before 1582
/// are those of the Gregorian calendar here, in Java those of the Julian one.
pub(crate) fn parse_sql_timestamp(text: &str) -> Option<Moment> {
    let text = text.trim_matches(|letter| letter <= ' ');
    let (day, clock) = match text.split_once(' ') {
        Some((day, clock)) => (day, Some(clock)),
        None => (text, None),
    };
    let (year, month, day) = three(day, '-').filter(|(year, ..)| year.len() == 4)?;
    let (year, month) = (number(year)?.try_into().ok()?, two_digits(month)?);
    let day = two_digits(day).filter(|day| (1..=31).contains(day))?;
    let first = NaiveDate::from_ymd_opt(year, month, 1)?;
    let date = first.checked_add_days(Days::new(u64::from(day - 1)))?;
    let (seconds, nanos) = match clock {
        Some(clock) => endless_clock(clock)?,
        None => (0, 0),
    };
    Some(Moment {
        millis: i64::from(days_of(date)) * DAY + seconds * 1000 + nanos / NANOS,
        nanos: nanos % NANOS,
    })
}

/// The seconds and nanoseconds of a clock whose parts are any numbers, also negative ones.
fn endless_clock(text: &str) -> Option<(i64, i64)> {
    let (clock, fraction) = fraction_of(text);
    if fraction.is_empty() && text.ends_with('.') {
        return None;
    }
    let (hours, minutes, seconds) = three(clock, ':')?;
    let part = |part: &str| part.parse::<i32>().ok().map(i64::from);
    let seconds = part(hours)? * 3600 + part(minutes)? * 60 + part(seconds)?;
    Some((seconds, nanos_of(fraction)?))
}

/// Exactly three parts.
fn three(text: &str, separator: char) -> Option<(&str, &str, &str)> {
    let mut parts = text.split(separator);
    let three = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(three)
}

fn two_digits(text: &str) -> Option<u32> {
    number(text).filter(|_| text.len() <= 2)
}

/// Digits without a sign.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// What stands before a point, and behind it.
fn fraction_of(text: &str) -> (&str, &str) {
    text.split_once('.').unwrap_or((text, ""))
}

fn seconds_of(hours: u32, minutes: u32, seconds: u32) -> i64 {
    i64::from(hours * 3600 + minutes * 60 + seconds)
}

/// The nanoseconds that up to nine digits behind the point name.
fn nanos_of(fraction: &str) -> Option<i64> {
    if fraction.is_empty() {
        return Some(0);
    }
    let missing = 9_u32.checked_sub(fraction.len().try_into().ok()?)?;
    Some(i64::from(number(fraction)?) * 10_i64.pow(missing))
}

#[cfg(test)]
mod tests {
    use super::{parse_date, parse_sql_timestamp, parse_time, parse_timestamp};
    use crate::functions::time::{Moment, date_text, timestamp_text};

    #[test]
    fn texts_are_read_as_flink_reads_them() {
        let text_of = |moment: Option<Moment>| {
            let text = moment.map_or_else(String::new, |moment| timestamp_text(moment, 9));
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        let mut n_read = 0;
        for line in include_str!("plain.txt").lines().skip(1) {
            let cells: Vec<&str> = line.split('|').collect();
            let [text, timestamp, sql, date] = cells[..] else {
                panic!("not four cells: {line}");
            };
            assert_eq!(text_of(parse_timestamp(text)), timestamp, "{text:?}");
            assert_eq!(
                text_of(parse_sql_timestamp(text)),
                sql,
                "{text:?} by java.sql"
            );
            let read = parse_date(text).map_or_else(String::new, date_text);
            assert_eq!(read, date, "{text:?} as a date");
            n_read += 1;
        }
        assert_eq!(n_read, 94);
    }

    #[test]
    fn a_time_may_lack_parts_and_have_many_digits() {
        for (text, millis) in [
            ("10", Some(36_000_000)),
            ("10:5", Some(36_300_000)),
            (" 010:00:00.5 ", Some(36_000_500)),
            ("10:00:00.1234567891", Some(36_000_123)),
            ("10:00:00Z", None),
            ("10:00:00.12x", None),
            ("10:00:00:00", None),
            ("1 0:00:00", None),
        ] {
            assert_eq!(parse_time(text), millis, "{text:?}");
        }
    }
}
