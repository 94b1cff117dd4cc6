//! Rewrites small data files, and data files that many deletes reach, into files of the target size.
//!
//! The new files keep the sequence number of the snapshot they were made from. So a key that a writer
//! deletes while the rewrite runs is still deleted in the new files, and only a new position delete on a
//! replaced file, which the rewrite cannot have seen, makes it start over. Where memory is too small for
//! all deleted keys, those of the oldest commits are applied, the new files get the number of the last of
//! these commits, and the next round goes on from there.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::pin::pin;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use futures::TryStreamExt;
use iceberg::spec::{Operation, Snapshot, Struct};

use super::{Policy, property, usize_of};
use crate::catalog::RestCatalog;
use crate::committable::NewFile;
use crate::committer::{self, Change, is_ancestor};
use crate::deletes::{self, DeletedKeys, Rows};
use crate::read::{Deletes, LiveFile, ManifestCache, SnapshotFiles};
use crate::schema::{RowShape, cast};
use crate::writer::{TableWriter, WriterOptions};
use crate::{Error, Result, Table};

/// Files below this share of the target size count as small.
const SMALL: f64 = 0.75;
/// A file joins a rewrite only if the smaller ones together are at least this share of its size, so
/// that a large file is not written again for a handful of tiny ones.
const WORTHWHILE: f64 = 0.25;

/// What a rewrite did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rewritten {
    pub(super) files: usize,
    pub(super) dropped_deletes: usize,
}

/// What is written in place of which files.
#[derive(Debug, Default)]
struct Rewrite {
    added: Vec<NewFile>,
    /// Sequence numbers of the added files, by path.
    sequences: HashMap<String, i64>,
    /// The replaced files by path, each with the commit up to which deleted keys were applied to it.
    replaced: HashMap<String, i64>,
}

/// Rewrites what the policy asks for, at most its bound, and returns the new version of the table.
pub(super) async fn compact(
    catalog: &RestCatalog,
    table: &Table,
    policy: &Policy,
    cache: &ManifestCache,
) -> Result<Option<(Table, Rewritten)>> {
    let Some(snapshot) = table.metadata().current_snapshot() else {
        return Ok(None);
    };
    let live = SnapshotFiles::load(table, snapshot, cache, |_| true).await?;
    let chosen = choose(table, &live, policy)?;
    let Rewrite {
        added,
        sequences,
        replaced,
    } = rewrite(table, &live, &chosen, snapshot, policy).await?;
    let dangling = dangling(&live, &replaced, snapshot);
    if replaced.is_empty() && dangling.is_empty() {
        return Ok(None);
    }
    let done = Rewritten {
        files: replaced.len(),
        dropped_deletes: dangling.len(),
    };
    let change = Change {
        added,
        sequences,
        removed: replaced.keys().cloned().chain(dangling).collect(),
        operation: Operation::Replace,
        summary: HashMap::new(),
        properties: HashMap::new(),
    };
    let table = commit(catalog, table, snapshot, &change, &replaced, cache).await?;
    Ok(Some((table, done)))
}

/// Commits the rewrite, unless a position delete has hit one of the replaced files meanwhile, or the table
/// was rolled back to before deletes that the rewrite has applied. The new files of a rewrite that is refused
/// belong to no snapshot and are deleted; of one whose outcome is unknown they are kept.
async fn commit(
    catalog: &RestCatalog,
    table: &Table,
    base: &Snapshot,
    change: &Change,
    replaced: &HashMap<String, i64>,
    cache: &ManifestCache,
) -> Result<Table> {
    let mut attempt = 0;
    let mut current = table.clone();
    let mut prepared = None;
    loop {
        let (error, reusable) =
            match committer::publish(catalog, &current, change, prepared.take()).await {
                Ok((table, _)) => return Ok(table),
                Err((error @ Error::StateUnknown { .. }, _)) => return Err(error),
                Err(failed) => failed,
            };
        attempt += 1;
        if !error.is_retryable() || attempt >= super::ATTEMPTS {
            discard(table, &change.added).await;
            return Err(error);
        }
        prepared = reusable;
        // Each newer version has to be looked at before it is built upon.
        current = catalog.refresh(&current).await?;
        if let Some(why) = why_outdated(&current, base, replaced, cache).await? {
            discard(table, &change.added).await;
            let what = format!("table `{}`", table.ident());
            return Err(Error::Conflict { what, why });
        }
    }
}

