//! Whole objects: put, find, read, copy, delete, tag.
//!
//! Each write is one closure run inside the index transaction; each read takes one committed state and, for bytes in
//! files, holds those files until the answer is sent.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use redb::ReadTransaction;

use super::condition::{ReadCondition, WriteCondition};
use super::download::{Download, Piece, Place};
use super::incoming::Arrived;
use super::index::{INLINE, MANIFESTS, OBJECTS};
use super::record::{Attributes, BlobId, Content, Object, Part, UnixMillis, decode};
use super::tables::object_key;
use super::{Error, Store};

/// Where an object goes and on what condition.
#[derive(Debug, Clone)]
pub(crate) struct Put {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) attributes: Attributes,
    pub(crate) condition: WriteCondition,
    pub(crate) now: UnixMillis,
}

/// What is copied, and what changes on the way.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) from_bucket: String,
    pub(crate) from_key: String,
    pub(crate) from_condition: ReadCondition,
    /// `None` keeps the source's.
    pub(crate) attributes: Option<Attributes>,
    /// `None` keeps the source's.
    pub(crate) tags: Option<BTreeMap<String, String>>,
    pub(crate) to_bucket: String,
    pub(crate) to_key: String,
    pub(crate) condition: WriteCondition,
    pub(crate) now: UnixMillis,
}

/// An object that may be read.
pub(crate) struct Found {
    pub(crate) object: Object,
    /// One for each part of a completed upload; empty for an object put whole.
    pub(crate) parts: Vec<Part>,
    pieces: Vec<Piece>,
    pin: Option<super::blobs::Pin>,
}

impl Store {
    /// Names bytes that arrived, durably.
    pub(crate) async fn put(&self, put: Put, arrived: Arrived) -> Result<Object, Error> {
        let Arrived { landed, digests } = arrived;
        self.index
            .change(move |tables| {
                tables.need_bucket(&put.bucket)?;
                if !put.condition.is_empty() {
                    let there = tables.object(&put.bucket, &put.key)?;
                    put.condition.check(&put.key, there.as_ref())?;
                }
                let object = Object {
                    size: digests.len,
                    etag: digests.etag(),
                    modified: put.now,
                    content: tables.adopt(landed)?,
                    checksum: Some(digests.checksum),
                    attributes: put.attributes,
                };
                tables.put_object(&put.bucket, &put.key, &object)?;
                Ok(object)
            })
            .await
    }

    /// What is known of an object.
    pub(crate) async fn head(&self, bucket: &str, key: &str) -> Result<Object, Error> {
        self.need_bucket(bucket)?;
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.index.read(move |txn| object(txn, &bucket, &key)).await
    }

    /// An object with its parts, held for reading.
    pub(crate) async fn find(&self, bucket: &str, key: &str) -> Result<Found, Error> {
        self.need_bucket(bucket)?;
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        let store = self.clone();
        self.pool
            .run(move || {
                loop {
                    if let Some(found) = store.find_now(&bucket, &key)? {
                        return Ok(found);
                    }
                }
            })
            .await
    }

