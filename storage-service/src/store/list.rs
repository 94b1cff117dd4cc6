//! Listings: one page is one range scan, and a common prefix costs one seek however many keys it hides.

use std::ops::Bound;

use redb::ReadTransaction;

use super::index::{OBJECTS, UPLOADS};
use super::record::{Object, Upload, UploadId, decode};
use super::tables::{bucket_range, object_key};
use super::{Error, Store};

/// What to list of a bucket's objects.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListQuery {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) delimiter: Option<String>,
    /// List what sorts after this key or common prefix.
    pub(crate) after: Option<String>,
    pub(crate) max: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    Object(String, Box<Object>),
    Prefix(String),
}

/// Some entries in order; `more` when there are others after them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    pub(crate) more: bool,
}

/// What to list of a bucket's unfinished uploads.
#[derive(Debug, Clone, Default)]
pub(crate) struct UploadQuery {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) delimiter: Option<String>,
    /// List what sorts after this key (or common prefix), or after this upload of it.
    pub(crate) after: Option<(String, Option<UploadId>)>,
    pub(crate) max: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum UploadEntry {
    Upload(String, UploadId, Box<Upload>),
    Prefix(String),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct UploadPage {
    pub(crate) entries: Vec<UploadEntry>,
    pub(crate) more: bool,
}

impl Entry {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Object(name, _) | Self::Prefix(name) => name,
        }
    }
}

impl Store {
    pub(crate) async fn list(&self, query: ListQuery) -> Result<Page, Error> {
        self.need_bucket(&query.bucket)?;
        if query.max == 0 {
            return Ok(Page::default());
        }
        self.index.read(move |txn| list(txn, &query)).await
    }

    pub(crate) async fn list_uploads(&self, query: UploadQuery) -> Result<UploadPage, Error> {
        self.need_bucket(&query.bucket)?;
        if query.max == 0 {
            return Ok(UploadPage::default());
        }
        self.index.read(move |txn| list_uploads(txn, &query)).await
    }
}

fn list(txn: &ReadTransaction, query: &ListQuery) -> Result<Page, Error> {
    let table = txn.open_table(OBJECTS)?;
    let skip = query.bucket.len() + 1;
    let mut page = Page::default();
    let mut from = first_key(&query.bucket, &query.prefix);
    if let Some(after) = &query.after {
        let start = match common_prefix(after, &query.prefix, query.delimiter.as_deref()) {
            Some(prefix) if prefix == after => after_prefix(&object_key(&query.bucket, prefix)),
            _ => Bound::Excluded(object_key(&query.bucket, after)),
        };
        from = later(from, start);
    }
    // One seek per common prefix; between them the scan just goes on.
    'seek: loop {
        let end = bucket_range(&query.bucket).end;
        if bound_at_or_after(&from, &end) {
            return Ok(page);
        }
        let range = (as_slice(&from), Bound::Excluded(end.as_slice()));
        for entry in table.range::<&[u8]>(range)? {
            let (key, value) = entry?;
            let full = key.value();
            let name = text(&full[skip..])?;
            if !name.starts_with(&query.prefix) {
                return Ok(page);
            }
            if page.entries.len() == query.max {
                page.more = true;
                return Ok(page);
            }
            match common_prefix(name, &query.prefix, query.delimiter.as_deref()) {
                Some(prefix) => {
                    page.entries.push(Entry::Prefix(prefix.to_owned()));
                    from = after_prefix(&full[..skip + prefix.len()]);
                    continue 'seek;
                }
                None => {
                    let object = decode(value.value(), "an object")?;
                    page.entries
                        .push(Entry::Object(name.to_owned(), Box::new(object)));
                }
            }
        }
        return Ok(page);
    }
}

fn list_uploads(txn: &ReadTransaction, query: &UploadQuery) -> Result<UploadPage, Error> {
    let table = txn.open_table(UPLOADS)?;
    let skip = query.bucket.len() + 1;
    let mut page = UploadPage::default();
    let mut from = first_key(&query.bucket, &query.prefix);
    if let Some((key, upload)) = &query.after {
        let start = match (
            common_prefix(key, &query.prefix, query.delimiter.as_deref()),
            upload,
        ) {
            (Some(prefix), None) if prefix == key => {
                after_prefix(&object_key(&query.bucket, prefix))
            }
            (_, Some(upload)) => {
                Bound::Excluded(super::tables::upload_key(&query.bucket, key, *upload))
            }
            // After every upload of the key, which is followed by a zero byte.
            (_, None) => {
                let mut end = object_key(&query.bucket, key);
                end.push(1);
                Bound::Included(end)
            }
        };
        from = later(from, start);
    }
    'seek: loop {
        let end = bucket_range(&query.bucket).end;
        if bound_at_or_after(&from, &end) {
            return Ok(page);
        }
        let range = (as_slice(&from), Bound::Excluded(end.as_slice()));
        for entry in table.range::<&[u8]>(range)? {
            let (key, value) = entry?;
            let full = key.value();
            let (name, upload) = split_upload(&full[skip..])?;
            if !name.starts_with(&query.prefix) {
                return Ok(page);
            }
            if page.entries.len() == query.max {
                page.more = true;
                return Ok(page);
            }
            if let Some(prefix) = common_prefix(name, &query.prefix, query.delimiter.as_deref()) {
                page.entries.push(UploadEntry::Prefix(prefix.to_owned()));
                from = after_prefix(&full[..skip + prefix.len()]);
                continue 'seek;
            }
            let record = Box::new(decode(value.value(), "an upload")?);
            page.entries
                .push(UploadEntry::Upload(name.to_owned(), upload, record));
        }
        return Ok(page);
    }
}

/// `name` up to and including the first delimiter after `prefix`.
fn common_prefix<'name>(
    name: &'name str,
    prefix: &str,
    delimiter: Option<&str>,
) -> Option<&'name str> {
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty())?;
    let rest = name.strip_prefix(prefix)?;
    let at = rest.find(delimiter)?;
    Some(&name[..prefix.len() + at + delimiter.len()])
}

fn first_key(bucket: &str, prefix: &str) -> Bound<Vec<u8>> {
    Bound::Included(object_key(bucket, prefix))
}

/// The first position behind all keys with this prefix. UTF-8 has no byte 0xFF, so the last byte can grow.
fn after_prefix(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut next = prefix.to_vec();
    if let Some(last) = next.last_mut() {
        *last += 1;
    }
    Bound::Included(next)
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

fn key_of(bound: &Bound<Vec<u8>>) -> &[u8] {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => key,
        Bound::Unbounded => &[],
    }
}

fn later(one: Bound<Vec<u8>>, other: Bound<Vec<u8>>) -> Bound<Vec<u8>> {
    if key_of(&other) >= key_of(&one) {
        other
    } else {
        one
    }
}

fn bound_at_or_after(bound: &Bound<Vec<u8>>, end: &[u8]) -> bool {
    key_of(bound) >= end
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::Corrupt {
        what: String::from("a key of the index"),
    })
}

/// Splits `key \0 upload`, the upload being 16 bytes.
fn split_upload(bytes: &[u8]) -> Result<(&str, UploadId), Error> {
    let damaged = || Error::Corrupt {
        what: String::from("an upload key of the index"),
    };
    let (key, id) = bytes.split_last_chunk::<16>().ok_or_else(damaged)?;
    let key = key.strip_suffix(&[0]).ok_or_else(damaged)?;
    Ok((text(key)?, UploadId(u128::from_be_bytes(*id))))
}