/// Why a rewrite of `base` says something else than `table` now does.
async fn why_outdated(
    table: &Table,
    base: &Snapshot,
    replaced: &HashMap<String, i64>,
    cache: &ManifestCache,
) -> Result<Option<String>> {
    if !is_ancestor(table.metadata(), base.snapshot_id()) {
        return Ok(Some(format!(
            "snapshot {} was rolled back while its files were rewritten",
            base.snapshot_id()
        )));
    }
    let path = newly_deleted_from(table, base, replaced, cache).await?;
    Ok(path.map(|path| format!("rows of `{path}` were deleted while it was rewritten")))
}

/// A replaced file that a position delete newer than `base` may name.
async fn newly_deleted_from(
    table: &Table,
    base: &Snapshot,
    replaced: &HashMap<String, i64>,
    cache: &ManifestCache,
) -> Result<Option<String>> {
    let Some(snapshot) = table.metadata().current_snapshot() else {
        return Ok(None);
    };
    let live = SnapshotFiles::load(table, snapshot, cache, |_| true).await?;
    for file in live
        .data()
        .iter()
        .filter(|file| replaced.contains_key(file.path()))
    {
        let deletes = live.deletes_of(file);
        if deletes
            .positions
            .iter()
            .any(|delete| delete.sequence > base.sequence_number())
        {
            return Ok(Some(file.path().to_owned()));
        }
    }
    Ok(None)
}

async fn discard(table: &Table, files: &[NewFile]) {
    for file in files {
        if let Err(error) = table.file_io().delete(&file.path).await {
            tracing::debug!(path = file.path, %error, "file of a refused rewrite stays behind");
        }
    }
}

/// The files to rewrite. Only files of the current partition spec are taken, since new files are
/// written under it.
fn choose<'a>(
    table: &Table,
    live: &'a SnapshotFiles,
    policy: &Policy,
) -> Result<Vec<&'a LiveFile>> {
    let metadata = table.metadata();
    let target = property(metadata, "write.target-file-size-bytes")?
        .unwrap_or(policy.target_file_size.as_u64());
    let spec_id = metadata.default_partition_spec_id();
    let mut partitions: HashMap<&Struct, Vec<&LiveFile>> = HashMap::new();
    for file in live.data().iter().filter(|file| file.spec_id == spec_id) {
        partitions
            .entry(file.file().partition())
            .or_default()
            .push(file);
    }
    let mut partitions: Vec<Vec<&LiveFile>> = partitions.into_values().collect();
    // The partition with most files first: it gains most from the bounded work of this round.
    partitions.sort_by_key(|files| Reverse(files.len()));
    let mut joins = Vec::new();
    let mut burdened = Vec::new();
    for files in partitions {
        let (small, reached) = candidates(files, live, policy, target);
        joins.push(small);
        burdened.extend(reached);
    }
    let mut chosen = within(policy.max_rewrite_size.as_u64(), joins, burdened);
    let mut places: HashMap<&Struct, usize> = HashMap::new();
    chosen.sort_by_cached_key(|file| {
        let next = places.len();
        *places.entry(file.file().partition()).or_insert(next)
    });
    Ok(chosen)
}

/// As many of the candidates as `bound` bytes allow: first those to join, which are small, then burdened
/// ones from the oldest on. The oldest hold back the most deletes, and as what is written anew is young,
/// each has its turn. One file over the bound is taken too, or it would never be.
fn within<'a>(
    bound: u64,
    joins: Vec<Vec<&'a LiveFile>>,
    mut burdened: Vec<&'a LiveFile>,
) -> Vec<&'a LiveFile> {
    let size = |file: &LiveFile| file.file().file_size_in_bytes();
    let mut left = bound;
    let mut chosen = Vec::new();
    for small in joins {
        let mut rest = left;
        let fitting = small.iter().take_while(|file| {
            let after = rest.checked_sub(size(file));
            rest = after.unwrap_or(rest);
            after.is_some()
        });
        let fitting: Vec<&LiveFile> = fitting.copied().collect();
        // One of several is joined to nothing.
        if fitting.len() >= small.len().min(2) {
            left = rest;
            chosen.extend(fitting);
        }
    }
    let joined: HashSet<&str> = chosen.iter().map(|file| file.path()).collect();
    burdened.retain(|file| !joined.contains(file.path()));
    burdened.sort_by_key(|file| file.sequence);
    let mut is_over = false;
    for file in burdened {
        if let Some(rest) = left.checked_sub(size(file)) {
            left = rest;
            chosen.push(file);
        } else if size(file) > bound && !is_over {
            is_over = true;
            chosen.push(file);
        }
    }
    chosen
}

