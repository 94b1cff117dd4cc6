//! Metadata files in the object store or in a local directory, under the configured roots only.
//!
//! A client chooses locations, so this is where they are held to the roots: no path above a root is ever touched.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};
use url::Url;

use crate::catalog::Error;
use crate::{Config, Error as StartError};

/// Every place where metadata may be written or read; clones share the connections.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    roots: Arc<[Root]>,
}

#[derive(Debug)]
struct Root {
    /// The location every file under this root begins with, ending in `/`.
    prefix: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Bucket {
        store: Arc<dyn ObjectStore>,
        /// `s3://bucket/`: what is left of a location after it is the key.
        base: String,
    },
    Directory,
}

/// A location found to be under a root.
enum Found<'a> {
    Object(&'a Arc<dyn ObjectStore>, object_store::path::Path),
    File(PathBuf),
}

// === impl Files ===

impl Files {
    pub(crate) fn new(config: &Config) -> Result<Self, StartError> {
        let roots = config
            .roots()
            .map(|(key, root)| open(config, key, root))
            .collect::<Result<_, _>>()?;
        Ok(Files { roots })
    }

    /// Refuses a location that is under no root.
    pub(crate) fn check(&self, location: &str) -> Result<(), Error> {
        self.find(location).map(|_| ())
    }

    /// Refuses a table's location that is under no root, or a root itself: files of others are there.
    pub(crate) fn check_table(&self, location: &str) -> Result<(), Error> {
        self.check(&format!("{}/", location.trim_end_matches('/')))
    }

    /// Writes a new file; it is durable when this returns.
    pub(crate) async fn put(&self, location: &str, body: Bytes) -> Result<(), Error> {
        let doing = || format!("write `{location}`");
        match self.find(location)? {
            Found::Object(store, key) => store
                .put(&key, body.into())
                .await
                .map(|_| ())
                .map_err(|error| Error::unavailable(doing(), error)),
            Found::File(path) => blocking(move || write_durably(&path, &body))
                .await
                .map_err(|error| Error::unavailable(doing(), error)),
        }
    }

    /// Reads a file of at most `limit` bytes; `None` when there is none.
    pub(crate) async fn get(&self, location: &str, limit: u64) -> Result<Option<Bytes>, Error> {
        let doing = || format!("read `{location}`");
        let too_large = || Error::invalid(format!("`{location}` is larger than {limit} bytes"));
        match self.find(location)? {
            Found::Object(store, key) => match store.get(&key).await {
                Ok(found) if found.meta.size > limit => Err(too_large()),
                Ok(found) => found
                    .bytes()
                    .await
                    .map(Some)
                    .map_err(|error| Error::unavailable(doing(), error)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(Error::unavailable(doing(), error)),
            },
            Found::File(path) => match blocking(move || read_at_most(&path, limit)).await {
                Ok(Some(body)) => Ok(Some(body.into())),
                Ok(None) => Err(too_large()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Error::unavailable(doing(), error)),
            },
        }
    }

    /// Deletes a file; one that is not there is fine.
    pub(crate) async fn delete(&self, location: &str) -> Result<(), Error> {
        let doing = || format!("delete `{location}`");
        match self.find(location)? {
            Found::Object(store, key) => match store.delete(&key).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(Error::unavailable(doing(), error)),
            },
            Found::File(path) => match blocking(move || fs::remove_file(&path)).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(Error::unavailable(doing(), error))
                }
                _ => Ok(()),
            },
        }
    }

    /// Deletes everything under a table's location and returns how many files that were.
    pub(crate) async fn delete_all(&self, location: &str) -> Result<u64, Error> {
        let doing = || format!("delete all under `{location}`");
        match self.find(&format!("{}/", location.trim_end_matches('/')))? {
            Found::Object(store, key) => {
                let keys = store
                    .list(Some(&key))
                    .map_ok(|object| object.location)
                    .boxed();
                let deleted: u64 = store
                    .delete_stream(keys)
                    .try_fold(0, |n_files, _| async move { Ok(n_files + 1) })
                    .await
                    .map_err(|error| Error::unavailable(doing(), error))?;
                Ok(deleted)
            }
            Found::File(path) => {
                let found = blocking(move || {
                    let n_files = count_files(&path)?;
                    fs::remove_dir_all(&path)?;
                    Ok(n_files)
                })
                .await;
                match found {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
                    other => other.map_err(|error| Error::unavailable(doing(), error)),
                }
            }
        }
    }

    fn find<'a>(&'a self, location: &str) -> Result<Found<'a>, Error> {
        let plain = normal(location);
        let climbs = plain
            .split('/')
            .any(|part| part == ".." || part == "." || part.contains(['\\', '\0']));
        let root = self
            .roots
            .iter()
            .find(|root| plain.starts_with(&root.prefix) && plain.len() > root.prefix.len());
        let (Some(root), false) = (root, climbs) else {
            return Err(Error::invalid(format!(
                "location `{location}` is not under the warehouse or an allowed location"
            )));
        };
        match &root.place {
            Place::Bucket { store, base } => {
                let key =
                    object_store::path::Path::parse(plain[base.len()..].trim_end_matches('/'))
                        .map_err(|error| {
                            Error::invalid(format!("location `{location}` is no object's: {error}"))
                        })?;
                Ok(Found::Object(store, key))
            }
            Place::Directory => Ok(Found::File(PathBuf::from(
                plain.strip_prefix("file://").unwrap_or(&plain),
            ))),
        }
    }
}

