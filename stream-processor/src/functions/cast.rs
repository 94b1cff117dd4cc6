//! CAST and TRY_CAST, with Flink's rounding, wrapping and texts.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
    StringArray,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use chrono_tz::Tz;
use datafusion_common::{DataFusionError, Result as DfResult};

use super::{cast_nested, decimal, failed, text, time};
use crate::error::{Error, Position};
use crate::plan::coerce::{is_binary, is_integer, is_numeric, is_text};
use crate::plan::typed::{Kernel, Typed};
use crate::table::{SqlType, TypeRoot};

/// A cast that Flink does unasked: it widens, or it changes the label only.
pub(crate) fn implicit(expr: Typed, to: &SqlType, zone: Tz) -> Result<Typed, Error> {
    let nowhere = Position { line: 1, column: 1 };
    if is_text(&expr.ty.root) && is_text(&to.root) {
        return Ok(Typed {
            ty: to.clone(),
            kind: expr.kind,
        });
    }
    explicit(expr, to, false, zone, nowhere)
}

/// `CAST(expr AS to)`, or with `attempt` `TRY_CAST`.
pub(crate) fn explicit(
    expr: Typed,
    to: &SqlType,
    attempt: bool,
    zone: Tz,
    at: Position,
) -> Result<Typed, Error> {
    if expr.is_null_literal() {
        return Typed::null(to);
    }
    let from = expr.ty.clone();
    let nullable = from.nullable || attempt;
    let ty = to.with_nullable(nullable);
    if from.root == to.root {
        return Ok(Typed {
            ty: from.with_nullable(from.nullable),
            kind: expr.kind,
        });
    }
    let Some(convert) = conversion(&from.root, &to.root, attempt, zone) else {
        return Err(Error::unsupported(
            format!("CAST from {from} to {to}"),
            at,
            "",
        ));
    };
    let verb = if attempt { "TRY_CAST" } else { "CAST" };
    let mut kernel = Kernel::new(format!("{verb}[{from}->{to},{zone}]"), move |args, _| {
        convert(&args[0])
    });
    // Only a timestamp that nanoseconds cannot count fails an attempt.
    if attempt
        && !matches!(
            to.root,
            TypeRoot::Timestamp(7..) | TypeRoot::TimestampLtz(7..)
        )
    {
        kernel = kernel.total();
    }
    Typed::call(kernel, vec![expr], ty).fold()
}

pub(super) type Convert = Box<dyn Fn(&ArrayRef) -> DfResult<ArrayRef> + Send + Sync>;

pub(super) fn conversion(
    from: &TypeRoot,
    to: &TypeRoot,
    attempt: bool,
    zone: Tz,
) -> Option<Convert> {
    use TypeRoot::{Boolean, Date, Time, Timestamp, TimestampLtz};
    let (source_root, target_root) = (from.clone(), to.clone());
    Some(match (from, to) {
        (a, b) if is_text(a) && is_text(b) => Box::new(move |array| text::fit(array, &target_root)),
        (a, b) if is_text(a) && simple(b) => {
            Box::new(move |array| from_text(array, &target_root, attempt, zone))
        }
        (a, b) if is_text(b) && simple(a) => Box::new(move |array| {
            let texts = text::texts_of(array, &source_root, zone)?;
            text::fit(&texts, &target_root)
        }),
        (a, b) if is_numeric(a) && is_numeric(b) => {
            Box::new(move |array| numeric(array, &source_root, &target_root))
        }
        (Boolean, b) if is_numeric(b) => Box::new(move |array| {
            let ones = cast(array, &DataType::Int64)?;
            numeric(&ones, &TypeRoot::BigInt, &target_root)
        }),
        (a, Boolean) if is_integer(a) => Box::new(|array| {
            let numbers = cast(array, &DataType::Int64)?;
            let numbers = numbers.as_primitive::<Int64Type>();
            Ok(Arc::new(BooleanArray::from_unary(numbers, |value| {
                value != 0
            })))
        }),
        (
            Date | Timestamp(_) | TimestampLtz(_) | Time(_),
            Date | Timestamp(_) | TimestampLtz(_) | Time(_),
        ) => Box::new(move |array| time::convert(array, &source_root, &target_root, zone)),
        (a, b) if is_text(a) && is_binary(b) => Box::new(move |array| {
            let bytes = cast_nested::bytes_of(array);
            Ok(cast_nested::fit(&bytes, &target_root, false))
        }),
        (a, b) if is_text(b) && cast_nested::has_text(a) => Box::new(move |array| {
            let texts = cast_nested::texts_of(array, &source_root, zone)?;
            text::fit(&texts, &target_root)
        }),
        (a, b) if is_binary(a) && is_binary(b) => {
            let longer = byte_length(a) > byte_length(b);
            Box::new(move |array| {
                Ok(match target_root {
                    TypeRoot::Varbinary(_) if !longer => array.clone(),
                    _ => cast_nested::fit(array, &target_root, true),
                })
            })
        }
        (a, b) => return cast_nested::between(a, b, attempt, zone),
    })
}

