//! Tables of a lake that other clients write: what the engine sees of them, and how soon.

use serde_json::Value;

use crate::client::Client;
use crate::lake::Lake;

/// A table `n.t` of three files in two partitions.
const THREE_FILES: &str = r#"
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, StringType, NestedField
from pyiceberg.partitioning import PartitionSpec, PartitionField
from pyiceberg.transforms import IdentityTransform
schema = Schema(NestedField(1, "id", LongType()), NestedField(2, "Kind", StringType()))
spec = PartitionSpec(PartitionField(source_id=2, field_id=1000, transform=IdentityTransform(), name="Kind"))
table = catalog.create_table("n.t", schema=schema, partition_spec=spec)
for ids, kind in ([1, 2], "a b"), ([3], "a b"), ([4], "c"):
    table.append(pa.table({"id": pa.array(ids, pa.int64()), "Kind": [kind] * len(ids)}))
"#;

async fn lines(client: &Client, sql: &str) -> Vec<String> {
    let text = client.text(sql).await;
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_changes_is_seen_by_the_next_statement() {
    let lake = Lake::start().await;
    lake.python(THREE_FILES).await;
    let server = lake.engine().await;
    let client = server
        .client()
        .with("x-trino-catalog", "iceberg")
        .with("x-trino-schema", "n");
    assert_eq!(
        client.text("SELECT count(*), max(id) FROM t").await,
        "4 | 4"
    );
    assert_eq!(client.text("SHOW TABLES").await, "t");

    lake.python("catalog.load_table('n.t').append(pa.table({'id': pa.array([5], pa.int64()), 'Kind': ['c']}))").await;
    assert_eq!(
        client.text("SELECT count(*), max(id) FROM t").await,
        "5 | 5"
    );
    assert_eq!(
        client.text("SELECT count(*) FROM \"t$snapshots\"").await,
        "4"
    );

    lake.python(
        "from pyiceberg.types import IntegerType\n\
         with catalog.load_table('n.t').update_schema() as update:\n\
         \x20   update.add_column('extra', IntegerType())\n\
         \x20   update.rename_column('id', 'number')",
    )
    .await;
    assert_eq!(
        client
            .text("SELECT number, extra FROM t WHERE number > 3 ORDER BY 1")
            .await,
        "4 | NULL\n5 | NULL"
    );
    assert!(
        client
            .text("SELECT id FROM t")
            .await
            .starts_with("COLUMN_NOT_FOUND")
    );
    let described = lines(&client, "DESCRIBE t").await;
    assert_eq!(
        described,
        [
            "number | bigint | (empty) | (empty)",
            "kind | varchar | (empty) | (empty)",
            "extra | integer | (empty) | (empty)"
        ]
    );
    assert_eq!(
        client
            .text("SELECT column_name FROM information_schema.columns WHERE table_schema = 'n' ORDER BY ordinal_position")
            .await,
        "number\nkind\nextra"
    );

    // The name given to another table: nothing of the old one is left.
    lake.python(
        "catalog.drop_table('n.t')\n\
         table = catalog.create_table('n.t', schema=pa.schema([('word', pa.string())]))\n\
         table.append(pa.table({'word': ['new']}))",
    )
    .await;
    assert_eq!(client.text("SELECT * FROM t").await, "new");
    lake.python("catalog.drop_table('n.t')").await;
    assert!(
        client
            .text("SELECT * FROM t")
            .await
            .contains("does not exist")
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::too_many_lines,
    reason = "one question after the other to one table"
)]
async fn hidden_columns_say_where_rows_are_and_choose_files() {
    let lake = Lake::start().await;
    lake.python(THREE_FILES).await;
    let server = lake.engine().await;
    let client = server
        .client()
        .with("x-trino-catalog", "iceberg")
        .with("x-trino-schema", "n");
    assert_eq!(client.text("SELECT * FROM t WHERE id = 4").await, "4 | c");
    assert_eq!(lines(&client, "DESCRIBE t").await.len(), 2);
    assert_eq!(
        client
            .text("SELECT id, \"$partition\", \"$path\" LIKE '%/data/%.parquet' FROM t ORDER BY id")
            .await,
        "1 | Kind=a+b | true\n2 | Kind=a+b | true\n3 | Kind=a+b | true\n4 | Kind=c | true"
    );
    let listed = "SELECT file_path, record_count FROM \"t$files\" ORDER BY 1";
    let counted = "SELECT \"$path\", count(*) FROM t GROUP BY 1 ORDER BY 1";
    let files = lines(&client, listed).await;
    assert_eq!(files.len(), 3);
    assert_eq!(lines(&client, counted).await, files);
    let typed = client
        .run("SELECT \"$path\", \"$partition\", \"$file_modified_time\" FROM t")
        .await;
    let types: Vec<_> = typed.columns.iter().map(|(_, ty)| ty.as_str()).collect();
    assert_eq!(types, ["varchar", "varchar", "timestamp(3) with time zone"]);

    // One file is chosen, the others are not even planned.
    let path = files[0].split(" | ").next().unwrap();
    for filter in [
        format!("\"$path\" = '{path}'"),
        "\"$partition\" = 'Kind=c'".to_owned(),
    ] {
        let plan = client
            .text(&format!(
                "EXPLAIN (TYPE DISTRIBUTED) SELECT id FROM t WHERE {filter}"
            ))
            .await;
        let (_, scan) = plan.split_once("file_groups={1 group: [[").expect(&plan);
        let (files, _) = scan.split_once("]]}").unwrap();
        assert_eq!(files.matches(".parquet").count(), 1, "{plan}");
    }
    assert_eq!(
        client
            .text(&format!(
                "SELECT count(*) FROM t WHERE \"$path\" = '{path}'"
            ))
            .await,
        files[0].split(" | ").nth(1).unwrap()
    );
    let written: Vec<_> = lake
        .files()
        .into_iter()
        .filter(|file| file.to_str() == path.strip_prefix("file://"))
        .collect();
    let modified: chrono::DateTime<chrono::Utc> =
        written[0].metadata().unwrap().modified().unwrap().into();
    assert_eq!(
        client
            .text(&format!(
                "SELECT DISTINCT \"$file_modified_time\" FROM t WHERE \"$path\" = '{path}'"
            ))
            .await,
        modified.format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string()
    );
    assert_eq!(
        client.text("SELECT count(*) FROM t WHERE \"$file_modified_time\" > TIMESTAMP '2020-01-01 00:00:00 UTC'").await,
        "4"
    );
    assert_eq!(
        client.text("SELECT count(*) FROM t WHERE \"$file_modified_time\" < TIMESTAMP '2020-01-01 00:00:00 UTC'").await,
        "0"
    );
    // Names of a join and of a subquery are found too, but a subquery has only what it selects.
    assert_eq!(
        client
            .text("SELECT count(*) FROM t a JOIN t b ON a.\"$path\" = b.\"$path\" AND a.id = b.id")
            .await,
        "4"
    );
    assert!(
        client
            .text("SELECT \"$path\" FROM (SELECT * FROM t) s")
            .await
            .starts_with("COLUMN_NOT_FOUND: line 1:8: Column '$path' cannot be resolved")
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_come_from_the_manifests() {
    let lake = Lake::start().await;
    lake.python(
        r#"
from datetime import date, datetime, timezone
from decimal import Decimal
schema = pa.schema([("b", pa.bool_()), ("i", pa.int32()), ("l", pa.int64()), ("r", pa.float32()), ("d", pa.float64()),
    ("p", pa.decimal128(5, 2)), ("s", pa.string()), ("day", pa.date32()), ("ts", pa.timestamp("us")),
    ("tz", pa.timestamp("us", "UTC")), ("a", pa.list_(pa.int32()))])
table = catalog.create_table("n.typed", schema=schema)
first = datetime(2021, 7, 24, 3, 43, 57, 987654)
row = {"b": True, "i": 1, "l": 2, "r": 1.5, "d": 2.0, "p": Decimal("11.00"), "s": "abc", "day": date(2021, 7, 24),
    "ts": first, "tz": first.replace(tzinfo=timezone.utc), "a": [1]}
table.append(pa.Table.from_pylist([row, {}], schema=schema))
row.update(b=False, i=-3, l=7, d=1e10, day=date(2022, 1, 1))
table.append(pa.Table.from_pylist([row, {}], schema=schema))
catalog.create_table("n.empty", schema=pa.schema([("x", pa.int64())]))
"#,
    )
    .await;
    let server = lake.engine().await;
    let client = server
        .client()
        .with("x-trino-catalog", "iceberg")
        .with("x-trino-schema", "n");
    let answer = client.run("SHOW STATS FOR typed").await;
    let columns: Vec<_> = answer
        .columns
        .iter()
        .map(|(name, ty)| format!("{name} {ty}"))
        .collect();
    assert_eq!(
        columns.join(", "),
        "column_name varchar, data_size double, distinct_values_count double, nulls_fraction double, row_count double, \
         low_value varchar, high_value varchar"
    );
    let mut rows = lines(&client, "SHOW STATS FOR typed").await;
    // How many bytes the text takes in the files is the writer's affair.
    let text = rows.remove(6);
    let text: Vec<_> = text.split(" | ").collect();
    assert!(text[1].parse::<f64>().unwrap() > 0.0);
    assert_eq!(text[2..], ["NULL", "0.5", "NULL", "NULL", "NULL"]);
    assert_eq!(
        rows,
        [
            "b | NULL | NULL | 0.5 | NULL | false | true",
            "i | NULL | NULL | 0.5 | NULL | -3 | 1",
            "l | NULL | NULL | 0.5 | NULL | 2 | 7",
            "r | NULL | NULL | 0.5 | NULL | 1.5 | 1.5",
            "d | NULL | NULL | 0.5 | NULL | 2.0 | 1.0E10",
            "p | NULL | NULL | 0.5 | NULL | 11.0 | 11.0",
            "day | NULL | NULL | 0.5 | NULL | 2021-07-24 | 2022-01-01",
            "ts | NULL | NULL | 0.5 | NULL | 2021-07-24 03:43:57.987654 | 2021-07-24 03:43:57.987654",
            "tz | NULL | NULL | 0.5 | NULL | 2021-07-24 03:43:57.987 UTC | 2021-07-24 03:43:57.987 UTC",
            "a | NULL | NULL | NULL | NULL | NULL | NULL",
            "NULL | NULL | NULL | NULL | 4.0 | NULL | NULL",
        ]
    );
    assert_eq!(
        client.text("SHOW STATS FOR empty").await,
        "x | 0.0 | 0.0 | 1.0 | NULL | NULL | NULL\nNULL | NULL | NULL | NULL | 0.0 | NULL | NULL"
    );
    assert!(
        client
            .text("SHOW STATS FOR nothing")
            .await
            .starts_with("TABLE_NOT_FOUND: line 1:16:")
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_of_a_query_say_what_its_scans_read() {
    let lake = Lake::start().await;
    lake.python(THREE_FILES).await;
    let server = lake.engine().await;
    let client = server
        .client()
        .with("x-trino-catalog", "iceberg")
        .with("x-trino-schema", "n");
    let sql = "SELECT sum(id) FROM t WHERE id > 1";
    assert_eq!(client.text(sql).await, "9");
    let url = format!("{}/v1/query", client.url);
    let all: Vec<Value> = client
        .http
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let found = all.iter().find(|query| query["query"] == sql).unwrap();
    let stats = &found["queryStats"];
    // Four rows were read of which one was left out.
    assert_eq!(stats["processedRows"], 4, "{stats}");
    assert!(stats["physicalInputBytes"].as_u64() > Some(0), "{stats}");
    assert_eq!(stats["completedSplits"], stats["totalSplits"]);
    assert_eq!(stats["progressPercentage"], 100.0);
    server.stop().await;
}