/// The files of a partition that are worth joining, the smallest first, and those that many deletes
/// reach.
fn candidates<'a>(
    mut files: Vec<&'a LiveFile>,
    live: &SnapshotFiles,
    policy: &Policy,
    target: u64,
) -> (Vec<&'a LiveFile>, Vec<&'a LiveFile>) {
    files.sort_by_key(|file| file.file().file_size_in_bytes());
    let burdened: Vec<&LiveFile> = files
        .iter()
        .copied()
        .filter(|file| {
            let Deletes {
                positions,
                equality,
            } = live.deletes_of(file);
            positions.len() + equality.len() >= policy.max_delete_files
        })
        .collect();
    let mut small: Vec<&LiveFile> = Vec::new();
    let mut total = 0_u64;
    for file in &files {
        let size = file.file().file_size_in_bytes();
        let is_small = (size as f64) < target as f64 * SMALL;
        let is_worth_it = small.len() < 2 || total as f64 >= size as f64 * WORTHWHILE;
        if !is_small || !is_worth_it {
            break;
        }
        total += size;
        small.push(file);
    }
    if small.len() < policy.min_input_files {
        small.clear();
    }
    (small, burdened)
}

/// Delete files that reach no data file any more once others are in place of `replaced`.
fn dangling(
    live: &SnapshotFiles,
    replaced: &HashMap<String, i64>,
    snapshot: &Snapshot,
) -> Vec<String> {
    let mut needed: HashSet<&str> = HashSet::new();
    for file in live.data() {
        let applied = replaced.get(file.path()).copied();
        if applied.is_some_and(|sequence| sequence >= snapshot.sequence_number()) {
            continue;
        }
        let Deletes {
            positions,
            equality,
        } = live.deletes_of(file);
        match applied {
            // All positions were applied, and keys up to this commit.
            Some(sequence) => {
                let later = equality.iter().filter(|delete| delete.sequence > sequence);
                needed.extend(later.map(|delete| delete.path()));
            }
            None => {
                let all = positions.iter().chain(&equality);
                needed.extend(all.map(|delete| delete.path()));
            }
        }
    }
    live.deletes()
        .iter()
        .filter(|delete| delete.sequence <= snapshot.sequence_number())
        .filter(|delete| !needed.contains(delete.path()))
        .map(|delete| delete.path().to_owned())
        .collect()
}

/// Writes the rows of `chosen` that are not deleted into new files. Partitions in which that cannot be
/// done stay.
async fn rewrite(
    table: &Table,
    live: &SnapshotFiles,
    chosen: &[&LiveFile],
    snapshot: &Snapshot,
    policy: &Policy,
) -> Result<Rewrite> {
    let mut options = WriterOptions::of(table.metadata())?;
    if property::<u64>(table.metadata(), "write.target-file-size-bytes")?.is_none() {
        options.target_file_size = usize_of(policy.target_file_size);
    }
    let shape = RowShape::new(table.metadata().current_schema())?;
    let bound = usize_of(policy.max_deleted_keys);
    let mut done = Rewrite::default();
    for partition in
        chosen.chunk_by(|one, other| one.file().partition() == other.file().partition())
    {
        let result = async {
            let Some(part) = Part::load(table, live, partition, snapshot, bound).await? else {
                return Ok(());
            };
            let mut writer = TableWriter::new(table, options.clone())?;
            if let Err(error) = part.write(table, live, &shape, &mut writer).await {
                let written = writer.finish().await.unwrap_or_default();
                discard(table, &written).await;
                return Err(error);
            }
            done.add(&part, writer.finish().await?);
            Ok(())
        };
        match result.await {
            Ok(()) => {}
            Err(Error::Unsupported(what)) => {
                tracing::debug!(table = %table.ident(), what, "files are left as they are");
            }
            Err(error) => {
                discard(table, &done.added).await;
                return Err(error);
            }
        }
    }
    Ok(done)
}

/// Files of one partition and the deleted keys that apply to them. The keys are read once: those that reach
/// the oldest file include those of the others, and each key says up to which commit it deletes.
struct Part<'a> {
    files: Vec<&'a LiveFile>,
    keys: DeletedKeys,
    /// The commit up to which all deleted keys are held. A later one's may be, too, which does no harm: they
    /// still apply to what is written.
    sequence: i64,
}

// === impl Rewrite ===

impl Rewrite {
    fn add(&mut self, part: &Part<'_>, written: Vec<NewFile>) {
        let paths = written.iter().map(|file| file.path.clone());
        self.sequences
            .extend(paths.map(|path| (path, part.sequence)));
        self.added.extend(written);
        let replaced = part.files.iter().map(|file| file.path().to_owned());
        self.replaced
            .extend(replaced.map(|path| (path, part.sequence)));
    }
}

// === impl Part ===

