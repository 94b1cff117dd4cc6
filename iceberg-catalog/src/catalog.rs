//! What the catalog decides: namespaces, tables and commits, free of HTTP.
//!
//! Requests come typed from [`crate::http`]. Rows are read from [`crate::database`] and changed through its writer, and
//! metadata files are written to [`crate::files`] before the row that names them. A commit is a compare-and-swap on the
//! row's version ([`commit`]).

mod cache;
mod commit;
mod error;
mod ident;
mod metadata;
mod purge;
mod requirements;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use iceberg::spec::TableMetadata;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use crate::Config;
use crate::database::writer::{Base, Change, Failure, Refusal, Writer};
use crate::database::{Database, Page, Pointer};
use crate::files::Files;
use crate::metrics::Metrics;

pub(crate) use cache::Table;
pub(crate) use commit::CommitTable;
pub(crate) use error::Error;
pub(crate) use ident::{Namespace, TableIdent};
pub(crate) use metadata::CreateTable;
pub(crate) use purge::delete_expired;

/// Most names that a listing without pages returns.
const WHOLE_LISTING: i64 = i64::MAX;

/// The catalog; clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    database: Database,
    writer: Writer,
    files: Files,
    cache: cache::Cache,
    metrics: Metrics,
    /// Commits to one table of this instance come one after another, so that none loses to its neighbour.
    locks: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    purge_wanted: Notify,
    /// Metadata files to delete, on their way to [`delete_expired`].
    expired: mpsc::Sender<String>,
}

/// The page a client asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct PageRequest {
    /// The token of the page before, or empty for the first; without one the whole listing is meant.
    pub(crate) token: Option<String>,
    pub(crate) size: Option<usize>,
}

/// What a change of namespace properties did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PropertiesChanged {
    pub(crate) updated: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) missing: Vec<String>,
}

/// A table that was described to a client but does not exist yet.
pub(crate) struct Staged {
    pub(crate) json: Box<RawValue>,
}

type Properties = BTreeMap<String, String>;

// === impl Catalog: namespaces ===

