//! Columns beside those of the rows: keys and metadata go with each row that a record gives.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::util::display::array_value_to_string;
use kafka_client::Span;

use super::{KeyFormat, RecordReader};
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::formats::Payloads;
use crate::graph::SourceSpec;
use crate::table::{Column, ColumnKind, SqlType, TableDefinition, TablePath, TypeRoot};

fn spec(connector: &str, metadata: &[(&str, TypeRoot)]) -> SourceSpec {
    let physical = |name: &str| Column {
        name: name.to_owned(),
        data_type: SqlType::of(TypeRoot::Int),
        kind: ColumnKind::Physical,
    };
    let of_metadata = |(key, root): &(&str, TypeRoot)| Column {
        name: (*key).to_owned(),
        data_type: SqlType::of(root.clone()),
        kind: ColumnKind::Metadata {
            key: (*key).to_owned(),
            is_virtual: true,
        },
    };
    let mut columns: Vec<Column> = metadata.iter().map(of_metadata).collect();
    columns.extend([physical("k"), physical("v")]);
    SourceSpec {
        read: (0..columns.len()).collect(),
        output: (0..columns.len()).collect(),
        table: Arc::new(TableDefinition {
            path: TablePath {
                catalog: "c".to_owned(),
                database: "d".to_owned(),
                table: "t".to_owned(),
            },
            columns,
            watermark: None,
            primary_key: Vec::new(),
            partitioned_by: Vec::new(),
            options: [("connector".to_owned(), connector.to_owned())].into(),
        }),
        extractions: Vec::new(),
        computed: Vec::new(),
        watermark: None,
    }
}

fn payloads(records: &[&str]) -> (Vec<u8>, Vec<Span>) {
    let mut end = 0;
    let mut span = |record: &&str| {
        let start = end;
        end += record.len() as u32;
        Span { start, end }
    };
    let spans = records.iter().map(&mut span).collect();
    (records.concat().into_bytes(), spans)
}

fn read(spec: &SourceSpec, keys: &[&str], values: &[&str]) -> Result<ChangeBatch, Error> {
    let key = KeyFormat {
        format: "json",
        fields: vec!["k".to_owned()],
        only_key: true,
    };
    let mut reader = RecordReader::new(spec, "debezium-json", Some(&key))?;
    let (keys, values) = (payloads(keys), payloads(values));
    let offsets =
        |_: &str| -> Result<ArrayRef, Error> { Ok(Arc::new(Int64Array::from(vec![7, 8, 9]))) };
    reader.read(of(&values), Some(of(&keys)), offsets)
}

fn of((data, spans): &(Vec<u8>, Vec<Span>)) -> Payloads<'_> {
    Payloads { data, spans }
}

fn shown(batch: &ChangeBatch) -> Vec<String> {
    let row = |row: usize| {
        let columns = batch.rows.columns().iter();
        let texts = columns.map(|column| array_value_to_string(column, row).unwrap());
        let texts: Vec<String> = texts.collect();
        format!("{} {}", batch.kind(row).short(), texts.join(" | "))
    };
    (0..batch.num_rows()).map(row).collect()
}

#[test]
fn each_row_of_an_event_has_the_events_key_and_metadata() {
    let text = || Box::new(SqlType::string());
    let spec = spec(
        "kafka",
        &[
            ("value.source.table", SqlType::string().root),
            ("offset", TypeRoot::BigInt),
            ("value.ingestion-timestamp", TypeRoot::TimestampLtz(3)),
            ("value.source.timestamp", TypeRoot::TimestampLtz(3)),
            ("value.source.properties", TypeRoot::Map(text(), text())),
            ("value.schema", SqlType::string().root),
        ],
    );
    let values = [
        r#"{"after":{"v":1},"op":"c","ts_ms":1000,"source":{"table":"users","db":"x","ts_ms":0}}"#,
        "",
        r#"{"before":{"v":1},"after":{"v":2},"op":"u","source":null}"#,
    ];
    let batch = read(&spec, &[r#"{"k":1}"#, r#"{"k":2}"#, r#"{"k":3}"#], &values).unwrap();
    assert_eq!(
        shown(&batch),
        [
            "+I users | 7 | 1970-01-01T00:00:01Z | 1970-01-01T00:00:00Z | {table: users, db: x, ts_ms: 0} |  | 1 | 1",
            "-U  | 9 |  |  |  |  | 3 | 1",
            "+U  | 9 |  |  |  |  | 3 | 2",
        ]
    );
}

#[test]
fn metadata_that_is_not_there_is_refused_by_name() {
    let unknown = spec("kafka", &[("value.source.host", SqlType::string().root)]);
    let error = read(&unknown, &[], &[]).unwrap_err().to_string();
    assert!(error.contains("no metadata 'source.host'"), "{error}");
}
