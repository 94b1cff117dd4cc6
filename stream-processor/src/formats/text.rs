//! Dates, times, decimals and floats as text, the way Java prints and reads them.

use arrow::datatypes::TimeUnit;

/// Microseconds, milliseconds or nanoseconds in a second.
pub(crate) fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Days since 1970 of a date of the Gregorian calendar.
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a day since 1970.
pub(crate) fn civil(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted - era * 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_shifted + 2) / 5 + 1) as u32;
    let month = if month_shifted < 10 {
        month_shifted + 3
    } else {
        month_shifted - 9
    } as u32;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// `yyyy-MM-dd`, days since 1970.
pub(crate) fn parse_date(text: &[u8]) -> Option<i32> {
    if text.len() != 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let (year, month, day) = (
        digits(&text[..4])?,
        digits(&text[5..7])?,
        digits(&text[8..])?,
    );
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if !(1..=longest).contains(&day) {
        return None;
    }
    i32::try_from(days(year, month, day)).ok()
}

/// `HH:mm:ss[.fraction]` in units of a second; with `seconds_optional` also `HH:mm`.
pub(crate) fn parse_time(text: &[u8], unit: TimeUnit, seconds_optional: bool) -> Option<i64> {
    if text.len() < 5 || text[2] != b':' {
        return None;
    }
    let (hour, minute) = (digits(&text[..2])?, digits(&text[3..5])?);
    let mut second = 0;
    let mut fraction = 0;
    if text.len() == 5 {
        if !seconds_optional {
            return None;
        }
    } else {
        if text.len() < 8 || text[5] != b':' {
            return None;
        }
        second = digits(&text[6..8])?;
        fraction = parse_fraction(&text[8..], unit)?;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(((hour * 60 + minute) * 60 + second) * per_second(unit) + fraction)
}

fn parse_fraction(text: &[u8], unit: TimeUnit) -> Option<i64> {
    let Some((point, digits)) = text.split_first() else {
        return Some(0);
    };
    if *point != b'.' || digits.len() > 9 {
        return None;
    }
    let mut nanos = 0i64;
    for place in 0..9 {
        let digit = match digits.get(place) {
            Some(digit) if digit.is_ascii_digit() => i64::from(digit - b'0'),
            Some(_) => return None,
            None => 0,
        };
        nanos = nanos * 10 + digit;
    }
    Some(nanos / (1_000_000_000 / per_second(unit)))
}

/// A date and a time with `separator` between them, in units since 1970.
pub(crate) fn parse_timestamp(
    text: &[u8],
    separator: u8,
    unit: TimeUnit,
    seconds_optional: bool,
) -> Option<i64> {
    if text.len() < 16 || text[10] != separator {
        return None;
    }
    let days = i64::from(parse_date(&text[..10])?);
    let time = parse_time(&text[11..], unit, seconds_optional)?;
    days.checked_mul(86_400 * per_second(unit))?
        .checked_add(time)
}

fn digits(text: &[u8]) -> Option<i64> {
    let mut value = 0;
    for byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(byte - b'0');
    }
    Some(value)
}

/// `yyyy-MM-dd`.
pub(crate) fn write_date(days: i64, output: &mut Vec<u8>) {
    let (year, month, day) = civil(days);
    // As Java's formatters do.
    if year > 9999 {
        output.push(b'+');
    }
    output.extend_from_slice(format!("{year:04}-{month:02}-{day:02}").as_bytes());
}

/// `HH:mm:ss` and the fraction without trailing zeros.
pub(crate) fn write_time(in_day: i64, unit: TimeUnit, output: &mut Vec<u8>) {
    let per_second = per_second(unit);
    let (seconds, fraction) = (in_day / per_second, in_day % per_second);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    output.extend_from_slice(format!("{hour:02}:{minute:02}:{second:02}").as_bytes());
    if fraction != 0 {
        let width = per_second.ilog10() as usize;
        let digits = format!(".{fraction:0width$}");
        output.extend_from_slice(digits.trim_end_matches('0').as_bytes());
    }
}

/// A date, `separator` and a time.
pub(crate) fn write_timestamp(value: i64, unit: TimeUnit, separator: u8, output: &mut Vec<u8>) {
    let per_day = 86_400 * per_second(unit);
    write_date(value.div_euclid(per_day), output);
    output.push(separator);
    write_time(value.rem_euclid(per_day), unit, output);
}

/// What `Double.toString` gives.
pub(crate) fn write_double(value: f64, output: &mut Vec<u8>) {
    let digits = whole_digits(value, f64::MANTISSA_DIGITS);
    let digits = digits.unwrap_or_else(|| format!("{:e}", value.abs()));
    java_float(value, &digits, output);
}

