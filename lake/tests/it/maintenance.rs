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
use lake::maintenance::{Policy, Report, maintain, run};
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

/// An upsert table with one checkpoint for each item, which has kinds and ids.
async fn upserted(
    lakehouse: &Lakehouse,
    name: &str,
    checkpoints: &[Vec<(RowKind, i64, &str)>],
) -> (UpsertWriter, Committer) {
    let catalog = lakehouse.catalog().await;
    let table = make_table(&catalog, name, true).await;
    let writer = UpsertWriter::new(
        &table,
        &["kind".to_owned(), "id".to_owned()],
        ChangeMode::Upsert,
        WriterOptions::default(),
        1 << 20,
    );
    let (mut writer, mut committer) = (writer.unwrap(), committer(lakehouse, name).await);
    for (place, changes) in checkpoints.iter().enumerate() {
        upsert(&mut writer, &mut committer, place as u64 + 1, changes).await;
    }
    (writer, committer)
}

async fn upsert(
    writer: &mut UpsertWriter,
    committer: &mut Committer,
    checkpoint: u64,
    changes: &[(RowKind, i64, &str)],
) {
    let value = i64::try_from(checkpoint).unwrap();
    let written: Vec<_> = changes
        .iter()
        .map(|(_, id, kind)| (*id, *kind, value))
        .collect();
    let kinds: Vec<RowKind> = changes.iter().map(|change| change.0).collect();
    writer.write(&rows(&written), &kinds).await.unwrap();
    let mut committable = Committable::new(checkpoint);
    committable.files = writer.finish().await.unwrap();
    committer.commit(vec![committable]).await.unwrap();
}

fn each(kind: RowKind, ids: std::ops::Range<i64>, of: &str) -> Vec<(RowKind, i64, &str)> {
    ids.map(|id| (kind, id, of)).collect()
}

