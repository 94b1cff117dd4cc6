//! The decoder against Flink's measured rules, and against a slow decoder over `serde_json` on random records.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{Field, Schema};
use arrow::util::display::array_value_to_string;
use kafka_client::Span;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::formats::json::decode::{JsonDecoder, JsonOptions};
use crate::formats::json::encode::{JsonEncoder, JsonEncoding};
use crate::formats::{Decoded, Decoder, Payloads};
use crate::table::{Column, ColumnKind, SqlType, TableDefinition, TablePath, TypeRoot};

fn column(name: &str, root: TypeRoot) -> Column {
    let data_type = SqlType {
        root,
        nullable: true,
    };
    Column {
        name: name.to_owned(),
        data_type,
        kind: ColumnKind::Physical,
    }
}

fn text() -> TypeRoot {
    TypeRoot::Varchar(i32::MAX as u32)
}

fn boxed(root: TypeRoot) -> Box<SqlType> {
    Box::new(SqlType {
        root,
        nullable: true,
    })
}

fn lenient() -> JsonOptions {
    JsonOptions {
        ignore_errors: true,
        ..JsonOptions::default()
    }
}

fn decode(columns: &[Column], options: JsonOptions, records: &[&[u8]]) -> Decoded {
    let mut data = Vec::new();
    let mut spans = Vec::new();
    for record in records {
        let start = data.len() as u32;
        data.extend_from_slice(record);
        spans.push(Span {
            start,
            end: data.len() as u32,
        });
    }
    let read: Vec<&Column> = columns.iter().collect();
    let mut decoder = JsonDecoder::new(&read, options).unwrap();
    let payloads = Payloads {
        data: &data,
        spans: &spans,
    };
    decoder.decode(payloads).unwrap()
}

/// The rows as JSON again, one a line.
fn shown(columns: &[Column], decoded: &Decoded) -> String {
    let fields = columns
        .iter()
        .map(|column| Field::new(&column.name, column.data_type.arrow(), true));
    let schema = std::sync::Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let batch = RecordBatch::try_new(schema.clone(), decoded.columns.clone()).unwrap();
    let mut encoder = JsonEncoder::new(&schema, JsonEncoding::default()).unwrap();
    let mut lines = Vec::new();
    for row in 0..batch.num_rows() {
        let mut line = Vec::new();
        encoder.encode_row(&batch, row, &mut line).unwrap();
        lines.push(String::from_utf8(line).unwrap());
    }
    lines.join("\n")
}

