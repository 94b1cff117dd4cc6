//! Files that no version of a table names go once they are old, and no other file ever does.

use std::collections::BTreeSet;
use std::fs::File;
use std::time::{Duration, SystemTime};

use chrono::{TimeDelta, Utc};
use futures::TryStreamExt;
use iceberg::TableUpdate;
use iceberg::spec::{SnapshotReference, SnapshotRetention};
use lake::Table;
use lake::catalog::RestCatalog;
use lake::committable::{Committable, NewFile, Writer};
use lake::committer::{CommitOptions, Committer};
use lake::maintenance::{Policy, remove_orphans, run};
use lake::upsert::{ChangeMode, RowKind, UpsertWriter};
use lake::writer::{TableWriter, WriterOptions};
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tokio_util::sync::CancellationToken;

use crate::lakehouse::{Lakehouse, ident, make_table, read, rows};

async fn committer(lakehouse: &Lakehouse, name: &str) -> Committer {
    let writer = Writer {
        job_id: "job".to_owned(),
        operator_id: "sink".to_owned(),
    };
    let catalog = lakehouse.catalog().await;
    Committer::open(catalog, &ident(name), writer, CommitOptions::default())
        .await
        .unwrap()
}

/// Files of one row that are written and not committed.
async fn written(table: &Table, id: i64) -> Vec<NewFile> {
    let mut writer = TableWriter::new(table, WriterOptions::default()).unwrap();
    writer.write(&rows(&[(id, "a", id)])).await.unwrap();
    writer.finish().await.unwrap()
}

async fn put(table: &Table, name: &str) {
    let path = format!("{}/{name}", table.metadata().location());
    let (store, key) = table.store().open(&path).unwrap();
    store
        .put(&key, PutPayload::from_static(b"?"))
        .await
        .unwrap();
}

/// The objects below the table's location.
async fn objects(table: &Table) -> BTreeSet<String> {
    let (store, prefix) = table.store().open(table.metadata().location()).unwrap();
    let objects: Vec<_> = store.list(Some(&prefix)).try_collect().await.unwrap();
    objects
        .into_iter()
        .map(|object| object.location.to_string())
        .collect()
}

