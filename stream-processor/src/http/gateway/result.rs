//! Pages of results in the gateway's JSON.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::batch::{ChangeBatch, RowKind};
use crate::error::Error;
use crate::formats::json::encode::{self, JsonEncoding};
use crate::jobs::JobId;
use crate::table::{SqlType, TypeRoot};

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowFormat {
    /// As JSON values.
    Json,
    /// Every value as text.
    PlainText,
}

/// A row and what it does.
pub(super) type Row = (RowKind, Vec<Value>);

/// One answer to a fetch.
#[derive(Debug, Clone)]
pub(super) enum Page {
    /// The statement still runs; ask the same token again.
    NotReady { token: u64 },
    /// Rows, perhaps none for now.
    Payload {
        columns: Vec<(String, SqlType)>,
        rows: Vec<Row>,
        job: Option<JobId>,
        is_query: bool,
        next: u64,
    },
    /// There are no more.
    End {
        columns: Vec<(String, SqlType)>,
        job: Option<JobId>,
        is_query: bool,
    },
}

impl Page {
    pub(super) fn to_json(&self, format: RowFormat, prefix: &str) -> Value {
        let name = match format {
            RowFormat::Json => "JSON",
            RowFormat::PlainText => "PLAIN_TEXT",
        };
        let uri = |token: u64| format!("{prefix}/{token}?rowFormat={name}");
        match self {
            Page::NotReady { token } => {
                json!({ "resultType": "NOT_READY", "nextResultUri": uri(*token) })
            }
            Page::Payload {
                columns,
                rows,
                job,
                is_query,
                next,
            } => {
                let mut page = body("PAYLOAD", columns, rows, job.as_ref(), *is_query, format);
                page["nextResultUri"] = Value::String(uri(*next));
                page
            }
            Page::End {
                columns,
                job,
                is_query,
            } => body("EOS", columns, &[], job.as_ref(), *is_query, format),
        }
    }
}

fn body(
    kind: &str,
    columns: &[(String, SqlType)],
    rows: &[Row],
    job: Option<&JobId>,
    is_query: bool,
    format: RowFormat,
) -> Value {
    let columns: Vec<_> = columns
        .iter()
        .map(|(name, of)| json!({ "name": name, "logicalType": logical_type(of), "comment": null }))
        .collect();
    let data: Vec<_> = rows
        .iter()
        .map(|(kind, fields)| {
            let fields: Vec<_> = fields.iter().map(|value| written(value, format)).collect();
            json!({ "kind": kind_name(*kind), "fields": fields })
        })
        .collect();
    let row_format = if format == RowFormat::Json {
        "JSON"
    } else {
        "PLAIN_TEXT"
    };
    let mut page = json!({
        "resultType": kind,
        "isQueryResult": is_query,
        "resultKind": "SUCCESS_WITH_CONTENT",
        "results": { "columns": columns, "rowFormat": row_format, "data": data },
    });
    if let Some(job) = job {
        page["jobID"] = Value::String(job.to_string());
    }
    page
}

fn written(value: &Value, format: RowFormat) -> Value {
    match (format, value) {
        (RowFormat::Json, value) => value.clone(),
        (RowFormat::PlainText, Value::Null) => Value::String("<NULL>".to_owned()),
        (RowFormat::PlainText, Value::String(text)) => Value::String(text.clone()),
        (RowFormat::PlainText, Value::Bool(value)) => {
            Value::String(value.to_string().to_uppercase())
        }
        (RowFormat::PlainText, other) => Value::String(other.to_string()),
    }
}

fn kind_name(kind: RowKind) -> &'static str {
    match kind {
        RowKind::Insert => "INSERT",
        RowKind::UpdateBefore => "UPDATE_BEFORE",
        RowKind::UpdateAfter => "UPDATE_AFTER",
        RowKind::Delete => "DELETE",
    }
}

