//! From a written type to a [`Type`].

use std::sync::Arc;

use crate::failure::{Code, Failure, Result};
use crate::sql::ast::{TypeKind, TypeName};
use crate::types::Type;

/// Resolves a type's name and parameters; `zone` is the session's, for `timestamp with time zone`.
pub(crate) fn resolve(ty: &TypeName, zone: &Arc<str>) -> Result<Type> {
    match &ty.kind {
        TypeKind::Array(element) => Ok(Type::array(resolve(element, zone)?)),
        TypeKind::Map(key, value) => Ok(Type::map(resolve(key, zone)?, resolve(value, zone)?)),
        TypeKind::Row(fields) => {
            let fields = fields.iter().map(|(name, field)| {
                Ok((
                    name.as_ref().map(|name| name.value.clone()),
                    resolve(field, zone)?,
                ))
            });
            Ok(Type::Row(fields.collect::<Result<_>>()?))
        }
        TypeKind::Plain(name, numbers) => plain(ty, name, numbers, zone),
    }
}

fn plain(ty: &TypeName, name: &str, numbers: &[i64], zone: &Arc<str>) -> Result<Type> {
    let simple = match name {
        "boolean" => Type::Boolean,
        "tinyint" => Type::Tinyint,
        "smallint" => Type::Smallint,
        "integer" | "int" => Type::Integer,
        "bigint" => Type::Bigint,
        "real" => Type::Real,
        "double" => Type::Double,
        "varbinary" => Type::Varbinary,
        "date" => Type::Date,
        "json" => Type::Json,
        "uuid" => Type::Uuid,
        "unknown" => Type::Unknown,
        "interval day to second" => Type::DayTime,
        "interval year to month" => Type::YearMonth,
        _ => return parametric(ty, name, numbers, zone),
    };
    if numbers.is_empty() {
        Ok(simple)
    } else {
        Err(unknown(ty, name))
    }
}

fn parametric(ty: &TypeName, name: &str, numbers: &[i64], zone: &Arc<str>) -> Result<Type> {
    let precision = |default: u8| match numbers {
        [] => Ok(default),
        [precision @ 0..=9] => Ok(u8::try_from(*precision).unwrap_or(default)),
        [10..=12] => Err(Failure::unsupported(
            ty.pos,
            format!("{name} with a precision above 9"),
        )),
        _ => Err(Failure::at(
            Code::InvalidFunctionArgument,
            ty.pos,
            format!("{name} precision must be in range [0, 12]"),
        )),
    };
    match (name, numbers) {
        ("varchar", []) => Ok(Type::VARCHAR),
        ("varchar", [length]) => match u32::try_from(*length) {
            Ok(i32_max) if i32_max >= 2_147_483_647 => Ok(Type::VARCHAR),
            Ok(length) => Ok(Type::Varchar(Some(length))),
            Err(_) => Err(unknown(ty, name)),
        },
        ("decimal" | "numeric", numbers) => decimal(ty, numbers),
        ("time", _) => match precision(3)? {
            precision @ 0..=6 => Ok(Type::Time(precision)),
            _ => Err(Failure::unsupported(
                ty.pos,
                "time with a precision above 6",
            )),
        },
        ("timestamp", _) => Ok(Type::Timestamp(precision(3)?)),
        ("timestamp with time zone", _) => Ok(Type::TimestampTz(precision(3)?, Arc::clone(zone))),
        (
            "char"
            | "time with time zone"
            | "ipaddress"
            | "hyperloglog"
            | "p4hyperloglog"
            | "qdigest"
            | "tdigest"
            | "number"
            | "variant"
            | "color",
            _,
        ) => Err(Failure::unsupported(ty.pos, format!("the type {name}"))),
        _ => Err(unknown(ty, name)),
    }
}

fn decimal(ty: &TypeName, numbers: &[i64]) -> Result<Type> {
    let (precision, scale) = match numbers {
        [] => (38, 0),
        [precision] => (*precision, 0),
        [precision, scale] => (*precision, *scale),
        _ => return Err(unknown(ty, "decimal")),
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale))
            if scale >= 0 && i64::from(scale) <= i64::from(precision) =>
        {
            Ok(Type::Decimal(precision, scale))
        }
        (Ok(1..=38), _) => Err(Failure::at(
            Code::InvalidFunctionArgument,
            ty.pos,
            format!("DECIMAL scale must be in range [0, precision ({precision})]: {scale}"),
        )),
        _ => Err(Failure::at(
            Code::InvalidFunctionArgument,
            ty.pos,
            format!("DECIMAL precision must be in range [1, 38]: {precision}"),
        )),
    }
}

fn unknown(ty: &TypeName, name: &str) -> Failure {
    Failure::at(Code::TypeNotFound, ty.pos, format!("Unknown type: {name}"))
}
