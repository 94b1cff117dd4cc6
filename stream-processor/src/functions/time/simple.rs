//! Reading as Java's `SimpleDateFormat` does, which is lenient: a field that is too large carries over into the next
//! ones, and what follows the last field is not looked at. `UNIX_TIMESTAMP` and `DATE_FORMAT` of a text read by it.
//! Dates before 1582 are those of the Gregorian calendar here, in Java those of the Julian one.

use chrono::{Datelike, NaiveDate, Utc};
use chrono_tz::Tz;

use super::pattern::{Piece, read_offset};
use super::{DAY, Moment, days_of};

/// Most digits of a field.
const MOST_DIGITS: usize = 9;

/// The fields of a pattern, as far as they were there.
struct Fields {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    milli: i64,
    /// By a clock of twelve hours.
    half_day: bool,
    afternoon: bool,
    /// Milliseconds east of Greenwich.
    offset: Option<i64>,
}

/// The instant that `text` names by the wall clock of `zone`, unless it has an offset of its own.
pub(crate) fn parse_simple(pieces: &[Piece], text: &str, zone: Tz) -> Option<Moment> {
    let mut fields = Fields {
        year: 1970,
        month: 1,
        day: 1,
        hour: 0,
        minute: 0,
        second: 0,
        milli: 0,
        half_day: false,
        afternoon: false,
        offset: None,
    };
    let mut rest = text;
    for (index, piece) in pieces.iter().enumerate() {
        rest = match piece {
            Piece::Text(literal) => rest.strip_prefix(literal.as_str())?,
            Piece::Field('X', count) => {
                let (offset, after) = read_offset(rest, *count)?;
                fields.offset = Some(offset);
                after
            }
            Piece::Field('a', _) => {
                let (half, after) = rest.split_at_checked(2)?;
                fields.afternoon = match half.to_ascii_uppercase().as_str() {
                    "AM" => false,
                    "PM" => true,
                    _ => return None,
                };
                after
            }
            Piece::Field(letter, count) => {
                let rest = rest.trim_start_matches([' ', '\t']);
                let next_is_number = pieces.get(index + 1).is_some_and(is_number);
                let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                let length = if next_is_number {
                    n_digits.min(*count)
                } else {
                    n_digits
                };
                if length == 0 || length > MOST_DIGITS {
                    return None;
                }
                let (digits, after) = rest.split_at(length);
                fields.set(*letter, *count, digits)?;
                after
            }
        };
    }
    fields.instant(zone)
}

/// Whether a number follows at once, so that this one has no more digits than its letters.
fn is_number(next: &Piece) -> bool {
    match next {
        Piece::Field(letter, _) => !matches!(letter, 'X' | 'a'),
        Piece::Text(_) => false,
    }
}

impl Fields {
    fn set(&mut self, letter: char, count: usize, digits: &str) -> Option<()> {
        let number: i64 = digits.parse().ok()?;
        match letter {
            'y' if count <= 2 && digits.len() == 2 => {
                // The century in which it is at most twenty years from now.
                let last = i64::from(Utc::now().year()) + 20;
                let year = last / 100 * 100 + number;
                self.year = if year > last { year - 100 } else { year };
            }
            'y' => self.year = number,
            'M' => self.month = number,
            'd' => self.day = number,
            'H' => self.hour = number,
            'h' => {
                self.hour = if number == 12 { 0 } else { number };
                self.half_day = true;
            }
            'm' => self.minute = number,
            's' => self.second = number,
            'S' => self.milli = number,
            _ => return None,
        }
        Some(())
    }

