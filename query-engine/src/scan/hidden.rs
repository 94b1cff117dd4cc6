//! Columns that every table has beside its own, as in Trino: `"$path"`, `"$partition"`, `"$file_modified_time"`.
//!
//! Each has one value per data file, so a scan gets them as partition columns: a filter on them chooses files, and no
//! file is opened to answer it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use chrono::{DateTime, Utc};
use datafusion::scalar::ScalarValue;
use lake::Table;
use lake::iceberg::spec::{Literal, PrimitiveLiteral, Schema, Transform, Type};
use lake::read::LiveFile;

/// Where the file of a row is.
pub(crate) const PATH: &str = "$path";
/// The partition of a row, as Iceberg names directories.
pub(crate) const PARTITION: &str = "$partition";
/// When the file of a row was written.
pub(crate) const MODIFIED: &str = "$file_modified_time";

/// The hidden columns of a table: a column of its own that has such a name goes before them.
pub(super) fn fields(schema: &Schema) -> Vec<FieldRef> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some(crate::types::UTC.into()));
    [
        (PATH, DataType::Utf8),
        (PARTITION, DataType::Utf8),
        (MODIFIED, time),
    ]
    .into_iter()
    .filter(|(name, _)| schema.field_id_by_name(name).is_none())
    .map(|(name, data_type)| Arc::new(Field::new(name, data_type, false)))
    .collect()
}

/// The values of `fields` for a file. The time is asked of the store only where a query wants it; where it does not,
/// nobody sees what stands here.
pub(super) fn values(
    fields: &[FieldRef],
    table: &Table,
    file: &LiveFile,
    modified: Option<DateTime<Utc>>,
) -> Vec<ScalarValue> {
    fields
        .iter()
        .map(|field| match field.name().as_str() {
            PATH => ScalarValue::Utf8(Some(file.path().to_owned())),
            PARTITION => ScalarValue::Utf8(Some(partition(table, file))),
            _ => {
                let millis = modified.map_or(0, |time| time.timestamp_millis());
                ScalarValue::TimestampMicrosecond(
                    Some(millis.saturating_mul(1000)),
                    Some(crate::types::UTC.into()),
                )
            }
        })
        .collect()
}

/// `day=2026-01-02/kind=a`, empty for a file of no partition.
pub(super) fn partition(table: &Table, file: &LiveFile) -> String {
    let metadata = table.metadata();
    let Some(spec) = metadata.partition_spec_by_id(file.spec_id) else {
        return String::new();
    };
    let parts = spec
        .fields()
        .iter()
        .zip(file.file().partition().fields())
        .map(|(field, value)| {
            // A source that was dropped since is still in an older schema.
            let source = metadata
                .schemas_iter()
                .find_map(|schema| schema.field_by_id(field.source_id));
            let result =
                source.and_then(|source| field.transform.result_type(&source.field_type).ok());
            let value = human(field.transform, result.as_ref(), value.as_ref());
            format!("{}={}", encoded(&field.name), encoded(&value))
        });
    parts.collect::<Vec<_>>().join("/")
}

/// A partition value as Iceberg writes it for people: `2026-01-02-03` for an hour, `2026-01` for a month.
fn human(transform: Transform, result: Option<&Type>, value: Option<&Literal>) -> String {
    let ordinal = match value {
        Some(Literal::Primitive(PrimitiveLiteral::Int(ordinal))) => Some(i64::from(*ordinal)),
        _ => None,
    };
    match (transform, ordinal, result) {
        (Transform::Year, Some(years), _) => (1970 + years).to_string(),
        (Transform::Month, Some(months), _) => format!(
            "{:04}-{:02}",
            1970 + months.div_euclid(12),
            months.rem_euclid(12) + 1
        ),
        (Transform::Hour, Some(hours), _) => DateTime::from_timestamp(hours * 3600, 0).map_or_else(
            || hours.to_string(),
            |hour| hour.format("%Y-%m-%d-%H").to_string(),
        ),
        (_, _, Some(result)) => transform.to_human_string(result, value),
        (_, _, None) => "null".to_owned(),
    }
}

/// As `java.net.URLEncoder` does, which is what Iceberg's own library uses.
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
