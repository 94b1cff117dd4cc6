//! What becomes of each kind of event, whole or broken.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int32Type;
use kafka_client::Span;

use super::{DebeziumDecoder, DebeziumOptions};
use crate::batch::RowKind;
use crate::error::Error;
use crate::formats::json::decode::JsonOptions;
use crate::formats::{Decoder, Payloads};
use crate::table::{Column, ColumnKind, SqlType, TypeRoot};

fn lenient() -> DebeziumOptions {
    DebeziumOptions {
        json: JsonOptions {
            ignore_errors: true,
            ..JsonOptions::default()
        },
        ..DebeziumOptions::default()
    }
}

/// The rows of some records, and the record of each.
fn decode(options: DebeziumOptions, records: &[&str]) -> Result<Vec<(String, u32)>, Error> {
    let column = |name: &str, root| Column {
        name: name.to_owned(),
        data_type: SqlType::of(root),
        kind: ColumnKind::Physical,
    };
    let columns = [
        column("id", TypeRoot::Int),
        column("name", SqlType::string().root),
    ];
    let columns: Vec<&Column> = columns.iter().collect();
    let data = records.concat();
    let mut end = 0;
    let mut span = |record: &&str| {
        let start = end;
        end += record.len() as u32;
        Span { start, end }
    };
    let spans: Vec<Span> = records.iter().map(&mut span).collect();
    let payloads = Payloads {
        data: data.as_bytes(),
        spans: &spans,
    };
    let decoded = DebeziumDecoder::new(&columns, &[], options)?.decode(payloads)?;
    let ids = decoded.columns[0].as_primitive::<Int32Type>();
    let names = decoded.columns[1].as_string::<i32>();
    let kinds = decoded.kinds.expect("has kinds");
    let origin = decoded.origin.expect("has records");
    assert_eq!(
        (kinds.len(), origin.len()),
        (decoded.n_rows, decoded.n_rows)
    );
    let shown = |row: usize| {
        let kind: RowKind = kinds[row];
        let id = ids.is_valid(row).then(|| ids.value(row));
        let name = names.is_valid(row).then(|| names.value(row));
        (format!("{} {id:?} {name:?}", kind.short()), origin[row])
    };
    Ok((0..decoded.n_rows).map(shown).collect())
}

fn rows(options: DebeziumOptions, records: &[&str]) -> Vec<String> {
    let rows = decode(options, records).expect("decodes");
    rows.into_iter().map(|(row, _)| row).collect()
}

#[test]
fn events_give_the_changes_they_tell() {
    let events = [
        r#"{"before":null,"after":{"id":1,"name":"Ann"},"op":"r","ts_ms":3}"#,
        "",
        r#"{"op":"u","after":{"id":1,"name":"Éva"},"before":{"id":1}}"#,
        r#"{"before":{"id":9},"after":{"id":2},"op":"\u0063"}"#,
        r#"{"before":{"name":"x","id":3},"after":{"id":4},"op":"d"}"#,
    ];
    let expected = [
        (r#"+I Some(1) Some("Ann")"#, 0),
        ("-U Some(1) None", 2),
        (r#"+U Some(1) Some("Éva")"#, 2),
        ("+I Some(2) None", 3),
        (r#"-D Some(3) Some("x")"#, 4),
    ];
    let expected = expected.map(|(row, record)| (row.to_owned(), record));
    assert_eq!(
        decode(DebeziumOptions::default(), &events).unwrap(),
        expected
    );
}

#[test]
fn the_event_may_be_a_payload_beside_its_schema() {
    let options = DebeziumOptions {
        schema_include: true,
        ..DebeziumOptions::default()
    };
    let event = r#"{"schema":{"op":"x"},"payload":{"after":{"id":1},"op":"c"}}"#;
    assert_eq!(rows(options, &[event]), ["+I Some(1) None"]);
    let bare = r#"{"after":{"id":1},"op":"c"}"#;
    assert!(decode(options, &[bare]).is_err());
}

#[test]
fn what_is_no_event_fails_or_is_skipped() {
    let broken = [
        r#"{"before":null,"after":{"id":1},"op":"u"}"#,
        r#"{"before":{"id":1},"after":null,"op":"u"}"#,
        r#"{"before":null,"op":"d"}"#,
        r#"{"before":null,"after":null,"op":"c"}"#,
        r#"{"after":{"id":1},"op":"t"}"#,
        r#"{"after":{"id":1},"op":null}"#,
        r#"{"after":{"id":1}}"#,
        r#"{"after":5,"op":"c"}"#,
        r#"{"after":{"id":1},"op":"c""#,
        r#"[{"after":{"id":1},"op":"c"},{"after":{"id":1},"op":"c"}]"#,
        r#"[[{"after":{"id":1},"op":"c"}]]"#,
        r#"[{"after":{"id":1},"op":"c"},"#,
        r#"{"after":{"id":1},"op":["c"]}"#,
        "[]",
        "null",
    ];
    let good = r#"{"after":{"id":2},"op":"c"}"#;
    for event in broken {
        assert!(
            decode(DebeziumOptions::default(), &[event]).is_err(),
            "{event}"
        );
        assert_eq!(
            rows(lenient(), &[event, good]),
            ["+I Some(2) None"],
            "{event}"
        );
    }
    let missing = decode(DebeziumOptions::default(), &[broken[0]]).unwrap_err();
    assert!(
        missing.to_string().contains("REPLICA IDENTITY"),
        "{missing}"
    );
}

#[test]
fn an_array_may_stand_around_one_event() {
    let event = r#" [null, {"after":{"id":1},"op":"c"}]"#;
    assert_eq!(
        rows(DebeziumOptions::default(), &[event]),
        ["+I Some(1) None"]
    );
}

#[test]
fn a_bad_value_is_null_or_fails_also_where_it_is_not_emitted() {
    let event = r#"{"before":{"id":"x"},"after":{"id":1},"op":"c"}"#;
    assert_eq!(rows(lenient(), &[event]), ["+I Some(1) None"]);
    assert!(decode(DebeziumOptions::default(), &[event]).is_err());
}