fn byte_length(root: &TypeRoot) -> u32 {
    match root {
        TypeRoot::Binary(length) | TypeRoot::Varbinary(length) => *length,
        _ => 0,
    }
}

pub(super) fn simple(root: &TypeRoot) -> bool {
    use TypeRoot::{Boolean, Date, Time, Timestamp, TimestampLtz};
    is_numeric(root)
        || matches!(
            root,
            Boolean | Date | Time(_) | Timestamp(_) | TimestampLtz(_)
        )
}

/// Between numbers: integers wrap, fractions are cut, decimals round half up and are NULL if they do not fit.
pub(crate) fn numeric(array: &ArrayRef, from: &TypeRoot, to: &TypeRoot) -> DfResult<ArrayRef> {
    use TypeRoot::{Decimal, Double, Float};
    match (from, to) {
        (a, b) if is_integer(a) && is_integer(b) => narrow(&cast(array, &DataType::Int64)?, b),
        (Decimal(_, scale), b) if is_integer(b) => {
            let unit = 10_i128.pow(u32::from(scale.unsigned_abs()));
            let whole: Int64Array = array
                .as_primitive::<Decimal128Type>()
                .unary(|value| (value / unit) as i64);
            narrow(&(Arc::new(whole) as ArrayRef), b)
        }
        (Float | Double, b) if is_integer(b) => {
            let doubles = cast(array, &DataType::Float64)?;
            let doubles = doubles.as_primitive::<Float64Type>();
            let whole: Int64Array = match b {
                TypeRoot::BigInt => doubles.unary(|value| value as i64),
                _ => doubles.unary(|value| i64::from(value as i32)),
            };
            narrow(&(Arc::new(whole) as ArrayRef), b)
        }
        (a, Decimal(precision, scale)) => {
            let result: Decimal128Array = match a {
                Decimal(_, from) => array
                    .as_primitive::<Decimal128Type>()
                    .unary_opt(|value| decimal::rescale(value, *from, *precision, *scale)),
                Float | Double => {
                    let doubles = cast(array, &DataType::Float64)?;
                    doubles
                        .as_primitive::<Float64Type>()
                        .unary_opt(|value| decimal::from_double(value, *precision, *scale))
                }
                _ => {
                    let whole = cast(array, &DataType::Int64)?;
                    whole.as_primitive::<Int64Type>().unary_opt(|value| {
                        decimal::rescale(i128::from(value), 0, *precision, *scale)
                    })
                }
            };
            Ok(Arc::new(
                result.with_precision_and_scale(*precision, *scale)?,
            ))
        }
        (Decimal(_, scale), b) => {
            let doubles: Float64Array = array
                .as_primitive::<Decimal128Type>()
                .unary(|value| decimal::to_double(value, *scale));
            Ok(cast(
                &(Arc::new(doubles) as ArrayRef),
                &SqlType::of(b.clone()).arrow(),
            )?)
        }
        (_, b) => {
            let options = CastOptions {
                safe: true,
                ..CastOptions::default()
            };
            Ok(cast_with_options(
                array,
                &SqlType::of(b.clone()).arrow(),
                &options,
            )?)
        }
    }
}

