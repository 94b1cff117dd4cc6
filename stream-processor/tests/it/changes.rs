//! Sources whose records are changes: `debezium-json` over files.

use std::path::Path;

use stream_processor::{Config, run_script};

use crate::golden::{materialised, testkit_chain, written};

const EVENTS: &str = r#"{"before":null,"after":{"id":1,"tags":["a","b"],"n":10},"op":"r"}
{"before":null,"after":{"id":2,"tags":["c"],"n":20},"op":"c"}

{"before":{"id":1,"tags":["a","b"],"n":10},"after":{"id":1,"tags":["b"],"n":11},"op":"u"}
{"before":{"id":2,"tags":["c"],"n":20},"after":null,"op":"d"}
{"before":null,"after":{"id":3,"tags":null,"n":30},"op":"c"}
"#;

fn script(root: &Path, settings: &str, options: &str, events: &str, rest: &str) -> String {
    let (input, output) = (root.join("in.jsonl"), root.join("out"));
    std::fs::write(&input, events).unwrap();
    format!(
        "{settings}
         CREATE TABLE t (id INT, tags ARRAY<STRING>, n INT, PRIMARY KEY (id) NOT ENFORCED)
           WITH ('connector' = 'filesystem', 'format' = 'debezium-json', 'path' = 'file://{}'{options});
         CREATE TABLE o {rest}",
        input.display(),
    )
    .replace("OUT", &format!("'connector' = 'filesystem', 'path' = 'file://{}'", output.display()))
}

async fn outcome(
    settings: &str,
    options: &str,
    events: &str,
    rest: &str,
) -> Result<Vec<String>, String> {
    let root = testkit::temp_dir();
    let script = script(root.path(), settings, options, events, rest);
    let ran = run_script(Config::default(), &script).await;
    ran.map_err(|error| testkit_chain(&error))?;
    Ok(written(&root.path().join("out")))
}

async fn changelog(rest: &str) -> Vec<String> {
    let lines = outcome("", "", EVENTS, rest).await;
    lines.unwrap_or_else(|error| panic!("{error}"))
}

fn sorted(lines: &[String]) -> Vec<String> {
    let mut rows: Vec<String> = materialised(lines)
        .iter()
        .map(ToString::to_string)
        .collect();
    rows.sort();
    rows
}

const DEBEZIUM: &str = "WITH (OUT, 'format' = 'debezium-json');";

