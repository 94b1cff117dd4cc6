//! The domain: buckets, objects and uploads, durable on local disk; no HTTP and no clock here.
//!
//! [`Store`] is what the wire side calls. Names and small objects live in the [`index`], large bytes in [`blobs`];
//! a write is visible when the index transaction that names it is durable, and never before its bytes are.

mod blobs;
mod condition;
mod digest;
mod download;
mod error;
mod incoming;
mod index;
mod list;
mod lock;
mod multipart;
mod objects;
mod pool;
mod record;
mod tables;

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use redb::ReadableTable as _;
use tokio_util::sync::CancellationToken;
use tracing::info;

pub(crate) use condition::{ReadCondition, Tag, WriteCondition};
pub(crate) use digest::{Algorithm, ChecksumKind, Expected};
pub(crate) use download::Download;
pub(crate) use error::Error;
pub(crate) use incoming::{Arrived, Incoming, Limits, RECEIVED};
pub(crate) use list::{Entry, ListQuery, Page, UploadEntry, UploadQuery};
pub(crate) use multipart::{Complete, GivenPart};
pub(crate) use objects::{Copy, Found, Put};
pub(crate) use record::{Attributes, Bucket, Object, StoredChecksum, UnixMillis, Upload, UploadId};

use crate::Config;
use crate::metrics::Metrics;
use blobs::Blobs;
use index::Index;
use lock::DirLock;
use pool::Pool;
use record::{BlobId, decode, encode};
use tables::Tables;

/// The index's file in the data directory.
const INDEX: &str = "index.redb";

/// The store; clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    index: Index,
    blobs: Arc<Blobs>,
    pool: Pool,
    limits: Limits,
    min_free: u64,
    /// Names of all buckets, to refuse a body for none of them before it is received; kept by the commit thread.
    buckets: Arc<RwLock<BTreeSet<String>>>,
    closed: CancellationToken,
    failed: CancellationToken,
}

impl Store {
    /// Opens the data directory, recovers from a crash and makes the configured buckets.
    pub(crate) async fn open(
        config: &Config,
        metrics: Metrics,
        now: UnixMillis,
    ) -> Result<Self, crate::Error> {
        let cache = usize::try_from(config.index_cache.as_u64()).unwrap_or(usize::MAX);
        let opener = index::file_opener(config.data_dir.join(INDEX), cache);
        Self::open_with(config, opener, metrics, now).await
    }

    async fn open_with(
        config: &Config,
        opener: index::Opener,
        metrics: Metrics,
        now: UnixMillis,
    ) -> Result<Self, crate::Error> {
        let lock = DirLock::take(&config.data_dir)?;
        let failed = |source| crate::Error::DataDir {
            path: config.data_dir.clone(),
            source,
        };
        let pool = Pool::start(config.io_threads).map_err(failed)?;
        let blobs = Blobs::open(config.data_dir.join("data"), pool.clone()).map_err(failed)?;
        let blobs = Arc::new(blobs);
        // A new index names no file, so all that are there would be swept.
        let path = config.data_dir.join(INDEX);
        if is_new(&path).map_err(failed)? && blobs.any().map_err(failed)? {
            return Err(crate::Error::NoIndex { path });
        }
        let closed = CancellationToken::new();
        let failed_index = CancellationToken::new();
        let settings = index::Settings {
            opener,
            batch: config.commit_batch,
            lock,
            closed: closed.clone(),
            failed: failed_index.clone(),
        };
        let opened = |error| crate::Error::Open(Box::new(error));
        let index =
            Index::open(settings, Arc::clone(&blobs), pool.clone(), metrics).map_err(opened)?;
        // A new index must not lose its name once it has acknowledged something.
        File::open(&config.data_dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed)?;
        let live = index.read_now(live_files).map_err(opened)?;
        let n_swept = blobs.sweep(&live).map_err(failed)?;
        if n_swept > 0 {
            info!(
                files = n_swept,
                "files of writes that never finished removed"
            );
        }
        let names = index.read_now(bucket_names).map_err(opened)?;
        let store = Self {
            index,
            blobs,
            pool,
            limits: Limits {
                inline: config.inline_size.as_u64(),
                max: config.max_put_size.as_u64(),
            },
            min_free: config.min_free_space.as_u64(),
            buckets: Arc::new(RwLock::new(names)),
            closed,
            failed: failed_index,
        };
        for bucket in &config.buckets {
            match store.create_bucket(bucket, now).await {
                Ok(()) | Err(Error::BucketExists { .. }) => {}
                Err(error) => return Err(opened(error)),
            }
        }
        Ok(store)
    }