impl<'a> Part<'a> {
    /// Nothing, if not even one commit's keys can be held.
    async fn load(
        table: &Table,
        live: &SnapshotFiles,
        files: &[&'a LiveFile],
        snapshot: &Snapshot,
        bound: usize,
    ) -> Result<Option<Self>> {
        let oldest = files.iter().min_by_key(|file| file.sequence);
        let reached = oldest.map_or(Vec::new(), |oldest| live.deletes_of(oldest).equality);
        let first = reached.iter().map(|delete| delete.sequence).min();
        let (keys, held) = DeletedKeys::load_oldest(table, reached, bound).await?;
        let sequence = held.unwrap_or(snapshot.sequence_number());
        if first.is_some_and(|first| first > sequence) {
            tracing::warn!(
                table = %table.ident(),
                "a partition is not compacted: one commit deletes more keys than `max_deleted_keys` holds"
            );
            return Ok(None);
        }
        let files = files.iter().copied();
        Ok(Some(Self {
            // A younger file may hold a row that came after its key was deleted; as old as `sequence` it
            // would go.
            files: files.filter(|file| file.sequence <= sequence).collect(),
            keys,
            sequence,
        }))
    }

    async fn write(
        &self,
        table: &Table,
        live: &SnapshotFiles,
        shape: &RowShape,
        writer: &mut TableWriter,
    ) -> Result<()> {
        let mut opened = pin!(deletes::open_all(table, &self.files));
        while let Some((file, rows)) = opened.try_next().await? {
            let deletes = live.deletes_of(file).positions;
            let gone = deletes::positions(table, file.path(), &deletes).await?;
            rewrite_one(file, rows, &self.keys, &gone, shape, writer).await?;
        }
        Ok(())
    }
}

async fn rewrite_one(
    file: &LiveFile,
    mut rows: Rows,
    deleted_keys: &DeletedKeys,
    gone: &[u64],
    shape: &RowShape,
    writer: &mut TableWriter,
) -> Result<()> {
    let mut position = 0_u64;
    while let Some(batch) = rows
        .try_next()
        .await
        .map_err(Error::parquet("read", file.path()))?
    {
        let n_rows = batch.num_rows();
        let mut kept: Vec<bool> = deleted_keys
            .kept(n_rows, file.sequence, |id| {
                let index = deletes::index_of(batch.schema_ref(), id)?;
                Some(batch.column(index).clone())
            })?
            .iter()
            .map(|kept| kept.unwrap_or(false))
            .collect();
        let end = position + n_rows as u64;
        let first = gone.partition_point(|row| *row < position);
        for row in gone[first..].iter().take_while(|row| **row < end) {
            if let Some(kept) = usize::try_from(row - position)
                .ok()
                .and_then(|row| kept.get_mut(row))
            {
                *kept = false;
            }
        }
        position = end;
        let batch = shaped(&batch, shape.arrow_schema(), file.path())?;
        let batch = filter_record_batch(&batch, &BooleanArray::from(kept))
            .map_err(Error::arrow("take deleted rows out"))?;
        if batch.num_rows() > 0 {
            writer.write(&batch).await?;
        }
    }
    Ok(())
}

/// The table's columns, found in the file by field id.
fn shaped(batch: &RecordBatch, target: &SchemaRef, path: &str) -> Result<RecordBatch> {
    let columns = target
        .fields()
        .iter()
        .map(|field| {
            let id = field
                .metadata()
                .get(parquet::arrow::PARQUET_FIELD_ID_META_KEY)
                .and_then(|id| id.parse().ok());
            match id.and_then(|id| deletes::index_of(batch.schema_ref(), id)) {
                Some(index) => {
                    let column = batch.column(index);
                    let is_nested = matches!(
                        field.data_type(),
                        DataType::Struct(_) | DataType::List(_) | DataType::Map(_, _)
                    );
                    if is_nested && column.data_type() != field.data_type() {
                        return Err(Error::Unsupported(format!(
                            "rewriting `{path}`, in which nested column `{}` has an older type,",
                            field.name()
                        )));
                    }
                    cast(column, field)
                }
                None if field.is_nullable() && has_ids(batch) => Ok(arrow::array::new_null_array(
                    field.data_type(),
                    batch.num_rows(),
                )),
                None => Err(Error::Unsupported(format!(
                    "rewriting `{path}`, which lacks column `{}` or field ids,",
                    field.name()
                ))),
            }
        })
        .collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(target.clone(), columns).map_err(Error::arrow("rewrite rows"))
}

fn has_ids(batch: &RecordBatch) -> bool {
    batch.schema_ref().fields().iter().any(|field| {
        field
            .metadata()
            .contains_key(parquet::arrow::PARQUET_FIELD_ID_META_KEY)
    })
}