    /// `None` if the object was replaced while it was looked up.
    fn find_now(&self, bucket: &str, key: &str) -> Result<Option<Found>, Error> {
        let (object, parts, pieces) = self.index.read_now(|txn| {
            let object = object(txn, bucket, key)?;
            let parts = match &object.content {
                Content::Parts(id) => manifest(txn, *id)?,
                _ => Vec::new(),
            };
            let pieces = pieces(txn, &object, &parts)?;
            Ok((object, parts, pieces))
        })?;
        let files: Vec<BlobId> = pieces
            .iter()
            .filter_map(|piece| match piece.place {
                Place::File(id) => Some(id),
                Place::Memory(_) => None,
            })
            .collect();
        let pin = if files.is_empty() {
            None
        } else {
            let pin = self.blobs.pin(files);
            let again = self.index.read_now(|txn| self::object(txn, bucket, key));
            match again {
                Ok(again) if again.content == object.content => Some(pin),
                Ok(_) | Err(Error::NoSuchKey { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        };
        Ok(Some(Found {
            object,
            parts,
            pieces,
            pin,
        }))
    }

    /// The bytes `range` of an object.
    pub(crate) fn download(&self, found: Found, range: Range<u64>) -> Download {
        let mut pieces = Vec::new();
        let mut offset = 0;
        for piece in found.pieces {
            let start = range.start.max(offset);
            let end = range.end.min(offset + piece.len);
            if start < end {
                pieces.push((start - offset..end - offset, piece.clone()));
            }
            offset += piece.len;
        }
        Download::new(
            Arc::clone(&self.blobs),
            self.pool.clone(),
            pieces,
            found.pin,
        )
    }

    /// Copies an object without copying its bytes.
    pub(crate) async fn copy(&self, copy: Copy) -> Result<Object, Error> {
        self.need_bucket(&copy.from_bucket)?;
        self.need_bucket(&copy.to_bucket)?;
        self.need_space(0)?;
        self.index
            .change(move |tables| {
                tables.need_bucket(&copy.from_bucket)?;
                tables.need_bucket(&copy.to_bucket)?;
                let source = tables.object(&copy.from_bucket, &copy.from_key)?;
                let source = source.ok_or(Error::NoSuchKey {
                    key: copy.from_key.clone(),
                })?;
                copy.from_condition
                    .check(&source)
                    .map_err(|_| Error::PreconditionFailed)?;
                let same = copy.from_bucket == copy.to_bucket && copy.from_key == copy.to_key;
                if same && copy.attributes.is_none() && copy.tags.is_none() {
                    return Err(Error::CopyOntoItself);
                }
                let there = tables.object(&copy.to_bucket, &copy.to_key)?;
                copy.condition.check(&copy.to_key, there.as_ref())?;
                let tags = copy.tags.unwrap_or_else(|| source.attributes.tags.clone());
                let attributes = copy.attributes.unwrap_or(source.attributes);
                let object = Object {
                    content: tables.share(&source.content)?,
                    modified: copy.now,
                    attributes: Attributes { tags, ..attributes },
                    ..source
                };
                tables.put_object(&copy.to_bucket, &copy.to_key, &object)?;
                Ok(object)
            })
            .await
    }

    /// Deletes an object; that there is none is no error.
    pub(crate) async fn delete(
        &self,
        bucket: &str,
        key: &str,
        condition: WriteCondition,
    ) -> Result<(), Error> {
        self.need_bucket(bucket)?;
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.index
            .change(move |tables| {
                tables.need_bucket(&bucket)?;
                if !condition.is_empty() {
                    let there = tables.object(&bucket, &key)?;
                    condition.check(&key, there.as_ref())?;
                }
                tables.remove_object(&bucket, &key)
            })
            .await
    }

    /// Deletes several objects in one transaction; `None` for each that is gone now.
    pub(crate) async fn delete_many(
        &self,
        bucket: &str,
        keys: Vec<(String, WriteCondition)>,
    ) -> Result<Vec<Option<Error>>, Error> {
        self.need_bucket(bucket)?;
        let bucket = bucket.to_owned();
        self.index
            .change(move |tables| {
                tables.need_bucket(&bucket)?;
                let mut outcomes = Vec::with_capacity(keys.len());
                for (key, condition) in keys {
                    if !condition.is_empty() {
                        let there = tables.object(&bucket, &key)?;
                        if let Err(refusal) = condition.check(&key, there.as_ref()) {
                            outcomes.push(Some(refusal));
                            continue;
                        }
                    }
                    tables.remove_object(&bucket, &key)?;
                    outcomes.push(None);
                }
                Ok(outcomes)
            })
            .await
    }

    /// Replaces the tags of an object, which stays as it is otherwise.
    pub(crate) async fn tag(
        &self,
        bucket: &str,
        key: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<(), Error> {
        self.need_bucket(bucket)?;
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.index
            .change(move |tables| {
                tables.need_bucket(&bucket)?;
                let Some(mut object) = tables.object(&bucket, &key)? else {
                    return Err(Error::NoSuchKey { key });
                };
                object.attributes.tags = tags;
                tables.put_object(&bucket, &key, &object)
            })
            .await
    }
}

pub(super) fn object(txn: &ReadTransaction, bucket: &str, key: &str) -> Result<Object, Error> {
    match txn
        .open_table(OBJECTS)?
        .get(object_key(bucket, key).as_slice())?
    {
        Some(bytes) => decode(bytes.value(), "an object"),
        None => Err(Error::NoSuchKey {
            key: key.to_owned(),
        }),
    }
}

fn manifest(txn: &ReadTransaction, id: BlobId) -> Result<Vec<Part>, Error> {
    match txn.open_table(MANIFESTS)?.get(id.0)? {
        Some(bytes) => decode(bytes.value(), "a manifest"),
        None => Err(Error::Corrupt {
            what: format!("manifest {id} of the index"),
        }),
    }
}

fn pieces(txn: &ReadTransaction, object: &Object, parts: &[Part]) -> Result<Vec<Piece>, Error> {
    if let Content::Parts(_) = object.content {
        let mut pieces = Vec::with_capacity(parts.len());
        for part in parts {
            pieces.extend(piece(txn, &part.content, part.size)?);
        }
        return Ok(pieces);
    }
    Ok(piece(txn, &object.content, object.size)?
        .into_iter()
        .collect())
}

fn piece(txn: &ReadTransaction, content: &Content, len: u64) -> Result<Option<Piece>, Error> {
    let damaged = |id: &BlobId| Error::Corrupt {
        what: format!("content {id} of the index"),
    };
    let place = match content {
        Content::Empty => return Ok(None),
        Content::File(id) => Place::File(*id),
        Content::Inline(id) => match txn.open_table(INLINE)?.get(id.0)? {
            Some(bytes) if bytes.value().len() as u64 == len => {
                Place::Memory(bytes::Bytes::copy_from_slice(bytes.value()))
            }
            _ => return Err(damaged(id)),
        },
        Content::Parts(id) => return Err(damaged(id)),
    };
    Ok(Some(Piece { place, len }))
}