    fn instant(&self, zone: Tz) -> Option<Moment> {
        let months = self.year * 12 + self.month - 1;
        let year = i32::try_from(months.div_euclid(12)).ok()?;
        let first = NaiveDate::from_ymd_opt(year, months.rem_euclid(12) as u32 + 1, 1)?;
        let days = i64::from(days_of(first)) + self.day - 1;
        let noon = i64::from(self.half_day && self.afternoon) * 12;
        let of_day =
            (((self.hour + noon) * 60 + self.minute) * 60 + self.second) * 1000 + self.milli;
        let local = days * DAY + of_day;
        Some(match self.offset {
            Some(offset) => Moment::of_millis(local - offset),
            None => Moment::of_millis(local).instant_in(zone),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::java_pattern;
    use super::*;

    /// What `new SimpleDateFormat(pattern).parse(text).getTime()` gives in Java 17, with the zone Asia/Tokyo.
    #[test]
    fn instants_are_those_of_java() {
        for (pattern, text, millis) in CASES {
            let pieces = java_pattern(pattern).unwrap();
            let read = parse_simple(&pieces, text, Tz::Asia__Tokyo);
            assert_eq!(read.map(|read| read.millis), *millis, "{pattern} {text}");
        }
    }

    const CASES: &[(&str, &str, Option<i64>)] = &[
        (
            "yyyy-MM-dd HH:mm:ss",
            "2026-03-01 10:00:03",
            Some(1772326803000),
        ),
        (
            "yyyy-MM-dd HH:mm:ss",
            "2026-03-01 10:00:03.123",
            Some(1772326803000),
        ),
        ("yyyy-MM-dd HH:mm:ss", "2026-03-01", None),
        ("yyyy-MM-dd HH:mm:ss", "2026-03-01T10:00:03", None),
        (
            "yyyy-MM-dd HH:mm:ss",
            "2026-02-30 25:61:61",
            Some(1772470921000),
        ),
        (
            "yyyy-MM-dd HH:mm:ss",
            "2026-13-01 00:00:00",
            Some(1798729200000),
        ),
        ("yyyy-MM-dd HH:mm:ss", "2026-3-1 1:2:3", Some(1772294523000)),
        (
            "yyyy-MM-dd HH:mm:ss",
            "2026- 3- 1  1: 2: 3",
            Some(1772294523000),
        ),
        (
            "yyyy-MM-dd HH:mm:ss",
            " 2026-03-01 10:00:03",
            Some(1772326803000),
        ),
        ("yyyy-MM-dd HH:mm:ss", "12", None),
        ("yyyy-MM-dd HH:mm:ss", "", None),
        (
            "yyyy-MM-dd HH:mm:ss",
            "2026-03-01 10:00:03 tail",
            Some(1772326803000),
        ),
        ("yyyy-MM-dd HH:mm:ss", "x2026-03-01 10:00:03", None),
        (
            "yyyy-MM-dd HH:mm:ss",
            "20260-03-01 10:00:03",
            Some(577181811603000),
        ),
        ("yyyy-MM-dd", "2026-03-01T10:00", Some(1772290800000)),
        ("yyyy-MM-dd", "2026-02-30", Some(1772377200000)),
        ("yyyy-MM-dd", "12", None),
        ("yyyy-MM-dd", " 12 ", None),
        ("yyyy-MM-dd", "2026-03", None),
        ("yyyyMMdd", "20260301", Some(1772290800000)),
        ("yyyyMMdd", "2026031", Some(1772290800000)),
        ("yyyyMMdd", "202603", None),
        ("yyyyMMdd", "20260301123", Some(1869231600000)),
        ("yyyyMMdd", "2026 3 1", Some(1772290800000)),
        ("yyyyMMddHHmmss", "20260301100003", Some(1772326803000)),
        ("yy-MM-dd", "26-03-01", Some(1772290800000)),
        ("yy-MM-dd", "70-03-01", Some(5065200000)),
        ("y-M-d", "26-3-1", Some(1772290800000)),
        ("y-M-d", "2026-3-1", Some(1772290800000)),
        (
            "yyyy-MM-dd'T'HH:mm:ssX",
            "2026-03-01T10:00:03Z",
            Some(1772359203000),
        ),
        (
            "yyyy-MM-dd'T'HH:mm:ssX",
            "2026-03-01T10:00:03+02",
            Some(1772352003000),
        ),
        (
            "yyyy-MM-dd'T'HH:mm:ssX",
            "2026-03-01T10:00:03-0230",
            Some(1772366403000),
        ),
        (
            "yyyy-MM-dd'T'HH:mm:ssX",
            "2026-03-01T10:00:03+02:00",
            Some(1772352003000),
        ),
        ("yyyy-MM-dd'T'HH:mm:ssX", "2026-03-01T10:00:03", None),
        (
            "yyyy-MM-dd'T'HH:mm:ssXX",
            "2026-03-01T10:00:03-0230",
            Some(1772368203000),
        ),
        (
            "yyyy-MM-dd'T'HH:mm:ssXXX",
            "2026-03-01T10:00:03-02:30",
            Some(1772368203000),
        ),
        (
            "yyyy-MM-dd'T'HH:mm:ssXXX",
            "2026-03-01T10:00:03Z",
            Some(1772359203000),
        ),
        ("yyyy-MM-dd'T'HH:mm:ssXXX", "2026-03-01T10:00:03+02", None),
        ("yyyy-MM-dd'T'HH:mm:ssXX", "2026-03-01T10:00:03+02", None),
        (
            "yyyy-MM-dd hh:mm a",
            "2026-03-01 12:00 AM",
            Some(1772290800000),
        ),
        (
            "yyyy-MM-dd hh:mm a",
            "2026-03-01 12:00 PM",
            Some(1772334000000),
        ),
        (
            "yyyy-MM-dd hh:mm a",
            "2026-03-01 01:30 pm",
            Some(1772339400000),
        ),
        (
            "yyyy-MM-dd hh:mm a",
            "2026-03-01 13:30 PM",
            Some(1772382600000),
        ),
        ("yyyy-MM-dd hh:mm a", "2026-03-01 01:30", None),
        ("HH:mm:ss.SSS", "10:00:03.5", Some(3603005)),
        ("HH:mm:ss.SSS", "10:00:03.123456", Some(3726456)),
        ("HH:mm:ss.SSS", "10:00:03.007", Some(3603007)),
    ];
}
