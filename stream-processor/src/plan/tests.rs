//! Whole scripts planned, without connectors.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::error::Error;
use crate::graph::{NodeKind, Partitioning, StreamGraph};
use crate::sql::{
    CatalogConnector, ExternalCatalog, Session, SessionOptions, StatementResult, split,
};
use crate::table::TableDefinition;

/// A catalog that forgets when it is dropped.
#[derive(Debug, Default)]
struct Remembered {
    databases: Mutex<Vec<String>>,
    tables: Mutex<BTreeMap<(String, String), TableDefinition>>,
}

#[derive(Debug)]
struct Connector(Arc<Remembered>);

#[async_trait]
impl CatalogConnector for Connector {
    async fn connect(
        &self,
        _: &str,
        _: &BTreeMap<String, String>,
    ) -> Result<Arc<dyn ExternalCatalog>, Error> {
        Ok(self.0.clone())
    }
}

#[async_trait]
impl ExternalCatalog for Remembered {
    async fn databases(&self) -> Result<Vec<String>, Error> {
        Ok(self.databases.lock().clone())
    }

    async fn create_database(
        &self,
        database: &str,
        _: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        self.databases.lock().push(database.to_owned());
        Ok(())
    }

    async fn drop_database(&self, database: &str) -> Result<(), Error> {
        self.databases.lock().retain(|known| known != database);
        Ok(())
    }

    async fn tables(&self, database: &str) -> Result<Vec<String>, Error> {
        let tables = self.tables.lock();
        Ok(tables
            .keys()
            .filter(|(of, _)| of == database)
            .map(|(_, name)| name.clone())
            .collect())
    }

    async fn table(&self, database: &str, table: &str) -> Result<Option<TableDefinition>, Error> {
        Ok(self
            .tables
            .lock()
            .get(&(database.to_owned(), table.to_owned()))
            .cloned())
    }

    async fn create_table(&self, table: &TableDefinition) -> Result<(), Error> {
        let mut table = table.clone();
        table
            .options
            .insert("connector".to_owned(), "iceberg".to_owned());
        let key = (table.path.database.clone(), table.path.table.clone());
        self.tables.lock().insert(key, table);
        Ok(())
    }

    async fn drop_table(&self, database: &str, table: &str) -> Result<(), Error> {
        self.tables
            .lock()
            .remove(&(database.to_owned(), table.to_owned()));
        Ok(())
    }
}

async fn last_job(script: &str) -> Result<StreamGraph, Error> {
    let mut session = Session::new(SessionOptions {
        catalogs: Some(Arc::new(Connector(Arc::default()))),
        ..SessionOptions::default()
    });
    let mut job = None;
    for statement in split(script)? {
        if let StatementResult::Job(graph) = session.execute_at(&statement).await? {
            job = Some(graph);
        }
    }
    job.ok_or_else(|| Error::failed("the script has no job"))
}

const SOURCE: &str = "CREATE TABLE t (id STRING, n INT, ts TIMESTAMP(3), p AS PROCTIME(),
    WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'kafka');";

async fn refused(query: &str) -> String {
    last_job(&format!("{SOURCE}{query}"))
        .await
        .unwrap_err()
        .to_string()
}

