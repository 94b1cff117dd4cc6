//! MySQL's date formats: `%Y-%m-%d %H:%i:%s`.

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use crate::failure::{Code, Failure, Result};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

fn refused(letter: char) -> Failure {
    Failure::new(
        Code::NotSupported,
        format!("%{letter} in a date format is not supported"),
    )
}

/// `date_format(time, format)`.
pub(super) fn format(time: NaiveDateTime, pattern: &str) -> Result<String> {
    let mut out = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let Some(letter) = chars.next() else {
            return Err(Failure::new(
                Code::InvalidFunctionArgument,
                "Invalid date format string",
            ));
        };
        out.push_str(&field(time, letter)?);
    }
    Ok(out)
}

fn field(time: NaiveDateTime, letter: char) -> Result<String> {
    let month = MONTHS[usize::try_from(time.month0()).unwrap_or(0)];
    let day = DAYS[usize::try_from(time.weekday().num_days_from_monday()).unwrap_or(0)];
    let twelve = (time.hour() + 11) % 12 + 1;
    let half = if time.hour() < 12 { "AM" } else { "PM" };
    Ok(match letter {
        'a' => day[..3].to_owned(),
        'b' => month[..3].to_owned(),
        'c' => time.month().to_string(),
        'd' => format!("{:02}", time.day()),
        'e' => time.day().to_string(),
        'f' => format!("{:06}", time.nanosecond() / 1000),
        'H' => format!("{:02}", time.hour()),
        'h' | 'I' => format!("{twelve:02}"),
        'i' => format!("{:02}", time.minute()),
        'j' => format!("{:03}", time.ordinal()),
        'k' => time.hour().to_string(),
        'l' => twelve.to_string(),
        'M' => month.to_owned(),
        'm' => format!("{:02}", time.month()),
        'p' => half.to_owned(),
        'r' => format!(
            "{twelve:02}:{:02}:{:02} {half}",
            time.minute(),
            time.second()
        ),
        'S' | 's' => format!("{:02}", time.second()),
        'T' => format!(
            "{:02}:{:02}:{:02}",
            time.hour(),
            time.minute(),
            time.second()
        ),
        'v' => format!("{:02}", time.iso_week().week()),
        'W' => day.to_owned(),
        'x' => time.iso_week().year().to_string(),
        'Y' => format!("{:04}", time.year()),
        'y' => format!("{:02}", time.year().rem_euclid(100)),
        '%' => "%".to_owned(),
        'D' | 'U' | 'u' | 'V' | 'w' | 'X' => return Err(refused(letter)),
        other => other.to_string(),
    })
}

/// `date_parse(text, format)`: `None` when the text does not follow the format.
pub(super) fn parse(text: &str, pattern: &str) -> Result<Option<NaiveDateTime>> {
    let (mut year, mut month, mut day) = (1970, 1, 1);
    let (mut hour, mut minute, mut second, mut nanos) = (0, 0, 0, 0);
    let mut afternoon = None;
    let mut rest = text;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let letter = if c == '%' { chars.next() } else { None };
        let Some(letter) = letter else {
            match rest.strip_prefix(c) {
                Some(after) => rest = after,
                None => return Ok(None),
            }
            continue;
        };
        let mut number = |most: usize| {
            let length = rest
                .bytes()
                .take(most)
                .take_while(u8::is_ascii_digit)
                .count();
            let (digits, after) = rest.split_at(length);
            rest = after;
            digits.parse::<u32>().ok().map(|value| (value, length))
        };
        let found = match letter {
            'Y' => number(4).map(|(value, _)| year = value),
            'y' => number(2).map(|(value, _)| {
                year = if value < 70 {
                    2000 + value
                } else {
                    1900 + value
                }
            }),
            'm' | 'c' => number(2).map(|(value, _)| month = value),
            'd' | 'e' => number(2).map(|(value, _)| day = value),
            'H' | 'k' | 'h' | 'I' | 'l' => number(2).map(|(value, _)| hour = value),
            'i' => number(2).map(|(value, _)| minute = value),
            's' | 'S' => number(2).map(|(value, _)| second = value),
            'f' => number(9).and_then(|(value, length)| {
                let _: () = nanos = value * 10_u32.checked_pow(u32::try_from(9 - length).ok()?)?;
                Some(())
            }),
            'p' => rest
                .get(..2)
                .map(str::to_ascii_uppercase)
                .filter(|half| half == "AM" || half == "PM")
                .map(|half| {
                    afternoon = Some(half == "PM");
                    rest = &rest[2..];
                }),
            other => return Err(refused(other)),
        };
        if found.is_none() {
            return Ok(None);
        }
    }
    if let Some(afternoon) = afternoon {
        hour = hour % 12 + if afternoon { 12 } else { 0 };
    }
    let date = i32::try_from(year)
        .ok()
        .and_then(|year| NaiveDate::from_ymd_opt(year, month, day));
    let time = NaiveTime::from_hms_nano_opt(hour, minute, second, nanos);
    Ok(if rest.is_empty() {
        date.zip(time).map(|(date, time)| date.and_time(time))
    } else {
        None
    })
}
