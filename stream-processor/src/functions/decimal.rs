//! Arithmetic on decimals as unscaled 128-bit integers, with Flink's HALF_UP rounding and NULL on overflow.

use arrow::datatypes::i256;

/// `value` of scale `from` as a `DECIMAL(precision, scale)`.
pub(crate) fn rescale(value: i128, from: i8, precision: u8, scale: i8) -> Option<i128> {
    let scaled = if scale >= from {
        value.checked_mul(power(u32::from((scale - from).unsigned_abs()))?)?
    } else {
        divide_half_up(value, power(u32::from((from - scale).unsigned_abs()))?)
    };
    fits(scaled, precision)
}

/// `value` of scale `from` at the scale `to`, which is not greater, without the digits behind it.
pub(crate) fn truncate(value: i128, from: i8, to: i8) -> Option<i128> {
    let by = u32::try_from(i16::from(from) - i16::from(to)).ok()?;
    // A power that does not fit is greater than every value.
    Some(power(by).map_or(0, |unit| value / unit))
}

/// `value` if it has no more than `precision` digits.
pub(crate) fn fits(value: i128, precision: u8) -> Option<i128> {
    let limit = power(u32::from(precision))?;
    (value > -limit && value < limit).then_some(value)
}

fn power(exponent: u32) -> Option<i128> {
    10_i128.checked_pow(exponent)
}

fn divide_half_up(value: i128, by: i128) -> i128 {
    let (quotient, rest) = (value / by, value % by);
    if rest.unsigned_abs() * 2 >= by.unsigned_abs() {
        quotient + if (value < 0) == (by < 0) { 1 } else { -1 }
    } else {
        quotient
    }
}

/// What a text says, rounded to `scale`; `None` if it is no number or does not fit.
pub(crate) fn parse(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.as_bytes().first()? {
        b'-' => (true, &mantissa[1..]),
        b'+' => (false, &mantissa[1..]),
        _ => (false, mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let keep = point.checked_add(i32::from(scale))?;
    let mut value: i128 = 0;
    let mut seen = 0;
    let mut round_up = false;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if !byte.is_ascii_digit() {
            return None;
        }
        if seen < keep {
            value = value
                .checked_mul(10)?
                .checked_add(i128::from(byte - b'0'))?;
        } else if seen == keep {
            round_up = byte >= b'5';
        }
        seen += 1;
    }
    if value != 0 {
        value = value.checked_mul(power((keep - seen).max(0).unsigned_abs())?)?;
    }
    value += i128::from(round_up);
    fits(if negative { -value } else { value }, precision)
}

/// A double by its shortest text, as `BigDecimal.valueOf`.
pub(crate) fn from_double(value: f64, precision: u8, scale: i8) -> Option<i128> {
    if !value.is_finite() {
        return None;
    }
    parse(ryu::Buffer::new().format_finite(value), precision, scale)
}

/// The nearest double.
pub(crate) fn to_double(value: i128, scale: i8) -> f64 {
    if value.unsigned_abs() < 1 << 53 && (0..=22).contains(&scale) {
        return value as f64 / 10_f64.powi(i32::from(scale));
    }
    format(value, scale).parse().unwrap_or(f64::NAN)
}

/// The plain text with all digits of the scale.
pub(crate) fn format(value: i128, scale: i8) -> String {
    let scale = usize::from(scale.unsigned_abs());
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    }
}

/// `left + sign * right` at the result's scale.
pub(crate) fn add(
    (left, s1): (i128, i8),
    (right, s2): (i128, i8),
    negate: bool,
    (precision, scale): (u8, i8),
) -> Option<i128> {
    let common = s1.max(s2);
    let left = widen(left, common - s1)?;
    let right = widen(right, common - s2)?;
    let sum = if negate {
        left.checked_sub(right)?
    } else {
        left.checked_add(right)?
    };
    narrow(sum, common, precision, scale)
}

/// `left * right`.
pub(crate) fn multiply(
    (left, s1): (i128, i8),
    (right, s2): (i128, i8),
    (precision, scale): (u8, i8),
) -> Option<i128> {
    let product = i256::from_i128(left).checked_mul(i256::from_i128(right))?;
    narrow(product, s1 + s2, precision, scale)
}

/// `left / right`, rounded half up; the caller has refused zero.
pub(crate) fn divide(
    (left, s1): (i128, i8),
    (right, s2): (i128, i8),
    (precision, scale): (u8, i8),
) -> Option<i128> {
    let shift = i32::from(scale) - i32::from(s1) + i32::from(s2);
    let (mut above, mut below) = (i256::from_i128(left), i256::from_i128(right));
    let factor = i256::from_i128(10).checked_pow(shift.unsigned_abs())?;
    if shift >= 0 {
        above = above.checked_mul(factor)?;
    } else {
        below = below.checked_mul(factor)?;
    }
    let quotient = round_division(above, below)?.to_i128()?;
    fits(quotient, precision)
}

fn widen(value: i128, by: i8) -> Option<i256> {
    let factor = i256::from_i128(10).checked_pow(u32::from(by.unsigned_abs()))?;
    i256::from_i128(value).checked_mul(factor)
}

fn narrow(value: i256, from: i8, precision: u8, scale: i8) -> Option<i128> {
    let value = if from > scale {
        let by = i256::from_i128(10).checked_pow(u32::from((from - scale).unsigned_abs()))?;
        round_division(value, by)?
    } else {
        let by = i256::from_i128(10).checked_pow(u32::from((scale - from).unsigned_abs()))?;
        value.checked_mul(by)?
    };
    fits(value.to_i128()?, precision)
}

fn round_division(above: i256, below: i256) -> Option<i256> {
    let quotient = above.checked_div(below)?;
    let rest = above.checked_rem(below)?;
    let double = rest.wrapping_abs().checked_mul(i256::from_i128(2))?;
    if double >= below.wrapping_abs() {
        let one = i256::from_i128(if above.is_negative() == below.is_negative() {
            1
        } else {
            -1
        });
        quotient.checked_add(one)
    } else {
        Some(quotient)
    }
}

#[cfg(test)]
mod tests {
    //! Rounding and limits.

    use super::{divide, format, multiply, parse, rescale};

    #[test]
    fn rounding_is_half_up_and_overflow_is_null() {
        assert_eq!(parse("1.005", 10, 2), Some(101));
        assert_eq!(parse("-1.005", 10, 2), Some(-101));
        assert_eq!(parse("12e2", 10, 2), Some(120_000));
        assert_eq!(parse("999.995", 5, 2), None);
        assert_eq!(rescale(-125, 2, 10, 1), Some(-13));
        assert_eq!(divide((10, 1), (3, 0), (13, 12)), Some(333_333_333_333));
        assert_eq!(multiply((125, 2), (2, 0), (10, 2)), Some(250));
        assert_eq!(format(-5, 2), "-0.05");
    }
}
