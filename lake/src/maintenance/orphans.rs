//! Deletes files that no version of a table names: what writers left that died between writing and committing.
//!
//! Nothing tells such a file from one whose commit is still to come, except its age. So only files are
//! looked at that were written before a time given, and it lies far enough back (three days, unless the
//! policy says otherwise) that every checkpoint of then has been committed or given up. What a table
//! names is asked after the files were listed, and a path that cannot be understood stops the work: in
//! doubt a file stays.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use iceberg::TableIdent;
use iceberg::spec::{ManifestFile, TableMetadata};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::is_collected;
use crate::catalog::RestCatalog;
use crate::read::{manifest_entries, manifest_list};
use crate::{Error, Result, Table};

/// Paths looked up together: with more files than that the manifests are read again for the next ones.
const SLICE: usize = 50_000;
/// Manifests read at once; nobody waits for this work.
const READS_IN_FLIGHT: usize = 2;
/// Deletions under way at once.
const DELETES_IN_FLIGHT: usize = 8;
/// What Iceberg's writers call their files; anything else was put there by somebody for some reason.
const SUFFIXES: [&str; 7] = [
    ".parquet",
    ".avro",
    ".orc",
    ".puffin",
    ".metadata.json",
    ".metadata.json.gz",
    ".stats",
];

/// Deletes the files below the table's `data` and `metadata` directories that were written before
/// `written_before` and that no snapshot and no version of the table names. Returns how many went.
///
/// The caller makes sure that no other table has files in these directories.
pub async fn remove_orphans(
    catalog: &RestCatalog,
    ident: &TableIdent,
    written_before: DateTime<Utc>,
) -> Result<usize> {
    let table = catalog.load_table(ident).await?;
    if !is_collected(table.metadata()) {
        return Ok(0);
    }
    let mut n_deleted = 0;
    for directory in ["data", "metadata"] {
        let location = table.metadata().location().trim_end_matches('/');
        let directory = format!("{location}/{directory}/");
        n_deleted += sweep(catalog, &table, &directory, written_before).await?;
    }
    if n_deleted > 0 {
        tracing::info!(table = %ident, n_deleted, "files that no version names were deleted");
    }
    Ok(n_deleted)
}

/// Whether the files of one of these locations may lie below the other.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    let plain = |location: &str| {
        let location = location.trim_end_matches('/');
        let (scheme, rest) = location.split_once("://").unwrap_or(("", location));
        let scheme = if scheme.starts_with("s3") {
            "s3"
        } else {
            scheme
        };
        format!("{scheme}://{rest}/")
    };
    let (one, other) = (plain(one), plain(other));
    one.starts_with(&other) || other.starts_with(&one)
}

async fn sweep(
    catalog: &RestCatalog,
    table: &Table,
    directory: &str,
    written_before: DateTime<Utc>,
) -> Result<usize> {
    let (store, prefix) = table.store().open(directory)?;
    let mut objects = store.list(Some(&prefix)).fuse();
    let mut n_deleted = 0;
    loop {
        let old = old_files(&mut objects, directory, written_before).await?;
        if old.is_empty() {
            return Ok(n_deleted);
        }
        // Only now, so that what was committed while the files were listed counts.
        let newest = catalog.load_table(table.ident()).await?;
        if newest.metadata().uuid() != table.metadata().uuid() || !is_collected(newest.metadata()) {
            return Ok(n_deleted);
        }
        let orphans = unnamed(&newest, old).await?;
        n_deleted += delete(&store, orphans).await;
    }
}

/// The next files of a listing that are old enough; none at its end.
async fn old_files(
    objects: &mut (impl Stream<Item = object_store::Result<ObjectMeta>> + Unpin),
    directory: &str,
    written_before: DateTime<Utc>,
) -> Result<HashSet<Path>> {
    let mut old = HashSet::new();
    while let Some(object) = objects.next().await {
        let object = object.map_err(Error::store("list", directory))?;
        let path = object.location.as_ref();
        if object.last_modified < written_before
            && SUFFIXES.iter().any(|suffix| path.ends_with(suffix))
        {
            old.insert(object.location);
        }
        if old.len() >= SLICE {
            break;
        }
    }
    Ok(old)
}

/// Those of `paths` that no snapshot and no version of the table names.
async fn unnamed(table: &Table, mut paths: HashSet<Path>) -> Result<HashSet<Path>> {
    // Only the key counts: that another bucket has the same one is no reason to delete it here.
    let key = |location: &str| Ok::<_, Error>(table.store().open(location)?.1);
    for location in named_by_metadata(table) {
        paths.remove(&key(location)?);
    }
    let mut manifests: HashSet<String> = HashSet::new();
    for snapshot in table.metadata().snapshots() {
        if paths.is_empty() {
            return Ok(paths);
        }
        paths.remove(&key(snapshot.manifest_list())?);
        let mut unread = manifest_list(table, snapshot).await?;
        unread.retain(|manifest| manifests.insert(manifest.manifest_path.clone()));
        for manifest in &unread {
            paths.remove(&key(&manifest.manifest_path)?);
        }
        let mut reads = Vec::with_capacity(unread.len());
        for manifest in &unread {
            reads.push(listed_by(table, manifest));
        }
        let mut lists = stream::iter(reads).buffer_unordered(READS_IN_FLIGHT);
        while let Some(listed) = lists.try_next().await? {
            for location in &listed {
                paths.remove(&key(location)?);
            }
        }
    }
    Ok(paths)
}

fn named_by_metadata(table: &Table) -> impl Iterator<Item = &str> {
    let metadata: &TableMetadata = table.metadata();
    let statistics = metadata.statistics_iter().map(|file| &file.statistics_path);
    let of_partitions = metadata
        .partition_statistics_iter()
        .map(|file| &file.statistics_path);
    let versions = metadata.metadata_log().iter().map(|log| &log.metadata_file);
    statistics
        .chain(of_partitions)
        .chain(versions)
        .map(String::as_str)
        .chain(table.metadata_location())
}

/// Every file a manifest mentions, those too that it says are gone.
async fn listed_by(table: &Table, manifest: &ManifestFile) -> Result<Vec<String>> {
    let entries = manifest_entries(table, manifest).await?;
    Ok(entries
        .iter()
        .map(|entry| entry.file_path().to_owned())
        .collect())
}

async fn delete(store: &dyn ObjectStore, paths: HashSet<Path>) -> usize {
    stream::iter(paths)
        .map(|path| async move {
            match store.delete(&path).await {
                Ok(()) => 1,
                Err(error) => {
                    tracing::debug!(%path, %error, "a file that no version names stays behind");
                    0
                }
            }
        })
        .buffer_unordered(DELETES_IN_FLIGHT)
        .fold(0, async |sum, deleted| sum + deleted)
        .await
}
