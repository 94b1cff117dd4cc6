//! Values to text and back, as Java and Flink write and read them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int64Type};
use chrono_tz::Tz;
use datafusion_common::Result as DfResult;

use super::{decimal, failed, time};
use crate::formats::text::whole_digits;
use crate::table::TypeRoot;

/// `BOOLEAN` of a text.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// A whole number; a fraction is cut off.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|byte| byte.is_ascii_digit()) => whole,
        Some(_) => return None,
        None => text,
    };
    whole.parse().ok()
}

/// A decimal as Flink reads it. Of up to eighteen digits it reads itself, byte by byte, and overlooks one that is none.
pub(crate) fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    if precision > 18 || text.len() > 18 {
        return decimal::parse(text.trim(), precision, scale);
    }
    let bytes = text.trim_start_matches([' ', '\n', '\t']).as_bytes();
    let negative = *bytes.first()? == b'-';
    let mut rest = match bytes[0] {
        b'-' | b'+' if bytes.len() == 1 => return None,
        b'-' | b'+' => bytes[1..].iter().copied(),
        _ => bytes.iter().copied(),
    };
    let (mut digits, mut n_digits, mut point, mut last) = (0_i128, 0_i32, None, 0);
    for byte in rest.by_ref() {
        last = byte;
        match byte {
            b'0'..=b'9' => {
                digits = digits * 10 + i128::from(byte - b'0');
                n_digits += 1;
            }
            b'.' if point.is_some() => return None,
            b'.' => point = Some(n_digits),
            _ => break,
        }
    }
    let mut exponent = 0_i32;
    if matches!(last, b'e' | b'E') && rest.len() > 0 {
        let sign = rest.clone().next().unwrap_or(0);
        if matches!(sign, b'-' | b'+') {
            rest.next();
            if rest.len() == 0 {
                return None;
            }
        }
        for byte in rest.by_ref() {
            if !byte.is_ascii_digit() {
                break;
            }
            // Greater ones do not fit anyway.
            if exponent < 40 {
                exponent = exponent * 10 + i32::from(byte - b'0');
            }
        }
        if sign == b'-' {
            exponent = -exponent;
        }
    }
    if !rest.all(|byte| matches!(byte, b' ' | b'\n' | b'\t')) {
        return None;
    }
    let shift = exponent - (n_digits - point.unwrap_or(n_digits)) + i32::from(scale);
    if n_digits + shift > i32::from(precision) || shift < -18 {
        return None;
    }
    let unit = 10_i128.checked_pow(shift.unsigned_abs())?;
    let value = if shift >= 0 {
        digits.checked_mul(unit)?
    } else {
        (digits + unit / 2) / unit
    };
    decimal::fits(if negative { -value } else { value }, precision)
}

/// A double as Java reads it.
pub(crate) fn double(text: &str) -> Option<f64> {
    let text = text.trim();
    let number = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    match text {
        "NaN" | "+NaN" | "-NaN" => Some(f64::NAN),
        "Infinity" | "+Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ if number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) =>
        {
            number.parse().ok()
        }
        _ => None,
    }
}

/// `Double.toString`.
pub(crate) fn java_double(value: f64) -> String {
    if !value.is_finite() {
        return special(value);
    }
    let mut shortest = ryu::Buffer::new();
    let digits = whole_digits(value, f64::MANTISSA_DIGITS);
    java_number(
        value == 0.0,
        value.is_sign_negative(),
        value.abs(),
        digits
            .as_deref()
            .unwrap_or_else(|| shortest.format_finite(value.abs())),
    )
}

/// `Float.toString`.
pub(crate) fn java_float(value: f32) -> String {
    if !value.is_finite() {
        return special(f64::from(value));
    }
    let text = whole_digits(value.into(), f32::MANTISSA_DIGITS)
        .unwrap_or_else(|| ryu::Buffer::new().format_finite(value.abs()).to_owned());
    java_number(
        value == 0.0,
        value.is_sign_negative(),
        f64::from(value.abs()),
        &text,
    )
}

fn special(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
}