#[tokio::test]
async fn the_clickstream_job_reads_its_topic_once_and_writes_nine_tables() {
    let graph = last_job(include_str!("../../../sql/clickstream.sql"))
        .await
        .unwrap();
    let names = |wanted: &str| -> Vec<String> {
        let named = graph
            .nodes
            .iter()
            .filter(|node| node.name.starts_with(wanted));
        named.map(|node| node.name.clone()).collect()
    };
    assert_eq!(
        names("Source"),
        ["Source: clickstream", "Source: accounts", "Source: pages"]
    );
    assert_eq!(
        names("Sink"),
        [
            "Sink: iceberg.bronze.clickstream",
            "Sink: iceberg.silver.clickstream_rejected",
            "Sink: iceberg.silver.clickstream",
            "Sink: iceberg.silver.conversions",
            "Sink: iceberg.gold.activity_per_minute",
            "Sink: iceberg.gold.sessions",
            "Sink: iceberg.gold.revenue_by_country",
            "Sink: iceberg.gold.funnel",
            "Sink: iceberg.gold.late_events",
        ]
    );
    assert_eq!(
        names("Window("),
        [
            "Window(TUMBLE(time_col=[event_time], size=[1 min]))",
            "Window(HOP(time_col=[event_time], size=[5 min], slide=[1 min]))",
        ]
    );
    assert_eq!(names("Join"), ["Join(InnerJoin)", "Join(InnerJoin)"]);
    assert_eq!(names("Deduplicate").len(), 1);
    let ordered = graph
        .nodes
        .iter()
        .enumerate()
        .all(|(index, node)| node.inputs.iter().all(|edge| edge.from.0 < index));
    assert!(ordered, "inputs come before those that read them");
    assert_eq!(graph.name, "clickstream");
}

#[tokio::test]
async fn of_the_demo_only_what_must_meet_crosses_an_exchange() {
    let script = include_str!("../../../sql/clickstream.sql");
    let graph = last_job(&format!("SET 'parallelism.default' = '2';\n{script}"))
        .await
        .unwrap();
    let mut exchanged: Vec<String> = Vec::new();
    for node in &graph.nodes {
        let name = node.name.split('(').next().unwrap_or_default();
        for (port, edge) in node.inputs.iter().enumerate() {
            match edge.partitioning {
                Partitioning::Hash(_) => exchanged.push(format!("{name} {port} by key")),
                Partitioning::Broadcast => exchanged.push(format!("{name} {port} to all")),
                Partitioning::Forward | Partitioning::Late | Partitioning::Rebalance => {}
            }
        }
    }
    exchanged.sort();
    assert_eq!(
        exchanged,
        [
            "Deduplicate 0 by key",
            "GlobalWindowAggregate 0 by key",
            "GlobalWindowAggregate 0 by key",
            "GlobalWindowAggregate 0 by key",
            "Join 1 to all",
            "Join 1 to all",
            "SessionAggregate 0 by key",
            "Sink: iceberg.silver.conversions 0 by key",
            "TemporalJoin 0 by key",
            "TemporalJoin 1 by key",
        ]
    );
    // One walk over the text finds the time and what the steps behind ask for.
    let NodeKind::Source(spec) = &graph.nodes[0].kind else {
        panic!("no source first")
    };
    assert_eq!(spec.extractions.len(), 1);
    assert_eq!(spec.extractions[0].width(), 10);
}

