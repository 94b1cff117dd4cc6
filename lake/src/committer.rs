//! Makes written files visible, each checkpoint exactly once.
//!
//! A commit is a compare-and-swap on the table's current snapshot. Everything hard about it is what to
//! do when the answer is "no" or does not come: [`Committer`] then reads the table again, walks the
//! ancestors of the current snapshot for its own mark, and goes on from the last checkpoint found there.
//! The swap always names the very snapshot whose ancestors were walked, so a commit that was believed
//! lost and lands late makes the next one fail instead of doubling it. Files are never deleted here: a
//! commit of unknown outcome may still need them. `docs/lake.md` draws the protocol.

mod draft;
mod progress;
mod summary;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use iceberg::TableIdent;
use iceberg::TableRequirement;
use iceberg::spec::{MAIN_BRANCH, Operation, TableMetadata};
use object_store::ObjectStoreExt;
use uuid::Uuid;

use crate::catalog::RestCatalog;
use crate::committable::{Committable, NewFile, Writer};
use crate::maintenance::YOUNGEST_ORPHAN;
use crate::{Error, Result, Table};
use draft::Added;
pub(crate) use draft::{manifest_writer, new_snapshot_id, replace_manifests};
pub use progress::Progress;
pub(crate) use progress::ancestors;

/// How often and how long a commit is retried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitOptions {
    /// Attempts per snapshot before the last error is returned.
    pub attempts: u32,
    /// Pause before the second attempt; doubles from one to the next.
    pub first_pause: Duration,
    /// Longest pause between attempts.
    pub longest_pause: Duration,
    /// Age from which a file is looked for before it is committed: upkeep may have taken it for an orphan.
    pub look_for: Duration,
}

/// Commits the checkpoints of one writer to one table.
#[derive(Debug)]
pub struct Committer {
    catalog: RestCatalog,
    table: Table,
    uuid: Uuid,
    writer: Writer,
    options: CommitOptions,
}

/// What a call of [`Committer::commit`] did.
#[derive(Debug)]
pub struct Committed {
    /// The table after the last commit.
    pub table: Table,
    /// The snapshots made by this call, oldest first.
    pub snapshots: Vec<i64>,
    /// Checkpoints that were in the table before this call, or turned out to be.
    pub already: Vec<u64>,
}

/// A change of a table that makes one snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// Files that become visible.
    pub(crate) added: Vec<NewFile>,
    /// Data sequence numbers of added data files, by path; those without one get the snapshot's own.
    pub(crate) sequences: HashMap<String, i64>,
    /// Paths of files that go.
    pub(crate) removed: HashSet<String>,
    /// What the snapshot says it did.
    pub(crate) operation: Operation,
    /// Further lines of its summary.
    pub(crate) summary: HashMap<String, String>,
    /// Table properties set in the same commit.
    pub(crate) properties: HashMap<String, String>,
}

// === impl CommitOptions ===

impl Default for CommitOptions {
    fn default() -> Self {
        Self {
            attempts: 20,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(5),
            look_for: YOUNGEST_ORPHAN,
        }
    }
}

// === impl Committer ===

impl Committer {
    /// A committer for `table`, which must exist.
    pub async fn open(
        catalog: RestCatalog,
        table: &TableIdent,
        writer: Writer,
        options: CommitOptions,
    ) -> Result<Self> {
        let table = catalog.load_table(table).await?;
        let uuid = table.metadata().uuid();
        Ok(Self {
            catalog,
            table,
            uuid,
            writer,
            options,
        })
    }

    /// The table as last seen.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// What this writer has committed to the table so far, by the table's own account.
    ///
    /// A job that restarts compares it with the checkpoint it restores: a checkpoint at or below
    /// [`Progress::checkpoint_id`] is in the table, and one that comes again with that number is skipped.
    pub async fn progress(&mut self) -> Result<Option<Progress>> {
        self.refresh().await?;
        progress::of(self.table.metadata(), &self.writer)
    }

    /// Commits checkpoints in order of their number, each exactly once, and returns when all are visible.
    ///
    /// Committables with the same number are taken as parts of one checkpoint. Checkpoints that are in
    /// the table already are skipped. Consecutive checkpoints without deletes share a snapshot; one with
    /// deletes gets its own, because an equality delete must not reach rows of a later checkpoint.
    /// On error, call again with the same committables: those done by then are skipped.
    pub async fn commit(&mut self, committables: Vec<Committable>) -> Result<Committed> {
        let mut pending = in_order(committables)?;
        let mut snapshots = Vec::new();
        let mut already = Vec::new();
        let mut attempt = 0;
        let mut added: Option<(u64, Added)> = None;
        while !pending.is_empty() {
            let done = progress::of(self.table.metadata(), &self.writer)?;
            let done = done.map_or(0, |progress| progress.checkpoint_id + 1);
            let rest = pending.split_off(&done);
            already.extend(std::mem::replace(&mut pending, rest).into_keys());
            pending.retain(|_, committable| !committable.files.is_empty());
            let Some(group) = next_group(&pending) else {
                break;
            };
            self.find_old_files(&group).await?;
            let last = group.checkpoint_id;
            let reused = added.take().filter(|(checkpoint, _)| *checkpoint == last);
            match self.publish(group, reused.map(|(_, added)| added)).await {
                Ok((table, snapshot)) => {
                    self.table = table;
                    snapshots.push(snapshot);
                    pending = pending.split_off(&(last + 1));
                    attempt = 0;
                }
                Err((error, reusable)) => {
                    attempt += 1;
                    self.after_failure(error, attempt).await?;
                    added = reusable.map(|added| (last, added));
                }
            }
        }
        Ok(Committed {
            table: self.table.clone(),
            snapshots,
            already,
        })
    }

