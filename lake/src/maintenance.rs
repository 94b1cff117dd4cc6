//! Keeps streaming tables healthy while they are written to.
//!
//! A stream that commits every second leaves 86 400 small files, manifests and snapshots a day, and an
//! upsert stream leaves deletes that every read pays for. [`run`] goes over all tables of a catalog and
//! merges manifests, rewrites small files and files with deletes, and expires old snapshots with their
//! files. From time to time it deletes files that writers left behind uncommitted. It yields to writers:
//! its commits are retried a few times and then left for the next round,
//! and nothing it does makes a writer's commit wait or fail for good.

mod compact;
mod expire;
mod manifests;
mod orphans;

use std::collections::HashMap;
use std::time::Duration;

use bytesize::ByteSize;
use chrono::{TimeDelta, Utc};
use iceberg::spec::TableMetadata;
use iceberg::{NamespaceIdent, TableIdent};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::catalog::RestCatalog;
use crate::error::one_line;
use crate::read::ManifestCache;
use crate::{Error, Result, Table};

pub use orphans::remove_orphans;

/// When upkeep acts, and how much it may do at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Pause between two rounds over all tables.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// Size that small files are joined to; the table's `write.target-file-size-bytes` goes before it.
    pub target_file_size: ByteSize,
    /// Small files in one partition at which they are joined.
    pub min_input_files: usize,
    /// Delete files that reach a data file at which it is rewritten.
    pub max_delete_files: usize,
    /// Bytes read by one rewrite; the rest is left for the next round.
    pub max_rewrite_size: ByteSize,
    /// Memory for deleted keys during a rewrite; a partition with more gets those of its oldest commits applied first.
    pub max_deleted_keys: ByteSize,
    /// Manifests at which the small ones are merged.
    pub max_manifests: usize,
    /// Snapshots always kept; the table's `history.expire.min-snapshots-to-keep` goes before it.
    pub keep_snapshots: usize,
    /// Age up to which snapshots are kept; the table's `history.expire.max-snapshot-age-ms` goes before it.
    #[serde(with = "humantime_serde")]
    pub keep_for: Duration,
    /// Snapshots expired in one commit; the rest is left for the next round.
    pub max_expired: usize,
    /// Memory for parsed manifests.
    pub manifest_cache: ByteSize,
    /// Whether files that no version of a table names are deleted.
    pub remove_orphans: bool,
    /// Age from which they are; it must exceed the time from writing a file to committing it, outages included.
    #[serde(with = "humantime_serde")]
    pub orphan_age: Duration,
    /// Pause before they are first looked for, and from then on.
    #[serde(with = "humantime_serde")]
    pub orphan_interval: Duration,
}

/// What a round did to one table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Manifests that were merged into fewer.
    pub merged_manifests: usize,
    /// Data files that were rewritten.
    pub rewritten_files: usize,
    /// Delete files that no longer applied to anything and went.
    pub dropped_deletes: usize,
    /// Snapshots that were expired.
    pub expired_snapshots: usize,
    /// Files that were deleted with them.
    pub deleted_files: usize,
}

/// Attempts before a change is left for the next round. An attempt on a newer version is cheap, while
/// giving up throws a rewrite away.
const ATTEMPTS: u32 = 20;
/// Rounds in a row that a table may be left for the next one before it is worth a warning.
const QUIET_FAILURES: u32 = 3;
/// No age below it is taken for that of an orphan: checkpoints may time out and be repeated meanwhile.
pub(crate) const YOUNGEST_ORPHAN: Duration = Duration::from_secs(3600);

// === impl Policy ===

impl Default for Policy {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(20),
            target_file_size: ByteSize::mib(128),
            min_input_files: 12,
            max_delete_files: 8,
            max_rewrite_size: ByteSize::mib(512),
            max_deleted_keys: ByteSize::mib(128),
            max_manifests: 40,
            keep_snapshots: 60,
            keep_for: Duration::from_secs(10 * 60),
            max_expired: 500,
            manifest_cache: ByteSize::mib(16),
            remove_orphans: true,
            orphan_age: Duration::from_secs(3 * 24 * 3600),
            orphan_interval: Duration::from_secs(3600),
        }
    }
}

