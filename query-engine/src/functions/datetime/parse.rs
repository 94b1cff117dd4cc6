//! Reading dates, times, timestamps and zones as Trino spells them.

use std::str::FromStr;

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone};
use datafusion::arrow::array::timezone::Tz;

use crate::failure::{Code, Failure, Result};

/// A time zone: a name of the tz database or an offset, in Trino's canonical spelling.
#[derive(Debug, Clone)]
pub(crate) struct Zone {
    tz: Tz,
    name: String,
}

impl Zone {
    /// Reads `UTC`, `Europe/Berlin`, `+05:30`, `Z`.
    pub(crate) fn parse(text: &str) -> Option<Zone> {
        let name = match text {
            "Z" | "z" | "+00:00" | "-00:00" | "GMT" | "UT" | "Etc/UTC" | "Etc/GMT" | "Zulu" => {
                "UTC".to_owned()
            }
            other => match other.strip_prefix(['+', '-']) {
                Some(digits) => offset_name(other, digits)?,
                None if other.eq_ignore_ascii_case("utc") => "UTC".to_owned(),
                None => other.to_owned(),
            },
        };
        let name = if name == "+00:00" || name == "-00:00" {
            "UTC".to_owned()
        } else {
            name
        };
        Some(Zone {
            tz: Tz::from_str(&name).ok()?,
            name,
        })
    }

    pub(crate) fn utc() -> Zone {
        Zone::parse("UTC").expect("UTC is a zone")
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The local time at an instant.
    pub(crate) fn local(&self, instant: NaiveDateTime) -> NaiveDateTime {
        self.tz.from_utc_datetime(&instant).naive_local()
    }

    /// The instant of a local time: the earlier one where it occurs twice, moved forward where it is skipped.
    pub(crate) fn instant(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        match self.tz.from_local_datetime(&local) {
            chrono::LocalResult::Single(time) | chrono::LocalResult::Ambiguous(time, _) => {
                Some(time.naive_utc())
            }
            chrono::LocalResult::None => {
                let before = self
                    .tz
                    .from_local_datetime(&(local - TimeDelta::hours(3)))
                    .earliest()?;
                Some(before.naive_utc() + TimeDelta::hours(3))
            }
        }
    }

    /// The instant of a local time that was made of the one at another instant: with that one's offset, where it fits.
    pub(crate) fn instant_near(
        &self,
        local: NaiveDateTime,
        made_of: NaiveDateTime,
    ) -> Option<NaiveDateTime> {
        let instant = local - (self.local(made_of) - made_of);
        if self.local(instant) == local {
            Some(instant)
        } else {
            self.instant(local)
        }
    }

    /// Does this local time exist in the zone?
    pub(crate) fn exists(&self, local: NaiveDateTime) -> bool {
        !matches!(
            self.tz.from_local_datetime(&local),
            chrono::LocalResult::None
        )
    }
}

fn offset_name(text: &str, digits: &str) -> Option<String> {
    let (hours, minutes) = match digits.split_once(':') {
        Some((hours, minutes)) => (hours, minutes),
        None if digits.len() == 4 && digits.is_ascii() => digits.split_at(2),
        None => (digits, "00"),
    };
    let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
    if hours > 14 || minutes > 59 {
        return None;
    }
    Some(format!("{}{hours:02}:{minutes:02}", &text[..1]))
}

/// A timestamp as written.
#[derive(Debug, Clone)]
pub(crate) struct Parsed {
    local: NaiveDateTime,
    /// Digits of the second's fraction.
    pub(crate) precision: u8,
    pub(crate) zone: Option<Zone>,
}

impl Parsed {
    /// Micro- or nanoseconds of the local time.
    pub(crate) fn local_units(&self, nanos: bool) -> Option<i64> {
        units(self.local, nanos)
    }