/// Snapshots with inserts, updates and deletes, the second of them tagged.
async fn fill(lakehouse: &Lakehouse, catalog: &RestCatalog, name: &str) -> Table {
    let table = make_table(catalog, name, false).await;
    let mut committer = committer(lakehouse, name).await;
    let keys = ["id".to_owned()];
    let options = WriterOptions::default();
    let mut writer =
        UpsertWriter::new(&table, &keys, ChangeMode::Upsert, options, 1 << 20).unwrap();
    for checkpoint in 1..=4_u64 {
        let id = i64::try_from(checkpoint).unwrap();
        let kinds = [RowKind::UpdateAfter, RowKind::Insert, RowKind::Delete];
        let batch = rows(&[(id - 1, "a", id), (id, "a", 0), (id - 2, "a", 0)]);
        writer.write(&batch, &kinds).await.unwrap();
        let mut committable = Committable::new(checkpoint);
        committable.files = writer.finish().await.unwrap();
        committer.commit(vec![committable]).await.unwrap();
        if checkpoint == 2 {
            let current = catalog.load_table(&ident(name)).await.unwrap();
            let tag = TableUpdate::SetSnapshotRef {
                ref_name: "second".to_owned(),
                reference: SnapshotReference::new(
                    current.metadata().current_snapshot_id().unwrap(),
                    SnapshotRetention::Tag {
                        max_ref_age_ms: None,
                    },
                ),
            };
            catalog.commit(&current, &[], &[tag]).await.unwrap();
        }
    }
    catalog.load_table(&ident(name)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dead_writers_left_goes_when_it_is_old_and_nothing_else() {
    let lakehouse = Lakehouse::start().await;
    let catalog = lakehouse.catalog().await;
    let table = fill(&lakehouse, &catalog, "t").await;
    let before = read(&catalog, "t").await;
    let named = objects(&table).await;
    assert_eq!(named.len(), 4 * 2 + 4 * 3 + 6, "{named:#?}");

    // One checkpoint is still to be committed, others never will be.
    let mut pending = Committable::new(5);
    pending.files = written(&table, 50).await;
    let young = Utc::now() - TimeDelta::hours(1);
    assert_eq!(
        remove_orphans(&catalog, &ident("t"), young).await.unwrap(),
        0
    );
    let mut committer = committer(&lakehouse, "t").await;
    committer.commit(vec![pending]).await.unwrap();
    let with_pending = read(&catalog, "t").await;
    assert_eq!(with_pending.len(), before.len() + 1);
    let named = objects(&table).await;
    for id in 60..63 {
        drop(written(&table, id).await);
    }
    for name in ["metadata/dead-m0.avro", "metadata/00009-dead.metadata.json"] {
        put(&table, name).await;
    }
    // What is not a writer's, by its name or by its place, is nobody's business.
    for name in [
        "data/README.txt",
        "metadata/version-hint.text",
        "own/x.parquet",
    ] {
        put(&table, name).await;
    }
    let old = Utc::now() + TimeDelta::minutes(1);

    let collected = |enabled: &str| TableUpdate::SetProperties {
        updates: [("gc.enabled".to_owned(), enabled.to_owned())].into(),
    };
    let current = catalog.load_table(&ident("t")).await.unwrap();
    catalog
        .commit(&current, &[], &[collected("false")])
        .await
        .unwrap();
    assert_eq!(remove_orphans(&catalog, &ident("t"), old).await.unwrap(), 0);
    let current = catalog.load_table(&ident("t")).await.unwrap();
    catalog
        .commit(&current, &[], &[collected("true")])
        .await
        .unwrap();

    assert_eq!(remove_orphans(&catalog, &ident("t"), old).await.unwrap(), 5);
    let left = objects(&table).await;
    let more: Vec<_> = left.difference(&named).collect();
    // The two commits just made, and the three foreign files.
    assert_eq!(more.len(), 5, "{more:#?}");
    assert_eq!(named.difference(&left).count(), 0);
    assert_eq!(read(&catalog, "t").await, with_pending);
    assert_eq!(remove_orphans(&catalog, &ident("t"), old).await.unwrap(), 0);
    lakehouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_long_ago_whose_files_are_gone_is_not_committed() {
    let lakehouse = Lakehouse::start().await;
    let catalog = lakehouse.catalog().await;
    let table = make_table(&catalog, "t", false).await;
    let writer = Writer {
        job_id: "job".to_owned(),
        operator_id: "sink".to_owned(),
    };
    let options = CommitOptions {
        look_for: Duration::ZERO,
        ..CommitOptions::default()
    };
    let mut committer = Committer::open(catalog.clone(), &ident("t"), writer, options)
        .await
        .unwrap();
    let mut kept = Committable::new(1);
    kept.files = written(&table, 1).await;
    let mut gone = Committable::new(2);
    gone.files = written(&table, 2).await;
    let (store, key) = table.store().open(&gone.files[0].path).unwrap();
    store.delete(&key).await.unwrap();
    committer.commit(vec![kept]).await.unwrap();
    let refused = committer.commit(vec![gone]).await.unwrap_err().to_string();
    assert!(refused.contains("of checkpoint 2 is gone"), "{refused}");
    assert_eq!(read(&catalog, "t").await, [(1, "a".to_owned(), 1)]);
    lakehouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upkeep_looks_for_them_by_itself_and_lets_tables_that_share_a_place_alone() {
    let lakehouse = Lakehouse::start_on_files().await;
    let catalog = lakehouse.catalog().await;
    let table = fill(&lakehouse, &catalog, "t").await;
    let before = read(&catalog, "t").await;
    // The same files under a second name: neither table knows what the other needs.
    let shared = fill(&lakehouse, &catalog, "shared").await;
    lakehouse
        .register("again", shared.metadata_location().unwrap())
        .await;
    let named = objects(&table).await;
    for table in [&table, &shared] {
        drop(written(table, 60).await);
        let hours_ago = SystemTime::from(Utc::now() - TimeDelta::hours(2));
        for path in objects(table).await {
            let file = File::options().append(true).open(format!("/{path}"));
            file.unwrap().set_modified(hours_ago).unwrap();
        }
    }
    let of_shared = objects(&shared).await;
    let old = objects(&table).await;
    let orphans = &old - &named;
    assert_eq!(orphans.len(), 1);
    drop(written(&table, 61).await);
    let young = &objects(&table).await - &old;
    assert_eq!(young.len(), 1);
    let policy = Policy {
        interval: Duration::from_millis(10),
        orphan_age: Duration::from_secs(3600),
        orphan_interval: Duration::from_millis(10),
        ..Policy::default()
    };
    let shutdown = CancellationToken::new();
    let mut upkeep = tokio::task::JoinSet::new();
    upkeep.spawn(run(catalog.clone(), policy, shutdown.clone()));
    let left = testkit::wait_until("the orphan to go", Duration::from_secs(20), async || {
        let left = objects(&table).await;
        left.is_disjoint(&orphans).then_some(left)
    })
    .await;
    // Other upkeep may have added files of its own.
    assert!(left.is_superset(&named) && left.is_superset(&young));
    assert_eq!(read(&catalog, "t").await, before);
    // `again` and `shared` come before `t` in every round, so they have been passed over.
    assert!(objects(&shared).await.is_superset(&of_shared));
    shutdown.cancel();
    while let Some(ended) = upkeep.join_next().await {
        ended.unwrap().unwrap();
    }
    lakehouse.stop().await;
}
