//! Forgets old snapshots, and deletes the files that only they needed.
//!
//! What a writer has committed stays known after its snapshots are gone: the committer keeps it in a
//! table property too. Files are deleted only after the catalog has said that the snapshots are gone,
//! and only if no snapshot that stays can reach them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::Utc;
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::TableUpdate;
use iceberg::spec::{ManifestFile, SnapshotRef, SnapshotRetention, TableMetadata};

use super::{Policy, is_collected, property};
use crate::catalog::RestCatalog;
use crate::committer::{ancestors, requirements};
use crate::read::{ManifestCache, READS_IN_FLIGHT, manifest_list};
use crate::{Result, Table};

/// Deletions under way at once.
const DELETES_IN_FLIGHT: usize = 8;

/// What was expired.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Expired {
    pub(super) snapshots: usize,
    pub(super) files: usize,
}

/// Expires snapshots of the main branch that are too old by the policy or the table's own properties.
pub(super) async fn expire(
    catalog: &RestCatalog,
    table: &Table,
    policy: &Policy,
    cache: &ManifestCache,
) -> Result<Expired> {
    let metadata = table.metadata();
    if !is_collected(metadata) {
        return Ok(Expired::default());
    }
    let expired = too_old(table, policy)?;
    if expired.is_empty() {
        return Ok(Expired::default());
    }
    let gone: HashSet<i64> = expired
        .iter()
        .map(|snapshot| snapshot.snapshot_id())
        .collect();
    let update = TableUpdate::RemoveSnapshots {
        snapshot_ids: gone.iter().copied().collect(),
    };
    let newer = catalog
        .commit(table, &requirements(metadata), &[update])
        .await?;
    let mut left: Vec<SnapshotRef> = newer.metadata().snapshots().cloned().collect();
    left.retain(|snapshot| !gone.contains(&snapshot.snapshot_id()));
    let files = unreachable(table, &expired, &newer, &left, cache).await?;
    let n_files = files.len();
    let io = table.file_io();
    stream::iter(files)
        .map(|path| async move {
            if let Err(error) = io.delete(&path).await {
                tracing::debug!(path, %error, "file of an expired snapshot stays behind");
            }
        })
        .buffer_unordered(DELETES_IN_FLIGHT)
        .collect::<Vec<()>>()
        .await;
    Ok(Expired {
        snapshots: expired.len(),
        files: n_files,
    })
}

/// The snapshots to expire, oldest first: not among the newest of the main branch, not young, and not
/// what a branch or tag names. History of other branches is left alone.
fn too_old(table: &Table, policy: &Policy) -> Result<Vec<SnapshotRef>> {
    let metadata = table.metadata();
    let mut keep_count = property(metadata, "history.expire.min-snapshots-to-keep")?
        .unwrap_or(policy.keep_snapshots);
    let mut keep_for = property(metadata, "history.expire.max-snapshot-age-ms")?
        .map_or(policy.keep_for, Duration::from_millis);
    let refs = table.refs()?;
    let mut kept: HashSet<i64> = HashSet::new();
    for (name, reference) in refs {
        if name == iceberg::spec::MAIN_BRANCH {
            if let SnapshotRetention::Branch {
                min_snapshots_to_keep,
                max_snapshot_age_ms,
                ..
            } = &reference.retention
            {
                if let Some(count) = min_snapshots_to_keep.and_then(|count| count.try_into().ok()) {
                    keep_count = count;
                }
                if let Some(age) = max_snapshot_age_ms.and_then(|age| age.try_into().ok()) {
                    keep_for = Duration::from_millis(age);
                }
            }
            continue;
        }
        let mut next = metadata.snapshot_by_id(reference.snapshot_id);
        while let Some(snapshot) = next.filter(|snapshot| kept.insert(snapshot.snapshot_id())) {
            if !reference.is_branch() {
                break;
            }
            next = snapshot
                .parent_snapshot_id()
                .and_then(|parent| metadata.snapshot_by_id(parent));
        }
    }
    let age = i64::try_from(keep_for.as_millis()).unwrap_or(i64::MAX);
    let oldest_kept = Utc::now().timestamp_millis().saturating_sub(age);
    let mut snapshots: Vec<SnapshotRef> = metadata.snapshots().cloned().collect();
    snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
    let n_candidates = snapshots.len().saturating_sub(keep_count.max(1));
    snapshots.truncate(n_candidates);
    snapshots.retain(|snapshot| {
        snapshot.timestamp_ms() < oldest_kept
            && !kept.contains(&snapshot.snapshot_id())
            && metadata.current_snapshot_id() != Some(snapshot.snapshot_id())
    });
    snapshots.truncate(policy.max_expired);
    Ok(snapshots)
}

