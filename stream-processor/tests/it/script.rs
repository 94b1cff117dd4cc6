//! `run_script`: a file of SQL over files.

use std::path::Path;

use stream_processor::{Config, run_script};

fn rows(directory: &Path) -> Vec<String> {
    let mut rows = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with("part-"), "left behind: {name}");
        let text = std::fs::read_to_string(path).unwrap();
        rows.extend(text.lines().map(str::to_owned));
    }
    rows.sort();
    rows
}

fn script(input: &Path, output: &Path, rest: &str) -> String {
    format!(
        "CREATE TABLE clicks (account BIGINT, amount INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
           WITH ('connector' = 'filesystem', 'path' = 'file://{}', 'format' = 'json', 'json.ignore-parse-errors' = 'true');
         CREATE TABLE totals (w TIMESTAMP(3), account BIGINT, total BIGINT)
           WITH ('connector' = 'filesystem', 'path' = 'file://{}', 'format' = 'json');
         {rest}",
        input.display(),
        output.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_windowed_query_over_files_ends_with_its_rows() {
    let root = testkit::temp_dir();
    let (input, output) = (root.path().join("in"), root.path().join("out"));
    std::fs::create_dir(&input).unwrap();
    let mut text = String::new();
    for row in 0..1000 {
        let (account, second) = (row % 3, row % 20);
        text.push_str(&format!(
            "{{\"account\":{account},\"amount\":1,\"ts\":\"2026-01-01 00:00:{second:02}\"}}\n"
        ));
    }
    text.push_str("not a record\n");
    std::fs::write(input.join("clicks.json"), text).unwrap();
    let script = script(
        &input,
        &output,
        "INSERT INTO totals SELECT window_start, account, CAST(SUM(amount) AS BIGINT)
           FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
           GROUP BY window_start, window_end, account;",
    );
    run_script(Config::default(), &script).await.unwrap();
    assert_eq!(
        rows(&output),
        [
            r#"{"w":"2026-01-01 00:00:00","account":0,"total":334}"#,
            r#"{"w":"2026-01-01 00:00:00","account":1,"total":333}"#,
            r#"{"w":"2026-01-01 00:00:00","account":2,"total":333}"#,
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn and_and_or_ask_their_right_side_only_where_the_left_has_not_decided() {
    let root = testkit::temp_dir();
    let (input, output) = (root.path().join("in"), root.path().join("out"));
    std::fs::create_dir(&input).unwrap();
    let amounts = ["0", "10", "50", "null", "0", "20", "5", "0"];
    let lines = amounts.iter().enumerate().map(|(account, amount)| {
        format!("{{\"account\":{account},\"amount\":{amount},\"ts\":\"2026-01-01 00:00:00\"}}\n")
    });
    std::fs::write(input.join("clicks.json"), lines.collect::<String>()).unwrap();
    for (condition, expected) in [
        ("amount <> 0 AND 100 / amount > 5", vec![1, 6]),
        ("amount = 0 OR 100 / amount > 5", vec![0, 1, 4, 6, 7]),
        ("NOT (amount = 0 OR 100 / amount > 5)", vec![2, 5]),
    ] {
        let script = script(
            &input,
            &output,
            &format!(
                "INSERT INTO totals SELECT ts, account, account FROM clicks WHERE {condition};"
            ),
        );
        run_script(Config::default(), &script).await.unwrap();
        let expected: Vec<String> = expected
            .iter()
            .map(|account| {
                format!(
                    "{{\"w\":\"2026-01-01 00:00:00\",\"account\":{account},\"total\":{account}}}"
                )
            })
            .collect();
        assert_eq!(rows(&output), expected, "{condition}");
        std::fs::remove_dir_all(&output).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_option_that_is_not_known_is_refused() {
    let root = testkit::temp_dir();
    std::fs::create_dir(root.path().join("in")).unwrap();
    let script = script(
        &root.path().join("in"),
        &root.path().join("out"),
        "INSERT INTO totals /*+ OPTIONS('sink.rolling-policy.file-size' = '1MB') */
           SELECT ts, account, CAST(amount AS BIGINT) FROM clicks;",
    );
    let error = run_script(Config::default(), &script).await.unwrap_err();
    let error = telemetry::chain(&error).to_string();
    assert!(error.contains("sink.rolling-policy.file-size"), "{error}");
}

/// What a query of clicks leaves in the changelog sink `best`: its values by the names of their columns.
async fn best(
    clicks: &[(i64, &str)],
    columns: &str,
    query: &str,
    parallelism: usize,
) -> Vec<String> {
    let root = testkit::temp_dir();
    let (input, output) = (root.path().join("in"), root.path().join("out"));
    std::fs::create_dir(&input).unwrap();
    let line = |(second, (account, amount)): (usize, &(i64, &str))| {
        format!(
            "{{\"account\":{account},\"amount\":{amount},\"ts\":\"2026-01-01 00:00:{second:02}\"}}\n"
        )
    };
    let lines: String = clicks.iter().enumerate().map(line).collect();
    std::fs::write(input.join("clicks.json"), lines).unwrap();
    let script = script(
        &input,
        &root.path().join("none"),
        &format!(
            "SET 'parallelism.default' = '{parallelism}';
             CREATE TABLE best ({columns}) WITH ('connector' = 'filesystem', 'path' = 'file://{}', 'format' = 'debezium-json');
             INSERT INTO best {query};",
            output.display()
        ),
    );
    run_script(Config::default(), &script).await.unwrap();
    let left = crate::golden::materialised(&crate::golden::written(&output));
    let values = |row: serde_json::Value| {
        let values = row.as_object().unwrap().values().map(ToString::to_string);
        values.collect::<Vec<_>>().join(" ")
    };
    let mut left: Vec<String> = left.into_iter().map(values).collect();
    left.sort();
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_of_updating_rows_are_those_of_the_last_sums() {
    let clicks = [
        (1, "5"),
        (2, "9"),
        (3, "7"),
        (1, "5"),
        (2, "-8"),
        (4, "null"),
        (5, "7"),
    ];
    let sums = "SELECT account, SUM(amount) AS s FROM clicks GROUP BY account";
    for (query, expected) in [
        (
            "SELECT rn, account, s FROM (SELECT *, ROW_NUMBER() OVER (ORDER BY s DESC, account) AS rn FROM sums) WHERE rn <= 3",
            vec!["1 1 10", "3 2 7", "5 3 7"],
        ),
        // What an outer query asks further is asked of the best.
        (
            "SELECT rn, account, s FROM (SELECT * FROM (SELECT *, ROW_NUMBER() OVER (ORDER BY s DESC NULLS FIRST, account DESC) AS rn
               FROM sums) WHERE s IS NOT NULL) WHERE rn BETWEEN 1 AND 3 AND account <> 5",
            vec!["1 2 10"],
        ),
        (
            "SELECT rn, account, s FROM (SELECT account, s, ROW_NUMBER() OVER (PARTITION BY s > 5 ORDER BY account) AS rn FROM sums)
               WHERE rn = 2",
            vec!["3 2 7"],
        ),
        (
            "SELECT CAST(0 AS BIGINT), account, s FROM sums ORDER BY -s, account LIMIT 2 OFFSET 2",
            vec!["3 0 7", "5 0 7"],
        ),
        (
            "SELECT COUNT(*), CAST(0 AS BIGINT), 0 FROM (SELECT account FROM clicks LIMIT 3)",
            vec!["0 3 0"],
        ),
    ] {
        for parallelism in [1, 3] {
            let query = format!("WITH sums AS ({sums}) {query}");
            let columns = "rn BIGINT, account BIGINT, s INT";
            let found = best(&clicks, columns, &query, parallelism).await;
            assert_eq!(found, expected, "{query} with {parallelism}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_equal_counts_that_which_was_reached_first_is_the_better() {
    let clicks = [1, 2, 3, 2, 1, 4, 4].map(|account| (account, "1"));
    let query = "SELECT account, rn, c FROM (
           SELECT account, CAST(COUNT(*) AS INT) AS c, ROW_NUMBER() OVER (ORDER BY COUNT(*) DESC) AS rn
             FROM clicks GROUP BY account HAVING COUNT(*) > 1)
         WHERE rn <= 2";
    let columns = "account BIGINT, rn BIGINT, c INT";
    assert_eq!(best(&clicks, columns, query, 1).await, ["1 2 2", "2 2 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_sorted_by_their_time_across_instances() {
    let root = testkit::temp_dir();
    let (input, output) = (root.path().join("in"), root.path().join("out"));
    std::fs::create_dir(&input).unwrap();
    for file in 0..3 {
        let line = |row: i64| {
            // None is behind the watermark.
            let second = (row * 7 + file) % 5;
            format!(
                "{{\"account\":{row},\"amount\":{file},\"ts\":\"2026-01-01 00:00:{second:02}\"}}\n"
            )
        };
        let lines: String = (0..20).map(line).collect();
        std::fs::write(input.join(format!("{file}.json")), lines).unwrap();
    }
    let script = script(
        &input,
        &output,
        "SET 'parallelism.default' = '2';
         INSERT INTO totals SELECT CAST(ts AS TIMESTAMP(3)), account, CAST(amount AS BIGINT) FROM clicks ORDER BY ts, amount;",
    );
    run_script(Config::default(), &script).await.unwrap();
    let lines = crate::golden::written(&output);
    let mut sorted = lines.clone();
    sorted.sort_by_key(|line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        (row["w"].to_string(), row["total"].as_i64())
    });
    assert_eq!(lines.len(), 60);
    assert_eq!(lines, sorted);
}