/// What `Float.toString` gives.
pub(crate) fn write_float(value: f32, output: &mut Vec<u8>) {
    let digits = whole_digits(value.into(), f32::MANTISSA_DIGITS);
    let digits = digits.unwrap_or_else(|| format!("{:e}", value.abs()));
    java_float(f64::from(value), &digits, output);
}

/// The digits of a whole number as Java 17 prints it, which is not always the shortest text: all that the number has but
/// those beyond its precision in bits. As `d.ddde±x`, without a sign; `None` for other numbers.
pub(crate) fn whole_digits(value: f64, precision: u32) -> Option<String> {
    let value = value.abs();
    if value.fract() != 0.0 || !(1.0..9_223_372_036_854_775_808.0).contains(&value) {
        return None;
    }
    let whole = value as u64;
    let beyond = whole.ilog2().saturating_sub(precision + 1);
    // As many as a number of so many bits has.
    let dropped = if whole.ilog2() > precision && beyond > 1 {
        (f64::from(beyond) * std::f64::consts::LOG10_2) as u32
    } else {
        0
    };
    let unit = 10_u64.pow(dropped);
    let rounded = whole / unit + u64::from(dropped > 0 && whole % unit >= unit / 2);
    let digits = rounded.to_string();
    let exponent = digits.len() as u32 - 1 + dropped;
    let digits = digits.trim_end_matches('0');
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    Some(format!("{first}{point}{rest}e{exponent}"))
}

/// `shortest` is the value as `d.ddde±x`.
fn java_float(value: f64, shortest: &str, output: &mut Vec<u8>) {
    if value.is_nan() {
        return output.extend_from_slice(b"NaN");
    }
    if value.is_infinite() {
        let text: &[u8] = if value > 0.0 {
            b"Infinity"
        } else {
            b"-Infinity"
        };
        return output.extend_from_slice(text);
    }
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value.is_sign_negative() {
        output.push(b'-');
    }
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let text = if (-3..7).contains(&exponent) && value != 0.0 {
        point_at(&digits, exponent + 1)
    } else if value == 0.0 {
        "0.0".to_owned()
    } else {
        let rest = if digits.len() > 1 { &digits[1..] } else { "0" };
        format!("{}.{rest}E{exponent}", &digits[..1])
    };
    output.extend_from_slice(text.as_bytes());
}

fn point_at(digits: &str, place: i32) -> String {
    if place <= 0 {
        let zeros = "0".repeat(place.unsigned_abs() as usize);
        return format!("0.{zeros}{digits}");
    }
    let place = place as usize;
    if digits.len() <= place {
        return format!("{digits}{}.0", "0".repeat(place - digits.len()));
    }
    format!("{}.{}", &digits[..place], &digits[place..])
}

/// What `BigDecimal.toString` gives after `stripTrailingZeros`, or `toPlainString` of the value as it is.
pub(crate) fn write_decimal(value: i128, scale: i8, plain: bool, output: &mut Vec<u8>) {
    let (mut value, mut scale) = (value, i32::from(scale));
    if !plain {
        if value == 0 {
            scale = 0;
        }
        while value != 0 && value % 10 == 0 {
            value /= 10;
            scale -= 1;
        }
    }
    let digits = value.unsigned_abs().to_string();
    write_unscaled(value < 0, &digits, i64::from(scale), plain, output);
}

/// What `BigDecimal.toString`, or `toPlainString`, gives for `digits` of which `scale` stand behind the point.
pub(crate) fn write_unscaled(
    negative: bool,
    digits: &str,
    scale: i64,
    plain: bool,
    output: &mut Vec<u8>,
) {
    if negative {
        output.push(b'-');
    }
    let adjusted = digits.len() as i64 - 1 - scale;
    let text = if scale == 0 {
        digits.to_owned()
    } else if scale > 0 && (plain || adjusted >= -6) {
        let point = digits.len() as i64 - scale;
        if point <= 0 {
            format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize))
        } else {
            format!(
                "{}.{}",
                &digits[..point as usize],
                &digits[point as usize..]
            )
        }
    } else if plain {
        format!("{digits}{}", "0".repeat(scale.unsigned_abs() as usize))
    } else {
        let sign = if adjusted < 0 { '-' } else { '+' };
        let fraction = if digits.len() > 1 {
            format!(".{}", &digits[1..])
        } else {
            String::new()
        };
        format!(
            "{}{fraction}E{sign}{}",
            &digits[..1],
            adjusted.unsigned_abs()
        )
    };
    output.extend_from_slice(text.as_bytes());
}