/// The files that expired snapshots reach and none of those left does.
async fn unreachable(
    table: &Table,
    expired: &[SnapshotRef],
    newer: &Table,
    left: &[SnapshotRef],
    cache: &ManifestCache,
) -> Result<Vec<String>> {
    let mut candidates = manifests_of(table, expired.iter()).await?;
    let asked = witnesses(table.metadata(), expired, newer.metadata(), left);
    let held = manifests_of(newer, asked).await?;
    candidates.retain(|path, _| !held.contains_key(path));
    let mut files = live_paths(table, &candidates, cache).await?;
    if !files.is_empty() {
        for path in live_paths(newer, &held, cache).await? {
            files.remove(&path);
        }
    }
    files.extend(candidates.into_keys());
    files.extend(
        expired
            .iter()
            .map(|snapshot| snapshot.manifest_list().to_owned()),
    );
    Ok(files.into_iter().collect())
}

/// The snapshots among those left that have to be asked whether they need a file of an expired one.
///
/// Along one line of history a file that has gone does not come back. So if the expired ones lie on the
/// main line, what the oldest one left on it does not need, none between it and the current one does;
/// the current one is asked too, should someone have added a removed path again. Snapshots off the line
/// are all asked. A stream keeps hundreds of snapshots, and to read them all in each round would take
/// longer than the round.
fn witnesses<'a>(
    before: &TableMetadata,
    expired: &[SnapshotRef],
    after: &TableMetadata,
    left: &'a [SnapshotRef],
) -> impl Iterator<Item = &'a SnapshotRef> {
    let ids = |metadata| -> Vec<i64> {
        ancestors(metadata)
            .map(|snapshot| snapshot.snapshot_id())
            .collect()
    };
    let once: HashSet<i64> = ids(before).into_iter().collect();
    let line = ids(after);
    let ends = [line.first().copied(), line.last().copied()];
    let between: HashSet<i64> = if expired
        .iter()
        .all(|snapshot| once.contains(&snapshot.snapshot_id()))
    {
        line.into_iter()
            .filter(|id| !ends.contains(&Some(*id)))
            .collect()
    } else {
        HashSet::new()
    };
    left.iter()
        .filter(move |snapshot| !between.contains(&snapshot.snapshot_id()))
}

/// The manifests of `snapshots` by their path. They are not worth a place in the cache.
async fn manifests_of<'a>(
    table: &Table,
    snapshots: impl Iterator<Item = &'a SnapshotRef>,
) -> Result<HashMap<String, ManifestFile>> {
    let mut reads = Vec::new();
    for snapshot in snapshots {
        reads.push(manifest_list(table, snapshot));
    }
    let lists: Vec<Vec<ManifestFile>> = stream::iter(reads)
        .buffer_unordered(READS_IN_FLIGHT)
        .try_collect()
        .await?;
    let manifests = lists.into_iter().flatten();
    Ok(manifests
        .map(|manifest| (manifest.manifest_path.clone(), manifest))
        .collect())
}

/// The paths of the live files that `manifests` list.
async fn live_paths(
    table: &Table,
    manifests: &HashMap<String, ManifestFile>,
    cache: &ManifestCache,
) -> Result<HashSet<String>> {
    let mut reads = Vec::with_capacity(manifests.len());
    for manifest in manifests.values() {
        reads.push(cache.manifest(table, manifest));
    }
    let mut paths = HashSet::new();
    let mut lists = stream::iter(reads).buffer_unordered(READS_IN_FLIGHT);
    while let Some(entries) = lists.try_next().await? {
        let alive = entries.iter().filter(|entry| entry.is_alive());
        paths.extend(alive.map(|entry| entry.file_path().to_owned()));
    }
    Ok(paths)
}