#[tokio::test]
async fn two_phases_can_be_turned_off() {
    let endless = "SET 'parallelism.default' = '2';";
    let bounded = "CREATE TABLE b (id STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
         WITH ('connector' = 'filesystem', 'format' = 'json', 'path' = 'file:///none');";
    for (settings, table, expected) in [
        (endless, "b", 1),
        ("", "b", 0),
        (
            "SET 'parallelism.default' = '2'; SET 'table.optimizer.agg-phase-strategy' = 'ONE_PHASE';",
            "b",
            0,
        ),
        // Instances of a source that fall silent one by one would call other rows late.
        (
            "SET 'parallelism.default' = '2'; SET 'table.exec.source.idle-timeout' = '1 s';",
            "b",
            0,
        ),
        (endless, "t", 0),
    ] {
        let script = format!(
            "{settings}{bounded}{SOURCE} SELECT COUNT(*)
             FROM TABLE(TUMBLE(TABLE {table}, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
             GROUP BY window_start, window_end"
        );
        let graph = last_job(&script).await.unwrap();
        let n_local = graph
            .nodes
            .iter()
            .filter(|node| node.name.starts_with("LocalWindowAggregate"))
            .count();
        assert_eq!(n_local, expected, "{settings} over {table}");
    }
}

#[tokio::test]
async fn only_read_columns_are_decoded() {
    let graph = last_job(&format!("{SOURCE} SELECT id FROM t WHERE n > 1"))
        .await
        .unwrap();
    let NodeKind::Source(spec) = &graph.nodes[0].kind else {
        panic!("no source first")
    };
    // `ts` is read for the watermark alone.
    assert_eq!(
        (spec.read.as_slice(), spec.output.as_slice()),
        (&[0, 1, 2][..], &[0, 1][..])
    );
}

#[tokio::test]
async fn results_have_flinks_types() {
    let graph = last_job(&format!(
        "{SOURCE} SELECT AVG(n), SUM(n), COUNT(n), 1.0 / 3, SUM(n) / 2, 0.908 * SUM(CAST(n AS BIGINT)),
           AVG(CAST(n AS DECIMAL(10, 2))), SUM(CAST(n AS DECIMAL(10, 2)))
         FROM t"
    ))
    .await
    .unwrap();
    let NodeKind::Sink(spec) = &graph.nodes.last().unwrap().kind else {
        panic!("no sink last")
    };
    let types: Vec<String> = spec
        .table
        .columns
        .iter()
        .map(|column| column.data_type.with_nullable(true).to_string())
        .collect();
    assert_eq!(
        types,
        [
            "INT",
            "INT",
            "BIGINT",
            "DECIMAL(13, 12)",
            "INT",
            "DECIMAL(24, 3)",
            "DECIMAL(38, 6)",
            "DECIMAL(38, 2)"
        ]
    );
}

#[tokio::test]
async fn what_is_not_offered_is_named_with_its_place() {
    for (query, message) in [
        ("SELECT idd FROM t", "did you mean `id`?"),
        (
            "SELECT SOUNDEX(id) FROM t",
            "the function SOUNDEX is not supported at line 3, column 8",
        ),
        (
            "SELECT id FROM t ORDER BY n",
            "ORDER BY of a whole query is not supported",
        ),
        (
            "SELECT id FROM t GROUP BY n",
            "neither grouped nor aggregated",
        ),
        (
            "SELECT id FROM t WHERE n > (SELECT MAX(n) FROM t)",
            "a subquery in an expression is not supported",
        ),
        (
            "SELECT TUMBLE_START(ts, INTERVAL '1' HOUR), COUNT(*) FROM t GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE)",
            "TUMBLE_START needs the same window in GROUP BY at line 3, column 8",
        ),
        (
            "SELECT /*+ STATE_TTL('a' = '1 d') */ a.id FROM t a JOIN t b ON a.id = b.id AND a.ts BETWEEN b.ts AND b.ts + INTERVAL '1' HOUR",
            "STATE_TTL of a window or interval join is not supported at line 3",
        ),
        (
            "SELECT /*+ STATE_TTL('b' = '1 d') */ a.id FROM t a, t b WHERE a.id = b.id AND a.ts BETWEEN b.ts AND b.ts + INTERVAL '1' HOUR",
            "STATE_TTL of a window or interval join is not supported at line 3",
        ),
        (
            "SELECT id FROM t WHERE n IN (SELECT id, n FROM t)",
            "a subquery after IN gives one column, this one 2",
        ),
        (
            "SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(n), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end",
            "`n` is no time attribute",
        ),
        (
            "SELECT /*+ STATE_TTL('c' = '1 d') */ * FROM t a JOIN t b ON a.id = b.id",
            "STATE_TTL names `c`, which is no table of a join in this FROM at line 3, column 9",
        ),
        (
            "SELECT /*+ STATE_TTL('b' = 'soon') */ * FROM t a JOIN t b ON a.id = b.id",
            "STATE_TTL of `b` cannot be `soon`: a duration like `1 d`",
        ),
        (
            "SELECT /*+ BROADCAST(b) */ * FROM t a JOIN t b ON a.id = b.id",
            "the hint BROADCAST is not supported",
        ),
        (
            "SELECT TO_TIMESTAMP(id, 'dd MMM yyyy') FROM t",
            "reading `MMM` of the pattern 'dd MMM yyyy' is not supported",
        ),
        (
            "SELECT UNIX_TIMESTAMP(id, 'yyyy-MM-dd u') FROM t",
            "reading `u` of the pattern 'yyyy-MM-dd u' is not supported",
        ),
        (
            "SELECT id, ROW_NUMBER() OVER (PARTITION BY id ORDER BY ts) FROM t",
            "ROW_NUMBER without a condition",
        ),
    ] {
        let error = refused(&format!("\n{query}")).await;
        assert!(error.contains(message), "{query}: {error}");
    }
}

#[tokio::test]
async fn row_numbers_and_limits_that_are_not_offered_are_named_with_their_place() {
    for (query, message) in [
        (
            "SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY id ORDER BY n) AS r FROM t) WHERE r > 2",
            "ROW_NUMBER without a condition like `<= 10` around it is not supported at line 3, column 28",
        ),
        (
            "SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY id ORDER BY n) AS r FROM t) WHERE r < 1",
            "no row has a ROW_NUMBER from 1 to 0 at line 3, column 28",
        ),
        (
            "SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY id) AS r FROM t) WHERE r = 1",
            "ROW_NUMBER needs an ORDER BY at line 3, column 28",
        ),
        (
            "SELECT id FROM (SELECT id, RANK() OVER (PARTITION BY id ORDER BY n) AS r FROM t) WHERE r = 1",
            "RANK() OVER is not supported at line 3, column 28",
        ),
        (
            "SELECT id FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY n) AS r
               FROM TABLE(SESSION(TABLE t PARTITION BY id, DESCRIPTOR(ts), INTERVAL '1' MINUTE))) WHERE r = 1",
            "SESSION windows that are not aggregated is not supported at line 4, column 21",
        ),
        (
            "SELECT id, COUNT(*) FROM TABLE(SESSION(TABLE t PARTITION BY id, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
             WHERE n > 1 GROUP BY id, window_start, window_end",
            "WHERE over SESSION windows is not supported at line 3, column 26",
        ),
        (
            "SELECT id FROM t LIMIT n",
            "unknown column `n`",
        ),
        (
            "SELECT id FROM t ORDER BY ts DESC",
            "ORDER BY of a whole query is not supported at line 3, column 27",
        ),
        (
            "SELECT id FROM t OFFSET 3",
            "OFFSET without LIMIT is not supported",
        ),
    ] {
        let error = refused(&format!("\n{query}")).await;
        assert!(error.contains(message), "{query}: {error}");
    }
}

#[tokio::test]
async fn a_hint_gives_the_sides_of_a_join_their_own_time_to_live() {
    for (settings, expected) in [
        ("", "ttl: [Some(86400000), None]"),
        (
            "SET 'table.exec.state.ttl' = '1 h';",
            "ttl: [Some(86400000), Some(3600000)]",
        ),
        (
            "SET 'table.exec.state.ttl' = '1 h'; SET 'execution.runtime-mode' = 'batch';",
            "ttl: [Some(86400000), None]",
        ),
    ] {
        let graph = last_job(&format!(
            "{settings}{SOURCE} SELECT /*+ STATE_TTL('a' = '1 d') */ a.id FROM t a JOIN t b ON a.id = b.id"
        ))
        .await
        .unwrap();
        let join = join_of(&graph);
        assert!(join.contains(expected), "{settings}: {join}");
    }
}

fn join_of(graph: &StreamGraph) -> String {
    let join = graph.nodes.iter().find(|node| node.name.contains("Join("));
    format!("{:?}", join.unwrap().kind)
}

#[tokio::test]
async fn a_join_over_times_or_windows_keeps_rows_longer_than_the_time_to_live_of_others() {
    let windows = "TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE))";
    for (join, expected) in [
        (
            "t a JOIN t b ON a.id = b.id".to_owned(),
            "ttl: [Some(3600000), Some(3600000)]",
        ),
        (
            "t a JOIN t b ON a.id = b.id AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '4' HOUR"
                .to_owned(),
            "reach: [14400000, 0]",
        ),
        (
            format!(
                "{windows} a JOIN {windows} b ON a.id = b.id AND a.window_start = b.window_start AND a.window_end = b.window_end"
            ),
            "WindowJoin {",
        ),
        (
            "t a, t b WHERE a.id = b.id AND a.ts < b.ts AND b.ts - INTERVAL '1' MINUTE <= a.ts"
                .to_owned(),
            "reach: [60000, -1]",
        ),
        (
            // Nothing says how long a row of the left side may be met.
            "t a JOIN t b ON a.id = b.id AND b.ts > a.ts".to_owned(),
            "ttl: [None, None]",
        ),
        (
            "t a JOIN t b ON a.id = b.id AND a.ts > TIMESTAMP '2026-01-01 00:00:00'".to_owned(),
            "ttl: [Some(3600000), Some(3600000)]",
        ),
    ] {
        let graph = last_job(&format!(
            "SET 'table.exec.state.ttl' = '1 h';{SOURCE} SELECT a.id FROM {join}"
        ))
        .await
        .unwrap();
        let found = join_of(&graph);
        assert!(found.contains(expected), "{join}: {found}");
    }
}

#[tokio::test]
async fn updates_are_refused_by_append_only_tables() {
    let error = refused(
        "CREATE TABLE s (id STRING, c BIGINT) WITH ('connector' = 'filesystem', 'format' = 'json');
         INSERT INTO s SELECT id, COUNT(*) FROM t GROUP BY id",
    )
    .await;
    assert!(
        error.contains("does not support consuming update changes"),
        "{error}"
    );
}

#[tokio::test]
async fn the_condition_on_a_row_number_says_what_becomes_of_it() {
    let tumble = "TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE))";
    let counts = format!(
        "(SELECT id, window_start, window_end, COUNT(*) AS c FROM {tumble} GROUP BY id, window_start, window_end)"
    );
    let updating = "(SELECT id, MAX(n) AS m FROM t GROUP BY id)";
    let windowed = "window_start, window_end";
    for (items, partition, order, from, condition, expected) in [
        ("id", "id", "ts", "t", "r = 1", "Deduplicate(id)"),
        (
            "id, r",
            "id",
            "p DESC",
            "t",
            "r <= 1 AND n > 3",
            "Deduplicate(id)",
        ),
        // With more than one row, or several columns to sort by, it is no deduplication.
        (
            "id, r",
            "id",
            "ts",
            "t",
            "2 >= r",
            "Rank(id, ts, $row_number)",
        ),
        ("id", "id", "ts, n", "t", "r = 1", "Rank(id, n, ts)"),
        (
            "id",
            "n",
            "n + 1",
            "t",
            "r < 3 AND r > 1",
            "Rank(id, n, $order4)",
        ),
        ("m", "id", "m DESC", updating, "r = 1", "Rank(id, m)"),
        (
            "id",
            windowed,
            "c",
            &counts,
            "r < 4",
            "WindowRank(id, window_start, window_end, c)",
        ),
        (
            "id",
            windowed,
            "ts DESC",
            tumble,
            "r = 1",
            "WindowRank(id, ts, window_start, window_end)",
        ),
        (
            "n",
            "window_end",
            "n",
            tumble,
            "r = 1",
            "Rank(n, window_end)",
        ),
    ] {
        let script = format!(
            "{SOURCE} SELECT {items} FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY {partition} ORDER BY {order}) AS r
             FROM {from}) WHERE {condition}"
        );
        let graph = last_job(&script).await.unwrap();
        let mut names = graph.nodes.iter().map(|node| node.name.as_str());
        let rank = names.find(|name| name.contains("Rank(") || name.contains("Deduplicate("));
        assert_eq!(rank, Some(expected), "{order} of {from}, {condition}");
    }
}

