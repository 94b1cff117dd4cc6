//! Casts between booleans, integers, decimals and floats.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, Decimal128Array, PrimitiveArray};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type,
};

use super::super::arith::{div_half_up, fits, power_of_ten, rescaled};
use super::super::datetime::text;
use super::{Convert, Step, invalid};
use crate::failure::{Code, Failure, Result};
use crate::types::Type;

pub(super) fn step(from: &Type, to: &Type) -> Option<Step> {
    match (from, to) {
        (Type::Boolean, to) if to.is_integer() || to.is_float() => Some(Step::Arrow),
        (Type::Boolean, Type::Decimal(precision, scale)) => {
            decimal_from_i64(Type::Integer, *precision, *scale, true)
        }
        (from, Type::Boolean) if from.is_numeric() => Some(Step::Run(truth(from.clone()))),
        (from, to) if from.is_integer() && to.is_integer() => Some(integers(from, to)),
        (from, Type::Real | Type::Double) if from.is_numeric() => Some(Step::Arrow),
        (Type::Real | Type::Double, to) if to.is_integer() => {
            Some(Step::Run(float_to_integer(to.clone())))
        }
        (Type::Real | Type::Double, Type::Decimal(precision, scale)) => Some(Step::Run(
            float_to_decimal(from.clone(), *precision, *scale),
        )),
        (from, Type::Decimal(precision, scale)) if from.is_integer() => {
            decimal_from_i64(from.clone(), *precision, *scale, false)
        }
        (Type::Decimal(p, s), Type::Decimal(precision, scale)) => {
            Some(decimals((*p, *s), (*precision, *scale)))
        }
        (Type::Decimal(_, scale), to) if to.is_integer() => {
            Some(Step::Run(decimal_to_integer(*scale, to.clone())))
        }
        _ => None,
    }
}

/// Any integer array as bigints.
fn bigints(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(arrow::compute::cast(array, &Type::Bigint.arrow())?)
}

fn truth(from: Type) -> Convert {
    Arc::new(move |array| {
        let made: BooleanArray = match &from {
            Type::Real => array
                .as_primitive::<Float32Type>()
                .iter()
                .map(|value| value.map(|value| value != 0.0))
                .collect(),
            Type::Double => array
                .as_primitive::<Float64Type>()
                .iter()
                .map(|value| value.map(|value| value != 0.0))
                .collect(),
            Type::Decimal(..) => array
                .as_primitive::<Decimal128Type>()
                .iter()
                .map(|value| value.map(|value| value != 0))
                .collect(),
            _ => bigints(array)?
                .as_primitive::<Int64Type>()
                .iter()
                .map(|value| value.map(|value| value != 0))
                .collect(),
        };
        Ok(Arc::new(made))
    })
}

fn integers(from: &Type, to: &Type) -> Step {
    let digits = |ty: &Type| ty.as_decimal().map(|(precision, _)| precision);
    if digits(from) < digits(to) {
        return Step::Arrow;
    }
    let to = to.clone();
    Step::Run(Arc::new(move |array| {
        let wide = bigints(array)?;
        let values = wide
            .as_primitive::<Int64Type>()
            .iter()
            .map(|value| value.map(i128::from));
        narrowed(values, &to, &|value, to| {
            Failure::new(
                Code::NumericValueOutOfRange,
                format!("Out of range for {to}: {value}"),
            )
        })
    }))
}

/// Collects values into the integer type, or fails on the first that is too large.
fn narrowed(
    values: impl Iterator<Item = Option<i128>>,
    to: &Type,
    failed: &dyn Fn(i128, &Type) -> Failure,
) -> Result<ArrayRef> {
    fn all<T: ArrowPrimitiveType>(
        values: impl Iterator<Item = Option<i128>>,
        to: &Type,
        failed: &dyn Fn(i128, &Type) -> Failure,
    ) -> Result<ArrayRef>
    where
        T::Native: TryFrom<i128>,
    {
        let values = values.map(|value| {
            value
                .map(|value| T::Native::try_from(value).map_err(|_| failed(value, to)))
                .transpose()
        });
        Ok(Arc::new(values.collect::<Result<PrimitiveArray<T>>>()?))
    }
    match to {
        Type::Tinyint => all::<Int8Type>(values, to, failed),
        Type::Smallint => all::<Int16Type>(values, to, failed),
        Type::Integer => all::<Int32Type>(values, to, failed),
        _ => all::<Int64Type>(values, to, failed),
    }
}