/// Appends the rows of `batch` as JSON values.
pub(super) fn decoded(
    batch: &ChangeBatch,
    columns: &[(String, SqlType)],
    into: &mut VecDeque<Row>,
) -> Result<(), Error> {
    let encoding = JsonEncoding::default();
    let mut text = Vec::new();
    for row in 0..batch.num_rows() {
        let mut fields = Vec::with_capacity(columns.len());
        for column in batch.rows.columns() {
            text.clear();
            encode::value(column, row, &encoding, &mut text)?;
            let field = serde_json::from_slice(&text)
                .map_err(|error| Error::caused("a value of the result is no JSON", error))?;
            fields.push(field);
        }
        into.push_back((batch.kind(row), fields));
    }
    Ok(())
}

/// A value that is known as text, as the JSON of its type.
pub(super) fn typed(text: Option<String>, of: &SqlType) -> Value {
    let Some(text) = text else { return Value::Null };
    let parsed = match of.root {
        TypeRoot::Boolean
        | TypeRoot::TinyInt
        | TypeRoot::SmallInt
        | TypeRoot::Int
        | TypeRoot::BigInt => serde_json::from_str(&text.to_lowercase()).ok(),
        TypeRoot::Float | TypeRoot::Double | TypeRoot::Decimal(..) => {
            serde_json::from_str(&text).ok()
        }
        _ => None,
    };
    parsed.unwrap_or(Value::String(text))
}

/// Flink's `LogicalTypeJsonSerializer`.
fn logical_type(of: &SqlType) -> Value {
    let simple = |name: &str| json!({ "type": name });
    let mut value = match &of.root {
        TypeRoot::Boolean => simple("BOOLEAN"),
        TypeRoot::TinyInt => simple("TINYINT"),
        TypeRoot::SmallInt => simple("SMALLINT"),
        TypeRoot::Int => simple("INTEGER"),
        TypeRoot::BigInt => simple("BIGINT"),
        TypeRoot::Float => simple("FLOAT"),
        TypeRoot::Double => simple("DOUBLE"),
        TypeRoot::Decimal(precision, scale) => {
            json!({ "type": "DECIMAL", "precision": precision, "scale": scale })
        }
        TypeRoot::Char(length) => json!({ "type": "CHAR", "length": length }),
        TypeRoot::Varchar(length) => json!({ "type": "VARCHAR", "length": length }),
        TypeRoot::Binary(length) => json!({ "type": "BINARY", "length": length }),
        TypeRoot::Varbinary(length) => json!({ "type": "VARBINARY", "length": length }),
        TypeRoot::Date => simple("DATE"),
        TypeRoot::Time(precision) => {
            json!({ "type": "TIME_WITHOUT_TIME_ZONE", "precision": precision })
        }
        TypeRoot::Timestamp(precision) => {
            json!({ "type": "TIMESTAMP_WITHOUT_TIME_ZONE", "precision": precision })
        }
        TypeRoot::TimestampLtz(precision) => {
            json!({ "type": "TIMESTAMP_WITH_LOCAL_TIME_ZONE", "precision": precision })
        }
        TypeRoot::IntervalYearMonth => {
            json!({ "type": "INTERVAL_YEAR_MONTH", "resolution": "YEAR_TO_MONTH", "precision": 2 })
        }
        TypeRoot::IntervalDayTime => {
            let resolution = "DAY_TO_SECOND";
            json!({ "type": "INTERVAL_DAY_TIME", "resolution": resolution, "precision": 2, "fractionalPrecision": 3 })
        }
        TypeRoot::Array(element) => {
            json!({ "type": "ARRAY", "elementType": logical_type(element) })
        }
        TypeRoot::Multiset(element) => {
            json!({ "type": "MULTISET", "elementType": logical_type(element) })
        }
        TypeRoot::Map(key, value) => {
            json!({ "type": "MAP", "keyType": logical_type(key), "valueType": logical_type(value) })
        }
        TypeRoot::Row(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, of)| json!({ "name": name, "fieldType": logical_type(of), "description": null }))
                .collect();
            json!({ "type": "ROW", "fields": fields })
        }
    };
    value["nullable"] = Value::Bool(of.nullable);
    value
}
