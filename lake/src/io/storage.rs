//! The Iceberg library's storage traits over [`Store`]: manifests and metadata go through here.
//!
//! Separate from [`super`] because the traits come with serialisation by type name (typetag) that
//! nothing else needs. Data files do not pass here: the writers and the scan use the object store itself.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage as IcebergStorage,
    StorageConfig, StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use super::{Store, StoreConfig};

/// [`Store`] as the Iceberg library sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "StoreConfig", into = "StoreConfig")]
pub(super) struct Storage {
    store: Store,
}

/// Hands out the one [`Storage`] it was made with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Factory {
    storage: Storage,
}

#[derive(Debug)]
struct Reader {
    store: Arc<dyn ObjectStore>,
    path: Path,
}

struct Writer {
    store: Arc<dyn ObjectStore>,
    path: Path,
    buffer: BytesMut,
    closed: bool,
}

// === impl Storage ===

impl From<StoreConfig> for Storage {
    fn from(config: StoreConfig) -> Self {
        Self {
            store: Store::new(config),
        }
    }
}

impl From<Storage> for StoreConfig {
    fn from(storage: Storage) -> Self {
        storage.store.config().clone()
    }
}

impl Storage {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }

    fn open(&self, path: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
        self.store
            .open(path)
            .map_err(|error| Error::new(ErrorKind::DataInvalid, error.to_string()))
    }
}

#[async_trait]
#[typetag::serde(name = "StreamForgeStorage")]
impl IcebergStorage for Storage {
    async fn exists(&self, path: &str) -> Result<bool> {
        let (store, key) = self.open(path)?;
        match store.head(&key).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(wrap("look for", path, error)),
        }
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        let (store, key) = self.open(path)?;
        let meta = store
            .head(&key)
            .await
            .map_err(|error| wrap("look for", path, error))?;
        Ok(FileMetadata { size: meta.size })
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        let (store, key) = self.open(path)?;
        let read = async { store.get(&key).await?.bytes().await };
        read.await.map_err(|error| wrap("read", path, error))
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        let (store, path) = self.open(path)?;
        Ok(Box::new(Reader { store, path }))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<()> {
        let (store, key) = self.open(path)?;
        store
            .put(&key, PutPayload::from_bytes(bytes))
            .await
            .map_err(|error| wrap("write", path, error))?;
        Ok(())
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        let (store, path) = self.open(path)?;
        Ok(Box::new(Writer {
            store,
            path,
            buffer: BytesMut::new(),
            closed: false,
        }))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let (store, key) = self.open(path)?;
        match store.delete(&key).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(wrap("delete", path, error)),
        }
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        let (store, prefix) = self.open(path)?;
        let mut objects = store.list(Some(&prefix));
        while let Some(object) = objects.next().await {
            let object = object.map_err(|error| wrap("list", path, error))?;
            store
                .delete(&object.location)
                .await
                .map_err(|error| wrap("delete", path, error))?;
        }
        Ok(())
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> Result<()> {
        while let Some(path) = paths.next().await {
            IcebergStorage::delete(self, &path).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

// === impl Factory ===

impl Factory {
    pub(super) fn new(storage: Storage) -> Self {
        Self { storage }
    }
}

#[typetag::serde(name = "StreamForgeStorageFactory")]
impl StorageFactory for Factory {
    fn build(&self, _config: &StorageConfig) -> Result<Arc<dyn IcebergStorage>> {
        Ok(Arc::new(self.storage.clone()))
    }
}

// === impl Reader and Writer ===

#[async_trait]
impl FileRead for Reader {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.store
            .get_range(&self.path, range)
            .await
            .map_err(|error| wrap("read", self.path.as_ref(), error))
    }
}

#[async_trait]
impl FileWrite for Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.buffer.extend_from_slice(&bytes);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        if self.closed {
            return Err(Error::new(
                ErrorKind::Unexpected,
                "the file was closed already",
            ));
        }
        self.closed = true;
        let bytes = std::mem::take(&mut self.buffer).freeze();
        self.store
            .put(&self.path, PutPayload::from_bytes(bytes))
            .await
            .map_err(|error| wrap("write", self.path.as_ref(), error))?;
        Ok(())
    }
}

fn wrap(action: &str, path: &str, source: object_store::Error) -> Error {
    Error::new(
        ErrorKind::Unexpected,
        format!("could not {action} `{path}`"),
    )
    .with_source(source)
}