#[tokio::test(flavor = "multi_thread")]
async fn changes_pass_filters_and_are_written_as_changes() {
    let rest =
        format!("(id INT, n INT) {DEBEZIUM} INSERT INTO o SELECT id, n FROM t WHERE id < 3;");
    assert_eq!(
        changelog(&rest).await,
        [
            r#"{"before":null,"after":{"id":1,"n":10},"op":"c"}"#,
            r#"{"before":null,"after":{"id":2,"n":20},"op":"c"}"#,
            r#"{"before":{"id":1,"n":10},"after":null,"op":"d"}"#,
            r#"{"before":null,"after":{"id":1,"n":11},"op":"c"}"#,
            r#"{"before":{"id":2,"n":20},"after":null,"op":"d"}"#,
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unnest_passes_on_what_rows_do() {
    let rest = format!(
        "(id INT, tag STRING) {DEBEZIUM} INSERT INTO o SELECT id, tag FROM t LEFT JOIN UNNEST(tags) AS u (tag) ON TRUE;"
    );
    let lines = changelog(&rest).await;
    assert_eq!(lines.len(), 8, "{lines:?}");
    assert_eq!(
        sorted(&lines),
        [r#"{"id":1,"tag":"b"}"#, r#"{"id":3,"tag":null}"#]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_take_back_what_was_deleted() {
    let rest = format!(
        "(tag STRING, c BIGINT, s INT) {DEBEZIUM}
         INSERT INTO o SELECT tag, COUNT(*), SUM(n) FROM t CROSS JOIN UNNEST(tags) AS u (tag) GROUP BY tag;"
    );
    assert_eq!(
        sorted(&changelog(&rest).await),
        [r#"{"c":1,"s":11,"tag":"b"}"#]
    );
    let rest = format!("(c BIGINT) {DEBEZIUM} INSERT INTO o SELECT COUNT(*) FROM t;");
    assert_eq!(sorted(&changelog(&rest).await), [r#"{"c":2}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_and_what_cannot_take_changes() {
    let all = "(id INT, n INT) WITH (OUT, 'format' = 'debezium-json'); INSERT INTO o SELECT id, n FROM t;";
    let no_before = r#"{"before":null,"after":{"id":1},"op":"u"}"#;
    let missing = outcome("", "", no_before, all).await.unwrap_err();
    assert!(
        missing.contains(r#"The "before" field of UPDATE message is null"#),
        "{missing}"
    );
    let ignore = ", 'debezium-json.ignore-parse-errors' = 'true'";
    assert!(
        outcome("", ignore, no_before, all)
            .await
            .unwrap()
            .is_empty()
    );
    let include = ", 'debezium-json.schema-include' = 'true'";
    let event = r#"{"schema":{},"payload":{"after":{"id":1,"n":2},"op":"c"}}"#;
    let lines = outcome("", include, event, all).await.unwrap();
    assert_eq!(
        lines,
        [r#"{"before":null,"after":{"id":1,"n":2},"op":"c"}"#]
    );

    let json = "(id INT, n INT) WITH (OUT, 'format' = 'json'); INSERT INTO o SELECT id, n FROM t;";
    let refused = outcome("", "", EVENTS, json).await.unwrap_err();
    assert!(
        refused.contains("does not support consuming update changes"),
        "{refused}"
    );
    let batch = "SET 'execution.runtime-mode' = 'batch';";
    let refused = outcome(batch, "", EVENTS, all).await.unwrap_err();
    assert!(refused.contains("INSERT-only table sources"), "{refused}");
    let sink = "(id INT, n INT) WITH (OUT, 'format' = 'debezium-json', 'debezium-json.schema-include' = 'true'); INSERT INTO o SELECT id, n FROM t;";
    let refused = outcome("", "", EVENTS, sink).await.unwrap_err();
    assert!(refused.contains("schema-include"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporal_join_passes_on_what_its_left_rows_do() {
    let root = testkit::temp_dir();
    let event = |before: &str, after: &str, op: &str| {
        format!("{{\"before\":{before},\"after\":{after},\"op\":\"{op}\"}}\n")
    };
    let order = |id: i32, currency: &str, minute: i32| {
        format!(r#"{{"id":{id},"c":"{currency}","ts":"2026-01-01 00:{minute:02}:00"}}"#)
    };
    let orders = [
        event("null", &order(1, "EUR", 1), "c"),
        event("null", &order(2, "EUR", 6), "c"),
        event(&order(1, "EUR", 1), &order(1, "USD", 7), "u"),
        event(&order(2, "EUR", 6), "null", "d"),
        event("null", &order(3, "EUR", 8), "c"),
    ];
    std::fs::write(root.path().join("orders.jsonl"), orders.concat()).unwrap();
    let rate = |currency: &str, minute: i32, rate: i32| {
        format!(
            "{{\"c\":\"{currency}\",\"since\":\"2026-01-01 00:{minute:02}:00\",\"rate\":{rate}}}\n"
        )
    };
    let rates = [rate("EUR", 0, 1), rate("USD", 0, 2), rate("EUR", 5, 3)];
    std::fs::write(root.path().join("rates.jsonl"), rates.concat()).unwrap();
    let script = r"
        CREATE TABLE orders (id INT, c STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
          WITH ('connector' = 'filesystem', 'path' = 'file://ROOT/orders.jsonl', 'format' = 'debezium-json');
        CREATE TABLE rates (c STRING, since TIMESTAMP(3), rate INT, PRIMARY KEY (c) NOT ENFORCED, WATERMARK FOR since AS since)
          WITH ('connector' = 'filesystem', 'path' = 'file://ROOT/rates.jsonl', 'format' = 'json');
        CREATE TABLE o (id INT, rate INT) WITH ('connector' = 'filesystem', 'path' = 'file://ROOT/out', 'format' = 'debezium-json');
        INSERT INTO o SELECT o.id, r.rate FROM orders o JOIN rates FOR SYSTEM_TIME AS OF o.ts AS r ON o.c = r.c;";
    let script = script.replace("ROOT", &root.path().display().to_string());
    run_script(Config::default(), &script).await.unwrap();
    let rows = sorted(&written(&root.path().join("out")));
    assert_eq!(rows, [r#"{"id":1,"rate":2}"#, r#"{"id":3,"rate":3}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_whose_rows_were_all_taken_back_are_left_out() {
    let root = testkit::temp_dir();
    let row =
        |id: i32, minute: i32| format!(r#"{{"id":{id},"ts":"2026-01-01 00:{minute:02}:00"}}"#);
    let events = [
        format!("{{\"after\":{},\"op\":\"c\"}}\n", row(1, 1)),
        format!("{{\"before\":{},\"op\":\"d\"}}\n", row(1, 1)),
        format!("{{\"after\":{},\"op\":\"c\"}}\n", row(2, 2)),
        format!(
            "{{\"before\":{},\"after\":{},\"op\":\"u\"}}\n",
            row(2, 2),
            row(2, 7)
        ),
        format!("{{\"after\":{},\"op\":\"c\"}}\n", row(3, 8)),
    ];
    std::fs::write(root.path().join("in.jsonl"), events.concat()).unwrap();
    let script = r"
        CREATE TABLE t (id INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE)
          WITH ('connector' = 'filesystem', 'path' = 'file://ROOT/in.jsonl', 'format' = 'debezium-json');
        CREATE TABLE o (w TIMESTAMP(3), n BIGINT, s INT)
          WITH ('connector' = 'filesystem', 'path' = 'file://ROOT/out', 'format' = 'json');
        INSERT INTO o SELECT window_start, COUNT(*), SUM(id)
          FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '5' MINUTE)) GROUP BY window_start, window_end;";
    let script = script.replace("ROOT", &root.path().display().to_string());
    run_script(Config::default(), &script).await.unwrap();
    let rows = written(&root.path().join("out"));
    assert_eq!(rows, [r#"{"w":"2026-01-01 00:05:00","n":2,"s":5}"#]);
}
