//! Casts from varchar.

use std::sync::Arc;

use datafusion::arrow::array::{
    AsArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, StringArray,
    Time64MicrosecondArray,
};

use super::super::arith::{fits, rescaled};
use super::super::datetime::parse;
use super::{Step, invalid, times};
use crate::failure::Result;
use crate::types::Type;

macro_rules! parsed {
    ($array:ty, $to:expr, $parse:expr) => {{
        let to = $to.clone();
        let parse = $parse;
        Step::Run(Arc::new(move |array| {
            let texts: &StringArray = array.as_string();
            let rows = texts.iter().map(|text| {
                text.map(|text| parse(text).ok_or_else(|| cannot(text, &to)))
                    .transpose()
            });
            Ok(Arc::new(rows.collect::<Result<$array>>()?))
        }))
    }};
}

fn cannot(text: &str, to: &Type) -> crate::failure::Failure {
    invalid(match to {
        Type::Date => format!("Value cannot be cast to date: {text}"),
        Type::Time(_) => format!("Value cannot be cast to time: {text}"),
        Type::Integer => format!("Cannot cast '{text}' to INT"),
        Type::Uuid => format!("Cannot cast value to UUID: {text}"),
        Type::Decimal(precision, scale) => {
            format!(
                "Cannot cast VARCHAR '{text}' to DECIMAL({precision}, {scale}). Value is not a number."
            )
        }
        other => format!(
            "Cannot cast '{text}' to {}",
            other.to_string().to_uppercase()
        ),
    })
}

pub(super) fn step(to: &Type, zone: &Arc<str>) -> Option<Step> {
    Some(match to {
        Type::Boolean => parsed!(BooleanArray, to, truth),
        Type::Tinyint => parsed!(Int8Array, to, |text: &str| text.parse().ok()),
        Type::Smallint => parsed!(Int16Array, to, |text: &str| text.parse().ok()),
        Type::Integer => parsed!(Int32Array, to, |text: &str| text.parse().ok()),
        Type::Bigint => parsed!(Int64Array, to, |text: &str| text.parse().ok()),
        Type::Real => parsed!(Float32Array, to, float::<f32>),
        Type::Double => parsed!(Float64Array, to, float::<f64>),
        Type::Date => parsed!(Date32Array, to, parse::date),
        Type::Time(precision) => {
            let precision = *precision;
            parsed!(Time64MicrosecondArray, to, move |text: &str| {
                parse::time(text).map(|(micros, _)| {
                    times::rounded(micros, 6, precision).rem_euclid(86_400_000_000)
                })
            })
        }
        Type::Decimal(precision, scale) => decimal(*precision, *scale),
        Type::Timestamp(precision) => times::from_text(*precision, None),
        Type::TimestampTz(precision, _) => times::from_text(*precision, Some(zone)),
        Type::Uuid => {
            let to = to.clone();
            Step::Run(Arc::new(move |array| {
                let texts: &StringArray = array.as_string();
                let rows = texts.iter().map(|text| {
                    text.map(|text| {
                        uuid::Uuid::parse_str(text)
                            .map(|id| id.into_bytes())
                            .map_err(|_| cannot(text, &to))
                    })
                    .transpose()
                });
                let rows = rows.collect::<Result<Vec<_>>>()?;
                Ok(Arc::new(
                    FixedSizeBinaryArray::try_from_sparse_iter_with_size(rows.into_iter(), 16)?,
                ))
            }))
        }
        _ => return None,
    })
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" => Some(true),
        "false" | "f" | "0" => Some(false),
        _ => None,
    }
}

/// Java's spelling: `Infinity` and `NaN` exactly, blanks around digits allowed.
fn float<F: std::str::FromStr>(text: &str) -> Option<F> {
    let text = text.trim();
    let letters = text.trim_start_matches(['+', '-']);
    let named = matches!(letters, "Infinity" | "NaN");
    if !named && !letters.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    text.parse().ok()
}

fn decimal(precision: u8, scale: i8) -> Step {
    let to = Type::Decimal(precision, scale);
    Step::Run(Arc::new(move |array| {
        let texts: &StringArray = array.as_string();
        let rows = texts.iter().map(|text| {
            text.map(|text| {
                let made = decimal_text(text, scale).ok_or_else(|| cannot(text, &to))?;
                if fits(made, precision) {
                    Ok(made)
                } else {
                    Err(invalid(format!("Cannot cast VARCHAR '{text}' to DECIMAL({precision}, {scale}). Value too large.")))
                }
            })
            .transpose()
        });
        let made: Decimal128Array = rows.collect::<Result<_>>()?;
        Ok(Arc::new(made.with_data_type(to.arrow())))
    }))
}

/// Digits with an optional point and exponent, rounded half up to `scale`.
fn decimal_text(text: &str, scale: i8) -> Option<i128> {
    let text = text.trim();
    let (number, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i16>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let from = i16::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    let magnitude: i128 = all
        .trim_start_matches('0')
        .get(..38.min(all.trim_start_matches('0').len()))
        .map_or(Some(0), |kept| {
            if kept.is_empty() {
                Some(0)
            } else {
                kept.parse().ok()
            }
        })?;
    let dropped = i16::try_from(all.trim_start_matches('0').len().saturating_sub(38)).ok()?;
    let from = i8::try_from((from - dropped).clamp(-38, 76)).ok()?;
    let made = if from > 38 + scale {
        0
    } else {
        rescaled(magnitude, from, scale)?
    };
    Some(if negative { -made } else { made })
}