impl Catalog {
    /// The catalog, and the names of files that [`delete_expired`] is to delete.
    pub(crate) fn new(
        config: Config,
        database: Database,
        writer: Writer,
        files: Files,
        metrics: Metrics,
    ) -> (Self, mpsc::Receiver<String>) {
        let cache = cache::Cache::new(config.metadata_cache.as_u64());
        let (expired, to_delete) = mpsc::channel(config.max_pending_commits);
        let catalog = Catalog {
            shared: Arc::new(Shared {
                config,
                database,
                writer,
                files,
                cache,
                metrics,
                locks: Mutex::default(),
                purge_wanted: Notify::new(),
                expired,
            }),
        };
        (catalog, to_delete)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub(crate) async fn create_namespace(
        &self,
        namespace: &Namespace,
        properties: &Properties,
    ) -> Result<(), Error> {
        let parent = namespace.parent();
        let change = Change::CreateNamespace {
            namespace: namespace.key(),
            parent: parent.as_ref().map(Namespace::key),
            properties: to_text(properties)?,
        };
        self.make(change, |refusal| match (refusal, parent) {
            (Refusal::NoNamespace, Some(parent)) => Error::NoSuchNamespace(parent),
            _ => Error::NamespaceExists(namespace.clone()),
        })
        .await
    }

    pub(crate) async fn namespace_properties(
        &self,
        namespace: &Namespace,
    ) -> Result<Properties, Error> {
        let text = self.properties_text(namespace).await?;
        from_text(&text)
    }

    pub(crate) async fn list_namespaces(
        &self,
        parent: Option<&Namespace>,
        page: &PageRequest,
    ) -> Result<(Vec<Namespace>, Option<String>), Error> {
        if let Some(parent) = parent {
            self.properties_text(parent).await?;
        }
        let limit = self.page_limit(page);
        let after = page.token.as_deref().unwrap_or_default();
        let names = self
            .shared
            .database
            .namespaces(parent, Page { after, limit })
            .await
            .map_err(unreadable)?;
        let next = next_token(&names, limit);
        let namespaces = names
            .iter()
            .map(|name| Namespace::parse(name))
            .collect::<Result<_, _>>()?;
        Ok((namespaces, next))
    }

    pub(crate) async fn drop_namespace(&self, namespace: &Namespace) -> Result<(), Error> {
        let change = Change::DropNamespace {
            namespace: namespace.key(),
        };
        self.make(change, |refusal| match refusal {
            Refusal::NotEmpty => Error::NamespaceNotEmpty(namespace.clone()),
            _ => Error::NoSuchNamespace(namespace.clone()),
        })
        .await
    }

    pub(crate) async fn change_namespace_properties(
        &self,
        namespace: &Namespace,
        removals: &[String],
        updates: &Properties,
    ) -> Result<PropertiesChanged, Error> {
        if let Some(both) = removals.iter().find(|key| updates.contains_key(*key)) {
            return Err(Error::Unprocessable(format!(
                "Cannot update and remove the same property: {both}"
            )));
        }
        loop {
            let expected = self.properties_text(namespace).await?;
            let mut properties = from_text(&expected)?;
            let (removed, missing) = removals
                .iter()
                .cloned()
                .partition(|key| properties.remove(key).is_some());
            properties.extend(updates.clone());
            let change = Change::SetProperties {
                namespace: namespace.key(),
                expected,
                properties: to_text(&properties)?,
            };
            match self.shared.writer.make(change).await {
                Ok(()) => {
                    return Ok(PropertiesChanged {
                        updated: updates.keys().cloned().collect(),
                        removed,
                        missing,
                    });
                }
                // Someone else changed or dropped it meanwhile: look again.
                Err(Failure::Refused(_)) => {}
                Err(failure) => return Err(failed(failure)),
            }
        }
    }

    async fn properties_text(&self, namespace: &Namespace) -> Result<String, Error> {
        self.shared
            .database
            .namespace(namespace)
            .await
            .map_err(unreadable)?
            .ok_or_else(|| Error::NoSuchNamespace(namespace.clone()))
    }

    fn page_limit(&self, page: &PageRequest) -> i64 {
        if page.token.is_none() {
            return WHOLE_LISTING;
        }
        let most = self.shared.config.max_page_size;
        let size = page.size.unwrap_or(most).clamp(1, most);
        i64::try_from(size).unwrap_or(WHOLE_LISTING)
    }
}

// === impl Catalog: tables ===

impl Catalog {
    pub(crate) async fn list_tables(
        &self,
        namespace: &Namespace,
        page: &PageRequest,
    ) -> Result<(Vec<String>, Option<String>), Error> {
        self.properties_text(namespace).await?;
        let limit = self.page_limit(page);
        let after = page.token.as_deref().unwrap_or_default();
        let names = self
            .shared
            .database
            .tables(namespace, Page { after, limit })
            .await
            .map_err(unreadable)?;
        let next = next_token(&names, limit);
        Ok((names, next))
    }

    /// Describes a table without making it; a later commit with `assert-create` makes it.
    pub(crate) async fn stage_table(
        &self,
        namespace: &Namespace,
        request: CreateTable,
    ) -> Result<Staged, Error> {
        let (ident, metadata) = self.describe_new(namespace, request).await?;
        if self.pointer(&ident).await?.is_some() {
            return Err(Error::TableExists(ident));
        }
        let json = to_raw(&metadata)?;
        Ok(Staged { json })
    }

    pub(crate) async fn create_table(
        &self,
        namespace: &Namespace,
        request: CreateTable,
    ) -> Result<Arc<Table>, Error> {
        let (ident, metadata) = self.describe_new(namespace, request).await?;
        if self.pointer(&ident).await?.is_some() {
            return Err(Error::TableExists(ident));
        }
        let staged = self.stage_new(&ident, metadata).await?;
        let location = staged.row.metadata_location.clone();
        let made = self.insert(&ident, staged).await;
        if made.as_ref().is_err_and(is_definite) {
            self.discard(&location).await;
        }
        made
    }

