//! The index's tables inside one write transaction, and the bookkeeping of contents that every change shares.
//!
//! Separate from [`crate::store::index`] so that the operations in `objects` and `multipart` read as what they do to
//! records, while reference counts and file removal are kept right in this one place.

use std::ops::Range;

use redb::{AccessGuard, ReadableTable as _, Table, WriteTransaction};
use serde::de::DeserializeOwned;

use super::Error;
use super::blobs::Fresh;
use super::index::{BUCKETS, FILES, INLINE, MANIFESTS, OBJECTS, PARTS, UPLOADS};
use super::record::{BlobId, Content, Object, Part, Upload, UploadId, decode, encode};

/// All tables, writable.
pub(crate) struct Tables<'txn> {
    pub(crate) buckets: Table<'txn, &'static str, &'static [u8]>,
    pub(crate) objects: Table<'txn, &'static [u8], &'static [u8]>,
    pub(crate) uploads: Table<'txn, &'static [u8], &'static [u8]>,
    pub(crate) parts: Table<'txn, &'static [u8], &'static [u8]>,
    inline: Table<'txn, u128, &'static [u8]>,
    files: Table<'txn, u128, u32>,
    manifests: Table<'txn, u128, &'static [u8]>,
    landed: Vec<Fresh>,
    freed: Vec<BlobId>,
}

/// Bytes that arrived, checked and (if in a file) synced, not yet named by the index.
pub(crate) enum Landed {
    Empty,
    Inline(Vec<u8>),
    File(Fresh),
}

impl<'txn> Tables<'txn> {
    pub(crate) fn open(txn: &'txn WriteTransaction) -> Result<Self, Error> {
        Ok(Self {
            buckets: txn.open_table(BUCKETS)?,
            objects: txn.open_table(OBJECTS)?,
            uploads: txn.open_table(UPLOADS)?,
            parts: txn.open_table(PARTS)?,
            inline: txn.open_table(INLINE)?,
            files: txn.open_table(FILES)?,
            manifests: txn.open_table(MANIFESTS)?,
            landed: Vec::new(),
            freed: Vec::new(),
        })
    }

    /// Files that are now named, and files that no longer are.
    pub(crate) fn into_effects(self) -> (Vec<Fresh>, Vec<BlobId>) {
        (self.landed, self.freed)
    }

    pub(crate) fn need_bucket(&self, bucket: &str) -> Result<(), Error> {
        match self.buckets.get(bucket)? {
            Some(_) => Ok(()),
            None => Err(Error::NoSuchBucket {
                bucket: bucket.to_owned(),
            }),
        }
    }

    pub(crate) fn object(&self, bucket: &str, key: &str) -> Result<Option<Object>, Error> {
        match self.objects.get(object_key(bucket, key).as_slice())? {
            Some(bytes) => decode(bytes.value(), "an object").map(Some),
            None => Ok(None),
        }
    }

    /// Names an object, in place of any with the same key.
    pub(crate) fn put_object(
        &mut self,
        bucket: &str,
        key: &str,
        object: &Object,
    ) -> Result<(), Error> {
        let key = object_key(bucket, key);
        let before = self
            .objects
            .insert(key.as_slice(), encode(object).as_slice())?;
        let before: Option<Object> = replaced(before, "an object")?;
        match before {
            Some(before) if before.content != object.content => self.release(&before.content),
            _ => Ok(()),
        }
    }

    pub(crate) fn remove_object(&mut self, bucket: &str, key: &str) -> Result<(), Error> {
        let key = object_key(bucket, key);
        let before: Option<Object> = replaced(self.objects.remove(key.as_slice())?, "an object")?;
        match before {
            Some(before) => self.release(&before.content),
            None => Ok(()),
        }
    }

    pub(crate) fn upload(
        &self,
        bucket: &str,
        key: &str,
        upload: UploadId,
    ) -> Result<Upload, Error> {
        match self
            .uploads
            .get(upload_key(bucket, key, upload).as_slice())?
        {
            Some(bytes) => decode(bytes.value(), "an upload"),
            None => Err(Error::NoSuchUpload {
                key: key.to_owned(),
            }),
        }
    }

    /// Takes arrived bytes into the index.
    pub(crate) fn adopt(&mut self, landed: Landed) -> Result<Content, Error> {
        match landed {
            Landed::Empty => Ok(Content::Empty),
            Landed::Inline(bytes) => {
                let id = BlobId::fresh();
                self.inline.insert(id.0, bytes.as_slice())?;
                Ok(Content::Inline(id))
            }
            Landed::File(fresh) => {
                let id = fresh.id;
                self.files.insert(id.0, 1)?;
                self.landed.push(fresh);
                Ok(Content::File(id))
            }
        }
    }

    pub(crate) fn adopt_parts(&mut self, parts: &[Part]) -> Result<Content, Error> {
        let id = BlobId::fresh();
        self.manifests.insert(id.0, encode(&parts).as_slice())?;
        Ok(Content::Parts(id))
    }

