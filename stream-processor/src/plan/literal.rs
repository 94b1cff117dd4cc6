//! Constants and their types.

use chrono_tz::Tz;
use datafusion_common::ScalarValue;

use super::typed::Typed;
use crate::error::{Error, Position};
use crate::functions::time;
use crate::sql::ast::Literal;
use crate::table::{SqlType, TypeRoot};

/// A constant: whole numbers are INT or BIGINT, those with a point DECIMAL, with an exponent DOUBLE.
pub(super) fn literal(value: &Literal, zone: Tz, at: Position) -> Result<Typed, Error> {
    let wrong = |what: &str, text: &str| Error::validation(format!("'{text}' is no {what}"), at);
    let timestamp = |moment: time::Moment, text: &str, local: bool| {
        let digits = text
            .split_once('.')
            .map_or(0, |(_, fraction)| fraction.len().min(9) as u8);
        let array = time::timestamps(std::iter::once(Some(moment)), digits, local)
            .map_err(|_| wrong("TIMESTAMP that can be counted in nanoseconds", text))?;
        let root = if local {
            TypeRoot::TimestampLtz(digits)
        } else {
            TypeRoot::Timestamp(digits)
        };
        match ScalarValue::try_from_array(&array, 0) {
            Ok(value) => Ok(Typed::literal(value, SqlType::required(root))),
            Err(_) => Err(wrong("TIMESTAMP", text)),
        }
    };
    Ok(match value {
        Literal::Null => Typed::literal(ScalarValue::Utf8(None), SqlType::string()),
        Literal::Boolean(value) => Typed::boolean(*value),
        Literal::Number(text) => number(text).ok_or_else(|| wrong("number", text))?,
        Literal::Text(text) => Typed::text(text),
        Literal::Binary(bytes) => Typed::literal(
            ScalarValue::Binary(Some(bytes.clone())),
            SqlType::required(TypeRoot::Binary(bytes.len().max(1) as u32)),
        ),
        Literal::Date(text) => {
            let days = time::parse_date(text).ok_or_else(|| wrong("DATE", text))?;
            Typed::literal(
                ScalarValue::Date32(Some(days)),
                SqlType::required(TypeRoot::Date),
            )
        }
        Literal::Time(text) => {
            let millis = time::parse_time(text).ok_or_else(|| wrong("TIME", text))?;
            Typed::literal(
                ScalarValue::Time32Millisecond(Some(millis as i32)),
                SqlType::required(TypeRoot::Time(0)),
            )
        }
        Literal::Timestamp(text) => {
            let moment = time::parse_timestamp(text).ok_or_else(|| wrong("TIMESTAMP", text))?;
            timestamp(moment, text, false)?
        }
        Literal::TimestampLtz(text) => {
            let local = time::parse_timestamp(text).ok_or_else(|| wrong("TIMESTAMP_LTZ", text))?;
            timestamp(local.instant_in(zone), text, true)?
        }
        Literal::YearMonth(months) => Typed::literal(
            ScalarValue::IntervalYearMonth(Some(*months)),
            SqlType::required(TypeRoot::IntervalYearMonth),
        ),
        Literal::DayTime(millis) => Typed::literal(
            ScalarValue::DurationMillisecond(Some(*millis)),
            SqlType::required(TypeRoot::IntervalDayTime),
        ),
    })
}

fn number(text: &str) -> Option<Typed> {
    if text.contains(['e', 'E']) {
        let value: f64 = text.parse().ok()?;
        return Some(Typed::literal(
            value.into(),
            SqlType::required(TypeRoot::Double),
        ));
    }
    if let Some((whole, fraction)) = text.split_once('.') {
        let scale = fraction.len();
        // The zero before the point counts, as in Flink.
        let digits = whole.trim_start_matches('-').len() + scale;
        let precision = digits.max(scale).max(1);
        if precision > 38 {
            return None;
        }
        let unscaled: i128 = format!("{whole}{fraction}").parse().ok()?;
        let value = ScalarValue::Decimal128(Some(unscaled), precision as u8, scale as i8);
        return Some(Typed::literal(
            value,
            SqlType::required(TypeRoot::Decimal(precision as u8, scale as i8)),
        ));
    }
    if let Ok(value) = text.parse::<i32>() {
        return Some(Typed::literal(
            value.into(),
            SqlType::required(TypeRoot::Int),
        ));
    }
    if let Ok(value) = text.parse::<i64>() {
        return Some(Typed::literal(
            value.into(),
            SqlType::required(TypeRoot::BigInt),
        ));
    }
    let unscaled: i128 = text.parse().ok()?;
    let precision = text.trim_start_matches('-').len();
    (precision <= 38).then(|| {
        Typed::literal(
            ScalarValue::Decimal128(Some(unscaled), precision as u8, 0),
            SqlType::required(TypeRoot::Decimal(precision as u8, 0)),
        )
    })
}