    /// Makes a table of a metadata file that exists.
    pub(crate) async fn register_table(
        &self,
        namespace: &Namespace,
        name: String,
        metadata_location: String,
    ) -> Result<Arc<Table>, Error> {
        let ident = TableIdent::new(namespace.clone(), name)?;
        self.properties_text(namespace).await?;
        if self.pointer(&ident).await?.is_some() {
            return Err(Error::TableExists(ident));
        }
        let limit = self.shared.config.max_metadata_size.as_u64();
        let file = self
            .shared
            .files
            .get(&metadata_location, limit)
            .await?
            .ok_or_else(|| Error::invalid(format!("no metadata file at `{metadata_location}`")))?;
        let metadata = off_thread(move || metadata::parse(&file, limit)).await?;
        self.shared.files.check_table(metadata.location())?;
        let staged = commit::Staged::new(
            Uuid::now_v7().to_string(),
            Base::Nothing {
                namespace: ident.namespace.key(),
                name: ident.name.clone(),
            },
            metadata_location,
            metadata,
        )
        .await?;
        self.insert(&ident, staged).await
    }

    pub(crate) async fn load_table(&self, ident: &TableIdent) -> Result<Arc<Table>, Error> {
        let pointer = self
            .pointer(ident)
            .await?
            .ok_or_else(|| Error::NoSuchTable(ident.clone()))?;
        if let Some(table) = self.shared.cache.get(&pointer.id, pointer.version) {
            self.shared.metrics.cache_hits.inc();
            return Ok(table);
        }
        self.shared.metrics.cache_misses.inc();
        let (pointer, compressed) = self
            .shared
            .database
            .metadata(&pointer.id)
            .await
            .map_err(unreadable)?
            .ok_or_else(|| Error::NoSuchTable(ident.clone()))?;
        let table = off_thread(move || {
            let text = zstd::decode_all(compressed.as_slice())
                .map_err(|error| Error::Internal(format!("a row's metadata is broken: {error}")))?;
            let broken =
                |error| Error::Internal(format!("a row's metadata cannot be read: {error}"));
            Ok(Arc::new(Table {
                metadata: serde_json::from_slice(&text).map_err(broken)?,
                json: serde_json::from_slice(&text).map_err(broken)?,
                id: pointer.id,
                version: pointer.version,
                metadata_location: pointer.metadata_location,
            }))
        })
        .await?;
        self.shared.cache.put(&table);
        Ok(table)
    }

    pub(crate) async fn table_exists(&self, ident: &TableIdent) -> Result<(), Error> {
        match self.pointer(ident).await? {
            Some(_) => Ok(()),
            None => Err(Error::NoSuchTable(ident.clone())),
        }
    }

    /// Removes the table; with `purge` its files too, soon after and also after a restart.
    pub(crate) async fn drop_table(&self, ident: &TableIdent, purge: bool) -> Result<(), Error> {
        let purge = purge && {
            let table = self.load_table(ident).await?;
            // Iceberg's `gc.enabled=false` says that the files belong to others too.
            table
                .metadata
                .properties()
                .get("gc.enabled")
                .map(String::as_str)
                != Some("false")
        };
        let change = Change::DropTable {
            namespace: ident.namespace.key(),
            name: ident.name.clone(),
            purge,
        };
        self.make(change, |_| Error::NoSuchTable(ident.clone()))
            .await?;
        if purge {
            self.shared.purge_wanted.notify_one();
        }
        Ok(())
    }

    pub(crate) async fn rename_table(
        &self,
        from: &TableIdent,
        to: &TableIdent,
    ) -> Result<(), Error> {
        from.check()?;
        to.check()?;
        self.table_exists(from).await?;
        let change = Change::Rename {
            from: (from.namespace.key(), from.name.clone()),
            to: (to.namespace.key(), to.name.clone()),
        };
        self.make(change, |refusal| match refusal {
            Refusal::Exists => Error::TableExists(to.clone()),
            Refusal::NoNamespace => Error::NoSuchNamespace(to.namespace.clone()),
            _ => Error::NoSuchTable(from.clone()),
        })
        .await
    }

    pub(crate) async fn pointer(&self, ident: &TableIdent) -> Result<Option<Pointer>, Error> {
        self.shared.database.table(ident).await.map_err(unreadable)
    }