    /// Refuses a checkpoint of long ago whose files are gone: a table that names them could not be read.
    async fn find_old_files(&self, group: &Committable) -> Result<()> {
        for file in &group.files {
            let age = Utc::now().signed_duration_since(written_at(&file.path).unwrap_or_default());
            if age.to_std().is_ok_and(|age| age < self.options.look_for) {
                continue;
            }
            let (store, key) = self.table.store().open(&file.path)?;
            match store.head(&key).await {
                Ok(_) => {}
                Err(object_store::Error::NotFound { .. }) => {
                    return Err(Error::Invalid(format!(
                        "file `{}` of checkpoint {} is gone, so the checkpoint cannot be committed; \
                         upkeep deletes files that are not committed for `orphan_age`",
                        file.path, group.checkpoint_id
                    )));
                }
                Err(error) => return Err(Error::store("look for", &file.path)(error)),
            }
        }
        Ok(())
    }

    /// One attempt. On failure the manifests are handed back where the next attempt may use them.
    async fn publish(
        &self,
        group: Committable,
        reused: Option<Added>,
    ) -> std::result::Result<(Table, i64), (Error, Option<Added>)> {
        let change = self.change(group).map_err(|error| (error, None))?;
        publish(&self.catalog, &self.table, &change, reused).await
    }

    fn change(&self, group: Committable) -> Result<Change> {
        let operation = if group.has_deletes() {
            Operation::Overwrite
        } else {
            Operation::Append
        };
        let progress = Progress {
            checkpoint_id: group.checkpoint_id,
            offsets: group.offsets,
            watermark: group.watermark,
        };
        Ok(Change {
            added: group.files,
            sequences: HashMap::new(),
            removed: HashSet::new(),
            operation,
            summary: progress::summary(&self.writer, &progress)?,
            properties: progress::properties(&self.writer, &progress)?,
        })
    }

    /// Decides whether to go on after a failed attempt, pauses, and reads the table again.
    async fn after_failure(&mut self, error: Error, attempt: u32) -> Result<()> {
        let retried = error.is_retryable() || matches!(error, Error::StateUnknown { .. });
        if !retried || attempt >= self.options.attempts {
            return Err(error);
        }
        tracing::debug!(
            table = %self.table.ident(),
            attempt,
            error = crate::error::one_line(&error),
            "commit failed, walking the ancestors again"
        );
        pause(&self.options, attempt).await;
        match self.refresh().await {
            Ok(()) => Ok(()),
            // The catalog is away: the next attempt fails likewise and counts.
            Err(refresh) if refresh.is_retryable() => Ok(()),
            Err(refresh) => Err(refresh),
        }
    }

    async fn refresh(&mut self) -> Result<()> {
        let table = self.catalog.refresh(&self.table).await?;
        if table.metadata().uuid() != self.uuid {
            return Err(Error::Invalid(format!(
                "table `{}` was dropped and made again while it was written to",
                table.ident()
            )));
        }
        self.table = table;
        Ok(())
    }
}

// === operations without a writer's mark ===

/// Appends files that belong to no checkpoint, retrying until they are in.
pub async fn append(
    catalog: &RestCatalog,
    table: &Table,
    files: Vec<NewFile>,
    options: &CommitOptions,
) -> Result<Table> {
    let operation = if files.iter().any(NewFile::is_delete) {
        Operation::Overwrite
    } else {
        Operation::Append
    };
    let change = Change {
        added: files,
        sequences: HashMap::new(),
        removed: HashSet::new(),
        operation,
        summary: HashMap::new(),
        properties: HashMap::new(),
    };
    apply(catalog, table, &change, options, |_| Ok(())).await
}

/// Replaces the files `removed` by `added` in one snapshot. Fails with [`Error::Conflict`] when another
/// commit has changed the table's files since `table` was read, because the replacement was computed
/// from them.
pub async fn overwrite(
    catalog: &RestCatalog,
    table: &Table,
    removed: HashSet<String>,
    added: Vec<NewFile>,
    options: &CommitOptions,
) -> Result<Table> {
    let base = table.metadata().current_snapshot_id();
    let change = Change {
        added,
        sequences: HashMap::new(),
        removed,
        operation: Operation::Overwrite,
        summary: HashMap::new(),
        properties: HashMap::new(),
    };
    apply(catalog, table, &change, options, |current| {
        if current.metadata().current_snapshot_id() == base {
            return Ok(());
        }
        Err(Error::Conflict {
            what: format!("table `{}`", current.ident()),
            why: "its rows changed since they were read".to_owned(),
        })
    })
    .await
}

