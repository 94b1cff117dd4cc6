//! Values of the session and the query: current time, user, catalog, version.

use std::sync::Arc;

use chrono::NaiveTime;
use datafusion::common::ScalarValue;

use super::datetime::parse::{Zone, days_of, units};
use crate::failure::{Code, Failure, Result};
use crate::sql::analyze::{Environment, Typed};
use crate::types::Type;

/// The version clients are told. Drivers read the numbers before the first two dots as those of Trino's releases.
pub(crate) const VERSION: &str = concat!("483.0-streamforge-", env!("CARGO_PKG_VERSION"));

fn text(value: impl Into<String>) -> Typed {
    Typed::literal(ScalarValue::Utf8(Some(value.into())), Type::VARCHAR)
}

/// Functions without arguments that the session answers.
pub(crate) fn value(name: &str, environment: &Environment) -> Typed {
    match name {
        "current_timezone" => text(environment.zone.to_string()),
        "current_user" => text(environment.user.clone()),
        "query_id" => text(environment.query_id.clone()),
        _ => text(VERSION),
    }
}

/// `current_timestamp(p)` and the other words that are expressions.
pub(crate) fn special(
    word: &str,
    precision: Option<u8>,
    environment: &Environment,
) -> Result<Typed> {
    let zone = Zone::parse(&environment.zone).unwrap_or_else(Zone::utc);
    let now = environment.now.naive_utc();
    let local = zone.local(now);
    let precision = precision.unwrap_or(3);
    if precision > 6 {
        return Err(Failure::new(
            Code::NotSupported,
            format!("{word}({precision}) is not supported"),
        ));
    }
    let trimmed = |micros: i64| micros - micros.rem_euclid(10_i64.pow(u32::from(6 - precision)));
    let micros = |time| units(time, false).map(trimmed);
    Ok(match word {
        "current_timestamp" => Typed::literal(
            ScalarValue::TimestampMicrosecond(micros(now), Some(Arc::clone(&environment.zone))),
            Type::TimestampTz(precision, Arc::clone(&environment.zone)),
        ),
        "localtimestamp" => Typed::literal(
            ScalarValue::TimestampMicrosecond(micros(local), None),
            Type::Timestamp(precision),
        ),
        "current_date" => {
            Typed::literal(ScalarValue::Date32(Some(days_of(local.date()))), Type::Date)
        }
        "localtime" => {
            let of_day = local
                .time()
                .signed_duration_since(NaiveTime::MIN)
                .num_microseconds();
            Typed::literal(
                ScalarValue::Time64Microsecond(of_day.map(trimmed)),
                Type::Time(precision),
            )
        }
        "current_user" => text(environment.user.clone()),
        "current_catalog" => optional(environment.catalog.clone()),
        "current_schema" => optional(environment.schema.clone()),
        "current_path" => text(""),
        _ => {
            return Err(Failure::new(
                Code::NotSupported,
                format!("{word} is not supported"),
            ));
        }
    })
}

fn optional(value: Option<String>) -> Typed {
    Typed::literal(ScalarValue::Utf8(value), Type::VARCHAR)
}
