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
