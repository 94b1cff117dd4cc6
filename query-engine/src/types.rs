//! Trino's SQL types: names, Arrow shapes, and which type takes in which.
//!
//! Arrow alone cannot say what a value is to a Trino client (varchar(3), json and char share a shape; a timestamp's
//! precision is lost), so the analyzer carries one of these beside every expression. [`crate::http`] turns them into
//! type signatures, [`crate::scan`] makes them from Iceberg's.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};

/// One type of the dialect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Type {
    /// The type of a bare `NULL`.
    Unknown,
    Boolean,
    Tinyint,
    Smallint,
    Integer,
    Bigint,
    Real,
    Double,
    Decimal(u8, i8),
    /// `None` is unbounded.
    Varchar(Option<u32>),
    Varbinary,
    Date,
    Time(u8),
    Timestamp(u8),
    /// Precision, and the zone all values of the column are shown in: Arrow keeps a zone per column.
    TimestampTz(u8, Arc<str>),
    DayTime,
    YearMonth,
    Json,
    Uuid,
    Array(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Row(Vec<(Option<String>, Type)>),
}

pub(crate) const UTC: &str = "UTC";

impl Type {
    pub(crate) const VARCHAR: Type = Type::Varchar(None);

    pub(crate) fn array(element: Type) -> Type {
        Type::Array(Box::new(element))
    }

    pub(crate) fn map(key: Type, value: Type) -> Type {
        Type::Map(Box::new(key), Box::new(value))
    }

    /// The one Arrow shape values of this type have inside the engine.
    pub(crate) fn arrow(&self) -> DataType {
        match self {
            Type::Unknown => DataType::Null,
            Type::Boolean => DataType::Boolean,
            Type::Tinyint => DataType::Int8,
            Type::Smallint => DataType::Int16,
            Type::Integer => DataType::Int32,
            Type::Bigint => DataType::Int64,
            Type::Real => DataType::Float32,
            Type::Double => DataType::Float64,
            Type::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale),
            Type::Varchar(_) | Type::Json => DataType::Utf8,
            Type::Varbinary => DataType::Binary,
            Type::Date => DataType::Date32,
            Type::Time(_) => DataType::Time64(TimeUnit::Microsecond),
            Type::Timestamp(precision) => DataType::Timestamp(unit(*precision), None),
            Type::TimestampTz(precision, zone) => {
                DataType::Timestamp(unit(*precision), Some(zone.clone()))
            }
            Type::DayTime => DataType::Duration(TimeUnit::Millisecond),
            Type::YearMonth => DataType::Interval(IntervalUnit::YearMonth),
            Type::Uuid => DataType::FixedSizeBinary(16),
            Type::Array(element) => DataType::List(list_field(element)),
            Type::Map(key, value) => DataType::Map(
                Arc::new(Field::new(
                    "entries",
                    DataType::Struct(Fields::from(vec![
                        Field::new("key", key.arrow(), false),
                        Field::new("value", value.arrow(), true),
                    ])),
                    false,
                )),
                false,
            ),
            Type::Row(fields) => DataType::Struct(row_fields(fields)),
        }
    }

    pub(crate) fn is_integer(&self) -> bool {
        matches!(
            self,
            Type::Tinyint | Type::Smallint | Type::Integer | Type::Bigint
        )
    }

    pub(crate) fn is_float(&self) -> bool {
        matches!(self, Type::Real | Type::Double)
    }

    pub(crate) fn is_numeric(&self) -> bool {
        self.is_integer() || self.is_float() || matches!(self, Type::Decimal(..))
    }

    pub(crate) fn is_varchar(&self) -> bool {
        matches!(self, Type::Varchar(_))
    }

    /// May values be sorted and compared with `<`?
    pub(crate) fn is_orderable(&self) -> bool {
        match self {
            Type::Json | Type::Map(..) => false,
            Type::Array(element) => element.is_orderable(),
            Type::Row(fields) => fields.iter().all(|(_, ty)| ty.is_orderable()),
            _ => true,
        }
    }

    /// Does a float hide in it, whose NaN and signed zero Arrow compares differently?
    pub(crate) fn has_float(&self) -> bool {
        match self {
            Type::Real | Type::Double => true,
            Type::Array(element) => element.has_float(),
            Type::Map(key, value) => key.has_float() || value.has_float(),
            Type::Row(fields) => fields.iter().any(|(_, ty)| ty.has_float()),
            _ => false,
        }
    }

    /// The decimal that holds every value of an integer type.
    pub(crate) fn as_decimal(&self) -> Option<(u8, i8)> {
        match self {
            Type::Tinyint => Some((3, 0)),
            Type::Smallint => Some((5, 0)),
            Type::Integer => Some((10, 0)),
            Type::Bigint => Some((19, 0)),
            Type::Decimal(precision, scale) => Some((*precision, *scale)),
            _ => None,
        }
    }

    /// The name without parameters, as in a type signature's `rawType`.
    pub(crate) fn base_name(&self) -> &'static str {
        match self {
            Type::Unknown => "unknown",
            Type::Boolean => "boolean",
            Type::Tinyint => "tinyint",
            Type::Smallint => "smallint",
            Type::Integer => "integer",
            Type::Bigint => "bigint",
            Type::Real => "real",
            Type::Double => "double",
            Type::Decimal(..) => "decimal",
            Type::Varchar(_) => "varchar",
            Type::Varbinary => "varbinary",
            Type::Date => "date",
            Type::Time(_) => "time",
            Type::Timestamp(_) => "timestamp",
            Type::TimestampTz(..) => "timestamp with time zone",
            Type::DayTime => "interval day to second",
            Type::YearMonth => "interval year to month",
            Type::Json => "json",
            Type::Uuid => "uuid",
            Type::Array(_) => "array",
            Type::Map(..) => "map",
            Type::Row(_) => "row",
        }
    }
}

