//! Iceberg's types as Flink's.

use iceberg::spec::{NestedFieldRef, PrimitiveType, Type};
use lake::iceberg;

use crate::table::{SqlType, TypeRoot};

/// The SQL type that Flink gives a column of this type.
pub(crate) fn sql_type(field: &NestedFieldRef) -> SqlType {
    SqlType {
        root: root(&field.field_type),
        nullable: !field.required,
    }
}

fn root(of: &Type) -> TypeRoot {
    match of {
        Type::Primitive(primitive) => primitive_root(primitive),
        Type::Struct(fields) => TypeRoot::Row(
            fields
                .fields()
                .iter()
                .map(|field| (field.name.clone(), sql_type(field)))
                .collect(),
        ),
        Type::List(list) => TypeRoot::Array(Box::new(sql_type(&list.element_field))),
        Type::Map(map) => TypeRoot::Map(
            Box::new(sql_type(&map.key_field)),
            Box::new(sql_type(&map.value_field)),
        ),
    }
}

fn primitive_root(of: &PrimitiveType) -> TypeRoot {
    match of {
        PrimitiveType::Boolean => TypeRoot::Boolean,
        PrimitiveType::Int => TypeRoot::Int,
        PrimitiveType::Long => TypeRoot::BigInt,
        PrimitiveType::Float => TypeRoot::Float,
        PrimitiveType::Double => TypeRoot::Double,
        PrimitiveType::Decimal { precision, scale } => {
            TypeRoot::Decimal(*precision as u8, *scale as i8)
        }
        PrimitiveType::Date => TypeRoot::Date,
        PrimitiveType::Time => TypeRoot::Time(6),
        PrimitiveType::Timestamp => TypeRoot::Timestamp(6),
        PrimitiveType::Timestamptz => TypeRoot::TimestampLtz(6),
        PrimitiveType::TimestampNs => TypeRoot::Timestamp(9),
        PrimitiveType::TimestamptzNs => TypeRoot::TimestampLtz(9),
        PrimitiveType::String => TypeRoot::Varchar(i32::MAX as u32),
        PrimitiveType::Uuid => TypeRoot::Binary(16),
        PrimitiveType::Fixed(length) => TypeRoot::Binary(*length as u32),
        PrimitiveType::Binary => TypeRoot::Varbinary(i32::MAX as u32),
    }
}