fn float_to_integer(to: Type) -> Convert {
    Arc::new(move |array| {
        let doubles = arrow::compute::cast(array, &Type::Double.arrow())?;
        let values = doubles.as_primitive::<Float64Type>().iter().map(|value| {
            value
                .map(|value| {
                    if value.is_finite() && value.abs() < 1e30 {
                        Ok(round_i128(value))
                    } else {
                        Err(value)
                    }
                })
                .transpose()
        });
        let values = values
            .map(|value| {
                value.map_err(|value| {
                    invalid(format!("Unable to cast {} to {to}", text::double(value)))
                })
            })
            .collect::<Result<Vec<_>>>()?;
        narrowed(values.into_iter(), &to, &|value, to| {
            let code = if *to == Type::Bigint {
                Code::InvalidCastArgument
            } else {
                Code::NumericValueOutOfRange
            };
            Failure::new(code, format!("Out of range for {to}: {value}"))
        })
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the caller has checked the magnitude"
)]
fn round_i128(value: f64) -> i128 {
    value.round() as i128
}

fn float_to_decimal(from: Type, precision: u8, scale: i8) -> Convert {
    Arc::new(move |array| {
        let decimal = |shortest: String, shown: String| {
            shortest_decimal(&shortest, scale)
                .filter(|made| fits(*made, precision))
                .ok_or_else(|| {
                    invalid(format!(
                        "Cannot cast {} '{shown}' to DECIMAL({precision}, {scale})",
                        from.to_string().to_uppercase()
                    ))
                })
        };
        let made = match &from {
            Type::Real => {
                let values = array.as_primitive::<Float32Type>().iter();
                values
                    .map(|value| {
                        value
                            .map(|value| decimal(format!("{value:e}"), value.to_string()))
                            .transpose()
                    })
                    .collect::<Result<Decimal128Array>>()?
            }
            _ => {
                let values = array.as_primitive::<Float64Type>().iter();
                values
                    .map(|value| {
                        value
                            .map(|value| decimal(format!("{value:e}"), value.to_string()))
                            .transpose()
                    })
                    .collect::<Result<Decimal128Array>>()?
            }
        };
        Ok(Arc::new(
            made.with_data_type(Type::Decimal(precision, scale).arrow()),
        ))
    })
}

/// What the shortest spelling of a float says (`1.005e0`), in units of 10^-scale, half up; `None` is out of range.
fn shortest_decimal(spelling: &str, scale: i8) -> Option<i128> {
    // NaN and the infinities have no exponent.
    let (mantissa, exponent) = spelling.split_once('e')?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let exponent: i64 = exponent.parse().ok()?;
    let shift = exponent - i64::try_from(fraction.len()).ok()? + i64::from(scale);
    let power = 10_i128.checked_pow(u32::try_from(shift.unsigned_abs()).ok()?);
    match power {
        Some(power) if shift >= 0 => digits.checked_mul(power),
        Some(power) => Some(div_half_up(digits, power)),
        // At most seventeen digits, far behind the last that is kept.
        None if shift < 0 => Some(0),
        None => None,
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the caller has no further use for it"
)]
fn decimal_from_i64(from: Type, precision: u8, scale: i8, boolean: bool) -> Option<Step> {
    let whole = i16::from(precision) - i16::from(scale);
    let (digits, _) = from.as_decimal()?;
    if !boolean && i16::from(digits) <= whole {
        return Some(Step::Arrow);
    }
    let name = from.to_string().to_uppercase();
    Some(Step::Run(Arc::new(move |array| {
        let wide = bigints(array)?;
        let rows = wide.as_primitive::<Int64Type>().iter().map(|value| {
            value
                .map(|value| {
                    rescaled(i128::from(value), 0, scale)
                        .filter(|made| fits(*made, precision))
                        .ok_or_else(|| {
                            invalid(format!(
                                "Cannot cast {name} '{value}' to DECIMAL({precision}, {scale})"
                            ))
                        })
                })
                .transpose()
        });
        let made = rows.collect::<Result<Decimal128Array>>()?;
        Ok(Arc::new(
            made.with_data_type(Type::Decimal(precision, scale).arrow()),
        ))
    })))
}

fn decimals((p1, s1): (u8, i8), (p2, s2): (u8, i8)) -> Step {
    if s2 >= s1 && i16::from(p2) - i16::from(s2) >= i16::from(p1) - i16::from(s1) {
        return Step::Arrow;
    }
    Step::Run(Arc::new(move |array| {
        let rows = array.as_primitive::<Decimal128Type>().iter().map(|value| {
            value
                .map(|value| {
                    rescaled(value, s1, s2)
                        .filter(|made| fits(*made, p2))
                        .ok_or_else(|| {
                            invalid(format!(
                                "Cannot cast DECIMAL({p1}, {s1}) '{}' to DECIMAL({p2}, {s2})",
                                text::decimal(value, s1)
                            ))
                        })
                })
                .transpose()
        });
        let made = rows.collect::<Result<Decimal128Array>>()?;
        Ok(Arc::new(made.with_data_type(Type::Decimal(p2, s2).arrow())))
    }))
}

fn decimal_to_integer(scale: i8, to: Type) -> Convert {
    Arc::new(move |array| {
        let unit = power_of_ten(u8::try_from(scale).unwrap_or(0));
        let values = array
            .as_primitive::<Decimal128Type>()
            .iter()
            .map(|value| value.map(|value| div_half_up(value, unit)));
        narrowed(values, &to, &|value, to| {
            invalid(format!(
                "Cannot cast '{value}' to {}",
                to.to_string().to_uppercase()
            ))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::shortest_decimal;

    #[test]
    fn floats_round_half_up_on_their_shortest_spelling() {
        let double = |value: f64, scale| shortest_decimal(&format!("{value:e}"), scale);
        assert_eq!(double(0.5, 0), Some(1));
        assert_eq!(double(2.5, 0), Some(3));
        assert_eq!(double(-2.5, 0), Some(-3));
        assert_eq!(double(1.005, 2), Some(101));
        assert_eq!(double(-1.005, 2), Some(-101));
        assert_eq!(double(1e-300, 38), Some(0));
        assert_eq!(double(0.0, 38), Some(0));
        assert_eq!(double(1e37, 0), 10_i128.checked_pow(37));
        assert_eq!(double(1e39, 0), None);
        assert_eq!(double(f64::NAN, 2), None);
        assert_eq!(double(f64::INFINITY, 2), None);
        assert_eq!(
            shortest_decimal(&format!("{:e}", 0.1_f32), 10),
            Some(1_000_000_000)
        );
    }
}
