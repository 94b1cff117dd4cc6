//! Commits: requirements checked, updates applied, the file written, the row swapped.
//!
//! The order is what makes a crash harmless. The metadata file is written first; if the process dies then, it is an
//! orphan that nothing names. The row is swapped second, only from the version the change was made on; once that is
//! durable the commit stands, whether or not its answer arrives.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use iceberg::spec::TableMetadata;
use iceberg::{TableRequirement, TableUpdate};
use tracing::warn;
use uuid::Uuid;

use super::cache::Table;
use super::{Catalog, Error, TableIdent, failed, metadata, off_thread, requirements, to_raw};
use crate::database::writer::{Base, Change, Failure, Refusal, TableChange};

const COMPRESSION: &str = "write.metadata.compression-codec";
const METADATA_PATH: &str = "write.metadata.path";
/// For the row, where speed counts more than size.
const ROW_COMPRESSION: i32 = 1;

/// A change to one table, as a client asks for it.
#[derive(Debug, Clone)]
pub(crate) struct CommitTable {
    pub(crate) ident: TableIdent,
    pub(crate) requirements: Vec<TableRequirement>,
    pub(crate) updates: Vec<TableUpdate>,
}

/// A table's next version: its row, and what is held in memory once the row stands.
pub(super) struct Staged {
    pub(super) row: TableChange,
    pub(super) table: Arc<Table>,
    file: Bytes,
    expired: Vec<String>,
}

/// What became of one attempt.
enum Attempt {
    Made(Vec<Arc<Table>>),
    /// Another instance came first.
    Lost,
}

// === impl Staged ===

impl Staged {
    pub(super) async fn new(
        id: String,
        base: Base,
        metadata_location: String,
        metadata: TableMetadata,
    ) -> Result<Staged, Error> {
        off_thread(move || {
            let json = to_raw(&metadata)?;
            let compressed = zstd::encode_all(json.get().as_bytes(), ROW_COMPRESSION)
                .map_err(|error| Error::Internal(error.to_string()))?;
            let file = if metadata_location.ends_with(".gz.metadata.json") {
                gzip(json.get().as_bytes()).map_err(|error| Error::Internal(error.to_string()))?
            } else {
                json.get().as_bytes().to_vec()
            };
            let version = match &base {
                Base::Nothing { .. } => 0,
                Base::Version(version) => version + 1,
            };
            Ok(Staged {
                row: TableChange {
                    id: id.clone(),
                    base,
                    location: metadata.location().to_owned(),
                    metadata_location: metadata_location.clone(),
                    metadata: compressed,
                },
                table: Arc::new(Table {
                    id,
                    version,
                    metadata_location,
                    metadata,
                    json,
                }),
                file: file.into(),
                expired: Vec::new(),
            })
        })
        .await
    }
}

// === impl Catalog: commits ===

impl Catalog {
    /// Commits all of `changes` or none, and returns the tables in the same order.
    pub(crate) async fn commit(&self, changes: Vec<CommitTable>) -> Result<Vec<Arc<Table>>, Error> {
        let begun = Instant::now();
        let outcome = self.try_commit(changes).await;
        let metrics = &self.shared.metrics;
        match &outcome {
            Ok(tables) => {
                metrics.commits.inc_by(tables.len() as u64);
                metrics
                    .commit_seconds
                    .observe(begun.elapsed().as_secs_f64());
            }
            Err(Error::CommitFailed(_)) => {
                metrics.commit_conflicts.inc();
            }
            Err(_) => {}
        }
        outcome
    }

