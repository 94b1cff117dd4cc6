//! Uploads in parts: parts are contents of their own, and completing one only writes names.

use redb::ReadableTable as _;

use super::condition::WriteCondition;
use super::digest::{Algorithm, ChecksumKind, combined_checksum, combined_etag};
use super::incoming::Arrived;
use super::index::{PARTS, UPLOADS};
use super::record::{
    Attributes, Content, Object, Part, UnixMillis, Upload, UploadId, decode, encode,
};
use super::tables::{Tables, part_key, part_range, upload_key};
use super::{Error, Store};

/// Smallest part that may be followed by another.
pub(crate) const MIN_PART: u64 = 5 * 1024 * 1024;

/// A part as the client lists it when it completes an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GivenPart {
    pub(crate) number: u16,
    pub(crate) etag: String,
    /// Base64 of the part's checksum, if the client repeats it.
    pub(crate) checksum: Option<(Algorithm, String)>,
}

/// A request to make an object of parts.
#[derive(Debug, Clone)]
pub(crate) struct Complete {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) upload: UploadId,
    pub(crate) parts: Vec<GivenPart>,
    pub(crate) condition: WriteCondition,
    /// Size of the whole, if the client announces it.
    pub(crate) size: Option<u64>,
    /// Checksum of the whole, if the client announces it.
    pub(crate) checksum: Option<(Algorithm, String)>,
    pub(crate) now: UnixMillis,
}

/// Some parts of an unfinished upload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PartPage {
    pub(crate) upload: Upload,
    pub(crate) parts: Vec<Part>,
    pub(crate) more: bool,
}

