//! A stream of changes ends as the rows it describes, read by this crate and by DuckDB.

use std::collections::BTreeMap;

use lake::committable::{Committable, Writer};
use lake::committer::{CommitOptions, Committer};
use lake::upsert::{ChangeMode, RowKind, UpsertWriter};
use lake::writer::WriterOptions;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::lakehouse::{Lakehouse, ident, make_table, read, rows};

const DUCKDB: &str = r#"
import os, duckdb, glob, importlib.util
from pyiceberg.catalog import load_catalog
catalog = load_catalog("sf", **{"type": "rest", "uri": os.environ["URI"], "s3.endpoint": os.environ["S3"],
    "s3.access-key-id": os.environ["KEY"], "s3.secret-access-key": os.environ["SECRET"]})
db = duckdb.connect(config={"allow_unsigned_extensions": "true"})
for name in ["avro", "httpfs", "iceberg"]:
    spec = importlib.util.find_spec("duckdb_extension_" + name)
    db.execute("LOAD '" + glob.glob(spec.submodule_search_locations[0] + "/extensions/*/" + name + ".duckdb_extension")[0] + "'")
host = os.environ["S3"].removeprefix("http://")
db.execute(f"CREATE SECRET (TYPE s3, KEY_ID '{os.environ['KEY']}', SECRET '{os.environ['SECRET']}', REGION 'us-east-1', ENDPOINT '{host}', URL_STYLE 'path', USE_SSL false)")
for name in ["upserted", "partitioned"]:
    location = catalog.load_table("test." + name).metadata_location
    for row in db.execute(f"SELECT id, kind, value FROM iceberg_scan('{location}') ORDER BY id, kind").fetchall():
        print(name, *row)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn changes_end_as_the_rows_they_describe() {
    let lakehouse = Lakehouse::start().await;
    let catalog = lakehouse.catalog().await;
    let seed = testkit::seed();
    let mut printed = String::new();
    for (name, partitioned, mode) in [
        ("upserted", false, ChangeMode::Upsert),
        ("partitioned", true, ChangeMode::Changelog),
    ] {
        let table = make_table(&catalog, name, partitioned).await;
        let key: &[&str] = if partitioned {
            &["kind", "id"]
        } else {
            &["id"]
        };
        let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
        let mut writer =
            UpsertWriter::new(&table, &key, mode, WriterOptions::default(), 1 << 20).unwrap();
        let mut committer = Committer::open(
            catalog.clone(),
            &ident(name),
            Writer {
                job_id: "job".to_owned(),
                operator_id: name.to_owned(),
            },
            CommitOptions::default(),
        )
        .await
        .unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        let mut expected: BTreeMap<(i64, String), i64> = BTreeMap::new();
        let mut pending = Vec::new();
        for checkpoint in 1..=6 {
            for _ in 0..3 {
                let (batch, kinds) = changes(&mut random, &mut expected, partitioned);
                let batch: Vec<_> = batch
                    .iter()
                    .map(|row| (row.0, row.1.as_str(), row.2))
                    .collect();
                writer.write(&rows(&batch), &kinds).await.unwrap();
            }
            let mut committable = Committable::new(checkpoint);
            committable.files = writer.finish().await.unwrap();
            pending.push(committable);
            // Sometimes the committer is behind: checkpoints with deletes still get their own snapshots.
            if random.random_bool(0.5) || checkpoint == 6 {
                let n_pending = pending.iter().filter(|held| !held.files.is_empty()).count();
                let committed = committer
                    .commit(std::mem::take(&mut pending))
                    .await
                    .unwrap();
                assert_eq!(committed.snapshots.len(), n_pending, "seed {seed}");
            }
        }
        let expected: Vec<(i64, String, i64)> = expected
            .into_iter()
            .map(|((id, kind), value)| (id, kind, value))
            .collect();
        assert_eq!(read(&catalog, name).await, expected, "{name}, seed {seed}");
        for (id, kind, value) in expected {
            printed.push_str(&format!("{name} {id} {kind} {value}\n"));
        }
    }
    assert_eq!(lakehouse.python(DUCKDB).await, printed, "seed {seed}");
    lakehouse.stop().await;
}

type Rows = Vec<(i64, String, i64)>;

/// Random changes of a few keys, as a well-formed changelog, applied to `state` as well.
fn changes(
    random: &mut StdRng,
    state: &mut BTreeMap<(i64, String), i64>,
    partitioned: bool,
) -> (Rows, Vec<RowKind>) {
    let mut batch = Vec::new();
    let mut kinds = Vec::new();
    for _ in 0..random.random_range(1..12) {
        let id = random.random_range(0..10);
        let kind = if partitioned {
            ["a", "b"][random.random_range(0..2)]
        } else {
            "a"
        };
        let key = (id, kind.to_owned());
        let value = random.random_range(0..1000);
        let mut push = |kind_of_row, value| {
            batch.push((id, kind.to_owned(), value));
            kinds.push(kind_of_row);
        };
        match state.get(&key).copied() {
            None => {
                push(RowKind::Insert, value);
                state.insert(key, value);
            }
            Some(old) if random.random_bool(0.3) => {
                push(RowKind::Delete, old);
                state.remove(&key);
            }
            Some(old) => {
                push(RowKind::UpdateBefore, old);
                push(RowKind::UpdateAfter, value);
                state.insert(key, value);
            }
        }
    }
    (batch, kinds)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_the_partition_column_is_refused() {
    let lakehouse = Lakehouse::start().await;
    let catalog = lakehouse.catalog().await;
    let table = make_table(&catalog, "refused", true).await;
    let refused = UpsertWriter::new(
        &table,
        &["id".to_owned()],
        ChangeMode::Upsert,
        WriterOptions::default(),
        1 << 20,
    );
    assert_eq!(
        refused.err().unwrap().to_string(),
        "the key must include the column that partition field `kind` is made from"
    );
    lakehouse.stop().await;
}