    async fn try_commit(&self, changes: Vec<CommitTable>) -> Result<Vec<Arc<Table>>, Error> {
        let mut idents = Vec::with_capacity(changes.len());
        for change in &changes {
            change.ident.check()?;
            idents.push(change.ident.clone());
        }
        idents.sort();
        if idents.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::invalid(
                "a transaction may change each table only once",
            ));
        }
        let mut guards = Vec::with_capacity(idents.len());
        for ident in &idents {
            guards.push(self.lock(ident).lock_owned().await);
        }
        for _ in 0..=self.shared.config.commit_retries {
            match self.attempt(&changes).await? {
                Attempt::Made(tables) => return Ok(tables),
                Attempt::Lost => self.shared.metrics.commit_rebases.inc(),
            };
        }
        Err(Error::CommitFailed(
            "Cannot commit: the table was changed concurrently again and again".to_owned(),
        ))
    }

    async fn attempt(&self, changes: &[CommitTable]) -> Result<Attempt, Error> {
        let mut staged = Vec::with_capacity(changes.len());
        let mut tables = Vec::with_capacity(changes.len());
        for change in changes {
            match self.stage(change).await? {
                Next::Same(table) => tables.push(table),
                Next::Changed(next) => {
                    tables.push(next.table.clone());
                    staged.push(next);
                }
            }
        }
        if staged.is_empty() {
            return Ok(Attempt::Made(tables));
        }
        let written = futures::future::join_all(staged.iter().map(|next| {
            self.shared
                .files
                .put(&next.table.metadata_location, next.file.clone())
        }))
        .await;
        if let Some(error) = written.into_iter().find_map(Result::err) {
            self.discard_all(&staged).await;
            return Err(error);
        }
        let rows = staged.iter().map(|next| next.row.clone()).collect();
        match self.shared.writer.make(Change::Commit(rows)).await {
            Ok(()) => {
                for next in staged {
                    self.shared.cache.put(&next.table);
                    self.forget(next.expired).await;
                }
                Ok(Attempt::Made(tables))
            }
            Err(Failure::Refused(refusal)) => {
                self.discard_all(&staged).await;
                match refusal {
                    Refusal::NoNamespace => {
                        Err(Error::NoSuchNamespace(changes[0].ident.namespace.clone()))
                    }
                    Refusal::Purging => Err(Error::Purging(staged[0].row.location.clone())),
                    _ => Ok(Attempt::Lost),
                }
            }
            // The files stay when the rows may name them.
            Err(failure @ Failure::Unknown(_)) => Err(failed(failure)),
            Err(failure) => {
                self.discard_all(&staged).await;
                Err(failed(failure))
            }
        }
    }

    async fn stage(&self, change: &CommitTable) -> Result<Next, Error> {
        let ident = &change.ident;
        if requirements::creates(&change.requirements) {
            return self.stage_create(change).await.map(Next::Changed);
        }
        let base = self.load_table(ident).await?;
        requirements::check(&change.requirements, &base.metadata)?;
        let updates = change.updates.clone();
        let on = base.clone();
        let applied = off_thread(move || {
            metadata::apply(&on.metadata, on.metadata_location.clone(), updates)
        })
        .await?;
        let Some(next) = applied else {
            return Ok(Next::Same(base));
        };
        if next.metadata.location() != base.metadata.location() {
            self.shared.files.check_table(next.metadata.location())?;
        }
        let location = metadata_location(&next.metadata, base.version + 1)?;
        self.shared.files.check(&location)?;
        let mut staged = Staged::new(
            base.id.clone(),
            Base::Version(base.version),
            location,
            next.metadata,
        )
        .await?;
        staged.expired = next.expired;
        Ok(Next::Changed(staged))
    }

    async fn stage_create(&self, change: &CommitTable) -> Result<Staged, Error> {
        let ident = &change.ident;
        let default_location = self.default_location(ident).await?;
        if self.pointer(ident).await?.is_some() {
            return Err(Error::CommitFailed(
                "Requirement failed: table already exists".to_owned(),
            ));
        }
        let updates = change.updates.clone();
        let defaults: BTreeMap<String, String> = self.shared.config.table_defaults.clone();
        let metadata =
            off_thread(move || metadata::create_from_updates(updates, default_location, &defaults))
                .await?;
        self.shared.files.check_table(metadata.location())?;
        self.describe_row(ident, metadata).await
    }

    /// The first version of a new table, with its file written.
    pub(super) async fn stage_new(
        &self,
        ident: &TableIdent,
        metadata: TableMetadata,
    ) -> Result<Staged, Error> {
        let staged = self.describe_row(ident, metadata).await?;
        self.shared
            .files
            .put(&staged.table.metadata_location, staged.file.clone())
            .await?;
        Ok(staged)
    }

    async fn describe_row(
        &self,
        ident: &TableIdent,
        metadata: TableMetadata,
    ) -> Result<Staged, Error> {
        let location = metadata_location(&metadata, 0)?;
        self.shared.files.check(&location)?;
        let base = Base::Nothing {
            namespace: ident.namespace.key(),
            name: ident.name.clone(),
        };
        Staged::new(Uuid::now_v7().to_string(), base, location, metadata).await
    }

    fn lock(&self, ident: &TableIdent) -> Arc<tokio::sync::Mutex<()>> {
        let key = format!("{}\u{1f}{}", ident.namespace.key(), ident.name);
        let mut locks = self.shared.locks.lock();
        if let Some(lock) = locks.get(&key).and_then(std::sync::Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        locks.insert(key, Arc::downgrade(&lock));
        lock
    }

    /// Deletes metadata files that certainly no row names.
    async fn discard_all(&self, staged: &[Staged]) {
        for next in staged {
            self.discard(&next.table.metadata_location).await;
        }
    }

    pub(super) async fn discard(&self, metadata_location: &str) {
        if let Err(error) = self.shared.files.delete(metadata_location).await {
            warn!(
                metadata_location,
                error = %telemetry::chain(&error),
                "metadata file of a lost commit left behind"
            );
        }
    }

    /// Has metadata files deleted that fell out of a table's log, as the table asked; waits only if many already wait.
    async fn forget(&self, expired: Vec<String>) {
        for metadata_location in expired {
            if self.shared.expired.send(metadata_location).await.is_err() {
                return;
            }
        }
    }
}

enum Next {
    /// The updates change nothing.
    Same(Arc<Table>),
    Changed(Staged),
}

/// `<location>/metadata/00042-<uuid>.metadata.json`, where the table's properties do not say otherwise.
fn metadata_location(metadata: &TableMetadata, version: i64) -> Result<String, Error> {
    let properties = metadata.properties();
    let directory = properties.get(METADATA_PATH).map_or_else(
        || format!("{}/metadata", metadata.location()),
        |path| path.trim_end_matches('/').to_owned(),
    );
    let suffix = match properties
        .get(COMPRESSION)
        .map_or("none", String::as_str)
        .to_ascii_lowercase()
        .as_str()
    {
        "none" => ".metadata.json",
        "gzip" => ".gz.metadata.json",
        other => {
            return Err(Error::invalid(format!(
                "`{COMPRESSION}` must be `none` or `gzip`, not `{other}`"
            )));
        }
    };
    Ok(format!(
        "{directory}/{version:05}-{}{suffix}",
        Uuid::new_v4()
    ))
}

fn gzip(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text)?;
    encoder.finish()
}