impl Policy {
    /// Checks the values against each other; the message names the key.
    pub fn validate(&self) -> Result<()> {
        let positive = [
            ("min_input_files", self.min_input_files),
            ("max_delete_files", self.max_delete_files),
            ("max_manifests", self.max_manifests),
            ("keep_snapshots", self.keep_snapshots),
            ("max_expired", self.max_expired),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(Error::Invalid(format!(
                "maintenance `{key}` must be at least 1"
            )));
        }
        for (key, value) in [
            ("interval", self.interval),
            ("orphan_interval", self.orphan_interval),
        ] {
            if value.is_zero() {
                return Err(Error::Invalid(format!(
                    "maintenance `{key}` must be positive"
                )));
            }
        }
        if self.orphan_age < YOUNGEST_ORPHAN {
            return Err(Error::Invalid(
                "maintenance `orphan_age` must be at least 1h: younger files may belong to a \
                 checkpoint that is still to be committed"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// Goes over all tables of `catalog` again and again until `shutdown`. A table that fails is logged and
/// tried again in the next round; only a policy that makes no sense ends the loop.
pub async fn run(catalog: RestCatalog, policy: Policy, shutdown: CancellationToken) -> Result<()> {
    policy.validate()?;
    let mut upkeep = Upkeep {
        catalog,
        cache: ManifestCache::new(usize_of(policy.manifest_cache)),
        settled: HashMap::new(),
        failures: HashMap::new(),
        // Not at once: a job that is restored from a checkpoint of long ago commits its files first.
        sweep_due: Instant::now() + policy.orphan_interval,
        policy,
    };
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(upkeep.policy.interval) => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = upkeep.round() => {}
        }
    }
}

/// The upkeep of a catalog from round to round.
struct Upkeep {
    catalog: RestCatalog,
    policy: Policy,
    cache: ManifestCache,
    /// Tables in which there was nothing to do, at the snapshot looked at.
    settled: HashMap<TableIdent, Option<i64>>,
    /// Rounds in a row in which a table was left for the next one.
    failures: HashMap<TableIdent, u32>,
    /// When orphans are looked for again.
    sweep_due: Instant,
}

// === impl Upkeep ===

impl Upkeep {
    async fn round(&mut self) {
        let tables = match all_tables(&self.catalog).await {
            Ok(tables) => tables,
            Err(error) => {
                tracing::debug!(error = one_line(&error), "the catalog could not be listed");
                return;
            }
        };
        self.settled.retain(|ident, _| tables.contains(ident));
        self.failures.retain(|ident, _| tables.contains(ident));
        if self.policy.remove_orphans && self.sweep_due <= Instant::now() {
            self.sweep(&tables).await;
            self.sweep_due = Instant::now() + self.policy.orphan_interval;
        }
        for ident in tables {
            let table = match self.catalog.load_table(&ident).await {
                Ok(table) => table,
                Err(error) => {
                    tracing::debug!(table = %ident, error = one_line(&error), "table could not be loaded");
                    continue;
                }
            };
            if self.settled.get(&ident) == Some(&table.metadata().current_snapshot_id()) {
                continue;
            }
            let result = maintain(&self.catalog, &table, &self.policy, &self.cache).await;
            self.note(ident, &table, result);
        }
    }

    /// Deletes old files that no version of their table names, in tables that share their place with none.
    async fn sweep(&self, tables: &[TableIdent]) {
        let mut locations = Vec::with_capacity(tables.len());
        for ident in tables {
            match self.catalog.load_table(ident).await {
                Ok(table) => locations.push(table.metadata().location().to_owned()),
                Err(error) => {
                    // Where a table is that cannot be loaded nobody knows, so no place is surely not its own.
                    tracing::debug!(table = %ident, error = one_line(&error), "orphans are left for later");
                    return;
                }
            }
        }
        let Some(written_before) = TimeDelta::from_std(self.policy.orphan_age)
            .ok()
            .and_then(|age| Utc::now().checked_sub_signed(age))
        else {
            return;
        };
        for (index, ident) in tables.iter().enumerate() {
            let shared = (0..tables.len())
                .filter(|other| *other != index)
                .any(|other| orphans::overlap(&locations[index], &locations[other]));
            if shared {
                tracing::debug!(table = %ident, "orphans stay: another table may have files there");
                continue;
            }
            match remove_orphans(&self.catalog, ident, written_before).await {
                Ok(_) => {}
                Err(error) if error.is_retryable() => {
                    tracing::debug!(table = %ident, error = one_line(&error), "orphans are left for later");
                }
                Err(error) => {
                    tracing::warn!(table = %ident, error = one_line(&error), "orphans were not deleted");
                }
            }
        }
    }

    fn note(&mut self, ident: TableIdent, table: &Table, result: Result<Report>) {
        match result {
            Ok(report) => {
                self.failures.remove(&ident);
                // Snapshots over the number kept still have to grow old enough to go.
                let n_snapshots = table.metadata().snapshots().len();
                if report != Report::default() {
                    tracing::debug!(table = %ident, ?report, "table maintained");
                } else if n_snapshots <= self.policy.keep_snapshots {
                    self.settled
                        .insert(ident, table.metadata().current_snapshot_id());
                }
            }
            Err(error) if error.is_retryable() || matches!(error, Error::StateUnknown { .. }) => {
                let rounds = self.failures.entry(ident.clone()).or_default();
                *rounds += 1;
                let (rounds, error) = (*rounds, one_line(&error));
                if rounds < QUIET_FAILURES {
                    tracing::debug!(table = %ident, error, "left for the next round");
                } else {
                    tracing::warn!(
                        table = %ident,
                        rounds,
                        error,
                        "table not maintained for some rounds: its small files make reads slower"
                    );
                }
            }
            Err(error) => {
                tracing::warn!(table = %ident, error = one_line(&error), "table not maintained");
            }
        }
    }
}

/// Does everything that `policy` asks for on one table, once. A rewrite that lost against writers keeps
/// nothing else from being done; its error is returned at the end.
pub async fn maintain(
    catalog: &RestCatalog,
    table: &Table,
    policy: &Policy,
    cache: &ManifestCache,
) -> Result<Report> {
    let mut report = Report::default();
    if table.metadata().current_snapshot().is_none() {
        return Ok(report);
    }
    let mut table = table.clone();
    let mut lost = None;
    // Row lineage (version 3) would have to be carried through a rewrite, which is not done yet.
    if table.metadata().format_version() == iceberg::spec::FormatVersion::V2 {
        match compact::compact(catalog, &table, policy, cache).await {
            Ok(Some((newer, rewritten))) => {
                table = newer;
                report.rewritten_files = rewritten.files;
                report.dropped_deletes = rewritten.dropped_deletes;
            }
            Ok(None) => {}
            Err(error) if error.is_retryable() => {
                lost = Some(error);
                table = catalog.refresh(&table).await?;
            }
            Err(error) => return Err(error),
        }
        if let Some((newer, merged)) = manifests::merge(catalog, &table, policy, cache).await? {
            table = newer;
            report.merged_manifests = merged;
        }
    }
    let expired = expire::expire(catalog, &table, policy, cache).await?;
    report.expired_snapshots = expired.snapshots;
    report.deleted_files = expired.files;
    lost.map_or(Ok(report), Err)
}

async fn all_tables(catalog: &RestCatalog) -> Result<Vec<TableIdent>> {
    let mut namespaces: Vec<NamespaceIdent> = catalog.namespaces(None).await?;
    let mut tables = Vec::new();
    while let Some(namespace) = namespaces.pop() {
        tables.extend(catalog.tables(&namespace).await?);
        namespaces.extend(catalog.namespaces(Some(&namespace)).await?);
    }
    Ok(tables)
}

fn usize_of(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

/// Whether files of the table may be deleted at all.
fn is_collected(metadata: &TableMetadata) -> bool {
    metadata
        .properties()
        .get("gc.enabled")
        .is_none_or(|enabled| enabled != "false")
}

/// A number in the table's properties; one that is no number is an error, not ignored.
fn property<T: std::str::FromStr>(metadata: &TableMetadata, key: &str) -> Result<Option<T>> {
    metadata
        .properties()
        .get(key)
        .map(|value| {
            value.parse().map_err(|_| {
                Error::Invalid(format!("table property `{key}` is `{value}`, not a number"))
            })
        })
        .transpose()
}

#[cfg(test)]
mod tests;
