//! Merges the many small manifests of a streaming table into few.
//!
//! Each commit leaves a manifest; a merge lists the live files of the small ones again, unchanged. The
//! merged manifests stay valid however the table moves on, as long as the merged ones are still listed,
//! so after a conflict only the manifest list is written again.

use std::collections::{BTreeMap, HashMap, HashSet};

use iceberg::spec::{ManifestContentType, ManifestFile};

use super::{ATTEMPTS, Policy};
use crate::catalog::RestCatalog;
use crate::committer::{manifest_writer, new_snapshot_id, replace_manifests, requirements};
use crate::read::ManifestCache;
use crate::{Error, Result, Table};

/// A manifest is not merged any more once it has this size, and merged ones are closed at about it.
const FULL: i64 = 8 << 20;

/// Merges manifests if there are more than the policy allows; returns the new version and how many went.
pub(super) async fn merge(
    catalog: &RestCatalog,
    table: &Table,
    policy: &Policy,
    cache: &ManifestCache,
) -> Result<Option<(Table, usize)>> {
    let Some(snapshot) = table.metadata().current_snapshot() else {
        return Ok(None);
    };
    let list = cache.list(table, snapshot).await?;
    let mut small: BTreeMap<(bool, i32), Vec<&ManifestFile>> = BTreeMap::new();
    for manifest in list
        .iter()
        .filter(|manifest| manifest.manifest_length < FULL / 2)
    {
        let is_delete = manifest.content == ManifestContentType::Deletes;
        small
            .entry((is_delete, manifest.partition_spec_id))
            .or_default()
            .push(manifest);
    }
    small.retain(|_, manifests| manifests.len() > policy.max_manifests);
    if small.is_empty() {
        return Ok(None);
    }
    let snapshot_id = new_snapshot_id();
    let mut merged = Vec::new();
    let mut replaced: HashSet<String> = HashSet::new();
    for manifests in small.values() {
        replaced.extend(
            manifests
                .iter()
                .map(|manifest| manifest.manifest_path.clone()),
        );
        merged.extend(write_merged(table, snapshot_id, manifests, cache).await?);
    }
    publish(catalog, table, snapshot_id, &merged, &replaced, cache)
        .await
        .map(|published| published.map(|table| (table, replaced.len())))
}

async fn publish(
    catalog: &RestCatalog,
    table: &Table,
    snapshot_id: i64,
    merged: &[ManifestFile],
    replaced: &HashSet<String>,
    cache: &ManifestCache,
) -> Result<Option<Table>> {
    let mut table = table.clone();
    let mut attempt = 0;
    loop {
        let Some(snapshot) = table.metadata().current_snapshot() else {
            return Ok(None);
        };
        let list = cache.list(&table, snapshot).await?;
        let listed = list
            .iter()
            .filter(|held| replaced.contains(&held.manifest_path))
            .count();
        if listed < replaced.len() {
            // Files were removed from a merged manifest meanwhile: what was merged is out of date.
            return Err(Error::Conflict {
                what: format!("table `{}`", table.ident()),
                why: "merged manifests were replaced by someone else".to_owned(),
            });
        }
        let kept = list
            .iter()
            .filter(|held| !replaced.contains(&held.manifest_path))
            .cloned();
        let manifests: Vec<ManifestFile> = merged.iter().cloned().chain(kept).collect();
        let lines = HashMap::from([
            ("manifests-created".to_owned(), merged.len().to_string()),
            ("manifests-replaced".to_owned(), replaced.len().to_string()),
            (
                "manifests-kept".to_owned(),
                (manifests.len() - merged.len()).to_string(),
            ),
        ]);
        let updates = replace_manifests(&table, snapshot_id, manifests, lines).await?;
        match catalog
            .commit(&table, &requirements(table.metadata()), &updates)
            .await
        {
            Ok(table) => return Ok(Some(table)),
            Err(error) if error.is_retryable() && attempt + 1 < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
        table = catalog.refresh(&table).await?;
    }
}

/// Lists the live files of `manifests` again, in as few manifests as their size allows.
async fn write_merged(
    table: &Table,
    snapshot_id: i64,
    manifests: &[&ManifestFile],
    cache: &ManifestCache,
) -> Result<Vec<ManifestFile>> {
    let mut written = Vec::new();
    let mut rest = manifests;
    while let Some(first) = rest.first() {
        let mut size = 0;
        let count = rest
            .iter()
            .take_while(|manifest| {
                size += manifest.manifest_length;
                size <= FULL
            })
            .count()
            .max(1);
        let (now, later) = rest.split_at(count);
        rest = later;
        let mut writer =
            manifest_writer(table, snapshot_id, first.partition_spec_id, first.content)?;
        let mut n_entries = 0;
        for manifest in now {
            let entries = cache.manifest(table, manifest).await?;
            for entry in entries.iter().filter(|entry| entry.is_alive()) {
                let (Some(added_by), Some(sequence)) =
                    (entry.snapshot_id(), entry.sequence_number())
                else {
                    return Err(Error::Invalid(format!(
                        "manifest `{}` has an entry without a sequence number",
                        manifest.manifest_path
                    )));
                };
                writer
                    .add_existing_file(
                        entry.data_file().clone(),
                        added_by,
                        sequence,
                        entry.file_sequence_number,
                    )
                    .map_err(Error::iceberg("list a file again"))?;
                n_entries += 1;
            }
        }
        if n_entries > 0 {
            written.push(
                writer
                    .write_manifest_file()
                    .await
                    .map_err(Error::iceberg("write a manifest"))?,
            );
        }
    }
    Ok(written)
}
