//! Each checkpoint is in the table once, whatever happens to the answers of the catalog.

use std::time::Duration;

use lake::Table;
use lake::catalog::RestCatalog;
use lake::committable::{Committable, Writer};
use lake::committer::{CommitOptions, Committer};
use lake::writer::{TableWriter, WriterOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

use crate::lakehouse::{Fault, Lakehouse, ident, make_table, read, rows};

fn writer(job: &str) -> Writer {
    Writer {
        job_id: job.to_owned(),
        operator_id: "sink".to_owned(),
    }
}

fn options() -> CommitOptions {
    CommitOptions {
        attempts: 50,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(20),
        ..CommitOptions::default()
    }
}

async fn committer(catalog: &RestCatalog, table: &str, job: &str) -> Committer {
    Committer::open(catalog.clone(), &ident(table), writer(job), options())
        .await
        .unwrap()
}

/// A committable with one row whose id is `checkpoint`, plus `first`.
async fn checkpoint(table: &Table, checkpoint: u64, first: i64) -> Committable {
    let mut writer = TableWriter::new(table, WriterOptions::default()).unwrap();
    let id = first + i64::try_from(checkpoint).unwrap();
    writer.write(&rows(&[(id, "a", id)])).await.unwrap();
    let mut committable = Committable::new(checkpoint);
    committable.files = writer.finish().await.unwrap();
    committable
        .offsets
        .entry("topic".to_owned())
        .or_default()
        .insert(0, id);
    committable.watermark = Some(id * 1000);
    committable
}

#[tokio::test(flavor = "multi_thread")]
async fn appended_rows_are_read_by_pyiceberg_and_duckdb() {
    let lakehouse = Lakehouse::start().await;
    let catalog = lakehouse.catalog().await;
    let table = make_table(&catalog, "appended", true).await;
    let mut writer = TableWriter::new(&table, WriterOptions::default()).unwrap();
    writer
        .write(&rows(&[(1, "a", 10), (2, "b", 20)]))
        .await
        .unwrap();
    writer.write(&rows(&[(3, "a", 30)])).await.unwrap();
    let mut committable = Committable::new(7);
    committable.files = writer.finish().await.unwrap();
    assert_eq!(committable.files.len(), 2, "one file per partition");
    let restored: Committable =
        serde_json::from_str(&serde_json::to_string(&committable).unwrap()).unwrap();
    let mut committer = committer(&catalog, "appended", "job").await;
    committer.commit(vec![restored]).await.unwrap();
    let printed = lakehouse
        .python(
            r#"
import os, duckdb, glob, importlib.util
from pyiceberg.catalog import load_catalog
catalog = load_catalog("sf", **{"type": "rest", "uri": os.environ["URI"], "s3.endpoint": os.environ["S3"],
    "s3.access-key-id": os.environ["KEY"], "s3.secret-access-key": os.environ["SECRET"]})
table = catalog.load_table("test.appended")
print(sorted(table.scan().to_arrow().to_pylist(), key=lambda row: row["id"]))
print(len(list(table.scan(row_filter="kind = 'a'").plan_files())), len(list(table.scan(row_filter="value > 25").plan_files())))
summary = table.current_snapshot().summary
print(summary["total-records"], summary["added-data-files"], summary["flink.max-committed-checkpoint-id"])
stats = table.inspect.files().to_pylist()
print(sorted((f["readable_metrics"]["value"]["lower_bound"], f["readable_metrics"]["value"]["upper_bound"], f["record_count"]) for f in stats))
db = duckdb.connect(config={"allow_unsigned_extensions": "true"})
for name in ["avro", "httpfs", "iceberg"]:
    spec = importlib.util.find_spec("duckdb_extension_" + name)
    db.execute("LOAD '" + glob.glob(spec.submodule_search_locations[0] + "/extensions/*/" + name + ".duckdb_extension")[0] + "'")
host = os.environ["S3"].removeprefix("http://")
db.execute(f"CREATE SECRET (TYPE s3, KEY_ID '{os.environ['KEY']}', SECRET '{os.environ['SECRET']}', REGION 'us-east-1', ENDPOINT '{host}', URL_STYLE 'path', USE_SSL false)")
print(db.execute(f"SELECT kind, count(*), sum(value)::BIGINT FROM iceberg_scan('{table.metadata_location}') GROUP BY kind ORDER BY kind").fetchall())
"#,
        )
        .await;
    assert_eq!(
        printed,
        "[{'id': 1, 'kind': 'a', 'value': 10}, {'id': 2, 'kind': 'b', 'value': 20}, \
         {'id': 3, 'kind': 'a', 'value': 30}]\n\
         1 1\n\
         3 2 7\n\
         [(10, 30, 2), (20, 20, 1)]\n\
         [('a', 2, 40), ('b', 1, 20)]\n"
    );
    lakehouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_never_lose_or_double_a_checkpoint() {
    let mut lakehouse = Lakehouse::start().await;
    let (catalog, faults) = lakehouse.faulty().await;
    let table = make_table(&catalog, "faulty", false).await;
    let seed = testkit::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let kinds = [
        Fault::None,
        Fault::LoseAnswer,
        Fault::BadGatewayAfter,
        Fault::TimeOutBefore,
    ];
    let mut committer = committer(&catalog, "faulty", "job").await;
    for number in 1..=20 {
        let planned: Vec<Fault> = (0..random.random_range(0..3))
            .map(|_| kinds[random.random_range(0..4)])
            .collect();
        faults.next(&planned);
        let committable = checkpoint(&table, number, 0).await;
        committer.commit(vec![committable.clone()]).await.unwrap();
        if random.random_bool(0.3) {
            // A job that restarts commits its last checkpoint again.
            committer = self::committer(&catalog, "faulty", "job").await;
            let again = committer.commit(vec![committable]).await.unwrap();
            assert_eq!(again.already, [number], "seed {seed}");
        }
    }
    let found: Vec<i64> = read(&catalog, "faulty")
        .await
        .iter()
        .map(|row| row.0)
        .collect();
    assert_eq!(found, (1..=20).collect::<Vec<_>>(), "seed {seed}");
    let progress = committer.progress().await.unwrap().unwrap();
    assert_eq!(progress.checkpoint_id, 20);
    assert_eq!(progress.offsets["topic"][&0], 20);
    assert_eq!(progress.watermark, Some(20_000));
    lakehouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_lands_late_is_refused() {
    let mut lakehouse = Lakehouse::start().await;
    let (catalog, faults) = lakehouse.faulty().await;
    let table = make_table(&catalog, "late", false).await;
    let mut committer = committer(&catalog, "late", "job").await;
    faults.next(&[Fault::HoldBack]);
    let committable = checkpoint(&table, 1, 0).await;
    committer.commit(vec![committable]).await.unwrap();
    assert_eq!(faults.deliver_late().await, [409]);
    assert_eq!(read(&catalog, "late").await.len(), 1);
    lakehouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn committers_that_race_all_get_through_once() {
    let lakehouse = Lakehouse::start().await;
    let catalog = lakehouse.catalog().await;
    let table = make_table(&catalog, "raced", false).await;
    let mut tasks = JoinSet::new();
    // Two jobs of their own, and a zombie that commits the very same checkpoints as the second.
    for (job, first) in [("one", 0), ("two", 100), ("two", 100)] {
        let (catalog, table) = (catalog.clone(), table.clone());
        tasks.spawn(async move {
            let mut committer = committer(&catalog, "raced", job).await;
            for number in 1..=8 {
                let committable = checkpoint(&table, number, first).await;
                committer.commit(vec![committable]).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let found: Vec<i64> = read(&catalog, "raced")
        .await
        .iter()
        .map(|row| row.0)
        .collect();
    assert_eq!(found, (1..=8).chain(101..=108).collect::<Vec<_>>());
    lakehouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_that_only_append_share_a_snapshot() {
    let lakehouse = Lakehouse::start().await;
    let catalog = lakehouse.catalog().await;
    let table = make_table(&catalog, "behind", false).await;
    let mut pending = Vec::new();
    for number in 1..=5 {
        pending.push(checkpoint(&table, number, 0).await);
    }
    pending.push(Committable::new(6));
    let mut committer = committer(&catalog, "behind", "job").await;
    let committed = committer.commit(pending).await.unwrap();
    assert_eq!(committed.snapshots.len(), 1);
    assert_eq!(
        committer.progress().await.unwrap().unwrap().checkpoint_id,
        5
    );
    assert_eq!(read(&catalog, "behind").await.len(), 5);
    lakehouse.stop().await;
}