/// One round; what it did, and how many delete files are left. The rows must be as before.
async fn round(catalog: &RestCatalog, name: &str, policy: &Policy) -> (Report, usize) {
    let cache = ManifestCache::new(1 << 20);
    let before = read(catalog, name).await;
    let current = catalog.load_table(&ident(name)).await.unwrap();
    let report = maintain(catalog, &current, policy, &cache).await.unwrap();
    assert_eq!(read(catalog, name).await, before, "{report:?}");
    let current = catalog.load_table(&ident(name)).await.unwrap();
    let snapshot = current.metadata().current_snapshot().unwrap();
    let live = SnapshotFiles::load(&current, snapshot, &cache, |_| true)
        .await
        .unwrap();
    (report, live.deletes().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_of_what_was_rolled_back_is_given_up() {
    let lakehouse = Lakehouse::start().await;
    let catalog = lakehouse.catalog().await;
    let changes = [
        each(RowKind::Insert, 0..2, "a"),
        each(RowKind::Insert, 2..3, "a"),
        each(RowKind::Delete, 0..1, "a"),
    ];
    upserted(&lakehouse, "back", &changes).await;
    let seen = catalog.load_table(&ident("back")).await.unwrap();
    let last = seen.metadata().current_snapshot().unwrap();
    let back = TableUpdate::SetSnapshotRef {
        ref_name: "main".to_owned(),
        reference: SnapshotReference::new(
            last.parent_snapshot_id().unwrap(),
            SnapshotRetention::branch(None, None, None),
        ),
    };
    catalog.commit(&seen, &[], &[back]).await.unwrap();
    // The rewrite takes the deleted row out and finds only then that it is back.
    let cache = ManifestCache::new(1 << 20);
    let refused = maintain(&catalog, &seen, &eager(), &cache).await;
    assert!(
        matches!(refused, Err(Error::Conflict { .. })),
        "{refused:?}"
    );
    let ids: Vec<i64> = read(&catalog, "back")
        .await
        .iter()
        .map(|row| row.0)
        .collect();
    assert_eq!(ids, [0, 1, 2]);
    lakehouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_burdened_file_has_its_turn() {
    let lakehouse = Lakehouse::start().await;
    let catalog = lakehouse.catalog().await;
    // The larger ones come last in the order of size.
    let changes: Vec<_> = [300, 600, 1200, 2400]
        .map(|end| each(RowKind::Insert, end / 2..end, "a"))
        .to_vec();
    let (mut writer, mut committer) = upserted(&lakehouse, "large", &changes).await;
    let current = catalog.load_table(&ident("large")).await.unwrap();
    let snapshot = current.metadata().current_snapshot().unwrap();
    let cache = ManifestCache::new(1 << 20);
    let live = SnapshotFiles::load(&current, snapshot, &cache, |_| true)
        .await
        .unwrap();
    let sizes = live
        .data()
        .iter()
        .map(|file| file.file().file_size_in_bytes());
    let largest = sizes.max().unwrap();
    let mut left = Vec::new();
    // With room for some of them, and with room for none.
    for room in [largest * 5 / 4, 1] {
        let policy = Policy {
            min_input_files: 100,
            max_rewrite_size: bytesize::ByteSize::b(room),
            // The committer looks at the snapshot before.
            keep_for: Duration::from_secs(60),
            ..eager()
        };
        for _ in 0..8 {
            // Each round finds all of them reached by a new delete.
            let id = i64::try_from(left.len()).unwrap();
            let delete = each(RowKind::Delete, id..id + 1, "a");
            let checkpoint = 5 + left.len() as u64;
            upsert(&mut writer, &mut committer, checkpoint, &delete).await;
            left.push(round(&catalog, "large", &policy).await.1);
        }
        // With a file that has no turn, none of these eight can go.
        assert!(left.last() < Some(&7), "{left:?}");
    }
    lakehouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_deleted_keys_than_memory_are_applied_from_the_oldest_on() {
    let lakehouse = Lakehouse::start().await;
    let catalog = lakehouse.catalog().await;
    let mut changes = vec![
        each(RowKind::Insert, 0..200, "a"),
        each(RowKind::Insert, 0..10, "b"),
    ];
    for checkpoint in 0..10 {
        let next = checkpoint * 20..checkpoint * 20 + 20;
        let mut both = each(RowKind::UpdateAfter, next.clone(), "a");
        // A row that comes after its key was deleted, and has to outlive that.
        both.extend(each(RowKind::UpdateAfter, 0..1, "a"));
        both.extend(each(RowKind::Delete, checkpoint..checkpoint + 1, "b"));
        changes.push(both);
    }
    upserted(&lakehouse, "keys", &changes).await;
    // Some 66 bytes for each key, so those of three or four checkpoints of the ten.
    let policy = Policy {
        max_deleted_keys: bytesize::ByteSize::b(5000),
        ..eager()
    };
    let mut left = Vec::new();
    for _ in 0..8 {
        let (report, deletes) = round(&catalog, "keys", &policy).await;
        left.push(deletes);
        if report.rewritten_files == 0 {
            break;
        }
    }
    assert!(left[0] > 0, "all keys fitted: {left:?}");
    assert_eq!(left.last(), Some(&0), "{left:?}");
    lakehouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_whose_deleted_keys_never_fit_keeps_no_other_from_upkeep() {
    let lakehouse = Lakehouse::start().await;
    let catalog = lakehouse.catalog().await;
    let changes = [
        each(RowKind::Insert, 0..200, "a"),
        each(RowKind::Insert, 0..10, "b"),
        each(RowKind::UpdateAfter, 0..200, "a"),
        each(RowKind::UpdateAfter, 0..10, "b"),
    ];
    upserted(&lakehouse, "one", &changes).await;
    let policy = Policy {
        max_deleted_keys: bytesize::ByteSize::b(5000),
        ..eager()
    };
    let (report, left) = round(&catalog, "one", &policy).await;
    // An insert deletes its key too, from rows that there are none of.
    assert_eq!((report.rewritten_files, report.dropped_deletes), (1, 3));
    assert_eq!(left, 1);
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