    /// Cancelled when the last handle is gone and the directory is free again.
    pub(crate) fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// Cancelled when the disk failed under the index, which then serves nothing until the next start.
    pub(crate) fn failed(&self) -> CancellationToken {
        self.failed.clone()
    }

    /// Begins to receive the bytes of an object or part.
    pub(crate) fn receive(
        &self,
        bucket: &str,
        algorithm: Option<Algorithm>,
        announced: Option<u64>,
    ) -> Result<Incoming, Error> {
        self.need_bucket(bucket)?;
        if let Some(len) = announced
            && len > self.limits.max
        {
            return Err(Error::TooLarge {
                max: self.limits.max,
            });
        }
        self.need_space(announced.unwrap_or(0))?;
        Ok(Incoming::new(
            Arc::clone(&self.blobs),
            self.pool.clone(),
            self.limits,
            algorithm,
        ))
    }

    /// Refuses a write the disk has no room for, so that what is there stays usable.
    fn need_space(&self, len: u64) -> Result<(), Error> {
        let disk = rustix::fs::statvfs(self.blobs.dir())
            .map_err(|error| Error::io("ask for free space")(error.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < self.min_free.saturating_add(len) {
            return Err(Error::DiskFull);
        }
        Ok(())
    }

    fn need_bucket(&self, bucket: &str) -> Result<(), Error> {
        if self.buckets.read().contains(bucket) {
            return Ok(());
        }
        Err(Error::NoSuchBucket {
            bucket: bucket.to_owned(),
        })
    }

    pub(crate) async fn create_bucket(&self, name: &str, now: UnixMillis) -> Result<(), Error> {
        let (bucket, names, noted) = (name.to_owned(), self.buckets.clone(), name.to_owned());
        let create = move |tables: &mut Tables<'_>| {
            if tables.buckets.get(bucket.as_str())?.is_some() {
                return Err(Error::BucketExists { bucket });
            }
            let record = encode(&Bucket { created: now });
            tables.buckets.insert(bucket.as_str(), record.as_slice())?;
            Ok(())
        };
        let note = move || {
            names.write().insert(noted);
        };
        self.index.change_noting(create, note).await
    }

    pub(crate) async fn delete_bucket(&self, name: &str) -> Result<(), Error> {
        let (bucket, names, noted) = (name.to_owned(), self.buckets.clone(), name.to_owned());
        let delete = move |tables: &mut Tables<'_>| {
            tables.need_bucket(&bucket)?;
            let range = tables::bucket_range(&bucket);
            let range = range.start.as_slice()..range.end.as_slice();
            let empty = tables.objects.range(range.clone())?.next().is_none()
                && tables.uploads.range(range)?.next().is_none();
            if !empty {
                return Err(Error::BucketNotEmpty { bucket });
            }
            tables.buckets.remove(bucket.as_str())?;
            Ok(())
        };
        let note = move || {
            names.write().remove(&noted);
        };
        self.index.change_noting(delete, note).await
    }

    pub(crate) async fn bucket(&self, name: &str) -> Result<Bucket, Error> {
        let bucket = name.to_owned();
        self.index
            .read(
                move |txn| match txn.open_table(index::BUCKETS)?.get(bucket.as_str())? {
                    Some(bytes) => decode(bytes.value(), "a bucket"),
                    None => Err(Error::NoSuchBucket { bucket }),
                },
            )
            .await
    }

    /// All buckets, by name.
    pub(crate) async fn buckets(&self) -> Result<Vec<(String, Bucket)>, Error> {
        self.index
            .read(|txn| {
                let table = txn.open_table(index::BUCKETS)?;
                let mut buckets = Vec::new();
                for entry in table.iter()? {
                    let (name, bytes) = entry?;
                    buckets.push((name.value().to_owned(), decode(bytes.value(), "a bucket")?));
                }
                Ok(buckets)
            })
            .await
    }
}

/// Whether opening the index at `path` makes a new one.
fn is_new(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len() == 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn live_files(txn: &redb::ReadTransaction) -> Result<HashSet<BlobId>, Error> {
    let table = txn.open_table(index::FILES)?;
    let mut live = HashSet::new();
    for entry in table.iter()? {
        live.insert(BlobId(entry?.0.value()));
    }
    Ok(live)
}

fn bucket_names(txn: &redb::ReadTransaction) -> Result<BTreeSet<String>, Error> {
    let table = txn.open_table(index::BUCKETS)?;
    let mut names = BTreeSet::new();
    for entry in table.iter()? {
        names.insert(entry?.0.value().to_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