/// Applies `change` with retries; `still_valid` is asked before each attempt on a newer version. An
/// outcome that stays unknown is looked up by the id of the snapshot.
pub(crate) async fn apply(
    catalog: &RestCatalog,
    table: &Table,
    change: &Change,
    options: &CommitOptions,
    still_valid: impl Fn(&Table) -> Result<()>,
) -> Result<Table> {
    let mut table = table.clone();
    let mut added = None;
    let mut sent = Vec::new();
    let mut attempt = 0;
    loop {
        still_valid(&table)?;
        let (error, reusable) = match publish(catalog, &table, change, added.take()).await {
            Ok((table, _)) => return Ok(table),
            Err((error, reusable)) => (error, reusable),
        };
        attempt += 1;
        if let Error::StateUnknown { .. } = &error
            && let Some(reusable) = &reusable
        {
            sent.push(reusable.snapshot_id);
        } else if !error.is_retryable() {
            return Err(error);
        } else {
            added = reusable;
        }
        if attempt >= options.attempts {
            return Err(error);
        }
        pause(options, attempt).await;
        match catalog.refresh(&table).await {
            Ok(newer) => table = newer,
            Err(refresh) if refresh.is_retryable() => {}
            Err(refresh) => return Err(refresh),
        }
        if sent.iter().any(|id| is_ancestor(table.metadata(), *id)) {
            return Ok(table);
        }
    }
}

/// One attempt at `change` on exactly the version `table`. On failure what was prepared is handed back
/// where the next attempt may use it.
pub(crate) async fn publish(
    catalog: &RestCatalog,
    table: &Table,
    change: &Change,
    reused: Option<Added>,
) -> std::result::Result<(Table, i64), (Error, Option<Added>)> {
    let mut added = match reused.filter(|added| added.fits(table)) {
        Some(added) => added,
        None => draft::write_added(table, change)
            .await
            .map_err(|error| (error, None))?,
    };
    let snapshot = added.snapshot_id;
    let updates = match draft::updates(table, change, &mut added).await {
        Ok(updates) => updates,
        Err(error) => return Err((error, Some(added))),
    };
    match catalog
        .commit(table, &requirements(table.metadata()), &updates)
        .await
    {
        Ok(table) => Ok((table, snapshot)),
        Err(error) => Err((error, Some(added))),
    }
}

/// What every commit asks of the table: that it is the same one, and that its current snapshot is the
/// one this change was made for. It holds for the first snapshot too.
pub(crate) fn requirements(metadata: &TableMetadata) -> Vec<TableRequirement> {
    vec![
        TableRequirement::UuidMatch {
            uuid: metadata.uuid(),
        },
        TableRequirement::RefSnapshotIdMatch {
            r#ref: MAIN_BRANCH.to_owned(),
            snapshot_id: metadata.current_snapshot_id(),
        },
    ]
}

/// Whether `snapshot` is the current one or one of its ancestors that are still known.
pub(crate) fn is_ancestor(metadata: &TableMetadata, snapshot: i64) -> bool {
    ancestors(metadata).any(|ancestor| ancestor.snapshot_id() == snapshot)
}

/// When a file was begun, by its name: our writers name files by UUIDs of version 7.
fn written_at(path: &str) -> Option<DateTime<Utc>> {
    let name = path.rsplit('/').next()?;
    let (seconds, nanos) = Uuid::parse_str(name.get(..36)?)
        .ok()?
        .get_timestamp()?
        .to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
}

async fn pause(options: &CommitOptions, attempt: u32) {
    let factor = 2_u32.saturating_pow(attempt.saturating_sub(1));
    let pause = options
        .first_pause
        .saturating_mul(factor)
        .min(options.longest_pause);
    tokio::time::sleep(pause).await;
}

/// Joins the parts of each checkpoint and orders them by number.
fn in_order(committables: Vec<Committable>) -> Result<BTreeMap<u64, Committable>> {
    let mut ordered: BTreeMap<u64, Committable> = BTreeMap::new();
    for committable in committables {
        match ordered.get_mut(&committable.checkpoint_id) {
            Some(held) => held.merge(committable)?,
            None => {
                ordered.insert(committable.checkpoint_id, committable);
            }
        }
    }
    Ok(ordered)
}

/// The next checkpoints that may share a snapshot, as one committable with the number, offsets and
/// watermark of the last of them.
fn next_group(pending: &BTreeMap<u64, Committable>) -> Option<Committable> {
    let mut rest = pending.values();
    let mut group = rest.next()?.clone();
    if group.has_deletes() {
        return Some(group);
    }
    for next in rest.take_while(|next| !next.has_deletes()) {
        group.files.extend(next.files.iter().cloned());
        group.checkpoint_id = next.checkpoint_id;
        group.watermark = next.watermark.or(group.watermark);
        for (topic, offsets) in &next.offsets {
            group
                .offsets
                .entry(topic.clone())
                .or_default()
                .extend(offsets);
        }
    }
    Some(group)
}
