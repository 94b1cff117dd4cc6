//! Facts about splitting rows by partition.

use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
use iceberg::spec::{NestedField, PrimitiveType, UnboundPartitionSpec};

use super::*;
use crate::schema::to_arrow;

fn schema() -> Schema {
    let field = |id, name, kind| NestedField::optional(id, name, Type::Primitive(kind)).into();
    Schema::builder()
        .with_fields(vec![
            field(1, "id", PrimitiveType::Long),
            field(2, "kind", PrimitiveType::String),
            field(3, "ts", PrimitiveType::Timestamptz),
        ])
        .build()
        .unwrap()
}

fn rows() -> RecordBatch {
    let day = 86_400_000_000;
    RecordBatch::try_new(
        to_arrow(&schema()).unwrap(),
        vec![
            Arc::new(Int64Array::from(vec![1, 2, 3, 4])),
            Arc::new(StringArray::from(vec![
                Some("a/b"),
                None,
                Some("a/b"),
                Some("a/b"),
            ])),
            Arc::new(TimestampMicrosecondArray::from(vec![0, day, 1, day]).with_timezone("+00:00")),
        ],
    )
    .unwrap()
}

fn spec(fields: &[(i32, &str, Transform)]) -> PartitionSpec {
    let mut builder = UnboundPartitionSpec::builder();
    for (source, name, transform) in fields {
        builder = builder
            .add_partition_field(*source, *name, *transform)
            .unwrap();
    }
    builder.build().bind(Arc::new(schema())).unwrap()
}

#[test]
fn rows_go_to_the_partition_of_their_day_and_kind() {
    let spec = spec(&[
        (3, "ts_day", Transform::Day),
        (2, "kind", Transform::Identity),
    ]);
    let mut partitioner =
        Partitioner::new(&schema(), &spec, &to_arrow(&schema()).unwrap()).unwrap();
    let split: Vec<(String, usize)> = partitioner
        .split(&rows())
        .unwrap()
        .into_iter()
        .map(|(partition, rows)| (partition.path.clone(), rows.num_rows()))
        .collect();
    assert_eq!(
        split,
        [
            ("ts_day=1970-01-01/kind=a%2Fb".to_owned(), 2),
            ("ts_day=1970-01-02/kind=null".to_owned(), 1),
            ("ts_day=1970-01-02/kind=a%2Fb".to_owned(), 1),
        ]
    );
}

#[test]
fn every_transform_gives_the_value_of_the_specification() {
    let spec = spec(&[
        (1, "id_bucket", Transform::Bucket(16)),
        (2, "kind_trunc", Transform::Truncate(1)),
        (3, "ts_hour", Transform::Hour),
    ]);
    let mut partitioner =
        Partitioner::new(&schema(), &spec, &to_arrow(&schema()).unwrap()).unwrap();
    let (partition, _) = partitioner.split(&rows().slice(3, 1)).unwrap().remove(0);
    // 6 is what pyiceberg's BucketTransform(16) gives for 4.
    assert_eq!(
        partition.values.fields(),
        [
            Some(Literal::int(6)),
            Some(Literal::string("a")),
            Some(Literal::int(24))
        ]
    );
    assert_eq!(
        partition.path,
        "id_bucket=6/kind_trunc=a/ts_hour=1970-01-02-00"
    );
}

#[test]
fn an_unpartitioned_table_has_one_partition() {
    let mut partitioner = Partitioner::new(
        &schema(),
        &PartitionSpec::unpartition_spec(),
        &to_arrow(&schema()).unwrap(),
    )
    .unwrap();
    let split = partitioner.split(&rows()).unwrap();
    assert_eq!(split.len(), 1);
    assert_eq!(split[0].0.path, "");
    assert_eq!(split[0].1.num_rows(), 4);
}