fn unit(precision: u8) -> TimeUnit {
    if precision <= 6 {
        TimeUnit::Microsecond
    } else {
        TimeUnit::Nanosecond
    }
}

/// The field of an array's elements.
pub(crate) fn list_field(element: &Type) -> Arc<Field> {
    Arc::new(Field::new("item", element.arrow(), true))
}

/// The struct fields of a row; positions name them, for SQL names may repeat or be missing.
pub(crate) fn row_fields(fields: &[(Option<String>, Type)]) -> Fields {
    fields
        .iter()
        .enumerate()
        .map(|(index, (_, ty))| Field::new(format!("f{index}"), ty.arrow(), true))
        .collect()
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            Type::Varchar(Some(length)) => write!(f, "varchar({length})"),
            Type::Time(precision) => write!(f, "time({precision})"),
            Type::Timestamp(precision) => write!(f, "timestamp({precision})"),
            Type::TimestampTz(precision, _) => write!(f, "timestamp({precision}) with time zone"),
            Type::Array(element) => write!(f, "array({element})"),
            Type::Map(key, value) => write!(f, "map({key}, {value})"),
            Type::Row(fields) => {
                f.write_str("row(")?;
                for (index, (name, ty)) in fields.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    match name {
                        Some(name) if is_plain(name) => write!(f, "{name} {ty}")?,
                        Some(name) => write!(f, "\"{}\" {ty}", name.replace('"', "\"\""))?,
                        None => write!(f, "{ty}")?,
                    }
                }
                f.write_str(")")
            }
            simple => f.write_str(simple.base_name()),
        }
    }
}