fn narrow(array: &ArrayRef, to: &TypeRoot) -> DfResult<ArrayRef> {
    let values = array.as_primitive::<Int64Type>();
    Ok(match to {
        TypeRoot::TinyInt => Arc::new(values.unary::<_, Int8Type>(|value| value as i8)),
        TypeRoot::SmallInt => Arc::new(values.unary::<_, Int16Type>(|value| value as i16)),
        TypeRoot::Int => Arc::new(values.unary::<_, Int32Type>(|value| value as i32)),
        _ => array.clone(),
    })
}

fn from_text(array: &ArrayRef, to: &TypeRoot, attempt: bool, zone: Tz) -> DfResult<ArrayRef> {
    use TypeRoot::{BigInt, Boolean, Date, Decimal, Double, Float, Time, Timestamp, TimestampLtz};
    let texts = array.as_string::<i32>();
    Ok(match to {
        Boolean => {
            Arc::new(parse_each(texts, to, attempt, text::boolean)?.collect::<BooleanArray>())
        }
        root if is_integer(root) => {
            let range = integer_range(root);
            let parsed = parse_each(texts, to, attempt, |text| {
                text::integer(text).filter(|value| range.contains(value))
            })?;
            let values: ArrayRef = Arc::new(parsed.collect::<Int64Array>());
            if *root == BigInt {
                values
            } else {
                narrow(&values, root)?
            }
        }
        Double => Arc::new(parse_each(texts, to, attempt, text::double)?.collect::<Float64Array>()),
        Float => {
            let values: ArrayRef =
                Arc::new(parse_each(texts, to, attempt, text::double)?.collect::<Float64Array>());
            cast(&values, &DataType::Float32)?
        }
        Decimal(precision, scale) => {
            let parsed = parse_each(texts, to, attempt, |text| {
                text::decimal(text, *precision, *scale)
            })?;
            let values: Decimal128Array = parsed.collect();
            Arc::new(values.with_precision_and_scale(*precision, *scale)?)
        }
        Date => {
            Arc::new(parse_each(texts, to, attempt, time::parse_date)?.collect::<Date32Array>())
        }
        Time(_) => {
            let millis: ArrayRef =
                Arc::new(parse_each(texts, to, attempt, time::parse_time)?.collect::<Int64Array>());
            let millis = cast(&millis, &DataType::Int32)?;
            cast(&millis, &SqlType::of(to.clone()).arrow())?
        }
        Timestamp(precision) => {
            let moments = parse_each(texts, to, attempt, time::parse_timestamp)?;
            time::timestamps(moments, *precision, false)?
        }
        TimestampLtz(precision) => {
            let instant = |text: &str| Some(time::parse_timestamp(text)?.instant_in(zone));
            let moments = parse_each(texts, to, attempt, instant)?;
            time::timestamps(moments, *precision, true)?
        }
        _ => return Err(failed(format!("no CAST of a string to {to}"))),
    })
}

fn integer_range(root: &TypeRoot) -> std::ops::RangeInclusive<i64> {
    match root {
        TypeRoot::TinyInt => i64::from(i8::MIN)..=i64::from(i8::MAX),
        TypeRoot::SmallInt => i64::from(i16::MIN)..=i64::from(i16::MAX),
        TypeRoot::Int => i64::from(i32::MIN)..=i64::from(i32::MAX),
        _ => i64::MIN..=i64::MAX,
    }
}

/// Parses each text; one that cannot be parsed fails the job, or is NULL for an attempt.
fn parse_each<T: 'static>(
    texts: &StringArray,
    to: &TypeRoot,
    attempt: bool,
    parse: impl Fn(&str) -> Option<T>,
) -> DfResult<std::vec::IntoIter<Option<T>>> {
    let mut parsed = Vec::with_capacity(texts.len());
    for text in texts {
        let value = text.and_then(&parse);
        if let Some(text) = text
            && value.is_none()
            && !attempt
        {
            return Err(DataFusionError::Execution(format!(
                "could not CAST '{text}' to {to}; TRY_CAST gives NULL instead"
            )));
        }
        parsed.push(value);
    }
    Ok(parsed.into_iter())
}

/// Days since the epoch of a DATE column.
pub(crate) fn days(array: &ArrayRef) -> &Date32Array {
    array.as_primitive::<Date32Type>()
}
