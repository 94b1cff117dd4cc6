//! Upkeep leaves the rows as they are, while writers go on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::TryStreamExt;
use iceberg::TableUpdate;
use iceberg::spec::{SnapshotReference, SnapshotRetention};
use lake::Error;
use lake::catalog::RestCatalog;
use lake::committable::{Committable, Writer};
use lake::committer::{CommitOptions, Committer};
use lake::maintenance::{Policy, maintain, run};
use lake::read::{ManifestCache, SnapshotFiles};
use lake::upsert::{ChangeMode, RowKind, UpsertWriter};
use lake::writer::{TableWriter, WriterOptions};
use object_store::ObjectStore;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::lakehouse::{Lakehouse, ident, make_table, read, rows};

/// A policy that acts at once and keeps nothing back.
fn eager() -> Policy {
    Policy {
        interval: Duration::from_millis(20),
        min_input_files: 3,
        max_delete_files: 1,
        max_manifests: 3,
        keep_snapshots: 1,
        keep_for: Duration::ZERO,
        ..Policy::default()
    }
}

async fn committer(lakehouse: &Lakehouse, name: &str) -> Committer {
    Committer::open(
        lakehouse.catalog().await,
        &ident(name),
        Writer {
            job_id: "job".to_owned(),
            operator_id: "sink".to_owned(),
        },
        CommitOptions {
            attempts: 200,
            ..CommitOptions::default()
        },
    )
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_small_files_becomes_one_file_and_nothing_is_left_behind() {
    let lakehouse = Lakehouse::start().await;
    let catalog = lakehouse.catalog().await;
    let table = make_table(&catalog, "small", false).await;
    let mut committer = committer(&lakehouse, "small").await;
    let mut writer = TableWriter::new(&table, WriterOptions::default()).unwrap();
    for checkpoint in 1..=10_u64 {
        let id = i64::try_from(checkpoint).unwrap();
        writer.write(&rows(&[(id, "a", id)])).await.unwrap();
        let mut committable = Committable::new(checkpoint);
        committable.files = writer.finish().await.unwrap();
        committer.commit(vec![committable]).await.unwrap();
    }
    let before = read(&catalog, "small").await;
    let cache = ManifestCache::new(1 << 20);
    let current = catalog.load_table(&ident("small")).await.unwrap();
    let report = maintain(&catalog, &current, &eager(), &cache)
        .await
        .unwrap();
    assert_eq!(report.rewritten_files, 10);
    assert!(report.merged_manifests > 0, "{report:?}");
    assert_eq!(read(&catalog, "small").await, before);
    assert_eq!(
        committer.progress().await.unwrap().unwrap().checkpoint_id,
        10
    );
    let current = catalog.load_table(&ident("small")).await.unwrap();
    let snapshot = current.metadata().current_snapshot().unwrap();
    let summary = &snapshot.summary().additional_properties;
    assert_eq!(
        (
            summary["total-data-files"].as_str(),
            summary["total-records"].as_str()
        ),
        ("1", "10")
    );
    // A later round expires what this one left, and then the store holds only what the table needs.
    maintain(&catalog, &current, &eager(), &cache)
        .await
        .unwrap();
    let current = catalog.load_table(&ident("small")).await.unwrap();
    assert_eq!(current.metadata().snapshots().len(), 1);
    let (store, prefix) = current.store().open(current.metadata().location()).unwrap();
    let objects: Vec<_> = store.list(Some(&prefix)).try_collect().await.unwrap();
    let n_data = objects
        .iter()
        .filter(|object| object.location.as_ref().ends_with(".parquet"))
        .count();
    let lists = objects
        .iter()
        .filter(|object| object.location.as_ref().contains("/snap-"))
        .count();
    assert_eq!((n_data, lists), (1, 1), "{objects:?}");
    lakehouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upserts_keep_their_meaning_while_files_are_rewritten() {
    let lakehouse = Lakehouse::start().await;
    let catalog = lakehouse.catalog().await;
    let table = make_table(&catalog, "busy", false).await;
    let shutdown = CancellationToken::new();
    let mut upkeep = tokio::task::JoinSet::new();
    // Snapshots live long enough that the reads below are not robbed of their files.
    let policy = Policy {
        keep_for: Duration::from_secs(6),
        ..eager()
    };
    upkeep.spawn(run(catalog.clone(), policy, shutdown.clone()));
    let mut committer = committer(&lakehouse, "busy").await;
    let mut writer = UpsertWriter::new(
        &table,
        &["id".to_owned()],
        ChangeMode::Upsert,
        WriterOptions::default(),
        1 << 20,
    )
    .unwrap();
    let seed = testkit::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut expected: BTreeMap<i64, i64> = BTreeMap::new();
    for checkpoint in 1..=24 {
        for _ in 0..random.random_range(1..4) {
            let id = random.random_range(0..20);
            let value = random.random_range(0..1000);
            let gone = random.random_bool(0.3);
            let kind = if gone {
                RowKind::Delete
            } else {
                RowKind::UpdateAfter
            };
            writer
                .write(&rows(&[(id, "a", value)]), &[kind])
                .await
                .unwrap();
            if gone {
                expected.remove(&id);
            } else {
                expected.insert(id, value);
            }
        }
        let mut committable = Committable::new(checkpoint);
        committable.files = writer.finish().await.unwrap();
        committer.commit(vec![committable]).await.unwrap();
    }
    let expected: Vec<(i64, String, i64)> = expected
        .into_iter()
        .map(|(id, value)| (id, "a".to_owned(), value))
        .collect();
    assert_eq!(read(&catalog, "busy").await, expected, "seed {seed}");
    let files = at_rest(&catalog).await;
    assert!(files <= 3, "{files} files");
    assert_eq!(read(&catalog, "busy").await, expected, "seed {seed}");
    assert_eq!(
        committer.progress().await.unwrap().unwrap().checkpoint_id,
        24
    );
    shutdown.cancel();
    while let Some(ended) = upkeep.join_next().await {
        ended.unwrap().unwrap();
    }
    lakehouse.stop().await;
}

fn tag(name: &str, snapshot: i64) -> TableUpdate {
    TableUpdate::SetSnapshotRef {
        ref_name: name.to_owned(),
        reference: SnapshotReference::new(
            snapshot,
            SnapshotRetention::Tag {
                max_ref_age_ms: None,
            },
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_keeps_its_files_when_the_snapshots_around_it_go() {
    let lakehouse = Lakehouse::start().await;
    let catalog = lakehouse.catalog().await;
    let table = make_table(&catalog, "tagged", false).await;
    let mut committer = committer(&lakehouse, "tagged").await;
    let mut writer = TableWriter::new(&table, WriterOptions::default()).unwrap();
    for checkpoint in 1..=4_u64 {
        let id = i64::try_from(checkpoint).unwrap();
        writer.write(&rows(&[(id, "a", id)])).await.unwrap();
        let mut committable = Committable::new(checkpoint);
        committable.files = writer.finish().await.unwrap();
        committer.commit(vec![committable]).await.unwrap();
        if checkpoint == 2 {
            let current = catalog.load_table(&ident("tagged")).await.unwrap();
            let tag = tag("second", current.metadata().current_snapshot_id().unwrap());
            catalog.commit(&current, &[], &[tag]).await.unwrap();
        }
    }
    let cache = ManifestCache::new(1 << 20);
    // The second round expires the snapshot that the rewrite of the first replaced.
    for _ in 0..2 {
        let current = catalog.load_table(&ident("tagged")).await.unwrap();
        maintain(&catalog, &current, &eager(), &cache)
            .await
            .unwrap();
    }
    let current = catalog.load_table(&ident("tagged")).await.unwrap();
    let mut needed = BTreeSet::new();
    let mut n_files = Vec::new();
    for snapshot in current.metadata().snapshots() {
        let live = SnapshotFiles::load(&current, snapshot, &cache, |_| true)
            .await
            .unwrap();
        n_files.push(live.data().len());
        needed.extend(live.data().iter().map(|file| file.path().to_owned()));
    }
    n_files.sort_unstable();
    assert_eq!(n_files, [1, 2], "the joined file, and the two of the tag");
    let (store, prefix) = current.store().open(current.metadata().location()).unwrap();
    let objects: Vec<_> = store.list(Some(&prefix)).try_collect().await.unwrap();
    let held: BTreeSet<String> = objects
        .iter()
        .map(|object| object.location.to_string())
        .filter(|path| path.ends_with(".parquet"))
        .collect();
    let needed: BTreeSet<String> = needed
        .iter()
        .map(|path| current.store().open(path).unwrap().1.to_string())
        .collect();
    assert_eq!(held, needed);
    lakehouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_upserts_is_joined_in_one_round() {
    let lakehouse = Lakehouse::start().await;
    let catalog = lakehouse.catalog().await;
    let table = make_table(&catalog, "backlog", false).await;
    let mut committer = committer(&lakehouse, "backlog").await;
    let mut writer = UpsertWriter::new(
        &table,
        &["id".to_owned()],
        ChangeMode::Upsert,
        WriterOptions::default(),
        1 << 20,
    )
    .unwrap();
    // Each commit replaces the row of the one before and adds one, so each data file is reached by
    // another set of delete files.
    for checkpoint in 1..=60_u64 {
        let id = i64::try_from(checkpoint).unwrap();
        let kinds = [RowKind::UpdateAfter, RowKind::Insert];
        writer
            .write(&rows(&[(id - 1, "a", id), (id, "a", 0)]), &kinds)
            .await
            .unwrap();
        let mut committable = Committable::new(checkpoint);
        committable.files = writer.finish().await.unwrap();
        committer.commit(vec![committable]).await.unwrap();
    }
    let expected: Vec<(i64, String, i64)> = (0..=60)
        .map(|id| (id, "a".to_owned(), if id < 60 { id + 1 } else { 0 }))
        .collect();
    assert_eq!(read(&catalog, "backlog").await, expected);
    let cache = ManifestCache::new(1 << 20);
    let current = catalog.load_table(&ident("backlog")).await.unwrap();
    let report = maintain(&catalog, &current, &Policy::default(), &cache)
        .await
        .unwrap();
    assert_eq!((report.rewritten_files, report.dropped_deletes), (60, 60));
    assert_eq!(read(&catalog, "backlog").await, expected);
    let current = catalog.load_table(&ident("backlog")).await.unwrap();
    let snapshot = current.metadata().current_snapshot().unwrap();
    let live = SnapshotFiles::load(&current, snapshot, &cache, |_| true)
        .await
        .unwrap();
    assert_eq!((live.data().len(), live.deletes().len()), (1, 0));
    lakehouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_upkeep_has_not_seen_keeps_its_snapshot() {
    let lakehouse = Lakehouse::start().await;
    let catalog = lakehouse.catalog().await;
    let table = make_table(&catalog, "late", false).await;
    let mut committer = committer(&lakehouse, "late").await;
    let mut writer = TableWriter::new(&table, WriterOptions::default()).unwrap();
    for checkpoint in 1..=3_u64 {
        let id = i64::try_from(checkpoint).unwrap();
        writer.write(&rows(&[(id, "a", id)])).await.unwrap();
        let mut committable = Committable::new(checkpoint);
        committable.files = writer.finish().await.unwrap();
        committer.commit(vec![committable]).await.unwrap();
    }
    let policy = Policy {
        min_input_files: 100,
        max_manifests: 100,
        ..eager()
    };
    let cache = ManifestCache::new(1 << 20);
    let seen = catalog.load_table(&ident("late")).await.unwrap();
    let oldest = seen.metadata().snapshots();
    let oldest = oldest
        .min_by_key(|snapshot| snapshot.sequence_number())
        .unwrap();
    let tag = tag("first", oldest.snapshot_id());
    catalog.commit(&seen, &[], &[tag]).await.unwrap();
    let refused = maintain(&catalog, &seen, &policy, &cache)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
    // The next round knows of the tag.
    let current = catalog.load_table(&ident("late")).await.unwrap();
    let report = maintain(&catalog, &current, &policy, &cache).await.unwrap();
    assert_eq!(report.expired_snapshots, 1);
    let current = catalog.load_table(&ident("late")).await.unwrap();
    let tagged = current.refs().unwrap()["first"].snapshot_id;
    assert_eq!(tagged, oldest.snapshot_id());
    let live = SnapshotFiles::load(&current, current.snapshot(tagged).unwrap(), &cache, |_| {
        true
    });
    assert_eq!(live.await.unwrap().data().len(), 1);
    lakehouse.stop().await;
}

/// Waits until upkeep has brought the table to rest: no deletes and one snapshot. Returns its files.
async fn at_rest(catalog: &RestCatalog) -> usize {
    testkit::wait_until("no delete files", Duration::from_secs(40), || async {
        let table = catalog.load_table(&ident("busy")).await.ok()?;
        let snapshot = table.metadata().current_snapshot()?.clone();
        let cache = ManifestCache::new(1 << 20);
        let live = SnapshotFiles::load(&table, &snapshot, &cache, |_| true)
            .await
            .ok()?;
        (live.deletes().is_empty() && table.metadata().snapshots().len() == 1)
            .then(|| live.data().len())
    })
    .await
}