#[test]
fn bad_values_become_null_and_bad_records_are_skipped() {
    let columns = [
        column("i", TypeRoot::Int),
        column("s", text()),
        column("b", TypeRoot::Boolean),
        column("d", TypeRoot::Decimal(5, 2)),
        column("t", TypeRoot::Timestamp(3)),
        column("z", TypeRoot::TimestampLtz(3)),
    ];
    let records: [&[u8]; 10] = [
        br#"{"i":"12","s":{"o": [1, 2]},"b":"maybe","d":"1.005","t":"2020-12-30 12:13:14.123","z":"2020-12-30 12:13:14Z"}"#,
        br#"{"i":1.7,"s":1.50,"b":1,"d":123456,"t":"2020-12-30T12:13:14","z":"2020-12-30 12:13:14"}"#,
        br#"{"i":2147483648,"s":true,"b":true,"d":null,"x":[1,{"y":2}]}"#,
        br#"{}"#,
        b"",
        br#"{"i":1"#,
        br#"nonsense"#,
        br#"{"i":1,"i":2,"S":"other case"}"#,
        br#"[{"i":3},{"i":4}]"#,
        b"{\"i\":5,\"s\":\"a\\u00e4\\n\\\"\"} trailing",
    ];
    let decoded = decode(&columns, lenient(), &records);
    expect_test::expect![[r#"
        {"i":12,"s":"{\"o\":[1,2]}","b":false,"d":1.01,"t":"2020-12-30 12:13:14.123","z":"2020-12-30 12:13:14Z"}
        {"i":1,"s":"1.50","b":false,"d":null,"t":null,"z":null}
        {"i":null,"s":"true","b":true,"d":null,"t":null,"z":null}
        {"i":null,"s":null,"b":null,"d":null,"t":null,"z":null}
        {"i":2,"s":null,"b":null,"d":null,"t":null,"z":null}
        {"i":3,"s":null,"b":null,"d":null,"t":null,"z":null}
        {"i":4,"s":null,"b":null,"d":null,"t":null,"z":null}
        {"i":5,"s":"aä\n\"","b":null,"d":null,"t":null,"z":null}"#]]
    .assert_eq(&shown(&columns, &decoded));
    assert_eq!(decoded.n_bad, 2);
    assert_eq!(decoded.origin, Some(vec![0, 1, 2, 3, 7, 8, 8, 9]));
}

#[test]
fn nested_values_keep_their_good_parts() {
    let point = TypeRoot::Row(vec![
        ("x".to_owned(), *boxed(TypeRoot::Double)),
        ("y".to_owned(), *boxed(TypeRoot::Int)),
    ]);
    let columns = [
        column("p", point),
        column("a", TypeRoot::Array(boxed(TypeRoot::Int))),
        column("m", TypeRoot::Map(boxed(text()), boxed(TypeRoot::BigInt))),
    ];
    let records: [&[u8]; 4] = [
        br#"{"p":{"x":1.5,"y":"no"},"a":[1,"x",3,null],"m":{"a":1,"b":"c","a":9}}"#,
        br#"{"p":7,"a":{},"m":[1]}"#,
        br#"{"p":{"x":1.5,"y":2"#,
        br#"{"m":{},"a":[],"p":{}}"#,
    ];
    let decoded = decode(&columns, lenient(), &records);
    expect_test::expect![[r#"
        {"p":{"x":1.5,"y":null},"a":[1,null,3,null],"m":{"a":9,"b":null}}
        {"p":null,"a":null,"m":null}
        {"p":{"x":null,"y":null},"a":[],"m":{}}"#]]
    .assert_eq(&shown(&columns, &decoded));
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let columns = [column("i", TypeRoot::Int)];
    let records: [&[u8]; 3] = [
        b"\xef\xbb\xbf {\"i\":1}",
        b" \xef\xbb\xbf{\"i\":2}",
        b"\xef\xbb\xbf[{\"i\":3},{\"i\":4}]",
    ];
    let decoded = decode(&columns, lenient(), &records);
    assert_eq!(shown(&columns, &decoded), "{\"i\":1}\n{\"i\":3}\n{\"i\":4}");
    assert_eq!(decoded.n_bad, 1);
}

/// A repeated name may be spelled with escapes.
#[test]
fn of_a_maps_equal_names_the_last_one_counts() {
    let columns = [column(
        "m",
        TypeRoot::Map(boxed(text()), boxed(TypeRoot::BigInt)),
    )];
    let record = br#"{"m":{"a":1,"b":2,"\u0061":3,"b":4,"\u0062":5}}"#;
    let decoded = decode(&columns, lenient(), &[record]);
    assert_eq!(shown(&columns, &decoded), r#"{"m":{"a":3,"b":5}}"#);
}

/// As with Jackson's `ALLOW_UNESCAPED_CONTROL_CHARS`, which Flink's format turns on.
#[test]
fn strings_may_have_control_characters() {
    let columns = [column("s", text()), column("i", TypeRoot::Int)];
    let records: [&[u8]; 4] = [
        b"{\"s\":\"one\ntwo\tthree\",\"i\":1}",
        b"{\"s\":\"\0 \x1f and a long plain rest\",\"i\":2}",
        b"{\"s\":[\"a\nb\"],\"x\ny\":\"\r\",\"i\":3}",
        b"{\"s\":\"no end\n",
    ];
    let decoded = decode(&columns, lenient(), &records);
    assert_eq!(
        shown(&columns, &decoded),
        [
            r#"{"s":"one\ntwo\tthree","i":1}"#,
            r#"{"s":"\u0000 \u001F and a long plain rest","i":2}"#,
            r#"{"s":"[\"a\\nb\"]","i":3}"#,
        ]
        .join("\n")
    );
    assert_eq!(decoded.n_bad, 1);
}

#[test]
fn a_decimal_column_keeps_numbers_in_text_exact() {
    let nested = TypeRoot::Row(vec![("d".to_owned(), *boxed(TypeRoot::Decimal(5, 2)))]);
    for (root, expected) in [
        (TypeRoot::Double, r#"[1.23456785E7]"#),
        (TypeRoot::Decimal(5, 2), "[12345678.5]"),
        (TypeRoot::Array(boxed(nested)), "[12345678.5]"),
    ] {
        let columns = vec![column("s", text()), column("other", root)];
        let table = TableDefinition {
            path: TablePath {
                catalog: "c".to_owned(),
                database: "d".to_owned(),
                table: "t".to_owned(),
            },
            columns: columns.clone(),
            watermark: None,
            primary_key: Vec::new(),
            partitioned_by: Vec::new(),
            options: Default::default(),
        };
        let options = JsonOptions::of(&table).unwrap();
        let decoded = decode(&columns[..1], options, &[br#"{"s":[12345678.50]}"#]);
        assert_eq!(
            array_value_to_string(&decoded.columns[0], 0).unwrap(),
            expected
        );
    }
}

#[test]
fn a_strict_table_says_which_record_is_bad() {
    let columns = [column("i", TypeRoot::Int)];
    let read: Vec<&Column> = columns.iter().collect();
    let mut decoder = JsonDecoder::new(&read, JsonOptions::default()).unwrap();
    let data = br#"{"i":"x"}"#;
    let spans = [Span {
        start: 0,
        end: data.len() as u32,
    }];
    let error = decoder
        .decode(Payloads {
            data,
            spans: &spans,
        })
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"Failed to deserialize JSON '{"i":"x"}': a value does not fit its column"#
    );
}

/// What the slow decoder makes of a member for a column of BIGINT, STRING, BOOLEAN, DOUBLE.
fn slow(value: &Value, column: usize) -> Option<String> {
    match (column, value) {
        (_, Value::Null) => None,
        (0, Value::Number(number)) => match number.as_i64() {
            Some(number) => Some(number.to_string()),
            None => {
                let number = number.as_f64()?.trunc();
                (number.abs() < 9.0e18).then(|| (number as i64).to_string())
            }
        },
        (0, Value::String(text)) => text
            .trim()
            .parse::<i64>()
            .ok()
            .map(|number| number.to_string()),
        (1, Value::String(text)) => Some(spelled_once(text)),
        (1, other) => Some(spelled_once(&other.to_string())),
        (2, Value::Bool(value)) => Some(value.to_string()),
        (2, Value::String(text)) => Some(text.trim().eq_ignore_ascii_case("true").to_string()),
        (2, Value::Number(_)) => Some("false".to_owned()),
        (3, Value::Number(number)) => Some(number.as_f64()?.to_string()),
        (3, Value::String(text)) => slow_double(text.trim()).map(|number| number.to_string()),
        _ => None,
    }
}

/// One spelling of numbers: a `STRING` column takes `1.50` as it is written, and those inside a
/// container as Java prints doubles.
fn spelled_once(text: &str) -> String {
    let value: Result<Value, _> = serde_json::from_str(text);
    value.map_or_else(|_| text.to_owned(), |value| value.to_string())
}

/// As `Double.parseDouble`: a suffix of Java's literals may follow a decimal number, and its two
/// words have one spelling. Its hexadecimal numbers (`0x1p3`) are read by neither decoder.
fn slow_double(text: &str) -> Option<f64> {
    match text.strip_prefix(['+', '-']).unwrap_or(text) {
        "NaN" | "Infinity" => text.parse().ok(),
        word if word.starts_with(|letter: char| letter.is_ascii_alphabetic()) => None,
        _ => text
            .strip_suffix(['d', 'D', 'f', 'F'])
            .unwrap_or(text)
            .parse()
            .ok(),
    }
}

fn slow_rows(record: &[u8]) -> Vec<Vec<Option<String>>> {
    let first = serde_json::Deserializer::from_slice(record)
        .into_iter::<Value>()
        .next();
    let row = |object: &serde_json::Map<String, Value>| {
        let of = |column: usize, name: &str| object.get(name).and_then(|value| slow(value, column));
        vec![of(0, "a"), of(1, "b"), of(2, "c"), of(3, "d")]
    };
    match first {
        Some(Ok(Value::Object(object))) => vec![row(&object)],
        Some(Ok(Value::Array(items))) if items.iter().all(Value::is_object) => {
            items.iter().filter_map(Value::as_object).map(row).collect()
        }
        _ => Vec::new(),
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-4000i64..4000).prop_map(|quarters| json!(quarters as f64 / 4.0)),
        "[ a-z0-9äß\\\\\"\n]{0,8}".prop_map(Value::from),
        (0u32..1000).prop_map(|number| Value::from(number.to_string())),
        Just(Value::from(" TRUE ")),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => scalar(),
        1 => prop::collection::vec(scalar(), 0..3).prop_map(Value::from),
        1 => scalar().prop_map(|inner| json!({ "k": inner })),
    ]
}

fn record() -> impl Strategy<Value = Vec<u8>> {
    let members = prop::collection::vec(
        (
            prop::sample::select(vec!["a", "b", "c", "d", "x", "yy"]),
            value(),
        ),
        0..7,
    );
    (members, any::<bool>()).prop_map(|(members, spaced)| {
        let (colon, comma) = if spaced { (" : ", " ,\t") } else { (":", ",") };
        let members = members
            .iter()
            .map(|(name, value)| format!("\"{name}\"{colon}{value}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(comma)).into_bytes()
    })
}

/// A record, perhaps with one byte changed or its end missing.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    (record(), 0usize..3, any::<prop::sample::Index>(), "[ -~]").prop_map(
        |(mut record, damage, at, letter)| {
            let at = at.index(record.len());
            match damage {
                0 => {}
                1 => record[at] = letter.as_bytes()[0],
                _ => record.truncate(at),
            }
            record
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_records_are_read_as_by_the_slow_decoder(records in prop::collection::vec(damaged(), 1..12)) {
        // A lone surrogate is an error to serde_json and a question mark to Jackson; an exponent may overflow.
        let exponent = |pair: &[u8]| pair[0].is_ascii_digit() && matches!(pair[1], b'e' | b'E');
        prop_assume!(!records.iter().any(|record| {
            record.windows(2).any(|pair| pair == b"\\u" || exponent(pair))
        }));
        let columns = [
            column("a", TypeRoot::BigInt),
            column("b", text()),
            column("c", TypeRoot::Boolean),
            column("d", TypeRoot::Double),
        ];
        let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let decoded = decode(&columns, lenient(), &slices);
        let expected: Vec<_> = records.iter().flat_map(|record| slow_rows(record)).collect();
        let mut found = Vec::new();
        for row in 0..decoded.n_rows {
            let values = decoded.columns.iter().map(|column| {
                column.is_valid(row).then(|| {
                    let text = array_value_to_string(column, row).unwrap();
                    if column.data_type().is_floating() {
                        text.parse::<f64>().unwrap().to_string()
                    } else {
                        spelled_once(&text)
                    }
                })
            });
            found.push(values.collect::<Vec<_>>());
        }
        prop_assert_eq!(found, expected);
    }
}
