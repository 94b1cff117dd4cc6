//! Literals: each has exactly one type, chosen from its spelling as Trino chooses it.

use std::sync::Arc;

use datafusion::common::ScalarValue;

use super::Analyzer;
use super::expr::Typed;
use crate::failure::{Code, Failure, Pos, Result};
use crate::functions::datetime::parse;
use crate::functions::json::node::Node;
use crate::functions::{cast, interval};
use crate::sql::ast::{self, Kind, TypeKind, TypeName, Unit};
use crate::types::Type;

impl Analyzer<'_> {
    pub(super) fn literal(&mut self, expr: &ast::Expr) -> Result<Typed> {
        let pos = expr.pos;
        match expr.kind.as_ref() {
            Kind::Null => Ok(Typed::literal(ScalarValue::Null, Type::Unknown)),
            Kind::Boolean(value) => Ok(Typed::literal(
                ScalarValue::Boolean(Some(*value)),
                Type::Boolean,
            )),
            Kind::Text(text) => Ok(text_literal(text)),
            Kind::Bytes(bytes) => Ok(Typed::literal(
                ScalarValue::Binary(Some(bytes.clone())),
                Type::Varbinary,
            )),
            Kind::Integer(digits) => integer(digits, pos),
            Kind::Decimal(digits) => decimal(digits, pos),
            Kind::Double(digits) => match digits.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(Typed::literal(
                    ScalarValue::Float64(Some(value)),
                    Type::Double,
                )),
                _ => Err(invalid(
                    pos,
                    format!("Numeric overflow in double literal: {digits}"),
                )),
            },
            Kind::Typed(ty, text) => self.typed_literal(ty, text),
            Kind::Interval {
                negative,
                value,
                from,
                to,
            } => interval_literal(pos, *negative, value, *from, *to),
            _ => Err(Failure::unsupported(pos, "this expression")),
        }
    }

    fn typed_literal(&mut self, ty: &TypeName, text: &str) -> Result<Typed> {
        let pos = ty.pos;
        let TypeKind::Plain(name, _) = &ty.kind else {
            return Err(Failure::unsupported(pos, "this literal"));
        };
        match name.as_str() {
            "timestamp" => timestamp(text, pos),
            "time" => {
                let (micros, precision) = parse::time(text)
                    .ok_or_else(|| invalid(pos, format!("'{text}' is not a valid TIME literal")))?;
                Ok(Typed::literal(
                    ScalarValue::Time64Microsecond(Some(micros)),
                    Type::Time(precision),
                ))
            }
            "date" => {
                let days = parse::date(text)
                    .ok_or_else(|| invalid(pos, format!("'{text}' is not a valid DATE literal")))?;
                Ok(Typed::literal(ScalarValue::Date32(Some(days)), Type::Date))
            }
            "decimal" => decimal_text(text, pos),
            "varchar" => Ok(text_literal(text)),
            "json" => {
                let value = Node::parse(text)
                    .ok_or_else(|| invalid(pos, format!("'{text}' is not a valid JSON literal")))?
                    .canonical();
                Ok(Typed::literal(
                    ScalarValue::Utf8(Some(value.to_string())),
                    Type::Json,
                ))
            }
            _ => {
                let to = super::types::resolve(ty, &self.environment.zone)?;
                let value = cast::constant(
                    &Type::VARCHAR,
                    ScalarValue::Utf8(Some(text.to_owned())),
                    &to,
                    &self.environment.zone,
                )
                .map_err(|_| {
                    invalid(
                        pos,
                        format!(
                            "'{text}' is not a valid {} literal",
                            to.to_string().to_uppercase()
                        ),
                    )
                })?;
                Ok(Typed::literal(value, to))
            }
        }
    }
}

pub(super) fn text_literal(text: &str) -> Typed {
    let length = u32::try_from(text.chars().count()).ok();
    Typed::literal(
        ScalarValue::Utf8(Some(text.to_owned())),
        Type::Varchar(length),
    )
}

