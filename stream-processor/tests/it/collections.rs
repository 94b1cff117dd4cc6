//! UNNEST, VALUES and SELECT without FROM, by the rows that they write.

use stream_processor::{Config, run_script};

use crate::golden::{testkit_chain, written};

const ORDERS: &str = r#"{"id":1,"items":[{"sku":"a","qty":2},{"sku":"b","qty":1}],"tags":["x","y"],"props":{"k":"v"}}
{"id":2,"items":[],"tags":null,"props":{}}
{"id":3,"items":[{"sku":"c","qty":5},null],"tags":["z",null]}
"#;

/// What `INSERT INTO o <query>` writes, sorted, or why it is refused.
async fn outcome(columns: &str, query: &str) -> Result<Vec<String>, String> {
    let root = testkit::temp_dir();
    let (input, output) = (root.path().join("in.jsonl"), root.path().join("out"));
    std::fs::write(&input, ORDERS).unwrap();
    let script = format!(
        "CREATE TABLE orders (id INT, items ARRAY<ROW<sku STRING, qty INT>>, tags ARRAY<STRING>, props MAP<STRING, STRING>)
           WITH ('connector' = 'filesystem', 'format' = 'json', 'path' = 'file://{}');
         CREATE TABLE o ({columns}) WITH ('connector' = 'filesystem', 'format' = 'json', 'path' = 'file://{}');
         INSERT INTO o {query};",
        input.display(),
        output.display()
    );
    run_script(Config::default(), &script)
        .await
        .map_err(|error| testkit_chain(&error))?;
    let mut rows = written(&output);
    rows.sort();
    Ok(rows)
}