#[tokio::test]
async fn a_limit_sorts_by_columns_that_the_result_lacks() {
    for (query, expected) in [
        ("SELECT id FROM t ORDER BY ts, n", "TemporalSort(id, ts, n)"),
        (
            "SELECT id FROM t ORDER BY n OFFSET 1 ROW FETCH NEXT 2 ROWS ONLY",
            "Rank(id, n)",
        ),
        ("SELECT id FROM t ORDER BY n DESC LIMIT 3", "Rank(id, n)"),
        (
            "SELECT id, n AS m FROM t ORDER BY 2 LIMIT 3 OFFSET 2",
            "Rank(id, m)",
        ),
        ("SELECT id FROM t LIMIT 3", "Rank(id)"),
        (
            "SELECT id FROM t GROUP BY id ORDER BY COUNT(*) LIMIT 3",
            "Rank(id, EXPR$1)",
        ),
    ] {
        let graph = last_job(&format!("{SOURCE} {query}")).await.unwrap();
        let mut names = graph.nodes.iter().map(|node| node.name.as_str());
        let rank = names.find(|name| name.contains("Rank(") || name.contains("Sort("));
        assert_eq!(rank, Some(expected), "{query}");
    }
}

#[tokio::test]
async fn groups_that_only_become_better_keep_their_place_among_equals() {
    for (items, order, from, expected) in [
        ("id, MAX(n) AS m, COUNT(*) AS c", "m DESC, id", "t", true),
        ("id, MIN(n) AS m, SUM(n) AS c", "m", "t", true),
        ("id, MIN(n) AS m, SUM(n) AS c", "m DESC", "t", false),
        ("id, MAX(n) AS m, SUM(n) AS c", "c DESC", "t", false),
        ("MAX(n) AS m, SUM(n) AS c", "m DESC", "t", false),
        (
            "id, MAX(n) AS m, COUNT(*) AS c",
            "m DESC",
            "(SELECT id, SUM(n) AS n FROM t GROUP BY id)",
            false,
        ),
    ] {
        let groups = format!("SELECT {items} FROM {from} GROUP BY id");
        let top = format!("SELECT *, ROW_NUMBER() OVER (ORDER BY {order}) AS r FROM ({groups})");
        let script = format!("{SOURCE} SELECT c, r FROM ({top}) WHERE r < 4");
        let graph = last_job(&script).await.unwrap();
        let mut nodes = graph.nodes.iter();
        let rank = nodes.find(|node| node.name.starts_with("Rank(")).unwrap();
        let rank = format!("{:?}", rank.kind);
        assert!(
            rank.contains(&format!("in_place: {expected}")),
            "{items}, {order}: {rank}"
        );
    }
}

