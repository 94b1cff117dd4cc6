//! The steps of `sql/clickstream.sql` on a handful of records, with files for Kafka and for the lake.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use stream_processor::{Config, run_script};

use crate::golden::{materialised, testkit_chain, written};

/// The demo's script with its topic and its tables as files below `root`.
fn script(root: &Path) -> String {
    let original = include_str!("../../../sql/clickstream.sql");
    let mut script = String::new();
    for statement in stream_processor::sql::split(original).unwrap() {
        let text = statement.text;
        let folder = |name: &str| format!("file://{}", root.join(name).display());
        if text.starts_with("CREATE TABLE clickstream (") {
            let columns = text.split_once("\n) WITH").unwrap().0;
            let columns = columns
                .replace(" METADATA FROM 'timestamp' VIRTUAL", "")
                .replace(" METADATA VIRTUAL", "");
            let path = folder("topic");
            write!(script, "{columns}) WITH ('connector' = 'filesystem', 'format' = 'json', 'path' = '{path}');").unwrap();
        } else if text.starts_with("CREATE CATALOG") {
            script.push_str("CREATE CATALOG iceberg WITH ('type' = 'generic_in_memory');");
        } else if let Some(rest) = text.strip_prefix("CREATE TABLE IF NOT EXISTS iceberg.") {
            let name = rest.split_once(' ').unwrap().0;
            let columns = rest.split_once("\n)").unwrap().0;
            let path = folder(name);
            write!(
                script,
                "CREATE TABLE iceberg.{columns}) WITH ('connector' = 'filesystem', 'format' = 'debezium-json', 'path' = '{path}');"
            )
            .unwrap();
        } else {
            let inputs = folder("demo");
            script.push_str(&text.replace("file:///tmp/streamforge/demo", &inputs));
            script.push_str(";\n");
        }
    }
    script
}

fn event(id: &str, second: u32, action: &str, value: Option<f64>) -> String {
    json!({
        "event_identifier": id, "account_id": "a1", "action_name": action, "source_path": "/home",
        "session_token": "s1", "platform_type": "mobile",
        "timestamp_utc": format!("2026-03-01T10:00:{second:02}.000Z"),
        "location": {"latitude": 52.5, "longitude": 13.4}, "monetary_value": value,
    })
    .to_string()
}

fn prepare(root: &Path) {
    let payloads = [
        event("e1", 1, "page_view", None),
        event("e2", 2, "purchase", Some(80.5)),
        event("e2", 2, "purchase", Some(80.5)),
        "{\"broken".to_owned(),
        event("e3", 3, "teleport", None),
        event("e4", 4, "purchase", Some(20.0)),
        json!({"event_identifier": "e5"}).to_string(),
    ];
    let mut topic = String::new();
    for (offset, payload) in payloads.iter().enumerate() {
        let record = json!({
            "key": "s1", "payload": payload, "topic": "clickstream", "partition": 0, "offset": offset,
            "kafka_timestamp": "2026-03-01 10:00:10Z",
        });
        writeln!(topic, "{record}").unwrap();
    }
    for (folder, file, text) in [
        ("topic", "part-0.json", topic.as_str()),
        (
            "demo/accounts",
            "part-0.json",
            "{\"account_id\":\"a1\",\"country\":\"DE\",\"segment\":\"pro\",\"created_at\":\"2025-01-01 00:00:00.000\"}\n",
        ),
        (
            "demo/pages",
            "part-0.json",
            "{\"source_path\":\"/home\",\"page_title\":\"Home\",\"page_category\":\"start\"}\n",
        ),
    ] {
        fs::create_dir_all(root.join(folder)).unwrap();
        fs::write(root.join(folder).join(file), text).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_reaches_the_tables_it_belongs_to() {
    let root = testkit::temp_dir();
    prepare(root.path());
    run_script(Config::default(), &script(root.path()))
        .await
        .unwrap_or_else(|error| panic!("{}", testkit_chain(&error)));
    let rows = |table: &str| materialised(&written(&root.path().join(table)));
    let column = |table: &str, name: &str| -> Vec<Value> {
        let mut values: Vec<Value> = rows(table).iter().map(|row| row[name].clone()).collect();
        values.sort_by_key(Value::to_string);
        values
    };
    assert_eq!(rows("bronze.clickstream").len(), 7);
    assert_eq!(
        column("silver.clickstream_rejected", "reason"),
        [
            "account_id is missing",
            "action_name is unknown",
            "not a JSON object"
        ]
    );
    assert_eq!(
        column("silver.clickstream", "event_identifier"),
        ["e1", "e2", "e4"]
    );
    assert_eq!(column("silver.clickstream", "country"), ["DE", "DE", "DE"]);
    assert_eq!(column("silver.clickstream", "latitude"), [52.5, 52.5, 52.5]);
    assert_eq!(column("silver.conversions", "event_identifier"), ["e2"]);
    assert_eq!(column("gold.activity_per_minute", "events"), [1, 2]);
    assert_eq!(
        rows("gold.sessions"),
        [json!({
            "session_token": "s1", "account_id": "a1", "window_start": "2026-03-01 10:00:01",
            "window_end": "2026-03-01 10:00:34", "events": 3, "purchases": 2, "revenue": 100.5,
        })]
    );
    assert_eq!(
        column("gold.revenue_by_country", "revenue"),
        [100.5, 100.5, 100.5, 100.5, 100.5]
    );
    assert_eq!(column("gold.funnel", "step"), ["page_view", "purchase"]);
    assert_eq!(rows("gold.late_events"), Vec::<Value>::new());
}
