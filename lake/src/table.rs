//! One version of one table: its metadata and the way to its files.
//!
//! A [`Table`] is a cheap, immutable handle: work that begins on one keeps seeing that version, however
//! many commits land meanwhile. It comes from [`crate::catalog::RestCatalog::load_table`].

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use iceberg::TableIdent;
use iceberg::io::FileIO;
use iceberg::spec::{SnapshotRef, SnapshotReference, TableMetadata, TableMetadataRef};
use serde::Deserialize;

use crate::io::Store;
use crate::{Error, Result};

/// One version of one table.
#[derive(Debug, Clone)]
pub struct Table {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ident: TableIdent,
    metadata: TableMetadataRef,
    metadata_location: Option<String>,
    etag: Option<String>,
    store: Store,
    file_io: FileIO,
    refs: OnceLock<BTreeMap<String, SnapshotReference>>,
}

/// The part of the metadata that the Iceberg library keeps to itself.
#[derive(Deserialize)]
struct Refs {
    #[serde(default)]
    refs: BTreeMap<String, SnapshotReference>,
}

impl Table {
    /// A handle on `metadata`, whose files are reached through `store`.
    pub fn new(
        ident: TableIdent,
        metadata: TableMetadataRef,
        metadata_location: Option<String>,
        store: Store,
    ) -> Self {
        Self::with_etag(ident, metadata, metadata_location, None, store)
    }

    pub(crate) fn with_etag(
        ident: TableIdent,
        metadata: TableMetadataRef,
        metadata_location: Option<String>,
        etag: Option<String>,
        store: Store,
    ) -> Self {
        let file_io = store.file_io();
        let refs = OnceLock::new();
        let inner = Inner {
            ident,
            metadata,
            metadata_location,
            etag,
            store,
            file_io,
            refs,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Namespace and name.
    pub fn ident(&self) -> &TableIdent {
        &self.inner.ident
    }

    /// The metadata of this version.
    pub fn metadata(&self) -> &TableMetadata {
        &self.inner.metadata
    }

    /// The metadata of this version, shared.
    pub fn metadata_ref(&self) -> TableMetadataRef {
        Arc::clone(&self.inner.metadata)
    }

    /// Where the catalog keeps this version's metadata file, if it said so.
    pub fn metadata_location(&self) -> Option<&str> {
        self.inner.metadata_location.as_deref()
    }

    /// Where the table's files live.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The same store as the Iceberg library wants it.
    pub fn file_io(&self) -> &FileIO {
        &self.inner.file_io
    }

    /// The snapshot with `id`.
    pub fn snapshot(&self, id: i64) -> Result<&SnapshotRef> {
        self.metadata()
            .snapshot_by_id(id)
            .ok_or_else(|| Error::NotFound {
                what: format!("snapshot {id} in {}", self.ident()),
            })
    }

    /// The table's branches and tags.
    pub fn refs(&self) -> Result<&BTreeMap<String, SnapshotReference>> {
        if let Some(refs) = self.inner.refs.get() {
            return Ok(refs);
        }
        let read = serde_json::to_vec(self.metadata())
            .and_then(|json| serde_json::from_slice::<Refs>(&json))
            .map_err(|error| {
                Error::Invalid(format!(
                    "the refs of `{}` are damaged: {error}",
                    self.ident()
                ))
            })?;
        Ok(self.inner.refs.get_or_init(|| read.refs))
    }

    pub(crate) fn etag(&self) -> Option<&str> {
        self.inner.etag.as_deref()
    }

    /// Where data files go: `write.data.path`, or `data` below the table's location.
    pub(crate) fn data_location(&self) -> String {
        self.metadata()
            .properties()
            .get("write.data.path")
            .map_or_else(
                || format!("{}/data", self.metadata().location().trim_end_matches('/')),
                |path| path.trim_end_matches('/').to_owned(),
            )
    }

    /// Where manifests and manifest lists go.
    pub(crate) fn metadata_directory(&self) -> String {
        self.metadata()
            .properties()
            .get("write.metadata.path")
            .map_or_else(
                || {
                    format!(
                        "{}/metadata",
                        self.metadata().location().trim_end_matches('/')
                    )
                },
                |path| path.trim_end_matches('/').to_owned(),
            )
    }
}