impl Store {
    pub(crate) async fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        upload: Upload,
    ) -> Result<UploadId, Error> {
        self.need_bucket(bucket)?;
        self.need_space(0)?;
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        let id = UploadId::fresh();
        self.index
            .change(move |tables| {
                tables.need_bucket(&bucket)?;
                let at = upload_key(&bucket, &key, id);
                tables
                    .uploads
                    .insert(at.as_slice(), encode(&upload).as_slice())?;
                Ok(id)
            })
            .await
    }

    /// What was said when the upload was created.
    pub(crate) async fn upload(
        &self,
        bucket: &str,
        key: &str,
        upload: UploadId,
    ) -> Result<Upload, Error> {
        self.need_bucket(bucket)?;
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.index
            .read(move |txn| {
                let table = txn.open_table(UPLOADS)?;
                let bytes = table.get(upload_key(&bucket, &key, upload).as_slice())?;
                match bytes {
                    Some(bytes) => decode(bytes.value(), "an upload"),
                    None => Err(Error::NoSuchUpload { key }),
                }
            })
            .await
    }

    /// Names a part that arrived, in place of any with the same number.
    pub(crate) async fn put_part(
        &self,
        (bucket, key, upload): (&str, &str, UploadId),
        number: u16,
        arrived: Arrived,
        now: UnixMillis,
    ) -> Result<Part, Error> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        let Arrived { landed, digests } = arrived;
        self.index
            .change(move |tables| {
                tables.upload(&bucket, &key, upload)?;
                let part = Part {
                    number,
                    size: digests.len,
                    etag: digests.etag(),
                    modified: now,
                    content: tables.adopt(landed)?,
                    crc64: digests.crc64,
                    checksum: Some(digests.checksum),
                };
                tables.put_part(upload, &part)?;
                Ok(part)
            })
            .await
    }

    pub(crate) async fn list_parts(
        &self,
        (bucket, key, upload): (&str, &str, UploadId),
        after: u16,
        max: usize,
    ) -> Result<PartPage, Error> {
        let record = self.upload(bucket, key, upload).await?;
        self.index
            .read(move |txn| {
                let table = txn.open_table(PARTS)?;
                let (first, end) = (part_key(upload, after), part_range(upload).end);
                let mut page = PartPage {
                    upload: record,
                    parts: Vec::new(),
                    more: false,
                };
                for entry in table.range(first.as_slice()..end.as_slice())? {
                    let part: Part = decode(entry?.1.value(), "a part")?;
                    if part.number <= after {
                        continue;
                    }
                    if page.parts.len() == max {
                        page.more = true;
                        break;
                    }
                    page.parts.push(part);
                }
                Ok(page)
            })
            .await
    }

    pub(crate) async fn complete(&self, complete: Complete) -> Result<Object, Error> {
        self.need_bucket(&complete.bucket)?;
        self.index
            .change(move |tables| completed(tables, &complete))
            .await
    }

    pub(crate) async fn abort(
        &self,
        bucket: &str,
        key: &str,
        upload: UploadId,
    ) -> Result<(), Error> {
        self.need_bucket(bucket)?;
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.index
            .change(move |tables| {
                tables.upload(&bucket, &key, upload)?;
                abandon(tables, &bucket, &key, upload)
            })
            .await
    }

    /// Aborts uploads begun before `limit`; returns how many.
    pub(crate) async fn expire_uploads(&self, limit: UnixMillis) -> Result<usize, Error> {
        let stale = self
            .index
            .read(move |txn| stale_uploads(txn, limit))
            .await?;
        for (bucket, key, upload) in &stale {
            match self.abort(bucket, key, *upload).await {
                // Finished by its client since.
                Ok(()) | Err(Error::NoSuchUpload { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(stale.len())
    }
}

fn abandon(
    tables: &mut Tables<'_>,
    bucket: &str,
    key: &str,
    upload: UploadId,
) -> Result<(), Error> {
    let parts = tables.upload_parts(upload)?;
    for part in &parts {
        tables.release(&part.content)?;
    }
    tables.forget_upload(bucket, key, upload, &parts)
}

fn completed(tables: &mut Tables<'_>, complete: &Complete) -> Result<Object, Error> {
    tables.need_bucket(&complete.bucket)?;
    let (bucket, key) = (&complete.bucket, &complete.key);
    let upload = match tables.upload(bucket, key, complete.upload) {
        Ok(upload) => upload,
        Err(gone) => return already_completed(tables, complete)?.ok_or(gone),
    };
    let uploaded = tables.upload_parts(complete.upload)?;
    let parts = chosen(&complete.parts, &uploaded)?;
    let size = parts.iter().map(|part| part.size).sum();
    if let Some(wanted) = complete.size
        && wanted != size
    {
        return Err(Error::WrongObjectSize { got: size, wanted });
    }
    let checksum = combined_checksum(&parts, upload.algorithm, upload.kind);
    if let Some((algorithm, given)) = &complete.checksum {
        let fits = checksum.as_ref().is_some_and(|sum| {
            sum.algorithm == *algorithm && (sum.value == *given || composite_of(&sum.value, given))
        });
        if !fits {
            let algorithm = algorithm.name();
            return Err(Error::BadDigest {
                algorithm,
                given: given.clone(),
            });
        }
    }
    let there = tables.object(bucket, key)?;
    complete.condition.check(key, there.as_ref())?;
    // Nothing is refused from here on.
    for part in &uploaded {
        if !parts.iter().any(|chosen| chosen.number == part.number) {
            tables.release(&part.content)?;
        }
    }
    let object = Object {
        size,
        etag: combined_etag(&parts),
        modified: complete.now,
        content: tables.adopt_parts(&parts)?,
        checksum,
        attributes: upload.attributes,
    };
    tables.forget_upload(bucket, key, complete.upload, &uploaded)?;
    tables.put_object(bucket, key, &object)?;
    Ok(object)
}

/// Whether `given` is the composite `value` without its part count, as some clients send it.
fn composite_of(value: &str, given: &str) -> bool {
    value.rsplit_once('-').is_some_and(|(sum, _)| sum == given)
}

/// A client that lost our answer asks again: the object is there, made of exactly these parts.
fn already_completed(tables: &Tables<'_>, complete: &Complete) -> Result<Option<Object>, Error> {
    let Some(object) = tables.object(&complete.bucket, &complete.key)? else {
        return Ok(None);
    };
    let asked: Vec<Part> = complete
        .parts
        .iter()
        .map(|given| Part {
            number: given.number,
            size: 0,
            etag: given.etag.clone(),
            modified: complete.now,
            content: Content::Empty,
            crc64: 0,
            checksum: None,
        })
        .collect();
    Ok((!asked.is_empty() && combined_etag(&asked) == object.etag).then_some(object))
}

/// The uploaded parts the client names, checked.
fn chosen(given: &[GivenPart], uploaded: &[Part]) -> Result<Vec<Part>, Error> {
    if given.is_empty() {
        return Err(Error::InvalidPart { part: 0 });
    }
    if !given.is_sorted_by(|one, next| one.number < next.number) {
        return Err(Error::InvalidPartOrder);
    }
    let mut parts = Vec::with_capacity(given.len());
    for wanted in given {
        let missing = Error::InvalidPart {
            part: wanted.number,
        };
        let part = uploaded
            .binary_search_by_key(&wanted.number, |part| part.number)
            .map(|at| &uploaded[at]);
        let Ok(part) = part else { return Err(missing) };
        let sum_fits = wanted.checksum.as_ref().is_none_or(|(algorithm, value)| {
            part.checksum
                .as_ref()
                .is_some_and(|sum| sum.algorithm == *algorithm && sum.value == *value)
        });
        if part.etag != wanted.etag || !sum_fits {
            return Err(missing);
        }
        parts.push(part.clone());
    }
    let short = parts.iter().rev().skip(1).find(|part| part.size < MIN_PART);
    if let Some(part) = short {
        return Err(Error::PartTooSmall {
            part: part.number,
            len: part.size,
            min: MIN_PART,
        });
    }
    Ok(parts)
}

type StaleUpload = (String, String, UploadId);

fn stale_uploads(
    txn: &redb::ReadTransaction,
    limit: UnixMillis,
) -> Result<Vec<StaleUpload>, Error> {
    let table = txn.open_table(UPLOADS)?;
    let mut stale = Vec::new();
    for entry in table.iter()? {
        let (at, value) = entry?;
        let upload: Upload = decode(value.value(), "an upload")?;
        if upload.initiated >= limit {
            continue;
        }
        let damaged = || Error::Corrupt {
            what: String::from("an upload key of the index"),
        };
        let bytes = at.value();
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned);
        let zero = bytes
            .iter()
            .position(|byte| *byte == 0)
            .ok_or_else(damaged)?;
        let (key, id) = bytes[zero + 1..]
            .split_last_chunk::<16>()
            .ok_or_else(damaged)?;
        let key = key.strip_suffix(&[0]).ok_or_else(damaged)?;
        let bucket = text(&bytes[..zero]).map_err(|_| damaged())?;
        let key = text(key).map_err(|_| damaged())?;
        stale.push((bucket, key, UploadId(u128::from_be_bytes(*id))));
    }
    Ok(stale)
}

/// The default when a client names no checksum: CRC64NVME over the whole object.
impl Upload {
    pub(crate) fn new(
        initiated: UnixMillis,
        attributes: Attributes,
        asked: Option<(Algorithm, ChecksumKind)>,
    ) -> Self {
        let (algorithm, kind) = asked.unwrap_or((Algorithm::Crc64Nvme, ChecksumKind::FullObject));
        Self {
            initiated,
            algorithm,
            kind,
            asked: asked.is_some(),
            attributes,
        }
    }
}