/// A decimal of this precision and scale, rounded half up; `None` if the text is no number or too large.
pub(crate) fn parse_decimal(text: &[u8], precision: u8, scale: i8) -> Option<i128> {
    let (negative, rest) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    let exponent_at = rest.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (mantissa, exponent) = match exponent_at {
        Some(at) => {
            let text = std::str::from_utf8(&rest[at + 1..]).ok()?;
            (&rest[..at], text.parse::<i32>().ok()?)
        }
        None => (rest, 0),
    };
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &mantissa[..0]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // How many digits, counted from the first of `whole`, stay before rounding.
    let keep = i64::try_from(whole.len()).ok()? + i64::from(exponent) + i64::from(scale);
    let mut value: i128 = 0;
    let limit = 10i128.checked_pow(u32::from(precision))?;
    let all = whole.iter().chain(fraction);
    let n_digits = (whole.len() + fraction.len()) as i64;
    let mut round_up = false;
    for (place, byte) in all.enumerate() {
        if !byte.is_ascii_digit() {
            return None;
        }
        let place = place as i64;
        if place < keep {
            value = value
                .checked_mul(10)?
                .checked_add(i128::from(byte - b'0'))?;
            if value >= limit {
                return None;
            }
        } else if place == keep {
            round_up = *byte >= b'5';
        }
    }
    let mut missing = keep - n_digits;
    while missing > 0 && value != 0 {
        value = value.checked_mul(10)?;
        if value >= limit {
            return None;
        }
        missing -= 1;
    }
    value += i128::from(round_up);
    (value < limit).then_some(if negative { -value } else { value })
}

/// What `Double.parseDouble` gives for the trimmed text.
pub(crate) fn parse_double(text: &str) -> Option<f64> {
    let text = text.trim();
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    match bare {
        "NaN" => return Some(f64::NAN),
        "Infinity" if text.starts_with('-') => return Some(f64::NEG_INFINITY),
        "Infinity" => return Some(f64::INFINITY),
        _ => {}
    }
    let number = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let plain = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    if plain { number.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    fn shown(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut text = Vec::new();
        write(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn floats_are_printed_as_java_does() {
        let double = |value| shown(|output| super::write_double(value, output));
        assert_eq!(double(1e7), "1.0E7");
        assert_eq!(double(1_234_567.0), "1234567.0");
        assert_eq!(double(0.001), "0.001");
        assert_eq!(double(1.25e-5), "1.25E-5");
        assert_eq!(double(-0.0), "-0.0");
        assert_eq!(double(100.5), "100.5");
        assert_eq!(shown(|output| super::write_float(0.1, output)), "0.1");
        let float = |value| shown(|output| super::write_float(value, output));
        assert_eq!(float(123_456_790.0), "1.23456792E8");
        assert_eq!(float(-1e10), "-1.0E10");
        assert_eq!(float(16_777_216.0), "1.6777216E7");
        let double = |value| shown(|output| super::write_double(value, output));
        assert_eq!(double((1_u64 << 60) as f64), "1.15292150460684698E18");
        assert_eq!(double(9_007_199_254_740_994.0), "9.007199254740994E15");
    }

    #[test]
    fn decimals_are_printed_as_java_does() {
        let decimal =
            |value, scale| shown(|output| super::write_decimal(value, scale, false, output));
        assert_eq!(decimal(1050, 2), "10.5");
        assert_eq!(decimal(10_000, 2), "1E+2");
        assert_eq!(decimal(1, 8), "1E-8");
        assert_eq!(decimal(-7, 1), "-0.7");
        assert_eq!(decimal(0, 2), "0");
        assert_eq!(
            shown(|output| super::write_decimal(1050, 2, true, output)),
            "10.50"
        );
    }

    #[test]
    fn decimals_are_read_half_up_within_their_precision() {
        let read = |text: &str| super::parse_decimal(text.as_bytes(), 5, 2);
        assert_eq!(read("1.005"), Some(101));
        assert_eq!(read("-1.004"), Some(-100));
        assert_eq!(read("999.994"), Some(99_999));
        assert_eq!(read("999.995"), None);
        assert_eq!(read("1e2"), Some(10_000));
        assert_eq!(read("12e-3"), Some(1));
        assert_eq!(read("5e-3"), Some(1));
        assert_eq!(read("0.0001e30"), None);
        assert_eq!(read("x"), None);
        assert_eq!(read("."), None);
    }

    #[test]
    fn timestamps_are_read_and_printed() {
        let milli = TimeUnit::Millisecond;
        let read = super::parse_timestamp(b"2020-12-30 12:13:14.123", b' ', milli, false);
        assert_eq!(read, Some(1_609_330_394_123));
        let text = shown(|output| super::write_timestamp(1_609_330_394_120, milli, b' ', output));
        assert_eq!(text, "2020-12-30 12:13:14.12");
        assert_eq!(super::parse_date(b"2021-02-29"), None);
        assert_eq!(super::parse_date(b"1969-12-31"), Some(-1));
        assert_eq!(super::civil(-1), (1969, 12, 31));
        for day in -800_000..800_000i64 {
            let (year, month, date) = super::civil(day);
            assert_eq!(super::days(year, i64::from(month), i64::from(date)), day);
        }
    }
}