    async fn describe_new(
        &self,
        namespace: &Namespace,
        request: CreateTable,
    ) -> Result<(TableIdent, TableMetadata), Error> {
        let ident = TableIdent::new(namespace.clone(), request.name.clone())?;
        let location = match &request.location {
            Some(location) => location.trim_end_matches('/').to_owned(),
            None => self.default_location(&ident).await?,
        };
        self.shared.files.check_table(&location)?;
        self.properties_text(namespace).await?;
        let defaults = self.shared.config.table_defaults.clone();
        let metadata = off_thread(move || metadata::create(request, location, &defaults)).await?;
        Ok((ident, metadata))
    }

    /// `<warehouse>/<namespace>/<table>-<uuid>`, or below the namespace's own `location` if it has one.
    async fn default_location(&self, ident: &TableIdent) -> Result<String, Error> {
        let properties = self.namespace_properties(&ident.namespace).await?;
        let base = properties.get("location").cloned().unwrap_or_else(|| {
            let levels: Vec<String> = ident
                .namespace
                .levels()
                .iter()
                .map(|level| path_part(level))
                .collect();
            format!(
                "{}/{}",
                self.shared.config.warehouse.trim_end_matches('/'),
                levels.join("/")
            )
        });
        Ok(format!(
            "{}/{}-{}",
            base.trim_end_matches('/'),
            path_part(&ident.name),
            Uuid::now_v7().simple()
        ))
    }

    /// Inserts the row of a new table whose metadata file is written.
    async fn insert(
        &self,
        ident: &TableIdent,
        staged: commit::Staged,
    ) -> Result<Arc<Table>, Error> {
        let location = staged.row.location.clone();
        self.make(Change::Commit(vec![staged.row]), |refusal| match refusal {
            Refusal::NoNamespace => Error::NoSuchNamespace(ident.namespace.clone()),
            Refusal::Purging => Error::Purging(location),
            _ => Error::TableExists(ident.clone()),
        })
        .await?;
        self.shared.cache.put(&staged.table);
        Ok(staged.table)
    }

    async fn make(
        &self,
        change: Change,
        refused: impl FnOnce(Refusal) -> Error,
    ) -> Result<(), Error> {
        match self.shared.writer.make(change).await {
            Ok(()) => Ok(()),
            Err(Failure::Refused(refusal)) => Err(refused(refusal)),
            Err(failure) => Err(failed(failure)),
        }
    }
}

/// A directory name of a namespace level or table: only what needs no escaping anywhere, and never `..`.
fn path_part(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') {
                c
            } else {
                '_'
            }
        })
        .collect();
    plain
}

fn next_token(names: &[String], limit: i64) -> Option<String> {
    let full = i64::try_from(names.len()).is_ok_and(|n_names| n_names >= limit);
    names.last().filter(|_| full).cloned()
}

/// Whether an error says for sure that nothing was changed.
fn is_definite(error: &Error) -> bool {
    !matches!(error, Error::StateUnknown(_))
}

fn failed(failure: Failure) -> Error {
    match failure {
        Failure::NotMade(source) => Error::unavailable("write to the catalog's database", source),
        Failure::Unknown(source) => Error::StateUnknown(source),
        Failure::Stopped => Error::unavailable(
            "write to the catalog's database",
            std::io::Error::other("the service is stopping"),
        ),
        Failure::Refused(refusal) => Error::Internal(format!(
            "a change was refused as {refusal:?} without reason"
        )),
    }
}

fn unreadable(source: sqlx::Error) -> Error {
    Error::unavailable("read the catalog's database", source)
}

fn to_text(properties: &Properties) -> Result<String, Error> {
    serde_json::to_string(properties).map_err(|error| Error::Internal(error.to_string()))
}

fn from_text(text: &str) -> Result<Properties, Error> {
    serde_json::from_str(text)
        .map_err(|error| Error::Internal(format!("a namespace's row is broken: {error}")))
}

fn to_raw(metadata: &TableMetadata) -> Result<Box<RawValue>, Error> {
    serde_json::value::to_raw_value(metadata).map_err(|error| Error::invalid(error.to_string()))
}

/// Runs what takes more than a moment beside the server's threads; a panic on odd input becomes an error.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(Error::invalid(format!(
                "the metadata is not valid: {error}"
            )))
        })
}

#[cfg(test)]
mod tests;
