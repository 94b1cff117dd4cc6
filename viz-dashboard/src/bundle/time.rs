//! Superset's time ranges: `DATEADD(DATETIME("now"), -15, minute) : now`, `Last week`, `2026-11-01 : 2026-11-22`.

use chrono::{Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};

/// From `since` on and before `until`; a missing end is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Range {
    pub(crate) since: Option<NaiveDateTime>,
    pub(crate) until: Option<NaiveDateTime>,
}

// === impl Range ===

impl Range {
    /// The range that `text` means at `now`.
    pub(crate) fn parse(text: &str, now: NaiveDateTime) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || text.eq_ignore_ascii_case("no filter") {
            return Ok(Range::default());
        }
        if let Some((since, until)) = text.split_once(" :") {
            return Ok(Range {
                since: instant(since, now)?,
                until: instant(until, now)?,
            });
        }
        last(text, now).ok_or_else(|| format!("time range `{text}` is not supported"))
    }

    /// The range of the same length just before this one.
    pub(crate) fn before(self) -> Option<Range> {
        let (since, until) = (self.since?, self.until?);
        Some(Range {
            since: since.checked_sub_signed(until - since),
            until: Some(since),
        })
    }
}

/// `Last week` ends with yesterday, as in Superset; `Last 15 minutes` ends now.
fn last(text: &str, now: NaiveDateTime) -> Option<Range> {
    let mut words = text.split_whitespace();
    if !words.next()?.eq_ignore_ascii_case("last") {
        return None;
    }
    let second = words.next()?.to_ascii_lowercase();
    if let Ok(count) = second.parse::<i64>() {
        let unit = words.next()?.to_ascii_lowercase();
        return Some(Range {
            since: Some(shift(now, -count, &unit)?),
            until: Some(now),
        });
    }
    let today = now.date().and_time(NaiveTime::MIN);
    let since = match second.as_str() {
        unit @ ("day" | "week" | "month" | "quarter" | "year") => shift(today, -1, unit)?,
        _ => return None,
    };
    Some(Range {
        since: Some(since),
        until: Some(today),
    })
}

fn instant(text: &str, now: NaiveDateTime) -> Result<Option<NaiveDateTime>, String> {
    let text = text.trim();
    if text.is_empty() || text == "∞" || text == "-∞" {
        return Ok(None);
    }
    evaluate(text, now)
        .map(Some)
        .ok_or_else(|| format!("time `{text}` is not supported"))
}

fn evaluate(text: &str, now: NaiveDateTime) -> Option<NaiveDateTime> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "now" => return Some(now),
        "today" => return Some(now.date().and_time(NaiveTime::MIN)),
        _ => {}
    }
    if let Some(inner) = call(text, "DATETIME") {
        return evaluate(inner.trim().trim_matches('"'), now);
    }
    if let Some(inner) = call(text, "DATEADD") {
        let (rest, unit) = inner.rsplit_once(',')?;
        let (base, count) = rest.rsplit_once(',')?;
        let base = evaluate(base, now)?;
        return shift(
            base,
            count.trim().parse().ok()?,
            &unit.trim().to_ascii_lowercase(),
        );
    }
    if let Some(inner) = call(text, "DATETRUNC") {
        let (base, unit) = inner.rsplit_once(',')?;
        return truncate(evaluate(base, now)?, &unit.trim().to_ascii_lowercase());
    }
    if let Some(ago) = lower.strip_suffix(" ago") {
        let (count, unit) = ago.split_once(' ')?;
        return shift(now, -count.trim().parse::<i64>().ok()?, unit.trim());
    }
    let plain = text.trim_end_matches('Z');
    for form in [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%d %H:%M",
    ] {
        if let Ok(instant) = NaiveDateTime::parse_from_str(plain, form) {
            return Some(instant);
        }
    }
    let date = NaiveDate::parse_from_str(plain, "%Y-%m-%d").ok()?;
    Some(date.and_time(NaiveTime::MIN))
}

/// What stands between the brackets of `NAME(…)`.
fn call<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let head = text.get(..name.len())?;
    if !head.eq_ignore_ascii_case(name) {
        return None;
    }
    text[name.len()..]
        .trim_start()
        .strip_prefix('(')?
        .strip_suffix(')')
}

fn shift(base: NaiveDateTime, count: i64, unit: &str) -> Option<NaiveDateTime> {
    let months = |per_unit: u32| {
        let months = Months::new(
            u32::try_from(count.unsigned_abs())
                .ok()?
                .checked_mul(per_unit)?,
        );
        if count < 0 {
            base.checked_sub_months(months)
        } else {
            base.checked_add_months(months)
        }
    };
    let delta = match unit.trim_end_matches('s') {
        "second" => TimeDelta::try_seconds(count)?,
        "minute" => TimeDelta::try_minutes(count)?,
        "hour" => TimeDelta::try_hours(count)?,
        "day" => TimeDelta::try_days(count)?,
        "week" => TimeDelta::try_weeks(count)?,
        "month" => return months(1),
        "quarter" => return months(3),
        "year" => return months(12),
        _ => return None,
    };
    base.checked_add_signed(delta)
}

fn truncate(instant: NaiveDateTime, unit: &str) -> Option<NaiveDateTime> {
    let date = instant.date();
    let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN);
    match unit {
        "second" => instant.with_nanosecond(0),
        "minute" => instant.with_nanosecond(0)?.with_second(0),
        "hour" => instant.with_nanosecond(0)?.with_second(0)?.with_minute(0),
        "day" => Some(midnight(date)),
        "week" => {
            let days = Days::new(u64::from(date.weekday().num_days_from_monday()));
            date.checked_sub_days(days).map(midnight)
        }
        "month" => date.with_day(1).map(midnight),
        "quarter" => date
            .with_day(1)?
            .with_month0(date.month0() / 3 * 3)
            .map(midnight),
        "year" => date.with_day(1)?.with_month(1).map(midnight),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