fn is_plain(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The least type both sides convert to without being asked, or `None` where Trino refuses.
pub(crate) fn common(left: &Type, right: &Type) -> Option<Type> {
    if left == right {
        return Some(left.clone());
    }
    match (left, right) {
        (Type::Unknown, other) | (other, Type::Unknown) => Some(other.clone()),
        (Type::Varchar(Some(a)), Type::Varchar(Some(b))) => Some(Type::Varchar(Some(*a.max(b)))),
        (Type::Varchar(_), Type::Varchar(_)) => Some(Type::VARCHAR),
        (Type::Array(a), Type::Array(b)) => Some(Type::array(common(a, b)?)),
        (Type::Map(ak, av), Type::Map(bk, bv)) => Some(Type::map(common(ak, bk)?, common(av, bv)?)),
        (Type::Row(a), Type::Row(b)) => common_row(a, b),
        _ if left.is_numeric() && right.is_numeric() => common_number(left, right),
        _ => common_time(left, right).or_else(|| common_time(right, left)),
    }
}

fn common_row(a: &[(Option<String>, Type)], b: &[(Option<String>, Type)]) -> Option<Type> {
    if a.len() != b.len() {
        return None;
    }
    let fields = a.iter().zip(b).map(|((a_name, a), (b_name, b))| {
        let name = if a_name == b_name {
            a_name.clone()
        } else {
            None
        };
        Some((name, common(a, b)?))
    });
    Some(Type::Row(fields.collect::<Option<_>>()?))
}

fn common_number(left: &Type, right: &Type) -> Option<Type> {
    if *left == Type::Double || *right == Type::Double {
        return Some(Type::Double);
    }
    if *left == Type::Real || *right == Type::Real {
        return Some(Type::Real);
    }
    if left.is_integer() && right.is_integer() {
        let rank = |ty: &Type| ty.as_decimal().map(|(precision, _)| precision);
        return Some(if rank(left) >= rank(right) {
            left.clone()
        } else {
            right.clone()
        });
    }
    let (a_precision, a_scale) = left.as_decimal()?;
    let (b_precision, b_scale) = right.as_decimal()?;
    let scale = a_scale.max(b_scale);
    let whole = (i16::from(a_precision) - i16::from(a_scale))
        .max(i16::from(b_precision) - i16::from(b_scale));
    let precision = u8::try_from((whole + i16::from(scale)).min(38)).ok()?;
    Some(Type::Decimal(precision, scale))
}

fn common_time(left: &Type, right: &Type) -> Option<Type> {
    match (left, right) {
        (Type::Time(a), Type::Time(b)) => Some(Type::Time(*a.max(b))),
        (Type::Date, Type::Timestamp(_) | Type::TimestampTz(..)) => Some(right.clone()),
        (Type::Timestamp(a), Type::Timestamp(b)) => Some(Type::Timestamp(*a.max(b))),
        (Type::Timestamp(a), Type::TimestampTz(b, zone)) => {
            Some(Type::TimestampTz(*a.max(b), zone.clone()))
        }
        (Type::TimestampTz(a, zone), Type::TimestampTz(b, other)) if zone == other => {
            Some(Type::TimestampTz(*a.max(b), zone.clone()))
        }
        _ => None,
    }
}

/// Does `from` become `to` without a cast being written?
pub(crate) fn coerces(from: &Type, to: &Type) -> bool {
    match (from, to) {
        (Type::Varchar(_), Type::Varchar(None)) => true,
        (Type::TimestampTz(a, _), Type::TimestampTz(b, _)) => a <= b,
        _ => common(from, to).as_ref() == Some(to),
    }
}

/// Would a time of the session's zone be shown in another one as a value of type `to`?
pub(crate) fn changes_zone(from: &Type, to: &Type, session: &str) -> bool {
    match (from, to) {
        (Type::Date | Type::Timestamp(_), Type::TimestampTz(_, zone)) => **zone != *session,
        (Type::Array(from), Type::Array(to)) => changes_zone(from, to, session),
        (Type::Map(from_key, from), Type::Map(to_key, to)) => {
            changes_zone(from_key, to_key, session) || changes_zone(from, to, session)
        }
        (Type::Row(from), Type::Row(to)) => from
            .iter()
            .zip(to)
            .any(|((_, from), (_, to))| changes_zone(from, to, session)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
