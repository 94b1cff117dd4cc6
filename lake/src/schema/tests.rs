//! Facts about fitting engine batches to table columns.

use arrow::array::AsArray;
use arrow::array::{Int32Array, Int64Array, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::TimestampMicrosecondType;
use iceberg::spec::{NestedField, PrimitiveType, Type};

use super::*;

fn table() -> Schema {
    Schema::builder()
        .with_fields(vec![
            NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).into(),
            NestedField::optional(2, "name", Type::Primitive(PrimitiveType::String)).into(),
            NestedField::optional(3, "ts", Type::Primitive(PrimitiveType::Timestamptz)).into(),
        ])
        .build()
        .unwrap()
}

#[test]
fn columns_are_matched_by_name_cast_and_filled() {
    let batch = RecordBatch::try_from_iter([
        (
            "ts",
            Arc::new(TimestampMillisecondArray::from(vec![1_500]).with_timezone("UTC")) as ArrayRef,
        ),
        ("id", Arc::new(Int32Array::from(vec![7]))),
    ])
    .unwrap();
    let fitted = RowShape::new(&table()).unwrap().fit(&batch).unwrap();
    assert_eq!(
        fitted
            .column(0)
            .as_any()
            .downcast_ref::<Int64Array>()
            .unwrap()
            .value(0),
        7
    );
    assert_eq!(fitted.column(1).null_count(), 1);
    assert_eq!(
        fitted
            .column(2)
            .as_primitive::<TimestampMicrosecondType>()
            .value(0),
        1_500_000
    );
}

#[test]
fn an_unknown_column_and_a_missing_required_one_are_refused() {
    let shape = RowShape::new(&table()).unwrap();
    let extra =
        RecordBatch::try_from_iter([("x", Arc::new(Int32Array::from(vec![1])) as ArrayRef)])
            .unwrap();
    assert_eq!(
        shape.fit(&extra).unwrap_err().to_string(),
        "the table has no column `x`"
    );
    let partial = RecordBatch::try_from_iter([(
        "name",
        Arc::new(StringViewArray::from(vec!["a"])) as ArrayRef,
    )])
    .unwrap();
    assert_eq!(
        shape.fit(&partial).unwrap_err().to_string(),
        "column `id` is required by the table and missing in the rows"
    );
}

#[test]
fn engine_types_become_iceberg_types_with_a_key() {
    let arrow = ArrowSchema::new(vec![
        Field::new("id", DataType::Int16, false),
        Field::new("name", DataType::Utf8View, true),
        Field::new(
            "ts",
            DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            true,
        ),
    ]);
    let schema = from_arrow(&arrow, &["id"]).unwrap();
    let types: Vec<String> = schema
        .as_struct()
        .fields()
        .iter()
        .map(|field| field.field_type.to_string())
        .collect();
    assert_eq!(types, ["int", "string", "timestamptz"]);
    assert_eq!(schema.identifier_field_ids().collect::<Vec<_>>(), [1]);
}

#[test]
fn a_type_that_would_lose_values_is_refused() {
    let arrow = ArrowSchema::new(vec![Field::new("n", DataType::UInt64, true)]);
    assert_eq!(
        from_arrow(&arrow, &[]).unwrap_err().to_string(),
        "column `n` of type UInt64 in an Iceberg table is not supported"
    );
}