fn invalid(pos: Pos, message: String) -> Failure {
    Failure::at(Code::InvalidLiteral, pos, message)
}

fn integer(digits: &str, pos: Pos) -> Result<Typed> {
    let value: i64 = digits
        .parse()
        .map_err(|_| invalid(pos, format!("Invalid numeric literal: {digits}")))?;
    Ok(match i32::try_from(value) {
        Ok(small) => Typed::literal(ScalarValue::Int32(Some(small)), Type::Integer),
        Err(_) => Typed::literal(ScalarValue::Int64(Some(value)), Type::Bigint),
    })
}

/// `1.50` is decimal(3,2): leading zeros do not count, trailing ones do.
fn decimal(text: &str, pos: Pos) -> Result<Typed> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let all = format!("{whole}{fraction}");
    let precision = all.len().max(1);
    let bad = || invalid(pos, format!("Invalid decimal literal: {text}"));
    if precision > 38 || !all.bytes().all(|byte| byte.is_ascii_digit()) || digits.is_empty() {
        return Err(bad());
    }
    let magnitude: i128 = if all.is_empty() {
        0
    } else {
        all.parse().map_err(|_| bad())?
    };
    let value = if negative { -magnitude } else { magnitude };
    let precision = u8::try_from(precision).map_err(|_| bad())?;
    let scale = i8::try_from(fraction.len()).map_err(|_| bad())?;
    Ok(Typed::literal(
        ScalarValue::Decimal128(Some(value), precision, scale),
        Type::Decimal(precision, scale),
    ))
}

fn decimal_text(text: &str, pos: Pos) -> Result<Typed> {
    decimal(text.trim(), pos)
}

fn timestamp(text: &str, pos: Pos) -> Result<Typed> {
    let parsed = parse::timestamp(text)
        .ok_or_else(|| invalid(pos, format!("'{text}' is not a valid TIMESTAMP literal")))?;
    if parsed.precision > 9 {
        return Err(Failure::unsupported(
            pos,
            "a timestamp with more than nine digits of a second",
        ));
    }
    let nanos = parsed.precision > 6;
    let Some(zone) = parsed.zone.clone() else {
        let value = parsed
            .local_units(nanos)
            .ok_or_else(|| invalid(pos, format!("'{text}' is out of range")))?;
        return Ok(Typed::literal(
            timestamp_scalar(value, nanos, None),
            Type::Timestamp(parsed.precision),
        ));
    };
    let value = parsed
        .instant_units(&zone, nanos)
        .map_err(|failure| failure.or_at(pos))?;
    let zone: Arc<str> = zone.name().into();
    let ty = Type::TimestampTz(parsed.precision, Arc::clone(&zone));
    Ok(Typed::literal(
        timestamp_scalar(value, nanos, Some(zone)),
        ty,
    ))
}

fn timestamp_scalar(value: i64, nanos: bool, zone: Option<Arc<str>>) -> ScalarValue {
    if nanos {
        ScalarValue::TimestampNanosecond(Some(value), zone)
    } else {
        ScalarValue::TimestampMicrosecond(Some(value), zone)
    }
}

fn interval_literal(
    pos: Pos,
    negative: bool,
    value: &str,
    from: Unit,
    to: Option<Unit>,
) -> Result<Typed> {
    let bad = || invalid(pos, format!("'{value}' is not a valid INTERVAL literal"));
    let sign = if negative { -1 } else { 1 };
    match from {
        Unit::Year | Unit::Month => {
            let months = interval::parse_year_month(value, from, to).ok_or_else(bad)?;
            Ok(Typed::literal(
                ScalarValue::IntervalYearMonth(Some(sign * months)),
                Type::YearMonth,
            ))
        }
        _ => {
            let millis = interval::parse_day_time(value, from, to).ok_or_else(bad)?;
            Ok(Typed::literal(
                ScalarValue::DurationMillisecond(Some(i64::from(sign) * millis)),
                Type::DayTime,
            ))
        }
    }
}