#[tokio::test]
async fn conditions_on_a_row_number_reach_the_side_of_a_join_that_has_it() {
    let top = "(SELECT id, n, ROW_NUMBER() OVER (PARTITION BY id ORDER BY n DESC) AS r FROM t)";
    for query in [
        format!("SELECT a.id, b.r FROM t a JOIN {top} b ON a.id = b.id WHERE b.r <= 3 AND a.n > 1"),
        format!("SELECT a.id, b.r FROM t a JOIN {top} b ON a.id = b.id AND b.r <= 3"),
        format!("SELECT a.id, b.r FROM {top} b JOIN t a ON UPPER(a.id) = b.id WHERE b.r <= 3"),
        format!("SELECT a.id, b.r FROM {top} b, t a WHERE a.id = b.id AND b.r <= 3"),
        format!(
            "SELECT a.id, b.r FROM {top} b JOIN t a ON a.id = b.id JOIN t c ON a.n = c.n WHERE b.r <= 3"
        ),
    ] {
        let graph = last_job(&format!("{SOURCE} {query}")).await.unwrap();
        let mut names = graph.nodes.iter().map(|node| node.name.as_str());
        let rank = names.find(|name| name.starts_with("Rank("));
        assert_eq!(rank, Some("Rank(id, n, $row_number)"), "{query}");
        let NodeKind::Sink(spec) = &graph.nodes.last().unwrap().kind else {
            panic!("no sink last")
        };
        assert_eq!(
            spec.changelog,
            crate::graph::ChangelogMode::Retract,
            "{query}"
        );
    }
}
