//! Iceberg values as DataFusion scalars.

use arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;
use lake::iceberg::spec::{Datum, Literal, PrimitiveLiteral, PrimitiveType, Type};

/// A bound as a scalar of `wanted`; `None` when it has no such form.
pub(crate) fn scalar(datum: &Datum, wanted: &DataType) -> Option<ScalarValue> {
    primitive(datum.data_type(), datum.literal(), Some(wanted))
}

/// A partition value as a scalar of its own type.
pub(crate) fn literal(kind: &Type, literal: &Literal) -> Option<ScalarValue> {
    match (kind, literal) {
        (Type::Primitive(kind), Literal::Primitive(literal)) => primitive(kind, literal, None),
        _ => None,
    }
}

fn primitive(
    kind: &PrimitiveType,
    literal: &PrimitiveLiteral,
    wanted: Option<&DataType>,
) -> Option<ScalarValue> {
    let utc = || Some("+00:00".into());
    let value = match (kind, literal) {
        (PrimitiveType::Boolean, PrimitiveLiteral::Boolean(value)) => {
            ScalarValue::Boolean(Some(*value))
        }
        (PrimitiveType::Int, PrimitiveLiteral::Int(value)) => ScalarValue::Int32(Some(*value)),
        (PrimitiveType::Long, PrimitiveLiteral::Long(value)) => ScalarValue::Int64(Some(*value)),
        (PrimitiveType::Float, PrimitiveLiteral::Float(value)) => {
            ScalarValue::Float32(Some(value.0))
        }
        (PrimitiveType::Double, PrimitiveLiteral::Double(value)) => {
            ScalarValue::Float64(Some(value.0))
        }
        (PrimitiveType::Date, PrimitiveLiteral::Int(value)) => ScalarValue::Date32(Some(*value)),
        (PrimitiveType::Time, PrimitiveLiteral::Long(value)) => {
            ScalarValue::Time64Microsecond(Some(*value))
        }
        (PrimitiveType::Timestamp, PrimitiveLiteral::Long(value)) => {
            ScalarValue::TimestampMicrosecond(Some(*value), None)
        }
        (PrimitiveType::Timestamptz, PrimitiveLiteral::Long(value)) => {
            ScalarValue::TimestampMicrosecond(Some(*value), utc())
        }
        (PrimitiveType::TimestampNs, PrimitiveLiteral::Long(value)) => {
            ScalarValue::TimestampNanosecond(Some(*value), None)
        }
        (PrimitiveType::TimestamptzNs, PrimitiveLiteral::Long(value)) => {
            ScalarValue::TimestampNanosecond(Some(*value), utc())
        }
        (PrimitiveType::String, PrimitiveLiteral::String(value)) => {
            ScalarValue::Utf8(Some(value.clone()))
        }
        (PrimitiveType::Uuid, PrimitiveLiteral::UInt128(value)) => {
            ScalarValue::FixedSizeBinary(16, Some(value.to_be_bytes().to_vec()))
        }
        (PrimitiveType::Decimal { precision, scale }, PrimitiveLiteral::Int128(value)) => {
            ScalarValue::Decimal128(
                Some(*value),
                u8::try_from(*precision).ok()?,
                i8::try_from(*scale).ok()?,
            )
        }
        (PrimitiveType::Binary, PrimitiveLiteral::Binary(value)) => {
            ScalarValue::LargeBinary(Some(value.clone()))
        }
        (PrimitiveType::Fixed(length), PrimitiveLiteral::Binary(value)) => {
            ScalarValue::FixedSizeBinary(i32::try_from(*length).ok()?, Some(value.clone()))
        }
        _ => return None,
    };
    match wanted {
        Some(wanted) if value.data_type() != *wanted => value.cast_to(wanted).ok(),
        _ => Some(value),
    }
}
