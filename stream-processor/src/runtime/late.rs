//! Describes late rows for the late table: who dropped them, their event time, and the row itself as JSON.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::error::Error;
use crate::formats::json::encode::{JsonEncoder, JsonEncoding};
use crate::graph::{ROWTIME_KEY, late_schema};

/// `rows` as they travel on a [`crate::graph::Partitioning::Late`] edge.
pub(crate) fn describe(operator: &str, rows: &RecordBatch) -> Result<RecordBatch, Error> {
    let schema = late_schema();
    let time_type = schema.field(1).data_type();
    let fields = rows.schema();
    let time = fields
        .fields()
        .iter()
        .position(|field| field.metadata().contains_key(ROWTIME_KEY));
    let time: ArrayRef = match time {
        Some(column) => {
            let local = cast(
                rows.column(column),
                &DataType::Timestamp(
                    arrow::datatypes::TimeUnit::Millisecond,
                    time_zone(rows.column(column).data_type()),
                ),
            )
            .and_then(|millis| cast(&millis, &DataType::Int64))
            .and_then(|millis| cast(&millis, time_type));
            local.map_err(|error| Error::caused("could not read the time of late rows", error))?
        }
        None => new_null_array(time_type, rows.num_rows()),
    };
    let mut encoder = JsonEncoder::new(&rows.schema(), JsonEncoding::default())?;
    let mut text = Vec::new();
    let mut lines = Vec::with_capacity(rows.num_rows());
    for row in 0..rows.num_rows() {
        text.clear();
        encoder.encode_row(rows, row, &mut text)?;
        lines.push(String::from_utf8_lossy(&text).into_owned());
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![operator; rows.num_rows()])),
        time,
        Arc::new(StringArray::from(lines)),
    ];
    RecordBatch::try_new(schema, columns)
        .map_err(|error| Error::caused("could not describe late rows", error))
}

fn time_zone(data_type: &DataType) -> Option<Arc<str>> {
    match data_type {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    }
}