/// Plain from 10⁻³ to 10⁷, otherwise with an exponent; always one digit after the point.
fn java_number(zero: bool, negative: bool, magnitude: f64, shortest: &str) -> String {
    let sign = if negative { "-" } else { "" };
    if zero {
        return format!("{sign}0.0");
    }
    if shortest == "5e-324" {
        // Java wants two digits, of which this number has only one.
        return format!("{sign}4.9E-324");
    }
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let leading = all.len() - all.trim_start_matches('0').len();
    let digits = all.trim_matches('0');
    // The value is 0.digits * 10^point.
    let point = whole.len() as i32 + exponent - leading as i32;
    if (1e-3..1e7).contains(&magnitude) {
        let (whole, fraction) = if point <= 0 {
            (
                "0".to_owned(),
                format!("{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
            )
        } else if digits.len() as i32 <= point {
            let zeros = "0".repeat(point as usize - digits.len());
            (format!("{digits}{zeros}"), "0".to_owned())
        } else {
            let (whole, fraction) = digits.split_at(point as usize);
            (whole.to_owned(), fraction.to_owned())
        };
        return format!("{sign}{whole}.{fraction}");
    }
    let (first, rest) = digits.split_at(1);
    let rest = if rest.is_empty() { "0" } else { rest };
    format!("{sign}{first}.{rest}E{}", point - 1)
}

/// Each value as `CAST(… AS STRING)` writes it.
pub(crate) fn texts_of(array: &ArrayRef, root: &TypeRoot, zone: Tz) -> DfResult<ArrayRef> {
    let n_rows = array.len();
    let mut builder = StringBuilder::with_capacity(n_rows, n_rows * 12);
    let mut each = |text: &dyn Fn(usize) -> String| {
        for row in 0..n_rows {
            if array.is_null(row) {
                builder.append_null();
            } else {
                builder.append_value(text(row));
            }
        }
    };
    match root {
        TypeRoot::Boolean => {
            let values = array.as_boolean();
            each(&|row| if values.value(row) { "TRUE" } else { "FALSE" }.to_owned());
        }
        TypeRoot::TinyInt | TypeRoot::SmallInt | TypeRoot::Int | TypeRoot::BigInt => {
            let values = cast(array, &DataType::Int64)?;
            let values = values.as_primitive::<Int64Type>();
            each(&|row| values.value(row).to_string());
        }
        TypeRoot::Float => {
            let values = array.as_primitive::<Float32Type>();
            each(&|row| java_float(values.value(row)));
        }
        TypeRoot::Double => {
            let values = array.as_primitive::<Float64Type>();
            each(&|row| java_double(values.value(row)));
        }
        TypeRoot::Decimal(_, scale) => {
            let values = array.as_primitive::<Decimal128Type>();
            each(&|row| decimal::format(values.value(row), *scale));
        }
        TypeRoot::Date => {
            let values = super::cast::days(array);
            each(&|row| time::date_text(values.value(row)));
        }
        TypeRoot::Time(_) => {
            let millis = cast(&cast(array, &DataType::Int32)?, &DataType::Int64)?;
            let millis = millis.as_primitive::<Int64Type>();
            each(&|row| time::time_text(millis.value(row)));
        }
        TypeRoot::Timestamp(precision) | TypeRoot::TimestampLtz(precision) => {
            let local = matches!(root, TypeRoot::TimestampLtz(_));
            let moments = time::moments(array)?;
            each(&|row| {
                let mut value = moments[row].unwrap_or(time::Moment::of_millis(0));
                if local {
                    value = value.local_in(zone);
                }
                time::timestamp_text(value, *precision)
            });
        }
        _ => return Err(failed(format!("no text for {root}"))),
    }
    Ok(Arc::new(builder.finish()))
}

/// Cuts to VARCHAR(n), pads to CHAR(n).
pub(crate) fn fit(array: &ArrayRef, to: &TypeRoot) -> DfResult<ArrayRef> {
    let (length, pad) = match to {
        TypeRoot::Char(length) => (*length as usize, true),
        TypeRoot::Varchar(length) => (*length as usize, false),
        _ => return Ok(array.clone()),
    };
    if !pad && length >= i32::MAX as usize {
        return Ok(array.clone());
    }
    let fitted: StringArray = array
        .as_string::<i32>()
        .iter()
        .map(|text| {
            text.map(|text| {
                let mut fitted: String = text.chars().take(length).collect();
                if pad {
                    let missing = length - fitted.chars().count();
                    fitted.extend(std::iter::repeat_n(' ', missing));
                }
                fitted
            })
        })
        .collect();
    Ok(Arc::new(fitted))
}

#[cfg(test)]
mod tests {
    //! Java's way with numbers.

    use super::{decimal, double, integer, java_double};

    #[test]
    fn decimals_of_few_digits_overlook_a_byte() {
        for (text, value) in [
            ("12.5", Some(1250)),
            ("f", Some(0)),
            ("12x ", Some(1200)),
            ("12xy", None),
            (" -1.005", Some(-101)),
            ("1e2", Some(10_000)),
            ("1e", Some(100)),
            ("1e+", None),
            ("1.2.3", None),
            ("", None),
            ("+", None),
            ("1234567", None),
        ] {
            assert_eq!(decimal(text, 8, 2), value, "{text}");
        }
        assert_eq!(decimal("f", 20, 2), None);
    }

    #[test]
    fn doubles_print_as_in_java() {
        for (value, text) in [
            (1e10, "1.0E10"),
            (1e7, "1.0E7"),
            (9_999_999.0, "9999999.0"),
            (0.001, "0.001"),
            (0.000_12, "1.2E-4"),
            (4.9e-324, "4.9E-324"),
            (-0.0, "-0.0"),
            (123.456, "123.456"),
            (100.0, "100.0"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(java_double(value), text);
        }
    }

    #[test]
    fn numbers_are_read_as_in_flink() {
        assert_eq!(integer(" 1.9 "), Some(1));
        assert_eq!(integer("1e3"), None);
        assert_eq!(double(" 4.5 "), Some(4.5));
        assert_eq!(double("inf"), None);
    }
}
