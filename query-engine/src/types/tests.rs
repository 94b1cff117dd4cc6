//! Names and coercions of types.

use super::*;

#[test]
fn numbers_meet_as_in_trino() {
    let meet = |a: Type, b: Type| common(&a, &b).map(|ty| ty.to_string());
    assert_eq!(meet(Type::Integer, Type::Bigint).as_deref(), Some("bigint"));
    assert_eq!(
        meet(Type::Bigint, Type::Decimal(10, 2)).as_deref(),
        Some("decimal(21,2)")
    );
    assert_eq!(
        meet(Type::Decimal(38, 0), Type::Decimal(10, 5)).as_deref(),
        Some("decimal(38,5)")
    );
    assert_eq!(
        meet(Type::Decimal(3, 1), Type::Real).as_deref(),
        Some("real")
    );
    assert_eq!(meet(Type::VARCHAR, Type::Integer), None);
    assert_eq!(
        meet(Type::Date, Type::Timestamp(3)).as_deref(),
        Some("timestamp(3)")
    );
}

#[test]
fn names_read_as_clients_parse_them() {
    let row = Type::Row(vec![
        (Some("a".into()), Type::Integer),
        (Some("odd name".into()), Type::array(Type::VARCHAR)),
        (
            None,
            Type::map(Type::Varchar(Some(3)), Type::TimestampTz(6, UTC.into())),
        ),
    ]);
    assert_eq!(
        row.to_string(),
        "row(a integer, \"odd name\" array(varchar), map(varchar(3), timestamp(6) with time zone))"
    );
}