    /// Micro- or nanoseconds of the instant in a zone; a literal in a gap of daylight saving time is an error.
    pub(crate) fn instant_units(&self, zone: &Zone, nanos: bool) -> Result<i64> {
        let bad = |what: &str| {
            Failure::new(
                Code::InvalidLiteral,
                format!("'{}' {what} {}", self.local, zone.name()),
            )
        };
        if !zone.exists(self.local) {
            return Err(bad("does not exist in time zone"));
        }
        let instant = zone
            .instant(self.local)
            .ok_or_else(|| bad("is out of range in"))?;
        units(instant, nanos).ok_or_else(|| bad("is out of range in"))
    }
}

pub(crate) fn units(time: NaiveDateTime, nanos: bool) -> Option<i64> {
    let time = time.and_utc();
    if nanos {
        time.timestamp_nanos_opt()
    } else {
        Some(time.timestamp_micros())
    }
}

/// The time at micro- or nanoseconds of the epoch.
pub(crate) fn time_at(value: i64, nanos: bool) -> Option<NaiveDateTime> {
    if nanos {
        return Some(chrono::DateTime::from_timestamp_nanos(value).naive_utc());
    }
    chrono::DateTime::from_timestamp_micros(value).map(|time| time.naive_utc())
}

const EPOCH_FROM_CE: i32 = 719_163;

pub(crate) fn days_of(date: NaiveDate) -> i32 {
    date.num_days_from_ce() - EPOCH_FROM_CE
}

pub(crate) fn date_at(days: i32) -> Option<NaiveDate> {
    NaiveDate::from_num_days_from_ce_opt(days.checked_add(EPOCH_FROM_CE)?)
}

fn civil(text: &str) -> Option<NaiveDate> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = digits.splitn(3, '-');
    let mut number = |least: usize, most: usize| {
        let part = parts.next()?;
        let right =
            (least..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        if right {
            part.parse::<i32>().ok()
        } else {
            None
        }
    };
    let (year, month, day) = (number(4, 6)?, number(1, 2)?, number(1, 2)?);
    NaiveDate::from_ymd_opt(
        sign * year,
        u32::try_from(month).ok()?,
        u32::try_from(day).ok()?,
    )
}

/// `2020-01-31` as days of the epoch.
pub(crate) fn date(text: &str) -> Option<i32> {
    civil(text.trim()).map(days_of)
}

/// Hours, minutes, seconds and up to nine digits of a fraction.
fn clock(text: &str) -> Option<(NaiveTime, u8)> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (text, ""),
    };
    if fraction.len() > 12
        || !fraction.bytes().all(|byte| byte.is_ascii_digit())
        || (text.contains('.') && fraction.is_empty())
    {
        return None;
    }
    let mut parts = whole.split(':');
    let mut number = || {
        let part = parts.next()?;
        let right = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        if right {
            part.parse::<u32>().ok()
        } else {
            None
        }
    };
    let (hour, minute) = (number()?, number()?);
    let second = number().unwrap_or(0);
    let colons = whole.matches(':').count();
    if !(1..=2).contains(&colons) || (colons == 1 && !fraction.is_empty()) || parts.next().is_some()
    {
        return None;
    }
    let nine = format!("{:0<9}", &fraction[..fraction.len().min(9)]);
    let nanos: u32 = nine.parse().ok()?;
    Some((
        NaiveTime::from_hms_nano_opt(hour, minute, second, nanos)?,
        u8::try_from(fraction.len()).ok()?,
    ))
}

/// `10:00:00.123` as microseconds of the day and its precision.
pub(crate) fn time(text: &str) -> Option<(i64, u8)> {
    let (time, precision) = clock(text.trim())?;
    if precision > 6 {
        return None;
    }
    let micros = time
        .signed_duration_since(NaiveTime::MIN)
        .num_microseconds()?;
    Some((micros, precision))
}

/// `2020-01-31 10:00:00.123456 Europe/Berlin`, with the time and the zone optional.
pub(crate) fn timestamp(text: &str) -> Option<Parsed> {
    let text = text.trim();
    let split = text.get(1..)?.find([' ', 'T']).map(|at| at + 1);
    let Some(split) = split else {
        return Some(Parsed {
            local: civil(text)?.and_time(NaiveTime::MIN),
            precision: 0,
            zone: None,
        });
    };
    let date = civil(&text[..split])?;
    let rest = text[split + 1..].trim_start();
    let end = rest
        .find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.'))
        .unwrap_or(rest.len());
    let (clock_text, zone_text) = rest.split_at(end);
    let (time, precision) = if clock_text.is_empty() {
        (NaiveTime::MIN, 0)
    } else {
        clock(clock_text)?
    };
    let zone_text = zone_text.trim();
    let zone = if zone_text.is_empty() {
        None
    } else {
        Some(Zone::parse(zone_text)?)
    };
    Some(Parsed {
        local: date.and_time(time),
        precision,
        zone,
    })
}