/// Whether one of two locations is the other or lies in it, however they are spelled.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    let as_directory = |location| format!("{}/", normal(location).trim_end_matches('/'));
    let (one, other) = (as_directory(one), as_directory(other));
    one.starts_with(&other) || other.starts_with(&one)
}

/// The ways in which clients spell one location.
pub(crate) fn spellings(location: &str) -> Vec<String> {
    let plain = normal(location);
    let (rest, schemes) = match (plain.strip_prefix("s3://"), plain.strip_prefix("file:///")) {
        (Some(rest), _) => (rest, ["s3://", "s3a://", "s3n://"]),
        (None, Some(rest)) => (rest, ["file:///", "file:/", "file://"]),
        (None, None) => return vec![plain],
    };
    let rest = rest.trim_end_matches('/');
    schemes.map(|scheme| format!("{scheme}{rest}")).to_vec()
}

/// One spelling for the several that clients use: `s3a:` and `s3n:` are `s3:`, `file:/x` is `file:///x`.
fn normal(location: &str) -> String {
    for scheme in ["s3a://", "s3n://"] {
        if let Some(rest) = location.strip_prefix(scheme) {
            return format!("s3://{rest}");
        }
    }
    match location.strip_prefix("file:") {
        Some(path) => format!("file:///{}", path.trim_start_matches('/')),
        None => location.to_owned(),
    }
}

fn open(config: &Config, key: &'static str, root: &str) -> Result<Root, StartError> {
    let prefix = format!("{}/", normal(root).trim_end_matches('/'));
    if prefix.starts_with("file:") {
        return Ok(Root {
            prefix,
            place: Place::Directory,
        });
    }
    let bucket = Url::parse(&prefix)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .ok_or_else(|| StartError::Config {
            key,
            why: format!("`{root}` names no bucket"),
        })?;
    let store = AmazonS3Builder::new()
        .with_bucket_name(&bucket)
        .with_endpoint(config.s3_endpoint.as_str().trim_end_matches('/'))
        .with_region(&config.s3_region)
        .with_access_key_id(&config.s3_access_key)
        .with_secret_access_key(&config.s3_secret_key)
        .with_virtual_hosted_style_request(false)
        .with_allow_http(true)
        .with_client_options(
            ClientOptions::new()
                .with_timeout(config.storage_timeout)
                .with_allow_http(true),
        )
        .with_retry(RetryConfig {
            max_retries: 5,
            retry_timeout: config.storage_timeout,
            ..RetryConfig::default()
        })
        .build()
        .map_err(|source| StartError::Storage {
            location: root.to_owned(),
            source,
        })?;
    Ok(Root {
        prefix,
        place: Place::Bucket {
            store: Arc::new(store),
            base: format!("s3://{bucket}/"),
        },
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

/// Writes beside, syncs, renames, syncs the directory: a reader sees all of the file or none.
fn write_durably(path: &Path, body: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(directory)?;
    let partial = path.with_extension("partial");
    let written = fs::File::create(&partial).and_then(|mut file| {
        file.write_all(body)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    });
    if let Err(error) = written {
        // On a full disk it would take the room of the next try. What matters is the first error.
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    fs::File::open(directory)?.sync_all()
}

fn read_at_most(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    if fs::metadata(path)?.len() > limit {
        return Ok(None);
    }
    fs::read(path).map(Some)
}

fn count_files(directory: &Path) -> io::Result<u64> {
    let mut n_files = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        n_files += if entry.file_type()?.is_dir() {
            count_files(&entry.path())?
        } else {
            1
        };
    }
    Ok(n_files)
}

#[cfg(test)]
mod tests;