async fn rows(columns: &str, query: &str) -> Vec<String> {
    let outcome = outcome(columns, query).await;
    outcome.unwrap_or_else(|error| panic!("{query}: {error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comma_and_every_join_take_collections_apart() {
    let expected = [
        r#"{"id":1,"t":"x"}"#,
        r#"{"id":1,"t":"y"}"#,
        r#"{"id":3,"t":"z"}"#,
    ];
    for query in [
        "SELECT id, tag FROM orders, UNNEST(tags) AS t (tag) WHERE tag IS NOT NULL",
        "SELECT o.id, tag FROM orders AS o CROSS JOIN UNNEST(o.tags) AS tag WHERE tag >= 'x'",
        "SELECT id, t.tag FROM orders INNER JOIN UNNEST(tags) AS t (tag) ON t.tag <> ''",
        "SELECT id, tag FROM orders JOIN UNNEST(tags) WITH ORDINALITY AS t (tag, n) ON n + id < 5",
    ] {
        assert_eq!(rows("id INT, t STRING", query).await, expected, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_left_join_keeps_what_has_no_elements() {
    let by_item = "SELECT id, sku, n FROM orders LEFT JOIN UNNEST(items) WITH ORDINALITY AS i (sku, qty, n) ON qty > 1";
    assert_eq!(
        rows("id INT, sku STRING, n INT", by_item).await,
        [
            r#"{"id":1,"sku":"a","n":1}"#,
            r#"{"id":2,"sku":null,"n":null}"#,
            r#"{"id":3,"sku":"c","n":1}"#,
        ]
    );
    let by_entry = "SELECT id, `KEY`, `VALUE` FROM orders LEFT JOIN UNNEST(props) ON TRUE";
    assert_eq!(
        rows("id INT, k STRING, v STRING", by_entry).await,
        [
            r#"{"id":1,"k":"k","v":"v"}"#,
            r#"{"id":2,"k":null,"v":null}"#,
            r#"{"id":3,"k":null,"v":null}"#,
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_rows_are_columns_and_collections_cross() {
    let query = "SELECT id, SUM(i.qty), COUNT(tag) FROM orders, UNNEST(items) AS i, UNNEST(tags) AS t (tag) GROUP BY id";
    let error = outcome("id INT, q INT, n BIGINT", query).await.unwrap_err();
    assert!(error.contains("update"), "{error}");
    let query = "SELECT * FROM (SELECT id, i.*, tag FROM orders, UNNEST(items) AS i, UNNEST(tags) AS t (tag)) WHERE id = 1";
    assert_eq!(
        rows("id INT, sku STRING, qty INT, tag STRING", query).await,
        [
            r#"{"id":1,"sku":"a","qty":2,"tag":"x"}"#,
            r#"{"id":1,"sku":"a","qty":2,"tag":"y"}"#,
            r#"{"id":1,"sku":"b","qty":1,"tag":"x"}"#,
            r#"{"id":1,"sku":"b","qty":1,"tag":"y"}"#,
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_may_stand_behind_a_cross_join() {
    let query = "SELECT a.id FROM orders a, orders b, UNNEST(b.tags) AS t WHERE a.id = b.id";
    let (one, three) = (r#"{"id":1}"#, r#"{"id":3}"#);
    assert_eq!(rows("id INT", query).await, [one, one, three, three]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_apart_is_refused_where_it_stands() {
    for (query, why) in [
        (
            "SELECT id FROM orders, UNNEST(id) AS t",
            "UNNEST needs an ARRAY, MAP or MULTISET, not INT",
        ),
        (
            "SELECT id FROM orders, UNNEST(items) AS t (a)",
            "1 column names for 2 columns",
        ),
        (
            "SELECT id FROM orders FULL JOIN UNNEST(items) AS t ON TRUE",
            "RIGHT or FULL JOIN UNNEST is not supported",
        ),
        (
            "SELECT id FROM orders, UNNEST(tag) AS t",
            "unknown column `tag`",
        ),
    ] {
        let error = outcome("id INT", query).await.unwrap_err();
        assert!(error.contains(why), "{query}: {error}");
        assert!(error.contains("line "), "{query}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_values_have_the_types_they_share() {
    let query =
        "VALUES (1, 'ab', CAST(NULL AS DOUBLE)), (2.50, 'c', 3), (ROW(CAST(NULL AS INT), 'd', 4))";
    assert_eq!(
        rows("a DECIMAL(12, 2), b STRING, c DOUBLE", query).await,
        [
            r#"{"a":1,"b":"ab","c":null}"#,
            r#"{"a":2.5,"b":"c","c":3.0}"#,
            r#"{"a":null,"b":"d","c":4.0}"#,
        ]
    );
    let query = "SELECT a + 1, b FROM (VALUES ROW(1, 'x'), (2, 'y')) AS v (a, b) WHERE a > 1";
    assert_eq!(rows("a INT, b STRING", query).await, [r#"{"a":3,"b":"y"}"#]);
    let query = "SELECT n * 2 FROM (VALUES 1, 2) AS n";
    assert_eq!(rows("a INT", query).await, [r#"{"a":2}"#, r#"{"a":4}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_approximate_types_the_first_counts() {
    let third = "1e0 / 3";
    for (query, expected) in [
        (
            format!("VALUES (CAST(1 AS FLOAT)), ({third})"),
            "0.33333334",
        ),
        (
            format!("VALUES (1), (CAST({third} AS FLOAT))"),
            "0.33333334",
        ),
        (
            format!("SELECT CAST(1 AS FLOAT) UNION ALL SELECT {third}"),
            "0.33333334",
        ),
        (format!("VALUES (1e0), ({third})"), "0.3333333333333333"),
    ] {
        let shown = format!("SELECT CAST(n AS STRING) FROM ({query}) AS v (n)");
        let rows = rows("n STRING", &shown).await;
        assert_eq!(rows[0], format!(r#"{{"n":"{expected}"}}"#), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_select_without_from_has_one_row() {
    assert_eq!(
        rows("a INT, b STRING", "SELECT 1 + 1, UPPER('x')").await,
        [r#"{"a":2,"b":"X"}"#]
    );
    let joined = "SELECT o.id, v.n FROM orders o JOIN (VALUES (1, 'one'), (3, 'three')) AS v (id, n) ON o.id = v.id";
    let expected = [r#"{"id":1,"n":"one"}"#, r#"{"id":3,"n":"three"}"#];
    assert_eq!(rows("id INT, n STRING", joined).await, expected);
    for (query, why) in [
        ("SELECT *", "SELECT * needs a FROM"),
        ("SELECT NULL", "Illegal use of 'NULL'"),
        ("VALUES (1), (NULL)", "Illegal use of 'NULL'"),
        ("SELECT id", "unknown column `id`"),
        (
            "VALUES (1), (1, 2)",
            "a row of VALUES has 2 values, the first 1",
        ),
        ("VALUES (1), ('x')", "have no common type"),
        ("SELECT CAST('x' AS INT)", "x"),
    ] {
        let error = outcome("a INT", query).await.unwrap_err();
        assert!(error.contains(why), "{query}: {error}");
    }
}