    /// Makes a second content of the same bytes.
    pub(crate) fn share(&mut self, content: &Content) -> Result<Content, Error> {
        match content {
            Content::Empty => Ok(Content::Empty),
            Content::Inline(id) => {
                let bytes = match self.inline.get(id.0)? {
                    Some(bytes) => bytes.value().to_vec(),
                    None => return Err(missing("small object", *id)),
                };
                self.adopt(Landed::Inline(bytes))
            }
            Content::File(id) => {
                let count = self.files.get(id.0)?.map(|count| count.value());
                let count = count.ok_or_else(|| missing("file", *id))?;
                self.files.insert(id.0, count + 1)?;
                Ok(content.clone())
            }
            Content::Parts(id) => {
                let mut parts = self.manifest(*id)?;
                for part in &mut parts {
                    part.content = self.share(&part.content)?;
                }
                self.adopt_parts(&parts)
            }
        }
    }

    /// Lets go of a content that no record names any more.
    pub(crate) fn release(&mut self, content: &Content) -> Result<(), Error> {
        match content {
            Content::Empty => {}
            Content::Inline(id) => {
                self.inline.remove(id.0)?;
            }
            Content::File(id) => {
                let count = self.files.get(id.0)?.map(|count| count.value());
                match count {
                    Some(count) if count > 1 => {
                        self.files.insert(id.0, count - 1)?;
                    }
                    Some(_) => {
                        self.files.remove(id.0)?;
                        self.freed.push(*id);
                    }
                    None => return Err(missing("file", *id)),
                }
            }
            Content::Parts(id) => {
                let parts = self.manifest(*id)?;
                self.manifests.remove(id.0)?;
                for part in parts {
                    self.release(&part.content)?;
                }
            }
        }
        Ok(())
    }

    fn manifest(&self, id: BlobId) -> Result<Vec<Part>, Error> {
        match self.manifests.get(id.0)? {
            Some(bytes) => decode(bytes.value(), "a manifest"),
            None => Err(missing("manifest", id)),
        }
    }

    /// All parts of an upload, in order.
    pub(crate) fn upload_parts(&self, upload: UploadId) -> Result<Vec<Part>, Error> {
        let Range { start, end } = part_range(upload);
        let mut parts = Vec::new();
        for entry in self.parts.range(start.as_slice()..end.as_slice())? {
            parts.push(decode(entry?.1.value(), "a part")?);
        }
        Ok(parts)
    }

    /// Names a part, in place of any with the same number.
    pub(crate) fn put_part(&mut self, upload: UploadId, part: &Part) -> Result<(), Error> {
        let key = part_key(upload, part.number);
        let before = self.parts.insert(key.as_slice(), encode(part).as_slice())?;
        let before: Option<Part> = replaced(before, "a part")?;
        match before {
            Some(before) => self.release(&before.content),
            None => Ok(()),
        }
    }

    /// Forgets an upload; what becomes of its parts is the caller's to say.
    pub(crate) fn forget_upload(
        &mut self,
        bucket: &str,
        key: &str,
        upload: UploadId,
        parts: &[Part],
    ) -> Result<(), Error> {
        self.uploads
            .remove(upload_key(bucket, key, upload).as_slice())?;
        for part in parts {
            self.parts
                .remove(part_key(upload, part.number).as_slice())?;
        }
        Ok(())
    }
}

/// The record that was there before, read out so that the table is free again.
fn replaced<T: DeserializeOwned>(
    before: Option<AccessGuard<'_, &'static [u8]>>,
    what: &'static str,
) -> Result<Option<T>, Error> {
    before.map(|bytes| decode(bytes.value(), what)).transpose()
}

fn missing(what: &str, id: BlobId) -> Error {
    Error::Corrupt {
        what: format!("{what} {id} of the index"),
    }
}

pub(crate) fn object_key(bucket: &str, key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(bucket.len() + 1 + key.len());
    bytes.extend_from_slice(bucket.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

/// Every key of the bucket.
pub(crate) fn bucket_range(bucket: &str) -> Range<Vec<u8>> {
    let mut end = bucket.as_bytes().to_vec();
    end.push(1);
    object_key(bucket, "")..end
}

pub(crate) fn upload_key(bucket: &str, key: &str, upload: UploadId) -> Vec<u8> {
    let mut bytes = object_key(bucket, key);
    bytes.push(0);
    bytes.extend_from_slice(&upload.0.to_be_bytes());
    bytes
}

pub(crate) fn part_key(upload: UploadId, number: u16) -> Vec<u8> {
    let mut bytes = upload.0.to_be_bytes().to_vec();
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes
}

/// Every part of the upload.
pub(crate) fn part_range(upload: UploadId) -> Range<Vec<u8>> {
    let mut end = part_key(upload, u16::MAX);
    end.push(0);
    upload.0.to_be_bytes().to_vec()..end
}
